# SPDX-License-Identifier: GPL-3.0-or-later
"""Who runs a playbook: the facts that the lock of a project holds, and whether such a run still lives.

A run is a process of ``ansible-playbook`` (or ``ansible``, or a job of AWX) on a controller. Its ID is a hash of the
controller, the process and the time at which that was started, so that each of its tasks comes to the same one, and a
process that got the number of an ended one comes to another.
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import multiprocessing
import os
import socket
import subprocess
from collections.abc import Iterable, Mapping
from typing import Any

BOOT_ID = "/proc/sys/kernel/random/boot_id"
GONE = None
UNKNOWN = ""


def main_process() -> int:
    """The process of ansible-playbook: each task has a worker of its own, which outlives it when it is killed."""
    parent = multiprocessing.parent_process()
    return parent.pid if parent is not None and parent.pid is not None else os.getpid()


def machine() -> str:
    """A controller since its last boot, by which processes can be told apart; empty where that is not known.

    Two containers on one machine have the same boot but each its own processes, hence their namespace as well.
    """
    with contextlib.suppress(OSError), open(BOOT_ID, encoding="ascii") as stream:
        return f"{stream.read().strip()} {os.readlink('/proc/self/ns/pid')}"
    return _output("sysctl", "-n", "kern.bootsessionuuid") or ""


def start_of(pid: int) -> str | None:
    """When a process was started, in whatever unit the system has.

    :returns: :data:`GONE` for one that is not there, or is dead and only not yet waited for; :data:`UNKNOWN` for one
        that is there and does not say.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return GONE
    except OSError:
        pass  # somebody else's
    if os.path.exists("/proc/self/stat"):
        return _start_by_proc(pid)
    return _start_by_ps(pid)


def _start_by_proc(pid: int) -> str | None:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stream:
            fields = stream.read().rpartition(")")[2].split()
    except ProcessLookupError:
        return GONE
    except OSError:
        return UNKNOWN  # /proc may hide the processes of others (hidepid)
    return GONE if fields[0] in ("Z", "X") else fields[19]


def _start_by_ps(pid: int) -> str | None:
    """For systems without ``/proc``, such as macOS."""
    text = _output("ps", "-o", "stat=", "-o", "lstart=", "-p", str(pid))
    if text is None:
        return UNKNOWN
    state, _space, started = text.strip().partition(" ")
    return GONE if not state or state.startswith("Z") else " ".join(started.split())


def _output(*command: str) -> str | None:
    """What a program printed; None when there is no such program."""
    environment = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
    try:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    return done.stdout.strip()


def lives(pid: int, started: str) -> bool:
    """Whether a run's process on this controller is still there; true as well where that cannot be told."""
    if pid <= 1:
        return False
    now = start_of(pid)
    if now is GONE:
        return False
    return UNKNOWN in (now, started) or now == started


def holder(variables: Mapping[str, Any], arguments: Iterable[str]) -> dict[str, str]:
    """The facts of this run that a lock holds.

    :param variables: of the task; AWX says in them who started a job.
    :param arguments: of the command line: the playbooks.
    """
    pid = main_process()
    facts = {
        "user": str(variables.get("awx_user_name") or variables.get("tower_user_name") or _user()),
        "controller": socket.gethostname(),
        "machine": machine(),
        "pid": str(pid),
        "started": start_of(pid) or UNKNOWN,
        "playbook": " ".join(os.path.basename(str(name)) for name in arguments),
        "host": str(variables.get("inventory_hostname", "")),
        "job": str(variables.get("awx_job_id") or variables.get("tower_job_id") or ""),
    }
    told = "\0".join(facts[name] for name in ("controller", "machine", "pid", "started"))
    return {"run": hashlib.sha256(told.encode()).hexdigest()[:12], **facts}


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())  # a container may run as a user that has no name
