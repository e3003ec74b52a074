# SPDX-License-Identifier: GPL-3.0-or-later
"""Who runs, and whether a run of this controller still lives, asked of real processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils import _controller

WAYS = {"proc": _controller._start_by_proc, "ps": _controller._start_by_ps}


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as running:
        yield running
        running.kill()


@pytest.fixture(params=WAYS)
def start_of(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Each way to ask, as the others do not have it."""
    way = WAYS[request.param]
    monkeypatch.setattr(_controller, "_start_by_proc", way)
    return _controller.start_of


def test_a_process_that_is_there_says_when_it_was_started(start_of: Any, process: Any) -> None:
    started = start_of(process.pid)
    assert started and started == start_of(process.pid)
    assert _controller.lives(process.pid, started)
    # Whatever number of a process that has ended this one has got.
    assert not _controller.lives(process.pid, "Thu Jan 1 00:00:00 1970")


def test_one_that_is_stopped_lives(start_of: Any, process: Any) -> None:
    started = start_of(process.pid)
    process.send_signal(signal.SIGSTOP)
    assert _controller.lives(process.pid, started)


def test_one_that_was_killed_is_gone_before_it_was_waited_for(start_of: Any, process: Any) -> None:
    started = start_of(process.pid)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert start_of(process.pid) is None
    assert not _controller.lives(process.pid, started)
    process.wait()
    assert start_of(process.pid) is None
    assert not _controller.lives(process.pid, started)


def test_what_cannot_be_told_counts_as_living(monkeypatch: pytest.MonkeyPatch, process: Any) -> None:
    started = _controller.start_of(process.pid)
    assert _controller.lives(process.pid, "")
    monkeypatch.setattr(_controller, "_start_by_proc", lambda pid: "")  # as where /proc hides it
    assert _controller.lives(process.pid, started or "")
    process.kill()
    process.wait()
    assert not _controller.lives(process.pid, started or "")
    monkeypatch.setattr(_controller, "_output", lambda *command: None)  # as where there is no ps
    assert _controller._start_by_ps(process.pid) == ""


@pytest.mark.parametrize("pid", [-1, 0, 1])
def test_numbers_that_are_no_run(pid: int) -> None:
    assert not _controller.lives(pid, "")


def ask(queue: Any) -> None:
    queue.put((_controller.main_process(), _controller.holder({"inventory_hostname": "droplet"}, ("a/site.yml",))))


def test_workers_of_a_run_come_to_the_same_id(monkeypatch: pytest.MonkeyPatch) -> None:
    context = multiprocessing.get_context("fork")
    found = []
    for _worker in range(2):
        queue = context.SimpleQueue()
        worker = context.Process(target=ask, args=(queue,))
        worker.start()
        found.append(queue.get())
        worker.join()
    assert found[0] == found[1]
    assert found[0][0] == os.getpid()
    facts = _controller.holder({}, ())
    assert facts["run"] == found[0][1]["run"]
    assert found[0][1]["playbook"] == "site.yml"
    assert found[0][1]["host"] == "droplet"
    monkeypatch.setattr(_controller, "start_of", lambda pid: "another time")
    assert _controller.holder({}, ())["run"] != facts["run"]


def test_awx_says_who_started_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = _controller.holder({"awx_user_name": "carla", "awx_job_id": 42}, ["composeops.hotfix.apply"])
    assert (facts["user"], facts["job"], facts["playbook"]) == ("carla", "42", "composeops.hotfix.apply")
    assert set(facts) == {
        "run",
        "user",
        "controller",
        "machine",
        "pid",
        "started",
        "playbook",
        "host",
        "job",
    }
    monkeypatch.setattr(_controller.getpass, "getuser", lambda: {}["nobody"])
    assert _controller.holder({}, ())["user"] == str(os.getuid())


@pytest.mark.skipif(sys.platform != "linux", reason="namespaces of processes are Linux's")
def test_a_machine_is_a_boot_and_its_processes() -> None:
    boot, _space, namespace = _controller.machine().partition(" ")
    assert len(boot) == 36
    assert namespace.startswith("pid:[")
