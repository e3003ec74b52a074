# SPDX-License-Identifier: GPL-3.0-or-later
"""The module redis_shutdown, run as Ansible runs it, on the stand-in's own application and on bad input."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

DROPLET = Path(__file__).resolve().parents[4] / "droplet"


@pytest.fixture
def broken(tmp_path):
    shutil.copytree(DROPLET / "application", tmp_path / "app")
    return tmp_path / "app" / "backend" / "main.py"


@pytest.fixture
def falsely_fixed(broken):
    (patch,) = (DROPLET / "upstream").glob("*.patch")
    subprocess.run(["patch", "-p1", "--quiet", "-i", str(patch)], cwd=broken.parents[1], check=True)
    return broken


@pytest.mark.parametrize("program", ["broken", "falsely_fixed"])
def test_check_run_check_run(program, run_module, request):
    path = request.getfixturevalue(program)
    before, inode = path.read_bytes(), path.stat().st_ino
    planned = run_module("redis_shutdown", {"path": str(path)}, check=True)
    assert planned["changed"] and path.read_bytes() == before and path.stat().st_ino == inode
    done = run_module("redis_shutdown", {"path": str(path)})
    assert {**done, "invocation": 0} == {**planned, "invocation": 0}
    assert (done["status"], done["changed"]) == ("patched", True)
    assert done["diff"]["before"].encode() == before and done["diff"]["after"].encode() == path.read_bytes()
    assert done["getter"]["name"] == "get_redis_client" and done["getter"]["is_async"]
    assert (done["close"]["name"], done["close"]["class"], done["close"]["is_async"]) == (
        "disconnect",
        "RedisClient",
        True,
    )
    after, inode = path.read_bytes(), path.stat().st_ino
    for check in (True, False):
        again = run_module("redis_shutdown", {"path": str(path), "backup": True}, check=check)
        assert (again["status"], again["changed"], again.get("backup_file")) == ("already_correct", False, None)
        assert path.read_bytes() == after and path.stat().st_ino == inode
    assert again["diff"]["before"] == again["diff"]["after"]


def test_only_the_lines_meant_differ(broken, run_module):
    before = broken.read_text().splitlines()
    run_module("redis_shutdown", {"path": str(broken)})
    after = broken.read_text().splitlines()
    start = next(number for number, line in enumerate(before) if "redis_client.close()" in line)
    assert after[:start] == before[:start] and after[start + 5 :] == before[start + 2 :]
    assert "await redis_client.disconnect()" in after[start + 1]


def test_the_false_fix_is_named(falsely_fixed, run_module):
    result = run_module("redis_shutdown", {"path": str(falsely_fixed)}, check=True)
    assert "redis_client is a coroutine that was never awaited" in result["seen"]


def test_backups_are_made_and_pruned(broken, run_module):
    before = broken.read_bytes()
    for _run in range(3):
        broken.write_bytes(before)
        result = run_module("redis_shutdown", {"path": str(broken), "backup": True, "backup_keep": 2})
    copy = Path(result["backup_file"])
    assert copy.read_bytes() == before and copy.stat().st_mode & 0o777 == 0o600
    assert len(list(broken.parent.glob("main.py.*.bak"))) == 2


def test_mode_and_link_stay(broken, run_module):
    broken.chmod(0o640)
    link = broken.parents[1] / "current.py"
    link.symlink_to("backend/main.py")
    run_module("redis_shutdown", {"path": str(link), "project_root": str(broken.parents[1])})
    assert link.is_symlink() and broken.stat().st_mode & 0o777 == 0o640 and b"disconnect" in broken.read_bytes()


def test_a_program_without_shutdown_is_not_found(tmp_path, run_module):
    (tmp_path / "main.py").write_text("app = 1\n")
    result = run_module("redis_shutdown", {"path": str(tmp_path / "main.py")})
    assert (result["status"], result["changed"], result["getter"], result["close"]) == ("not_found", False, None, None)


def test_bad_input_is_one_sentence_and_changes_nothing(broken, tmp_path, run_module):
    before = broken.read_bytes()
    cases = [
        ({"path": str(tmp_path / "none.py")}, "No such file or directory. Check the path"),
        ({"path": str(tmp_path)}, "Is a directory"),
        (
            {"path": str(broken), "project_root": str(tmp_path / "none")},
            "there is no such directory. Check project_root",
        ),
    ]
    (tmp_path / "bad.py").write_text("def f(:\n")
    cases.append(({"path": str(tmp_path / "bad.py")}, "bad.py:1: this is no Python"))
    (tmp_path / "bytes.py").write_bytes(b"# coding: utf-8\nx = '\xff'\n")
    cases.append(({"path": str(tmp_path / "bytes.py")}, "the bytes of this file do not fit its encoding"))
    for arguments, part in cases:
        result = run_module("redis_shutdown", arguments, expect_failure=True)
        assert part in result["msg"] and "Traceback" not in str(result)
    client = broken.parents[0] / "services" / "cache" / "redis_client.py"
    client.write_text(client.read_text().replace("async def disconnect(self", "async def disconnect(self, why"))
    client.write_text(client.read_text().replace("self._", "self.x."))
    result = run_module("redis_shutdown", {"path": str(broken)}, expect_failure=True)
    assert "has no method that closes it" in result["msg"] and broken.read_bytes() == before
