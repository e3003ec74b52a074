# SPDX-License-Identifier: GPL-3.0-or-later
"""container_info and container_log_info, run as Ansible does.

A stand-in ``docker`` gives back what real engines printed, and has the faults that no unit test can have for real.
Against a real engine the modules are tried by the Molecule scenarios.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RECORDED = Path(__file__).parents[1] / "module_utils" / "recorded"
API_KEY = "dev-key-12345"
REDIS_PASSWORD = "s3cret-pw"

STAND_IN = r"""#!{python}
import json, os, sys
folder = os.path.dirname(os.path.abspath(__file__))
answers = json.load(open(os.path.join(folder, "answers.json")))
words = sys.argv[1:]
with open(os.path.join(folder, "calls"), "a") as calls:
    calls.write(json.dumps(words) + "\n")
key = words[0] + (" --follow" if "--follow" in words else "")
answer = answers.get(key, answers.get(words[0], {{"rc": 1, "stderr": "Error: No such container: x"}}))
if answer.get("once"):
    answers[words[0]] = answer["then"]
    json.dump(answers, open(os.path.join(folder, "answers.json"), "w"))
sys.stdout.write(answer.get("stdout", ""))
sys.stdout.flush()
sys.stderr.write(answer.get("stderr", ""))
sys.exit(answer.get("rc", 0))
"""


class Engine:
    """A stand-in ``docker`` command."""

    def __init__(self, folder: Path, run_module: Callable[..., dict[str, Any]]) -> None:
        self.folder = folder
        self.run_module = run_module
        self.answers: dict[str, Any] = {}
        self.inspect: dict[str, Any] = json.loads((RECORDED / "inspect_engine_20.json").read_text())[0]
        # No process of this machine may be taken for the container's.
        self.inspect["State"]["Pid"] = 0
        docker = folder / "docker"
        docker.write_text(STAND_IN.format(python=sys.executable))
        docker.chmod(0o755)

    def run(self, module: str, expect_failure: bool = False, **args: Any) -> dict[str, Any]:
        self.answers.setdefault("inspect", {"stdout": json.dumps([self.inspect])})
        (self.folder / "answers.json").write_text(json.dumps(self.answers))
        env = {"PATH": f"{self.folder}:{os.environ['PATH']}"}
        result = self.run_module(module, args, check=True, expect_failure=expect_failure, env=env)
        assert result.get("changed") is not True
        for secret in (API_KEY, REDIS_PASSWORD):
            assert secret not in json.dumps({key: value for key, value in result.items() if key != "invocation"})
        return result

    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]


@pytest.fixture
def engine(tmp_path: Path, run_module: Callable[..., dict[str, Any]]) -> Engine:
    return Engine(tmp_path, run_module)


UVICORN = (
    "PID PPID COMMAND\n"
    f"999999901 1 /usr/bin/python3 /usr/bin/uvicorn app:app --workers 2 --api-key {API_KEY}\n"
    "999999902 999999901 /usr/bin/python3 -c from multiprocessing.resource_tracker import main;main(6)\n"
    "999999903 999999901 /usr/bin/python3 -c from multiprocessing.spawn import spawn_main; spawn_main(tracker_fd=7)\n"
    "999999904 999999901 /usr/bin/python3 -c from multiprocessing.spawn import spawn_main; spawn_main(tracker_fd=7)\n"
)


def test_a_running_container(engine: Engine) -> None:
    engine.answers["top"] = {"stdout": UVICORN}
    result = engine.run("container_info", container="shop-web-1")
    assert result["exists"] is True
    container = result["container"]
    assert (container["name"], container["service"], container["status"]) == ("shop-web-1", "web", "running")
    assert {"host_ip": "127.0.0.1", "host_port": 18080, "container_port": 80, "protocol": "tcp"} in container["ports"]
    assert result["restart_policy"]["survives_reboot"] is False
    assert result["workers"] == {
        "server": "uvicorn",
        "supervisor_pid": 999999901,
        "pids": [999999903, 999999904],
        "count": 2,
    }
    assert result["environment"]["ENVIRONMENT"] == "sha256:ab8e18ef len=10"
    assert result["environment_list"]["VALID_API_KEYS"] == ["sha256:f82f3a6e len=13"]
    assert result["processes"][0]["args"].endswith("--api-key sha256:f82f3a6e len=13")
    assert set(result["memory"]) == {"limit", "usage", "peak", "oom_kills"}


def test_nothing_is_asked_of_the_engine_that_could_change_something(engine: Engine) -> None:
    engine.answers |= {"top": {"stdout": UVICORN}, "logs": {}}
    engine.run("container_info", container="shop-web-1")
    engine.run("container_log_info", container="shop-web-1")
    assert {call[0] for call in engine.calls()} <= {"inspect", "ps", "top", "logs", "version"}


def test_a_stopped_container_has_no_processes(engine: Engine) -> None:
    engine.inspect["State"] |= {"Running": False, "Status": "exited", "ExitCode": 3}
    result = engine.run("container_info", container="shop-web-1")
    assert (result["container"]["status"], result["container"]["exit_code"]) == ("exited", 3)
    assert (result["processes"], result["workers"]["count"]) == ([], 0)


def test_a_container_that_ends_while_we_look_has_no_processes(engine: Engine) -> None:
    """A crash loop: running when inspected, gone when its processes are listed."""
    ended = json.loads(json.dumps(engine.inspect))
    ended["State"] |= {"Running": False, "Status": "exited"}
    engine.answers = {
        "inspect": {"stdout": json.dumps([engine.inspect]), "once": True, "then": {"stdout": json.dumps([ended])}},
        "top": {"rc": 1, "stderr": "Error response from daemon: container x is not running"},
    }
    assert engine.run("container_info", container="shop-web-1")["processes"] == []


def test_processes_that_cannot_be_listed_are_an_error(engine: Engine) -> None:
    engine.answers["top"] = {"rc": 1, "stderr": 'Error response from daemon: exec: "ps": executable file not found'}
    result = engine.run("container_info", container="shop-web-1", expect_failure=True)
    assert "executable file not found" in result["msg"]


def test_a_missing_container(engine: Engine, tmp_path: Path) -> None:
    engine.answers = {
        "inspect": {"rc": 1, "stdout": "[]", "stderr": "Error: No such container: nix"},
        "ps": {"stdout": ""},
    }
    assert engine.run("container_info", container="nix")["exists"] is False
    assert engine.run("container_info", project_src=str(tmp_path), service="web")["exists"] is False
    result = engine.run("container_info", container="nix", required=True, expect_failure=True)
    assert "there is no container nix" in result["msg"]


@pytest.mark.parametrize("module", ["container_info", "container_log_info"])
def test_an_engine_that_does_not_answer(engine: Engine, module: str) -> None:
    down = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
    engine.answers["inspect"] = {"rc": 1, "stderr": down}
    result = engine.run(module, container="x", expect_failure=True)
    assert "systemctl start docker" in result["msg"]


def test_options_that_do_not_go_together(engine: Engine) -> None:
    for args in ({}, {"container": "x", "project_src": "/x", "service": "y"}, {"project_src": "/x"}, {"service": "y"}):
        engine.run("container_info", expect_failure=True, **args)


STAMP = "2026-11-24T11:25:00.00000000"
OUT = f"{STAMP}1Z ✓ Redis connection established\n{STAMP}3Z using key {API_KEY} at redis://:{REDIS_PASSWORD}@redis:6379/0\n"
ERR = f"{STAMP}2Z INFO:     Child process [10] died\n{STAMP}4Z INFO:     Child process [9] died\n"
PATTERNS = [
    {"name": "died", "regex": r"Child process \[\d+\] died"},
    {"name": "redis", "regex": "Redis connection established", "expect": "present"},
    {"name": "keys", "regex": "using key", "expect": "any"},
]


def test_both_streams_are_searched_from_the_containers_start(engine: Engine) -> None:
    engine.answers["logs"] = {"stdout": OUT, "stderr": ERR}
    result = engine.run("container_log_info", container="shop-web-1", patterns=PATTERNS)
    died, redis, keys = result["matches"]
    assert (died["count"], died["ok"], died["first"], died["last"]) == (2, False, f"{STAMP}2Z", f"{STAMP}4Z")
    assert (redis["count"], redis["ok"]) == (1, True)
    assert keys["samples"] == ["using key sha256:f82f3a6e len=13 at redis://:sha256:e1e748fd len=9@redis:6379/0"]
    assert result["ok"] is False
    assert result["problems"] == [f"died: 2 found, the last at {STAMP}4Z, where none was expected"]
    assert (result["lines"], result["streams"]) == (4, {"stdout": 2, "stderr": 2})
    assert result["container"] == "shop-web-1"
    assert result["since"] < engine.inspect["State"]["StartedAt"]
    (call,) = [call for call in engine.calls() if call[0] == "logs"]
    assert call == ["logs", "--timestamps", "--since", result["since"], engine.inspect["Id"]]


def test_a_log_as_expected(engine: Engine) -> None:
    engine.answers["logs"] = {"stdout": OUT}
    result = engine.run("container_log_info", container="shop-web-1", patterns=PATTERNS, until="2026-11-24T12:00:00Z")
    assert (result["ok"], result["problems"], result["watch_ended"]) == (True, [], None)
    assert "--until" in engine.calls()[-1]


def test_a_container_that_stops_while_it_is_watched_is_not_ok(engine: Engine) -> None:
    stopped = json.loads(json.dumps(engine.inspect))
    stopped["State"] |= {"Running": False, "Status": "exited"}
    for allow_stop in (False, True):
        engine.answers = {
            "inspect": {
                "stdout": json.dumps([engine.inspect]),
                "once": True,
                "then": {"stdout": json.dumps([stopped])},
            },
            "logs --follow": {"stdout": OUT},
        }
        result = engine.run(
            "container_log_info", container="shop-web-1", patterns=PATTERNS, watch=1000, allow_stop=allow_stop
        )
        assert result["watch_ended"] == "stopped"
        assert result["ok"] is allow_stop
        assert result["problems"] == ([] if allow_stop else ["the container stopped while it was watched"])


@pytest.mark.parametrize(
    ("change", "ending"),
    [({"StartedAt": "2026-11-24T12:00:00Z"}, "restarted"), ({}, "cut"), (None, "removed")],
)
def test_how_a_watch_ended(engine: Engine, change: dict[str, str] | None, ending: str) -> None:
    later = json.loads(json.dumps(engine.inspect))
    later["State"] |= change or {}
    gone = {"rc": 1, "stderr": "Error: No such container: x"}
    engine.answers = {
        "inspect": {
            "stdout": json.dumps([engine.inspect]),
            "once": True,
            "then": gone if change is None else {"stdout": json.dumps([later])},
        },
        "logs --follow": {"stdout": OUT},
    }
    result = engine.run("container_log_info", container="shop-web-1", watch=1000)
    assert (result["watch_ended"], result["ok"]) == (ending, False)


def test_a_log_that_cannot_be_read(engine: Engine) -> None:
    engine.inspect["HostConfig"]["LogConfig"]["Type"] = "syslog"
    engine.answers["logs"] = {
        "rc": 1,
        "stderr": "Error response from daemon: configured logging driver does not support reading\n",
    }
    result = engine.run("container_log_info", container="shop-web-1", expect_failure=True)
    assert "logging driver syslog" in result["msg"]
    assert "json-file" in result["msg"]


def test_a_container_without_log_or_without_start(engine: Engine) -> None:
    engine.inspect["HostConfig"]["LogConfig"]["Type"] = "none"
    result = engine.run("container_log_info", container="shop-web-1", expect_failure=True)
    assert "keeps no log" in result["msg"]
    engine.inspect["HostConfig"]["LogConfig"]["Type"] = "json-file"
    engine.inspect["State"]["StartedAt"] = "0001-01-01T00:00:00Z"
    engine.answers.clear()
    result = engine.run("container_log_info", container="shop-web-1", expect_failure=True)
    assert "was never started" in result["msg"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"since": "yesterday"}, "since is no point in time"),
        ({"until": "tomorrow"}, "until is no point in time"),
        ({"patterns": [{"name": "a", "regex": "("}]}, "regex of pattern a"),
        ({"patterns": [{"name": "a", "regex": "x", "expect": "perhaps"}]}, "expect"),
        ({"watch": 5, "until": "10m"}, "Leave one out"),
        ({"watch": -1}, "cannot be negative"),
    ],
)
def test_wrong_options(engine: Engine, args: dict[str, Any], message: str) -> None:
    result = engine.run("container_log_info", container="shop-web-1", expect_failure=True, **args)
    assert message in result["msg"]
