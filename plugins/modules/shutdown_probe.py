#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: shutdown_probe
version_added: 0.1.0
short_description: Prove that an application closes its Redis connections when it stops
description:
  - Starts a container of a Compose service's current image and configuration, in which a script starts the application,
    counts the connections to Redis, stops the application, and counts again while the process is still alive.
  - That is stronger than a look at Redis after the service was stopped, since the end of a process closes its sockets
    whatever its code does. It is also stronger than a log line, which says what the author believed.
  - The running service is not touched. The container publishes no port, is reached under no alias, and is removed
    however the module ends. Containers of earlier runs that were killed are removed too.
  - The application is started by the ASGI lifespan protocol, in one process, so that FastAPI, Starlette, Quart,
    Litestar and the like can be probed.
  - Nothing that the application prints is returned, since it may hold secrets.
extends_documentation_fragment:
  - composeops.hotfix._attributes
  - composeops.hotfix._attributes.INFO
  - composeops.hotfix._project
  - composeops.hotfix._project.SERVICE
options:
  project_src:
    required: true
  service:
    required: true
  application:
    description:
      - Import string of the application, such as V(backend.main:app).
      - By default the one in the command line of uvicorn or gunicorn, from the Compose files or the image.
    type: str
  redis_port:
    description: The port of Redis, as the application connects to it.
    type: int
    default: 6379
  request_path:
    description:
      - A path to request inside of the process before the first count, such as V(/api/v1/health), for an application
        that does not connect to Redis before it is used.
    type: str
  timeout:
    description: Seconds that start and stop may take together.
    type: int
    default: 60
  volumes:
    description:
      - V(isolated) keeps the application from writing into anything that the service has. An empty one that goes with
        the container covers each named one, and what is mounted from the host is read-only.
      - V(shared) mounts what the service has, for an application that does not start without it.
    type: str
    choices: [isolated, shared]
    default: isolated
  lines:
    description:
      - Texts to look for in what the application prints, such as those of a good start and a good shutdown.
    type: list
    elements: str
    default: []
notes:
  - In check mode the module does the same, since it leaves nothing behind.
  - The application starts and stops once more, as another worker of it would, under the same memory limit.
  - The project has to be running, for the application needs its Redis.
seealso:
  - module: composeops.hotfix.redis_shutdown
author:
  - composeops.hotfix contributors (@composeops)
"""

EXAMPLES = r"""
- name: See whether the shutdown closes Redis
  composeops.hotfix.shutdown_probe:
    project_src: /opt/wealth-coach-ai
    service: backend
  register: probe

- name: Stop here if it does not
  ansible.builtin.assert:
    that: probe.ok
    fail_msg: "{{ probe.reason }}"

- name: The same for an application that is started by a script and connects at the first request
  composeops.hotfix.shutdown_probe:
    project_src: /srv/shop
    service: web
    application: shop.app:create_app
    request_path: /health
"""

RETURN = r"""
ok:
  description: Whether connections to Redis were open after the start, and none after a complete shutdown.
  type: bool
  returned: success
observable:
  description: Whether a connection to Redis was seen at all. If not, nothing is proven and RV(ok) is false.
  type: bool
  returned: success
reason:
  description: The verdict in one sentence.
  type: str
  returned: success
  sample: 1 of 1 connections to Redis were still open after the shutdown
application:
  description: The import string that was started.
  type: str
  returned: success
  sample: backend.main:app
connections_before:
  description: Connections to Redis after the start.
  type: int
  returned: success
connections_after:
  description: Connections to Redis after the shutdown.
  type: int
  returned: success
startup:
  description: V(complete), V(failed), or V(unsupported) when the application does not know the lifespan protocol.
  type: str
  returned: success
shutdown:
  description: V(complete) or V(failed); also V(failed) when it was not reached.
  type: str
  returned: success
log:
  description: What was among the lines that the application printed.
  type: dict
  returned: success
  contains:
    closed_line:
      description: "V(✓ Redis connections closed)."
      type: bool
    cleanup_skipped:
      description: V(Redis cleanup skipped).
      type: bool
    shutdown_error:
      description: V(Shutdown error).
      type: bool
    never_awaited:
      description: Python's warning that a coroutine was never awaited.
      type: bool
lines_seen:
  description: Those of O(lines) that the application printed.
  type: list
  elements: str
  returned: success
  sample: ["✓ Redis connections closed"]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Docker
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._shutdown_probe import Probe, exit_on_sigterm


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "project_src": {"type": "path", "required": True},
            "files": {"type": "list", "elements": "path"},
            "service": {"type": "str", "required": True},
            "application": {"type": "str"},
            "redis_port": {"type": "int", "default": 6379},
            "request_path": {"type": "str"},
            "timeout": {"type": "int", "default": 60},
            "volumes": {"type": "str", "choices": ["isolated", "shared"], "default": "isolated"},
            "lines": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    options = module.params
    exit_on_sigterm()
    try:
        probe = Probe(
            Docker(),
            options["project_src"],
            options["files"] or (),
            options["service"],
            max(options["timeout"], 1),
            isolated=options["volumes"] == "isolated",
        )
        result = probe.run(options["application"], options["redis_port"], options["request_path"], options["lines"])
    except HotfixError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
