# SPDX-License-Identifier: GPL-3.0-or-later
"""What to say from time to time while workers are watched, or health is waited for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Seconds between two lines: the runbook's `watch -n 10`.
STEP = 10.0


def running(found: Mapping[str, Any]) -> bool:
    """Whether the module ``container_info`` has seen a running container."""
    return bool(found.get("exists")) and found["container"]["status"] == "running"


class Progress:
    """Lines about the workers of a container, each compared with the looks before.

    :param host: its name in the inventory.
    :param seconds: how long the watch takes.
    """

    def __init__(self, host: str, seconds: int) -> None:
        self._host, self._seconds = host, seconds
        self._first: int | None = None
        self._seen: set[int] = set()

    def line(self, passed: float, found: Mapping[str, Any]) -> str:
        """One line, of at most 80 columns with a host name of up to 12 characters.

        :param passed: seconds since the watch began.
        :param found: the result of the module ``container_info``.
        """
        return f"  {self._host}: watched {passed:3.0f} of {self._seconds} s: {self._state(found)}"

    def _state(self, found: Mapping[str, Any]) -> str:
        if found.get("failed"):
            return "the engine does not answer"
        if not found.get("exists"):
            return "there is no container"
        pids = set(found["workers"]["pids"])
        if not running(found) or not pids:
            return f"the container is {found['container']['status']}, no worker runs"
        if self._first is None:
            self._first = len(pids)
        self._seen |= pids
        replaced = len(self._seen) - self._first
        workers = f"{len(pids)} worker{'' if len(pids) == 1 else 's'}"
        return f"{workers}, {replaced or 'none'} replaced"


class HealthProgress:
    """Lines about an application that is waited for: each new answer, and the same one again from time to time.

    :param host: its name in the inventory.
    """

    # Characters of an answer that one line shows.
    WIDTH = 100

    def __init__(self, host: str) -> None:
        self._host = host
        self._began: float | None = None
        self._said: tuple[float, str] | None = None

    def line(self, now: float, found: Mapping[str, Any]) -> str | None:
        """One line, or None where there is nothing new to say.

        :param now: seconds of a clock that only goes on.
        :param found: the result of the module ``health_probe``.
        """
        if self._began is None:
            self._began = now
        if found["healthy"]:
            self._began = self._said = None
            return None
        words = "".join(sign if sign.isprintable() else "�" for sign in " ".join(found["answer"].split()))
        if len(words) > self.WIDTH:
            words = words[: self.WIDTH - 1] + "…"
        if found["status"]:
            words = f"status {found['status']}, {words or 'without a body'}"
        if self._said is not None and self._said[1] == words and now - self._said[0] < STEP:
            return None
        self._said = now, words
        return f"  {self._host}: not healthy after {now - self._began:3.0f} s: {words}"
