# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules journal and lock, run as Ansible runs them; for who runs, see the tests of the role deploy."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., dict[str, Any]]
HOLDER = {"run": "aaaa", "user": "ada", "controller": "laptop", "machine": "m", "pid": "11", "playbook": "site.yml"}


@pytest.fixture
def where(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "app").mkdir()
    return {"project_src": str(tmp_path / "app"), "state_dir": str(tmp_path / "state")}


def uptime(where: dict[str, str]) -> float:
    return float(json.loads(Path(where["state_dir"], "app", "lock.json").read_text())["uptime"])


def test_entries_of_a_run_renew_its_lock(run_module: Run, where: dict[str, str]) -> None:
    first = {**where, "action": "healthy", "result": "status 200", "details": {"seconds": 12}}
    run_module("journal", first, check=True)
    assert not Path(where["state_dir"]).exists()
    assert run_module("journal", first)["run"] == ""

    assert run_module("lock", {**where, "holder": {**HOLDER, "host": "droplet"}})["run"] == "aaaa"
    before = uptime(where)
    done = run_module("journal", {**first, "files": [".env", "b\udcff"]})
    assert (done["run"], done["changed"], done["entries"]) == ("aaaa", False, [])
    assert uptime(where) > before

    read = run_module("journal", {**where, "state": "read"})
    assert read["run"] == "aaaa"
    assert [entry["action"] for entry in read["entries"]] == ["run began", "healthy"]
    entry = read["entries"][1]
    assert (entry["seconds"], entry["files"], entry["result"]) == ("12", [".env", "b\ufffd"], "status 200")
    assert (read["entries"][0]["user"], read["entries"][0]["playbook"]) == ("ada@laptop", "site.yml")
    assert run_module("journal", {**where, "state": "read", "run": "zzzz"})["entries"] == []
    for path in Path(where["state_dir"]).rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({}, "state is present but all of the following are missing: action"),
        ({"action": "x", "details": {"time": 1, "run": 2}}, "details may not hold run, time"),
        ({"action": "x", "project_src": "/nowhere"}, "/nowhere: there is no such directory"),
    ],
)
def test_bad_input_is_one_sentence(run_module: Run, where: dict[str, str], more: dict[str, Any], message: str) -> None:
    failed = run_module("journal", {**where, **more}, expect_failure=True)
    assert message in failed["msg"]
    assert "exception" not in failed


def test_a_lock_needs_somebody_who_runs(run_module: Run, where: dict[str, str]) -> None:
    failed = run_module("lock", where, expect_failure=True)
    assert failed["msg"] == "nobody has said who runs. Call it as composeops.hotfix.lock, which adds that."
    assert not Path(where["state_dir"]).exists()
