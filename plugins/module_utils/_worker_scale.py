# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of the module worker_scale, on a container of this host."""

from __future__ import annotations

import signal
from typing import Any

from ansible_collections.composeops.hotfix.plugins.module_utils import _live_changes, _made_with
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_file import Project
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Docker
from ansible_collections.composeops.hotfix.plugins.module_utils._container_facts import live_processes
from ansible_collections.composeops.hotfix.plugins.module_utils._container_options import find_container
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._processes import main_process, workers
from ansible_collections.composeops.hotfix.plugins.module_utils._scaling import Scaled, Scaling, obstacle
from ansible_collections.composeops.hotfix.plugins.module_utils._server_settings import settings_of
from ansible_collections.composeops.hotfix.plugins.module_utils._server_version import package_version
from ansible_collections.composeops.hotfix.plugins.module_utils._supervisor import Look, Supervisor
from ansible_collections.composeops.hotfix.plugins.module_utils._worker_memory import Running
from ansible_collections.composeops.hotfix.plugins.module_utils._worker_setting import Setting, describe, find

SIGNALS = (signal.SIGTTIN, signal.SIGTTOU)


class Impossible(HotfixError):
    """The number cannot be changed without a restart; ``remedy`` is what else there is than another container."""


class WorkerScale:
    """One run of the module worker_scale: look, decide, signal, wait.

    :param params: the module's options.
    :param check: check mode: nothing is signalled.
    :ivar result: what the module returns, as far as it is known when the run fails.
    """

    def __init__(self, params: dict[str, Any], docker: Docker, *, check: bool) -> None:
        self.params, self.docker, self.check = params, docker, check
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
        """Change the number, if it can be done.

        :raises HotfixError: when it cannot though it is ``required``, or does not become right in time.
        """
        if self.params["workers"] is not None and not 1 <= self.params["workers"] <= 1000:
            raise HotfixError(f"workers is {self.params['workers']}", remedy="Give a number from 1 to 1000")
        try:
            self._change()
        except Impossible as error:
            self.result["reason"] = str(error)
            if self.params["required"]:
                raise HotfixError(
                    f"the number of workers cannot be changed without a restart: {error.message}",
                    remedy=error.remedy or "Recreate the container",
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
            raise Impossible(error.message, remedy=error.remedy) from error
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
        self.result["reason"] = f"It takes {_name(target > count)} {_times(number)} to the supervisor of {name}."
        if not self.check:
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
        if self.check and len(look.pids) == scaling.target and not look.unreaped:
            return look
        return scaling.rest()

    def _scale(self, scaling: Scaling, before: Look, inspect: dict[str, Any]) -> Scaled:
        done: list[Scaled] = []

        def result() -> str:
            ended = "" if done else ", not completed"
            return f"{len(before.pids)} to {scaling.target}{ended}" if scaling.signals else ""

        try:
            with _live_changes.noted(self.params, inspect, scaling.target, result):
                done.append(scaling.run(before))
        finally:
            self.result["signals"] = [signal.Signals(number).name for number in scaling.signals]
        return done[0]

    def _report(self, scaled: Scaled, name: str) -> None:
        sent = [f"{_name(wanted == signal.SIGTTIN)} {_times(scaled.signals.count(wanted))}" for wanted in SIGNALS]
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


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
