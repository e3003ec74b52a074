# SPDX-License-Identifier: GPL-3.0-or-later
"""The module dotenv, run as Ansible runs it."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv import parse
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import fingerprint

Run = Callable[..., dict[str, Any]]
SECRET = "canary-Zm9vYmFyYmF6cXV4-1"
OLD_SECRET = "canary-b2xkIHNlY3JldCBoZXJl-2"
CONTENT = f"""# Server
ENVIRONMENT=development
DEBUG=true # for now

VALID_API_KEYS='["{OLD_SECRET}"]'  # Comma-separated list
#VALID_API_KEYS='["{OLD_SECRET}-old"]'
export REDIS_URL="redis://redis:6379/0"
WORKERS=4"""


@pytest.fixture
def env(tmp_path: Path) -> Path:
    path = tmp_path / ".env"
    path.write_text(CONTENT, encoding="utf-8")
    path.chmod(0o640)
    return path


def rhythm(run_module: Run, path: Path, args: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Check, run, check again, run again; the results of the first two."""
    before = path.read_bytes() if path.exists() else None
    arguments = {"path": str(path), **args}
    checked = run_module("dotenv", arguments, check=True)
    assert checked["changed"]
    assert (path.read_bytes() if path.exists() else None) == before
    done = run_module("dotenv", arguments)
    assert done["changed"]
    after = path.read_bytes(), path.stat().st_mode
    assert {**done, "invocation": None, "backup_file": None} == {**checked, "invocation": None, "backup_file": None} | {
        key: done[key] for key in ("mode", "owner", "group", "uid", "gid", "size", "state") if key in done
    }
    assert not run_module("dotenv", arguments, check=True)["changed"]
    again = run_module("dotenv", arguments)
    assert not again["changed"]
    assert again["changed_names"] == []
    assert "backup_file" not in again
    assert (path.read_bytes(), path.stat().st_mode) == after
    return checked, done


def test_values_are_set_on_their_lines(run_module: Run, env: Path) -> None:
    values = {
        "ENVIRONMENT": "production",
        "DEBUG": False,
        "VALID_API_KEYS": f'["{SECRET}"]',
        "REDIS_URL": "redis://redis:6379/1",
        "LIMIT": 100,
    }
    _checked, done = rhythm(run_module, env, {"values": values})
    expected = (
        CONTENT.replace("ENVIRONMENT=development", "ENVIRONMENT=production")
        .replace("DEBUG=true", "DEBUG=false")
        .replace(f"'[\"{OLD_SECRET}\"]'", f"'[\"{SECRET}\"]'")
        .replace("6379/0", "6379/1")
    )
    assert env.read_text(encoding="utf-8") == f"{expected}\nLIMIT=100\n"
    assert stat.S_IMODE(env.stat().st_mode) == 0o640
    assert done["changed_names"] == ["DEBUG", "ENVIRONMENT", "LIMIT", "REDIS_URL", "VALID_API_KEYS"]
    assert "backup_file" not in done


def test_variables_are_removed(run_module: Run, env: Path) -> None:
    _checked, done = rhythm(run_module, env, {"absent": ["WORKERS", "VALID_API_KEYS", "NOT_THERE"]})
    lines = [line for line in CONTENT.splitlines(True) if not line.startswith(("WORKERS", "VALID_API_KEYS"))]
    assert env.read_text(encoding="utf-8") == "".join(lines)
    assert done["changed_names"] == ["VALID_API_KEYS", "WORKERS"]


def test_stale_duplicates_go(run_module: Run, tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text(f"A_KEY={OLD_SECRET}\nB=1\n#A_KEY=x\nA_KEY={SECRET}\n", encoding="utf-8")
    _checked, done = rhythm(run_module, path, {"values": {"A_KEY": SECRET}})
    assert path.read_text(encoding="utf-8") == f"B=1\n#A_KEY=x\nA_KEY={SECRET}\n"
    assert done["changed_names"] == ["A_KEY"]


def test_a_list_becomes_json(run_module: Run, env: Path) -> None:
    rhythm(run_module, env, {"values": {"VALID_API_KEYS": [SECRET, "second"]}})
    assert f'VALID_API_KEYS=\'["{SECRET}","second"]\'  # Comma-separated list\n' in env.read_text(encoding="utf-8")


def test_a_missing_file_is_created_for_its_owner_only(run_module: Run, tmp_path: Path) -> None:
    path = tmp_path / "mobile.env"
    _checked, done = rhythm(run_module, path, {"values": {"API_KEY": SECRET}, "create": True, "backup": True})
    assert path.read_text(encoding="utf-8") == f"API_KEY={SECRET}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "backup_file" not in done


def test_a_backup_holds_the_file_as_it_was(run_module: Run, env: Path) -> None:
    checked, done = rhythm(run_module, env, {"values": {"DEBUG": "false"}, "backup": True})
    assert "backup_file" not in checked
    copy = Path(done["backup_file"])
    assert copy.read_text(encoding="utf-8") == CONTENT
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    for number in range(3):
        run_module("dotenv", {"path": str(env), "values": {"N": number}, "backup": True, "backup_keep": 2})
    copies = sorted(env.parent.glob(".env.*.bak"))
    assert [parse(copy.read_bytes()).get("N") for copy in copies] == ["0", "1"]


def test_the_mode_alone_can_be_changed(run_module: Run, env: Path) -> None:
    _checked, done = rhythm(run_module, env, {"mode": "0600"})
    assert stat.S_IMODE(env.stat().st_mode) == 0o600
    assert env.read_text(encoding="utf-8") == CONTENT
    assert done["diff"]["prepared"] == "mode: 0640 -> 0600\n"
    assert done["changed_names"] == []


def test_a_link_stays_and_its_target_gets_the_change(run_module: Run, env: Path) -> None:
    link = env.with_name("link.env")
    link.symlink_to(env.name)
    arguments = {"path": str(link), "values": {"DEBUG": False}, "mode": "0600"}
    assert run_module("dotenv", arguments)["changed"]
    assert not run_module("dotenv", arguments)["changed"]
    assert link.is_symlink()
    assert "DEBUG=false # for now" in env.read_text(encoding="utf-8")
    assert stat.S_IMODE(env.stat().st_mode) == 0o600


def test_an_empty_file_is_created_and_an_empty_change_is_none(run_module: Run, tmp_path: Path) -> None:
    path = tmp_path / ".env"
    rhythm(run_module, path, {"create": True, "absent": ["A"], "mode": "0640"})
    assert path.read_bytes() == b""
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert not run_module("dotenv", {"path": str(path)})["changed"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_the_owner_stays(run_module: Run, env: Path) -> None:
    os.chown(env, 65534, 65533)
    env.chmod(0o604)
    run_module("dotenv", {"path": str(env), "values": {"DEBUG": False}, "backup": True})
    for path, mode in ((env, 0o604), (next(env.parent.glob(".env.*.bak")), 0o600)):
        info = path.stat()
        assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (65534, 65533, mode)


@pytest.mark.parametrize("attribute", [{"mode": "9x"}, {"owner": "no-such-user"}, {"group": "no-such-group"}])
def test_attributes_that_cannot_be_set_change_nothing(run_module: Run, env: Path, attribute: dict[str, str]) -> None:
    new = env.with_name("new.env")
    for path in (env, new):
        for check in (True, False):
            arguments = {"path": str(path), "values": {"A_KEY": SECRET}, "create": True, "backup": True, **attribute}
            assert "canary" not in json.dumps(run_module("dotenv", arguments, check=check, expect_failure=True))
    assert list(env.parent.iterdir()) == [env]
    assert env.read_text(encoding="utf-8") == CONTENT


def test_a_directory_is_refused(run_module: Run, tmp_path: Path) -> None:
    arguments = {"path": str(tmp_path), "values": {"A_KEY": SECRET}, "create": True}
    for check in (True, False):
        result = run_module("dotenv", arguments, check=check, expect_failure=True)
        assert result["msg"] == f"{tmp_path}: cannot read this file: Is a directory. Name a file, not a directory."
        assert "canary" not in json.dumps(result)


def test_crlf_bom_and_export_stay(run_module: Run, tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_bytes(b"\xef\xbb\xbfA=1\r\n  export B='x' # c\r\n")
    rhythm(run_module, path, {"values": {"B": "y z", "C": "1"}})
    assert path.read_bytes() == b"\xef\xbb\xbfA=1\r\n  export B='y z' # c\r\nC=1\r\n"


def test_no_value_is_shown(run_module: Run, env: Path) -> None:
    values = {"VALID_API_KEYS": f'["{SECRET}"]', "NOTE": "canary-no-secret-name", "DEBUG": "false"}
    commented = f"'[\"{OLD_SECRET}-old\"]'"
    for check in (True, False):
        result = run_module("dotenv", {"path": str(env), "values": values}, check=check)
        printed = json.dumps(result)
        assert "canary" not in printed
        assert fingerprint(f'["{SECRET}"]') in result["diff"]["after"]
        assert fingerprint(f'["{OLD_SECRET}"]') in result["diff"]["before"]
        assert f"#VALID_API_KEYS={fingerprint(commented)}\n" in result["diff"]["before"]
        assert result["invocation"]["module_args"]["values"]["DEBUG"] == fingerprint("false")
        assert result["invocation"]["module_args"]["path"] == str(env)


def test_short_values_do_not_garble_the_result(run_module: Run, tmp_path: Path) -> None:
    path = tmp_path / "2.env"
    path.write_text("WORKERS=4\n", encoding="utf-8")
    result = run_module("dotenv", {"path": str(path), "values": {"WORKERS": 2, "DEBUG": "false"}, "backup": True})
    assert result["backup_file"].startswith(str(path))
    assert result["diff"]["after"] == f"WORKERS={fingerprint('2')}\nDEBUG={fingerprint('false')}\n"


@pytest.mark.parametrize(
    ("content", "args", "message"),
    [
        (None, {"values": {"A": "1"}}, "{path}: there is no such file. Check the path, or set create: true."),
        ("A='canary\n", {"values": {"B": "1"}}, "{path}:1: a quote is opened and never closed. Close the quote."),
        ("A=1\ncanary canary=2\n", {"absent": ["A"]}, "{path}:2: there is a variable name with a space in it."),
        ("A=1\n", {"values": {"A": "canary\n"}}, "{path}: A: the value holds a line break"),
        ("A=1\n", {"values": {"A-B": "canary"}}, "{path}: A-B is not a variable name"),
        ("A=1\n", {"values": "canary"}, "argument 'values' is of type"),
        ("A=1\n", {"values": ["canary"]}, "argument 'values' is of type"),
        ("A=1\n", {"values": {"A": 'it\'s "canary"'}}, "{path}: A: the value holds a single quote together"),
        ("A=1\n", {"values": {"A": ["canary", 1]}}, "A in values is neither text"),
        ("A=1\n", {"values": {"A": None}}, "A in values is neither text"),
        ("A=1\n", {"values": {"A": {"k": "canary"}}}, "A in values is neither text"),
        ("A=1\n", {"values": {"A": "canary"}, "absent": ["A"]}, "A is both in values and in absent."),
        ("A='1' B=canary\n", {"values": {"A": "2"}}, "{path}:1: A shares its line with something"),
    ],
)
def test_bad_input_changes_nothing(
    run_module: Run, tmp_path: Path, content: str | None, args: dict[str, Any], message: str
) -> None:
    path = tmp_path / ".env"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    for check in (True, False):
        result = run_module("dotenv", {"path": str(path), **args}, check=check, expect_failure=True)
        assert result["msg"].startswith(message.format(path=path))
        assert "canary" not in json.dumps(result)
        assert "Traceback" not in json.dumps(result)
        assert sorted(tmp_path.iterdir()) == ([path] if content is not None else [])
        assert content is None or path.read_text(encoding="utf-8") == content


def test_a_folder_that_is_missing_fails_in_check_mode_too(run_module: Run, tmp_path: Path) -> None:
    arguments = {"path": str(tmp_path / "no" / ".env"), "values": {"A": "1"}, "create": True}
    messages = {run_module("dotenv", arguments, check=check, expect_failure=True)["msg"] for check in (True, False)}
    assert messages == {f"{arguments['path']}: cannot write this file: No such file or directory. Check the path."}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_changed_fails_in_check_mode_too(run_module: Run, env: Path) -> None:
    env.parent.chmod(0o500)
    try:
        for check in (True, False):
            result = run_module(
                "dotenv", {"path": str(env), "values": {"DEBUG": False}}, check=check, expect_failure=True
            )
            assert "Permission denied" in result["msg"]
    finally:
        env.parent.chmod(0o700)
