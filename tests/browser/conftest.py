# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests that need a browser; ``pytest tests/browser`` runs them."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / ".ansible" / "collections"))
