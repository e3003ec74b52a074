# SPDX-License-Identifier: GPL-3.0-or-later
"""A role's defaults, its argument specification and its README say the same."""

from __future__ import annotations

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
            for task in play.get("tasks", []):
                used = task.get("ansible.builtin.import_role", {})
                if used.get("name") == f"composeops.hotfix.{role}":
                    assert used.get("tasks_from", "main") in specified
