# SPDX-License-Identifier: GPL-3.0-or-later
"""Environment files that are read raw: ``env_file: {path: ..., format: raw}`` and ``docker run --env-file``.

A value is everything from the first ``=`` to the end of the line, quotes and ``#`` included. The grammar is what
Compose 2.40.3 and 5.6.1 show when they are run with ``format: raw``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv_readers import (
    SPACE,
    Entry,
    read_as_compose,
    read_as_python_dotenv,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError

# In bytes, without the newline: Go's bufio.MaxScanTokenSize less the newline and a byte order mark.
LONGEST_LINE = 65_532
_REFUSED = (
    (re.compile(r"\n"), "a line break"),
    (re.compile(r"\r\Z"), "a carriage return at its end"),
    (re.compile("\0"), "a NUL character"),
    (re.compile("[\ud800-\udfff]"), "bytes that are not UTF-8"),
)
_QUOTED = re.compile(r"""(['"]).*\1[ \t]*(?:[ \t]#.*)?""", re.DOTALL)
_REMEDY = "Write NAME=value, without spaces around the name and without export"


def read_as_raw(text: str, path: str) -> Iterator[Entry]:
    """The assignments in a file without BOM, in its order.

    :param path: how the file is called in errors.
    :raises HotfixError: for what a raw reader cannot read, with line and reason.
    """
    start = 0
    for number, line in enumerate(text.split("\n"), 1):
        _check_line(line, path, number)
        content = line[:-1] if line.endswith("\r") else line
        stripped = content.lstrip(SPACE)
        if stripped and not stripped.startswith("#"):
            yield _entry(content, stripped, start, number, path)
        start += len(line) + 1


def _check_line(line: str, path: str, number: int) -> None:
    try:
        length = len(line.encode("utf-8"))
    except UnicodeEncodeError:
        raise HotfixError(
            "there are bytes that are not UTF-8", path=path, line=number, remedy="Save the file as UTF-8"
        ) from None
    if length > LONGEST_LINE:
        raise HotfixError(
            f"the line is {length} bytes long, and a raw reader takes no more than {LONGEST_LINE}",
            path=path,
            line=number,
            remedy="Give the value to the program as a file",
        )


def _entry(content: str, stripped: str, offset: int, number: int, path: str) -> Entry:
    name, equals, value = stripped.partition("=")
    if not name:
        raise HotfixError("there is a value without a variable name", path=path, line=number, remedy=_REMEDY)
    if " " in name or "\t" in name:
        raise HotfixError("there is a variable name with a space in it", path=path, line=number, remedy=_REMEDY)
    start = offset + len(content) - len(stripped)
    end = offset + len(content)
    if not equals:
        return Entry(name, None, number, number, False, "", False, start, end, end)
    return Entry(name, value, number, number, False, "", False, start, end - len(value), end)


def encode(value: str, everywhere: bool) -> str:
    """The right-hand side that a raw reader reads as ``value``: the value itself.

    :param everywhere: Compose without ``format: raw`` and python-dotenv have to read the same.
    :raises HotfixError: with the reason, when they would not.
    """
    reason = _refusal(value, everywhere)
    if reason:
        raise HotfixError(
            f"the value holds {reason}, and this file is read raw{' as well as otherwise' if everywhere else ''}",
            remedy="Choose another value, or give it to the program as a file",
        )
    return value


def _refusal(value: str, everywhere: bool) -> str:
    reason = next((reason for pattern, reason in _REFUSED if pattern.search(value)), "")
    if reason or not everywhere or _alike(value):
        return reason
    if "$" in value:
        return "a dollar sign, which readers replace that are not raw"
    if value[:1] in ("'", '"', "#"):
        return "a quote or a hash at its start, which readers take differently that are not raw"
    return "white space at an end, a comment sign after a space or an odd character, which only a raw reader keeps"


def _alike(value: str) -> bool:
    line = f"A={value}\n"
    try:
        entries = list(read_as_compose(line, ""))
    except HotfixError:
        return False
    seen = [(entry.name, entry.value, entry.interpolated) for entry in entries]
    return seen == [("A", value, False)] and read_as_python_dotenv(line) == {"A": value} and "${" not in value


def unquoted(value: str) -> str:
    """What was meant by a value in quotes, which a raw reader keeps; the value itself where there are none."""
    if not _QUOTED.fullmatch(value):
        return value
    try:
        entries = list(read_as_compose(f"A={value}\n", ""))
    except HotfixError:
        return value
    return entries[0].value or "" if len(entries) == 1 and not entries[0].interpolated else value


def problem(entry: Entry, everywhere: bool) -> str:
    """What is wrong with an assignment, in words that follow its name; empty when nothing is."""
    if entry.value is None:
        return "has no value, and is inherited from whoever runs Compose"
    if unquoted(entry.value) != entry.value:
        return "stands in quotes, which a raw reader keeps as a part of the value"
    reason = _refusal(entry.value, everywhere)
    return f"holds {reason}" if reason else ""
