# SPDX-License-Identifier: GPL-3.0-or-later
"""What a report holds: the summary of a run with its timeline, the interruption, the memory and what the monitor saw.

A report is data first, as ``docs/report.schema.json`` describes it. The page and the terminal's table show that data.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.composeops.hotfix.plugins.module_utils import _report_timeline, _report_verdict
from ansible_collections.composeops.hotfix.plugins.module_utils._report_text import (
    clean,
    cleaned,
    counted,
    filled,
    number,
    width,
    wrapped,
)

SCHEMA_VERSION = 1
# A host's name that is a file's name as it is. All others get a part of their hash, so that no two share a file.
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
RESERVED = ("index",)  # the overview's
VERDICTS = ("healthy", "degraded", "failed", "unknown")
# What a report keeps of the monitor's findings; see the module monitor_info.
MONITOR = {
    "status": str,
    "started_at": str,
    "until": str,
    "last_sample_at": str,
    "interval": float,
    "duration": float,
    "verdict": str,
    "samples": float,
    "missed": float,
}
COUNTS = ("deaths", "oom_kills", "restarts")
POINT = ("latency_ms", "workers", "memory", "limit", *COUNTS, "errors", "disk_percent")
MOST_POINTS = 1000


def file_name(host: str) -> str:
    """The name of a host's files, without an ending: the host's, where that is a plain name.

    :param host: any text that an inventory has for a host's name.
    """
    if SAFE_NAME.fullmatch(host) and host.lower() not in RESERVED:
        return host
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", host).strip("._-")[:60] or "host"
    return f"{plain}-{hashlib.sha256(host.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


# --- the data ---------------------------------------------------------------------------------------------------------


def document(summary: Mapping[str, Any], observed: Mapping[str, Any]) -> dict[str, Any]:
    """A summary with all that a report holds besides.

    :param summary: of the filter ``summarise``.
    :param observed: ``time`` (RFC 3339); ``application`` with ``project_src`` and ``service``; ``journal`` (a result of
        the module ``journal``, or empty); ``run`` (the ID of the run); ``existed`` (whether a container ran before);
        ``findings`` (of the diagnosis before the run), ``workers`` (``worker_info`` after it), ``container`` (of
        ``container_info`` after it) and ``monitor`` (findings of the monitor), each of which may be empty.
    """
    journal = observed.get("journal") or {}
    problem = "" if journal.get("entries") else str(journal.get("msg") or "").rstrip(".")
    steps = _report_timeline.timeline(journal.get("entries") or [], str(observed.get("run") or ""), problem)
    away = _report_timeline.interruption(
        steps["entries"], existed=observed.get("existed") is not False, problem=steps["note"]
    )
    monitor = monitored(observed.get("monitor") or {})
    if monitor:
        away = _report_timeline.confirmed(away, monitor["series"], monitor["interval"])
    application = observed.get("application") or {}
    told = cleaned({key: value for key, value in summary.items() if key != "revision"})
    told["rows"] = [{**row, "left": _left(row, told["actions"])} for row in told["rows"]]
    return {
        **told,
        **({"revision": _revision(summary["revision"])} if summary.get("revision") else {}),
        "schema_version": SCHEMA_VERSION,
        "generated": str(observed.get("time") or ""),
        "checked": str(observed.get("time") or ""),
        "application": {key: clean(application.get(key) or "") for key in ("project_src", "service")},
        "timeline": steps,
        "interruption": away,
        "memory": {
            "before": _memory(observed.get("findings") or {}, {}),
            "after": _memory(observed.get("workers") or {}, observed.get("container") or {}),
        },
        "monitor": monitor,
    }


def renewed(kept: Mapping[str, Any], observed: Mapping[str, Any]) -> dict[str, Any]:
    """A report that was kept, with what has become known since: the rest of its run, and what the monitor saw.

    The checks stay those of then, as ``checked`` says.

    :param kept: a report as it was read from its file.
    :param observed: ``time``, ``journal`` and ``monitor``, as for :func:`document`.
    """
    run = kept["timeline"]["run"]
    entries = [entry for entry in (observed.get("journal") or {}).get("entries") or [] if entry.get("run") == run]
    monitor = monitored(observed.get("monitor") or {}) or kept["monitor"]
    away = kept["interruption"]
    if monitor and not away["asked"]:
        away = _report_timeline.confirmed(away, monitor.get("series", []), monitor["interval"])
    return {
        **kept,
        "generated": str(observed.get("time") or ""),
        # The journal forgets; what it once said is in the report.
        "timeline": _report_timeline.timeline(entries, run) if entries else kept["timeline"],
        "interruption": away,
        "monitor": monitor,
    }


def _revision(found: Mapping[str, Any]) -> dict[str, Any]:
    """What git did, with its texts made clean; a revision itself looks like a secret, and is none."""
    commits = [
        {"revision": str(commit["revision"]), "subject": clean(commit["subject"])}
        for commit in found.get("commits", [])
    ]
    plain = {name: str(found[name]) for name in ("status", "before", "after") if name in found}
    lists = {name: cleaned(found[name]) for name in ("files", "carried_over") if name in found}
    return {**plain, "commits": commits, **lists}


def _left(row: Mapping[str, Any], actions: Sequence[str]) -> list[str]:
    """Those of the actions that an issue leaves to do; the first one is about all that failed."""
    checks = row["after"]["checks"]
    left = actions[:1] if any(check["status"] == "fail" for check in checks) else []
    return [*left, *(check["evidence"] for check in checks if check["status"] not in ("pass", "fail"))]


def _memory(seen: Mapping[str, Any], container: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the workers took, by what ``worker_info`` or else ``container_info`` says; None when neither does."""
    memory = seen.get("memory") or container.get("memory") or {}
    workers = [number(worker.get("pss")) or number(worker.get("rss")) for worker in seen.get("workers") or []]
    found: dict[str, Any] = {name: _whole(memory.get(name)) for name in ("limit", "usage", "peak", "oom_kills")}
    found["workers"] = [int(figure) for figure in workers if figure]
    found["deaths"] = _whole((seen.get("deaths") or {}).get("count"))
    return found if found["usage"] is not None or found["workers"] else None


def _whole(value: Any) -> int | None:
    figure = number(value)
    return None if figure is None else int(figure)


def monitored(found: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a report keeps of the monitor's findings; None where it has not been at work."""
    if not found or found.get("status", "absent") == "absent":
        return None
    kept: dict[str, Any] = {}
    for name, kind in MONITOR.items():
        value = found.get(name)
        kept[name] = (None if value is None else clean(value)) if kind is str else number(value)
    kept["verdict"] = kept["verdict"] if kept["verdict"] in VERDICTS else "unknown"
    told = found.get("summary") or {}
    kept["reasons"] = [clean(reason) for reason in found.get("reasons") or []]
    kept["summary"] = {
        "availability_percent": number(told.get("availability_percent")),
        "latency_ms": {name: number((told.get("latency_ms") or {}).get(name)) for name in ("median", "p95", "max")},
        "memory": {name: number((told.get("memory") or {}).get(name)) for name in ("limit", "peak", "peak_percent")},
        **{name: number(told.get(name)) for name in COUNTS},
        "errors": {clean(name): number(count) for name, count in (told.get("errors") or {}).items()},
    }
    kept["series"] = [_point(point) for point in (found.get("series") or [])[:MOST_POINTS]]
    kept["events"] = [
        {name: clean(event.get(name, "")) for name in ("time", "kind", "text")} for event in found.get("events") or []
    ]
    return kept


def _point(point: Mapping[str, Any]) -> dict[str, Any]:
    up = point.get("up")
    workers = (point.get("worker_memory") or {}).items()
    return {
        "time": clean(point.get("time", "")),
        "up": up if isinstance(up, bool) else None,
        **{name: number(point.get(name)) for name in POINT},
        "worker_memory": {clean(pid): number(value) for pid, value in workers},
    }


def published(report: Mapping[str, Any]) -> dict[str, Any]:
    """A report as AWX gets it: what the monitor saw of every minute is in the file only."""
    monitor = report.get("monitor")
    short = {name: value for name, value in monitor.items() if name not in ("series", "events")} if monitor else None
    return {**report, "monitor": short}


# --- several hosts ----------------------------------------------------------------------------------------------------


def overview(reports: Mapping[str, Any], active: Iterable[str], time: str) -> dict[str, Any]:
    """The hosts of a run, with what became of each.

    :param reports: each host's report, or nothing for one that has none.
    :param active: the hosts that have not failed so far.
    :param time: RFC 3339.
    """
    going = set(active)
    hosts = [_line(host, report or {}, host in going) for host, report in reports.items()]
    return {
        "schema_version": SCHEMA_VERSION,
        "generated": time,
        "fixed": all(host["state"] == "pass" for host in hosts),
        "hosts": hosts,
    }


def _line(host: str, report: Mapping[str, Any], active: bool) -> dict[str, Any]:
    name = clean(host)
    if not report:
        reason = "it was not its turn yet" if active else "the run failed there before its report"
        missing = dict.fromkeys(("page", "issues", "fixed", "proven", "left", "interruption", "monitor"))
        return {"host": name, "state": "not observable", "text": f"no report: {reason}", **missing}
    return {
        "host": name,
        "state": "pass" if report["fixed"] else "fail",
        "text": _outcome(report),
        "page": f"{file_name(host)}.html",
        "issues": sum(row["before"]["status"] == "fail" for row in report["rows"]),
        "fixed": fixed(report),
        "proven": _report_verdict.proven(report),
        "left": len(report["actions"]),
        "interruption": report["interruption"]["text"],
        "monitor": _report_verdict.since(report),
    }


def _outcome(report: Mapping[str, Any]) -> str:
    bad, left = _report_verdict.alarm(report), _report_verdict.said(report)
    number = counted(_report_verdict.open_issues(report), "issue is", "issues are")
    whole = "everything was proven" if bad else "everything is proven"
    text = left or (whole if report["fixed"] else f"{number} not proven")
    return f"{text}; the monitor says {bad}" if bad else text


def fixed(report: Mapping[str, Any]) -> int:
    """How many issues failed before and do not now."""
    return sum(row["before"]["status"] == "fail" and row["after"]["status"] == "pass" for row in report["rows"])


def overview_table(found: Mapping[str, Any], page: str = "") -> list[str]:
    """The overview as lines of at most 80 columns.

    :param page: where the overview's page lies.
    """
    longest = max([width(host["host"]) for host in found["hosts"]] + [4])
    column = min(longest, 30) + 2
    lines = [filled(f"Overview of {counted(len(found['hosts']), 'host')}", 40), "=" * 80]
    for host in found["hosts"]:
        mark = _mark(host)
        left = f"; {counted(host['left'], 'action')} left" if host["left"] else ""
        head = filled(f"{mark:<6}{host['host']}", 6 + column) if width(host["host"]) < column else f"{mark:<6}"
        text = f"{host['text']}{left}" if width(host["host"]) < column else f"{host['host']}: {host['text']}{left}"
        lines += wrapped(head, text)
    return [line.rstrip() for line in lines] + (wrapped("Page  ", page) if page else [])


def _mark(host: Mapping[str, Any]) -> str:
    if host["state"] == "fail" or host["monitor"] == "failed":
        return "FAIL"
    return "?" if not host["proven"] else "!" if host["monitor"] == "degraded" else "ok"
