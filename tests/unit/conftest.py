# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the collection importable, runs modules as Ansible does (in a process of their own), prints figures.

A test that measures something hands the sentence about it to the fixture ``figure``, as in
``figure("10,000 tokens: 0 false alarms")``. All of them are printed after the tests, also with ``-q`` and ``-n``.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from module_server import Modules

COLLECTIONS = Path(__file__).resolve().parents[2] / ".ansible" / "collections"
sys.path.insert(0, str(COLLECTIONS))
os.environ.setdefault("ANSIBLE_COLLECTIONS_PATH", str(COLLECTIONS))

# A busy machine is no reason for a property to fail.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@functools.cache
def modules() -> Modules:
    """The process that modules are forked from; it ends with this one."""
    return Modules(str(COLLECTIONS))


@pytest.fixture
def run_module() -> Callable[..., dict[str, Any]]:
    """Run a module of the collection in a process of its own and return its result."""

    def run(
        name: str,
        args: dict[str, Any],
        *,
        check: bool = False,
        diff: bool = True,
        expect_failure: bool = False,
        env: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        arguments = {**args, "_ansible_check_mode": check, "_ansible_diff": diff, "_ansible_remote_tmp": "/tmp"}
        printed = modules().run(name, json.dumps({"ANSIBLE_MODULE_ARGS": arguments}), env or {})
        answers = [line for line in printed.splitlines() if line.startswith("{")]
        assert answers, f"{name} printed no result:\n{printed}"
        result: dict[str, Any] = json.loads(answers[-1])
        # How ansible-core from 2.22 on tells the controller what to mask; it is no part of the result there.
        result.pop("_ansible_new_secrets", None)
        assert bool(result.get("failed")) is expect_failure, result
        return result

    return run


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Have a measured figure printed after the tests; as a property of the report it gets there with xdist as well."""
    return lambda text: record_property("figure", text)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what the tests measured, by the order of the test files."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    figures = [
        (report.nodeid, text)
        for report in reports
        if report.when == "call"
        for name, text in report.user_properties
        if name == "figure"
    ]
    if figures:
        terminalreporter.section("figures")
    for nodeid, text in sorted(figures, key=lambda pair: pair[0]):
        terminalreporter.line(f"{text}  ({nodeid.rpartition('/')[2].partition('::')[0]})")
