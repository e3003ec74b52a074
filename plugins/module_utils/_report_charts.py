# SPDX-License-Identifier: GPL-3.0-or-later
"""The geometry of a report's drawings: ticks, scales and paths. Templates turn it into SVG, classes of it into colours.

Across, a drawing is as wide as there is room for it: places are per cent of its width, and paths are drawn in
:data:`ACROSS` units that are stretched. Down it has pixels, so that text keeps its size on a telephone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.composeops.hotfix.plugins.module_utils._report_text import clock, instant, number, size

ACROSS = 1000  # units of a path from the left edge to the right one
TOP, FOOT = 22, 26  # pixels above the drawing, and below it for the times
LANE = 26  # pixels of a row of marks
NEAR = 6.5  # per cent that two marks in one row are apart at least, so that they do not touch on a telephone
BINS = 24  # marks of a row at most
SPANS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800)
STATES = ("before", "after")
KINDS = {"deaths": "Deaths", "oom_kills": "Out of memory", "restarts": "Restarts", "errors": "Errors"}

Point = Mapping[str, Any]


def ticks(top: float, most: int = 4, base: float = 10) -> list[float]:
    """Round figures from 0 up to the first one that is not below ``top``.

    :param most: steps at most.
    :param base: 10, or 2 for bytes.
    """
    if top <= 0:
        return [0.0, 1.0]
    raw = top / most
    unit = base ** math.floor(math.log(raw, base) + 1e-9)
    steps = (1, 2, 2.5, 5, 10) if base == 10 else (1, 1.25, 1.5, 2)
    step = next((unit * factor for factor in steps if unit * factor >= raw * (1 - 1e-9)), unit * base)
    return [step * at for at in range(math.ceil(top / step - 1e-9) + 1)]


def time_ticks(begin: float, end: float, most: int = 5) -> list[float]:
    """Round times within a span."""
    span = max(end - begin, 1e-9)
    step = next((seconds for seconds in SPANS if span / seconds <= most), math.ceil(span / most / 604800) * 604800)
    return [at * step for at in range(math.ceil(begin / step), math.floor(end / step) + 1)]


def share(value: float, low: float, high: float) -> float:
    """Where a figure lies between two others, from 0 to 1."""
    return min(max((value - low) / (high - low), 0.0), 1.0) if high > low else 0.0


def percent(part: float) -> str:
    """A share as a place in SVG."""
    return f"{part * 100:.2f}%"


def path(points: Iterable[tuple[float, float | None]]) -> str:
    """A line through points, broken where one has no height; a point alone becomes a dash."""
    parts: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        if y is None:
            parts.append([])
        else:
            parts[-1].append((x, y))
    drawn = []
    for part in parts:
        if part:
            drawn.append(" ".join(f"{'L' if at else 'M'}{x:.1f} {y:.1f}" for at, (x, y) in enumerate(part)))
            drawn += ["h2"] if len(part) == 1 else []
    return "".join(drawn)


def area(points: Sequence[tuple[float, float | None]], floor: float) -> str:
    """The area below a line, broken where the line is."""
    drawn, part = [], []
    for x, y in [*points, (0.0, None)]:
        if y is not None:
            part.append((x, y))
        elif part:
            part = part if len(part) > 1 else [*part, (part[0][0] + 2, part[0][1])]
            line = " ".join(f"L{at:.1f} {height:.1f}" for at, height in part)
            drawn.append(f"M{part[0][0]:.1f} {floor:.1f} {line} L{part[-1][0]:.1f} {floor:.1f}Z")
            part = []
    return "".join(drawn)


def anchor(part: float) -> str:
    """Which part of a text lies at its place, so that it does not reach over the edges."""
    return "start" if part < 0.06 else "end" if part > 0.94 else "middle"


def time_axis(begin: float, end: float) -> list[dict[str, str]]:
    """Times below a drawing, each with its place, what of the text lies there, and the text."""
    moments = time_ticks(begin, end)
    form = "%H:%M:%S" if end - begin < 600 else "%H:%M" if end - begin < 3 * 86400 else "%d %b"
    marks = []
    for moment in moments:
        at = share(moment, begin, end)
        marks.append({"x": percent(at), "anchor": anchor(at), "label": clock(moment, form)})
    return marks


def heights(figures: Sequence[float], top: float, height: float, labels: Sequence[str]) -> list[dict[str, Any]]:
    """Lines across a drawing, each with its height and the figure that it stands for."""
    return [
        {"y": round(TOP + height * (1 - share(figure, 0, top)), 1), "label": label}
        for figure, label in zip(figures, labels)
    ]


def moments(series: Sequence[Point]) -> list[tuple[float, Point]]:
    """The points that have a time, with it."""
    found = [(instant(point.get("time")), point) for point in series]
    return [(time, point) for time, point in found if time is not None]


def bands(known: Sequence[tuple[float, Point]]) -> list[dict[str, str]]:
    """The stretches without an answer (``down``) and those that nobody has looked at (``gap``)."""
    begin, end = known[0][0], known[-1][0]
    found: list[dict[str, Any]] = []
    for at, (time, point) in enumerate(known):
        kind = "down" if point.get("up") is False else "gap" if point.get("up") is None else ""
        until = known[at + 1][0] if at + 1 < len(known) else time
        if kind and found and found[-1]["kind"] == kind and found[-1]["end"] == time:
            found[-1]["end"] = until
        elif kind:
            found.append({"kind": kind, "begin": time, "end": until})
    drawn = []
    for band in found:
        left, right = share(band["begin"], begin, end), share(band["end"], begin, end)
        # Narrow ones are to be seen as well.
        left, right = min(left, 0.996), max(right, min(left, 0.996) + 0.004)
        drawn.append({"kind": band["kind"], "x": percent(left), "width": percent(right - left)})
    return drawn


def _drawing(known: Sequence[tuple[float, Point]], height: int) -> dict[str, Any]:
    return {
        "height": TOP + height + FOOT,
        "top": TOP,
        "floor": TOP + height,
        "across": ACROSS,
        "times": time_axis(known[0][0], known[-1][0]),
        "bands": bands(known),
    }


def _points(
    known: Sequence[tuple[float, Point]], figures: Sequence[float | None], top: float, height: int
) -> list[tuple[float, float | None]]:
    begin, end = known[0][0], known[-1][0]
    return [
        (ACROSS * share(time, begin, end), None if figure is None else TOP + height * (1 - share(figure, 0, top)))
        for (time, _point), figure in zip(known, figures)
    ]


def latency(series: Sequence[Point], summary: Mapping[str, Any]) -> dict[str, Any] | None:
    """Milliseconds until an answer; None without at least two points, one of them with an answer."""
    known = moments(series)
    figures = [number(point.get("latency_ms")) for _time, point in known]
    there = [figure for figure in figures if figure is not None]
    if len(known) < 2 or not there:
        return None
    height = 150
    steps = ticks(max(there))
    top = steps[-1]
    levels = []
    for name, label in (("p95", "95 %"), ("median", "median")):
        value = number((summary.get("latency_ms") or {}).get(name))
        if value is not None and value <= top:
            levels.append(heights([value], top, height, [label])[0])
    for level in levels:
        # Above its line, and the lower one below it where both would be in one place.
        level["text"] = level["y"] - 4
    if len(levels) == 2 and abs(levels[0]["y"] - levels[1]["y"]) < 14:
        levels[1]["text"] = levels[1]["y"] + 12
    return {
        **_drawing(known, height),
        "lines": heights(steps, top, height, [f"{step:,.6g} ms" for step in steps]),
        "line": path(_points(known, figures, top, height)),
        "levels": levels,
    }


def memory(series: Sequence[Point]) -> dict[str, Any] | None:
    """Bytes of all workers and of the container, against the limit; None without at least two points with a figure."""
    known = moments(series)
    used = [number(point.get("memory")) for _time, point in known]
    workers = [workers_memory(point) for _time, point in known]
    limits = [number(point.get("limit")) for _time, point in known]
    there = [figure for figure in [*used, *workers] if figure is not None]
    if len(known) < 2 or not there:
        return None
    height = 170
    steps = ticks(max([*there, *(limit for limit in limits if limit is not None)]) * 1.02, base=2)
    top = steps[-1]
    last = next((limit for limit in reversed(limits) if limit is not None), None)
    limit_at = None if last is None else heights([last], top, height, [f"limit {size(last)}"])[0]
    lines = heights(steps, top, height, [size(step) for step in steps])
    for line in lines:
        # No text across the line of the limit.
        if limit_at is not None and -2 < line["y"] - limit_at["y"] < 16:
            line["label"] = ""
    return {
        **_drawing(known, height),
        "lines": lines,
        "workers": area(_points(known, workers, top, height), TOP + height),
        "edge": path(_points(known, workers, top, height)),
        "used": path(_points(known, used, top, height)),
        "limit": path(_points(known, limits, top, height)),
        "limit_at": limit_at,
    }


def workers_memory(point: Point) -> float | None:
    """Bytes of all workers together; None when they are not known."""
    figures = [number(value) for value in (point.get("worker_memory") or {}).values()]
    there = [figure for figure in figures if figure is not None]
    return sum(there) if there else None


def happenings(series: Sequence[Point]) -> dict[str, Any] | None:
    """How often workers died, the kernel killed, the container started anew and errors were logged, and when."""
    known = moments(series)
    if len(known) < 2:
        return None
    begin, end = known[0][0], known[-1][0]
    rows = []
    for at, (name, label) in enumerate(KINDS.items()):
        counts = [0] * BINS
        for time, point in known:
            counts[min(int(share(time, begin, end) * BINS), BINS - 1)] += int(number(point.get(name)) or 0)
        y = TOP + LANE * at + LANE // 2
        marks = [{"x": percent((bin_ + 0.5) / BINS), "count": count} for bin_, count in enumerate(counts) if count > 0]
        rows.append({"name": name, "label": label, "total": sum(counts), "y": y, "marks": marks})
    return {**_drawing(known, LANE * len(KINDS)), "rows": rows}


def timeline(steps: Sequence[Mapping[str, Any]], windows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The steps of a run as numbered marks above a line of time, and the spans in which a container was replaced."""
    times = [instant(step["time"]) or 0.0 for step in steps]
    if len(times) < 2 or max(times) <= min(times):
        return None
    begin = min(time - (step["seconds"] or 0.0) for time, step in zip(times, steps))
    end = max(times)
    begin, end = begin - (end - begin) * 0.03, end + (end - begin) * 0.03
    ends: list[float] = []  # of the rows, per cent
    marks = []
    for index, (time, step) in enumerate(zip(times, steps), 1):
        at = share(time, begin, end) * 100
        row = next((row for row, last in enumerate(ends) if at - last >= NEAR), len(ends))
        ends[row : row + 1] = [at]
        marks.append({"x": percent(at / 100), "row": row, "number": index, "failed": step["failed"]})
    floor = TOP + LANE * len(ends)
    for mark in marks:
        mark["y"] = floor - LANE * mark["row"] - LANE // 2 - 4
    spans = [
        {
            "x": percent(share(time - step["seconds"], begin, end)),
            "width": percent(max(share(time, begin, end) - share(time - step["seconds"], begin, end), 0.004)),
        }
        for time, step in zip(times, steps)
        if step["seconds"]
    ]
    away = []
    for window in windows:
        left = share(instant(window["from"]) or begin, begin, end)
        right = share(instant(window["until"]) or end, begin, end)
        bridged = bool(window["bridged"])
        away.append({"x": percent(left), "width": percent(max(right - left, 0.006)), "bridged": bridged})
    return {
        "height": floor + 14 + FOOT,
        "top": TOP,
        "floor": floor,
        "times": time_axis(begin, end),
        "marks": marks,
        "spans": spans,
        "away": away,
    }


def bars(states: Mapping[str, Mapping[str, Any] | None]) -> dict[str, Any] | None:
    """What the workers took of the memory, a bar for each state; None where nothing is known of any.

    :param states: ``before`` and ``after``, each with ``limit``, ``usage``, ``peak`` and ``workers`` (bytes of each).
    """
    listed = ((name, states[name]) for name in STATES)
    known = {name: state for name, state in listed if state and (state["usage"] or state["workers"])}
    if not known:
        return None
    figures = [
        value
        for state in known.values()
        for value in (state["limit"], state["usage"], state["peak"], sum(state["workers"]))
        if value
    ]
    steps = ticks(max(figures) * 1.04, base=2)
    top = steps[-1]
    rows = []
    for at, (name, state) in enumerate(known.items()):
        y = TOP + 58 * at + 22
        parts: list[dict[str, str]] = []
        left = 0.0
        rest = max((state["usage"] or 0) - sum(state["workers"]), 0)
        values: list[tuple[str, float]] = [("worker", value) for value in state["workers"]]
        for kind, figure in [*values, ("rest", float(rest))]:
            if figure > 0:
                parts.append({"kind": kind, "x": percent(left / top), "width": percent(figure / top)})
                left += figure
        rows.append(
            {
                "name": name,
                "y": y,
                "parts": parts,
                "limit": percent(state["limit"] / top) if state["limit"] else None,
                "peak": percent(min(state["peak"] / top, 1)) if state["peak"] else None,
            }
        )
    floor = TOP + 58 * len(rows)
    marks = []
    for step in steps:
        place = share(step, 0, top)
        marks.append({"x": percent(place), "anchor": anchor(place), "label": size(step) if step else "0"})
    return {"height": floor + FOOT, "top": TOP, "floor": floor, "times": marks, "rows": rows}
