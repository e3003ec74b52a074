# SPDX-License-Identifier: GPL-3.0-or-later
"""A role's defaults, its argument specification and its README say the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.composeops.hotfix.plugins.module_utils._checks import ISSUES

ROLES = Path(__file__).resolve().parents[3] / "roles"
NAMES = sorted(path.name for path in ROLES.iterdir())


def load(role: str, file: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROLES / role / file).read_text(encoding="utf-8"))
    return content


def tasks_of(listed: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The tasks of a play, those in blocks included."""
    for task in listed:
        yield task
        for part in ("block", "rescue", "always"):
            yield from tasks_of(task.get(part, []))


@pytest.mark.parametrize("role", NAMES)
def test_defaults_are_those_documented(role: str) -> None:
    options = load(role, "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    documented = {name: option["default"] for name, option in options.items() if "default" in option}
    assert load(role, "defaults/main.yml") == documented


def test_issues_to_verify_are_those_of_the_summary() -> None:
    options = load("verify", "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    assert options["verify_issues"]["choices"] == list(ISSUES)


@pytest.mark.parametrize("role", NAMES)
def test_every_option_is_described(role: str) -> None:
    for entry in load(role, "meta/argument_specs.yml")["argument_specs"].values():
        assert entry["short_description"]
        assert entry["description"]
        for name, option in entry["options"].items():
            assert option["description"], name
            assert option["type"], name


@pytest.mark.parametrize("role", NAMES)
def test_readme_names_every_variable(role: str) -> None:
    readme = (ROLES / role / "README.md").read_text(encoding="utf-8")
    missing = [name for name in load(role, "defaults/main.yml") if f"`{name}`" not in readme]
    assert missing == []


@pytest.mark.parametrize("role", NAMES)
def test_every_task_file_that_a_playbook_names_has_an_argument_specification(role: str) -> None:
    specified = load(role, "meta/argument_specs.yml")["argument_specs"]
    for playbook in (ROLES.parent / "playbooks").glob("*.yml"):
        for play in yaml.safe_load(playbook.read_text(encoding="utf-8")):
            for task in tasks_of(play.get("tasks", [])):
                used = task.get("ansible.builtin.import_role", {})
                if used.get("name") == f"composeops.hotfix.{role}":
                    assert used.get("tasks_from", "main") in specified


DEPLOY = {"name": "composeops.hotfix.deploy"}
CHANGING = ["apply", "retire_keys", "rollback", "rotate_keys", "support_bundle", "tune_workers"]


@pytest.mark.parametrize("name", CHANGING)
def test_playbooks_let_go_of_the_lock_however_they_end(name: str) -> None:
    """All that stands in a run between the lock and its end is in one block, with `always`."""
    # What only looks comes in a play before.
    play = yaml.safe_load((ROLES.parent / "playbooks" / f"{name}.yml").read_text(encoding="utf-8"))[-1]
    *before, block = play["tasks"]
    assert play["vars"]["deploy_unlock_follows"] is True
    deploying = [task for task in tasks_of(block["block"]) if task.get("ansible.builtin.import_role") == DEPLOY]
    proving = [task for task in block["block"] if "always" in task]
    assert play["vars"].get("deploy_stays_up_follows", False) is bool(deploying) is bool(proving)
    for proof in proving:
        assert [task["ansible.builtin.import_role"] for task in proof["always"]] == [
            {**DEPLOY, "tasks_from": "stays_up"}
        ]
        assert proof["block"][0]["ansible.builtin.import_role"] == {"name": "composeops.hotfix.verify"}
        assert proof["block"][0]["vars"]["verify_fail"] is False
    assert play["max_fail_percentage"] == 0
    parts = [task["ansible.builtin.import_role"] for task in block["always"]]
    assert parts == [{"name": "composeops.hotfix.deploy", "tasks_from": "unlock"}]
    used = [task.get("ansible.builtin.import_role", {}) for task in tasks_of(before)]
    assert not [role for role in used if role.get("name", "").endswith(".deploy") and role.get("tasks_from") != "kept"]
    assert block["always"][0].get("tags", ["always"]) == ["always"]
    tagged = any("tags" in task for task in tasks_of(play["tasks"]))
    assert tagged == ("tags" in block["always"][0])


def test_playbooks_that_change_nothing_take_no_lock() -> None:
    others = {path.stem for path in (ROLES.parent / "playbooks").glob("*.yml")} - set(CHANGING)
    for name in others:
        assert "hotfix.deploy" not in (ROLES.parent / "playbooks" / f"{name}.yml").read_text(encoding="utf-8")
