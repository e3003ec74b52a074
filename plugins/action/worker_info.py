# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Watch workers, with a line of progress every ten seconds: a module says nothing before it ends."""

from __future__ import annotations

import time
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.composeops.hotfix.plugins.module_utils._watch_progress import STEP, Progress, running

# Seconds beyond the watch that the module may take to look at everything else.
GRACE = 300


class ActionModule(ActionBase):
    """Runs the module; a long watch in the background, while the workers are looked at from time to time."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        variables = task_vars or {}
        try:
            seconds = int(self._task.args.get("watch") or 0)
        except (TypeError, ValueError):
            seconds = 0  # the module says what is wrong with it
        if self._task.async_val or seconds < 2 * STEP:
            wrap = bool(self._task.async_val) and not self._connection.has_native_async
            plain: dict[str, Any] = self._execute_module(task_vars=variables, wrap_async=wrap)
            return plain
        self._task.async_val = seconds + GRACE
        try:
            started = self._execute_module(task_vars=variables, wrap_async=True)
        finally:
            self._task.async_val = 0
        if started.get("failed") or "ansible_job_id" not in started:
            return dict(started)
        folder = self.get_shell_option("async_dir", default="~/.ansible_async")
        job = {"jid": started["ansible_job_id"], "_async_dir": folder}
        self._report(seconds, job, variables)
        return self._result(job, variables)

    def _report(self, seconds: int, job: dict[str, str], variables: dict[str, Any]) -> None:
        """Say every ten seconds what the workers do, until the watch is over."""
        names = ("container", "project_src", "files", "service")
        arguments = {name: self._task.args[name] for name in names if self._task.args.get(name)}
        progress = Progress(str(variables.get("inventory_hostname", "")), seconds)
        began = time.monotonic()
        end = began + seconds
        while True:
            looked = time.monotonic()
            found = self._module("composeops.hotfix.container_info", arguments, variables)
            if time.monotonic() >= end:
                return
            self._display.display(progress.line(looked - began, found))
            # It ends early where there is nothing to watch.
            if not running(found) and self._status(job, variables).get("finished"):
                return
            time.sleep(max(min(looked + STEP, end) - time.monotonic(), 0))

    def _result(self, job: dict[str, str], variables: dict[str, Any]) -> dict[str, Any]:
        """What the module says at its end."""
        end = time.monotonic() + GRACE
        result = self._status(job, variables)
        while not result.get("finished"):
            if time.monotonic() > end:
                raise AnsibleActionFail(f"the watch of the workers did not end within {GRACE} s after its time")
            time.sleep(1)
            result = self._status(job, variables)
        self._module("ansible.legacy.async_status", {**job, "mode": "cleanup"}, variables)
        for internal in ("ansible_job_id", "started", "finished", "results_file"):
            result.pop(internal, None)
        return result

    def _status(self, job: dict[str, str], variables: dict[str, Any]) -> dict[str, Any]:
        return self._module("ansible.legacy.async_status", {**job, "mode": "status"}, variables)

    def _module(self, name: str, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        result: dict[str, Any] = self._execute_module(module_name=name, module_args=arguments, task_vars=variables)
        return result
