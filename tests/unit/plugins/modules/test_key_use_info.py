# SPDX-License-Identifier: GPL-3.0-or-later
"""key_use_info, run as Ansible does; the engine is a stand-in, a real one is asked by the Molecule scenario `keys`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

NEW = "P0lKm9iJn8uHb7yGv6tFc5rDx4eSz3wAq2QoWpEiRuT"
OLD = "Jq3v7Yb0tN5xR8wK2mZcD4fGhLpSaUeX1iOoV6y9BTA"
PATTERN = r'"key_id": "sha256:(?P<fingerprint>[0-9a-f]+)"'


def line(key: str, time: str, agent: str = "phone") -> str:
    return f'{time} {{"key_id": "sha256:{hashlib.sha256(key.encode()).hexdigest()[:16]}", "agent": "{agent}"}}\n'


@pytest.fixture
def env(tmp_path: Path) -> Path:
    path = tmp_path / ".env"
    path.write_text(f"VALID_API_KEYS='{json.dumps([NEW, OLD])}'\n")
    return path


def run(engine: Any, env: Path, **args: Any) -> dict[str, Any]:
    result: dict[str, Any] = engine.run("key_use_info", **{"path": str(env), "pattern": PATTERN, **args})
    text = json.dumps({name: value for name, value in result.items() if name != "invocation"})
    assert OLD not in text
    assert NEW not in text
    return result


def test_log_of_a_container(engine: Any, env: Path) -> None:
    log = line(OLD, "2026-11-20T00:00:00.000000001Z") + line(OLD, "2026-11-21T00:00:00.000000001Z")
    log += line(NEW, "2026-11-22T00:00:00.000000001Z", "composeops.hotfix.api_key_probe")
    engine.answers["logs"] = {"stdout": "2026-11-01T00:00:00.000000000Z start\n" + log}
    result = run(engine, env, container="shop-web-1", since="2026-11-10T00:00:00Z")
    new, old = result["keys"]
    assert (old["count"], old["first"], old["last"]) == (2, "2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z")
    assert (new["count"], result["ignored"], result["found"]) == (0, 1, 3)
    assert (result["complete"], result["notes"], result["since"]) == (True, [], "2026-11-10T00:00:00Z")
    calls = [call for call in engine.calls() if call[0] == "logs"]
    assert calls == [
        ["logs", "--timestamps", engine.inspect["Id"]],
    ]


def test_log_that_is_shorter_than_the_window(engine: Any, env: Path) -> None:
    engine.answers["logs"] = {"stdout": line(OLD, "2026-11-20T00:00:00.000000001Z")}
    result = run(engine, env, container="shop-web-1", since="2026-11-10T00:00:00Z")
    assert not result["complete"]
    assert "Use before 2026-11-20T00:00:00Z is not seen, for the log of container shop-web-1" in result["notes"][0]
    assert result["notes"][0].endswith("does not go back to 2026-11-10T00:00:00Z.")


def test_a_pattern_that_fits_no_line_is_told_from_keys_that_nobody_uses(engine: Any, env: Path) -> None:
    engine.answers["logs"] = {"stdout": line(OLD, "2026-11-20T00:00:00.000000001Z")}
    assert run(engine, env, container="shop-web-1")["fits"]
    result = run(engine, env, container="shop-web-1", pattern="key=(?P<key>.{6})")
    assert (result["fits"], result["found"]) == (False, 0)
    assert "The pattern is in no line of the log of container shop-web-1." in result["notes"]


def test_log_file_alone(engine: Any, env: Path, tmp_path: Path) -> None:
    (tmp_path / "api.log").write_text(line(OLD, "2026-11-20T00:00:00Z"))
    args = {"log_files": [str(tmp_path / "*.log")], "pattern": "(?P<time>[^ ]+) .*" + PATTERN}
    assert run(engine, env, since="2026-11-10T00:00:00Z", **args)["keys"][1]["count"] == 1
    assert run(engine, env, since="2026-11-21T00:00:00Z", **args)["keys"][1]["count"] == 0


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"pattern": "("}, "pattern is not a regular expression"),
        ({"ignore": "("}, "ignore is not a regular expression"),
        ({"pattern": "key"}, "pattern has no group named key or fingerprint"),
        ({"since": "last week"}, "since is no point in time"),
        ({"container": None}, "there is no log to look through"),
        ({"container": None, "log_files": []}, "there is no log to look through"),
        ({"log_files": ["/nonexistent/*.log"]}, "/nonexistent/*.log: there is no such log file"),
        ({"path": "/nonexistent/.env"}, "/nonexistent/.env: "),
        ({"name": "OTHER", "format": "auto", "path": "/"}, "/: "),
    ],
)
def test_wrong_options(engine: Any, env: Path, args: dict[str, Any], message: str) -> None:
    engine.answers["logs"] = {"stdout": ""}
    result = run(engine, env, expect_failure=True, **{"container": "shop-web-1", **args})
    assert message in result["msg"]


def test_a_log_that_cannot_be_read(engine: Any, env: Path) -> None:
    engine.inspect["HostConfig"]["LogConfig"]["Type"] = "syslog"
    engine.answers["logs"] = {
        "rc": 1,
        "stderr": "Error response from daemon: logging driver does not support reading\n",
    }
    result = run(engine, env, container="shop-web-1", expect_failure=True)
    assert "logging driver syslog" in result["msg"]
