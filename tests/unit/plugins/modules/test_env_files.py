# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules that read and write environment files, in each dialect, with the real readers as judges."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv import BARE, DIALECTS, PORTABLE, RAW
from dotenv_cases import Case, disagreements

Run = Callable[..., dict[str, Any]]
DEV = "dev-key-12345"
GOOD = "Jq3v7Yb0tN5xR8wK2mZcD4fGhLpSaUeX1iOoV6y9BTA"
# What each dialect's own readers take for a list with one key.
HELD = {PORTABLE: f"'[\"{DEV}\"]'", RAW: f'["{DEV}"]', BARE: f'["{DEV}"]'}
FILES = {
    "odd": '# it\'s a file\nA="1"\nKEYS={keys}\nKEYS_OLD=x # KEYS=example\n\n#KEYS=old\nURL=http://h/?x=1\nLAST=z',
    "crlf": "A='x y'\r\nKEYS={keys}\r\nLAST=z\r\n",
    "bom": "\ufeffKEYS={keys}\nA=1\n",
    "twice": "KEYS={keys}\nA=1\nKEYS={keys}\n",
    "none": "A=1",
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_the_modules_write_is_read_as_intended(run_module: Run, tmp_path: Path, dialect: str) -> None:
    cases = []
    for name, text in FILES.items():
        path = tmp_path / f"{name}.env"
        before = text.format(keys=HELD[dialect]).encode()
        path.write_bytes(before)
        args = {"path": str(path), "dialect": dialect}
        run_module("dotenv", {**args, "values": {"DEBUG": False, "LIST": ["a", "b"]}, "absent": ["LAST"]})
        between = path.read_bytes()
        cases.append(Case(before, between, {"DEBUG": "false", "LIST": '["a","b"]', "LAST": None}, dialect))
        rotated = run_module("key_rotation", {**args, "name": "KEYS", "return_key": True})
        assert (rotated["rotated"], rotated["format"]) == (True, "json_list")
        after = path.read_bytes()
        cases.append(Case(between, after, {"KEYS": json.dumps([rotated["key"]])}, dialect))
        assert DEV.encode() not in after
        assert not run_module("key_rotation", {**args, "name": "KEYS"})["changed"]
    assert disagreements(cases) == []


def test_a_raw_service_gets_its_keys_without_quotes(run_module: Run, tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.touch(0o600)
    path.write_text(f"VALID_API_KEYS='[\"{GOOD}\"]'\n")
    args = {"path": str(path), "dialect": BARE}
    audit = run_module("dotenv_info", args)
    assert [(finding["rule"], finding["severity"]) for finding in audit["findings"]][-1:] == [
        ("unportable_value", "high")
    ]
    looked = run_module("key_rotation", {**args, "regenerate": "never"})
    assert not looked["changed"]
    assert looked["reasons"][-1] == "VALID_API_KEYS stands in quotes, which the service gets as a part of the value."
    written = run_module("key_rotation", args)
    assert (written["changed"], written["rotated"]) == (True, False)
    assert path.read_text() == f'VALID_API_KEYS=["{GOOD}"]\n'
    assert run_module("dotenv_info", args)["secure"] is True
    assert not run_module("key_rotation", args)["changed"]


def test_what_cannot_be_written_for_all_is_refused(run_module: Run, tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("A=1\n")
    args = {"path": str(path), "values": {"A": "pa$word-canary"}}
    result = run_module("dotenv", {**args, "dialect": BARE}, expect_failure=True)
    assert result["msg"] == (
        f"{path}: A: the value holds a dollar sign, which readers replace that are not raw, and this file is read raw "
        "as well as otherwise. Choose another value, or give it to the program as a file."
    )
    assert path.read_text() == "A=1\n"
    run_module("dotenv", {**args, "dialect": RAW})
    assert path.read_text() == "A=pa$word-canary\n"


def test_compose_service_tells_the_dialects(run_module: Run, tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text(
        "services:\n  a:\n    image: x\n    env_file:\n      - path: .env\n        format: raw\n  b:\n    image: x\n"
    )
    (tmp_path / ".env").write_text("A=1\n")
    result = run_module("compose_service", {"project_src": str(tmp_path), "service": "a"})
    assert result["env_files"] == [{"path": str(tmp_path / ".env"), "format": "raw", "required": True}]
    assert result["env_dialects"] == {str(tmp_path / ".env"): "bare"}
    other = run_module("compose_service", {"project_src": str(tmp_path), "service": "b"})
    assert (other["env_files"], other["env_dialects"]) == ([], {str(tmp_path / ".env"): "bare"})
