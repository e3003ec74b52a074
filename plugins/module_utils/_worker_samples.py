# SPDX-License-Identifier: GPL-3.0-or-later
"""Watching workers through the host's ``/proc``: who ends, when, how, and what the supervisor did just before.

It needs no line of any log. A worker that ends stays a zombie until its supervisor takes note of it, half a second at
most with uvicorn, and root reads its wait status in the last field of ``/proc/<pid>/stat``
(https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html). uvicorn waits in one system call for a worker's answer to
its ping, so that a supervisor whose count of context switches stands still for as long as the ping's timeout, and then
moves in the moment in which a worker goes, has killed that worker itself.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ansible_collections.composeops.hotfix.plugins.module_utils._container import Process
from ansible_collections.composeops.hotfix.plugins.module_utils._kernel_files import Stat, kernel_text, stat, uptime
from ansible_collections.composeops.hotfix.plugins.module_utils._processes import workers

# Seconds between two looks. A hundredth of a processor is enough for twenty a second.
INTERVAL = 0.05
# Seconds between two searches of all of /proc, where the kernel keeps no list of a process's children.
SEARCH = 0.5
# Seconds between two questions to the engine for a container that has ended.
LOST = 1.0
# Seconds that a supervisor that stops may wait for its workers: those that docker stop has patience for.
STOPPING = 10.0
# Seconds after which a child has become the program that it is to be: at first it has its parent's arguments, or none.
SETTLED = 1.0


class Ended(NamedTuple):
    """A worker that ended.

    :ivar pid: as the host numbers it; ``inner`` as the container does.
    :ivar time: when that was seen, Unix time in seconds.
    :ivar age: seconds that it lived.
    :ivar status: its wait status; None when its parent took note of it before it was looked at.
    :ivar lingered: whether it stayed a zombie, which one that the supervisor killed does not.
    :ivar silence: seconds for which the supervisor had waited in one system call.
    :ivar busy: seconds of CPU that it used during that silence.
    :ivar rss: its resident memory when it was last seen alive, in bytes.
    """

    pid: int
    inner: int
    time: float
    age: float
    status: int | None
    lingered: bool
    silence: float
    busy: float
    rss: int


class Window(NamedTuple):
    """What was seen from ``began`` on (Unix time) for ``seconds``.

    :ivar peaks: the most resident memory of each worker in bytes, by its process ID on the host.
    :ivar cpu: seconds of CPU that the watching itself took.
    :ivar lost: how often the supervisor itself went.
    """

    began: float
    seconds: float
    ended: list[Ended]
    peaks: dict[int, int]
    cpu: float
    lost: int


def inner_pid(pid: int, *, proc: str = "/proc") -> int:
    """The number that the container itself gives to a process."""
    found = re.search(r"^NSpid:.*?(\d+)$", kernel_text(f"{proc}/{pid}/status"), re.MULTILINE)
    return int(found[1]) if found else pid


def switches(pid: int, *, proc: str = "/proc") -> int:
    """How often a process's first thread has gone to sleep by itself."""
    found = re.search(r"^voluntary_ctxt_switches:\s*(\d+)$", kernel_text(f"{proc}/{pid}/status"), re.MULTILINE)
    return int(found[1]) if found else 0


def children(pid: int, *, proc: str = "/proc") -> list[int] | None:
    """A process's children; None where the kernel keeps no list of them (CONFIG_PROC_CHILDREN)."""
    found: list[int] = []
    for thread in _names(f"{proc}/{pid}/task"):
        path = f"{proc}/{pid}/task/{thread}/children"
        try:
            with open(path, encoding="ascii") as stream:
                found += map(int, stream.read().split())
        except FileNotFoundError:
            if os.path.isdir(os.path.dirname(path)):
                return None
        except OSError:
            continue
    return found


class _Child:
    """One worker while it is watched."""

    def __init__(self, pid: int, now: Stat, proc: str) -> None:
        self.pid, self.last = pid, now
        self.inner = inner_pid(pid, proc=proc)
        self.zombie: Ended | None = None
        # CPU used until the moment from which on the supervisor has been silent.
        self.before_silence = now.cpu


class Watch:
    """Watches the workers of a container for a while.

    :param find: the container's processes; asked at the beginning, and again whenever the supervisor has gone.
    :param proc: the mount point of procfs.
    """

    def __init__(self, find: Callable[[], Sequence[Process]], *, proc: str = "/proc") -> None:
        self.find, self.proc = find, proc
        self.supervisor: Process | None = None
        self.started = 0.0
        self.known: dict[int, _Child] = {}
        self.others: dict[int, float] = {}
        self.handles: dict[int, int] = {}
        self.ended: list[Ended] = []
        self.peaks: dict[int, int] = {}
        self.lost = 0
        self.moved, self.count = time.monotonic(), -1
        self.searched, self.asked = 0.0, time.monotonic() - LOST

    def run(self, seconds: float) -> Window:
        """Watch; returns when ``seconds`` are over."""
        began, start, cpu = time.time(), time.monotonic(), time.process_time()
        while time.monotonic() - start < seconds:
            self.look()
            self._wait(min(INTERVAL, max(start + seconds - time.monotonic(), 0)))
        self.look()
        self.ended += [child.zombie for child in self.known.values() if child.zombie]
        for pid in list(self.handles):
            self._drop_handle(pid)
        return Window(began, time.monotonic() - start, self.ended, self.peaks, time.process_time() - cpu, self.lost)

    def look(self) -> None:
        """One look at everything."""
        if self.supervisor is None and not self._adopt():
            return
        supervisor = self.supervisor
        now = time.monotonic()
        silence = now - self.moved
        for child in list(self.known.values()):
            self._follow(child, silence)
        if supervisor is None:
            return
        state = stat(supervisor.pid, proc=self.proc)
        if state is None or state.ended or state.started != self.started:
            self.supervisor, self.lost, self.asked = None, self.lost + 1, now
            self._gone_with_supervisor()
            return
        count = switches(supervisor.pid, proc=self.proc)
        if count != self.count:
            self.moved, self.count = now, count
            for child in self.known.values():
                child.before_silence = child.last.cpu
        self._newcomers(supervisor, now)

    def _gone_with_supervisor(self) -> None:
        """Workers go with their supervisor: it tells them to, or the kernel ends all processes with the first one."""
        self.ended += [child.zombie for child in self.known.values() if child.zombie]
        recent = time.time() - STOPPING
        self.ended = [one for one in self.ended if one.time < recent or one.status not in (None, 0)]
        for pid in self.known:
            self._drop_handle(pid)
        self.known.clear()

    def _adopt(self) -> bool:
        """Look for the supervisor, at first and when the former one has gone."""
        now = time.monotonic()
        if now - self.asked < LOST:
            return False
        self.asked = now
        processes = list(self.find())
        pid = workers(processes).supervisor_pid
        self.supervisor = next((process for process in processes if process.pid == pid), None)
        state = stat(pid, proc=self.proc) if pid else None
        self.started, self.moved, self.count = state.started if state else 0.0, now, -1
        return self.supervisor is not None

    def _newcomers(self, supervisor: Process, now: float) -> None:
        """Take in the supervisor's new children: workers, and others of which only the numbers are kept."""
        for pid in self._children(supervisor.pid, now):
            if pid in self.known:
                continue
            state = stat(pid, proc=self.proc)
            if state is None or self.others.get(pid) == state.started:
                continue
            words = tuple(kernel_text(f"{self.proc}/{pid}/cmdline").rstrip("\0").split("\0"))
            process = Process(pid, supervisor.pid, " ".join(words), words)
            if pid in workers([supervisor, process]).pids or state.ended:
                self.known[pid] = _Child(pid, state, self.proc)
                self._open_handle(pid)
            elif uptime(proc=self.proc) - state.started > SETTLED:
                self.others[pid] = state.started

    def _children(self, pid: int, now: float) -> list[int]:
        found = children(pid, proc=self.proc)
        if found is not None:
            return found
        if now - self.searched < SEARCH:
            return []
        self.searched = now
        numbers = [int(name) for name in _names(self.proc) if name.isdigit()]
        states = ((number, stat(number, proc=self.proc)) for number in numbers)
        return [number for number, state in states if state is not None and state.ppid == pid]

    def _follow(self, child: _Child, silence: float) -> None:
        """See whether a worker is still there; note how it ended."""
        state = stat(child.pid, proc=self.proc)
        if state is not None and state.started == child.last.started and not state.ended:
            child.last = state
            self.peaks[child.pid] = max(self.peaks.get(child.pid, 0), state.rss)
            return
        self._drop_handle(child.pid)
        if child.zombie is None:
            seen = state is not None and state.started == child.last.started
            child.zombie = Ended(
                pid=child.pid,
                inner=child.inner,
                time=time.time(),
                age=uptime(proc=self.proc) - child.last.started,
                status=state.status if state is not None and seen else None,
                lingered=False,
                silence=silence,
                busy=(state.cpu if state is not None and seen else child.last.cpu) - child.before_silence,
                rss=child.last.rss,
            )
        elif state is not None and state.started == child.last.started:
            child.zombie = child.zombie._replace(lingered=True)
        if state is None or state.started != child.last.started:
            self.ended.append(child.zombie)
            del self.known[child.pid]

    def _wait(self, seconds: float) -> None:
        """Sleep, but no longer than until a worker ends: it may not stay a zombie for long."""
        if not self.handles:
            time.sleep(seconds)
            return
        poll = select.poll()
        for handle in self.handles.values():
            poll.register(handle, select.POLLIN)
        poll.poll(seconds * 1000)

    def _open_handle(self, pid: int) -> None:
        # Linux 5.3; what is seen without is the same, only up to an interval later.
        opener = getattr(os, "pidfd_open", None)
        with contextlib.suppress(OSError):
            if opener is not None:
                self.handles[pid] = opener(pid)

    def _drop_handle(self, pid: int) -> None:
        handle = self.handles.pop(pid, None)
        if handle is not None:
            os.close(handle)


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
