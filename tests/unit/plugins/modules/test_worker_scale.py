# SPDX-License-Identifier: GPL-3.0-or-later
"""The module on real processes with real signals; only the engine, which lists them, is a stand-in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Docker
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._supervisor import Supervisor
from ansible_collections.composeops.hotfix.plugins.module_utils._worker_scale import WorkerScale
from small_supervisor import supervisor


def children(pid: int) -> list[int]:
    return list(Supervisor(pid).look().pids)


def ready(pid: int, workers: int) -> None:
    """Wait until a supervisor has its workers."""
    deadline = time.monotonic() + 30
    while len(Supervisor(pid).look().accepting) != workers:
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Scaled:
    """An engine that knows one container, and the module."""

    def __init__(self, engine: Any, pid: int) -> None:
        self.engine, self.pid = engine, pid
        engine.inspect["State"]["Pid"] = pid

    def __call__(self, *, check: bool = False, expect_failure: bool = False, **args: Any) -> dict[str, Any]:
        listed = [(self.pid, 1), *((child, self.pid) for child in children(self.pid))] if self.pid else []
        rows = [f"{pid} {ppid} {Path(f'/proc/{pid}/cmdline').read_text()}" for pid, ppid in listed]
        text = "\n".join(["PID PPID COMMAND", *rows]).replace("\0", " ")
        self.engine.answers = {"top": {"stdout": text}, "inspect": {"stdout": json.dumps([self.engine.inspect])}}
        (self.engine.folder / "answers.json").write_text(json.dumps(self.engine.answers))
        env = {"PATH": f"{self.engine.folder}:{os.environ['PATH']}"}
        args = {"container": "shop-web-1", **args} if "project_src" not in args else args
        result: dict[str, Any] = self.engine.run_module(
            "worker_scale", args, check=check, expect_failure=expect_failure, env=env
        )
        return result


@pytest.fixture
def four(engine: Any, tmp_path: Path) -> Iterator[Scaled]:
    """A container with four workers."""
    with supervisor(tmp_path, 4, loading=0.5, draining=0.5) as pid:
        ready(pid, 4)
        yield Scaled(engine, pid)


def test_fewer_and_more_and_no_change(four: Scaled) -> None:
    before = children(four.pid)
    found = four(workers=2)
    assert (found["changed"], found["previous"], found["workers"], found["possible"]) == (True, 4, 2, True)
    assert found["diff"]["before"] == "workers: 4\n" and found["diff"]["after"] == "workers: 2\n"
    # As gunicorn does, the oldest ones went.
    assert found["pids_after"] == children(four.pid) == before[2:]
    assert four(workers=2)["changed"] is False
    more = four(workers=3)
    assert more["changed"] and more["pids_after"] == children(four.pid)
    assert set(before[2:]) < set(more["pids_after"]) and len(more["pids_after"]) == 3


def test_check_mode_says_the_same_and_sends_nothing(four: Scaled) -> None:
    before = children(four.pid)
    checked = four(workers=2, check=True)
    assert checked["changed"] and checked["reason"] == "It takes SIGTTOU 2 times to the supervisor of shop-web-1."
    assert children(four.pid) == before == checked["pids_after"]
    done = four(workers=2)
    assert {key: done[key] for key in ("changed", "previous", "workers", "diff", "possible")} == {
        key: checked[key] for key in ("changed", "previous", "workers", "diff", "possible")
    }


def test_the_time_that_it_may_take(engine: Any, tmp_path: Path) -> None:
    with supervisor(tmp_path, 2, loading=60) as pid:
        ready(pid, 2)
        failed = Scaled(engine, pid)(workers=3, timeout=3, expect_failure=True)
    assert "after 3 s there are 3 workers instead of 3, of which process" in failed["msg"]
    assert "has not loaded the application yet" in failed["msg"]
    assert (failed["signals"], failed["changed"]) == (["SIGTTIN"], True)


def test_a_supervisor_that_would_be_stopped_by_the_signals_gets_none(engine: Any, tmp_path: Path) -> None:
    with supervisor(tmp_path, 2, deaf=True) as pid:
        ready(pid, 2)
        found = Scaled(engine, pid)(workers=1, required=False)
        assert not found["possible"] and not found["changed"] and found["previous"] == 2
        assert found["reason"].startswith("gunicorn does not take the signals SIGTTIN and SIGTTOU")
        failed = Scaled(engine, pid)(workers=1, expect_failure=True)
        assert failed["msg"].startswith("the number of workers cannot be changed without a restart: gunicorn does not")
        assert (failed["signals"], failed["changed"]) == ([], False)
        assert len(children(pid)) == 2


def test_without_the_right_to_signal_there_is_one_remedy(
    engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_pid: int, _number: int) -> None:
        raise PermissionError

    params = dict.fromkeys(("project_src", "service", "files", "state_dir", "only_number"))
    with supervisor(tmp_path, 2) as pid:
        ready(pid, 2)
        Scaled(engine, pid)(workers=1, check=True)
        docker = Docker(environ={"PATH": f"{engine.folder}:{os.environ['PATH']}"})
        change = {**params, "container": "shop-web-1", "workers": 1, "timeout": 9, "required": True}
        with monkeypatch.context() as without_root:
            without_root.setattr(os, "kill", refuse)
            with pytest.raises(HotfixError) as caught:
                WorkerScale(change, docker, check=False).run()
    assert str(caught.value) == (
        "the number of workers cannot be changed without a restart: this user may not send signals to the supervisor. "
        "Run as root (become: true)."
    )


def test_a_container_that_does_not_run(engine: Any) -> None:
    engine.inspect["State"].update(Status="exited", Running=False)
    found = Scaled(engine, 0)(workers=2, required=False)
    assert found["reason"] == "the container does not run (exited)." and found["previous"] is None
    assert found["running"] is False


def test_one_process_that_serves_alone(engine: Any, tmp_path: Path) -> None:
    """Its version is known all the same."""
    server = tmp_path / "uvicorn"
    server.write_text("import sys; sys.stdin.read()")
    (tmp_path / "packages" / "uvicorn-0.40.0.dist-info").mkdir(parents=True)
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "packages")}
    with subprocess.Popen([sys.executable, str(server), "app:app"], stdin=subprocess.PIPE, env=env) as process:
        engine.inspect["Config"].update(Entrypoint=None, Cmd=["uvicorn", "app:app"])
        found = Scaled(engine, process.pid)(workers=2, required=False)
        process.communicate()
    assert found["reason"].startswith("uvicorn runs as one process") and found["running"]
    assert (found["created_with"], found["previous"], found["supervisor_pid"]) == (1, 1, None)
    assert found["server"] == {"name": "uvicorn", "version": "0.40.0"}


def test_an_engine_on_another_host(engine: Any) -> None:
    """Its processes are not among those of this host: a number that is free here."""
    free = 2**22 - 1
    uvicorn = "/usr/bin/python /usr/bin/uvicorn app:app --workers 2"
    spawned = "/usr/bin/python -c from multiprocessing.spawn import spawn_main; spawn_main() --multiprocessing-fork"
    engine.answers = {"top": {"stdout": f"PID PPID COMMAND\n{free} 1 {uvicorn}\n{free - 1} {free} {spawned}\n"}}
    found = engine.run("worker_scale", container="shop-web-1", workers=1, required=False)
    assert found["reason"] == "its processes are not to be seen here: the engine is on another host."


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"workers": 0}, "workers is 0. Give a number from 1 to 1000."),
        ({"workers": 1001}, "workers is 1001. Give a number from 1 to 1000."),
        ({}, "workers is not given. Give it, or project_src and service instead of container."),
    ],
)
def test_bad_options(four: Scaled, args: dict[str, Any], message: str) -> None:
    assert four(**args, expect_failure=True)["msg"] == message


def test_the_number_of_the_files_and_the_journal(four: Scaled, tmp_path: Path) -> None:
    project = tmp_path / "shop"
    project.mkdir()
    (project / "compose.yml").write_text("services:\n  backend:\n    image: x\n    command: gunicorn app:app -w 3\n")
    four.engine.inspect["Config"]["Labels"].update(
        {"com.docker.compose.project.working_dir": str(project), "com.docker.compose.service": "backend"}
    )
    state = tmp_path / "state"
    where = {"project_src": str(project), "service": "backend", "state_dir": str(state)}
    original = four.engine.run_module

    def run(name: str, args: dict[str, Any], **more: Any) -> dict[str, Any]:
        four.engine.answers["ps"] = {"stdout": four.engine.inspect["Id"]}
        (four.engine.folder / "answers.json").write_text(json.dumps(four.engine.answers))
        found: dict[str, Any] = original(name, args, **more)
        return found

    four.engine.run_module = run
    assert four(**where, check=True)["last_change"] is None
    assert not state.exists()
    found = four(**where)
    assert (found["previous"], found["workers"], found["changed"]) == (4, 3, True)
    assert (found["last_change"]["oom_kills"], found["last_change"]["workers"]) == (0, found["workers"])
    assert four(**where)["last_change"] == found["last_change"]
    (line,) = (state / "shop" / "journal.jsonl").read_text().splitlines()
    assert json.loads(line)["result"] == "4 to 3"
    four.engine.inspect["State"]["StartedAt"] = "2030-01-01T00:00:00Z"
    assert four(**where)["last_change"] is None
