# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes of environment files, and what the real readers say of them: files before and after are read in batches."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple, Optional

import dotenv_readers as readers
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv import (
    BARE,
    PORTABLE,
    RAW,
    Document,
    parse,
    variables,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv_readers import read_as_python_dotenv
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv_shell import read_as_shell
from compose_binary import BY_VERSION

Values = Mapping[str, Optional[str]]
Read = Optional[Mapping[str, Optional[str]]]


class Case(NamedTuple):
    """One change: the file before and after, and what each name was to become (``None``: gone)."""

    before: bytes
    after: bytes
    wanted: Values
    dialect: str = PORTABLE


def change(data: bytes, wanted: Values, dialect: str = PORTABLE) -> Case:
    """Set and remove variables as the module ``dotenv`` does.

    :raises HotfixError: when that is refused.
    """
    values = {name: value for name, value in wanted.items() if value is not None}
    after = parse(data, dialect=dialect).change(values, set(wanted) - set(values))
    return Case(data, after.data, wanted, dialect)


class Reader(NamedTuple):
    """A real reader: the dialects in which it matters, and what it makes of many files."""

    name: str
    dialects: Sequence[str]
    read: Callable[[Sequence[bytes], Sequence[str]], list[Read]]


def _compose(version: str, raw: bool, files: Sequence[bytes], names: Sequence[str]) -> list[Read]:
    return [*readers.compose(files, version, raw=raw)]


def _python_dotenv(files: Sequence[bytes], names: Sequence[str]) -> list[Read]:
    return [readers.python_dotenv(data) for data in files]


def _bash(files: Sequence[bytes], names: Sequence[str]) -> list[Read]:
    """Where the shell finds an error it has no opinion of what it did not get to: such a name is ``ANYTHING``."""
    seen = [readers.for_a_shell(data) for data in files]
    usual = [name for name in names if re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII)]
    read: list[dict[str, str | None]] = [dict(one) for one in readers.bash(seen, usual)]
    counts = [Counter(_names(data, PORTABLE)) for data in files]
    doubtful = [
        n for n, count in enumerate(counts) if max(count.values(), default=0) > 1 or not count.keys() <= read[n].keys()
    ]
    for n, fine in zip(doubtful, readers.bash_can_read([seen[n] for n in doubtful])):
        if not fine:
            several = [name for name, count in counts[n].items() if count > 1]
            read[n] = {**dict.fromkeys(usual, ANYTHING), **read[n], **dict.fromkeys(several, ANYTHING)}
    # bash leaves a NUL out, or takes the file for a program: no such file is one for a shell.
    return [dict.fromkeys(usual, ANYTHING) if b"\0" in data else one for data, one in zip(files, read)]


ANYTHING = "\0anything"  # no variable can have this value
READERS = (
    *(Reader(f"Compose {version}", (PORTABLE, BARE), partial(_compose, version, False)) for version in BY_VERSION),
    *(Reader(f"Compose {version} raw", (RAW, BARE), partial(_compose, version, True)) for version in BY_VERSION),
    Reader("python-dotenv", (PORTABLE, BARE), _python_dotenv),
    Reader("bash", (PORTABLE,), _bash),
)


def disagreements(cases: Sequence[Case]) -> list[str]:
    """What any reader sees otherwise than intended, one line for each; an empty list when all agree."""
    found = [f"bytes: {what}: {case}" for case in cases for what in untouched(case)]
    for reader in READERS:
        asked = [case for case in cases if case.dialect in reader.dialects]
        files = list(dict.fromkeys(data for case in asked for data in (case.before, case.after)))
        names = sorted({name for case in asked for name in (*case.wanted, *_names(case.before, case.dialect))})
        read = dict(zip(files, reader.read(files, names)))
        found += [f"{reader.name}: {what}: {case}" for case in asked for what in _wrong(case, read, reader.name)]
    return found


def _names(data: bytes, dialect: str) -> list[str]:
    return [entry.name for entry in parse(data, dialect=dialect).entries]


def _wrong(case: Case, read: Mapping[bytes, Read], reader: str) -> Iterator[str]:
    """What one reader sees otherwise than intended."""
    old, new = read[case.before], read[case.after]
    if old is None or new is None:
        yield "it cannot read the file"
        return
    if reader == "bash":  # x=1&y=2 in a URL sets y for a shell; a variable of the file it is not
        declared = {*_names(case.before, case.dialect), *_written(case)}
        old, new = ({name: value for name, value in seen.items() if name in declared} for seen in (old, new))
    for name, value in case.wanted.items():
        if reader == "bash" and name not in _written(case):
            continue
        if new.get(name) != value and new.get(name) is not ANYTHING:
            yield f"{name} is {new.get(name)!r}"
    if reader == "bash" and _mended(case):
        return
    followers = _followers(case)
    for name in {**old, **new}:
        same = old.get(name) == new.get(name) and (name in old) == (name in new)
        if name not in case.wanted and name not in followers and not same and old.get(name) is not ANYTHING:
            yield f"{name} was {old.get(name)!r} and is {new.get(name)!r}"


def _written(case: Case) -> set[str]:
    """The wanted variables whose lines were changed."""
    old, new = (parse(data, dialect=case.dialect).written(case.wanted) for data in (case.before, case.after))
    return {name for name in case.wanted if old[name] != new[name]}


def _mended(case: Case) -> bool:
    """Whether a shell did not get beyond a line that was changed, and now goes on to lines that it has never read."""
    document = parse(case.before)
    stop = read_as_shell(document.text).stop
    changed = [entry for name in _written(case) for entry in document.occurrences(name)]
    return stop is not None and stop in {document.lines(entry)[0] for entry in changed}


def _followers(case: Case) -> set[str]:
    """Variables whose text refers to a changed one, or to one of these."""
    document = parse(case.before, dialect=case.dialect)
    texts: dict[str, str] = {}
    for entry in document.entries:
        texts[entry.name] = texts.get(entry.name, "") + document.text[entry.value_start : entry.value_end]
    found: set[str] = set()
    if case.dialect == RAW:
        return found
    while True:
        sources = "|".join(map(re.escape, [*found, *case.wanted]))
        more = {name for name, text in texts.items() if re.search(rf"\$\{{?(?:{sources})\b", text)} - found
        if not more:
            return found
        found |= more


def untouched(case: Case) -> Iterator[str]:
    """Whether a line that holds none of the variables differs, but for a line end that the last one had to get."""
    lines = [_lines(parse(data, dialect=case.dialect), case.wanted) for data in (case.before, case.after)]
    if lines[0] != lines[1]:
        yield f"untouched lines differ: {Counter(lines[0]) - Counter(lines[1])} {Counter(lines[1]) - Counter(lines[0])}"


def _lines(document: Document, names: Values) -> list[str]:
    touched = {number for name in names for e in document.occurrences(name) for number in range(e.line, e.end_line + 1)}
    lines = document.text.split("\n")
    kept = [line for number, line in enumerate(lines, 1) if number not in touched]
    while kept and not kept[-1].strip("\r"):
        kept.pop()
    return [*kept[:-1], *(line.removesuffix("\r") for line in kept[-1:])]


def misread(files: Sequence[bytes], dialect: str = PORTABLE) -> list[str]:
    """Where our own reading of files that we accept differs from the real reader's; references are left out."""
    found = []
    for version in BY_VERSION:
        for data, read in zip(files, readers.compose(files, version, raw=dialect != PORTABLE)):
            if read is None:
                found.append(f"Compose {version} cannot read {data!r}")
                continue
            literal = {entry.name for entry in parse(data, dialect=dialect).entries if entry.interpolated}
            ours = {name: replaced(value) for name, value in variables(data, dialect=dialect).items()}
            theirs = {name: replaced(value) for name, value in read.items()}
            found += [
                f"Compose {version}: {name}: {ours.get(name)!r} is really {theirs.get(name)!r}: {data!r}"
                for name in {**ours, **theirs}
                if name not in literal and ours.get(name) != theirs.get(name)
            ]
    for data in files if dialect == PORTABLE else ():
        ours, theirs = read_as_python_dotenv(parse(data).text), readers.python_dotenv(data, interpolate=False)
        if ours != theirs:
            found.append(f"python-dotenv: {ours!r} is really {theirs!r}: {data!r}")
    return found


def replaced(text: str) -> str:
    """A text with each run of bytes that are not UTF-8 as one mark, since programs differ in how many they show."""
    return re.sub("\ufffd+", "\ufffd", text.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
