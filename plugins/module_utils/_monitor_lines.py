# SPDX-License-Identifier: GPL-3.0-or-later
"""What a watch has shown, as lines for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.composeops.hotfix.plugins.module_utils._monitor import clean, plural, span
from ansible_collections.composeops.hotfix.plugins.module_utils._workers import human

WIDTH = 80
# Events shown: of the present state, and of the whole watch.
FEW, MANY = 5, 20
COLUMN = 13

Observed = Mapping[str, Any]


def lines(found: Observed, host: str, service: str, whole: bool = False) -> list[str]:
    """The verdict, its reasons, the figures and the last events, as lines of at most 80 columns.

    :param found: what the module ``monitor_info`` returns.
    :param host: the host's name in the inventory.
    :param service: the Compose service.
    :param whole: the figures of the whole watch instead of those of the last sample.
    """
    head = f"Monitor of {service} on {host}: {str(found['verdict']).upper()}"
    shown = [*_wrapped("", head), "=" * WIDTH, *_wrapped("", _when(found))]
    if found["status"] == "absent":
        return shown
    for reason in found["reasons"]:
        shown += _wrapped("  - ", reason)
    shown += ["", "The whole watch" if whole else "The last sample"]
    for name, text in _whole(found) if whole else _latest(found):
        shown += _wrapped(f"  {name:<{COLUMN}}", text)
    events = found["events"][-(MANY if whole else FEW) :]
    if events:
        shown += ["", "The last events" if len(events) < len(found["events"]) else "Events"]
    for event in events:
        shown += _wrapped(f"  {_short(event['time'])}  ", event["text"])
    return shown


def _when(found: Observed) -> str:
    """Since when and until when, in one sentence or two."""
    status = found["status"]
    if status == "absent":
        return "There is no watch. Start one with: -e monitor_action=start"
    began, end = _long(found["started_at"]), _long(found["until"])
    number = f"{plural(found['samples'], 'sample')} taken" + (f", {found['missed']} missed" if found["missed"] else "")
    if status == "running":
        last = f", the last one at {_long(found['last_sample_at'])}" if found["last_sample_at"] else ""
        return f"Running since {began}, one sample every {span(found['interval'])}; ends {end}. {number}{last}."
    word = "Ended" if status == "ended" else "Stopped before its time; began"
    if status == "ended":
        return f"Began {began}, ended {end}; one sample every {span(found['interval'])}. {number}."
    return f"{word} {began}, last seen {_long(found['last_sample_at']) or 'never'}. {number}."


def _latest(found: Observed) -> Iterator[tuple[str, str]]:
    one = found["latest"]
    if not one:
        return
    if one.get("up") is None:
        yield "health", "not asked"
    elif one.get("up"):
        latency = one.get("latency_ms")
        yield "health", f"healthy, in {latency:g} ms" if latency is not None else "healthy"
    else:
        yield "health", f"NOT healthy, HTTP {one['status']}" if one.get("status") else "NOT healthy"
    engine = "; the engine does NOT answer" if one.get("engine") == "down" else ""
    yield "container", f"{one.get('container')}, restart policy {one.get('policy') or 'unknown'}{engine}"
    if one.get("run"):
        yield "run", f"{one['run']} is at work, or was since the sample before"
    if one.get("workers") is not None:
        limit = f" of {human(one['limit'])}" if one.get("limit") else ""
        memory = f"; memory {human(one['memory'])}{limit}" if one.get("memory") is not None else ""
        yield "workers", f"{one['workers']}{memory}"
    if one.get("disk_percent") is not None:
        yield "disk", f"{one['disk_percent']:g} % full"
    yield from _price(found)


def _whole(found: Observed) -> Iterator[tuple[str, str]]:
    figures = found["summary"]
    percent, latency, memory = figures["availability_percent"], figures["latency_ms"], figures["memory"]
    yield "availability", f"{percent:g} % of the samples" if percent is not None else "not known"
    if latency["median"] is not None:
        times = ", ".join(f"{name} {latency[name]:g} ms" for name in ("median", "p95", "max"))
        yield "latency", times
    yield "deaths", plural(figures["deaths"], "worker")
    yield "killed", f"{plural(figures['oom_kills'], 'process', 'processes')} for lack of memory"
    yield "restarts", str(figures["restarts"])
    if memory["peak"] is not None:
        limit = f" of {human(memory['limit'])} ({memory['peak_percent']:g} %)" if memory["limit"] else ""
        yield "memory", f"{human(memory['peak'])}{limit} at most"
    lines_found = ", ".join(f"{name} {number}" for name, number in sorted(figures["errors"].items()) if number)
    yield "log", lines_found or "none of the patterns"
    if found["notified"]:
        yield "told", ", ".join(found["notified"])
    yield from _price(found)


def _price(found: Observed) -> Iterator[tuple[str, str]]:
    cost = found["cost"]
    if cost["cpu_percent"] is not None:
        yield "its own cost", f"{cost['cpu_percent']:g} % of a CPU, {human(cost['memory'])} of memory at most"


def _long(instant: str | None) -> str:
    return (instant or "").replace("T", " ").replace("Z", " UTC")


def _short(instant: str) -> str:
    """Month, day and time; a watch takes a day or a few."""
    return _long(instant)[5:19]


def _wrapped(head: str, text: str) -> list[str]:
    indent = " " * len(head)
    return textwrap.wrap(clean(text), WIDTH, initial_indent=head, subsequent_indent=indent) or [head.rstrip()]
