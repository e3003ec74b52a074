# SPDX-License-Identifier: GPL-3.0-or-later
"""The runbook's checklist for immediate action, ticked by what was proven instead of by hand."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.composeops.hotfix.plugins.module_utils._findings import WORST_FIRST

WIDTH = 80
# The items in the runbook's order and words, each with the checks that prove it.
ITEMS: Mapping[str, frozenset[str]] = {
    "Change the API key to a secure production key": frozenset(
        {"live_keys", "keys_tried", "old_key_refused", "new_key_served"}
    ),
    "Update the mobile app with the new API key": frozenset(),
    "Pull the latest code with the Redis fix": frozenset({"redis_source", "redis_closed", "stop_lines"}),
    "Restart the containers": frozenset({"live_keys", "source_loaded"}),
    "Verify that there are no errors in the logs": frozenset(
        {"no_dev_key_warning", "no_died_lines", "no_errors", "start_lines"}
    ),
}


def checklist(checks: Iterable[Mapping[str, str]], handed_off: str = "") -> list[dict[str, Any]]:
    """The items with what became of them.

    :param checks: as ``_checks.judge`` returns them.
    :param handed_off: where a new key was put for the mobile app.
    :returns: ``item``, ``done`` and ``evidence``, the worst of what its checks say. An item of whose checks none was
        made is left out.
    """
    checks = list(checks)
    found = []
    for item, wanted in ITEMS.items():
        own = [check for check in checks if check["check"] in wanted]
        if not wanted:
            # Whether the app on somebody's telephone has it, no host can tell.
            keys = any(check["issue"] == "Development API key" for check in checks)
            where = f"the new key is in {handed_off}; " if handed_off else ""
            evidence = f"{where}only the owner of the app can tell, and the application's log which keys are still used"
            found += [{"item": item, "done": False, "evidence": evidence}] if keys else []
        elif own:
            worst = min(own, key=lambda check: WORST_FIRST.index(check["status"]))
            found.append({"item": item, "done": worst["status"] == "pass", "evidence": worst["evidence"]})
    return found


def lines(checks: Iterable[Mapping[str, str]], handed_off: str = "") -> list[str]:
    """The checklist for the terminal; what is not done with its reason. Parameters as for :func:`checklist`."""
    shown = []
    for item in checklist(checks, handed_off):
        head = f"  [{'x' if item['done'] else ' '}] "
        text = item["item"] if item["done"] else f"{item['item']}: {item['evidence']}"
        shown += textwrap.wrap(text, WIDTH, initial_indent=head, subsequent_indent=" " * len(head))
    return ["The runbook's checklist", *shown] if shown else []
