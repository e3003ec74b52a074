# SPDX-License-Identifier: GPL-3.0-or-later
"""Watches over a handover on the host, from beside the run: takes its rules away as soon as the copy's process ends.

Started with this file's text as ``python3 -c`` by the modules ``handover`` and ``rolling``, so it stands alone. Without
it, a copy that dies after the run was killed would leave rules that lead to nobody. It ends when there are none left.

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

# Seconds between two looks whether there are rules at all; the first ones are there long before.
LOOK = 30.0


def start_time(pid: int) -> str:
    """When a process started, in clock ticks since the boot; empty when there is none, or it has ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            fields = stream.read().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def wait(pid: int, started: str, seconds: float) -> bool:
    """Wait until the process has ended, for so many seconds at most; whether it has."""
    deadline = time.monotonic() + seconds
    with contextlib.suppress(AttributeError, OSError):
        # Linux 5.3 tells at once; older kernels are asked again and again.
        descriptor = os.pidfd_open(pid)
        try:
            if start_time(pid) == started:
                select.select([descriptor], [], [], seconds)
        finally:
            os.close(descriptor)
    while start_time(pid) == started:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def rules(comment: str, program: str) -> list[list[str]]:
    """All rules with this comment, as words."""
    command = [program, "-w", "10", "-t", "nat", "-S"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    found = [shlex.split(line) for line in done.stdout.decode("utf-8", "replace").splitlines()]
    return [words for words in found if words[:1] == ["-A"] and comment in words]


def remove(comment: str, program: str) -> None:
    """Take out all rules with this comment."""
    for words in rules(comment, program):
        command = [program, "-w", "10", "-t", "nat", "-D", *words[1:]]
        subprocess.run(command, stderr=subprocess.DEVNULL, check=False)


def main() -> None:
    """Entry point."""
    pid, started, comment, programs = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:]
    # One that had ended before has no start.
    while started and not wait(pid, started, LOOK):
        if not any(rules(comment, program) for program in programs):
            return
    for program in programs:
        remove(comment, program)


if __name__ == "__main__":
    main()
