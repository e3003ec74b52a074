# SPDX-License-Identifier: GPL-3.0-or-later
"""The small files in which the kernel tells of processes and control groups."""

from __future__ import annotations

import os
from typing import NamedTuple

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class Stat(NamedTuple):
    """What ``/proc/<pid>/stat`` says; start since boot and CPU in seconds, memory in bytes."""

    ppid: int
    ended: bool
    started: float
    cpu: float
    rss: int
    status: int


def kernel_text(path: str) -> str:
    """A file's text; empty when the process is gone, may not be looked at, or the kernel has no such file."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def stat(pid: int, *, proc: str = "/proc") -> Stat | None:
    """A process's state; None when there is none. Who is not root reads 0 for the wait status."""
    fields = kernel_text(f"{proc}/{pid}/stat").rpartition(")")[2].split()
    if len(fields) < 50:
        return None
    cpu = (int(fields[11]) + int(fields[12])) / TICKS
    return Stat(
        int(fields[1]), fields[0] in "ZX", int(fields[19]) / TICKS, cpu, int(fields[21]) * PAGE, int(fields[49])
    )


def uptime(*, proc: str = "/proc") -> float:
    """Seconds since the host's boot."""
    return float(kernel_text(f"{proc}/uptime").split()[0])
