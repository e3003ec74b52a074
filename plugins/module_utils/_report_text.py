# SPDX-License-Identifier: GPL-3.0-or-later
"""Text of a report: safe to print, wrapped by the columns of a terminal, and figures as people write them.

What a report shows comes from logs and answers of an application, which may be anything.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import mask

WIDTH = 80
# Makes the character before it an emoji, which takes two columns.
EMOJI = "\ufe0f"
# Characters that move the cursor, hide text or turn its direction. Each is shown as one sign.
UNSAFE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060\u2066-\u2069\ufeff\ud800-\udfff\ufffe\uffff]"
)
SHOWN = "\ufffd"
UNITS = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))


def clean(text: str) -> str:
    """A text without control characters and without all that looks like a secret; its lines are made one."""
    return UNSAFE.sub(SHOWN, mask(" ".join(str(text).split())))


def cleaned(data: Any) -> Any:
    """Data with each of its texts made clean; names in dictionaries stay."""
    if isinstance(data, str):
        return clean(data)
    if isinstance(data, Mapping):
        return {name: cleaned(value) for name, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [cleaned(value) for value in data]
    return data


def width(text: str) -> int:
    """The columns that a terminal needs for a text; of signs that terminals disagree about, the larger number."""
    columns = 0
    for at, character in enumerate(text):
        if unicodedata.category(character) in ("Mn", "Me", "Cf"):
            continue
        emoji = text[at + 1 : at + 2] == EMOJI and character != " "
        wide = emoji or unicodedata.east_asian_width(character) in "WF"
        columns += 1 + wide
    return columns


def filled(text: str, columns: int) -> str:
    """A text with spaces up to so many columns."""
    return text + " " * (columns - width(text))


def wrapped(head: str, text: str, columns: int = WIDTH, indent: int | None = None) -> list[str]:
    """Lines of at most so many columns.

    :param head: stands before the text.
    :param indent: spaces before every further line; by default as many as ``head`` has columns.
    """
    start = " " * (width(head) if indent is None else indent)
    lines, line, empty = [], head, True
    for word in text.split():
        gap = "" if empty else " "
        if width(line) + len(gap) + width(word) <= columns:
            line, empty = line + gap + word, False
            continue
        if not empty:
            lines.append(line)
            line = start
        for piece in pieces(word, columns - width(line), columns - len(start)):
            if width(line + piece) > columns:
                lines.append(line)
                line = start
            line += piece
        empty = False
    return [kept.rstrip() for kept in [*lines, line]]


def pieces(word: str, first: int, others: int) -> list[str]:
    """A word in pieces of so many columns, the first one of ``first``."""
    found = [""]
    for character in re.findall(f".{EMOJI}?", word, re.DOTALL):  # such a sign is as wide as both are together
        room = max(first if len(found) == 1 else others, 2)
        if found[-1] and width(found[-1] + character) > room:
            found.append("")
        found[-1] += character
    return found


def instant(text: str | None) -> float | None:
    """Seconds since the epoch of a time as RFC 3339; None when it is none."""
    try:
        time = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        return None
    return (time if time.tzinfo else time.replace(tzinfo=timezone.utc)).timestamp()


def rfc3339(seconds: float) -> str:
    """A time in UTC, with milliseconds."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def clock(seconds: float, form: str = "%H:%M:%S") -> str:
    """A time of day in UTC."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime(form)


def lasting(seconds: float) -> str:
    """A span of time: ``0.4 s``, ``14 s``, ``3 min 5 s``, ``23 h 58 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s" if seconds % 1 else f"{seconds:.0f} s"
    whole = math.ceil(seconds)
    if whole < 120:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 120:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def size(count: float) -> str:
    """Bytes as people write them: ``512 MiB``, ``1.50 GiB``."""
    for unit, factor in UNITS:
        if count >= factor:
            return f"{count / factor:.2f} {unit}" if unit == "GiB" else f"{count / factor:.0f} {unit}"
    return f"{count:.0f} B"


def number(value: Any) -> float | None:
    """A finite figure; None for anything else, a truth value included."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def counted(count: int, one: str, many: str = "") -> str:
    """``1 step``, ``2 steps``."""
    return f"{count} {one if count == 1 else many or one + 's'}"
