# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots: the same state is kept once, comes back byte for byte, and survives a kill between any two steps."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import stat
import subprocess
import tarfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils import _journal, _snapshots
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv import PORTABLE
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError

Run = Callable[..., dict[str, Any]]
FILES = [".env", "docker-compose.yml", "backend/main.py", "docker-compose.override.yml"]
ENV = "# keys\nVALID_API_KEYS='[\"canary-old-key\"]'\nDEBUG=true\nJWT_SECRET_KEY=canary-jwt\n"
STAGED = "# keys\nVALID_API_KEYS='[\"canary-new-key\"]'\nDEBUG=false\nJWT_SECRET_KEY=canary-jwt\n"


class Droplet:
    """A project and a state folder."""

    def __init__(self, root: Path) -> None:
        self.project, self.state = root / "wealth-coach-ai", root / "state"
        (self.project / "backend").mkdir(parents=True)
        (self.project / ".env").write_text(ENV)
        (self.project / ".env").chmod(0o600)
        (self.project / "docker-compose.yml").write_text("services: {}\n")
        (self.project / "backend/main.py").write_text("print('broken')\n")

    def args(self, state: str, **more: Any) -> dict[str, Any]:
        given = {"state": state, "project_src": str(self.project), "state_dir": str(self.state)}
        return {**given, "files": FILES, **more}

    def stage(self) -> None:
        (self.project / ".env").write_text(STAGED)
        (self.project / "backend/main.py").write_text("print('fixed')\n")
        (self.project / "backend/main.py").chmod(0o755)
        (self.project / "docker-compose.override.yml").write_text("services: {backend: {}}\n")

    @property
    def folder(self) -> Path:
        return self.state / self.project.name

    def snapshots(self) -> list[str]:
        folder = self.folder / "snapshots"
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []

    def contents(self) -> dict[str, tuple[int, str]]:
        return {
            str(path.relative_to(self.project)): (stat.S_IMODE(path.stat().st_mode), path.read_text())
            for path in sorted(self.project.rglob("*"))
            if path.is_file()
        }


@pytest.fixture
def droplet(tmp_path: Path) -> Droplet:
    return Droplet(tmp_path)


def everything(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path): (path.lstat().st_mode, path.read_bytes() if path.is_file() else b"") for path in folder.rglob("*")
    }


# What Ansible itself adds to a result that names an existing path.
ADDED = {"invocation", "owner", "group", "uid", "gid", "mode", "size", "state"}


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return {k: v for k, v in one.items() if k not in ADDED} == {k: v for k, v in other.items() if k not in ADDED}


def test_rhythm_of_a_whole_transaction(run_module: Run, droplet: Droplet) -> None:
    checked = run_module("snapshot", droplet.args("present"), check=True)
    assert not droplet.state.exists()
    done = run_module("snapshot", droplet.args("present"))
    assert same(checked, done)
    assert (done["changed"], done["transaction"]) == (True, "opened")
    assert [entry["state"] for entry in done["files"]] == ["file", "file", "absent", "file"]
    for check in (True, False):
        again = run_module("snapshot", droplet.args("present"), check=check)
        assert (again["changed"], again["transaction"], again["id"]) == (False, "continued", done["id"])

    droplet.stage()
    checked = run_module("snapshot", droplet.args("committed"), check=True)
    committed = run_module("snapshot", droplet.args("committed"))
    assert same(checked, committed)
    assert (committed["changed"], committed["transaction"]) == (True, "committed")
    assert committed["id"] != done["id"]
    for check in (True, False):
        assert not run_module("snapshot", droplet.args("committed"), check=check)["changed"]

    second = run_module("snapshot", droplet.args("present"))  # the next run of the playbook
    assert (second["changed"], second["transaction"], second["id"]) == (False, "opened", committed["id"])
    assert run_module("snapshot", droplet.args("committed"))["changed"] is False
    assert droplet.snapshots() == sorted([done["id"], committed["id"]])


def test_restore_brings_back_bytes_modes_and_absence(run_module: Run, droplet: Droplet) -> None:
    taken = run_module("snapshot", droplet.args("present"))
    before = droplet.contents()
    droplet.stage()
    staged = everything(droplet.project)
    args = droplet.args("restored", files=[])
    checked = run_module("snapshot", args, check=True)
    assert everything(droplet.project) == staged
    done = run_module("snapshot", args)
    assert same(checked, done)
    assert (done["changed"], done["transaction"], done["id"]) == (True, "restored", taken["id"])
    assert done["changed_files"] == [".env", "backend/main.py", "docker-compose.override.yml"]
    assert droplet.contents() == before
    for check in (True, False):
        again = run_module("snapshot", args, check=check)
        assert (again["changed"], again["changed_files"], again["diff"]) == (False, [], [])
    still = run_module("snapshot", droplet.args("present"), check=True)
    assert still["transaction"] == "continued"


def test_permissions_alone_come_back(run_module: Run, droplet: Droplet) -> None:
    run_module("snapshot", droplet.args("present"))
    (droplet.project / ".env").chmod(0o644)
    assert run_module("snapshot", droplet.args("restored"))["changed_files"] == [".env"]
    assert stat.S_IMODE((droplet.project / ".env").stat().st_mode) == 0o600


def test_ladder_all_but_the_keys_first(run_module: Run, droplet: Droplet) -> None:
    run_module("snapshot", droplet.args("present"))
    before = droplet.contents()
    droplet.stage()
    names = ["VALID_API_KEYS", "NOT_THERE"]
    done = run_module("snapshot", droplet.args("restored", exclude_variables=names))
    assert (droplet.project / ".env").read_text() == ENV.replace("canary-old-key", "canary-new-key")
    assert "canary" not in json.dumps(done)
    assert done["kept_variables"] == ["VALID_API_KEYS"]
    again = run_module("snapshot", droplet.args("restored", exclude_variables=names))
    assert (again["changed"], again["kept_variables"]) == (False, ["VALID_API_KEYS"])
    run_module("snapshot", droplet.args("restored"))
    assert droplet.contents() == before
    unchanged = run_module("snapshot", droplet.args("restored", exclude_variables=names))
    assert (unchanged["changed"], unchanged["kept_variables"]) == (False, [])

    droplet.stage()
    done = run_module("snapshot", droplet.args("restored", exclude=[".env", "./backend/../backend/main.py"]))
    assert done["changed_files"] == ["docker-compose.override.yml"]
    assert (droplet.project / ".env").read_text() == STAGED


def test_variable_that_is_not_set_now_stays_unset(run_module: Run, droplet: Droplet) -> None:
    run_module("snapshot", droplet.args("present"))
    (droplet.project / ".env").write_text("DEBUG=false\n")
    run_module("snapshot", droplet.args("restored", exclude_variables=["VALID_API_KEYS"]))
    assert (droplet.project / ".env").read_text() == "# keys\nDEBUG=true\nJWT_SECRET_KEY=canary-jwt\n"
    (droplet.project / ".env").unlink()
    failed = run_module("snapshot", droplet.args("restored", exclude_variables=["VALID_API_KEYS"]), expect_failure=True)
    assert "there is no file to keep the present values of VALID_API_KEYS from" in failed["msg"]


def test_link_comes_back_as_a_link(run_module: Run, droplet: Droplet, tmp_path: Path) -> None:
    shared = tmp_path / "shared.env"
    (droplet.project / ".env").rename(shared)
    (droplet.project / ".env").symlink_to("../shared.env")
    (droplet.project / "docker-compose.override.yml").symlink_to("nowhere")
    run_module("snapshot", droplet.args("present"))
    shared.write_text(STAGED)
    (droplet.project / ".env").unlink()
    (droplet.project / ".env").write_text("a file\n")
    (droplet.project / "docker-compose.override.yml").unlink()
    (droplet.project / "backend/main.py").unlink()
    (droplet.project / "backend/main.py").symlink_to("../docker-compose.yml")
    assert run_module("snapshot", droplet.args("restored"))["changed"]
    assert os.readlink(droplet.project / ".env") == "../shared.env"
    assert shared.read_text() == ENV
    assert os.readlink(droplet.project / "docker-compose.override.yml") == "nowhere"
    assert not (droplet.project / "backend/main.py").is_symlink()
    assert (droplet.project / "docker-compose.yml").read_text() == "services: {}\n"
    assert not run_module("snapshot", droplet.args("restored"))["changed"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_owner_comes_back(run_module: Run, droplet: Droplet) -> None:
    os.chown(droplet.project / ".env", 1234, 4321)
    run_module("snapshot", droplet.args("present"))
    (droplet.project / ".env").unlink()
    assert run_module("snapshot", droplet.args("restored"))["changed_files"] == [".env"]
    info = (droplet.project / ".env").stat()
    assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (1234, 4321, 0o600)


def test_state_is_private_and_the_journal_tells_no_value(run_module: Run, droplet: Droplet) -> None:
    done = run_module("snapshot", droplet.args("present"))
    droplet.stage()
    done = [done, run_module("snapshot", droplet.args("restored")), run_module("snapshot", droplet.args("committed"))]
    for path in (droplet.state, *droplet.state.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    journal = (droplet.folder / "journal.jsonl").read_text()
    entries = [json.loads(line) for line in journal.splitlines()]
    assert [(entry["action"], entry["result"]) for entry in entries] == [
        ("present", "changed"),
        ("restored", "started"),
        ("restored", "changed"),
        ("committed", "unchanged"),
    ]
    assert entries[2]["files"] == [".env", "backend/main.py", "docker-compose.override.yml"]
    assert all(entry["time"].endswith("Z") for entry in entries)
    assert "canary" not in journal + json.dumps(done)
    assert "sha256:" in json.dumps(done[1]["diff"])


def test_pruned_but_never_the_open_nor_the_committed_one(run_module: Run, droplet: Droplet) -> None:
    good = run_module("snapshot", droplet.args("committed", keep=2))["id"]
    (droplet.project / ".env").write_text("N=0\n")
    opened = run_module("snapshot", droplet.args("present", keep=2))["id"]
    (droplet.folder / "snapshots" / ".new-0123456789abcdef-left").mkdir()
    store = _snapshots.Store(str(droplet.folder))
    project = _snapshots.Project(str(droplet.project), str(droplet.folder), None, keep=2, check=False)
    others = []
    for number in range(3):
        (droplet.project / ".env").write_text(f"N=1{number}\n")
        others.append(_snapshots.take(str(droplet.project), FILES, "", "", ""))
        store.put(others[-1])
    project._prune()
    assert droplet.snapshots() == sorted([good, opened, others[1].id, others[2].id])
    actions = [entry["id"] for entry in _journal.entries(str(droplet.folder)) if entry["action"] == "pruned"]
    assert actions == [others[0].id]


def test_what_a_run_has_begun_with_outlives_its_end_however_old_it_is(run_module: Run, droplet: Droplet) -> None:
    run_module("snapshot", droplet.args("committed"))
    begun = run_module("snapshot", droplet.args("present"))["id"]
    droplet.stage()
    done = run_module("snapshot", droplet.args("committed", keep=1))["id"]
    assert droplet.snapshots() == sorted([begun, done])
    (droplet.project / ".env").write_text("N=2\n")
    last = run_module("snapshot", droplet.args("committed", keep=1))["id"]
    assert droplet.snapshots() == [last]


def test_what_was_taken_before_the_clock_went_back_is_older_than_what_was_taken_since(
    run_module: Run, droplet: Droplet
) -> None:
    ahead = run_module("snapshot", droplet.args("kept"))["id"]
    manifest = droplet.folder / "snapshots" / ahead / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"taken": "20', '"taken": "21'))
    droplet.stage()
    since = run_module("snapshot", droplet.args("kept"))["id"]
    assert _snapshots.Store(str(droplet.folder)).ids() == [ahead, since]


def test_revision_is_asked_from_git(run_module: Run, droplet: Droplet) -> None:
    assert run_module("snapshot", droplet.args("present"), check=True)["revision"] == ""
    git = ["git", "-C", str(droplet.project), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "one"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    taken = run_module("snapshot", droplet.args("present"))
    assert taken["revision"] == head
    assert run_module("snapshot", droplet.args("restored"))["revision"] == head
    other = run_module("snapshot", droplet.args("committed", revision="abc"))
    assert (other["revision"], other["id"] == taken["id"]) == ("abc", False)


def test_projects_of_the_same_name_do_not_meet(run_module: Run, tmp_path: Path) -> None:
    one, two = Droplet(tmp_path / "a"), Droplet(tmp_path / "b")
    two.state = one.state
    first = run_module("snapshot", one.args("present"))
    second = run_module("snapshot", two.args("present"))
    assert first["id"] == second["id"]
    folders = sorted(path.name for path in one.state.iterdir())
    assert folders[0] == "wealth-coach-ai"
    assert folders[1].startswith("wealth-coach-ai-")
    assert first["path"].startswith(f"{one.state}/wealth-coach-ai/")
    assert second["path"].startswith(f"{one.state}/{folders[1]}/")
    assert run_module("snapshot", two.args("present"))["path"] == second["path"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"state": "restored"}, "no transaction is open"),
        ({"state": "restored", "name": "../../etc"}, "there is no snapshot ../../etc; there is none at all"),
        ({"state": "present", "files": []}, "there are no files to keep. Name them with files"),
        ({"state": "present", "files": ["backend"]}, "backend: this is not a file"),
        ({"state": "present", "project_src": "/nowhere"}, "/nowhere: there is no such directory"),
        ({"state": "present", "image": "composeops-no-such:image"}, "composeops"),
    ],
)
def test_bad_input_is_one_sentence(run_module: Run, droplet: Droplet, args: dict[str, Any], message: str) -> None:
    if "image" in args and not engine():
        message = "docker"
    for check in (True, False):
        failed = run_module("snapshot", {**droplet.args("present"), **args}, check=check, expect_failure=True)
        assert message in failed["msg"].replace("Docker", "docker")
        assert "exception" not in failed
    assert droplet.snapshots() == []


def test_unknown_and_damaged_snapshots_change_nothing(run_module: Run, droplet: Droplet) -> None:
    taken = run_module("snapshot", droplet.args("present"))
    droplet.stage()
    before = everything(droplet.project)
    failed = run_module("snapshot", droplet.args("restored", name="0123456789abcdef"), expect_failure=True)
    assert f"there is {taken['id']}" in failed["msg"]
    digest = next(entry["sha256"] for entry in taken["files"] if entry["name"] == "backend/main.py")
    (Path(taken["path"]) / digest).write_text("rotten")
    failed = run_module("snapshot", droplet.args("restored"), expect_failure=True)
    assert "this copy is damaged" in failed["msg"]
    assert everything(droplet.project) == before


def test_restore_by_name_without_a_transaction(run_module: Run, droplet: Droplet) -> None:
    old = run_module("snapshot", droplet.args("committed"))["id"]
    before = droplet.contents()
    droplet.stage()
    run_module("snapshot", droplet.args("committed"))
    done = run_module("snapshot", droplet.args("restored", name=old))
    assert (done["transaction"], droplet.contents()) == ("none", before)


def test_what_was_staged_in_a_transaction_is_told(run_module: Run, droplet: Droplet) -> None:
    assert run_module("snapshot", droplet.args("present"))["changed_files"] == []
    assert run_module("snapshot", droplet.args("present"))["changed_files"] == []
    droplet.stage()
    (droplet.project / "docker-compose.yml").unlink()
    (droplet.project / "docker-compose.yml").mkdir()
    staged = [".env", "backend/main.py", "docker-compose.override.yml", "docker-compose.yml"]
    for check in (True, False):
        assert run_module("snapshot", droplet.args("present"), check=check)["changed_files"] == staged
    told = [entry for entry in _journal.entries(str(droplet.folder)) if entry["action"] == "staged"]
    assert [entry["files"] for entry in told] == [staged]


BEGAN = [("10:00:00.100", "run began"), ("10:00:01.000", "present"), ("10:04:00.000", "built")]


@pytest.mark.parametrize(
    ("journal", "deployed", "closed"),
    [
        # The run was killed: what it has begun may go on for a while.
        (BEGAN, "10:05:00.123456789", False),
        (BEGAN, "12:03:59", False),
        (BEGAN, "12:04:01", True),
        (BEGAN, "10:00:00", False),
        (BEGAN, "09:00:00", False),
        # Another one has gone on with it, and was killed as well.
        ([*BEGAN, ("13:00:00.000", "run began")], "13:01:00", False),
        ([*BEGAN, ("13:00:00.000", "run began")], "12:30:00", True),
        ([*BEGAN, ("13:00:00.000", "run began")], "15:00:01", True),
        # It has failed, and its way back as well.
        ([*BEGAN, ("10:06:00.000", "run ended")], "10:05:59", False),
        # On two names of one host.
        ([*BEGAN, ("10:06:00.000", "run ended"), ("10:07:00.000", "recreated", "9.5")], "10:06:51", False),
        ([*BEGAN, ("10:06:00.000", "run ended"), ("10:07:00.000", "recreated", "9.5")], "10:06:40", True),
        # A step that outlived the run is at work until it notes that.
        ([*BEGAN, ("12:30:00.000", "recreated", "3000.0")], "12:29:00", False),
        ([*BEGAN, ("12:30:00.000", "findings kept")], "12:29:00", True),
        ([*BEGAN, ("10:06:00.000", "run ended")], "10:06:30", True),
        ([*BEGAN, ("10:06:00.000", "run ended"), ("13:00:00.000", "run began")], "13:00:20", False),
        ([*BEGAN, ("10:06:00.000", "run ended"), ("13:00:00.000", "run began")], "11:00:00", True),
        # One that had ended before is not the one that left it open.
        ([("09:30:00.000", "run ended"), *BEGAN], "10:00:00.500", False),
        ([("09:59:00.000", "run ended")], "10:30:00", False),
        ([("09:59:00.000", "run ended")], "12:00:02", True),
        # What was noted by a clock that was ahead says nothing of an earlier time.
        ([("23:00:00.000", "run ended")], "10:30:00", False),
        ([], "10:30:00", False),
    ],
)
def test_a_transaction_of_before_gives_way_to_what_somebody_has_deployed_since(
    run_module: Run, droplet: Droplet, journal: list[tuple[str, ...]], deployed: str, closed: bool
) -> None:
    opened = run_module("snapshot", droplet.args("present"))
    assert opened["closed"] == ""
    day = "2026-11-30T"
    lines = [
        {"time": f"{day}{clock}Z", "action": action, "run": "bbbb" if clock >= "13" else "aaaa"}
        | ({"seconds": seconds[0]} if seconds else {})
        for clock, action, *seconds in journal
    ]
    # Without a run: somebody at work with single modules.
    lines += [{"time": f"{day}11:00:00.000Z", "action": "compose up"}]
    (droplet.folder / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    mark = {"snapshot": opened["id"], "time": f"{day}10:00:00.900Z"}
    (droplet.folder / "transaction.json").write_text(json.dumps(mark))
    (droplet.project / ".env").write_text(STAGED)

    assert run_module("snapshot", droplet.args("present"))["id"] == opened["id"]
    (droplet.folder / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    args = droplet.args("present", deployed_at=f"{day}{deployed}Z")
    checked = run_module("snapshot", args, check=True)
    assert _journal.open_transaction(str(droplet.folder)) == opened["id"]
    done = run_module("snapshot", args)
    assert same(checked, done)
    assert (done["transaction"], done["closed"]) == (("opened", opened["id"]) if closed else ("continued", ""))
    assert (done["id"] != opened["id"]) is closed
    assert _journal.open_transaction(str(droplet.folder)) == done["id"]
    said = [entry["id"] for entry in _journal.entries(str(droplet.folder)) if entry["action"] == "closed"]
    assert said == ([opened["id"]] if closed else [])
    # What the first one had found is there all the same.
    run_module("snapshot", droplet.args("restored", name=opened["id"]))
    assert (droplet.project / ".env").read_text() == ENV


def test_what_the_closed_transaction_had_found_is_not_pruned(run_module: Run, droplet: Droplet) -> None:
    opened = run_module("snapshot", droplet.args("present"))
    (droplet.project / ".env").write_text(STAGED)
    later = run_module("snapshot", droplet.args("present", deployed_at="2099-01-01T00:00:00Z", keep=1))
    (droplet.project / ".env").write_text("DEBUG=true\n")
    last = run_module("snapshot", droplet.args("committed", keep=1))
    assert droplet.snapshots() == sorted({opened["id"], later["id"], last["id"]})
    run_module("snapshot", droplet.args("present", keep=1))
    assert droplet.snapshots() == sorted({opened["id"], last["id"]})


def test_files_that_a_run_has_changed_and_not_built_keep_its_transaction_open(
    run_module: Run, droplet: Droplet
) -> None:
    opened = run_module("snapshot", droplet.args("present"))
    droplet.stage()
    later = droplet.args("present", deployed_at="2099-01-01T00:00:00Z")
    assert (run_module("snapshot", later)["id"], run_module("snapshot", later)["closed"]) == (opened["id"], "")
    moved = run_module("snapshot", {**later, "files": FILES[:2], "revision": "a" * 40})
    assert (moved["id"], moved["closed"]) == (opened["id"], "")


@pytest.mark.parametrize(
    ("then", "now", "expected"),
    [
        ({}, {}, False),
        ({"image": "1"}, {"image": "1"}, False),
        ({"image": "1", "revision": "a"}, {"image": "1", "revision": "b"}, True),
        ({"image": "1", "revision": "a"}, {"image": "2", "revision": "b"}, False),
        ({"files": ["main.py"]}, {"files": ["main.py!"]}, True),
        ({"files": ["main.py"]}, {"files": ["main.py!"], "image": "2"}, False),
        (
            {"files": [".env", "compose.yaml", "sub/prod.env"]},
            {"files": [".env!", "compose.yaml!", "sub/prod.env!"]},
            False,
        ),
        ({"files": ["main.py"]}, {"files": [".env!"]}, False),
        ({"files": [".env"]}, {"files": [".env", "Dockerfile"]}, True),
    ],
)
def test_what_counts_as_not_built(then: dict[str, Any], now: dict[str, Any], expected: bool) -> None:
    def snapshot(files: Sequence[str] = (), image: str = "", revision: str = "") -> _snapshots.Snapshot:
        kept = [_snapshots.Kept(name.rstrip("!"), sha256="new" if name.endswith("!") else "old") for name in files]
        return _snapshots.Snapshot("", kept, image, revision)

    assert _snapshots.unbuilt(snapshot(**then), snapshot(**now)) is expected


def test_a_container_that_is_not_the_one_of_before_has_no_way_of_its_own(droplet: Droplet) -> None:
    def project(spec: dict[str, Any] | None) -> _snapshots.Project:
        return _snapshots.Project(str(droplet.project), str(droplet.folder), None, keep=10, check=False, spec=spec)

    def now() -> _snapshots.Snapshot:
        return _snapshots.take(str(droplet.project), FILES, "", "", "web")

    droplet.folder.mkdir(parents=True, mode=0o700)
    identity = project({"id": "1"}).present(now).snapshot.id
    # The same files again, and by them.
    result = project(None).present(now, "2099-01-01T00:00:00Z")
    assert (result.closed, result.snapshot.id) == (identity, identity)
    assert _snapshots.Store(str(droplet.folder)).container(identity) is None


def test_kept_beside_a_transaction(run_module: Run, droplet: Droplet) -> None:
    assert run_module("snapshot", droplet.args("kept"))["transaction"] == "none"
    assert not (droplet.folder / "committed.json").exists()
    opened = run_module("snapshot", droplet.args("present"))
    droplet.stage()
    checked = run_module("snapshot", droplet.args("kept"), check=True)
    kept = run_module("snapshot", droplet.args("kept"))
    assert same(checked, kept)
    assert (kept["changed"], kept["transaction"], kept["id"] == opened["id"]) == (True, "continued", False)
    assert not run_module("snapshot", droplet.args("kept"))["changed"]
    assert run_module("snapshot", droplet.args("present"))["id"] == opened["id"]
    run_module("snapshot", droplet.args("restored"))
    before = droplet.contents()
    run_module("snapshot", droplet.args("restored", name=kept["id"]))
    assert (droplet.project / ".env").read_text() == STAGED
    run_module("snapshot", droplet.args("restored"))
    assert droplet.contents() == before


def test_held_by_another_run(run_module: Run, droplet: Droplet) -> None:
    with _journal.held(str(droplet.folder), str(droplet.project)):
        failed = run_module("snapshot", droplet.args("present"), expect_failure=True)
    assert "another run is at work" in failed["msg"]


def test_half_a_line_in_the_journal_spoils_nothing(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").write_text('{"time": "cut of')
    _journal.append(str(tmp_path), "present", id="1")
    assert [entry["id"] for entry in _journal.entries(str(tmp_path))] == ["1"]
    (tmp_path / "journal.jsonl").write_text('{"n": 1}\n' * (_journal.JOURNAL_LIMIT // 8))
    _journal.append(str(tmp_path), "present", id="2")
    assert (tmp_path / "journal.jsonl").stat().st_size < _journal.JOURNAL_LIMIT * 0.6
    assert _journal.entries(str(tmp_path))[-1]["id"] == "2"


# --- killed between any two steps ------------------------------------------------------------------------------------


def project_of(droplet: Droplet) -> _snapshots.Project:
    return _snapshots.Project(str(droplet.project), str(droplet.folder), None, keep=10, check=False)


def act(droplet: Droplet, state: str) -> _snapshots.Result:
    with _journal.held(str(droplet.folder), str(droplet.project)):
        project = project_of(droplet)
        if state == "restored":
            return project.restored("", [], [], PORTABLE, str(droplet.folder))
        verb = project.present if state == "present" else project.committed
        return verb(lambda: _snapshots.take(str(droplet.project), FILES, "", "", ""))


def killed_before(droplet: Droplet, state: str, number: int) -> bool:
    """Act in a child that is killed before its step ``number``; False when it ended before."""
    child = os.fork()
    if child == 0:
        left = number

        def counted(function: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                nonlocal left
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*args, **kwargs)

            return call

        for name in ("replace", "rename", "unlink", "symlink", "chmod", "mkdir", "rmdir", "open", "fsync"):
            setattr(os, name, counted(getattr(os, name)))
        try:
            act(droplet, state)
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL)
    return status == signal.SIGKILL


def whole(droplet: Droplet) -> list[str]:
    """The snapshots that are there, each proven complete."""
    store = _snapshots.Store(str(droplet.folder))
    names = [name for name in droplet.snapshots() if not name.startswith(".")]
    for name in names:
        snapshot = store.load(name)
        for kept in snapshot.files:
            store.content(name, kept)
    return names


def kill_points(tmp_path: Path, prepare: Callable[[Droplet], None], state: str) -> Iterator[tuple[Droplet, bool]]:
    number, killed = 0, True
    while killed:
        droplet = Droplet(tmp_path / str(number))
        prepare(droplet)
        killed = killed_before(droplet, state, number)
        yield droplet, killed
        number += 1
    assert number > 10


def test_killed_while_taking(tmp_path: Path) -> None:
    for droplet, killed in kill_points(tmp_path, lambda droplet: None, "present"):
        names = whole(droplet)
        opened = _journal.open_transaction(str(droplet.folder))
        assert opened in ("", *names)
        assert killed or opened
        result = act(droplet, "present")
        assert result.transaction == ("continued" if opened else "opened")
        assert droplet.snapshots() == [result.snapshot.id]


def test_killed_while_committing(tmp_path: Path) -> None:
    def prepare(droplet: Droplet) -> None:
        act(droplet, "present")
        droplet.stage()

    for droplet, _killed in kill_points(tmp_path, prepare, "committed"):
        names = whole(droplet)
        folder = str(droplet.folder)
        assert _journal.open_transaction(folder) in ("", *names)
        assert _journal.last_committed(folder) in ("", *names)
        assert _journal.open_transaction(folder) or _journal.last_committed(folder)
        result = act(droplet, "committed")
        assert _journal.last_committed(folder) == result.snapshot.id
        assert _journal.open_transaction(folder) == ""
        assert len(droplet.snapshots()) == 2


def test_killed_while_restoring(tmp_path: Path) -> None:
    def prepare(droplet: Droplet) -> None:
        act(droplet, "present")
        droplet.stage()

    good = Droplet(tmp_path / "good").contents()
    for droplet, _killed in kill_points(tmp_path, prepare, "restored"):
        now = {name: text for name, (_mode, text) in droplet.contents().items() if not name.endswith(".tmp")}
        assert now[".env"] in (ENV, STAGED)
        assert now["backend/main.py"] in ("print('broken')\n", "print('fixed')\n")
        assert act(droplet, "present").transaction == "continued"
        act(droplet, "restored")
        assert droplet.contents() == good


def test_full_disk_leaves_no_snapshot(droplet: Droplet, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(HotfixError, match=r"No space left on device\. Free some space"):
            act(droplet, "present")
    assert droplet.snapshots() == []
    assert act(droplet, "present").transaction == "opened"


def test_how_a_container_was_made_is_kept_beside_the_state_and_forgotten_with_the_next(droplet: Droplet) -> None:
    spec = {"id": "1", "name": "web", "config": {"Env": ["VALID_API_KEYS=canary-old-key"]}}

    def project(spec: dict[str, Any] | None, *, check: bool = False) -> _snapshots.Project:
        return _snapshots.Project(str(droplet.project), str(droplet.folder), None, keep=10, check=check, spec=spec)

    def now() -> _snapshots.Snapshot:
        return _snapshots.take(str(droplet.project), FILES, "", "", "web")

    store = _snapshots.Store(str(droplet.folder))
    droplet.folder.mkdir(parents=True, mode=0o700)
    identity = project(spec, check=True).present(now).snapshot.id
    assert store.container(identity) is None
    assert project(spec).present(now).snapshot.id == identity
    assert store.container(identity) == spec
    kept = droplet.folder / "snapshots" / identity / "container.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    # The next run finds what that was made with which ran before the first.
    assert project({"name": "new"}).present(now).transaction == "continued"
    assert store.container(identity) == spec
    # Nor does a state that is the same take it away while the transaction is open.
    project(None).kept(now)
    project({"name": "new"}).found(now)
    project(None).committed(now)
    assert store.container(identity) == spec
    project(None).present(now)
    assert store.container(identity) is None
    kept.write_text("{")
    with pytest.raises(HotfixError, match="damaged"):
        store.container(identity)


# --- with an engine --------------------------------------------------------------------------------------------------


def engine() -> bool:
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=30).returncode == 0


@pytest.fixture
def image(tmp_path: Path) -> Iterator[str]:
    if not engine():
        pytest.skip("there is no container engine")
    name = f"composeops-test-{uuid.uuid4().hex[:8]}:old"
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        entry = tarfile.TarInfo("unique")
        entry.size = len(name)
        archive.addfile(entry, io.BytesIO(name.encode()))
    subprocess.run(["docker", "import", "-", name], input=layer.getvalue(), check=True, capture_output=True)
    identity = docker("image", "inspect", "--format", "{{.Id}}", name)
    yield name
    subprocess.run(["docker", "image", "rm", "--force", identity], capture_output=True, check=False)


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def test_image_is_kept_by_a_tag_and_let_go_with_the_snapshot(run_module: Run, tmp_path: Path, image: str) -> None:
    droplet = Droplet(tmp_path)
    droplet.project = droplet.project.rename(tmp_path / f"Project {uuid.uuid4().hex[:8]}")
    identity = docker("image", "inspect", "--format", "{{.Id}}", image)
    checked = run_module("snapshot", droplet.args("present", image=image), check=True)
    assert docker("image", "ls", "--quiet", checked["image"]) == ""
    taken = run_module("snapshot", droplet.args("present", image=image))
    assert same(checked, taken)
    assert taken["image"].startswith("composeops-hotfix/project-")
    docker("image", "rm", image)
    assert docker("image", "inspect", "--format", "{{.Id}}", taken["image"]) == identity == taken["image_id"]
    restored = run_module("snapshot", droplet.args("restored"))
    assert restored["image"] == taken["image"]
    run_module("snapshot", droplet.args("committed", image=taken["image"]))
    droplet.stage()
    args = droplet.args("committed", image=taken["image"], keep=1)
    last = run_module("snapshot", args)
    repository = taken["image"].split(":")[0]
    assert docker("image", "ls", "--format", "{{.Tag}}", repository) == last["id"]
