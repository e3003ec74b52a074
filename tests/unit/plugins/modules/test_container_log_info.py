# SPDX-License-Identifier: GPL-3.0-or-later
"""container_log_info, run as Ansible does, against what real engines printed."""

from __future__ import annotations

import json
from typing import Any

import pytest

API_KEY = "dev-key-12345"
REDIS_PASSWORD = "s3cret-pw"
STAMP = "2026-11-24T11:25:00.00000000"
OUT = f"{STAMP}1Z ✓ Redis connection established\n{STAMP}3Z using key {API_KEY} at redis://:{REDIS_PASSWORD}@redis:6379/0\n"
ERR = f"{STAMP}2Z INFO:     Child process [10] died\n{STAMP}4Z INFO:     Child process [9] died\n"
PATTERNS = [
    {"name": "died", "regex": r"Child process \[\d+\] died"},
    {"name": "redis", "regex": "Redis connection established", "expect": "present"},
    {"name": "keys", "regex": "using key", "expect": "any"},
]


def test_both_streams_are_searched_from_the_containers_start(engine: Any) -> None:
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


def test_the_last_lines_of_both_streams_come_in_their_order_and_masked(engine: Any) -> None:
    engine.answers["logs"] = {"stdout": OUT, "stderr": ERR}
    result = engine.run("container_log_info", container="shop-web-1", tail=3)
    assert [(line["time"], line["stream"]) for line in result["tail"]] == [
        (f"{STAMP}2Z", "stderr"),
        (f"{STAMP}3Z", "stdout"),
        (f"{STAMP}4Z", "stderr"),
    ]
    assert API_KEY not in json.dumps(result)
    assert REDIS_PASSWORD not in json.dumps(result)
    assert engine.run("container_log_info", container="shop-web-1")["tail"] == []


def test_a_log_as_expected(engine: Any) -> None:
    engine.answers["logs"] = {"stdout": OUT}
    result = engine.run("container_log_info", container="shop-web-1", patterns=PATTERNS, until="2026-11-24T12:00:00Z")
    assert (result["ok"], result["problems"], result["watch_ended"]) == (True, [], None)
    assert "--until" in engine.calls()[-1]


def test_a_container_that_stops_while_it_is_watched_is_not_ok(engine: Any) -> None:
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
def test_how_a_watch_ended(engine: Any, change: dict[str, str] | None, ending: str) -> None:
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


def test_a_log_that_cannot_be_read(engine: Any) -> None:
    engine.inspect["HostConfig"]["LogConfig"]["Type"] = "syslog"
    engine.answers["logs"] = {
        "rc": 1,
        "stderr": "Error response from daemon: configured logging driver does not support reading\n",
    }
    result = engine.run("container_log_info", container="shop-web-1", expect_failure=True)
    assert "logging driver syslog" in result["msg"]
    assert "json-file" in result["msg"]


def test_a_container_without_log_or_without_start(engine: Any) -> None:
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
        ({"tail": -1}, "cannot be negative"),
    ],
)
def test_wrong_options(engine: Any, args: dict[str, Any], message: str) -> None:
    result = engine.run("container_log_info", container="shop-web-1", expect_failure=True, **args)
    assert message in result["msg"]
