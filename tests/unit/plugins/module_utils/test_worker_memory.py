# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures for sizing: from options and Compose, or measured on real processes that make up a container."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils import _worker_memory as wm
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Completed, Docker
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._workers import MEBIBYTE, Measured

NOT_GIVEN = {"memory_limit": None, "memory_shared": None, "memory_per_worker": None}
SPAWNED = (
    "/usr/bin/python -c from multiprocessing.spawn import spawn_main; spawn_main(pipe_handle=22) --multiprocessing-fork"
)


@pytest.fixture
def processes():
    """Three real processes; the last two hold 20 and 30 MiB of their own."""
    code = "import sys; block = b'x' * (int(sys.argv[1]) << 20); print('ready', flush=True); sys.stdin.read()"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, size], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="ascii"
        )
        for size in ("0", "20", "30")
    ]
    for process in started:
        assert process.stdout.readline() == "ready\n"
    yield [process.pid for process in started]
    for process in started:
        process.communicate("")


def running(tmp_path, pids, limit=""):
    """The service's container as the docker command describes it, made of these processes."""
    container = {
        "Id": "c" * 64,
        "Name": "/web",
        "Image": "sha256:1",
        "State": {"Running": True, "Status": "running", "Pid": pids[0] if pids else 0},
        "Config": {
            "Labels": {
                "com.docker.compose.project": "p",
                "com.docker.compose.project.working_dir": str(tmp_path),
                "com.docker.compose.service": "backend",
            }
        },
    }
    top = ["PID PPID COMMAND", f"{pids[0]} 1 /usr/bin/python /usr/bin/uvicorn a:b --workers 4"] if pids else []
    top += [f"{pid} {pids[0]} {SPAWNED}" for pid in pids[1:]]
    image = {"Cmd": ["uvicorn", "a:b"], "Entrypoint": None, "Env": ["A=b=c"], "WorkingDir": ""}
    answers = {
        "ps": "c" * 64 if pids else "",
        "inspect": json.dumps([container]),
        "top": "\n".join(top),
        "image": json.dumps(image),
    }

    def run(argv, **_options):
        return Completed(0, answers[argv[1]], "")

    tool = tmp_path / "bin" / "docker"
    tool.parent.mkdir(exist_ok=True)
    tool.write_text("")
    tool.chmod(0o755)
    return wm.Running(str(tmp_path), "backend", [], Docker(run, environ={"PATH": str(tool.parent)}))


def test_what_is_given_is_not_looked_up(tmp_path):
    params = {"memory_limit": "1g", "memory_shared": "100m", "memory_per_worker": "0.5g"}
    found = wm.figures(params, {"cpus": "1.5"}, running(tmp_path, []))
    assert found[:5] == (1024 * MEBIBYTE, 100 * MEBIBYTE, 512 * MEBIBYTE, 1.5, False)


def test_real_processes_are_measured(tmp_path, processes):
    found = wm.figures(NOT_GIVEN, {"mem_limit": "1g"}, running(tmp_path, processes))
    assert 30 * MEBIBYTE < found.per_worker < 60 * MEBIBYTE
    assert 0 < found.shared < 60 * MEBIBYTE
    assert found.measured and found.cpus >= 1
    assert found.reasons[0] == "The memory limit of 1.00 GiB is that of mem_limit in the Compose file."
    assert found.reasons[1].startswith("Measured on 2 running workers: ")
    assert "seconds after its start" in found.warnings[0]
    assert found.most == 4


def test_one_size_given_the_other_measured(tmp_path, processes):
    params = {**NOT_GIVEN, "memory_per_worker": "300m"}
    found = wm.figures(params, {"mem_limit": "1g"}, running(tmp_path, processes))
    assert found.per_worker == 300 * MEBIBYTE and 0 < found.shared < 60 * MEBIBYTE
    found = wm.figures(params, {"mem_limit": "1g"}, running(tmp_path, []))
    assert found.shared == 0 and "taken as 0" in found.reasons[1]


@pytest.mark.parametrize(
    ("age", "kills", "given", "most"),
    [
        (20, 0, {}, 4),
        (wm.YOUNG, 0, {}, None),
        (20, 0, {"memory_per_worker": MEBIBYTE}, None),
        (20, 0, {"memory_limit": MEBIBYTE}, 4),
        (20, 7, {}, 3),
        (wm.YOUNG, 7, {}, 3),
        (wm.YOUNG, 7, {"memory_limit": MEBIBYTE}, None),
    ],
)
def test_young_workers_and_killed_ones_are_a_bound(age, kills, given, most):
    assert wm._most(wm.Live(Measured(0, MEBIBYTE, 4), 4, age, kills), given) == most


def test_what_the_kernel_killed_counts():
    live = wm.Live(Measured(0, MEBIBYTE, 3), 4, 1e6, 7)
    assert list(wm._experience(live))[1] == (
        "The kernel killed 7 processes of the running container, set up for 4 workers, for lack of memory."
    )


def test_limits_in_compose():
    deploy = {"deploy": {"resources": {"limits": {"memory": "512M", "cpus": "0.5"}}}}
    assert wm.limit_in_compose(deploy) == (512 * MEBIBYTE, "deploy.resources.limits.memory")
    assert wm.limit_in_compose({"mem_limit": 1048576}) == (MEBIBYTE, "mem_limit")
    assert wm.limit_in_compose({"mem_limit": 0, "deploy": None}) is None
    assert (wm.cpus_in_compose(deploy), wm.cpus_in_compose({"cpus": 2}), wm.cpus_in_compose({})) == (0.5, 2.0, None)
    with pytest.raises(HotfixError, match="mem_limit is 'lots'"):
        wm.limit_in_compose({"mem_limit": "lots"})


def test_what_is_missing_is_named_with_the_options_that_give_it(tmp_path):
    with pytest.raises(HotfixError, match=r"service backend has no container.*memory_limit"):
        wm.figures(NOT_GIVEN, {}, running(tmp_path, []))
    with pytest.raises(HotfixError, match=r"service backend has no container.*memory_per_worker"):
        wm.figures(NOT_GIVEN, {"mem_limit": "1g"}, running(tmp_path, []))
    absent = wm.Running("/nowhere", "backend", [], Docker(environ={"PATH": ""}))
    with pytest.raises(HotfixError):
        wm.figures(NOT_GIVEN, {"mem_limit": "1g"}, absent)


def test_the_image(tmp_path, processes):
    assert running(tmp_path, processes).image("web:1") == ("web:1", [], ["uvicorn", "a:b"], {"A": "b=c"}, "/")
    assert running(tmp_path, []).image(None) is None


def test_ages_are_those_of_the_processes(processes):
    assert 0 <= wm._age(processes) < 60
    assert wm._age([1]) >= wm._age([os.getpid()])
    assert wm._age([]) == 0
