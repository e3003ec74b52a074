#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: import_probe
version_added: 0.1.0
short_description: See whether a service's new image can import its application, while the old one serves
description:
  - Sees first whether the engine starts a container of the service as its files say, with its user, mounts and devices.
    In that container runs nothing.
  - Starts a container of a Compose service's current image and configuration that imports the application and ends.
    Most applications read their settings while they are imported, so that a malformed one shows before it costs a
    restart.
  - The running service is not touched. The container publishes no port and is removed however the module ends.
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
  timeout:
    description: Seconds that it may take.
    type: int
    default: 60
seealso:
  - module: composeops.hotfix.shutdown_probe
author:
  - composeops.hotfix contributors (@composeops)
"""

EXAMPLES = r"""
- name: Try the image that was built
  composeops.hotfix.import_probe:
    project_src: /opt/wealth-coach-ai
    service: backend
  register: tried
  failed_when: tried.refuted
"""

RETURN = r"""
refusal:
  description:
    - Why the engine cannot start a container of the service as its files say, or empty.
    - Not proven by a fixed address that the running container has.
  type: str
  returned: success
  sample: "docker compose run failed (exit code 1): unable to find user app: no matching entries in passwd file"
application:
  description: The import string; empty where the engine starts no container.
  type: str
  returned: success
  sample: backend.main:app
imported:
  description: Whether the application could be imported.
  type: bool
  returned: success
refuted:
  description:
    - Whether it was proven that it cannot, by the engine or by the import. False also where it took too long, or where
      the operating system refused something, which it may grant to the service itself.
  type: bool
  returned: success
error:
  description: The class of the exception, or null.
  type: str
  returned: success
  sample: ValidationError
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
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    options = module.params
    exit_on_sigterm()
    try:
        files, timeout = options["files"] or (), max(options["timeout"], 1)
        probe = Probe(Docker(), options["project_src"], files, options["service"], timeout, isolated=False)
        refusal = probe.refusal()
        none = {"application": "", "imported": False, "refuted": True, "error": None}
        result = {"refusal": refusal, **(none if refusal else probe.imports(options["application"]))}
    except HotfixError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
