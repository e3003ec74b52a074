#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: compose_up
version_added: 0.1.0
short_description: Build, create and start services, and show no secret when that fails
description:
  - Runs C(docker compose up --detach) or C(docker compose build) for some services of a project.
  - Compose quotes values of C(.env) and of its own files in its errors, and a build that fails prints what the failed
    step printed. Of a failure this module shows the reason and the last lines, in which the secrets of the project's
    files are masked. Of a success it shows nothing that Compose printed.
  - The operator's C(COMPOSE_*) variables, and those that C(.env) sets, are not taken from the shell.
extends_documentation_fragment:
  - composeops.hotfix._project
  - composeops.hotfix._attributes
attributes:
  check_mode:
    support: none
    details:
      - Skipped in check mode, since only a build shows whether an image differs.
  diff_mode:
    support: none
  idempotent:
    support: partial
    details:
      - Not with O(recreate=always), or where a build makes another image each time.
      - A service that ends by itself, such as a migration, is started each time.
options:
  project_src:
    required: true
  services:
    description:
      - The services. Needed with O(state=present) and O(state=built).
    type: list
    elements: str
    default: []
  state:
    description:
      - V(present) creates and starts the services' containers.
      - V(built) builds their images and touches no container.
      - V(absent) takes the whole project down, its containers and networks. Volumes and images stay.
    type: str
    choices: [present, built, absent]
    default: present
  build:
    description:
      - V(auto) builds images that are missing, V(always) builds them in any case, V(never) does not build.
      - For O(state=present).
    type: str
    choices: [auto, always, never]
    default: auto
  recreate:
    description:
      - V(auto) recreates containers that differ from their image and files, V(always) all, V(never) none.
      - For O(state=present).
    type: str
    choices: [auto, always, never]
    default: auto
  dependencies:
    description: Whether services that these depend on are created and started as well, for O(state=present).
    type: bool
    default: true
  timeout:
    description: Seconds that it may take.
    type: int
    default: 3600
  state_dir:
    description:
      - The folder below which the state of the projects lies on the managed host, such as C(/var/lib/composeops).
      - With it the lock of the project (M(composeops.hotfix.lock)) cannot be taken from this run meanwhile, and what
        was done is added to the journal. Without it neither.
    type: path
author:
  - composeops.hotfix contributors (@composeops)
"""

EXAMPLES = r"""
- name: Build the image of the backend and recreate its container if it differs
  composeops.hotfix.compose_up:
    project_src: /opt/wealth-coach-ai
    services: [backend]
    build: always
    dependencies: false

- name: Only build it
  composeops.hotfix.compose_up:
    project_src: /opt/wealth-coach-ai
    services: [backend]
    state: built

- name: Take the whole project down
  composeops.hotfix.compose_up:
    project_src: /opt/wealth-coach-ai
    state: absent
"""

RETURN = r"""
before:
  description:
    - For each service the IDs of its containers before, or with O(state=built) the ID of its image.
  type: dict
  returned: success
  sample: {backend: [3f9c1d0b7a52]}
after:
  description: The same afterwards.
  type: dict
  returned: success
  sample: {backend: [a1b2c3d4e5f6]}
output:
  description: The last lines that Compose printed, without its warnings, secrets masked.
  type: list
  elements: str
  returned: failure of Compose
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_file import Project
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_run import (
    Request,
    answer,
    carry_out,
    made,
    running,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Docker
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._lock import at_work_on

ARGUMENTS: dict[str, Any] = {
    "project_src": {"type": "path", "required": True},
    "files": {"type": "list", "elements": "path"},
    "services": {"type": "list", "elements": "str", "default": []},
    "state": {"type": "str", "choices": ["present", "built", "absent"], "default": "present"},
    "build": {"type": "str", "choices": ["auto", "always", "never"], "default": "auto"},
    "recreate": {"type": "str", "choices": ["auto", "always", "never"], "default": "auto"},
    "dependencies": {"type": "bool", "default": True},
    "timeout": {"type": "int", "default": 3600},
    "state_dir": {"type": "path"},
}


def run(options: dict[str, Any]) -> dict[str, Any]:
    """Have Compose do what the options say, and compare before and after."""
    docker, files = Docker(), options["files"] or ()
    project = Project.load(options["project_src"], options["files"])
    # An unknown service is named with those that exist; without services Compose would take all.
    for name in options["services"]:
        project.service(name)
    is_down = options["state"] == "absent"
    if is_down and options["services"]:
        raise HotfixError("state absent takes the whole project down", remedy="Leave services out")
    if not options["services"] and not is_down:
        raise HotfixError("services is empty", remedy="Name the services that are meant")
    request = Request(**{name: options[name] for name in Request._fields})
    before, ran = made(docker, project, files, request), running(docker, project, files, request)
    with at_work_on(options["state_dir"], options["project_src"], "compose_up") as step:
        step.action, step.words["service"] = request.action, ", ".join(request.services)
        carry_out(docker, project, files, request, options["timeout"])
        after = made(docker, project, files, request)
        # A container that is started stays the one that it is.
        changed = before != after or bool(running(docker, project, files, request) - ran)
        step.result = "changed" if changed else "unchanged"
    return {"changed": changed, "before": before, "after": after}


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec=ARGUMENTS)
    answer(module, lambda: run(module.params))


if __name__ == "__main__":
    main()
