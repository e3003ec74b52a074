# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a piece of configuration is written, and how to replace it there and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from ansible_collections.composeops.hotfix.plugins.module_utils import _dotenv
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_file import ComposeFile
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError


def encode(text: str, encoding: str = "utf-8") -> bytes:
    """A text as the bytes that it was read from."""
    return text.encode(encoding, "surrogateescape")


class Source(Protocol):
    """Something that can be edited: a file, or a value in one."""

    @property
    def kind(self) -> str:
        """What it is, in the words of the module's return value."""

    @property
    def rebuild(self) -> bool:
        """Whether a change takes effect only in a new image."""

    @property
    def path(self) -> str:
        """The file."""

    def line(self, start: int, end: int) -> int | None:
        """The line of the characters from ``start`` to ``end``, counted from 1."""

    def replace(self, start: int, end: int, new: str) -> tuple[str, bytes]:
        """The file's path and its content after the replacement.

        :raises HotfixError: when that cannot be done without touching something else.
        """


@dataclass(frozen=True)
class PlainFile:
    """A file whose text is the source itself: a Dockerfile, a configuration file of gunicorn."""

    kind: str
    path: str
    text: str
    rebuild: bool
    encoding: str = "utf-8"

    def line(self, start: int, end: int) -> int | None:
        """See :class:`Source`."""
        return self.text.count("\n", 0, start) + 1

    def replace(self, start: int, end: int, new: str) -> tuple[str, bytes]:
        """See :class:`Source`."""
        return self.path, encode(self.text[:start] + new + self.text[end:], self.encoding)


@dataclass(frozen=True)
class ComposeScalar:
    """A scalar in a Compose file; offsets count in its value, whatever its style."""

    kind: str
    file: ComposeFile
    keys: tuple[Any, ...]
    rebuild: bool = False

    @property
    def path(self) -> str:
        """See :class:`Source`."""
        return self.file.path

    @property
    def value(self) -> str:
        """The scalar's value as text."""
        return str(self.file.get(self.keys))

    def line(self, start: int, end: int) -> int | None:
        """See :class:`Source`."""
        try:
            position, _file = self._find(start, end, "\u2063" if start == end else "0" * (end - start))
        except HotfixError:
            return self.file.line(self.keys)
        return self.file.text.count("\n", 0, position) + 1

    def replace(self, start: int, end: int, new: str) -> tuple[str, bytes]:
        """See :class:`Source`."""
        if new == self.value[start:end]:
            return self.path, self.file.data
        _position, file = self._find(start, end, new)
        return self.path, file.data

    def _find(self, start: int, end: int, new: str) -> tuple[int, ComposeFile]:
        """Replace each stretch of the file that may be the one meant; only the right one gives the value wanted."""
        value, scalar = self.value, self.file.node(self.keys)
        wanted: Any = value[:start] + new + value[end:]
        if not isinstance(scalar.value, str) and wanted.isdigit():
            wanted = int(wanted)
        needle, before = value[start:end], ""
        if not needle:
            needle, before = value[start - 1 : start], value[start - 1 : start]
        position = self.file.text.find(needle, scalar.start, scalar.end)
        while position >= 0:
            try:
                return position, self.file.replace_span(
                    position, position + len(needle), before + new, keys=self.keys, value=wanted
                )
            except HotfixError:
                position = self.file.text.find(needle, position + 1, scalar.end)
        raise HotfixError(
            f"{'.'.join(map(str, self.keys))} is written so that the number in it cannot be replaced alone",
            path=self.path,
            line=self.file.line(self.keys),
            remedy="Write it on one line without escapes, or use target: override",
        )


@dataclass(frozen=True)
class DotenvValue:
    """The value of a variable in an environment file; offsets count in the value."""

    document: _dotenv.Document
    name: str
    kind: str = "dotenv"
    rebuild: bool = False

    @property
    def path(self) -> str:
        """See :class:`Source`."""
        return self.document.path

    def line(self, start: int, end: int) -> int | None:
        """See :class:`Source`."""
        entry = self.document.effective(self.name)
        return entry.line if entry else None

    def replace(self, start: int, end: int, new: str) -> tuple[str, bytes]:
        """See :class:`Source`."""
        value = self.document.get(self.name) or ""
        return self.path, self.document.set({self.name: value[:start] + new + value[end:]}).data


@dataclass(frozen=True)
class BuiltImage:
    """What an image says that was built elsewhere: it can be read, not edited."""

    path: str
    kind: str = "image"
    rebuild: bool = False

    def line(self, start: int, end: int) -> int | None:
        """See :class:`Source`."""
        return None

    def replace(self, start: int, end: int, new: str) -> tuple[str, bytes]:
        """See :class:`Source`."""
        raise HotfixError(f"the command comes from the image {self.path}", remedy="Use target: override")
