# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel's log and the engine's events say of processes that were killed or crashed, with times.

The kernel's lines (mm/oom_kill.c, kernel/signal.c, arch/x86/kernel/traps.c) as Linux 5.4 to 6.18 print them::

    oom-kill:constraint=CONSTRAINT_MEMCG,...,task_memcg=/docker/<id>,task=uvicorn,pid=4329,uid=0
    Memory cgroup out of memory: Killed process 4329 (uvicorn) total-vm:219256kB, anon-rss:60928kB, ...
    uvicorn[31874]: segfault at 0 ip 00007f03934b3a98 sp 00007fffe60cde68 error 4 in libc.so.6[175a98,...]
    traps: uvicorn[31874] general protection fault ip:7f03934b3a98 sp:7fffe60cde68 error:0 in libfoo.so[...]
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ansible_collections.composeops.hotfix.plugins.module_utils._container import Completed, Docker, run_command
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError

DEVICE = "/dev/kmsg"
# Seconds that journalctl may take.
PATIENCE = 30.0

OOM = re.compile(r"oom-kill:constraint=(?P<kind>\w+),.*task_memcg=(?P<group>[^,]*),task=(?P<name>.*),pid=(?P<pid>\d+),")
KILLED = re.compile(r"[Oo]ut of memory: Killed process (?P<pid>\d+) .*anon-rss:(?P<rss>\d+)kB")
CRASH = re.compile(
    r"(?:traps: )?(?P<name>[^\[\]:]{1,15})\[(?P<pid>\d+)\]:? "
    r"(?P<what>segfault|general protection fault|trap (?:invalid opcode|divide error|int3)|bus error)"
    r"(?:.*? in (?P<library>[^\[\s]+)\[)?"
)
RECORD = re.compile(r"\d+,\d+,(\d+),[^;]*;([^\n]*)")
JOURNAL = re.compile(r"(\d+\.\d+) \S+ kernel: (.*)")


class Event(NamedTuple):
    """Something that killed a process.

    :ivar time: Unix time in seconds.
    :ivar cause: ``oom`` or ``crash``.
    :ivar pid: as the host numbers it; None when it is not known.
    :ivar ours: whether it is known to concern the container that was asked about, not only its host.
    :ivar text: in words.
    """

    time: float
    cause: str
    pid: int | None
    ours: bool
    text: str


class Exit(NamedTuple):
    """An end of the whole container: Unix time in seconds and the exit code of its first process."""

    time: float
    code: int


def events(lines: Iterable[tuple[float, str]], container_id: str) -> list[Event]:
    """What the kernel did to processes: those of the container that it ran out of memory for, and crashes on the host.

    A crash carries no container: whether it was one of ours is for the caller to say, by process ID or by time.

    :param lines: Unix time and text of each line, oldest first.
    """
    found: list[Event] = []
    for when, text in lines:
        oom, killed = OOM.search(text), KILLED.search(text)
        if oom and container_id in oom["group"]:
            scope = "for the container's memory limit" if oom["kind"] == "CONSTRAINT_MEMCG" else "for the whole host"
            words = f"the kernel killed process {oom['pid']} ({oom['name']}) for lack of memory, {scope}"
            found.append(Event(when, "oom", int(oom["pid"]), True, words))
        elif killed:
            found = [
                event._replace(text=f"{event.text}; it held {int(killed['rss']) // 1024} MiB of its own")
                if event.pid == int(killed["pid"]) and event.cause == "oom" and "it held" not in event.text
                else event
                for event in found
            ]
        else:
            crash = CRASH.match(text)
            if crash:
                library = f" in {crash['library']}" if crash["library"] else ""
                words = f"the kernel noted a {crash['what']} of process {crash['pid']} ({crash['name']}){library}"
                found.append(Event(when, "crash", int(crash["pid"]), False, words))
    return found


def read(since: float) -> list[tuple[float, str]] | None:
    """The kernel's messages from ``since`` (Unix time) on, by the journal or its own buffer; None if closed."""
    return _journal(since) or _device(since)


def _journal(since: float) -> list[tuple[float, str]]:
    command = ["journalctl", "--dmesg", "--quiet", "--no-pager", "--output=short-unix", f"--since=@{int(since)}"]
    try:
        result = run_command(command, timeout=PATIENCE)
    except (OSError, subprocess.TimeoutExpired):
        return []
    matches = (JOURNAL.match(line) for line in result.stdout.splitlines())
    return [(float(match[1]), match[2]) for match in matches if match and float(match[1]) >= since]


def _device(since: float, path: str = DEVICE) -> list[tuple[float, str]] | None:
    """One record for each read: https://docs.kernel.org/admin-guide/abi-testing-files.html, ``/dev/kmsg``."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    boot = time.time() - time.monotonic()
    lines = []
    try:
        for record in _records(handle):
            match = RECORD.match(record)
            if match and boot + int(match[1]) / 1e6 >= since:
                lines.append((boot + int(match[1]) / 1e6, match[2]))
    finally:
        os.close(handle)
    return lines


def _records(handle: int) -> Iterator[str]:
    while True:
        try:
            yield os.read(handle, 8192).decode("utf-8", "replace")
        except BrokenPipeError:
            continue  # the record was overwritten before it was read
        except OSError:
            return


def engine(docker: Docker, container_id: str, since: float, until: float) -> tuple[list[Event], list[Exit]]:
    """Kills for lack of memory and ends of a container among the last 256 events, which the engine keeps."""
    bounds = ("--since", f"{since:.0f}", "--until", f"{until:.0f}", "--filter", f"container={container_id}")
    names = ("--filter", "event=oom", "--filter", "event=die")
    try:
        result = docker.run("events", *bounds, *names, "--format", "{{json .}}", check=False)
    except HotfixError:
        return [], []
    return parse_engine(result)


def parse_engine(result: Completed) -> tuple[list[Event], list[Exit]]:
    """Read what ``docker events --format '{{json .}}'`` printed."""
    kills, exits = [], []
    for line in result.stdout.splitlines():
        try:
            data = json.loads(line)
            when, action = int(data["timeNano"]) / 1e9, str(data["Action"])
            if action == "oom":
                kills.append(Event(when, "oom", None, True, "the engine was told of a kill for lack of memory"))
            elif action == "die":
                exits.append(Exit(when, int(data["Actor"]["Attributes"].get("exitCode", 0))))
        except (ValueError, KeyError, TypeError):
            continue
    return kills, exits
