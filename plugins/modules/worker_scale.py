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
  sample: SIGTTOU was sent 2 times to the supervisor of wealth_coach_backend.
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

import signal
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.composeops.hotfix.plugins.module_utils import _live_changes, _made_with
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_file import Project
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Docker
from ansible_collections.composeops.hotfix.plugins.module_utils._container_facts import live_processes
from ansible_collections.composeops.hotfix.plugins.module_utils._container_options import (
    JOURNALED,
    OPTIONS,
    STATE_DIR,
    find_container,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._processes import main_process, workers
from ansible_collections.composeops.hotfix.plugins.module_utils._server_settings import settings_of
from ansible_collections.composeops.hotfix.plugins.module_utils._server_version import package_version
from ansible_collections.composeops.hotfix.plugins.module_utils._supervisor import Look, Supervisor
from ansible_collections.composeops.hotfix.plugins.module_utils._worker_memory import Running
from ansible_collections.composeops.hotfix.plugins.module_utils._worker_scale import Scaled, Scaling, obstacle
from ansible_collections.composeops.hotfix.plugins.module_utils._worker_setting import Setting, describe, find

ARGUMENTS: dict[str, Any] = {
    **OPTIONS,
    "workers": {"type": "int"},
    "only_number": {"type": "bool", "default": False},
    "required": {"type": "bool", "default": True},
    "timeout": {"type": "int", "default": 120},
    **STATE_DIR,
}
SIGNALS = (signal.SIGTTIN, signal.SIGTTOU)


class Impossible(Exception):
    """The number cannot be changed without a restart."""


class WorkerScale:
    """One run of the module: look, decide, signal, wait."""

    def __init__(self, module: AnsibleModule, docker: Docker) -> None:
        self.module, self.docker = module, docker
        self.params: dict[str, Any] = module.params
        self.files: list[str] = self.params["files"] or []
        self.result: dict[str, Any] = {
            "changed": False,
            "possible": False,
            "running": False,
            "reason": "",
            "previous": None,
            "workers": self.params["workers"],
            "created_with": None,
            "server": {"name": None, "version": None},
            "supervisor_pid": None,
            "pids_before": [],
            "pids_after": [],
            "last_change": None,
            "signals": [],
            "image_id": None,
        }

    def run(self) -> dict[str, Any]:
        """Change the number, if it can be done."""
        if self.params["workers"] is not None and not 1 <= self.params["workers"] <= 1000:
            raise HotfixError(f"workers is {self.params['workers']}", remedy="Give a number from 1 to 1000")
        try:
            self._change()
        except Impossible as error:
            self.result["reason"] = f"{error}."
            if self.params["required"]:
                raise HotfixError(
                    f"the number of workers cannot be changed without a restart: {error}",
                    remedy="Recreate the container",
                ) from error
        return self.result

    def _change(self) -> None:
        inspect = self._inspect()
        setting = self._setting()
        supervisor = self._supervisor(inspect)
        target = self.result["workers"]
        if target is None:
            raise Impossible(describe(setting).rstrip(".") if setting else "workers is not given")
        if self.params["only_number"]:
            self._require_only_number(inspect)
        scaling = Scaling(supervisor, supervisor.signal, target, self.params["timeout"])
        try:
            supervisor.signal(0)
            before = self._rest(supervisor, scaling)
        except HotfixError as error:
            raise Impossible(error.message) from error
        count, name = len(before.pids), inspect["Name"].lstrip("/")
        done = {"possible": True, "previous": count, "pids_before": list(before.pids), "pids_after": list(before.pids)}
        self.result.update(done, changed=count != target, reason=f"{count} workers run already.")
        if count == target:
            return
        self.result["diff"] = {
            "before_header": name,
            "after_header": name,
            "before": f"workers: {count}\n",
            "after": f"workers: {target}\n",
        }
        number = abs(count - target)
        self.result["reason"] = f"It takes {_name(target > count)} {number} times to the supervisor of {name}."
        if not self.module.check_mode:
            self._report(self._scale(scaling, before, inspect), name)
            self.result["last_change"] = _live_changes.last_change(self.params, inspect)

    def _require_only_number(self, inspect: dict[str, Any]) -> None:
        folder, files, service = self.params["project_src"], self.files, self.params["service"]
        try:
            found = _made_with.difference(self.docker, Project.load(folder, files), files, service, inspect)
        except HotfixError as error:
            raise Impossible(f"what its files would make of it is not known: {error.message}") from error
        if found.reason:
            raise Impossible(f"it has to be recreated, since {found.reason}")
        self.result["image_id"] = found.image_id

    def _rest(self, supervisor: Supervisor, scaling: Scaling) -> Look:
        """The workers before the change. Who only asks need not wait when nothing has to be sent."""
        look = supervisor.look()
        if self.module.check_mode and len(look.pids) == scaling.target and not look.unreaped:
            return look
        return scaling.rest()

    def _scale(self, scaling: Scaling, before: Look, inspect: dict[str, Any]) -> Scaled:
        done: list[Scaled] = []

        def result() -> str:
            ended = "" if done else ", not completed"
            return f"{len(before.pids)} to {scaling.target}{ended}" if scaling.signals else ""

        try:
            with _live_changes.noted(self.params, inspect, result):
                done.append(scaling.run(before))
        finally:
            self.result["signals"] = [signal.Signals(number).name for number in scaling.signals]
        return done[0]

    def _report(self, scaled: Scaled, name: str) -> None:
        sent = [f"{_name(wanted == signal.SIGTTIN)} {scaled.signals.count(wanted)} times" for wanted in SIGNALS]
        said = [text for text, wanted in zip(sent, SIGNALS) if wanted in scaled.signals]
        self.result.update(
            pids_after=list(scaled.after.pids),
            seconds=scaled.seconds,
            reason=f"The supervisor of {name} got {' and '.join(said)}.",
        )

    def _inspect(self) -> dict[str, Any]:
        inspect = find_container(self.docker, self.params)
        if inspect is None or inspect["State"]["Status"] != "running":
            status = inspect["State"]["Status"] if inspect else "there is none"
            raise Impossible(f"the container does not run ({status})")
        self.result["last_change"] = _live_changes.last_change(self.params, inspect)
        self.result["running"] = True
        return inspect

    def _supervisor(self, inspect: dict[str, Any]) -> Supervisor:
        processes = live_processes(self.docker, inspect)
        found = workers(processes)
        process = main_process(processes, found)
        self.result.update(previous=len(found.pids), pids_before=found.pids, pids_after=found.pids)
        self.result["supervisor_pid"] = found.supervisor_pid
        version, supervisor = None, None
        if process is not None:
            self.result["created_with"] = settings_of(inspect, processes, found).workers
            try:
                supervisor = Supervisor(process.pid)
            except HotfixError as error:
                raise Impossible("its processes are not to be seen here: the engine is on another host") from error
            version = package_version(process.pid, found.server or "uvicorn", process.argv)
        self.result["server"] = {"name": found.server, "version": version}
        catches = supervisor is not None and supervisor.catches(*SIGNALS)
        reason = obstacle(found, process, version, catches=catches)
        if supervisor is None or reason:
            raise Impossible(reason)
        return supervisor

    def _setting(self) -> Setting | None:
        """What the files say, when the number is to come from them."""
        if self.params["workers"] is not None:
            return None
        if not self.params["project_src"]:
            raise HotfixError("workers is not given", remedy="Give it, or project_src and service instead of container")
        service = self.params["service"]
        project = Project.load(self.params["project_src"], self.params["files"])
        setting = find(Running(self.params["project_src"], service, self.files, self.docker).launch(project))
        self.result["workers"] = setting.number
        return setting


def _name(more: bool) -> str:
    return "SIGTTIN" if more else "SIGTTOU"


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        **JOURNALED,
        required_if=[("only_number", True, ("project_src",))],
        supports_check_mode=True,
    )
    change = WorkerScale(module, Docker())
    try:
        result = change.run()
    except HotfixError as error:
        signals = change.result["signals"]
        module.fail_json(msg=str(error), changed=bool(signals), signals=signals)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
