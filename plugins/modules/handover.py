#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: handover
version_added: 0.1.0
short_description: Let a second copy of a service take its connections while its container is replaced
description:
  - For a service that publishes its ports itself, with no proxy before it. Compose cannot replace such a container
    without an interruption, since name and port are free only once the old one is gone.
  - With O(state=started) a copy of what the service is going to be starts beside it, published at ports that the engine
    chooses, on the same addresses. With O(state=active) the kernel leads new connections to the copy, and the module
    waits until the old container's own are over; now the container can be recreated. With O(state=absent) new
    connections go to the container again, and the copy is removed once its own are over.
  - A connection that is open keeps its way. What is cut at the end of O(drain_timeout) is counted.
  - A process on the host watches the copy and takes the rules away when it ends, so that a run that was killed leaves
    no rule that leads to nobody. A copy that still serves then is used by the next run. A reboot ends both.
requirements:
  - Docker Engine 20.10 or newer with its rules in iptables, Compose 2, root
extends_documentation_fragment:
  - composeops.hotfix._project
  - composeops.hotfix._takeover
  - composeops.hotfix._attributes
attributes:
  check_mode:
    support: full
    details:
      - With O(state=started) it only says whether the service can be handed over.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  state:
    description:
      - V(started), a copy runs, if the container is going to be replaced and can be handed over.
      - V(active), new connections lead to the copy.
      - V(absent), there is neither copy nor rule.
    type: str
    choices: [started, active, absent]
    default: started
author:
  - composeops.hotfix contributors (@composeops)
"""

EXAMPLES = r"""
- name: Start a copy of the backend as its files have it now
  composeops.hotfix.handover:
    project_src: /opt/wealth-coach-ai
    service: backend
    shared_volumes: [vector_data]
  register: backend_copy

- name: Replace the container while the copy serves
  when: backend_copy.stand_in is not none
  block:
    - name: Wait until the copy is healthy
      composeops.hotfix.health_probe:
        url: http://127.0.0.1:8000/api/v1/health
        body: {status: healthy}
        container: "{{ backend_copy.stand_in.id }}"
        container_port: 8000
      register: health
      until: health.healthy
      retries: 30
      delay: 2

    - name: Lead new connections to it
      composeops.hotfix.handover:
        project_src: /opt/wealth-coach-ai
        service: backend
        state: active

    - name: Recreate the container
      composeops.hotfix.compose_up:
        project_src: /opt/wealth-coach-ai
        services: [backend]
        dependencies: false

    - name: Wait until the container itself is healthy
      composeops.hotfix.health_probe:
        url: http://127.0.0.1:8000/api/v1/health
        body: {status: healthy}
        project_src: /opt/wealth-coach-ai
        service: backend
        container_port: 8000
      register: health
      until: health.healthy
      retries: 30
      delay: 2

    - name: Take the copy away
      composeops.hotfix.handover:
        project_src: /opt/wealth-coach-ai
        service: backend
        state: absent
"""

RETURN = r"""
possible:
  description: Whether the service can be handed over, for O(state=started).
  type: bool
  returned: success
reasons:
  description: Why it cannot be.
  type: list
  elements: str
  returned: success
  sample: ["two copies would write to the same vector_data (name it in deploy_shared_volumes if they may)"]
needed:
  description: Whether the container is going to be replaced, for O(state=started). Null where that was not looked at.
  type: bool
  returned: success
stand_in:
  description: The copy; null where there is none.
  type: dict
  returned: success
  contains:
    id:
      description: Its ID.
      type: str
    name:
      description: Its name.
      type: str
    address:
      description: Its address in its first network.
      type: str
active:
  description: Whether new connections lead to the copy; with O(state=absent), whether they did before.
  type: bool
  returned: success
interrupted:
  description:
    - Proxies of the project through which requests failed while the container was recreated, for O(state=absent). They
      look the service's name up themselves (Caddy), or there is no iptables for their network. An nginx of the project
      is led like the published port.
  type: list
  elements: str
  returned: success
drained:
  description:
    - How the connections ended of what was taken out of service, the container for O(state=active), the copy for
      O(state=absent).
  type: dict
  returned: success
  contains:
    open:
      description: How many were open.
      type: int
    left:
      description: How many were still open at the end of O(drain_timeout).
      type: int
    seconds:
      description: How long it took.
      type: float
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_run import answer
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Docker
from ansible_collections.composeops.hotfix.plugins.module_utils._handover_run import HandoverRun
from ansible_collections.composeops.hotfix.plugins.module_utils._takeover import ARGUMENTS


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    answer(module, lambda: HandoverRun(module.params, Docker(), check=module.check_mode).run())


if __name__ == "__main__":
    main()
