# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests on stand-in droplets of their own, whose names are in the environment variable ``DROPLET``.

Each worker of pytest-xdist has one of them: a run waits for its droplet about as long as it computes.
"""

from __future__ import annotations

import os
from typing import Any

import conftest
import pytest
from conftest import figure
from host import Host

__all__ = ["figure"]


@pytest.fixture(scope="session")
def droplet() -> Host:
    """The droplet of this worker."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    return Host(os.environ["DROPLET"].split()[int(worker.removeprefix("gw"))])


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what the tests measured, and how many of all faults have passed, whichever worker had them."""
    conftest.pytest_terminal_summary(terminalreporter)
    passed, failed = (
        [
            total
            for report in terminalreporter.stats.get(kind, [])
            for name, total in report.user_properties
            if name == "faults"
        ]
        for kind in ("passed", "failed")
    )
    for total in {*passed, *failed}:
        terminalreporter.line(f"faults: {len(passed)} of {total}")
