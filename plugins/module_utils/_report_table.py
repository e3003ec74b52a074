# SPDX-License-Identifier: GPL-3.0-or-later
"""A summary as a table for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.composeops.hotfix.plugins.module_utils import _report_verdict
from ansible_collections.composeops.hotfix.plugins.module_utils._checks import revision_line
from ansible_collections.composeops.hotfix.plugins.module_utils._report_text import (
    WIDTH,
    clean,
    clock,
    counted,
    filled,
    instant,
    lasting,
    wrapped,
)

# The columns of the table with their widths; the last one gets what is left.
COLUMNS = (("Issue", 22), ("Severity", 10), ("Before", 16), ("Now", 16), ("Left to do", 0))


def summary_table(summary: Mapping[str, Any], page: str = "") -> list[str]:
    """A summary as lines: the table, the evidence, the timeline, what is left to do, and the verdict.

    :param summary: of the filter ``summarise``, or a report.
    :param page: where the page lies; empty for none.
    """
    lines = [*wrapped("", f"Hot-fix summary for {clean(summary['host'])}", indent=2), "=" * WIDTH]
    actions = list(summary["actions"])
    if summary["rows"]:
        lines += [_cells([name for name, _columns in COLUMNS]), "-" * WIDTH]
        lines += [_row(row, actions) for row in summary["rows"]]
        lines.append("=" * WIDTH)
    for row in summary["rows"]:
        lines += [*_evidence(row), "-" * WIDTH]
    if summary.get("revision"):
        lines += wrapped("  source  ", clean(revision_line(summary["revision"])))
    if summary.get("workers"):
        lines += wrapped("  number  ", clean(" ".join(summary["workers"]["reasons"])))
    lines += _run(summary)
    for number, action in enumerate(actions, 1):
        lines += wrapped(f"  left {number:<3}" if number < 100 else f"  left {number} ", clean(action))
    if page:
        lines += wrapped("  page    ", clean(page))
    return lines + wrapped("", _report_verdict.last_line(summary))


def _cells(texts: Sequence[str]) -> str:
    shown = [filled(text, columns) for text, (_name, columns) in zip(texts, COLUMNS)]
    return "".join(shown).rstrip()


def _row(row: Mapping[str, Any], actions: Sequence[str]) -> str:
    """An issue with its severity, what it was and is, and the numbers of the actions that it leaves."""
    numbers = [str(actions.index(text) + 1) for text in row.get("left", []) if text in actions]
    shown = f"no. {', '.join(numbers)}"
    room = WIDTH - sum(columns for _name, columns in COLUMNS)
    left = "-" if not numbers else shown if len(shown) <= room else f"{counted(len(numbers), 'action')}"
    states = (row["before"]["status"].upper(), row["after"]["status"].upper())
    return _cells([row["issue"], row["severity"], *states, left])


def _evidence(row: Mapping[str, Any]) -> list[str]:
    head = f"{row['issue']} ({row['severity']})"
    states = f"before: {row['before']['status'].upper()}   now: {row['after']['status'].upper()}"
    lines = [f"{head}{states:>{WIDTH - len(head)}}"]
    for check in row["before"]["checks"]:
        if check["status"] != "pass":
            lines += wrapped("  before  ", clean(check["evidence"]))
    for check in row["after"]["checks"]:
        lines += wrapped("  now     ", clean(f"{check['status']}: {check['evidence']}"))
    return lines


def _run(summary: Mapping[str, Any]) -> list[str]:
    """When the run was, and for how long the service was away in it."""
    lines = []
    steps = (summary.get("timeline") or {}).get("entries") or []
    if steps:
        begin, end = (instant(steps[at]["time"]) or 0.0 for at in (0, -1))
        text = f"{counted(len(steps), 'step')} from {clock(begin)} to {clock(end)} UTC, {lasting(end - begin)} in all."
        lines += wrapped("  run     ", text)
    if summary.get("interruption"):
        lines += wrapped("  away    ", clean(summary["interruption"]["text"]))
    if summary.get("monitor"):
        lines += wrapped("  monitor ", clean(_monitor(summary)))
    return lines


def _monitor(summary: Mapping[str, Any]) -> str:
    """What the monitor says, and of which time where that is not the one after the checks alone."""
    monitor, watched = summary["monitor"], _report_verdict.watched(summary)
    when = "" if watched == "since" else f"{_report_verdict.WATCHED[watched].lower()}: "
    return f"{when}{': '.join([monitor['verdict'], *filter(None, [' '.join(monitor['reasons'])])])}"
