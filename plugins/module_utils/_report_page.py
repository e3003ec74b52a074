# SPDX-License-Identifier: GPL-3.0-or-later
"""What the pages of a report show: its texts, figures, and the geometry of its drawings.

Every text in it is escaped for HTML here, once and for all, so that a template may insert whatever it gets from here
and must insert nothing else. (ansible.builtin.template does not heed Jinja's ``autoescape``.)
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.composeops.hotfix.plugins.module_utils import _report_charts, _report_document, _report_verdict
from ansible_collections.composeops.hotfix.plugins.module_utils._checks import WORST_FIRST, revision_line
from ansible_collections.composeops.hotfix.plugins.module_utils._report_document import fixed
from ansible_collections.composeops.hotfix.plugins.module_utils._report_text import (
    clean,
    clock,
    counted,
    instant,
    lasting,
    number,
    size,
)

MARKS = {"pass": "✓", "fail": "✗", "action": "!", "not enforced": "–", "not observable": "?"}
STATE_WORDS = {"pass": "pass", "fail": "fail", "action": "to do", "not enforced": "not enforced"}
MONITOR_STATES = {
    "healthy": ("pass", "healthy"),
    "degraded": ("action", "degraded"),
    "failed": ("fail", "failed"),
    "unknown": ("not observable", "unknown"),
}
MEMORY = {
    "count": "Workers",
    "each": "Memory of each",
    "usage": "Used by all of the container",
    "peak": "At most since its start",
    "limit": "Limit",
    "oom_kills": "Killed for lack of memory",
    "deaths": "Deaths of workers",
}
NO_MONITOR = (
    "Nothing was watched over time. Playbook composeops.hotfix.monitor watches the application for 24 hours; a report "
    "made after that shows its latency, memory and deaths."
)


def page(report: Mapping[str, Any]) -> dict[str, Any]:
    """What the page of a host shows: the report, and what is reckoned from it. All texts are escaped for HTML."""
    monitor = report["monitor"]
    steps = report["timeline"]["entries"]
    shown = {
        "report": _report_document.published(report),
        "title": f"Hot-fix report for {report['host']}",
        "time": _times(report),
        "marks": MARKS,
        "words": STATE_WORDS,
        "verdict": _verdict(report),
        "counts": _headline(report),
        "rows": [_row(row, report["actions"]) for row in report["rows"]],
        "steps": [{**step, "clock": clock(instant(step["time"]) or 0.0)} for step in steps],
        "span": _span(report["timeline"]),
        "timeline": _report_charts.timeline(steps, report["interruption"]["windows"]),
        "memory": _report_charts.bars(report["memory"]),
        "memory_figures": MEMORY,
        "memory_rows": [
            {"name": name, **_sizes(report["memory"][name])}
            for name in _report_charts.STATES
            if report["memory"][name] is not None
        ],
        "monitor": {**_monitor(monitor), **_badge(report)} if monitor else None,
        "no_monitor": NO_MONITOR,
        "source": clean(revision_line(report["revision"])) if report.get("revision") else "",
    }
    escaped_view: dict[str, Any] = escaped(shown)
    return escaped_view


def overview_page(found: Mapping[str, Any]) -> dict[str, Any]:
    """What the page of several hosts shows. All texts are escaped for HTML."""
    hosts = [
        {
            **host,
            **_host_state(host),
            "since": _since(host["monitor"]),
            "note": "" if host["proven"] and host["monitor"] not in _report_verdict.ALARMS else host["text"],
            "issues": f"{host['fixed']} of {counted(host['issues'], 'issue')}" if host["page"] else "–",
            "left": str(host["left"]) if host["page"] else "–",
            "interruption": host["interruption"] or "–",
        }
        for host in found["hosts"]
    ]
    view = {**found, "hosts": hosts, "time": spoken(found["generated"]), "verdict": _verdict_of_all(found)}
    escaped_view: dict[str, Any] = escaped(view)
    return escaped_view


def _shown(status: str, word: str) -> dict[str, str]:
    """A status as it is shown: its class in the style, its mark, and what stands beside it."""
    return {"state": status if status in ("pass", "fail", "action") else "unknown", "mark": MARKS[status], "word": word}


def _since(verdict: str | None) -> dict[str, str] | None:
    return _shown(*MONITOR_STATES[verdict]) if verdict in MONITOR_STATES else None


def _verdict(report: Mapping[str, Any]) -> dict[str, str]:
    """Whether all is proven, as the page's first sentence."""
    left = _report_verdict.said(report)
    if left:
        return _shown("not observable", f"{left[0].upper()}{left[1:]}")
    if not report["fixed"]:
        return _shown("fail", "Not everything is proven")
    is_or_was = "was" if _report_verdict.alarm(report) else "is"
    return _shown("pass", f"Everything {is_or_was} proven on the running container")


def _badge(report: Mapping[str, Any]) -> dict[str, Any]:
    """When the monitor watched; its verdict stands for itself only where it is not about what ran before the run."""
    when = _report_verdict.WATCHED[_report_verdict.watched(report)]
    return {"when": when, "badge": _since(_report_verdict.since(report))}


def _host_state(host: Mapping[str, Any]) -> dict[str, str]:
    if not host["page"]:
        return _shown("not observable", "no report")
    if host["state"] == "fail":
        return _shown("fail", "not proven")
    return _shown("pass", "proven") if host["proven"] else _shown("not observable", "not all proven")


def _verdict_of_all(found: Mapping[str, Any]) -> dict[str, str]:
    """The same of several hosts, the worst first."""
    if not found["fixed"]:
        return _shown("fail", "Not everything is proven on each of them")
    for verdict in _report_verdict.ALARMS:
        number = sum(host["monitor"] == verdict for host in found["hosts"])
        if number:
            status = MONITOR_STATES[verdict][0]
            return _shown(status, f"Nothing failed, but the monitor says {verdict} of {counted(number, 'host')}")
    if not all(host["proven"] for host in found["hosts"]):
        return _shown("not observable", "Nothing failed, but not everything is proven on each of them")
    return _shown("pass", "Everything is proven on each of them")


def escaped(data: Any) -> Any:
    """Data with each of its texts escaped, names in dictionaries included."""
    if isinstance(data, str):
        return html.escape(data)
    if isinstance(data, Mapping):
        return {escaped(name): escaped(value) for name, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [escaped(value) for value in data]
    return data


def spoken(time: str) -> str:
    """A time with its day, as people write it."""
    seconds = instant(time)
    return clock(seconds, "%d %B %Y, %H:%M UTC").lstrip("0") if seconds is not None else ""


def _times(report: Mapping[str, Any]) -> str:
    """When the checks were made, and when the report was, if that was later."""
    made = f", report of {spoken(report['generated'])}" if report["generated"] != report["checked"] else ""
    return f"checked on {spoken(report['checked'])}{made}" if report["checked"] else ""


def _headline(report: Mapping[str, Any]) -> list[dict[str, str]]:
    """The few figures that come first."""
    unproven = _report_verdict.open_issues(report)
    broken = sum(row["before"]["status"] == "fail" for row in report["rows"])
    away = report["interruption"]
    seconds = away["seconds"]
    short = {
        "none": "none",
        "bridged": "none known",
        "estimated": f"≤ {lasting(seconds)}" if seconds is not None else "unknown",
    }.get(away["status"], "not measured")
    told = {
        "none": "the container was not replaced",
        "bridged": "another container served meanwhile",
        "estimated": "from the journal, not by requests",
    }.get(away["status"], "see the timeline")
    left = len(report["actions"])
    return [
        {"label": "Issues fixed", "value": f"{fixed(report)} of {broken}", "note": "failed before, proven now"},
        {"label": "Not proven", "value": str(unproven), "note": f"of {counted(len(report['rows']), 'issue')}"},
        {"label": "Interruption", "value": short, "note": told},
        {"label": "Left to do", "value": str(left), "note": "by a person"},
    ]


def _row(row: Mapping[str, Any], actions: Sequence[str]) -> dict[str, Any]:
    left = [{"number": actions.index(text) + 1, "text": text} for text in row.get("left", []) if text in actions]
    # What is not as it should be comes first.
    checks = sorted(row["after"]["checks"], key=lambda check: WORST_FIRST.index(check["status"]))
    return {**row, "after": {**row["after"], "checks": checks}, "left": left}


def _span(found: Mapping[str, Any]) -> str:
    if not found["entries"]:
        return ""
    begin, end = (instant(found["entries"][at]["time"]) or 0.0 for at in (0, -1))
    day = clock(begin, "%d %B %Y").lstrip("0")
    who = f", {found['playbook']}" if found["playbook"] else ""
    by = f" by {found['by']}" if found["by"] else ""
    return f"{day}, {clock(begin)} to {clock(end)} UTC ({lasting(end - begin)}){who}{by}"


def _sizes(state: Mapping[str, Any]) -> dict[str, str]:
    def told(value: int | None) -> str:
        return "not known" if value is None else size(value)

    return {
        "limit": "none" if state["limit"] is None else size(state["limit"]),
        "usage": told(state["usage"]),
        "peak": told(state["peak"]),
        "each": ", ".join(map(size, state["workers"])) or "not known",
        "count": str(len(state["workers"])) if state["workers"] else "not known",
        "oom_kills": "not known" if state["oom_kills"] is None else str(state["oom_kills"]),
        "deaths": "not known" if state["deaths"] is None else str(state["deaths"]),
    }


def _monitor(monitor: Mapping[str, Any]) -> dict[str, Any]:
    told, series = monitor["summary"], monitor["series"]
    known = _report_charts.moments(series)
    days = {clock(time, "%d %b") for time, _point in known}
    form = "%H:%M:%S" if len(days) == 1 else "%d %b %H:%M"
    return {
        "span": _watched(monitor),
        "figures": _figures(monitor),
        "latency": _report_charts.latency(series, told),
        "memory": _report_charts.memory(series),
        "happenings": _report_charts.happenings(series),
        "rows": [_point_row(clock(time, form), point) for time, point in known],
        "events": [
            {**event, "clock": clock(instant(event["time"]) or 0.0, "%d %b %H:%M:%S")} for event in monitor["events"]
        ],
        "errors": [{"name": name, "count": f"{count or 0:.0f}"} for name, count in told["errors"].items()],
    }


def _watched(monitor: Mapping[str, Any]) -> str:
    begin, end = instant(monitor["started_at"]), instant(monitor["last_sample_at"])
    if begin is None or end is None:
        return "No sample was taken."
    goes_on = " It goes on." if monitor["status"] == "running" else ""
    missed = f", {monitor['missed']:.0f} missed" if monitor["missed"] else ""
    return (
        f"Watched for {lasting(end - begin)}, from {spoken(monitor['started_at'])} to "
        f"{spoken(monitor['last_sample_at'])}: {monitor['samples'] or 0:.0f} samples{missed}.{goes_on}"
    )


def _figures(monitor: Mapping[str, Any]) -> list[dict[str, str]]:
    told = monitor["summary"]
    part = told["memory"]["peak_percent"]
    figures = [
        ("Answered", told["availability_percent"], "{:.6g} %", ""),
        ("Latency, median", told["latency_ms"]["median"], "{:.4g} ms", ""),
        ("Latency, 95 %", told["latency_ms"]["p95"], "{:.4g} ms", "of the answers are faster"),
        ("Latency, longest", told["latency_ms"]["max"], "{:.4g} ms", ""),
        ("Memory at most", told["memory"]["peak"], "", f"{part:.0f} % of the limit" if part is not None else ""),
        ("Deaths", told["deaths"], "{:.0f}", "of workers"),
        ("Out of memory", told["oom_kills"], "{:.0f}", "kills by the kernel"),
        ("Restarts", told["restarts"], "{:.0f}", "of the container"),
    ]
    return [
        {"label": label, "value": form.format(value) if form else size(value), "note": note}
        for label, value, form, note in figures
        if value is not None
    ]


def _point_row(time: str, point: Mapping[str, Any]) -> dict[str, Any]:
    def told(value: float | None, form: str = "{:.0f}") -> str:
        return "–" if value is None else form.format(value)

    workers, used = _report_charts.workers_memory(point), number(point["memory"])
    return {
        "time": time,
        "up": {True: "yes", False: "no"}.get(point["up"], "not asked"),
        "latency": told(point["latency_ms"], "{:.4g}"),
        "workers": "–" if workers is None else size(workers),
        "used": "–" if used is None else size(used),
        "limit": "–" if point["limit"] is None else size(point["limit"]),
        **{name: told(point[name]) for name in _report_charts.KINDS},
        "happened": any(point[name] for name in _report_charts.KINDS),
    }
