# SPDX-License-Identifier: GPL-3.0-or-later
"""The runbook's checklist, ticked by checks."""

from __future__ import annotations

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils._checklist import ITEMS, checklist, lines

CHECKS = {
    "Development API key": ("no_dev_key_warning", "live_keys", "old_key_refused", "new_key_served"),
    "Redis shutdown error": ("redis_source", "source_loaded", "redis_closed", "stop_lines"),
    "Workers dying": ("no_died_lines", "no_oom_kill", "same_workers"),
    "Restart policy": ("survives_reboot",),
    "API works": ("health", "start_lines", "no_errors"),
}


def judged(**statuses: str) -> list[dict[str, str]]:
    """All that is well, with some checks made otherwise."""
    return [
        {"issue": issue, "check": name, "status": statuses.get(name, "pass"), "evidence": f"about {name}"}
        for issue, names in CHECKS.items()
        for name in names
    ]


def test_what_is_proven_is_done_and_the_app_on_a_telephone_never_is() -> None:
    found = checklist(judged(), "/keys/new.yml")
    assert [item["item"] for item in found] == list(ITEMS)
    assert [item["done"] for item in found] == [True, False, True, True, True]
    assert found[1]["evidence"].startswith("the new key is in /keys/new.yml; only the owner")


@pytest.mark.parametrize(
    ("check", "status", "undone"),
    [
        ("live_keys", "fail", {0, 3}),
        ("old_key_refused", "fail", {0}),
        ("redis_closed", "not observable", {2}),
        ("source_loaded", "fail", {3}),
        ("no_errors", "action", {4}),
        ("no_died_lines", "fail", {4}),
        ("survives_reboot", "fail", set()),
    ],
)
def test_one_check_that_does_not_pass_leaves_its_items_undone(check: str, status: str, undone: set[int]) -> None:
    found = checklist(judged(**{check: status}))
    assert {number for number, item in enumerate(found) if not item["done"]} == {1, *undone}
    assert all(found[number]["evidence"] == f"about {check}" for number in undone)


def test_of_what_was_not_looked_at_nothing_is_said() -> None:
    workers = [check for check in judged() if check["issue"] == "Workers dying"]
    assert [item["item"] for item in checklist(workers)] == ["Verify that there are no errors in the logs"]
    assert checklist([]) == [] and lines([]) == []


def test_it_fits_a_terminal() -> None:
    text = lines([{**check, "evidence": "x " * 200} for check in judged(live_keys="fail")])
    assert text[0] == "The runbook's checklist"
    assert text[1].startswith("  [ ] Change the API key to a secure production key: x x")
    assert "  [x] Pull the latest code with the Redis fix" in text
    assert max(map(len, text)) <= 80
