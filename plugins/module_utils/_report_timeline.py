# SPDX-License-Identifier: GPL-3.0-or-later
"""The timeline of a run from its journal, and for how long the service was away in it.

Nobody asks the service again and again during a run. What the journal says of each step bounds for how long it can
have been away: from the moment at which Compose began to replace the container until it was found healthy. Where a copy
served meanwhile nothing is claimed but that, and that it was noted how many connections were cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.composeops.hotfix.plugins.module_utils._report_text import (
    clean,
    clock,
    counted,
    instant,
    lasting,
    number,
    rfc3339,
)

Entry = Mapping[str, Any]

# What the journal notes of every entry; all else are further words.
TITLES = {
    "run began": "The run began",
    "lock taken over": "The lock of a run that had ended was taken over",
    "present": "The state to return to was kept",
    "closed": "What an earlier run had left unfinished was closed",
    "kept": "The present state was kept as well",
    "staged": "Files were changed",
    "built": "The image was built",
    "started": "What the service depends on was started",
    "copy started": "A copy of the new container was started",
    "handover begun": "The copy took over",
    "recreated": "The container was recreated",
    "restarted": "The process was restarted",
    "healthy": "The service answered as a healthy one does",
    "handover ended": "The container took over from its copy",
    "new container started": "A new container was started beside the old one",
    "new container removed": "A new container that had not taken over was removed",
    "rolling begun": "The new container took over",
    "rolling ended": "The old container was removed",
    "workers scaled": "The number of workers was changed while they served",
    "rollback begun": "The return to an earlier state began",
    "restored": "Files were put back",
    "rung": "Part of the state from before was put back",
    "rolled back": "The return was proven",
    "committed": "The state that was proven was kept",
    "run ended": "The run ended",
}
UNCHANGED = {
    "present": "The state to return to was kept already",
    "built": "The image was the same already",
    "recreated": "The container was not recreated, since nothing differed",
    "committed": "The state that was proven was kept already",
    "restored": "Files were as before already",
}
# Bookkeeping that says nothing about the run.
LEFT_OUT = ("pruned",)
# Results that say no more than the title.
PLAIN = ("", "changed", "unchanged", "continued")
NO_ENTRIES = "the journal on the host has no entry of this run"


def timeline(entries: Iterable[Entry], run: str = "", problem: str = "") -> dict[str, Any]:
    """The steps of a run, oldest first.

    :param entries: of the journal, as the module ``journal`` reads them.
    :param problem: why there are none.
    :returns: ``run``, ``began``, ``ended`` (None while it goes on), ``by``, ``playbook``, ``note`` (why there are no
        steps, else empty) and ``entries``, each with ``time``, ``action``, ``text``, ``result``, ``seconds`` and
        ``failed``.
    """
    listed = [entry for entry in entries if instant(entry.get("time")) is not None]
    listed.sort(key=lambda entry: instant(entry["time"]) or 0.0)
    # A run says twice that it has a state to return to: before its first change, and when it deploys.
    kept = [entry for entry in listed if entry.get("action") == "present"]
    steps = [
        _step(entry)
        for entry in listed
        if entry.get("action") not in LEFT_OUT and (entry not in kept[1:] or entry.get("result") != "continued")
    ]
    first: Entry = next((entry for entry in listed if entry.get("action") == "run began"), {})
    ended = [entry["time"] for entry in listed if entry.get("action") == "run ended"]
    return {
        "run": clean(run or (listed[0].get("run", "") if listed else "")),
        "began": steps[0]["time"] if steps else None,
        "ended": str(ended[-1]) if ended else None,
        "by": clean(first.get("user", "")),
        "playbook": clean(first.get("playbook", "")),
        "note": "" if steps else clean(problem or NO_ENTRIES),
        "entries": steps,
    }


def _step(entry: Entry) -> dict[str, Any]:
    action, result = clean(entry.get("action", "")), clean(entry.get("result", ""))
    # A run that goes on with a state that is kept says "continued".
    same = result in ("unchanged", "continued")
    title = UNCHANGED[action] if same and action in UNCHANGED else TITLES.get(action, action)
    failed = action not in ("run ended", "healthy") and result == "failed"
    files = [clean(name) for name in entry.get("files", [])]
    told = [title + (" without success" if failed else "")]
    told += [", ".join(files)] if files else []
    told += [] if result in PLAIN or failed else [result]
    return {
        "time": str(entry["time"]),
        "action": action,
        "text": ": ".join(told),
        "result": result,
        "seconds": _figure(entry.get("seconds")),
        "failed": failed or (action == "run ended" and result == "failed"),
    }


def _figure(text: Any) -> float | None:
    """Seconds, which the journal keeps as text."""
    try:
        return number(float(text))
    except (TypeError, ValueError):
        return None


def interruption(steps: Sequence[Mapping[str, Any]], *, existed: bool = True, problem: str = "") -> dict[str, Any]:
    """For how long the service was away in a run, by what the journal shows.

    :param steps: of :func:`timeline`.
    :param existed: whether a container ran before the run.
    :param problem: why there are no steps.
    :returns: ``status``: ``none`` (the container was not touched), ``bridged`` (another one served meanwhile),
        ``estimated`` (``seconds`` is the most that it can have been) or ``not measured``; ``way``; ``seconds``;
        ``windows`` with ``from``, ``until`` (None when the end is not known), ``seconds`` and ``bridged``; ``text``.
    """
    windows = _windows(steps)
    found = _told(steps, windows, existed, problem)
    status, seconds, text = found
    return {
        "status": status,
        "way": _way(steps, windows),
        "seconds": seconds,
        "windows": windows,
        "text": text,
        "asked": None,
    }


def _windows(steps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The spans in which a container was replaced or restarted, until it was healthy."""
    windows: list[dict[str, Any]] = []
    begun: float | None = None
    covered, last = False, None
    for step in steps:
        action, time = step["action"], instant(step["time"]) or 0.0
        if action in ("handover begun", "rolling begun"):
            covered = True
        replaced = action == "recreated" and step["result"] in ("changed", "failed")
        if begun is None and (replaced or action == "restarted"):
            # Of a restart only the end is noted: it lies after the entry before it.
            begun = time - (step["seconds"] or 0.0) if replaced else last if last is not None else time
            windows.append({"from": rfc3339(begun), "until": None, "seconds": None, "bridged": covered})
        elif begun is not None and action == "healthy":
            windows[-1].update(until=rfc3339(time), seconds=round(time - begun, 1))
            begun = None
        if action in ("handover ended", "rolling ended"):
            covered = False
        last = time
    return windows


def _way(steps: Sequence[Mapping[str, Any]], windows: Sequence[Mapping[str, Any]]) -> str:
    actions = [step["action"] for step in steps]
    named = (("handover begun", "handover"), ("rolling begun", "rolling"), ("workers scaled", "live"))
    for action, way in named:
        if action in actions:
            return way
    return "" if not windows else "restart" if "restarted" in actions else "recreate"


def _told(
    steps: Sequence[Mapping[str, Any]], windows: Sequence[Mapping[str, Any]], existed: bool, problem: str
) -> tuple[str, float | None, str]:
    """Status, seconds and a sentence."""
    if not steps:
        return "not measured", None, f"Not measured: {problem or NO_ENTRIES}."
    if not existed:
        return "none", None, "None: no container of the service ran before."
    away = [window for window in windows if not window["bridged"]]
    if any(window["until"] is None for window in away):
        since = clock(instant(away[-1]["from"]) or 0.0)
        return (
            "not measured",
            None,
            f"Not measured: the container was replaced at {since} UTC, and the journal does not say that it became "
            "healthy.",
        )
    if away:
        seconds = round(sum(window["seconds"] for window in away), 1)
        return "estimated", seconds, _bounded(steps, away, seconds)
    bridged = _bridged(steps)
    if bridged:
        return "bridged", None, bridged
    live = " The number of workers was changed while they served." * any(
        step["action"] == "workers scaled" for step in steps
    )
    return "none", 0.0, f"None: the container was neither replaced nor restarted.{live}"


def _bounded(steps: Sequence[Mapping[str, Any]], away: Sequence[Mapping[str, Any]], seconds: float) -> str:
    spans = " and ".join(
        f"from {clock(instant(window['from']) or 0.0)} to {clock(instant(window['until']) or 0.0)} UTC"
        for window in away
    )
    restarted = any(step["action"] == "restarted" for step in steps)
    begin = "the restart began" if restarted else "the container began to be replaced"
    left = any(step["action"] == "handover ended" for step in steps) and not any(
        step["action"] == "handover begun" for step in steps
    )
    return (
        f"At most about {lasting(seconds)}, {spans}: reckoned from when {begin} until it was found healthy, not "
        "measured by requests." + (" A copy that an earlier run had left may have served in that time." if left else "")
    )


def _bridged(steps: Sequence[Mapping[str, Any]]) -> str:
    """What is known of a takeover; empty when there was none."""
    kinds = (
        ("handover begun", "handover ended", "a copy of the new container served", "cut"),
        ("rolling begun", "rolling ended", "the new container served, and the old one beside it", "left when it went"),
    )
    for begun, ended, who, lost in kinds:
        start = [step for step in steps if step["action"] == begun]
        end = [step for step in steps if step["action"] == ended]
        if start:
            since = clock(instant(start[0]["time"]) or 0.0)
            span = f"from {since} to {clock(instant(end[-1]['time']) or 0.0)} UTC" if end else f"since {since} UTC"
            left = counted(sum(_connections(step["result"]) for step in end), "connection was", "connections were")
            told = f"; {left} {lost}" if end else ""
            return f"None that is known of: {who} {span}{told}. Not measured by requests."
    return ""


def _connections(result: str) -> int:
    """The number in "..., 3 connections cut" or "..., 3 connections open"."""
    words = result.replace(",", " ").split()
    numbers = [words[at - 1] for at, word in enumerate(words) if word == "connections" and at]
    return int(numbers[-1]) if numbers and numbers[-1].isdecimal() else 0


def confirmed(found: dict[str, Any], series: Sequence[Mapping[str, Any]], interval: Any) -> dict[str, Any]:
    """An interruption with what the monitor saw at that time, if it was at work throughout.

    :param series: of the monitor, oldest first.
    :param interval: seconds between its samples.
    """
    times = [instant(point.get("time")) for point in series]
    known = [(time, point) for time, point in zip(times, series) if time is not None]
    windows = [window for window in found["windows"] if window["until"]]
    if not known or not windows:
        return found
    begin, end = instant(windows[0]["from"]) or 0.0, instant(windows[-1]["until"]) or 0.0
    if known[0][0] > begin or known[-1][0] < end:
        return found
    # A point stands for its whole stretch, which may begin before it.
    stretch = max([*(later[0] - sooner[0] for sooner, later in zip(known, known[1:])), 0.0])
    near = [point for time, point in known if begin - stretch <= time <= end + stretch and point.get("up") is not None]
    if not near:
        return found
    down = sum(point["up"] is False for point in near)
    every = number(interval)
    often = f" every {lasting(every)}" if every else ""
    told = f"The monitor, which asked{often}, got no answer in {down} of {counted(len(near), 'stretch', 'stretches')}."
    return {**found, "text": f"{found['text']} {told}", "asked": {"stretches": len(near), "without_answer": down}}
