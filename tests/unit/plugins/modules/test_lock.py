# SPDX-License-Identifier: GPL-3.0-or-later
"""lock, run as its action plugin runs it on the host; runs of ansible-playbook are in test_deploy_lock.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ADA = {
    "run": "aaaa",
    "user": "ada",
    "controller": "laptop",
    "machine": "m1",
    "pid": "11",
    "started": "100",
    "playbook": "composeops.hotfix.apply",
    "host": "droplet",
    "job": "",
}
BOB = {**ADA, "run": "bbbb", "user": "bob", "controller": "office", "machine": "m2"}
Lock = Callable[..., dict[str, Any]]


@pytest.fixture
def lock(run_module: Callable[..., dict[str, Any]], tmp_path: Path) -> Lock:
    """Runs the module for somebody."""
    (tmp_path / "shop").mkdir()

    def run(holder: dict[str, str] | None, *, check: bool = False, expect_failure: bool = False, **more: Any) -> Any:
        args = {"project_src": str(tmp_path / "shop"), "state_dir": str(tmp_path / "state"), "holder": holder, **more}
        return run_module("lock", args, check=check, expect_failure=expect_failure)

    return run


def file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "shop" / "lock.json"


def test_one_run_has_it_and_may_take_it_again(lock: Lock, tmp_path: Path) -> None:
    first = lock(ADA)
    assert (first["acquired"], first["run"], first["message"], first["changed"]) == (True, "aaaa", "", False)
    told = json.loads(file(tmp_path).read_text())
    assert (told["user"], told["controller"], told["playbook"]) == ("ada", "laptop", "composeops.hotfix.apply")
    assert file(tmp_path).stat().st_mode & 0o777 == 0o600
    assert file(tmp_path).parent.stat().st_mode & 0o777 == 0o700
    again = lock({**ADA, "host": "second"})
    assert again["acquired"] and json.loads(file(tmp_path).read_text())["hosts"] == ["droplet", "second"]


def test_another_run_is_told_who_since_when_why_and_what_to_do(lock: Lock, tmp_path: Path) -> None:
    lock(ADA)
    since = json.loads(file(tmp_path).read_text())["since"]
    refused = lock(BOB)
    assert (refused["acquired"], refused["taken_from"]) == (False, "")
    for text in ("ada@laptop", since, "composeops.hotfix.apply", "wait until", "-e deploy_lock_force=true"):
        assert text in refused["message"]
    assert json.loads(file(tmp_path).read_text())["run"] == "aaaa"


def test_it_is_free_once_it_was_let_go_of(lock: Lock, tmp_path: Path) -> None:
    lock(ADA)
    assert lock(BOB, state="absent")["acquired"] is False
    assert file(tmp_path).exists()
    assert lock(ADA, state="absent")["acquired"] is True
    assert not file(tmp_path).exists()
    assert lock(ADA, state="absent")["acquired"] is False
    assert lock(BOB)["acquired"] is True


@pytest.mark.parametrize("how", [{"ttl": -1}, {"force": True}, {"ended": "aaaa"}])
def test_a_stale_one_is_taken_over_and_said(lock: Lock, how: dict[str, Any]) -> None:
    lock(ADA)
    holder = {**BOB, "controller": "laptop", "machine": "m1"} if "ended" in how else BOB
    taken = lock(holder, **how)
    assert (taken["acquired"], taken["taken_from"]) == (True, "aaaa")
    assert "ada@laptop" in taken["message"]
    assert lock(ADA)["acquired"] is False


def test_check_mode_takes_nothing_and_says_who_has_it(lock: Lock, tmp_path: Path) -> None:
    assert lock(ADA, check=True)["acquired"] is True
    assert not file(tmp_path).exists()
    lock(ADA)
    asked = lock(BOB, check=True)
    assert asked["acquired"] is False and "ada@laptop" in asked["message"]
    assert lock(ADA, check=True, state="absent")["acquired"] is True
    assert file(tmp_path).exists()


def test_nobody_can_call_it_without_saying_who_runs(lock: Lock) -> None:
    assert "nobody has said who runs" in lock(None, expect_failure=True)["msg"]


def test_a_lock_that_is_damaged_is_an_error_that_names_it(lock: Lock, tmp_path: Path) -> None:
    lock(ADA)
    file(tmp_path).write_text("{")
    message = lock(BOB, expect_failure=True)["msg"]
    assert str(file(tmp_path)) in message
