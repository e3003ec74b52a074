# SPDX-License-Identifier: GPL-3.0-or-later
"""A supervisor with workers that do to signals what gunicorn's do, without what it takes to install gunicorn.

Real processes and real signals: workers are forks that watch a shared listening socket with epoll once they have
loaded, take no new connections after SIGTERM, and end when their requests are finished. The real servers are measured
by ``benchmarks/live_workers.py``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

SCRIPT = r"""
import os, select, signal, socket, sys, time
loading, draining, deaf = float(sys.argv[2]), float(sys.argv[3]), sys.argv[4] == "deaf"
listener = socket.create_server(("127.0.0.1", 0))
wanted, workers, stopping = int(sys.argv[1]), [], False

def work():
    def end(*_):
        poller.unregister(listener)
        time.sleep(draining)
        os._exit(0)
    poller = select.epoll()
    # What loads may have connections of its own already, to Redis, say.
    other = socket.create_connection(listener.getsockname())
    poller.register(other, select.EPOLLIN)
    time.sleep(loading if started else 0)
    poller.register(listener)
    signal.signal(signal.SIGTERM, end)
    while True:
        poller.poll(60)

def more(*_):
    global wanted
    wanted += 1

def fewer(*_):
    global wanted
    wanted = max(wanted - 1, 1)

if not deaf:
    signal.signal(signal.SIGTTIN, more)
    signal.signal(signal.SIGTTOU, fewer)
started = False
while True:
    while len(workers) < wanted:
        pid = os.fork()
        if not pid:
            signal.signal(signal.SIGTTIN, signal.SIG_DFL)
            signal.signal(signal.SIGTTOU, signal.SIG_DFL)
            work()
        workers.append(pid)
    started = True
    for pid in workers[: len(workers) - wanted]:
        os.kill(pid, signal.SIGTERM)
    time.sleep(0.2)
    for pid in list(workers):
        if os.waitpid(pid, os.WNOHANG)[0]:
            workers.remove(pid)
"""


@contextlib.contextmanager
def supervisor(
    folder: Path, workers: int, *, loading: float = 0, draining: float = 0, deaf: bool = False, name: str = "gunicorn"
) -> Iterator[int]:
    """Run one; gives its process ID.

    :param loading: seconds that a worker takes which is added later.
    :param draining: seconds that a worker takes to end.
    :param deaf: whether it has no handlers for the signals, as old servers have none.
    """
    script = folder / name
    script.write_text(SCRIPT)
    words = [sys.executable, str(script), str(workers), str(loading), str(draining), "deaf" if deaf else "hears"]
    process = subprocess.Popen(words, start_new_session=True)
    try:
        yield process.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
