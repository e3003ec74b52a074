# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings are kept on real files: one for each life of a container, private, the oldest ones removed."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

IDENTITY = "890581d3af329446784e39b4a3488df615f30bd695878e69dde7b8c56beafdd0"


def found(day: int = 18, *, deaths: int = 3, **container: Any) -> dict[str, Any]:
    life = {"id": IDENTITY, "started_at": f"2025-10-{day:02d}T02:00:00.912345678Z", **container}
    return {"container": life, "deaths": {"count": deaths}, "diagnosis": {"cause": "oom"}}


class Keeper:
    """A project, and the module that keeps findings about it."""

    def __init__(self, folder: Path, run_module: Callable[..., dict[str, Any]]) -> None:
        self.project, self.state, self.run_module = folder / "shop", folder / "state", run_module
        self.project.mkdir()
        self.folder = self.state / "shop" / "findings"

    def __call__(self, findings: dict[str, Any], *, expect_failure: bool = False, **options: Any) -> dict[str, Any]:
        """Run it in check mode and for real: both have to say the same."""
        args = {"project_src": str(self.project), "state_dir": str(self.state), "findings": findings, **options}
        before = self.files()
        checked = self.run_module("findings", args, check=True, expect_failure=expect_failure)
        assert self.files() == before
        done = self.run_module("findings", args, expect_failure=expect_failure)
        for key in ("changed", "path", "pruned", "msg"):
            assert checked.get(key) == done.get(key)
        return done

    def files(self) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in self.state.rglob("*") if path.is_file()}

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


@pytest.fixture
def keep(tmp_path: Path, run_module: Callable[..., dict[str, Any]]) -> Keeper:
    return Keeper(tmp_path, run_module)


def test_findings_are_private_and_readable_again(keep: Keeper) -> None:
    old = os.umask(0)
    try:
        done = keep(found())
    finally:
        os.umask(old)
    path = Path(done["path"])
    assert done["changed"] and path == keep.folder / "20251018T020000Z-890581d3af32.json"
    assert json.loads(path.read_text()) == found()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for folder in (keep.folder, keep.folder.parent, keep.state):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (line,) = (keep.folder.parent / "journal.jsonl").read_text().splitlines()
    assert json.loads(line)["files"] == [path.name] and json.loads(line)["result"] == "3 deaths"


def test_the_same_again_changes_nothing(keep: Keeper) -> None:
    keep(found())
    before = keep.files()
    assert keep(found())["changed"] is False
    assert keep.files() == before


def test_a_later_look_at_the_same_life_replaces_the_earlier_one_unless_it_knows_of_fewer_deaths(keep: Keeper) -> None:
    path = Path(keep(found())["path"])
    assert keep(found(deaths=5))["changed"]
    assert json.loads(path.read_text())["deaths"]["count"] == 5
    # The container was stopped: its control group, and with it the counter, is gone.
    assert keep({**found(), "deaths": {"count": 0}})["changed"] is False
    assert json.loads(path.read_text())["deaths"]["count"] == 5
    assert keep.names() == [path.name]


def test_a_file_that_is_damaged_is_replaced(keep: Keeper) -> None:
    path = Path(keep(found())["path"])
    path.write_text('{"deaths": ')
    assert keep(found())["changed"]
    assert json.loads(path.read_text()) == found()


def test_the_oldest_lives_are_forgotten_and_nothing_else_is_removed(keep: Keeper) -> None:
    for day in (1, 2, 3):
        keep(found(day))
    (keep.folder / "notes.json").write_text("mine")
    done = keep(found(4), keep=2)
    assert done["pruned"] == ["20251001T020000Z-890581d3af32.json", "20251002T020000Z-890581d3af32.json"]
    assert [name[:8] for name in keep.names()] == ["20251003", "20251004", "notes.js"]
    # Fewer are wanted now: that is a change although the findings are the same.
    assert keep(found(4), keep=1)["changed"]
    # A clock that was set back does not cost what has just been found.
    assert keep(found(2), keep=1)["pruned"] == []
    assert "20251002T020000Z-890581d3af32.json" in keep.names()


@pytest.mark.parametrize(
    ("findings", "options", "words"),
    [
        ({}, {}, "name no container that was started"),
        ({"container": None}, {}, "name no container that was started"),
        (found(started_at=None), {}, "name no container that was started"),
        (found(id="../../../etc/cron.d/x"), {}, "name no container that was started"),
        (found(), {"keep": 0}, "keep is 0"),
        (found(), {"project_src": "/nowhere"}, "/nowhere: there is no such directory"),
    ],
)
def test_bad_input_is_one_sentence(keep: Keeper, findings: dict[str, Any], options: dict[str, Any], words: str) -> None:
    failed = keep(findings, expect_failure=True, **options)
    assert words in failed["msg"] and "Traceback" not in json.dumps(failed)
    assert not keep.folder.exists()


def test_a_folder_in_the_way_is_one_sentence(keep: Keeper) -> None:
    path = Path(keep(found())["path"])
    path.unlink()
    path.mkdir()
    failed = keep(found(), expect_failure=True)
    assert str(path) in failed["msg"] and "Traceback" not in json.dumps(failed)
