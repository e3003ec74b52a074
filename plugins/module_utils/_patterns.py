# SPDX-License-Identifier: GPL-3.0-or-later
"""Regular expressions and durations as operators write them into options."""

from __future__ import annotations

import re

from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError

# In seconds.
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
PART = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)([smhdw])")
DURATION = re.compile(f"(?:{PART.pattern})+")
# In seconds: more is a slip, and more than a few thousand years no date can take.
LONGEST = 100 * 365 * 86400


def compile_pattern(text: str, what: str) -> re.Pattern[str]:
    """A regular expression of Python.

    :param what: how it is called in the error.
    :raises HotfixError: when it is none.
    """
    try:
        return re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise HotfixError(
            f"{what} is not a regular expression of Python: {error}",
            remedy="Escape characters that are meant literally with a backslash",
        ) from error


def parse_duration(text: str, option: str) -> float:
    """Seconds in a duration such as ``90d``, ``1h30m`` or ``2w``.

    :param option: the option's name, for the error.
    :raises HotfixError: when it is none, or one of more than 100 years.
    """
    text = text.strip()
    parts = PART.findall(text) if DURATION.fullmatch(text) else []
    seconds = sum(float(number) * UNITS[unit] for number, unit in parts)
    if not parts or seconds > LONGEST:
        raise HotfixError(
            f"{option} is not a duration of at most 100 years",
            remedy="Write a number and s, m, h, d or w, such as 90d or 1h30m",
        )
    return seconds
