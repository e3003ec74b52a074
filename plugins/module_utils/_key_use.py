# SPDX-License-Identifier: GPL-3.0-or-later
"""Which keys the lines of an application's log tell of, and when; what a log that is too short cannot tell."""

from __future__ import annotations

import glob
import gzip
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._files import problem
from ansible_collections.composeops.hotfix.plugins.module_utils._logs import CHUNK, RFC3339, Line, Scan, Splitter, epoch
from ansible_collections.composeops.hotfix.plugins.module_utils._patterns import compile_pattern
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import digest, fingerprint

# Fewer characters of a key, or digits of its hash, fit too many others.
SHORTEST = {"key": 6, "fingerprint": 8}
# The time in the log of nginx and Apache, and of CPython's logging, which has a comma before the milliseconds.
COMMON = re.compile(r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}")
LOGGING = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(\d{3})")


@dataclass
class Use:
    """How often a key was seen, and when first and last, in seconds since the epoch."""

    count: int = 0
    first: float | None = None
    last: float | None = None

    def add(self, when: float) -> None:
        """Count one more."""
        self.count += 1
        self.first = when if self.first is None else min(self.first, when)
        self.last = when if self.last is None else max(self.last, when)


@dataclass
class Source:
    """A log that was looked at.

    :param start: when it begins, in seconds since the epoch, as far as that is known.
    :param fits: whether the pattern is in any of its lines, also before the time that is asked for.
    """

    name: str
    start: float | None = None
    lines: int = 0
    found: int = 0
    fits: bool = False

    def result(self, since: float) -> dict[str, Any]:
        """As the module returns it."""
        return {
            "name": self.name,
            "lines": self.lines,
            "found": self.found,
            "fits": self.fits,
            "start": None if self.start is None else shown(self.start),
            "reaches_back": self.start is not None and self.start <= since,
        }


@dataclass
class Uses:
    """What was seen of some keys.

    :param keys: newest first.
    :param pattern: what tells of the use of a key, see :func:`key_pattern`.
    :param ignore: lines that do not count, such as those of the proof that a key is accepted.
    :param since: from when on, in seconds since the epoch.
    """

    keys: Sequence[str] = field(repr=False)
    pattern: re.Pattern[str]
    ignore: re.Pattern[str] | None
    since: float
    seen: list[Use] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)
    unknown: int = 0
    unusable: int = 0
    ignored: int = 0

    def __post_init__(self) -> None:
        self.seen = [Use() for _key in self.keys]
        self._hashes = [digest(key) for key in self.keys]

    def look(self, line: Line, source: Source, otherwise: float) -> None:
        """Look at one more line.

        :param otherwise: when it was written, if neither the line nor the engine says so.
        """
        source.lines += 1
        for match in self.pattern.finditer(line.text):
            groups = match.groupdict()
            known = instant(groups.get("time") or line.time or "")
            when = otherwise if known is None else known
            source.found += 1
            source.fits = True
            if known is not None:
                source.start = when if source.start is None else min(source.start, when)
            if when < self.since:
                continue
            if self.ignore is not None and self.ignore.search(line.text):
                self.ignored += 1
            else:
                self._count(groups, when)

    def _count(self, groups: dict[str, str | None], when: float) -> None:
        given = {name: groups[name] for name in SHORTEST if groups.get(name)}
        usable = {name: text for name, text in given.items() if text and len(text) >= SHORTEST[name]}
        if not usable:
            self.unusable += 1
            return
        fitting = [place for place in range(len(self.keys)) if self._is(place, usable)]
        for place in fitting:
            self.seen[place].add(when)
        self.unknown += not fitting

    def _is(self, place: int, usable: dict[str, str]) -> bool:
        """Whether it is this key; several of them when they begin alike, as a key too many that counts harms nobody."""
        whole = {"key": self.keys[place], "fingerprint": self._hashes[place]}
        return all(
            whole[name].startswith(text.lower() if name == "fingerprint" else text) for name, text in usable.items()
        )

    def result(self) -> dict[str, Any]:
        """As the module returns it: fingerprints, no values."""
        sources = [source.result(self.since) for source in self.sources]
        return {
            "keys": [
                {
                    "fingerprint": fingerprint(key),
                    "newest": place == 0,
                    "count": use.count,
                    "first": None if use.first is None else shown(use.first),
                    "last": None if use.last is None else shown(use.last),
                }
                for place, (key, use) in enumerate(zip(self.keys, self.seen))
            ],
            "found": sum(source.found for source in self.sources),
            "fits": any(source.fits for source in self.sources),
            "ignored": self.ignored,
            "unknown": self.unknown,
            "unusable": self.unusable,
            "since": shown(self.since),
            "sources": sources,
            "complete": all(source["reaches_back"] for source in sources),
            "notes": self.notes(),
        }

    def notes(self) -> list[str]:
        """What the numbers do not prove, as sentences."""
        notes = []
        for source in self.sources:
            if source.start is None:
                notes.append(f"Since when {source.name} goes back is not known, so earlier use may be missing.")
            elif source.start > self.since:
                notes.append(
                    f"Use before {shown(source.start)} is not seen, for {source.name} was recreated or rotated and "
                    f"does not go back to {shown(self.since)}."
                )
            if not source.fits:
                notes.append(f"The pattern is in no line of {source.name}.")
        if self.unusable:
            notes.append(
                f"In {self.unusable} lines the pattern finds fewer than {SHORTEST['key']} characters of a key or "
                f"{SHORTEST['fingerprint']} digits of its SHA-256, which tells no key."
            )
        return notes


class UseScan(Scan):
    """Hands the lines of a container's log on."""

    def __init__(self, uses: Uses, source: Source) -> None:
        super().__init__(())
        self._uses, self._source = uses, source

    def feed(self, line: Line) -> None:
        """Look at one more line."""
        super().feed(line)
        if self._source.start is None and line.time is not None:
            self._source.start = instant(line.time)
        self._uses.look(line, self._source, self._uses.since)


def key_pattern(text: str, option: str, groups: Sequence[str]) -> re.Pattern[str]:
    """The regular expression that tells of the use of a key.

    :param groups: one of these has to be named in it.
    :raises HotfixError: when it is none, or names none of them.
    """
    pattern = compile_pattern(text, option)
    if not set(groups) & set(pattern.groupindex):
        raise HotfixError(
            f"{option} has no group named {' or '.join(groups)}",
            remedy="Write (?P<key>...) around the key or its beginning, or (?P<fingerprint>...) around its SHA-256",
        )
    return pattern


def instant(text: str) -> float | None:
    """A time of a log, in seconds since the epoch; None when it is none.

    RFC 3339, the form of nginx and Apache, that of CPython's logging, or Unix time. Without an offset it counts as UTC.
    """
    text = LOGGING.sub(r"\1.\2", text.strip())
    try:
        if re.fullmatch(r"\d{9,11}(\.\d+)?", text):
            return float(text)
        if COMMON.fullmatch(text):
            return datetime.strptime(text, "%d/%b/%Y:%H:%M:%S %z").timestamp()
        return epoch(text if RFC3339.fullmatch(text) else f"{text}Z")
    except (ValueError, OverflowError, HotfixError):
        return None


def shown(when: float) -> str:
    """A time as it is returned, RFC 3339 in UTC."""
    return datetime.fromtimestamp(when, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def log_files(patterns: Sequence[str]) -> list[str]:
    """The files that these paths mean, which may hold ``*``.

    :raises HotfixError: naming the path that means none.
    """
    paths: list[str] = []
    for pattern in patterns:
        found = sorted(glob.glob(pattern))
        if not found:
            raise HotfixError("there is no such log file", path=pattern, remedy="Check log_files")
        paths += [path for path in found if path not in paths]
    return paths


def read_file(path: str, uses: Uses) -> None:
    """Look through a log file of the host, compressed by gzip or not, in constant memory.

    A line without a time counts as written when the file was: rather too late than too early.

    :raises HotfixError: when it cannot be read.
    """
    source = Source(path)
    uses.sources.append(source)
    try:
        written = os.stat(path).st_mtime
        for line in _lines(path):
            uses.look(line, source, written)
    except (OSError, EOFError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno:
            raise problem(error, path, "read") from error
        raise HotfixError("this compressed log is damaged", path=path, remedy="Leave it out of log_files") from error


def _lines(path: str) -> Iterator[Line]:
    splitter = Splitter("stdout")
    opener: Any = gzip.open if path.endswith(".gz") else open
    with opener(path, "rb") as stream:
        while data := stream.read(CHUNK):
            yield from splitter.feed(data)
    yield from splitter.end()
