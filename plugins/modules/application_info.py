#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Find the applications that a host runs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: application_info
short_description: Find the applications that a host runs, and their Compose projects
version_added: 0.1.0
description:
  - Names every container of the host that serves with uvicorn or gunicorn, whether it runs or not, with the Compose
    project, service and files that it was made from, and where it answers.
  - For the first minute on a host of which nobody knows where its application is.
notes:
  - Containers of C(docker compose run), and those that this collection makes for a while, are left out.
  - A program that calls uvicorn itself is recognised while a process of it is named so, or by its command line.
options: {}
requirements:
  - Docker Engine 20.10 or newer
extends_documentation_fragment:
  - composeops.hotfix._attributes
  - composeops.hotfix._attributes.INFO
seealso:
  - module: composeops.hotfix.container_info
author:
  - composeops.hotfix contributors (@composeops)
"""

EXAMPLES = r"""
- name: Find the applications
  composeops.hotfix.application_info:
  register: found

- name: Show where they are
  ansible.builtin.debug:
    msg: "{{ item.service }} of {{ item.project_src }}"
  loop: "{{ found.applications }}"
  loop_control:
    label: "{{ item.container }}"
"""

RETURN = r"""
applications:
  description:
    - The applications, the likeliest first. One that Compose made from files that are there comes before others, then
      one that runs, then one that answers on the host.
  type: list
  elements: dict
  returned: success
  contains:
    project:
      description: Name of the Compose project, empty where Compose has not made it.
      type: str
    project_src:
      description: Directory of the Compose project, else empty.
      type: str
      sample: /opt/wealth-coach-ai
    project_src_exists:
      description: Whether that directory is there.
      type: bool
    files:
      description: The Compose files that it was made from, relative to RV(applications[].project_src).
      type: list
      elements: str
      sample: [docker-compose.yml]
    service:
      description: Name of the Compose service, else empty.
      type: str
    container:
      description: Name of the container.
      type: str
    image:
      description: The image as it was named when the container was created.
      type: str
    status:
      description: V(created), V(running), V(paused), V(restarting), V(removing), V(exited) or V(dead).
      type: str
    server:
      description: V(uvicorn) or V(gunicorn).
      type: str
    workers:
      description: Live workers.
      type: int
    ports:
      description: Published TCP ports, as RV(composeops.hotfix.container_info#module:container.ports).
      type: list
      elements: dict
    url:
      description: Where it answers on the host, empty where it publishes no port.
      type: str
      sample: http://127.0.0.1:8000
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.composeops.hotfix.plugins.module_utils._applications import find
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Docker
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    try:
        found = find(Docker())
    except HotfixError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, applications=found)


if __name__ == "__main__":
    main()
