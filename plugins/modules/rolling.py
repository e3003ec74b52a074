#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: rolling
version_added: 0.1.0
short_description: Replace the container of a service behind a proxy without an interruption
description:
  - For a service that publishes no port and that a proxy of the same project, nginx, Traefik or Caddy, leads to.
  - With O(state=started) a container as the files have it now starts beside the old one, which is not touched. With
    O(state=active) it takes over. Connections that the proxy opens to the old container's address are led to the new
    one, nginx is told to read its configuration again, the old container gets time to end what it has under way and
    is removed, and the proxy forgets it. With O(state=absent) a container that has not taken over is removed.
  - The new container gets the old one's name. Until it takes over, its name ends with C(-incoming); from then on the
    old one's ends with C(-outgoing). So the next run sees how far one has come that was killed, and completes it.
  - Traefik and Caddy keep connections to the old container open for later requests. Those that are still open at the
    end of O(drain_timeout) are closed by the application when it is told to stop, and are counted.
requirements:
  - Docker Engine 20.10 or newer, Compose 2, root, nsenter, iptables
extends_documentation_fragment:
  - composeops.hotfix._project
  - composeops.hotfix._takeover
  - composeops.hotfix._attributes
attributes:
  check_mode:
    support: full
    details:
      - With O(state=started) it only says whether the service can be replaced this way.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  state:
    description:
      - V(started), a new container runs beside the old one, if that is going to be replaced and can be this way.
      - V(active), the new container has taken over and is the only one.
      - V(absent), there is none beside the one that serves.
    type: str
    choices: [started, active, absent]
    default: started
  port:
    description:
      - The port at which the container serves. By default the one that it listens on, preferably one that its image
        names.
    type: int
    default: 0
author:
  - composeops.hotfix contributors (@composeops)
"""

EXAMPLES = r"""
- name: Start a container of the backend as its files have it now
  composeops.hotfix.rolling:
    project_src: /opt/wealth-coach-ai
    service: backend
    shared_volumes: [vector_data]
  register: backend_next

- name: Let it take over
  when: backend_next.incoming is not none
  block:
    - name: Wait until it is healthy
      composeops.hotfix.health_probe:
        url: http://127.0.0.1:8000/api/v1/health
        body: {status: healthy}
        container: "{{ backend_next.incoming.id }}"
        container_port: "{{ backend_next.port }}"
      register: health
      until: health.healthy
      retries: 30
      delay: 2

    - name: Lead the proxy to it, and take the old one away
      composeops.hotfix.rolling:
        project_src: /opt/wealth-coach-ai
        service: backend
        state: active
  rescue:
    - name: Take it away again
      composeops.hotfix.rolling:
        project_src: /opt/wealth-coach-ai
        service: backend
        state: absent
"""

RETURN = r"""
possible:
  description: Whether the service can be replaced this way, for O(state=started).
  type: bool
  returned: success
reasons:
  description: Why it cannot be.
  type: list
  elements: str
  returned: success
  sample: ["its name is fixed (container_name: wealth_coach_backend)", "it publishes ports itself"]
needed:
  description: Whether the container is going to be replaced, for O(state=started). Null where that was not looked at.
  type: bool
  returned: success
incoming:
  description: The new container; null where there is none.
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
port:
  description: The port at which the container serves, 0 for none, for O(state=started).
  type: int
  returned: success
proxies:
  description: The names of the proxies' containers, for O(state=started).
  type: list
  elements: str
  returned: success
  sample: [wealth-coach-ai-proxy-1]
drained:
  description: How the old container's connections ended, for O(state=active).
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
from ansible_collections.composeops.hotfix.plugins.module_utils._rolling_run import RollingRun
from ansible_collections.composeops.hotfix.plugins.module_utils._takeover import ARGUMENTS


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec={**ARGUMENTS, "port": {"type": "int", "default": 0}}, supports_check_mode=True)
    answer(module, lambda: RollingRun(module.params, Docker(), check=module.check_mode).run())


if __name__ == "__main__":
    main()
