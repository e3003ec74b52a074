# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``/proc`` tells of real processes: which workers live, which take connections, and who hears which signal."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._supervisor import Look, Supervisor
from small_supervisor import supervisor


def until(look: Callable[[], Look], right: Callable[[Look], bool]) -> Look:
    """Look until it is right; a test that waits in vain fails."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = look()
        if right(found):
            return found
        time.sleep(0.02)
    raise AssertionError(look())


def test_live_workers_are_those_that_run_and_watch_the_listening_socket(tmp_path: Path) -> None:
    with supervisor(tmp_path, 3) as pid:
        found = until(Supervisor(pid).look, lambda look: len(look.accepting) == 3)
    assert set(found.pids) == found.accepting
    assert not found.unreaped


def test_a_worker_that_loads_takes_no_connections_yet(tmp_path: Path) -> None:
    with supervisor(tmp_path, 1, loading=60) as pid:
        watched = Supervisor(pid)
        first = until(watched.look, lambda look: len(look.accepting) == 1)
        os.kill(pid, signal.SIGTTIN)
        found = until(watched.look, lambda look: len(look.pids) == 2)
        assert found.accepting == first.accepting


def test_a_worker_that_finishes_its_requests_takes_no_connections_any_more(tmp_path: Path) -> None:
    with supervisor(tmp_path, 2, draining=60) as pid:
        watched = Supervisor(pid)
        until(watched.look, lambda look: len(look.accepting) == 2)
        os.kill(pid, signal.SIGTTOU)
        found = until(watched.look, lambda look: len(look.accepting) == 1)
        assert len(found.pids) == 2


def test_a_child_that_ended_is_no_worker_but_shows(tmp_path: Path) -> None:
    with supervisor(tmp_path, 2) as pid:
        watched = Supervisor(pid)
        first = until(watched.look, lambda look: len(look.accepting) == 2)
        os.kill(pid, signal.SIGSTOP)
        os.kill(first.pids[0], signal.SIGKILL)
        assert until(watched.look, lambda look: look.unreaped).pids == first.pids[1:]


def test_whether_signals_are_heard(tmp_path: Path) -> None:
    signals = signal.SIGTTIN, signal.SIGTTOU
    with supervisor(tmp_path, 1) as pid:
        until(Supervisor(pid).look, lambda look: len(look.accepting) == 1)
        assert Supervisor(pid).catches(*signals)
        assert not Supervisor(pid).catches(*signals, signal.SIGUSR1)
    with supervisor(tmp_path, 1, deaf=True) as pid:
        until(Supervisor(pid).look, lambda look: len(look.accepting) == 1)
        assert not Supervisor(pid).catches(*signals)


def test_a_supervisor_that_is_gone_is_no_other_process_of_the_same_number(tmp_path: Path) -> None:
    with supervisor(tmp_path, 1) as pid:
        watched = Supervisor(pid)
        watched.started -= 1
        with pytest.raises(HotfixError, match="has ended"):
            watched.look()
    with pytest.raises(HotfixError, match="has ended"):
        Supervisor(pid)
