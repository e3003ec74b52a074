# SPDX-License-Identifier: GPL-3.0-or-later
"""container_restore, run as Ansible does: what it refuses, and that it touches nothing then.

What it makes is tried with a real engine by ``tests/engine``, and the way back by ``make faults``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils import _container_restore, _snapshots

ENV = "VALID_API_KEYS=canary-old-key\nDEBUG=true\n"
SPEC = {"id": "1", "name": "web", "config": {"Env": ["VALID_API_KEYS=canary-old-key", "DEBUG=true"]}, "networks": {}}


class Shop:
    """A project with a snapshot."""

    def __init__(self, root: Path, run_module: Callable[..., dict[str, Any]]) -> None:
        self.project, self.state, self._run = root / "shop", root / "state", run_module
        self.project.mkdir()
        (self.project / ".env").write_text(ENV)
        folder = self.state / "shop"
        folder.mkdir(parents=True, mode=0o700)
        self.store = _snapshots.Store(str(folder))
        snapshot = _snapshots.take(str(self.project), [".env"], "", "", "web")
        self.store.put(snapshot)
        self.id = snapshot.id

    def options(self, **more: Any) -> dict[str, Any]:
        given = {"project_src": str(self.project), "service": "web", "state_dir": str(self.state), "snapshot": self.id}
        return {**given, **more}

    def run(self, *, expect_failure: bool = False, **more: Any) -> dict[str, Any]:
        """Run the module, in check mode."""
        return self._run("container_restore", self.options(**more), check=True, expect_failure=expect_failure)


@pytest.fixture
def shop(tmp_path: Path, run_module: Callable[..., dict[str, Any]]) -> Shop:
    return Shop(tmp_path, run_module)


def test_it_says_what_it_would_make(shop: Shop) -> None:
    shop.store.put_container(shop.id, SPEC)
    result = shop.run()
    assert (result["changed"], result["name"], result["id"]) == (True, "web", "")
    assert "canary" not in str(result)


@pytest.mark.parametrize("name", ["feedface", "../shop"])
def test_a_snapshot_that_there_is_not_is_named_with_those_there_are(shop: Shop, name: str) -> None:
    result = shop.run(snapshot=name, expect_failure=True)
    assert f"there is no snapshot {name}; there is {shop.id}" in result["msg"]


def test_without_a_container_it_says_what_to_do(shop: Shop) -> None:
    assert "does not hold how a container was made. Have it made from its files" in shop.run(expect_failure=True)["msg"]


def test_variables_get_their_present_values(shop: Shop) -> None:
    shop.store.put_container(shop.id, SPEC)
    (shop.project / ".env").write_text(ENV.replace("canary-old-key", "canary-new-key").replace("true", "false"))
    assert shop.run(variables=["VALID_API_KEYS"])["changed"]
    options = shop.options(env_file=".env", variables=["VALID_API_KEYS"], dialect="portable")
    assert _container_restore.wanted(options)["config"]["Env"] == ["DEBUG=true", "VALID_API_KEYS=canary-new-key"]


def test_a_value_whose_way_is_not_known_is_refused_without_showing_it(shop: Shop) -> None:
    shop.store.put_container(shop.id, {**SPEC, "config": {"Env": ["KEYS=canary-old-key"]}})
    (shop.project / ".env").write_text(ENV.replace("canary-old-key", "canary-new-key"))
    result = shop.run(variables=["VALID_API_KEYS"], expect_failure=True)
    assert "it is not known how the container gets VALID_API_KEYS" in result["msg"]
    assert "canary" not in result["msg"]
