# SPDX-License-Identifier: GPL-3.0-or-later
"""Searching a container's log: both streams, line by line in constant memory, bounded by time."""

from __future__ import annotations

import os
import re
import selectors
import subprocess
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._patterns import (
    DURATION,
    compile_pattern,
    parse_duration,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import mask

SAMPLES = 5
# Characters of a sample, enough for a log line and its reason.
SAMPLE_LENGTH = 300
# Bytes of a line that are searched; the rest of a longer one is only counted, so that memory stays bounded.
LINE_LENGTH = 65536
CHUNK = 65536
# Seconds of silence after which a log that is followed has been read up to its present end.
SETTLED = 1.0
# Seconds of silence after which the engine counts as hung: it is silent while it skips gigabytes of older lines.
IDLE = 600.0
# A process may write before the engine notes that it has started: up to 1.2 ms was seen on an idle machine.
START_MARGIN = timedelta(seconds=1)

TIMESTAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(?:Z|[+-]\d\d:\d\d)) ")
RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:([Zz])|([+-]\d\d:\d\d))")


@dataclass(frozen=True)
class Pattern:
    """What to look for, and whether it is expected: ``absent``, ``present`` or ``any``."""

    name: str
    regex: re.Pattern[str]
    expect: str = "absent"


@dataclass
class Match:
    """What was found of one pattern."""

    pattern: Pattern
    count: int = 0
    first: str | None = None
    last: str | None = None
    samples: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether it is as expected."""
        return self.pattern.expect == "any" or (self.count > 0) == (self.pattern.expect == "present")

    def result(self) -> dict[str, Any]:
        """As the module returns it."""
        return {
            "name": self.pattern.name,
            "expect": self.pattern.expect,
            "ok": self.ok,
            "count": self.count,
            "first": self.first,
            "last": self.last,
            "samples": self.samples,
        }


class Line(NamedTuple):
    """A line: ``stdout`` or ``stderr``, when the engine received it (RFC 3339), its text, its length in bytes."""

    stream: str
    time: str | None
    text: str
    size: int


class Scan:
    """Counts lines and matches; keeps nothing of the log but a few lines.

    :param secrets: values to mask in what is kept, beside all that looks like a secret.
    :param samples: how many lines are kept for each pattern.
    :param tail: how many of the last lines are kept.
    """

    def __init__(
        self, patterns: Sequence[Pattern], *, secrets: Iterable[str] = (), samples: int = SAMPLES, tail: int = 0
    ) -> None:
        self.matches = [Match(pattern) for pattern in patterns]
        self.lines = 0
        self.bytes = 0
        self.streams = {"stdout": 0, "stderr": 0}
        self.first: str | None = None
        self.last: str | None = None
        self._secrets = list(secrets)
        self._samples = samples
        # The streams arrive in any order, so that the last lines of both are among the last ones of each.
        self._tails: dict[str, deque[Line]] = {stream: deque(maxlen=tail) for stream in self.streams}

    @property
    def tail(self) -> list[dict[str, Any]]:
        """The last lines of both streams in the order in which the engine received them, masked and shortened."""
        kept = sorted((line for lines in self._tails.values() for line in lines), key=lambda line: line.time or "")
        size = self._tails["stdout"].maxlen or 0
        return [
            {"time": line.time, "stream": line.stream, "text": shorten(mask(line.text, self._secrets))}
            for line in kept[-size:]
        ]

    @property
    def ok(self) -> bool:
        """Whether every pattern is as expected."""
        return all(match.ok for match in self.matches)

    def feed(self, line: Line) -> None:
        """Look at one more line."""
        self.lines += 1
        self.bytes += line.size
        self.streams[line.stream] += 1
        self.first, self.last = _span(self.first, self.last, line.time)
        self._tails[line.stream].append(line)
        for match in self.matches:
            if match.pattern.regex.search(line.text):
                match.count += 1
                match.first, match.last = _span(match.first, match.last, line.time)
                if len(match.samples) < self._samples:
                    match.samples.append(shorten(mask(line.text, self._secrets)))

    def problems(self) -> list[str]:
        """One sentence for each pattern that is not as expected."""
        return [
            f"{match.pattern.name}: {match.count} found, the last at {match.last}, where none was expected"
            if match.count
            else f"{match.pattern.name}: none found in {self.lines} lines, where one was expected"
            for match in self.matches
            if not match.ok
        ]


def compile_patterns(items: Iterable[Mapping[str, Any]]) -> list[Pattern]:
    """Patterns from the module's option.

    :param items: mappings with ``name``, ``regex`` and perhaps ``expect``.
    :raises HotfixError: naming the pattern that is no regular expression, or the name that is given twice.
    """
    found: dict[str, Pattern] = {}
    for item in items:
        name = str(item["name"])
        if name in found:
            raise HotfixError(f"two patterns are named {name}", remedy="Give each pattern a name of its own")
        regex = compile_pattern(str(item["regex"]), f"the regex of pattern {name}")
        found[name] = Pattern(name, regex, item.get("expect") or "absent")
    return list(found.values())


def parse_instant(text: str, *, option: str, now: datetime) -> str:
    """A point in time as ``docker logs`` takes it.

    :param text: RFC 3339 with its offset, a duration before ``now`` such as ``1h30m``, or Unix time in seconds.
    :param option: the option's name, for the error.
    :returns: RFC 3339 in UTC, with the digits that were given.
    """
    text = text.strip()
    if re.fullmatch(r"\d{9,11}(\.\d{1,9})?", text):
        whole, _dot, fraction = text.partition(".")
        return _utc(datetime.fromtimestamp(int(whole), timezone.utc), fraction)
    if DURATION.fullmatch(text):
        past = now - timedelta(seconds=parse_duration(text, option))
        return _utc(past, f"{past.microsecond:06d}")
    return _utc(*_parse_time(text, option))


def epoch(instant: str) -> float:
    """Unix time in seconds of an RFC 3339 time that the engine gave.

    :raises HotfixError: when it is no such time.
    """
    when, fraction = _parse_time(instant, "the time")
    return when.timestamp() + float(f"0.{fraction or 0}")


def life_start(started_at: str, finished_at: str | None) -> str:
    """From when on log lines belong to the container's present life.

    The engine notes the start a moment after the process began to write, so the cut lies before that: at most
    :data:`START_MARGIN`, and at most half-way to the end of the life before.

    :param started_at: the engine's StartedAt.
    :param finished_at: its FinishedAt; later than the start for a container that is stopped.
    """
    started, fraction = _parse_time(started_at, "StartedAt")
    started += timedelta(microseconds=int(fraction[:6].ljust(6, "0")))
    margin = START_MARGIN
    if finished_at is not None:
        finished, fraction = _parse_time(finished_at, "FinishedAt")
        finished += timedelta(microseconds=int(fraction[:6].ljust(6, "0")))
        # Stopped: the end of the life before is not known, but a restart takes the engine longer than this.
        margin = min(margin, (started - finished) / 2) if finished < started else timedelta(milliseconds=100)
    cut = started - margin
    return _utc(cut, f"{cut.microsecond:06d}")


def parse_line(stream: str, raw: bytes, size: int) -> Line:
    """A line of ``docker logs --timestamps``, without its end.

    :param raw: at most :data:`LINE_LENGTH` bytes of it.
    :param size: its full length in bytes.
    """
    found = TIMESTAMP.match(raw)
    start = found.end() if found else 0
    text = raw[start:].rstrip(b"\r").decode("utf-8", "replace")
    return Line(stream, found.group(1).decode() if found else None, text, size - start)


class Splitter:
    """Cuts one stream's bytes into lines, keeping no more than :data:`LINE_LENGTH` bytes of any."""

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._kept = b""
        self._size = 0

    def feed(self, data: bytes) -> Iterator[Line]:
        """The lines that are complete with ``data``."""
        *complete, rest = data.split(b"\n")
        for piece in complete:
            self._add(piece)
            yield self._take()
        self._add(rest)

    def end(self) -> Iterator[Line]:
        """The last line, when the stream ended without a line end."""
        if self._size:
            yield self._take()

    def _add(self, piece: bytes) -> None:
        self._kept += piece[: max(LINE_LENGTH - len(self._kept), 0)]
        self._size += len(piece)

    def _take(self) -> Line:
        line = parse_line(self._stream, self._kept, self._size)
        self._kept, self._size = b"", 0
        return line


class Ended(NamedTuple):
    """Reading ended at the log's end or at the deadline; docker's exit code (None: we ended it), its last words."""

    at_end: bool
    returncode: int | None
    complaint: str


def read(argv: Sequence[str], scan: Scan, *, env: Mapping[str, str], seconds: float | None = None) -> Ended:
    """Run ``docker logs --timestamps`` and feed both of its streams to ``scan`` as they arrive.

    :param seconds: with ``--follow``: how long; what has been written until then is still read. None: to the log's end.
    :raises HotfixError: when the engine hangs.
    """
    with subprocess.Popen(
        list(argv), env=dict(env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            complaint = _pump(process, scan, seconds)
            return Ended(complaint is not None, process.wait() if complaint is not None else None, complaint or "")
        finally:
            process.kill()


def _pump(process: subprocess.Popen[bytes], scan: Scan, seconds: float | None) -> str | None:
    """Read both pipes to their end and return docker's own complaint, if any; None when ``seconds`` were over first."""
    deadline = time.monotonic() + (seconds or 0)
    until = datetime.fromtimestamp(time.time() + (seconds or 0), timezone.utc)
    last_instant = _utc(until, f"{until.microsecond:06d}000")
    complaint = ""
    with selectors.DefaultSelector() as selector:
        for name, pipe in (("stdout", process.stdout), ("stderr", process.stderr)):
            if pipe is not None:
                selector.register(pipe, selectors.EVENT_READ, Splitter(name))
        while selector.get_map():
            # The engine stamps lines with this host's clock: after a later one, all earlier ones are in the pipes.
            late = seconds is not None and time.monotonic() >= deadline and (scan.last or "") > last_instant
            wait = IDLE if seconds is None else max(deadline - time.monotonic(), SETTLED)
            events = selector.select(0 if late else wait)
            if not events and seconds is None:
                raise HotfixError(
                    f"docker logs printed nothing for {IDLE:g} seconds",
                    remedy="See what the engine does: systemctl status docker; journalctl -u docker",
                )
            for key, _event in events:
                complaint = _take(selector, key, scan) or complaint
            if late or not events:
                return None
    return complaint


def _take(selector: selectors.BaseSelector, key: selectors.SelectorKey, scan: Scan) -> str:
    """Feed what a pipe holds to ``scan``; return the last line that is docker's own: it has no time stamp."""
    data = os.read(key.fd, CHUNK)
    if not data:
        selector.unregister(key.fileobj)
    complaint = ""
    for line in key.data.feed(data) if data else key.data.end():
        if line.time is None and line.stream == "stderr":
            complaint = line.text
        scan.feed(line)
    return complaint


def shorten(text: str) -> str:
    """At most :data:`SAMPLE_LENGTH` characters."""
    return text if len(text) <= SAMPLE_LENGTH else text[: SAMPLE_LENGTH - 1] + "…"


def _span(first: str | None, last: str | None, instant: str | None) -> tuple[str | None, str | None]:
    """Earliest and latest: the two streams do not arrive in the order in which they were written."""
    if instant is None:
        return first, last
    return min(first or instant, instant), max(last or instant, instant)


def _parse_time(text: str, option: str) -> tuple[datetime, str]:
    """A time in UTC without its fraction of a second, and the digits of that fraction."""
    found = RFC3339.fullmatch(text)
    try:
        if found is None:
            raise ValueError(text)
        day, clock, fraction, _zulu, offset = found.groups()
        when = datetime.fromisoformat(f"{day}T{clock}{offset or '+00:00'}").astimezone(timezone.utc)
    except (ValueError, OverflowError) as error:
        raise HotfixError(
            f"{option} is no point in time: {text!r}",
            remedy="Write 2025-10-18T02:00:00Z, a duration such as 10m, or Unix time in seconds",
        ) from error
    return when, fraction or ""


def _utc(when: datetime, fraction: str) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%S") + (f".{fraction}" if fraction else "") + "Z"
