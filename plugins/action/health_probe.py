# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ask for health, and say what was answered while it is waited for: Ansible itself only counts the retries."""

from __future__ import annotations

import time
from typing import Any, ClassVar

from ansible.plugins.action import ActionBase
from ansible_collections.composeops.hotfix.plugins.module_utils._watch_progress import HealthProgress


class ActionModule(ActionBase):
    """Runs the module, and compares its answer with those of the tries before."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = True

    # By task and host: each try has an object of its own, in one process.
    _waits: ClassVar[dict[tuple[str, str], HealthProgress]] = {}

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        variables = task_vars or {}
        wrap = bool(self._task.async_val) and not self._connection.has_native_async
        result: dict[str, Any] = self._execute_module(task_vars=variables, wrap_async=wrap)
        if self._task.until and not self._task.no_log and "healthy" in result:
            host = str(variables.get("inventory_hostname", ""))
            progress = self._waits.setdefault((self._task._uuid, host), HealthProgress(host))
            line = progress.line(time.monotonic(), result)
            if line:
                self._display.display(line)
        return result
