# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of a container's processes is the server's supervisor, and which are its live workers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ansible_collections.composeops.hotfix.plugins.module_utils._command_line import parse_argv
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Process

# `fastapi run` starts uvicorn.
SERVERS = {"uvicorn": "uvicorn", "gunicorn": "gunicorn", "fastapi": "uvicorn"}
# How CPython starts children: uvicorn's workers are of the first kind; the second keeps the books of shared resources.
SPAWNED = "multiprocessing.spawn import spawn_main"
TRACKER = "multiprocessing.resource_tracker import main"


class Workers(NamedTuple):
    """Live workers.

    ``server`` is None for a program that is neither uvicorn nor gunicorn by name; its spawned children are counted.
    ``supervisor_pid`` is None where one process serves alone.
    """

    server: str | None
    supervisor_pid: int | None
    pids: list[int]


def workers(processes: Sequence[Process]) -> Workers:
    """Tell supervisor and workers apart, by the rules of uvicorn 0.30 to 0.54 and gunicorn 20 to 27.

    uvicorn's workers are spawned interpreters, gunicorn's are forks of the master. A zombie is no worker, nor are
    uvicorn's resource tracker and the children that workers start themselves.
    """
    named = {process.pid: SERVERS.get(program(process.argv)) for process in processes}
    for process in processes:
        server = named[process.pid]
        if server is None or named.get(process.ppid) == server:
            continue
        children = [child for child in processes if child.ppid == process.pid]
        if server == "gunicorn":
            return _supervised(server, process, [child for child in children if named[child.pid] == server])
        tracked = any(TRACKER in child.args or SPAWNED in child.args for child in children)
        if not tracked and not _has_supervisor(process):
            return Workers(server, None, [process.pid])
        return _supervised(server, process, [child for child in children if SPAWNED in child.args])
    return _unnamed(processes)


def main_process(processes: Iterable[Process], found: Workers) -> Process | None:
    """The supervisor, or the one process that serves alone; None when no server runs."""
    pid = found.supervisor_pid or next(iter(found.pids), None)
    return next((process for process in processes if process.pid == pid), None)


def program(argv: Sequence[str]) -> str:
    """The name of the program that a process runs; of ``python3 -m uvicorn`` it is ``uvicorn``."""
    words = list(argv)
    # setproctitle: the whole title, "gunicorn: master [app]", stands for the arguments.
    name = os.path.basename(words[0]).split(":")[0] if words else ""
    if not name.startswith(("python", "pypy")):
        return name
    words = words[1:]
    while words and words[0].startswith("-"):
        if words[0] == "-m":
            return words[1].split(".")[0] if len(words) > 1 else ""
        if words[0] == "-c":
            return ""
        words = words[2 if words[0] in ("-X", "-W") else 1 :]
    return os.path.basename(words[0]) if words else name


def _supervised(server: str | None, supervisor: Process, live: Sequence[Process]) -> Workers:
    return Workers(server, supervisor.pid, [process.pid for process in live])


def _has_supervisor(process: Process) -> bool:
    """Whether a childless uvicorn is a supervisor all of whose workers are gone."""
    command = parse_argv(process.argv)
    return command.reload or (command.workers or 1) > 1


def _unnamed(processes: Sequence[Process]) -> Workers:
    """A program of another name, such as ``python main.py`` which calls ``uvicorn.run``."""
    for process in processes:
        children = [child for child in processes if child.ppid == process.pid and SPAWNED in child.args]
        if children:
            return _supervised(None, process, children)
    return Workers(None, None, [])
