# SPDX-License-Identifier: GPL-3.0-or-later
"""The role api_keys, run by ansible-playbook on this machine: it writes files only, so that no container is needed."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv import parse
from ansible_collections.composeops.hotfix.plugins.module_utils._keys import generate
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import fingerprint
from role_play import PROGRAM, play_roles

DEV = "dev-key-12345"
PASSWORD = "the-vault-password"
BIN = PROGRAM.parent
HOOK = """
- name: Store the key
  ansible.builtin.copy:
    content: "{{ api_keys_newest.key }}"
    dest: "{{ store }}-{{ inventory_hostname }}"
    mode: "0600"
  delegate_to: localhost
  no_log: true
"""


class Fleet:
    """Hosts on this machine, each with a project of its own, and the controller's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.handoff, self.mobile, self.password = folder / "handoff", folder / "mobile.env", folder / "password"
        self.password.write_text(f"{PASSWORD}\n")

    def host(self, name: str, *keys: str) -> Path:
        """The environment file of a host, made to hold these keys."""
        env = self.folder / name / "app" / ".env"
        env.parent.mkdir(parents=True, exist_ok=True)
        env.write_text(f"VALID_API_KEYS='{json.dumps(keys)}'\nJWT_SECRET_KEY=change-this\n")
        return env

    def keys(self, name: str) -> list[str]:
        value = parse((self.folder / name / "app" / ".env").read_bytes()).get("VALID_API_KEYS")
        return list(json.loads(value or "[]"))

    def run(
        self,
        *arguments: str,
        hosts: str = "a",
        serial: Any = "100%",
        role: str = "api_keys",
        part: str = "main",
        start: Path | None = None,
        **vars: Any,
    ) -> subprocess.CompletedProcess[str]:
        """Run the role on the hosts, in this order."""
        variables = {
            name: {
                "application_project_src": str(self.folder / name / "app"),
                "application_state_dir": str(self.folder / name / "state"),
            }
            for name in hosts
        }
        options = ("-e", json.dumps(vars), *arguments)
        process = play_roles(self.folder, [f"{role}:{part}"], variables, *options, serial=serial, start=start)
        for env in self.folder.glob("*/app/.env"):
            for key in self.keys(env.parents[1].name):
                assert key == DEV or key not in process.stdout + process.stderr
        return process

    def everywhere(self, **vars: Any) -> dict[str, Any]:
        """Variables that hand the key off in all ways."""
        hook = self.folder / "hook.yml"
        hook.write_text(HOOK)
        return {
            "api_keys_handoff_dir": str(self.handoff),
            "api_keys_vault_password_file": str(self.password),
            "api_keys_mobile_config": str(self.mobile),
            "api_keys_mobile_variable": "KEY",
            "api_keys_handoff_tasks": str(hook),
            "store": str(self.folder / "stored"),
            **vars,
        }

    def view(self, file: Path) -> Any:
        """What ``ansible-vault view`` shows."""
        command = [str(BIN / "ansible-vault"), "view", "--vault-password-file", str(self.password), str(file)]
        return yaml.safe_load(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    def content(self) -> dict[Path, tuple[int, bytes]]:
        """Every file of the hosts and of the hand-off, with its mode."""
        paths = [
            path
            for pattern in ("*/app/*", "*/state/**/*", "handoff/*", "mobile.env", "stored*")
            for path in self.folder.glob(pattern)
        ]
        return {path: (stat.S_IMODE(path.stat().st_mode), path.read_bytes()) for path in paths if path.is_file()}


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


def said(process: subprocess.CompletedProcess[str]) -> str:
    """What was printed, in one line, as it is wrapped at any place."""
    return " ".join((process.stdout + process.stderr).split())


def changes(process: subprocess.CompletedProcess[str]) -> int:
    """Changed tasks of all hosts; the run has to succeed."""
    assert process.returncode == 0, process.stdout + process.stderr
    return sum(int(text.split()[0]) for text in process.stdout.split("PLAY RECAP")[1].split("changed=")[1:])


def test_every_way_of_handing_off(fleet: Fleet) -> None:
    fleet.host("a", DEV)
    before = fleet.content()
    assert changes(fleet.run("--check", "--diff", **fleet.everywhere())) > 0
    assert fleet.content() == before
    assert changes(fleet.run("--diff", "-vvv", **fleet.everywhere())) > 0
    (key,) = fleet.keys("a")
    (file,) = fleet.handoff.iterdir()
    assert file.name == f"a-valid_api_keys-{fingerprint(key)[7:15]}.vault.yml"
    assert stat.S_IMODE(file.stat().st_mode) == stat.S_IMODE(fleet.mobile.stat().st_mode) == 0o600
    assert stat.S_IMODE(fleet.handoff.stat().st_mode) == 0o700
    assert fleet.view(file) == {"valid_api_keys_newest": key}
    assert parse(fleet.mobile.read_bytes()).get("KEY") == key
    assert (fleet.folder / "stored-a").read_text() == key
    after = fleet.content()
    assert changes(fleet.run(**fleet.everywhere())) == 0
    assert fleet.content() == after


def test_relative_places_are_seen_from_where_the_operator_is(fleet: Fleet) -> None:
    """And a folder that is there already, which others may use as well, keeps its mode."""
    fleet.host("a", DEV)
    start = fleet.folder / "operator"
    (start / "handoff").mkdir(parents=True)
    (start / "handoff").chmod(0o755)
    places = {
        "api_keys_handoff_dir": "./handoff",
        "api_keys_mobile_config": "mobile.env",
        "api_keys_vault_password_file": f"../{fleet.password.name}",
    }
    assert changes(fleet.run(start=start, **fleet.everywhere(**places))) > 0
    (key,) = fleet.keys("a")
    (file,) = (start / "handoff").iterdir()
    assert fleet.view(file) == {"valid_api_keys_newest": key}
    assert parse((start / "mobile.env").read_bytes()).get("KEY") == key
    assert stat.S_IMODE((start / "handoff").stat().st_mode) == 0o755
    assert not fleet.handoff.exists() and not fleet.mobile.exists()


def test_run_that_was_killed_after_the_rotation_is_completed_by_the_next(
    fleet: Fleet, run_module: Callable[..., Any]
) -> None:
    env = fleet.host("a", DEV)
    run_module("key_rotation", {"path": str(env)})
    (key,) = fleet.keys("a")
    fleet.mobile.write_text("# mobile\nKEY=old\nOTHER=1\n")
    fleet.mobile.chmod(0o644)
    assert changes(fleet.run(**fleet.everywhere())) > 0
    assert fleet.keys("a") == [key]
    (file,) = fleet.handoff.iterdir()
    assert fleet.view(file) == {"valid_api_keys_newest": key}
    assert fleet.mobile.read_text().replace("'", "") == f"# mobile\nKEY={key}\nOTHER=1\n"
    assert stat.S_IMODE(fleet.mobile.stat().st_mode) == 0o644


def test_file_that_does_not_open_to_the_key_is_neither_overwritten_nor_taken_for_it(fleet: Fleet) -> None:
    key = generate()
    fleet.host("a", key)
    fleet.handoff.mkdir()
    file = fleet.handoff / f"a-valid_api_keys-{fingerprint(key)[7:15]}.vault.yml"
    file.write_text("$ANSIBLE_VAULT;1.1;AES256\n6162\n")
    result = fleet.run(**fleet.everywhere())
    assert result.returncode != 0
    assert f"{file} on the controller was there before, and does not open to the newest key" in said(result)
    assert file.read_text().endswith("\n6162\n")


def test_nothing_is_needed_on_the_controller_when_the_key_is_given(fleet: Fleet) -> None:
    """As on AWX, whose job has no disk that stays: the key comes from a survey."""
    old, given = generate(), generate()
    fleet.host("a", old, DEV)
    assert changes(fleet.run(api_keys_new_key=given)) == 1
    assert fleet.keys("a") == [given, old]
    assert sorted(path.name for path in fleet.folder.iterdir()) == ["a", "hosts.yml", "password", "play.yml", "tmp"]


def test_a_fleet_shares_one_key_whatever_each_host_had(fleet: Fleet) -> None:
    own = {"b": generate(), "c": generate()}
    fleet.host("a", DEV)
    fleet.host("b", own["b"], DEV)
    fleet.host("c", own["c"])
    before = fleet.content()
    vars = fleet.everywhere(api_keys_shared=True)
    result = fleet.run("--check", "--diff", hosts="abc", **vars)
    assert changes(result) > 0
    assert fleet.content() == before
    changes(fleet.run(hosts="abc", **vars))
    (key,) = fleet.keys("a")
    assert (fleet.keys("b"), fleet.keys("c")) == ([key, own["b"]], [key, own["c"]])
    name = f"valid_api_keys-{fingerprint(key)[7:15]}.vault.yml"
    assert sorted(file.name for file in fleet.handoff.iterdir()) == [f"{host}-{name}" for host in "abc"]
    assert fleet.view(fleet.handoff / f"c-{name}") == {"valid_api_keys_newest": key}
    assert parse(fleet.mobile.read_bytes()).get("KEY") == key
    after = fleet.content()
    assert changes(fleet.run(hosts="abc", serial=[1, "100%"], **vars)) == 0
    assert fleet.content() == after


def test_no_host_makes_a_key_of_its_own_when_the_first_one_has_failed(fleet: Fleet) -> None:
    shutil.rmtree(fleet.host("a", DEV).parent)
    fleet.host("b", DEV)
    before = fleet.content()
    result = fleet.run(hosts="ab", api_keys_shared=True)
    assert result.returncode != 0
    assert "All hosts are to share the key of a, but that host has none to give" in said(result)
    assert fleet.content() == before


def test_what_would_stop_the_hand_off_is_found_before_the_first_change(fleet: Fleet) -> None:
    """Each host has a fault of its own; c and d have one mobile configuration for two keys."""
    for name in "abcd":
        fleet.host(name, DEV)
    before = fleet.content()
    program = fleet.folder / "program"
    program.write_text("#!/bin/sh\necho secret\n")
    program.chmod(0o755)
    vars = fleet.everywhere()
    vars["api_keys_vault_password_file"] = f"{{{{ '{program}' if inventory_hostname == 'a' else '{fleet.password}' }}}}"
    vars["api_keys_handoff_tasks"] = "{{ 'hook.yml' if inventory_hostname == 'b' else '' }}"
    vars["api_keys_mobile_config"] = f"{{{{ '{fleet.mobile}' if inventory_hostname in 'cd' else '' }}}}"
    result = fleet.run(hosts="abcd", **vars)
    assert result.stdout.count("failed=1") == 4
    assert "is a program, whose text would be taken for the password" in said(result)
    assert "api_keys_handoff_tasks (hook.yml) is not the absolute path of a file" in said(result)
    assert f"KEY in {fleet.mobile} is to hold the key of c and that of d." in said(result)
    assert fleet.content() == before


def test_rotation_on_request_after_one_that_was_killed_makes_no_further_key(fleet: Fleet) -> None:
    """The run before was killed on host a after it made a key, on host b before."""
    old, made = generate(), generate()
    for name in "ab":
        env = fleet.host(name, made, old)
        kept = fleet.folder / f"snapshot-{name}"
        kept.mkdir()
        (kept / "0a1b").write_text(env.read_text().replace(f'"{made}", ', "") if name == "a" else env.read_text())
    path = f"{fleet.folder}/snapshot-{{{{ inventory_hostname }}}}"
    snapshot = {"transaction": "continued", "path": path, "files": [{"name": ".env", "sha256": "0a1b"}]}
    changes(fleet.run(hosts="ab", api_keys_regenerate="always", deploy_snapshot=snapshot))
    assert fleet.keys("a") == [made, old]
    assert fleet.keys("b")[1:] == [made, old]


def test_retiring_without_a_pattern_says_that_nobody_looked(fleet: Fleet) -> None:
    new, old = generate(), generate()
    fleet.host("a", new, old)
    fleet.host("b", new)
    result = fleet.run(hosts="ab", part="retire", api_keys_retire=[fingerprint(old)])
    assert changes(result) == 2  # the ages of the keys are new on both
    assert f"Whether the keys to retire ({fingerprint(old)}) are still in use was not looked for" in said(result)
    assert f"There is no key {fingerprint(old)}, which retire names" in said(result)
    assert fleet.keys("a") == fleet.keys("b") == [new]


# A container that was recreated an hour ago, whose log shows the new key in use and not the old one.
DOCKER = """#!{python}
import json, sys
word = sys.argv[1]
if word == "ps":
    print("c0ffee")
elif word == "inspect":
    labels = {{"com.docker.compose.project.working_dir": {folder!r}, "com.docker.compose.service": "backend"}}
    state = {{"Status": "running", "Running": True, "StartedAt": {time!r}, "Pid": 0}}
    host = {{"LogConfig": {{"Type": "json-file"}}}}
    config = {{"Labels": labels, "Env": []}}
    print(json.dumps([{{"Id": "c0ffee", "Name": "/shop", "State": state, "HostConfig": host, "Config": config}}]))
elif word == "logs":
    print({time!r}, "key=" + {key!r})
"""


def test_a_log_that_does_not_go_back_far_enough_tells_nothing(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old key may have been used before. The engine is a stand-in: a log that begins just now takes no other."""
    new, old = generate(), generate()
    fleet.host("a", new, old)
    before = fleet.content()
    docker = fleet.folder / "bin" / "docker"
    docker.parent.mkdir()
    hour_ago = (datetime.now(timezone.utc) - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S.000000000Z")
    text = DOCKER.format(python=sys.executable, folder=str(fleet.folder / "a" / "app"), time=hour_ago, key=new)
    docker.write_text(text, encoding="utf-8")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{docker.parent}:{os.environ['PATH']}")
    vars: dict[str, Any] = {
        "part": "retire_check",
        "api_keys_retire": "all_but_newest",
        "api_keys_seen_pattern": r"key=(?P<key>\S+)",
        "application_service": "backend",
    }
    result = fleet.run(**vars)
    assert result.returncode == 2
    assert "Whether the keys are in use cannot be told. Use before" in said(result)
    assert fleet.content() == before
    forced = fleet.run(api_keys_force=True, **vars)
    assert forced.returncode == 0
    assert "It is retired all the same, because api_keys_force is true." in said(forced)
    enough = fleet.run(api_keys_seen_since="30m", **vars)
    assert enough.returncode == 0, said(enough)


def test_a_new_signing_secret_is_said_before_the_change_in_check_mode_too(fleet: Fleet) -> None:
    fleet.host("a", generate())
    result = fleet.run("--check", role="production_env", part="jwt")
    assert changes(result) == 1
    text = said(result)
    beforehand = text.index("JWT_SECRET_KEY is about to be replaced, which logs every user out once")
    assert beforehand < text.index("Replace the signing secret")
