# SPDX-License-Identifier: GPL-3.0-or-later
"""What a report may claim: whether all is proven, and whether what the monitor says is of the time after the checks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from ansible_collections.composeops.hotfix.plugins.module_utils._report_text import instant

# Statuses of checks that fail nothing and prove nothing.
OPEN = ("not observable", "not enforced")
ALARMS = ("failed", "degraded")
# When the monitor watched, seen from the checks, as a head of what it saw.
WATCHED = {"since": "Since then", "across": "Watched since before the run", "before": "Watched before the run"}

Report = Mapping[str, Any]


def counts(report: Report) -> Counter[str]:
    """How many checks have which status now; an issue without a check was not observed."""
    return Counter(status for row in report["rows"] for status in _statuses(row))


def _statuses(row: Mapping[str, Any]) -> list[str]:
    return [check["status"] for check in row["after"]["checks"]] or ["not observable"]


def open_issues(report: Report) -> int:
    """How many issues are not proven: a check of theirs fails, could not be made, or is about what is not enforced."""
    return sum(any(status in ("fail", *OPEN) for status in _statuses(row)) for row in report["rows"])


def proven(report: Report) -> bool:
    """Whether something was checked, and nothing of it fails or was left open."""
    found = counts(report)
    return bool(found and report["fixed"]) and not any(found[status] for status in OPEN)


def said(report: Report) -> str:
    """What was not proven although nothing fails, as a part of a sentence; empty where all was, or something fails."""
    found = counts(report)
    if proven(report) or not report["fixed"]:
        return ""
    told = [f"{found[status]} {status}" for status in OPEN if found[status]]
    return f"nothing failed; {', '.join(told)}" if told else "nothing was checked"


def watched(report: Report) -> str:
    """When the monitor watched, a key of :data:`WATCHED`; empty where it did not."""
    monitor = report.get("monitor")
    if not monitor:
        return ""
    checked, begin, end = (
        instant(time) for time in (report.get("checked"), monitor["started_at"], monitor["last_sample_at"])
    )
    if checked is not None and end is not None and end < checked:
        return "before"
    return "across" if checked is not None and begin is not None and begin < checked else "since"


def since(report: Report) -> str | None:
    """The monitor's verdict, where it is about what was checked; None where there is none, or only one from before."""
    return str(report["monitor"]["verdict"]) if watched(report) in ("since", "across") else None


def alarm(report: Report) -> str:
    """The monitor's verdict where it speaks against what was proven; else empty."""
    verdict = since(report)
    return verdict if verdict and verdict in ALARMS else ""


def last_line(report: Report) -> str:
    """The sentence with which the table on the terminal ends."""
    bad, left = alarm(report), said(report)
    if left:
        line = f"{left[0].upper()}{left[1:]}."
    elif not report["fixed"]:
        line = "NOT everything is proven; see above."
    else:
        line = "Everything was proven by the run." if bad else "Everything is proven."
    return f"{line} The monitor says: {bad}." if bad else line
