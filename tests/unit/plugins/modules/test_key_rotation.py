# SPDX-License-Identifier: GPL-3.0-or-later
"""The module key_rotation, run as Ansible runs it."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv import parse
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import fingerprint

A = "Jq3v7Yb0tN5xR8wK2mZcD4fGhLpSaUeX1iOoV6y9BTA"
B = "t9WmXc2LrQ7kZp0aVs4dEy8fGu1hJi3nBo5MKTbRNYw"
NEW = "P0lKm9iJn8uHb7yGv6tFc5rDx4eSz3wAq2QoWpEiRuT"
DEV = "dev-key-12345"
Run = Callable[..., dict[str, Any]]
TEXT = """# Wealth Coach
ENVIRONMENT=production
# VALID_API_KEYS='["commented"]'
VALID_API_KEYS='{}'  # Comma-separated list
JWT_SECRET_KEY="[64-char random string]"
OPENAI_API_KEY=sk-proj-secret-of-somebody
"""


def write(path: Path, *keys: str) -> Path:
    path.write_text(TEXT.format(json.dumps(keys)))
    path.chmod(0o640)
    return path


@pytest.fixture
def env(tmp_path: Path) -> Path:
    return write(tmp_path / ".env", DEV)


def keys_of(path: Path, name: str = "VALID_API_KEYS") -> list[str]:
    value = parse(path.read_bytes()).get(name)
    assert value is not None
    return list(json.loads(value))


def assert_no_leak(result: dict[str, Any], *values: str) -> None:
    """No key in the result; the ones of the invocation are Ansible's own to mask."""
    text = json.dumps({key: value for key, value in result.items() if key != "key"})
    for value in (DEV, A, B, NEW, "[64-char random string]", "sk-proj-secret-of-somebody", *values):
        assert value not in text


def test_rhythm_of_insecure(run_module: Run, env: Path) -> None:
    before = env.read_bytes()
    args = {"path": str(env)}
    checked = run_module("key_rotation", args, check=True)
    assert checked["changed"]
    assert env.read_bytes() == before
    done = run_module("key_rotation", args)
    (key,) = keys_of(env)
    assert len(key) == 43
    assert env.read_bytes() == before.replace(DEV.encode(), key.encode())
    assert stat.S_IMODE(env.stat().st_mode) == 0o640
    assert (checked["new_fingerprint"], done["new_fingerprint"]) == ("generated at run time", fingerprint(key))
    assert "(published_key)" in done["reasons"][0]
    for name in ("reasons", "rotated", "dropped_fingerprints", "kept_fingerprints", "key_count", "secure", "line"):
        assert checked[name] == done[name], name
    assert (done["rotated"], done["key_count"], done["secure"], done["line"]) == (True, 1, True, 4)
    assert done["dropped_fingerprints"] == [fingerprint(DEV)]
    for result in (checked, done):
        assert_no_leak(result, key)
        assert "key" not in result
    after = env.read_bytes()
    for check in (True, False):
        again = run_module("key_rotation", args, check=check)
        assert (again["changed"], again["rotated"], again["new_fingerprint"]) == (False, False, "")
    assert env.read_bytes() == after


def test_check_mode_shows_the_diff_of_the_real_run(run_module: Run, env: Path, tmp_path: Path) -> None:
    args = {"path": str(env), "state_file": str(tmp_path / "ages.json")}
    checked, done = (run_module("key_rotation", args, check=check)["diff"] for check in (True, False))
    value = parse(env.read_bytes()).get("VALID_API_KEYS") or ""
    assert [part["before"] for part in checked] == [part["before"] for part in done]
    assert "VALID_API_KEYS='generated at run time'" in checked[0]["after"]
    assert checked[0]["after"].replace("generated at run time", fingerprint(value)) == done[0]["after"]
    assert '"generated at run time": {' in checked[1]["after"]
    assert fingerprint(keys_of(env)[0]) in done[1]["after"]


def test_new_key_goes_first_and_secure_ones_overlap(run_module: Run, env: Path) -> None:
    write(env, A, DEV, B)
    result = run_module("key_rotation", {"path": str(env), "new_key": NEW})
    assert keys_of(env) == [NEW, A, B]
    assert result["new_fingerprint"] == fingerprint(NEW)
    assert result["newest_fingerprint"] == fingerprint(NEW)
    assert result["kept_fingerprints"] == [fingerprint(A), fingerprint(B)]
    assert_no_leak(result)
    again = run_module("key_rotation", {"path": str(env), "new_key": NEW})
    assert (again["new_fingerprint"], again["newest_fingerprint"]) == ("", fingerprint(NEW))


def test_given_key_is_exact_in_check_mode_and_idempotent(run_module: Run, env: Path) -> None:
    args = {"path": str(env), "new_key": NEW, "regenerate": "always"}
    checked = run_module("key_rotation", args, check=True)
    done = run_module("key_rotation", args)
    for result in (checked, done):
        result.pop("invocation", None)
    assert checked == done
    assert keys_of(env) == [NEW]
    again = run_module("key_rotation", args)
    assert (again["changed"], again["rotated"]) == (False, False)


def test_always_makes_a_key_each_time(run_module: Run, env: Path) -> None:
    write(env, A)
    args = {"path": str(env), "regenerate": "always"}
    assert run_module("key_rotation", args)["changed"]
    assert run_module("key_rotation", args)["changed"]
    assert len(keys_of(env)) == 3
    assert keys_of(env)[2] == A
    result = run_module("key_rotation", {**args, "overlap": False})
    assert len(keys_of(env)) == 1
    assert len(result["dropped_fingerprints"]) == 3


def test_never_changes_nothing_and_says_why(run_module: Run, env: Path) -> None:
    before = env.read_bytes()
    result = run_module("key_rotation", {"path": str(env), "regenerate": "never"})
    assert (result["changed"], result["secure"], result["key_count"]) == (False, False, 1)
    assert any("(dev_key)" in reason for reason in result["reasons"])
    assert result["reasons"][-1] == "No new key is made, because regenerate is never."
    assert env.read_bytes() == before


@pytest.mark.parametrize("check", [True, False])
def test_fail_names_rule_and_line_and_changes_nothing(run_module: Run, env: Path, tmp_path: Path, check: bool) -> None:
    before = env.read_bytes()
    args = {"path": str(env), "regenerate": "fail", "backup": True, "state_file": str(tmp_path / "s" / "ages.json")}
    result = run_module("key_rotation", args, check=check, expect_failure=True)
    assert result["msg"].startswith(f"{env}:4: VALID_API_KEYS: Key 1 of 1 ({fingerprint(DEV)})")
    assert "(dev_key)" in result["msg"]
    assert env.read_bytes() == before
    assert list(tmp_path.iterdir()) == [env]
    assert_no_leak(result)
    write(env, A)
    assert not run_module("key_rotation", {"path": str(env), "regenerate": "fail"})["changed"]


def test_retire(run_module: Run, env: Path) -> None:
    write(env, NEW, A, B)
    args = {"path": str(env), "regenerate": "never", "retire": [fingerprint(A)]}
    assert run_module("key_rotation", args, check=True)["changed"]
    assert keys_of(env) == [NEW, A, B]
    assert run_module("key_rotation", args)["dropped_fingerprints"] == [fingerprint(A)]
    assert keys_of(env) == [NEW, B]
    assert not run_module("key_rotation", args, check=True)["changed"]
    assert not run_module("key_rotation", args)["changed"]
    args["retire"] = "all_but_newest"
    assert run_module("key_rotation", args)["changed"]
    assert keys_of(env) == [NEW]
    assert not run_module("key_rotation", args)["changed"]
    args["retire"] = fingerprint(NEW)
    refused = run_module("key_rotation", args, expect_failure=True)
    assert "no key would be left" in refused["msg"]


def test_a_key_given_as_fingerprint_is_not_shown(run_module: Run, env: Path) -> None:
    write(env, A, B)
    result = run_module("key_rotation", {"path": str(env), "retire": [B]}, expect_failure=True)
    assert "entry 1 of retire is not a fingerprint" in result["msg"]
    assert_no_leak(result)


def test_single_secret(run_module: Run, env: Path) -> None:
    args = {"path": str(env), "name": "JWT_SECRET_KEY", "format": "scalar", "nbytes": 48}
    assert run_module("key_rotation", args, check=True)["changed"]
    result = run_module("key_rotation", args)
    secret = parse(env.read_bytes()).get("JWT_SECRET_KEY") or ""
    assert len(secret) == 64
    assert result["new_fingerprint"] == fingerprint(secret)
    assert_no_leak(result, secret)
    assert not run_module("key_rotation", args, check=True)["changed"]
    assert not run_module("key_rotation", args)["changed"]
    replaced = run_module("key_rotation", {**args, "regenerate": "always", "overlap": True})
    assert (replaced["key_count"], replaced["dropped_fingerprints"]) == (1, [fingerprint(secret)])


@pytest.mark.parametrize(("format", "written"), [("auto", f'["{NEW}"]'), ("csv", NEW), ("scalar", NEW)])
def test_missing_variable_is_added(run_module: Run, env: Path, format: str, written: str) -> None:
    before = env.read_bytes()
    args = {"path": str(env), "name": "OTHER_KEYS", "format": format, "new_key": NEW}
    result = run_module("key_rotation", args)
    assert (result["line"], result["reasons"][0]) == (0, "There is no key.")
    assert env.read_bytes().startswith(before)
    assert parse(env.read_bytes()).get("OTHER_KEYS") == written
    assert not run_module("key_rotation", args)["changed"]


def test_comma_separated_list_keeps_its_form(run_module: Run, tmp_path: Path) -> None:
    env = tmp_path / ".env"
    env.write_text(f"API_KEYS={A},{DEV}\r\nX=1\r\n")
    result = run_module("key_rotation", {"path": str(env), "name": "API_KEYS", "new_key": NEW})
    assert result["format"] == "csv"
    assert env.read_bytes() == f"API_KEYS={NEW},{A}\r\nX=1\r\n".encode()


def test_backups(run_module: Run, env: Path, tmp_path: Path) -> None:
    before = env.read_bytes()
    args = {"path": str(env), "backup": True, "backup_keep": 2, "regenerate": "always"}
    assert "backup_file" not in run_module("key_rotation", args, check=True)
    copy = Path(run_module("key_rotation", args)["backup_file"])
    assert copy.read_bytes() == before
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    for _number in range(2):
        run_module("key_rotation", args)
    assert len(list(tmp_path.glob(".env.*.bak"))) == 2
    assert "backup_file" not in run_module("key_rotation", {**args, "regenerate": "insecure"})


def test_return_key(run_module: Run, env: Path) -> None:
    args = {"path": str(env), "return_key": True}
    assert "key" not in run_module("key_rotation", args, check=True)
    result = run_module("key_rotation", args)
    assert result["key"] == keys_of(env)[0]
    assert_no_leak(result, result["key"])
    assert run_module("key_rotation", args)["key"] == result["key"]
    given = run_module("key_rotation", {**args, "new_key": NEW, "regenerate": "always"})
    assert given["key"] == NEW


def test_ages(run_module: Run, env: Path, tmp_path: Path) -> None:
    write(env, A, B)
    state = tmp_path / "state" / "ages.json"
    args = {"path": str(env), "state_file": str(state), "max_age": "30d"}
    before = env.read_bytes()
    assert run_module("key_rotation", args, check=True)["changed"]
    assert not state.parent.exists()
    assert run_module("key_rotation", args)["changed"]
    assert env.read_bytes() == before
    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    assert A not in state.read_text()
    assert not run_module("key_rotation", args, check=True)["changed"]
    assert not run_module("key_rotation", args)["changed"]
    content = json.loads(state.read_text())
    names = content["files"][str(env)]["VALID_API_KEYS"]
    names[fingerprint(A)]["first_seen"] = "2020-01-01T00:00:00Z"
    names[fingerprint(B)]["superseded"] = "2020-01-01T00:00:00Z"
    state.write_text(json.dumps(content))
    result = run_module("key_rotation", {**args, "new_key": NEW})
    assert keys_of(env) == [NEW, A]
    assert result["dropped_fingerprints"] == [fingerprint(B)]
    assert set(json.loads(state.read_text())["files"][str(env)]["VALID_API_KEYS"]) == {fingerprint(NEW), fingerprint(A)}
    assert not run_module("key_rotation", args)["changed"]


def test_projects_of_the_same_name_do_not_share_their_ages(run_module: Run, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder / "app").mkdir(parents=True)
        env = write(tmp_path / folder / "app" / ".env", A)
        args = {"path": str(env), "state_dir": str(tmp_path / "state")}
        assert run_module("key_rotation", args, check=True)["changed"]
        assert run_module("key_rotation", args)["changed"]
        assert not run_module("key_rotation", args)["changed"]
    names = sorted(path.name for path in (tmp_path / "state").iterdir())
    assert (len(names), names[0], names[1][:4]) == (2, "app", "app-")
    for name, folder in zip(names, ("one", "two")):
        state = tmp_path / "state" / name
        assert stat.S_IMODE(state.stat().st_mode) == 0o700
        assert (state / "source").read_text() == f"{tmp_path / folder / 'app'}\n"
        assert list(json.loads((state / "key_ages.json").read_text())["files"]) == [str(tmp_path / folder / "app/.env")]


def test_environment_file_in_a_folder_of_the_project(run_module: Run, tmp_path: Path) -> None:
    (tmp_path / "app" / "config").mkdir(parents=True)
    env = write(tmp_path / "app" / "config" / ".env", A)
    args = {"path": str(env), "project_src": str(tmp_path / "app"), "state_dir": str(tmp_path / "state")}
    run_module("key_rotation", args)
    assert (tmp_path / "state" / "app" / "key_ages.json").is_file()


@pytest.mark.parametrize(("format", "text"), [("json_list", f'["{NEW}","{A}","{B}"]'), ("csv", f"{NEW},{A},{B}")])
def test_keys_whose_time_is_over_go(run_module: Run, tmp_path: Path, format: str, text: str) -> None:
    env, state = tmp_path / ".env", tmp_path / "ages.json"
    env.write_text(f"KEYS='{text}'\n")
    args = {"path": str(env), "name": "KEYS", "format": format, "regenerate": "never", "state_file": str(state)}
    assert run_module("key_rotation", {**args, "retire_after": "1d"})["retired_fingerprints"] == []
    content = json.loads(state.read_text())
    content["files"][str(env)]["KEYS"][fingerprint(A)]["superseded"] = "2020-01-01T00:00:00Z"
    state.write_text(json.dumps(content))
    result = run_module("key_rotation", {**args, "retire_after": "1d"})
    assert result["retired_fingerprints"] == result["dropped_fingerprints"] == [fingerprint(A)]
    assert env.read_text() == f"KEYS='{text}'\n".replace(f'"{A}",', "").replace(f"{A},", "")


def test_clock_that_was_wrong(run_module: Run, env: Path, tmp_path: Path) -> None:
    """A date of 2099 in the state file would keep a key young for decades; it counts as today and is corrected."""
    write(env, A, B)
    state = tmp_path / "ages.json"
    args = {"path": str(env), "state_file": str(state), "max_age": "1d"}
    run_module("key_rotation", args)
    content = json.loads(state.read_text())
    for dates in content["files"][str(env)]["VALID_API_KEYS"].values():
        dates.update({name: "2099-01-01T00:00:00Z" for name in dates if dates[name]})
    state.write_text(json.dumps(content))
    result = run_module("key_rotation", args)
    assert (result["rotated"], result["dropped_fingerprints"], keys_of(env)) == (False, [], [A, B])
    assert "2099" not in state.read_text()
    assert not run_module("key_rotation", args)["changed"]


@pytest.mark.parametrize("check", [True, False])
def test_damaged_state_file_stops_the_run(run_module: Run, env: Path, tmp_path: Path, check: bool) -> None:
    before, state = env.read_bytes(), tmp_path / "ages.json"
    state.write_bytes(b'{"version": 1, "fi\xff')
    args = {"path": str(env), "state_file": str(state)}
    result = run_module("key_rotation", args, check=check, expect_failure=True)
    assert result["msg"] == f"{state}: this is not a file of key ages. Move it away; the ages then count from now."
    assert env.read_bytes() == before


def test_a_retired_key_that_is_not_there_is_named(run_module: Run, env: Path) -> None:
    write(env, NEW, A)
    result = run_module("key_rotation", {"path": str(env), "regenerate": "never", "retire": [fingerprint(B)]})
    assert not result["changed"]
    assert any(f"There is no key {fingerprint(B)}" in reason for reason in result["reasons"])


@pytest.mark.parametrize("retire", ["all_but_newest", [fingerprint(B)]])
def test_retiring_has_no_meaning_for_a_single_secret(run_module: Run, env: Path, tmp_path: Path, retire: Any) -> None:
    env.write_text(f"JWT_SECRET_KEY={A}\n")
    args = {"path": str(env), "name": "JWT_SECRET_KEY", "format": "scalar", "regenerate": "never", "retire": retire}
    state = str(tmp_path / "ages.json")
    result = run_module("key_rotation", {**args, "retire_after": "0s", "state_file": state})
    assert (result["dropped_fingerprints"], env.read_text()) == ([], f"JWT_SECRET_KEY={A}\n")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"new_key": DEV}, "the key given as new_key (sha256:f82f3a6e len=13)"),
        ({"new_key": ""}, "is empty (low_entropy)"),
        ({"max_age": "90d"}, "max_age needs to know the keys' ages"),
        ({"max_age": "soon", "state_file": "/tmp/none"}, "max_age is not a duration"),
        ({"retire_after": "90d"}, "retire_after needs to know the keys' ages. Set state_file or state_dir"),
        ({"retire_after": "1 d", "state_dir": "/tmp/none"}, "retire_after is not a duration"),
        ({"state_dir": "/tmp/none", "state_file": "/tmp/none"}, "mutually exclusive"),
        ({"nbytes": 8}, "nbytes is 8"),
        ({"nbytes": 16, "min_entropy_bits": 200}, "no random key of 16 bytes satisfies"),
        ({"deny_patterns": ["("]}, "number 1 of deny_patterns is not a regular expression"),
        ({"name": "JWT_SECRET_KEY", "format": "json_list"}, ".env:5: JWT_SECRET_KEY: the value is not a JSON list"),
        ({"name": "NO NAME"}, "is not a variable name"),
        ({"new_key": "'" + A + '"$'}, "cannot be written"),
        ({"path": "/nonexistent/.env"}, "/nonexistent/.env: cannot read this file: No such file or directory"),
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_bad_input(run_module: Run, env: Path, args: dict[str, Any], message: str, check: bool) -> None:
    before = env.read_bytes()
    result = run_module("key_rotation", {"path": str(env), **args}, check=check, expect_failure=True)
    assert message in result["msg"]
    assert env.read_bytes() == before
    assert len(list(env.parent.iterdir())) == 1
    assert_no_leak(result)


def test_unparsable_file(run_module: Run, env: Path) -> None:
    env.write_text("A=1\nVALID_API_KEYS='[\"" + A + '"]\n')
    before = env.read_bytes()
    result = run_module("key_rotation", {"path": str(env)}, expect_failure=True)
    assert f"{env}:2: " in result["msg"]
    assert env.read_bytes() == before
    assert_no_leak(result)
