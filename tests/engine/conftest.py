# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests that need a container engine; ``pytest tests/engine`` runs them. They remove all that they make."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from conftest import figure, pytest_terminal_summary

__all__ = ["figure", "pytest_terminal_summary"]

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(CHECKOUT / ".ansible" / "collections")]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record", action="store_true", help="write what the engine shows to tests/unit/.../recorded")
