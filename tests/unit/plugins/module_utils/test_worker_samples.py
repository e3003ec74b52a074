# SPDX-License-Identifier: GPL-3.0-or-later
"""Watching real processes that end: a supervisor with spawned workers, as uvicorn has them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils import _worker_samples
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Process
from ansible_collections.composeops.hotfix.plugins.module_utils._kernel_files import stat, uptime
from ansible_collections.composeops.hotfix.plugins.module_utils._processes import SPAWNED, TRACKER
from ansible_collections.composeops.hotfix.plugins.module_utils._worker_samples import Watch, children, switches

# Starts two workers and a resource tracker, which look like those of multiprocessing; "reap" takes note of the dead.
SUPERVISOR = f"""
import subprocess, sys
names = ["from {SPAWNED}; x", "from {SPAWNED}; x", "from {TRACKER}; x"]
wait = "import sys; sys.stdin.read()"
children = [subprocess.Popen([sys.executable, "-c", wait, name], stdin=subprocess.PIPE) for name in names]
print(*(child.pid for child in children), flush=True)
for line in sys.stdin:
    if line == "start\\n":
        children.append(subprocess.Popen([sys.executable, "-c", wait, names[0]], stdin=subprocess.PIPE))
        print(children[-1].pid, flush=True)
    else:
        [child.wait() for child in children if child.pid == int(line)]
        print("reaped", flush=True)
"""


class Supervised:
    """A supervisor and its children."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SUPERVISOR, "--workers", "2"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pids = [int(word) for word in self.read().split()]

    def read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def tell(self, word: object) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        return self.read()

    def processes(self) -> list[Process]:
        found = []
        for pid in [self.process.pid, *self.pids]:
            words = tuple(Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0"))
            found.append(Process(pid, self.process.pid if pid in self.pids else 1, " ".join(words), words))
        return found


@pytest.fixture
def supervised() -> Iterator[Supervised]:
    one = Supervised()
    for pid in one.pids:
        until(lambda pid=pid: b"multiprocessing" in Path(f"/proc/{pid}/cmdline").read_bytes())
        # Between exec and its first own page a process has hardly any memory.
        until(lambda pid=pid: (state := stat(pid)) is not None and state.rss > 1024**2)
    yield one
    for pid in children(one.process.pid) or []:
        os.kill(pid, signal.SIGKILL)
    one.process.kill()
    one.process.communicate()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def zombie(pid: int) -> bool:
    state = stat(pid)
    return state is not None and state.ended


root = pytest.mark.skipif(os.geteuid() != 0, reason="the wait status is shown to root only")


def test_who_is_a_worker(supervised: Supervised) -> None:
    watch = Watch(supervised.processes)
    watch.look()
    assert set(watch.known) == set(supervised.pids[:2])


@root
def test_a_worker_that_stays_a_zombie_shows_its_status(supervised: Supervised) -> None:
    watch = Watch(supervised.processes)
    watch.look()
    victim = supervised.pids[0]
    os.kill(victim, signal.SIGSEGV)
    until(lambda: zombie(victim))
    watch.look()
    watch.look()
    supervised.tell(victim)
    watch.look()
    (ended,) = watch.ended
    assert (ended.pid, ended.status and ended.status & 0x7F, ended.lingered) == (victim, signal.SIGSEGV, True)
    assert ended.rss > 1024**2


def test_a_worker_that_is_gone_at_once_shows_none(supervised: Supervised) -> None:
    watch = Watch(supervised.processes)
    watch.look()
    victim = supervised.pids[1]
    os.kill(victim, signal.SIGKILL)
    supervised.tell(victim)
    watch.look()
    (ended,) = watch.ended
    assert (ended.pid, ended.status, ended.lingered) == (victim, None, False)


def test_a_new_worker_is_taken_in(supervised: Supervised) -> None:
    watch = Watch(supervised.processes)
    watch.look()
    new = int(supervised.tell("start"))
    until(lambda: watch.look() or new in watch.known)


def test_a_supervisor_that_waits_is_silent(supervised: Supervised, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is a fake: nothing has to wait for five seconds."""
    now = 100.0
    monkeypatch.setattr(_worker_samples.time, "monotonic", lambda: now)
    watch = Watch(supervised.processes)
    watch.asked = 0.0
    watch.look()
    before = switches(supervised.process.pid)
    now = 105.0
    watch.look()
    os.kill(supervised.pids[0], signal.SIGKILL)
    supervised.tell(supervised.pids[0])
    watch.look()
    assert watch.ended[0].silence == 5.0
    assert switches(supervised.process.pid) > before
    os.kill(supervised.pids[1], signal.SIGKILL)
    now = 105.5
    supervised.tell(supervised.pids[1])
    watch.look()
    assert watch.ended[1].silence == 0.5


def test_a_supervisor_that_goes_is_looked_for_again(supervised: Supervised) -> None:
    asked = []

    def find() -> list[Process]:
        asked.append(1)
        return supervised.processes() if len(asked) == 1 else []

    watch = Watch(find)
    watch.look()
    supervised.process.kill()
    supervised.process.wait()
    watch.look()
    watch.look()
    assert (watch.lost, watch.supervisor, len(asked)) == (1, None, 1)
    watch.asked -= 10
    watch.look()
    assert len(asked) == 2


def test_workers_that_go_with_their_supervisor_have_not_died(supervised: Supervised) -> None:
    watch = Watch(supervised.processes)
    watch.look()
    os.kill(supervised.pids[0], signal.SIGKILL)
    supervised.tell(supervised.pids[0])
    watch.look()
    assert [one.pid for one in watch.ended] == [supervised.pids[0]]
    supervised.process.kill()
    supervised.process.wait()
    watch.look()
    assert watch.ended == []


def test_a_window_closes_what_it_opened(supervised: Supervised) -> None:
    before = set(os.listdir("/proc/self/fd"))
    window = Watch(supervised.processes).run(0.2)
    assert window.ended == [] and set(window.peaks) == set(supervised.pids[:2])
    assert set(os.listdir("/proc/self/fd")) == before


def test_without_a_list_of_children_all_of_proc_is_searched(
    supervised: Supervised, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_worker_samples, "children", lambda pid, proc: None)
    watch = Watch(supervised.processes)
    watch.look()
    assert set(watch.known) == set(supervised.pids[:2])


def test_numbers_of_a_process() -> None:
    state = stat(os.getpid())
    assert state is not None and (state.ppid, state.ended) == (os.getppid(), False)
    assert state.rss > 1024**2 and 0 < state.started < uptime()
    assert stat(2**22 + 1) is None and children(2**22 + 1) == [] and switches(2**22 + 1) == 0
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("NSpid:"))
    assert _worker_samples.inner_pid(os.getpid()) == int(line.split()[-1])
