# SPDX-License-Identifier: GPL-3.0-or-later
"""worker_info, run as Ansible does, against what real engines printed; real workers die in tests/causes."""

from __future__ import annotations

import json
from typing import Any

import pytest

API_KEY = "dev-key-12345"
UVICORN = (
    "PID PPID COMMAND\n"
    f"999999901 1 /usr/bin/python3 /usr/bin/uvicorn app:app --workers 2 --api-key {API_KEY}\n"
    "999999903 999999901 /usr/bin/python3 -c from multiprocessing.spawn import spawn_main; spawn_main(tracker_fd=7)\n"
    "999999904 999999901 /usr/bin/python3 -c from multiprocessing.spawn import spawn_main; spawn_main(tracker_fd=7)\n"
)
LOG = f"""\
2025-10-18T02:00:00.000000001Z Process SpawnProcess-1:
2025-10-18T02:00:00.000000002Z Traceback (most recent call last):
2025-10-18T02:00:00.000000003Z ValueError: bad key {API_KEY}
2025-10-18T02:00:00.100000000Z INFO:     Child process [9] died
"""


@pytest.fixture
def ended(engine: Any) -> Any:
    engine.inspect["State"] |= {"Running": False, "Status": "exited", "ExitCode": 3}
    engine.answers |= {"info": {"stdout": "/\n"}, "events": {}, "logs": {"stderr": LOG}, "compose": {"rc": 1}}
    return engine


def test_after_the_fact(ended: Any) -> None:
    result = ended.run("worker_info", container="shop-web-1")
    assert result["diagnosis"]["cause"] == "import_error"
    assert result["deaths"]["count"] == 1
    assert result["deaths"]["timestamps"] == ["2025-10-18T02:00:00.100000Z"]
    assert any("ValueError: bad key sha256:" in line for line in result["diagnosis"]["evidence"])
    assert result["workers"] == [] and result["memory"]["oom_kills"] is None
    assert result["container"]["exit_code"] == 3 and result["container"]["survives_reboot"] is False
    assert result["host"]["memory"]["total"] > result["host"]["memory"]["available"] > 0
    assert result["host"]["disk"]["path"] == "/" and result["host"]["disk"]["total"] > 0
    assert result["watched"] == {"seconds": 0.0, "cpu_seconds": 0.0}


def test_nothing_is_asked_of_the_engine_that_could_change_something(ended: Any) -> None:
    ended.run("worker_info", container="shop-web-1")
    assert {call[0] for call in ended.calls()} <= {"inspect", "ps", "top", "logs", "version", "info", "events", "image"}


def test_what_looks_random_is_hidden_under_any_name(ended: Any) -> None:
    """SIGNER is no name of a secret."""
    signer = "k3j4h5g6f7d8s9a0q1w2"
    ended.inspect["Config"]["Env"].append(f"SIGNER={signer}")
    ended.answers["logs"] = {"stderr": LOG.replace("bad key", f"bad signer {signer}")}
    result = ended.run("worker_info", container="shop-web-1")
    assert "bad signer sha256:" in json.dumps(result["diagnosis"])
    assert signer not in json.dumps(result)


def test_a_container_that_runs(engine: Any) -> None:
    """Its processes are not of this machine, so that nothing of them can be measured."""
    engine.answers |= {"top": {"stdout": UVICORN}, "info": {"stdout": "/\n"}, "events": {}, "logs": {"stderr": ""}}
    result = engine.run("worker_info", container="shop-web-1")
    assert (result["server"]["name"], result["server"]["configured"]) == ("uvicorn", 2)
    assert result["server"]["argv"][-1] == "sha256:f82f3a6e len=13"
    assert result["server"]["version"] is None and result["workers"] == []
    assert result["diagnosis"]["cause"] == "unknown"


def test_since_bounds_the_log(ended: Any) -> None:
    ended.run("worker_info", container="shop-web-1", since="2099-01-01T00:00:00Z")
    logs = [call for call in ended.calls() if call[0] == "logs"]
    assert logs[0][logs[0].index("--since") + 1] == "2099-01-01T00:00:00.000000Z"


def test_a_log_that_cannot_be_read_is_said(ended: Any) -> None:
    ended.inspect["HostConfig"]["LogConfig"] = {"Type": "none"}
    result = ended.run("worker_info", container="shop-web-1")
    assert any("its logging driver is none" in line for line in result["diagnosis"]["evidence"])
    assert not [call for call in ended.calls() if call[0] == "logs"]


def test_a_container_that_never_started(ended: Any) -> None:
    ended.inspect["State"] |= {"Status": "created", "StartedAt": "0001-01-01T00:00:00Z", "ExitCode": 0}
    result = ended.run("worker_info", container="shop-web-1")
    assert result["diagnosis"]["evidence"][0] == "The container was never started."
    steps = [(step["kind"], step["action"]) for step in result["recommendation"]["actions"]]
    assert steps == [("start", "Start the container: docker compose up -d, or role deploy")]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"watch": -1}, "watch is -1"),
        ({"watch": 90000}, "watch is 90000"),
        ({"since": "yesterday"}, "since is no point in time"),
        ({"container": "nix"}, "there is no container nix"),
    ],
)
def test_bad_options(engine: Any, options: dict[str, Any], words: str) -> None:
    if options.get("container") == "nix":
        engine.answers["inspect"] = {"rc": 1, "stdout": "[]", "stderr": "Error: No such container: nix"}
        engine.answers["ps"] = {"stdout": "shop-web-1\n"}
    result = engine.run("worker_info", **{"container": "shop-web-1", **options}, expect_failure=True)
    assert words in result["msg"] and "Traceback" not in json.dumps(result)


def test_a_container_that_is_about_to_start_again_has_no_processes(engine: Any) -> None:
    engine.inspect["State"] |= {"Running": True, "Restarting": True, "Status": "restarting"}
    result = engine.run("container_info", container="shop-web-1")
    assert result["processes"] == []
