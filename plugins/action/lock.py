# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Take the lock of a project: says on the host who runs, and which run of this controller is gone."""

from __future__ import annotations

from typing import Any

from ansible import context
from ansible.plugins.action import ActionBase
from ansible_collections.composeops.hotfix.plugins.module_utils import _controller


class ActionModule(ActionBase):
    """Runs the module, and once more when only the controller can say whether the lock that it met is stale."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        variables = task_vars or {}
        holder = _controller.holder(variables, context.CLIARGS.get("args") or ())
        result = self._module(variables, holder)
        lock = result.pop("lock", None)
        if result.pop("ask", False) and not _controller.lives(int(lock["pid"]), lock["started"]):
            result = self._module(variables, holder, ended=lock["run"])
            for internal in ("lock", "ask"):
                result.pop(internal, None)
        message = result.get("message")
        if message and not result["acquired"] and not self._task.check_mode:
            del result["message"]
            return {**result, "failed": True, "msg": message}
        if message:
            result["warnings"] = [*result.get("warnings", []), message]
        return result

    def _module(self, variables: dict[str, Any], holder: dict[str, str], ended: str = "") -> dict[str, Any]:
        arguments = {**self._task.args, "holder": holder, "ended": ended}
        result: dict[str, Any] = self._execute_module(
            module_name="composeops.hotfix.lock", module_args=arguments, task_vars=variables
        )
        # It tells the world nothing, and would show with -v.
        result.get("invocation", {}).get("module_args", {}).pop("holder", None)
        return result
