# SPDX-License-Identifier: GPL-3.0-or-later
"""Roles and playbooks run by ansible-playbook, with this machine for a host: ``pytest tests/roles`` runs them."""

from __future__ import annotations

from conftest import run_module

__all__ = ["run_module"]
