#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Changes the number of workers of a running server without a restart."""

from __future__ import annotations

DOCUMENTATION = r"""
module: worker_scale
short_description: Change the number of workers of a running server, without a restart
version_added: 0.1.0
description:
  - Adds or ends workers of uvicorn or gunicorn one at a time, by C(SIGTTIN) and C(SIGTTOU) to their supervisor, and
    waits after each until the processes are as they should be. A worker that ends takes no new connections and
    finishes the requests that it has. A new one takes connections when it has loaded the application.
  - Changes no file and not the container. When the container or the host is restarted, the container starts again with
    the number that it was made with, RV(created_with). When it is recreated, with that of its files.
    Use M(composeops.hotfix.worker_count) to change the files too.
  - The signals go to the supervisor itself, as the host numbers it. That works also when another program is the
    container's first process, such as the one of C(init=true), which does not pass them on.
notes:
  - The module has to run as root on the host whose engine runs the container.
  - A new worker loads the application as it is in the container at that moment. When that fails, gunicorn and
    the newest uvicorn (0.54) end altogether, as they would at a restart.
  - uvicorn ends the newest workers, gunicorn the oldest.
options:
  workers:
    description:
      - How many workers should run.
      - By default as many as the files of O(project_src) say.
    type: int
  only_number:
    description:
      - Leave the workers alone when the running container differs from its files by more than the number of workers, so
        that it has to be recreated anyway. The reason says by what. They are left alone as well when that cannot be
        known, as where the image that the files name is not on this host.
      - What differs is for Compose to say. Build the image before, or a change of the source is not seen.
      - Needs O(project_src).
    type: bool
    default: false
  required:
    description:
      - Fail when the number cannot be changed without a restart. V(false) tells it in RV(possible) and RV(reason).
    type: bool
    default: true
  timeout:
    description:
      - Seconds for the whole change. Give as long as the application needs to load, and as its longest request takes.
    type: int
    default: 120
  state_dir:
    description:
      - Where the collection keeps its journal of the project, such as V(/var/lib/composeops). With it a change is
        written down there, and RV(last_change) tells of the last one, so that what happened before is not held against
        it.
      - Needs O(project_src). No worker is touched when the journal cannot be written, or another run is at work on it.
    type: path
requirements:
  - Docker Engine 20.10 or newer
  - uvicorn 0.30 or newer, or gunicorn
extends_documentation_fragment:
  - composeops.hotfix._attributes
  - composeops.hotfix._attributes.FULL
  - composeops.hotfix._project
  - composeops.hotfix._project.SERVICE
  - composeops.hotfix._project.CONTAINER
seealso:
  - module: composeops.hotfix.worker_count
  - module: composeops.hotfix.container_info
author:
  - composeops.hotfix contributors (@composeops)
"""

EXAMPLES = r"""
- name: Two workers in the files
  composeops.hotfix.worker_count:
    project_src: /opt/wealth-coach-ai
    service: backend
    workers: "2"

- name: And in the running container, while it serves
  composeops.hotfix.worker_scale:
    project_src: /opt/wealth-coach-ai
    service: backend

- name: See whether it could be done
  composeops.hotfix.worker_scale:
    container: wealth_coach_backend
    workers: 2
    required: false
  check_mode: true
  register: live
"""

RETURN = r"""
possible:
  description: Whether the number can be changed without a restart.
  type: bool
  returned: success
running:
  description: Whether the container runs.
  type: bool
  returned: success
reason:
  description: Why it cannot be changed, or what was done.
  type: str
  returned: success
  sample: The supervisor of wealth_coach_backend got SIGTTOU 2 times.
previous:
  description: The workers that ran before. Null when there is no running server.
  type: int
  returned: success
  sample: 4
workers:
  description: The workers that should run, and do when RV(possible) is true. Null when the files do not tell.
  type: int
  returned: success
  sample: 2
created_with:
  description:
    - The workers that a restart of the container brings back, since the server was started with that number. Null when
      it cannot be seen, as with a configuration file, or when none runs.
  type: int
  returned: success
  sample: 4
server:
  description: The server.
  type: dict
  returned: success
  contains:
    name:
      description: V(uvicorn) or V(gunicorn); null when no process has that name.
      type: str
      returned: success
    version:
      description: Its version, as installed in the container; null when it was not found.
      type: str
      returned: success
      sample: 0.34.0
supervisor_pid:
  description: The process that got the signals, as the host numbers it. Null without one.
  type: int
  returned: success
pids_before:
  description: The workers' process IDs before.
  type: list
  elements: int
  returned: success
pids_after:
  description: The workers' process IDs now.
  type: list
  elements: int
  returned: success
signals:
  description: The signals that were sent, in order. Also when the module fails after them.
  type: list
  elements: str
  returned: always
  sample: [SIGTTOU, SIGTTOU]
image_id:
  description:
    - With O(only_number), the image that the files name, as it is on this host now, when the running container differs
      from them by the number of workers at most. Else null.
  type: str
  returned: success
seconds:
  description:
    - Seconds from the first signal until all workers that were wanted took connections, and the others were gone.
  type: float
  returned: when something was changed
last_change:
  description:
    - The last change of this kind since the container was started, as the journal in O(state_dir) has it. Null without
      one.
  type: dict
  returned: success
  contains:
    time:
      description: When it was complete, RFC 3339.
      type: str
      returned: success
    oom_kills:
      description: How many processes of the container the kernel had killed by then for lack of memory.
      type: int
      returned: success
    workers:
      description: The number that was wanted.
      type: int
      returned: success
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Docker
from ansible_collections.composeops.hotfix.plugins.module_utils._container_options import JOURNALED, OPTIONS, STATE_DIR
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._worker_scale import WorkerScale

ARGUMENTS: dict[str, Any] = {
    **OPTIONS,
    "workers": {"type": "int"},
    "only_number": {"type": "bool", "default": False},
    "required": {"type": "bool", "default": True},
    "timeout": {"type": "int", "default": 120},
    **STATE_DIR,
}


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        **JOURNALED,
        required_if=[("only_number", True, ("project_src",))],
        supports_check_mode=True,
    )
    change = WorkerScale(module.params, Docker(), check=module.check_mode)
    try:
        result = change.run()
    except HotfixError as error:
        signals = change.result["signals"]
        module.fail_json(msg=str(error), changed=bool(signals), signals=signals)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
