# SPDX-License-Identifier: GPL-3.0-or-later
"""A Compose ``.env``: read as Compose reads it, changed so that every other byte stays, and proved by reading again."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ansible_collections.composeops.hotfix.plugins.module_utils import _dotenv_forms, _dotenv_proof, _dotenv_raw
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv_forms import encode
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv_proof import Content
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv_readers import SPACE, Entry, read_as_compose
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv_shell import OWN_NAMES
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import SECRET_NAME, URL_PASSWORD, fingerprint

__all__ = ["DIALECTS", "Document", "Entry", "encode", "parse", "redacted", "shown_name", "variables"]

# Who reads a file: Compose, python-dotenv and a shell; raw readers only; raw ones as well as Compose and python-dotenv.
PORTABLE, RAW, BARE = DIALECTS = ("portable", "raw", "bare")
# The option by which a module is told, as the documentation fragment ``_env_file`` describes it.
DIALECT: dict[str, Any] = {"dialect": {"type": "str", "choices": list(DIALECTS), "default": PORTABLE}}

BOM = "\ufeff"
# A comment may hold an old secret: an assignment, a word of a present one, a URL with a password, or any long word with
# letters and digits.
_COMMENTED = re.compile(
    r"(?:^[ \t#]*(?:export[ \t]+)?[A-Z_][A-Z0-9_]*[ \t]*:|(?<![\w.-])[A-Za-z_][\w.-]*[ \t]*=)[ \t]*"
)
_WORD = re.compile(r"""[^\s"'=,;()\[\]{}]{6,}""")
_PLAIN_NAME = re.compile(r"[A-Z_][A-Z0-9_]*|[a-z_]+")


@dataclass(frozen=True)
class Document(Content):
    """A parsed ``.env``; changing it gives a new one. Make it with :func:`parse`.

    :ivar dialect: one of :data:`DIALECTS`.
    """

    bom: bool = False
    dialect: str = PORTABLE

    @property
    def data(self) -> bytes:
        """The file's bytes: for untouched lines exactly those that were parsed."""
        return ((BOM if self.bom else "") + self.text).encode("utf-8", "surrogateescape")

    @property
    def variables(self) -> dict[str, str]:
        """The effective value of each variable, in the order of the file; a bare name has none."""
        return {entry.name: entry.value for entry in self.entries if entry.value is not None}

    @property
    def newline(self) -> str:
        """How the lines of this file end, by majority."""
        return "\r\n" if self.text.count("\r\n") * 2 > self.text.count("\n") else "\n"

    def occurrences(self, name: str) -> list[Entry]:
        """All assignments of a variable, in the order of the file."""
        return list(self._by_name.get(name, ()))

    def effective(self, name: str) -> Entry | None:
        """The assignment that counts: the last one with a value, else the last one."""
        return _effective(self.occurrences(name))

    def get(self, name: str, default: str | None = None) -> str | None:
        """The effective value of a variable, as the service reads it."""
        entry = self.effective(name)
        return default if entry is None or entry.value is None else entry.value

    def meant(self, entry: Entry) -> Entry:
        """An entry without the quotes that its reader keeps, as a raw one does."""
        if self.dialect == PORTABLE or entry.value is None:
            return entry
        return replace(entry, value=_dotenv_raw.unquoted(entry.value))

    def problem(self, entry: Entry) -> str:
        """Why not every reader agrees about an entry, in words that follow its name; empty when all agree."""
        if self.dialect != PORTABLE:
            return _dotenv_raw.problem(entry, everywhere=self.dialect == BARE)
        if entry.value is None:
            return "has no value, and is inherited by Compose only"
        if entry.interpolated:
            return "refers to another variable, which not every reader replaces"
        start, end = self.lines(entry)
        written = self.text[entry.value_start : entry.value_end]
        head, tail = self.text[start : entry.value_start], self.text[entry.value_end : end].removesuffix("\n")
        return _dotenv_forms.problem(entry.value, entry.quote, head, written, tail)

    def set(self, values: Mapping[str, str]) -> Document:
        """A document in which each of these variables is set, once, in a form that its readers understand.

        :raises HotfixError: when a value cannot be written so, or a line cannot be changed alone.
        """
        return self.change(values, ())

    def remove(self, names: Iterable[str]) -> Document:
        """A document without these variables: every occurrence goes, commented examples stay.

        :raises HotfixError: when such a line cannot be removed alone.
        """
        return self.change({}, names)

    def change(self, values: Mapping[str, str], absent: Iterable[str]) -> Document:
        """A document with the one set, as by :meth:`set`, and the others gone, as by :meth:`remove`.

        :raises HotfixError: when a value cannot be written so, or a line cannot be changed alone.
        """
        gone = dict.fromkeys(absent)
        edits = [self._removal(entry) for entry in self.entries if entry.name in gone]
        additions = []
        for name, value in values.items():
            self._check_name(name)
            rhs = self._encode(name, value)
            present = self.occurrences(name)
            kept = _effective(present)
            if kept is None:
                additions.append(f"{name}={rhs}{self.newline}")
                continue
            edits += [self._removal(entry) for entry in present if entry is not kept]
            if kept.value != value or (self.dialect == PORTABLE and self.problem(kept)):
                edits.append(self._assignment(kept, value, rhs))
        after = self._spliced(edits, "".join(additions)) if edits or additions else self
        _prove(self, after, {**gone, **values})
        return after

    @cached_property
    def _by_name(self) -> dict[str, list[Entry]]:
        found: dict[str, list[Entry]] = {}
        for entry in self.entries:
            found.setdefault(entry.name, []).append(entry)
        return found

    def _check_name(self, name: str) -> None:
        portable = _dotenv_forms.NAME.fullmatch(name)
        if portable and (self.dialect != PORTABLE or name not in OWN_NAMES):
            return
        raise HotfixError(
            f"{name} is a variable that a shell gives its own value"
            if portable
            else f"{name} is not a variable name that every reader accepts",
            path=self.path,
            remedy="Choose another name" if portable else "Use letters, digits and underscores, a letter first",
        )

    def _encode(self, name: str, value: str) -> str:
        try:
            if self.dialect == PORTABLE:
                return encode(value)
            return _dotenv_raw.encode(value, everywhere=self.dialect == BARE)
        except HotfixError as error:
            raise HotfixError(f"{name}: {error.message}", path=self.path, remedy=error.remedy) from None

    def _own_lines(self, entry: Entry) -> tuple[int, int]:
        """The offsets of :meth:`lines`, without the last newline.

        :raises HotfixError: when something beside the entry and a comment stands on them.
        """
        start, end = self.lines(entry)
        end -= self.text.endswith("\n", start, end)
        tail = self.text[entry.value_end : end].strip(SPACE)
        if self.text[start : entry.start].strip(SPACE) or (tail and not tail.startswith("#")):
            raise HotfixError(
                f"{entry.name} shares its line with something that is not a comment",
                path=self.path,
                line=entry.line,
                remedy="Give each variable a line of its own, with nothing but a comment after a closing quote",
            )
        return start, end

    def _removal(self, entry: Entry) -> tuple[int, int, str]:
        start, end = self._own_lines(entry)
        return start, min(end + 1, len(self.text)), ""

    def _assignment(self, entry: Entry, value: str, rhs: str) -> tuple[int, int, str]:
        """The edit that gives ``entry`` a value, in its own style of quotes if that holds it."""
        start, end = self._own_lines(entry)
        head = self.text[start : entry.value_start]
        if self.dialect != PORTABLE:
            return start, end, f"{head.partition('=')[0]}={rhs}{self.text[entry.value_end : end]}"
        if not _dotenv_forms.HEAD.fullmatch(head):
            indent = head[: len(head) - len(head.lstrip(" \t"))]
            head = f"{indent}{'export ' if entry.exported else ''}{entry.name}="
        tail = self.text[entry.value_end : end]
        if not _dotenv_forms.TAIL.fullmatch(tail):
            comment = tail.strip(SPACE)
            tail = (f" {comment}" if comment else "") + ("\r" if tail.endswith("\r") else "")
        styled = _dotenv_forms.in_quotes(value, entry.quote)
        if styled is None or (not styled and "#" in tail):
            styled = rhs
        return start, end, head + styled + tail

    def _spliced(self, edits: list[tuple[int, int, str]], addition: str) -> Document:
        pieces, done = [], 0
        for start, end, replacement in sorted(edits):
            pieces += [self.text[done:start], replacement]
            done = end
        text = "".join([*pieces, self.text[done:]])
        if addition and text and not text.endswith("\n"):
            text += "\n" if text.endswith("\r") else self.newline
        return _parse_text(text + addition, self.path, self.bom, self.dialect)


def parse(data: bytes, path: str = ".env", dialect: str = PORTABLE) -> Document:
    """Read a ``.env`` as Compose does, or in another dialect as Compose's raw format does.

    :param path: how the file is called in errors.
    :param dialect: one of :data:`DIALECTS`.
    :raises HotfixError: for what Compose cannot read, with line and reason.
    """
    text = data.decode("utf-8", "surrogateescape")
    bom = text.startswith(BOM)
    return _parse_text(text[1:] if bom else text, path, bom, dialect)


def variables(data: bytes, path: str = ".env", dialect: str = PORTABLE) -> dict[str, str]:
    """The effective value of each variable in a ``.env``.

    :raises HotfixError: for what Compose cannot read, with line and reason.
    """
    return parse(data, path, dialect).variables


def redacted(document: Document) -> str:
    """The text with each value, and what may be a secret in a comment, replaced by a fingerprint."""
    secrets = [entry.value or "" for entry in document.entries if SECRET_NAME.search(entry.name)]
    words = {word for value in secrets for word in _WORD.findall(value)}
    pieces, done = [], 0
    for entry in document.entries:
        pieces.append(_redacted_comments(document.text[done : entry.start], words))
        head = document.text[entry.start : entry.value_start]
        # From the right: the name may also be "export", or be one of its letters.
        before_name, _name, after_name = head.rpartition(entry.name)
        pieces += [before_name, shown_name(entry), after_name]
        if entry.value is not None:
            pieces += [entry.quote, fingerprint(entry.value) if entry.value else "", entry.quote]
        done = entry.value_end
    pieces.append(_redacted_comments(document.text[done:], words))
    return "".join(pieces)


def shown_name(entry: Entry) -> str:
    """The name of an entry, fit to be shown: it may be the rest of a secret that was broken over lines.

    Such a rest is a bare word, or base64 that ends in ``=`` or ``==``, or follows a quote that was closed too early.
    """
    rest = entry.value is None or not entry.value.strip("=")
    plain = _PLAIN_NAME.fullmatch(entry.name) and not entry.remnant
    return fingerprint(entry.name) if rest and not plain else entry.name


def _redacted_comments(text: str, words: set[str]) -> str:
    if "#" not in text:
        return text
    lines = []
    for line in text.split("\n"):
        before, mark, comment = line.partition("#")
        lines.append(before + mark + _redacted_comment(comment, words))
    return "\n".join(lines)


def _redacted_comment(comment: str, words: set[str]) -> str:
    assignment = _COMMENTED.search(comment)
    kept, secret = comment, ""
    if assignment:
        end = len(comment.rstrip())
        secret = comment[assignment.end() : end]
        kept = comment[: assignment.end()]
    kept = _WORD.sub(lambda match: fingerprint(match[0]) if _suspicious(match[0], words) else match[0], kept)
    return kept + (fingerprint(secret) if secret else "") + ("\r" if secret and comment.endswith("\r") else "")


def _suspicious(word: str, words: set[str]) -> bool:
    mixed = any(character.isdigit() for character in word) and any(character.isalpha() for character in word)
    return word in words or (len(word) >= 16 and mixed) or bool(URL_PASSWORD.search(word))


def _effective(entries: list[Entry]) -> Entry | None:
    valued = [entry for entry in entries if entry.value is not None]
    return valued[-1] if valued else entries[-1] if entries else None


def _parse_text(text: str, path: str, bom: bool, dialect: str) -> Document:
    read = read_as_compose if dialect == PORTABLE else _dotenv_raw.read_as_raw
    return Document(text, tuple(read(text, path)), path, bom, dialect)


def _prove(before: Document, after: Document, wanted: Mapping[str, str | None]) -> None:
    """Check by reading again that exactly the wanted variables changed, for every reader of the dialect.

    :param wanted: the value that each name must have afterwards; ``None`` for a name that must be gone.
    :raises HotfixError: when the file is so odd that a reader would see something else.
    """
    portable = before.dialect == PORTABLE
    _dotenv_proof.prove_entries("Compose" if portable else "a raw reader", before, after, wanted)
    if before.dialect == BARE:
        _dotenv_proof.prove_compose(before, after, wanted)
    if before.dialect != RAW:
        _dotenv_proof.prove_python_dotenv(before, after, wanted)
        _dotenv_proof.prove_references(before, after, wanted)
    if portable:
        _dotenv_proof.prove_shell(before, after, wanted)
