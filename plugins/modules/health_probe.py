#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: health_probe
version_added: 0.1.0
short_description: Ask an application for its health, judge the body, and show no secret of it
description:
  - Sends one GET request and compares the JSON that comes back with what a healthy application answers.
  - A health route that fails often says why, and quotes the address of the database with its password. So the answer is
    shown with the secrets of the container's environment masked, and all that looks like one.
extends_documentation_fragment:
  - composeops.hotfix._attributes
  - composeops.hotfix._attributes.INFO
  - composeops.hotfix._project
  - composeops.hotfix._project.SERVICE
  - composeops.hotfix._project.CONTAINER
options:
  url:
    description: Address of the health route.
    type: str
    required: true
  body:
    description:
      - What the JSON of a healthy answer holds. Further keys in it do not matter.
    type: dict
    required: true
  container_port:
    description:
      - Ask the container itself, at its own address and this port, past all that publishes it.
      - A published port may lead to another container while a service is handed over.
    type: int
  timeout:
    description: Seconds that the answer may take.
    type: int
    default: 5
  validate_certs:
    description: Whether the certificate has to be valid.
    type: bool
    default: true
notes:
  - In a task with C(until), without C(async) and C(no_log), each new answer is shown when it comes, and the same one
    again every ten seconds.
  - With O(container_port), O(container) or O(project_src) and O(service) say which container is asked.
  - O(container), or O(project_src) and O(service), say whose secrets are masked; without them only what looks like a
    secret is.
author:
  - composeops.hotfix contributors (@composeops)
"""

EXAMPLES = r"""
- name: Wait until the application is healthy
  composeops.hotfix.health_probe:
    url: http://127.0.0.1:8000/api/v1/health
    body: {status: healthy}
    project_src: /opt/wealth-coach-ai
    service: backend
  register: health
  until: health.healthy
  retries: 30
  delay: 2
"""

RETURN = r"""
healthy:
  description: Whether the answer has a status below 400 and holds O(body).
  type: bool
  returned: success
status:
  description: HTTP status of the answer; 0 without one.
  type: int
  returned: success
  sample: 200
answer:
  description: The beginning of the answer, or why there is none, secrets masked.
  type: str
  returned: success
  sample: '{"status": "healthy"}'
"""

import contextlib
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit, urlunsplit

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import ConnectionError as TlsError
from ansible.module_utils.urls import open_url
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Docker, environment, networks
from ansible_collections.composeops.hotfix.plugins.module_utils._container_options import (
    OPTIONS,
    RULES,
    find_container,
    named_container,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._health import LIMIT, is_healthy
from ansible_collections.composeops.hotfix.plugins.module_utils._logs import shorten
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import hidden_values, mask

ARGUMENTS: dict[str, Any] = {
    "url": {"type": "str", "required": True},
    "body": {"type": "dict", "required": True},
    "container_port": {"type": "int"},
    "timeout": {"type": "int", "default": 5},
    "validate_certs": {"type": "bool", "default": True},
    **OPTIONS,
}


def ask(options: dict[str, Any], direct: tuple[str, str] | None) -> tuple[int, str]:
    """Status and text of the answer; status 0 and the reason when there is none.

    :param direct: URL to ask instead, and the host that the request is to name.
    """
    try:
        url, host = direct or (options["url"], None)
        with open_url(
            url,
            headers={"Host": host} if host else None,
            timeout=options["timeout"],
            validate_certs=options["validate_certs"],
            use_proxy=False,
            use_netrc=False,
            http_agent="composeops.hotfix.health_probe",
        ) as response:
            return int(response.status), response.read(LIMIT).decode("utf-8", "replace")
    except HTTPError as error:
        with error:
            return int(error.code), error.read(LIMIT).decode("utf-8", "replace")
    except (OSError, TlsError, HTTPException, ValueError) as error:
        return 0, f"no answer: {error.reason if isinstance(error, URLError) else error or type(error).__name__}"


def address(options: dict[str, Any]) -> tuple[str, str]:
    """The URL at the container itself, and the host that the request names.

    :raises HotfixError: when the container has no address at the moment.
    """
    found = named_container(Docker(), options)
    addresses = [ip for ip in networks(found).values() if ip]
    if not addresses:
        raise HotfixError(f"container {found['Name'].lstrip('/')} is {found['State']['Status']} and has no address")
    url = urlsplit(options["url"])
    return urlunsplit(("http", f"{addresses[0]}:{options['container_port']}", url.path, url.query, "")), url.netloc


def known(options: dict[str, Any]) -> set[str]:
    """The secrets in the container's environment; none when there is no container, or no engine to ask."""
    with contextlib.suppress(HotfixError):
        found = find_container(Docker(), options) if options["container"] or options["project_src"] else None
        return hidden_values(environment(found)) if found else set()
    return set()


def look(options: dict[str, Any]) -> tuple[int, str]:
    """As :func:`ask`, at the container itself where that is wanted."""
    if options["container_port"] is None:
        return ask(options, None)
    try:
        return ask(options, address(options))
    except HotfixError as error:
        return 0, f"no answer: {error}"


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        **RULES,
        supports_check_mode=True,
    )
    status, text = look(module.params)
    healthy = is_healthy(status, text, module.params["body"])
    answer = shorten(mask(text, known(module.params)))
    module.exit_json(changed=False, healthy=healthy, status=status, answer=answer)


if __name__ == "__main__":
    main()
