# SPDX-License-Identifier: GPL-3.0-or-later
"""The test that judges an HTTP answer by its body."""

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.composeops.hotfix.plugins.module_utils import _health


class TestModule:
    """The tests of the collection."""

    def tests(self) -> dict[str, Callable[..., bool]]:
        return {"holding": _health.holding}
