# SPDX-License-Identifier: GPL-3.0-or-later
"""The one exception that every part of the collection raises for bad input."""

from __future__ import annotations


class HotfixError(Exception):
    """One clear sentence: where, what is wrong, what to do. Never holds a secret value.

    :param message: what is wrong, without a final full stop.
    :param path: the file concerned.
    :param line: the line in that file, counted from 1.
    :param remedy: what the operator can do, in the imperative.
    """

    def __init__(
        self, message: str, *, path: str | None = None, line: int | None = None, remedy: str | None = None
    ) -> None:
        self.message = message
        self.path = path
        self.line = line
        self.remedy = remedy
        super().__init__(str(self))

    def __str__(self) -> str:
        where = f"{self.path}:{self.line}: " if self.path and self.line else f"{self.path}: " if self.path else ""
        return f"{where}{self.message}{'. ' + self.remedy if self.remedy else ''}."
