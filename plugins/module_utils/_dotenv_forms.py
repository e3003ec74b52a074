# SPDX-License-Identifier: GPL-3.0-or-later
"""The forms of a ``.env`` line that Compose, python-dotenv and a shell read alike.

They are ``NAME=bare``, ``NAME='single'`` and ``NAME="double"``, with ``export`` before or not, each with the characters
on which all of these readers agree when they are run on them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
HEAD = re.compile(r"[ \t]*(?:export[ \t]+)?[A-Za-z_][A-Za-z0-9_]*=")
TAIL = re.compile(r"(?:[ \t]+#[^\n]*|[ \t]*)\r?")

# Characters that mean themselves without quotes: not ~, which a shell expands, and not #.
_BARE = re.compile(r"[A-Za-z0-9_./:@%+,=-]*")
_SPECIAL_IN_DOUBLE = re.compile(r'["\\$`]')
# Why a value stands in no quotes at all for every reader.
_REFUSED = (
    (re.compile(r"[\r\n]"), "a line break"),
    (re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"), "a control character"),
    (re.compile("[\ud800-\udfff]"), "bytes that are not UTF-8"),
    (re.compile(r"\\"), "a backslash"),
    (re.compile(r"\$\{"), "the characters ${, which python-dotenv replaces even in single quotes"),
)


def encode(value: str) -> str:
    """The right-hand side that Compose, python-dotenv and a shell all read as ``value``.

    Bare where that is safe, since ``docker run --env-file`` then reads it too; else in single quotes, else in double.

    :raises HotfixError: with the reason, when there is no such form.
    """
    for quote in ("", "'", '"') if value else ("'",):
        written = in_quotes(value, quote)
        if written is not None:
            return written
    reason = _refusal(value) or "a single quote together with a double quote, a dollar sign or a backtick"
    raise HotfixError(
        f"the value holds {reason}, and cannot be written so that every reader gets it",
        remedy="Choose another value, or give it to the program as a file",
    )


def as_texts(values: Mapping[Any, Any], option: str) -> dict[str, str]:
    """Values from YAML as an environment holds them; a list of strings as JSON, which Jinja makes of JSON text itself.

    :param option: the name of the module's option, for errors.
    :raises HotfixError: for null and mappings, which have no single textual form.
    """
    return {str(name): _as_text(str(name), value, option) for name, value in values.items()}


def _as_text(name: str, value: Any, option: str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (str, int, float)):
        return str(value)
    if isinstance(value, list) and all(isinstance(element, str) for element in value):
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    raise HotfixError(
        f"{name} in {option} is neither text, a number, a boolean nor a list of strings",
        remedy="Write it as a quoted string",
    )


def in_quotes(value: str, quote: str) -> str | None:
    """``value`` in this style of quotes, or ``None`` when not every reader would get it back."""
    if quote == "":
        return value if _BARE.fullmatch(value) else None
    special = "'" in value if quote == "'" else _SPECIAL_IN_DOUBLE.search(value)
    return None if special or _refusal(value) else f"{quote}{value}{quote}"


def problem(value: str, quote: str, head: str, written: str, tail: str) -> str:
    """Why readers disagree about an assignment, in words that follow its name; empty when they agree.

    :param value: what Compose reads.
    :param head: its line up to the value; ``written`` is the value with its quotes, ``tail`` the rest of the line.
    """
    if not HEAD.fullmatch(head):
        return _head_problem(head)
    if not TAIL.fullmatch(tail):
        return "has text directly after its value"
    if in_quotes(value, quote) != written:
        return "has a value that readers take differently in the way it is written"
    return ""


def _head_problem(head: str) -> str:
    stripped = head.rstrip()
    if stripped.endswith(":"):
        return "is followed by a colon, which only Compose reads"
    if stripped != head or stripped[:-1] != stripped[:-1].rstrip():
        return "has spaces around its equals sign"
    return "has a name that a shell does not accept"


def _refusal(value: str) -> str:
    return next((reason for pattern, reason in _REFUSED if pattern.search(value)), "")
