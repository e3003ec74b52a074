# SPDX-License-Identifier: GPL-3.0-or-later
"""Files are replaced whole, with all their properties, or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils import _files
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError


def test_mode_and_owner_are_kept(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    target.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(target, 1234, 4321)
    before = target.stat()
    _files.write_atomic(str(target), b"new")
    after = target.stat()
    assert target.read_bytes() == b"new"
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino


def test_symbolic_link_stays_a_link(tmp_path: Path) -> None:
    target = tmp_path / "real"
    target.write_bytes(b"old")
    link = tmp_path / "link"
    link.symlink_to("real")
    _files.write_atomic(str(link), b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_extended_attributes_are_kept(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    try:
        os.setxattr(target, "user.note", b"mine")
    except OSError:
        pytest.skip("this file system has no user attributes")
    _files.write_atomic(str(target), b"new")
    assert os.getxattr(target, "user.note") == b"mine"


def test_new_file_gets_the_mode_asked_for(tmp_path: Path) -> None:
    _files.write_atomic(str(tmp_path / "new"), b"x", mode=0o600)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600


def test_failed_write_leaves_the_old_file_and_no_temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(HotfixError, match=r"No space left on device\. Free some space"):
        _files.write_atomic(str(target), b"new")
    assert target.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_backups_are_private_and_pruned(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"content")
    with _files.Edit() as edit:
        copies = [edit.replace(str(target), b"content", b"content", keep=3) for _round in range(5)]
    kept = sorted(str(path) for path in tmp_path.glob("*.bak"))
    assert kept == copies[-3:]
    assert all(stat.S_IMODE(Path(copy).stat().st_mode) == 0o600 for copy in kept)
    assert Path(kept[-1]).read_bytes() == b"content"


@pytest.mark.parametrize(("make", "reason"), [("missing", "No such file"), ("folder", "Is a directory")])
def test_unreadable_file_is_named_with_reason_and_remedy(tmp_path: Path, make: str, reason: str) -> None:
    path = tmp_path / make
    if make == "folder":
        path.mkdir()
    with pytest.raises(HotfixError) as caught:
        _files.read_bytes(str(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert reason in str(caught.value)
    assert caught.value.remedy
