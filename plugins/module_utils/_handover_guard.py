# SPDX-License-Identifier: GPL-3.0-or-later
"""Watches over a handover on the host, from beside the run: takes its rules away as soon as the copy's process ends.

Started with this file's text as ``python3 -c`` by the module ``handover``, so it stands alone. Without it, a copy that
dies after the run was killed would leave rules that lead to nobody.

Arguments: process ID, its start time (field 22 of ``/proc/<pid>/stat``), comment of the rules, iptables programs.
"""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import subprocess
import sys
import time


def start_time(pid: int) -> str:
    """When a process started, in clock ticks since the boot; empty when there is none, or it has ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            fields = stream.read().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def wait(pid: int, started: str) -> None:
    """Return when the process has ended."""
    with contextlib.suppress(AttributeError, OSError):
        # Linux 5.3 tells at once; older kernels are asked again and again.
        descriptor = os.pidfd_open(pid)
        if start_time(pid) == started:
            select.select([descriptor], [], [])
    while start_time(pid) == started:
        time.sleep(0.2)


def remove(comment: str, program: str) -> None:
    """Take out all rules with this comment."""
    table = [program, "-w", "10", "-t", "nat"]
    done = subprocess.run([*table, "-S"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    for line in done.stdout.decode("utf-8", "replace").splitlines():
        words = shlex.split(line)
        if words[:1] == ["-A"] and comment in words:
            subprocess.run([*table, "-D", *words[1:]], stderr=subprocess.DEVNULL, check=False)


def main() -> None:
    """Entry point."""
    pid, started, comment = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    wait(pid, started)
    for program in sys.argv[4:]:
        remove(comment, program)


if __name__ == "__main__":
    main()
