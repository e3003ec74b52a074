# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Set up a watch: keeps whom it tells from those who record the arguments of a task."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

# Options that may carry a secret.
HIDDEN = ("webhook", "command")


class ActionModule(ActionBase):
    """Runs the module. Callbacks, such as those of AWX, get the arguments as they are when it has run."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._hidden: dict[str, Any] = {}

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        # Kept, since a task with `until` comes here again.
        self._hidden.update({name: self._task.args.pop(name) for name in HIDDEN if name in self._task.args})
        result: dict[str, Any] = self._execute_module(
            module_args={**self._task.args, **self._hidden}, task_vars=task_vars
        )
        return result
