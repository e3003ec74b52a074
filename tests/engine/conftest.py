# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests that need a container engine; ``pytest tests/engine`` runs them. They remove all that they make."""

from __future__ import annotations

import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT / ".ansible" / "collections"))
