# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes all that Ansible hands to a callback as JSON, one event a line, as AWX and log collectors do."""

from __future__ import annotations

import json
import os
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: dump_results
type: notification
short_description: Write all results as JSON
description: For the test that searches them for secrets.
options: {}
"""

RESULTS = (
    "runner_on_ok runner_on_failed runner_on_skipped runner_on_unreachable runner_retry "
    "runner_item_on_ok runner_item_on_failed runner_item_on_skipped on_file_diff"
)


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "dump_results"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self.stream = open(os.environ["DUMP_RESULTS"], "a", encoding="utf-8")  # noqa: SIM115  (open until the end)
        for event in RESULTS.split():
            setattr(self, f"v2_{event}", self._writer(event))

    def _writer(self, event: str) -> Any:
        return lambda result, **_more: self._write(event, result._task, result._result)

    def _write(self, event: str, task: Any, result: Any) -> None:
        arguments = "hidden" if task.no_log is True else task.args
        json.dump(
            {"event": event, "task": task.get_name(), "arguments": arguments, "result": result},
            self.stream,
            default=str,
        )
        self.stream.write("\n")
        self.stream.flush()

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        self._write("task_start", task, task.vars)

    def v2_playbook_on_include(self, included_file: Any) -> None:
        self._write("include", included_file._task, [included_file._filename, included_file._args])

    def v2_playbook_on_stats(self, stats: Any) -> None:
        json.dump({"event": "stats", "custom": stats.custom}, self.stream, default=str)
