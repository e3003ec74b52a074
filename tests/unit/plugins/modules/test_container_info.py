# SPDX-License-Identifier: GPL-3.0-or-later
"""container_info, run as Ansible does, against what real engines printed."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from compose_binary import BY_VERSION

API_KEY = "dev-key-12345"
UVICORN = (
    "PID PPID COMMAND\n"
    f"999999901 1 /usr/bin/python3 /usr/bin/uvicorn app:app --workers 2 --api-key {API_KEY}\n"
    "999999902 999999901 /usr/bin/python3 -c from multiprocessing.resource_tracker import main;main(6)\n"
    "999999903 999999901 /usr/bin/python3 -c from multiprocessing.spawn import spawn_main; spawn_main(tracker_fd=7)\n"
    "999999904 999999901 /usr/bin/python3 -c from multiprocessing.spawn import spawn_main; spawn_main(tracker_fd=7)\n"
)


def test_a_running_container(engine: Any) -> None:
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


def test_nothing_is_asked_of_the_engine_that_could_change_something(engine: Any) -> None:
    engine.answers |= {"top": {"stdout": UVICORN}, "logs": {}}
    engine.run("container_info", container="shop-web-1")
    engine.run("container_log_info", container="shop-web-1")
    assert {call[0] for call in engine.calls()} <= {"inspect", "ps", "top", "logs", "version"}


def test_a_stopped_container_has_no_processes(engine: Any) -> None:
    engine.inspect["State"] |= {"Running": False, "Status": "exited", "ExitCode": 3}
    result = engine.run("container_info", container="shop-web-1")
    assert (result["container"]["status"], result["container"]["exit_code"]) == ("exited", 3)
    assert (result["processes"], result["workers"]["count"]) == ([], 0)


def test_a_container_that_ends_while_we_look_has_no_processes(engine: Any) -> None:
    """A crash loop: running when inspected, gone when its processes are listed."""
    ended = json.loads(json.dumps(engine.inspect))
    ended["State"] |= {"Running": False, "Status": "exited"}
    engine.answers = {
        "inspect": {"stdout": json.dumps([engine.inspect]), "once": True, "then": {"stdout": json.dumps([ended])}},
        "top": {"rc": 1, "stderr": "Error response from daemon: container x is not running"},
    }
    assert engine.run("container_info", container="shop-web-1")["processes"] == []


def test_processes_that_cannot_be_listed_are_an_error(engine: Any) -> None:
    engine.answers["top"] = {"rc": 1, "stderr": 'Error response from daemon: exec: "ps": executable file not found'}
    result = engine.run("container_info", container="shop-web-1", expect_failure=True)
    assert "executable file not found" in result["msg"]


def test_a_missing_container(engine: Any, tmp_path: Path) -> None:
    engine.answers = {
        "inspect": {"rc": 1, "stdout": "[]", "stderr": "Error: No such container: nix"},
        "ps": {"stdout": ""},
    }
    assert engine.run("container_info", container="nix")["exists"] is False
    assert engine.run("container_info", project_src=str(tmp_path), service="web")["exists"] is False
    result = engine.run("container_info", container="nix", required=True, expect_failure=True)
    assert "there is no container nix" in result["msg"]


@pytest.mark.parametrize("module", ["container_info", "container_log_info"])
def test_an_engine_that_does_not_answer(engine: Any, module: str) -> None:
    down = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
    engine.answers["inspect"] = {"rc": 1, "stderr": down}
    result = engine.run(module, container="x", expect_failure=True)
    assert "systemctl start docker" in result["msg"]


def test_options_that_do_not_go_together(engine: Any) -> None:
    for args in ({}, {"container": "x", "project_src": "/x", "service": "y"}, {"project_src": "/x"}, {"service": "y"}):
        engine.run("container_info", expect_failure=True, **args)


def test_whether_its_files_would_make_another_one(service: Any) -> None:
    service.start(Running=False, Status="exited")
    path = service.programs / "inspect"
    inspect = json.loads(path.read_text())
    (service.programs / "image").write_text(inspect[0]["Image"] + "\n")
    words = [next(iter(BY_VERSION.values())), "config", "--hash", "web"]
    shown = subprocess.run(words, cwd=service.project, capture_output=True, text=True, check=True).stdout
    inspect[0]["Config"]["Labels"]["com.docker.compose.config-hash"] = shown.split()[-1]
    path.write_text(json.dumps(inspect))
    assert service.run("container_info", outdated=True)["outdated"] is False
    assert service.run("container_info")["outdated"] is None
    (service.programs / "image").write_text("sha256:another\n")
    assert service.run("container_info", outdated=True)["outdated"] is True
    (service.programs / "image").write_text(inspect[0]["Image"] + "\n")
    service.write("ports: ['8000:8000']", "command: [other]")
    assert service.run("container_info", outdated=True)["outdated"] is True
    service.write("ports: [")
    assert service.run("container_info", outdated=True)["outdated"] is None
    assert service.changes() == []


def test_what_has_to_be_started_for_a_port_to_be_published(service: Any) -> None:
    service.start(Running=False, Status="exited")
    path = service.programs / "inspect"
    inspect = json.loads(path.read_text())
    inspect[0]["Config"]["Labels"]["com.docker.compose.service"] = "proxy"
    path.write_text(json.dumps(inspect))
    service.write()
    assert service.run("container_info", published_at=8000)["publishers_down"] == ["proxy"]
    assert service.run("container_info", published_at=8001)["publishers_down"] == []
    assert service.run("container_info")["publishers_down"] is None
    service.write("ports: [")
    assert service.run("container_info", published_at=8000)["publishers_down"] == []


@pytest.mark.parametrize("question", [{"outdated": True}, {"published_at": 8000}])
def test_that_needs_its_project(engine: Any, question: dict[str, Any]) -> None:
    engine.answers["top"] = {"stdout": UVICORN}
    result = engine.run("container_info", container="shop-web-1", expect_failure=True, **question)
    assert "Name project_src and service" in result["msg"]
