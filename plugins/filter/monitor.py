# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter that shows what a watch has seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.composeops.hotfix.plugins.module_utils import _monitor_lines


class FilterModule:
    """The filters of the collection."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"monitor_lines": _monitor_lines.lines}
