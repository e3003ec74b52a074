# SPDX-License-Identifier: GPL-3.0-or-later
"""How Compose, and as a second opinion python-dotenv, read a ``.env``.

The grammars are what the programs themselves show when they are run: Compose 2.40.3 and 5.6.1, python-dotenv 1.2.4.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field

from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError

# Unicode's white space as Go has it: Python's str.isspace also takes \x1c to \x1f.
SPACE = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
_INLINE_SPACE = "\t\v\f\r \x85\xa0"
_SKIPPED = re.compile(f"(?:[{SPACE}]+|#[^\n]*)*")
_EXPORT = re.compile(f"(?:export[\t\n\f\r ][{_INLINE_SPACE}]*)?")
_NAME = re.compile("[^=:\n]*")
_INLINE = re.compile(f"[{_INLINE_SPACE}]*")
_REST = re.compile("[^\n]*")
_ASCII_NAME = re.compile(r"[A-Za-z0-9_.\[\]-]*")
_QUOTED = {
    "'": re.compile(r"'([^'\\]*(?:\\.[^'\\]*)*)'", re.DOTALL),
    '"': re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL),
}
# A backslash and the quote that it hides; other pairs are matched so that the second half is not taken for a first one.
_HIDDEN_QUOTE = {"'": re.compile(r"(\\[^'])|\\'"), '"': re.compile(r'(\\[^"])|\\"')}
_ESCAPE = re.compile(r'\\(?:([abcfnrtv$"\\])|0([0-9]{0,3}))')
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", '"': '"', "\\": "\\"}
_DOLLAR = re.compile(r"\$\$|\$[A-Za-z_]\w*|\$\{([A-Za-z_]\w*(?::?[-+?]|(?=\})))?|\}", re.ASCII)
_REMEDY = "Write NAME='value', with the quotes closed and nothing but a comment after them"


@dataclass(frozen=True)
class Entry:
    """One assignment of a ``.env``, as Compose reads it.

    :ivar value: the value with quotes and escapes resolved; ``None`` for a bare name, which Compose inherits.
    :ivar line: the line on which it begins, from 1; ``end_line`` is the line on which its value ends.
    :ivar quote: ``''``, ``"'"`` or ``'"'``.
    :ivar interpolated: the value refers to other variables; these references are left as they are written.
    :ivar start: offset of the statement; ``value_start`` and ``value_end`` enclose the value with its quotes.
    :ivar remnant: a bare name directly after a value, on its line: what follows a quote closed too early.
    """

    name: str
    value: str | None = field(repr=False)
    line: int
    end_line: int
    exported: bool
    quote: str
    interpolated: bool
    start: int
    value_start: int
    value_end: int
    remnant: bool = False


def read_as_compose(text: str, path: str) -> Iterator[Entry]:
    """The assignments in a file without BOM, in its order.

    :param path: how the file is called in errors.
    :raises HotfixError: for what Compose cannot read, with line and reason.
    """
    line, start = 1, _end(_SKIPPED, text, 0)
    line += text.count("\n", 0, start)
    while start < len(text):
        entry, end = _statement(text, start, line, path)
        if entry:
            yield entry
        following = _end(_SKIPPED, text, end)
        line += text.count("\n", start, following)
        start = following


def _statement(text: str, start: int, line: int, path: str) -> tuple[Entry | None, int]:
    """The assignment at an offset, and the offset after it; no assignment for ``export`` alone."""
    name_start = _end(_EXPORT, text, start)
    name_end = _end(_NAME, text, name_start)
    name = text[name_start:name_end].rstrip(SPACE)
    _check_name(text[name_start:name_end], path, line)
    exported = name_start > start
    if text[name_end : name_end + 1] in ("", "\n"):
        if name_start == len(text):
            raise HotfixError("there is an export of nothing", path=path, line=line, remedy="Remove this line")
        if not name:
            return None, name_end
        end = name_start + len(name)
        remnant = bool(text[text.rfind("\n", 0, start) + 1 : start].strip(SPACE))
        return Entry(name, None, line, line, exported, "", False, start, end, end, remnant), name_end
    if not name:
        raise HotfixError("there is a value without a variable name", path=path, line=line, remedy=_REMEDY)
    value_start = _end(_INLINE, text, name_end + 1)
    quote, raw, value_end = _raw_value(text, value_start, path, line)
    try:
        value, interpolated = _resolve(raw, quote)
    except ValueError:
        raise HotfixError(
            f"{name} refers to a variable in a way that Compose cannot read",
            path=path,
            line=line,
            remedy="Write ${NAME}, or put the value in single quotes",
        ) from None
    if value_start == value_end:
        value_start = value_end = name_end + 1  # white space after an empty value, such as a CR, is not before it
    end_line = line + text.count("\n", start, value_end)
    entry = Entry(name, value, line, end_line, exported, quote, interpolated, start, value_start, value_end)
    return entry, value_end if quote else _end(_REST, text, value_end)


def _end(pattern: re.Pattern[str], text: str, position: int) -> int:
    """Where a pattern that can always match ends."""
    match = pattern.match(text, position)
    return match.end() if match else position


def _check_name(name: str, path: str, line: int) -> None:
    """Compose's rule: letters, numbers and ``_.-[]``; white space after the name, and odd ones within, pass."""
    if _ASCII_NAME.fullmatch(name):
        return
    if " " in name.rstrip(SPACE):
        raise HotfixError("there is a variable name with a space in it", path=path, line=line, remedy=_REMEDY)
    for character in name:
        if character not in f"_.-[]{_INLINE_SPACE}" and unicodedata.category(character)[0] not in "LN":
            raise HotfixError("there is text that is not NAME=value", path=path, line=line, remedy=_REMEDY)


def _raw_value(text: str, start: int, path: str, line: int) -> tuple[str, str, int]:
    """The quote, the text between the quotes, and the offset after the value."""
    quote = text[start : start + 1]
    if quote in _QUOTED:
        match = _QUOTED[quote].match(text, start)
        if not match:
            raise HotfixError("a quote is opened and never closed", path=path, line=line, remedy="Close the quote")
        return quote, match[1], match.end()
    raw = text[start : _end(_REST, text, start)].partition(" #")[0].rstrip(SPACE)
    return "", raw, start + len(raw)


def _resolve(raw: str, quote: str) -> tuple[str, bool]:
    """The value that Compose makes of the text between the quotes, and whether it refers to other variables.

    :raises ValueError: for a reference that Compose cannot read.
    """
    if quote:
        raw = _HIDDEN_QUOTE[quote].sub(lambda match: match[1] or quote, raw)
    if quote == "'":
        return raw, False
    if quote == '"':
        raw = _ESCAPE.sub(_unescape, raw).encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    if "$" not in raw:
        return raw, False
    if _interpolates(raw):
        return raw, True
    return raw.replace("$$", "$"), False


def _unescape(match: re.Match[str]) -> str:
    if match[1]:
        # A dollar sign is doubled, since references are replaced only after this.
        return "$$" if match[1] == "$" else _ESCAPES.get(match[1], match[0])
    # Compose drops the 0 and lets Go read what is left: three octal digits make one byte, anything else stays text.
    if re.fullmatch("[0-3][0-7]{2}", match[2]):
        return bytes([int(match[2], 8)]).decode("utf-8", "surrogateescape")
    return f"\\{match[2]}"


def _interpolates(text: str) -> bool:
    """Whether Compose would replace something in ``text``.

    :raises ValueError: when a ``${`` has no name, no known operator or no end.
    """
    depth, found = 0, False
    for match in _DOLLAR.finditer(text):
        if match[0] == "}":
            depth = max(depth - 1, 0)
        elif match[0].startswith("${"):
            if match[1] is None:
                raise ValueError("reference without a name")
            depth, found = depth + 1, True
        elif match[0] != "$$":
            found = True
    if depth:
        raise ValueError("reference without an end")
    return found


_PY_SPACE = r"[^\S\n]*"
_PY_START = re.compile(r"\s*(?:export[^\S\n]+)?")
_PY_NAME = re.compile(rf"(?:(?P<comment>#[^\n]*)|'(?P<quoted>[^']+)'|(?P<bare>(?!')[^=#\s]+)){_PY_SPACE}")
_PY_EQUALS = re.compile(rf"={_PY_SPACE}")
_PY_TAIL = re.compile(rf"(?:{_PY_SPACE}#[^\n]*)?{_PY_SPACE}(?:\n|\Z)")
_PY_COMMENT = re.compile(r"(?<!\s)\s+#.*")
_PY_ESCAPE = {"'": re.compile(r"\\([\\'])"), '"': re.compile(r"\\([\\'\"abfnrtv])")}


def read_as_python_dotenv(text: str) -> dict[str, str | None]:
    """What python-dotenv makes of a file without BOM, references left as they are.

    After a line that it cannot read it goes on with the next, where Compose stops.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    found: dict[str, str | None] = {}
    position = 0
    while position < len(text):
        start = _end(_PY_START, text, position)
        name = _PY_NAME.match(text, start)
        if not name:
            position = _end(_REST, text, start) + 1
            continue
        value, end, readable = _python_value(text, name.end())
        tail = _PY_TAIL.match(text, end) if readable else None
        if tail and not name["comment"]:
            found[name["quoted"] or name["bare"]] = value
        position = tail.end() if tail else _end(_REST, text, end) + 1
    return found


def _python_value(text: str, position: int) -> tuple[str | None, int, bool]:
    """The value after a name, where it ends, and whether python-dotenv can read it."""
    equals = _PY_EQUALS.match(text, position)
    if not equals:
        return None, position, True
    position = equals.end()
    quote = text[position : position + 1]
    if quote in _QUOTED:
        match = _QUOTED[quote].match(text, position)
        if not match:
            return None, position, False
        value = _PY_ESCAPE[quote].sub(lambda escape: _ESCAPES.get(escape[1], escape[1]), match[1])
        return value, match.end(), True
    if quote == "#" and len(equals[0]) > 1:
        return "", position, True
    end = _end(_REST, text, position)
    return _PY_COMMENT.sub("", text[position:end]).rstrip(), end, True
