# SPDX-License-Identifier: GPL-3.0-or-later
"""How secrets are named, and kept out of everything that is printed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

# Ansible masks each registered value wherever it occurs; masking something as short as "true" would garble results.
SHORTEST_MASKED = 6


def fingerprint(value: str) -> str:
    """The only form in which a secret value is ever shown: ``sha256:<first 8 hex> len=<n>``."""
    digest = hashlib.sha256(value.encode("utf-8", "surrogateescape")).hexdigest()
    return f"sha256:{digest[:8]} len={len(value)}"


def register(module: Any, values: Iterable[str]) -> None:
    """Tell Ansible about secrets that were read from files, so that it masks them in this module's result.

    :param module: the running ``AnsibleModule``.
    :param values: the secret values; those shorter than :data:`SHORTEST_MASKED` are left out.
    """
    module.no_log_values.update(value for value in values if len(value) >= SHORTEST_MASKED)


def redact(text: str, values: Iterable[str]) -> str:
    """``text`` with each of ``values`` replaced by its fingerprint, longest value first."""
    for value in sorted({value for value in values if len(value) >= SHORTEST_MASKED}, key=len, reverse=True):
        text = text.replace(value, fingerprint(value))
    return text
