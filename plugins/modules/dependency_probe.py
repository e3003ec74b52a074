#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether an application reaches what it depends on."""

from __future__ import annotations

DOCUMENTATION = r"""
module: dependency_probe
version_added: 0.1.0
short_description: Ask what an application depends on a real question, from inside of its container
description:
  - Runs a short script with the Python of a running container. It asks each dependency a question that only a working
    one can answer, with the address and the secret that the container itself was given, and reads the answer.
  - A client object that can be created proves nothing, and neither does a request whose answer nobody reads.
  - Redis is logged in to and sent C(PING). An HTTP API is sent C(GET), which costs nothing with those that bill by use.
notes:
  - No secret is in the result or in an argument list, and no address that comes from a variable of the container. Of
    an answer only the status is returned, whether it holds what was asked for, and an error code such as
    C(invalid_api_key).
  - The container needs Python 3.8 or newer. Nothing is written in it.
  - A dependency that does not answer is no failure of the module; see RV(ok).
extends_documentation_fragment:
  - composeops.hotfix._attributes
  - composeops.hotfix._attributes.INFO
  - composeops.hotfix._project
  - composeops.hotfix._project.SERVICE
  - composeops.hotfix._project.CONTAINER
options:
  dependencies:
    description: What to ask.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: What it is called in the result.
        type: str
        required: true
      kind:
        description:
          - V(redis) logs in and sends C(PING); V(http) gets a path and reads the answer; V(tcp) opens a connection.
        type: str
        choices: [redis, http, tcp]
        required: true
      url_variable:
        description: The container's variable that holds the address, as a URL.
        type: str
      url:
        description: The address, as a URL, where that variable is not set. It may hold no password.
        type: str
      path:
        description: For V(http), what is added to the address.
        type: str
        default: ""
      secret_variable:
        description: For V(http), the container's variable that holds the secret to send.
        type: str
      header:
        description: The header in which O(dependencies[].secret_variable) is sent.
        type: str
        default: Authorization
      header_prefix:
        description: What stands before the secret in this header.
        type: str
        default: "Bearer "
      status:
        description: The answer's status has to be one of these.
        type: list
        elements: int
        default: [200]
      expect_key:
        description: The answer has to be a JSON object with this key.
        type: str
  timeout:
    description: Seconds that an answer may take.
    type: int
    default: 10
author:
  - composeops.hotfix contributors (@composeops)
"""

EXAMPLES = r"""
- name: See whether the backend reaches Redis and OpenAI
  composeops.hotfix.dependency_probe:
    project_src: /opt/wealth-coach-ai
    service: backend
    dependencies:
      - name: Redis
        kind: redis
        url_variable: REDIS_URL
      - name: OpenAI
        kind: http
        url_variable: OPENAI_BASE_URL
        url: https://api.openai.com/v1
        path: /models
        secret_variable: OPENAI_API_KEY
        expect_key: data
  register: probe

- name: Stop here if it does not
  ansible.builtin.assert:
    that: probe.ok
    fail_msg: "{{ probe.dependencies | rejectattr('ok') | map(attribute='reason') | join('; ') }}"
"""

RETURN = r"""
ok:
  description: Whether each of them answered as it should.
  type: bool
  returned: success
dependencies:
  description: The answers, in the order of the questions.
  type: list
  elements: dict
  returned: success
  contains:
    name:
      description: As given.
      type: str
    ok:
      description: Whether it answered as it should.
      type: bool
    asked:
      description: Whether it was asked at all. It is not where the container lacks the variable with address or secret.
      type: bool
    reason:
      description: What was answered, or why there was no answer.
      type: str
    milliseconds:
      description: How long it took.
      type: int
  sample:
    - {name: Redis, ok: true, asked: true, reason: Redis answered PONG, milliseconds: 2}
    - {name: OpenAI, ok: false, asked: true, reason: the answer is HTTP 401 (invalid_api_key), milliseconds: 310}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Docker
from ansible_collections.composeops.hotfix.plugins.module_utils._container_options import (
    OPTIONS,
    REQUIRED,
    named_container,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._dependencies import KINDS, ask
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import register, url_passwords

DEPENDENCY: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "kind": {"type": "str", "choices": list(KINDS), "required": True},
    "url_variable": {"type": "str"},
    "url": {"type": "str"},
    "path": {"type": "str", "default": ""},
    "secret_variable": {"type": "str", "no_log": False},
    "header": {"type": "str", "default": "Authorization"},
    "header_prefix": {"type": "str", "default": "Bearer "},
    "status": {"type": "list", "elements": "int", "default": [200]},
    "expect_key": {"type": "str", "no_log": False},
}


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            **OPTIONS,
            "dependencies": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": DEPENDENCY,
                "required_one_of": [("url", "url_variable")],
            },
            "timeout": {"type": "int", "default": 10},
        },
        **REQUIRED,
        supports_check_mode=True,
    )
    options = module.params
    docker = Docker()
    # One in an address is refused, and is not to show in what Ansible repeats of the arguments either.
    register(module, [password for one in options["dependencies"] for password in url_passwords(one["url"] or "")])
    try:
        container = named_container(docker, options)
        answers = ask(docker, container, options["dependencies"], max(options["timeout"], 1))
    except HotfixError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, ok=all(answer["ok"] for answer in answers), dependencies=answers)


if __name__ == "__main__":
    main()
