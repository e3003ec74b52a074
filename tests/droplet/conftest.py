# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests on a stand-in droplet of their own, whose name is in the environment variable ``DROPLET``."""

from __future__ import annotations

import os

import pytest
from conftest import figure, pytest_terminal_summary
from host import Host

__all__ = ["figure", "pytest_terminal_summary"]


@pytest.fixture(scope="session")
def droplet() -> Host:
    """The droplet."""
    return Host(os.environ["DROPLET"])
