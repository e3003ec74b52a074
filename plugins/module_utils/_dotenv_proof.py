# SPDX-License-Identifier: GPL-3.0-or-later
"""The proof of a change to a ``.env``, by reading it again with every reader's eyes before it is written."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv_readers import (
    Entry,
    read_as_compose,
    read_as_python_dotenv,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv_shell import Command, Shell, read_as_shell
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError

_REMEDY = "Write each variable as NAME='value' on a line of its own"
_REFERENCE = re.compile(r"\$\{?[!#]?([A-Za-z_][A-Za-z0-9_]*)")
_BRACED = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)")  # python-dotenv replaces these even in single quotes


@dataclass(frozen=True)
class Content:
    """A file without its BOM, and what the reader of its dialect takes for its assignments.

    :ivar path: how the file is called in errors.
    """

    text: str = field(repr=False)
    entries: Sequence[Entry]
    path: str

    def line(self, offset: int) -> int:
        """The number of the line on which an offset is, from 1."""
        return self.text.count("\n", 0, offset) + 1

    def lines(self, entry: Entry) -> tuple[int, int]:
        """Offsets of the lines on which an entry stands: first character, and after the last newline."""
        end = self.text.find("\n", entry.value_end)
        return self.text.rfind("\n", 0, entry.start) + 1, len(self.text) if end < 0 else end + 1

    def written(self, names: Collection[str]) -> dict[str, list[str]]:
        """The lines on which each of these variables stands."""
        found: dict[str, list[str]] = {name: [] for name in names}
        for entry in self.entries:
            if entry.name in found:
                start, end = self.lines(entry)
                found[entry.name].append(self.text[start:end].rstrip("\r\n"))
        return found


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

Wanted = Mapping[str, "str | None"]


def prove_entries(reader: str, before: Content, after: Content, wanted: Wanted) -> None:
    """Check that exactly the wanted variables changed for the reader that found these entries.

    :param wanted: the value that each name must have afterwards; ``None`` for a name that must be gone.
    :raises HotfixError: when the file is so odd that this reader would see something else.
    """
    others = [[(e.name, e.value) for e in content.entries if e.name not in wanted] for content in (before, after)]
    found = {entry.name: entry.value for entry in after.entries if entry.name in wanted}
    if others[0] != others[1] or found != _intended(wanted):
        _refuse(reader, before, wanted)


def prove_compose(before: Content, after: Content, wanted: Wanted) -> None:
    """The same for Compose, where the entries are another reader's.

    :raises HotfixError: as :func:`prove_entries`, and for what Compose cannot read.
    """
    contents = [
        Content(content.text, tuple(read_as_compose(content.text, content.path)), content.path)
        for content in (before, after)
    ]
    prove_entries("Compose", contents[0], contents[1], wanted)


def prove_python_dotenv(before: Content, after: Content, wanted: Wanted) -> None:
    """The same for python-dotenv.

    :raises HotfixError: as :func:`prove_entries`.
    """
    old, new = read_as_python_dotenv(before.text), read_as_python_dotenv(after.text)
    others = [[(name, value) for name, value in read.items() if name not in wanted] for read in (old, new)]
    if others[0] != others[1] or {name: new[name] for name in wanted if name in new} != _intended(wanted):
        _refuse("python-dotenv", before, wanted)


def prove_references(before: Content, after: Content, wanted: Wanted) -> None:
    """Check that each variable that refers to a changed one still finds it above itself.

    Its own text is kept, so that it follows the new value.

    :raises HotfixError: when what it refers to would be gone, or would come after it.
    """
    changed = _changed(before, after, wanted)
    found = [_found(content, wanted, changed) for content in (before, after)]
    for (entry, old), (_same, new) in zip(*found):
        for name in sorted(old - new):
            raise HotfixError(
                f"{entry.name} refers to {name}, which would not stand above it any more",
                path=before.path,
                line=entry.line,
                remedy=f"Give {entry.name} its own value first, or put {name} above it, once",
            )


def prove_shell(before: Content, after: Content, wanted: Wanted) -> None:
    """Check that a shell reads the same commands but for the lines of the changed variables, and sets these once.

    A shell that cannot read as far as the change, for an error in the file, is not asked about it.

    :raises HotfixError: when it would see something else, or it is not known what it would see.
    """
    changed = _changed(before, after, wanted)
    if not changed:
        return
    old, new = (_ShellReading(content, read_as_shell(content.text), changed) for content in (before, after))
    same = new.others[: len(old.others)] == old.others if old.stops_at_change else new.others == old.others
    if not same:
        _refuse("a shell", before, wanted)
    new.check_doubtful(changed)
    others = [entry for entry in before.entries if entry.name not in changed]
    seen = {entry.name for entry in others}.union(*(_references(before, entry) for entry in others))
    for reading, commands, names in ((old, old.own, seen - changed), (new, new.rest, changed)):
        for command in commands:
            for name in sorted(command.touched & names):
                raise HotfixError(
                    f"a shell takes text on this line for an assignment to {name}",
                    path=before.path,
                    line=reading.content.line(command.start),
                    remedy="Put the value on this line in single quotes",
                )


class _ShellReading:
    """A content divided into the commands of the changed variables, and the others.

    :ivar others: the text of the others, and of the line on which the shell stops.
    :ivar stops_at_change: the shell does not get beyond a line that is changed.
    """

    def __init__(self, content: Content, shell: Shell, changed: Collection[str]) -> None:
        self.content, self.shell = content, shell
        spans = self._spans(changed)
        self.own: list[Command] = []
        self.rest: list[Command] = []
        until = 0
        for command in shell.commands:
            until = max(until, spans.get(command.start, 0))
            (self.own if command.start < until else self.rest).append(command)
        self.others = [content.text[command.start : command.end].rstrip("\r\n") for command in self.rest]
        self.stops_at_change = shell.stop is not None and shell.stop in spans
        if shell.stop is not None and not self.stops_at_change:
            self.others.append(content.text[shell.stop :].partition("\n")[0].rstrip("\r"))

    def _spans(self, changed: Collection[str]) -> dict[int, int]:
        """The lines of the changed variables, start to end.

        :raises HotfixError: for those that are not commands of their own.
        """
        starts = [command.start for command in self.shell.commands]
        bounds = {*starts, self.shell.stop, len(self.content.text)}
        spans = {}
        for entry in self.content.entries:
            if entry.name not in changed:
                continue
            start, end = self.content.lines(entry)
            beyond = self.shell.stop is not None and start >= self.shell.stop
            if (beyond and self.shell.doubt) or (not beyond and not {start, end} <= bounds):
                self._refuse(entry, start)
            spans[start] = end
        return spans

    def check_doubtful(self, changed: Collection[str]) -> None:
        """Look for the changed variables in the part of which it is not known how a shell reads it.

        :raises HotfixError: when one is named there.
        """
        if self.shell.stop is None or not self.shell.doubt:
            return
        for match in _NAME.finditer(self.content.text, self.shell.stop):
            if match[0] in changed:
                raise HotfixError(
                    f"a shell may take text on line {self.content.line(match.start())} for an assignment to "
                    f"{match[0]}, after what this line begins",
                    path=self.content.path,
                    line=self.content.line(self.shell.stop),
                    remedy="Put the value on this line in single quotes",
                )

    def _refuse(self, entry: Entry, start: int) -> NoReturn:
        first = max((c.start for c in self.shell.commands if c.start < start), default=0)
        if self.shell.stop is not None and self.shell.stop <= start:
            first = self.shell.stop
        raise HotfixError(
            f"a shell may take {entry.name} on line {self.content.line(start)} for a part of what this line begins",
            path=self.content.path,
            line=self.content.line(first),
            remedy="Put the value on this line in single quotes",
        )


def _changed(before: Content, after: Content, wanted: Wanted) -> set[str]:
    """The names whose lines differ."""
    old, new = before.written(wanted), after.written(wanted)
    return {name for name in wanted if old[name] != new[name]}


def _found(content: Content, wanted: Wanted, changed: Collection[str]) -> Iterable[tuple[Entry, set[str]]]:
    """Each of the other entries, and those of the changed variables that it refers to and that stand above it."""
    above: set[str] = set()
    for entry in content.entries:
        if entry.name in wanted:
            above.add(entry.name)
            continue
        yield entry, _references(content, entry) & above & set(changed)


def _references(content: Content, entry: Entry) -> set[str]:
    """The names to which a value refers."""
    written = content.text[entry.value_start : entry.value_end]
    pattern = _BRACED if entry.quote == "'" else _REFERENCE
    return set(pattern.findall(written)) if "$" in written else set()


def _intended(wanted: Wanted) -> dict[str, str]:
    return {name: value for name, value in wanted.items() if value is not None}


def _refuse(reader: str, before: Content, wanted: Wanted) -> NoReturn:
    raise HotfixError(
        f"after changing {', '.join(sorted(wanted))}, {reader} would not read this file as intended",
        path=before.path,
        remedy=_REMEDY,
    )
