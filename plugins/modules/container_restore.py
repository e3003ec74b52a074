#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: container_restore
version_added: 0.1.0
short_description: Make the container of a snapshot again, as it was
description:
  - For the way back to a container that is gone and that the files of its time would not make again, since they had
    been edited after it was started. How it was made is kept by M(composeops.hotfix.snapshot).
  - The engine makes a container of the same image, command, environment, mounts, ports, networks, limits and labels.
    It takes the place of the one that the service has now. What the program had written into the container itself,
    outside of volumes, is not in it.
  - If that very container is still there, it is started again. With O(variables) it is left alone, and nothing is
    changed.
  - An nginx of the project that leads to the service looks its name up again.
  - Compose takes it for the one that it once made, and makes another one from its files when it is next asked to.
notes:
  - The container is made before another one is removed, so that nothing is changed where the engine refuses it.
  - Its environment gets to the engine by the C(docker) command's own way to it, not as arguments that others could see.
requirements:
  - Docker Engine 20.10 or newer
extends_documentation_fragment:
  - composeops.hotfix._project
  - composeops.hotfix._project.STATE
  - composeops.hotfix._env_file
  - composeops.hotfix._attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: none
    details:
      - It makes another container each time.
options:
  project_src:
    required: true
  service:
    description:
      - Name of the service in the Compose project.
    type: str
    required: true
  snapshot:
    description:
      - The ID of the snapshot.
    type: str
    required: true
  env_file:
    description:
      - The environment file of the service, relative to O(project_src), for O(variables).
    type: path
    default: .env
  variables:
    description:
      - Variables that the container is to have with their present values in O(env_file), instead of those of its time.
      - It fails, changing nothing, where it cannot be told how the container gets them.
    type: list
    elements: str
    default: []
author:
  - composeops.hotfix contributors (@composeops)
"""

EXAMPLES = r"""
- name: Keep the state to return to, and how its container was made
  composeops.hotfix.snapshot:
    state: present
    project_src: /opt/wealth-coach-ai
    files: [.env, docker-compose.yml]
    container: wealth_coach_backend
  register: before

- name: Make that container again, but with the present keys
  composeops.hotfix.container_restore:
    project_src: /opt/wealth-coach-ai
    service: backend
    snapshot: "{{ before.id }}"
    variables: [VALID_API_KEYS]
"""

RETURN = r"""
id:
  description:
    - The ID of the container that was made or started. Empty in check mode, and where nothing was changed.
  type: str
  returned: success
name:
  description: Its name.
  type: str
  returned: success
  sample: wealth_coach_backend
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.composeops.hotfix.plugins.module_utils import _journal
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_run import answer
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Docker
from ansible_collections.composeops.hotfix.plugins.module_utils._container_restore import restore, wanted
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv import DIALECT
from ansible_collections.composeops.hotfix.plugins.module_utils._lock import at_work_on

ARGUMENTS: dict[str, Any] = {
    "project_src": {"type": "path", "required": True},
    "files": {"type": "list", "elements": "path"},
    "service": {"type": "str", "required": True},
    "snapshot": {"type": "str", "required": True},
    "env_file": {"type": "path", "default": ".env"},
    "variables": {"type": "list", "elements": "str", "default": []},
    **DIALECT,
    "state_dir": {"type": "path", "default": _journal.STATE_DIR},
}


def run(options: dict[str, Any], *, check: bool) -> dict[str, Any]:
    """Make the container that the options describe."""
    spec = wanted(options)
    made = ""
    if not check:
        with at_work_on(options["state_dir"], options["project_src"], "container_restore") as step:
            step.action, step.words["service"] = "container made again", options["service"]
            made = restore(Docker(), spec, options)
            step.result = f"container {made[:12]}" if made else "unchanged"
    return {"changed": check or bool(made), "id": made, "name": spec["name"]}


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    answer(module, lambda: run(module.params, check=module.check_mode))


if __name__ == "__main__":
    main()
