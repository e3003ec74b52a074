# SPDX-License-Identifier: GPL-3.0-or-later
"""Files are replaced whole, with all their properties, or not at all: on full disks, after a kill, two runs at once."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import socket
import stat
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils import _files
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError

COLLECTIONS = Path(__file__).resolve().parents[4] / ".ansible" / "collections"
NOBODY = 65534
OLD, NEW = b"KEY=old\nOTHER=1\n", b"KEY=new\nOTHER=1\n"

# One run in a process of its own: it edits a file as the modules do. With "kill" it ends itself by SIGKILL before that
# call into the system; Python tells of each call from _files and what it uses. With "user" it has no privileges.
CHILD = """
import io, json, os, signal, sys, tempfile
from ansible_collections.composeops.hotfix.plugins.module_utils import _files
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError

job = json.loads(sys.argv[1])
READ_ONLY = {"fspath", "stat", "lstat", "fstat", "access", "listdir", "urandom", "readlink", "statvfs", "getpid"}
steps = 0

def count(frame, event, function):
    global steps
    if event != "c_call":
        return
    system = getattr(function, "__module__", None) in ("posix", "fcntl")
    stream = isinstance(getattr(function, "__self__", None), io.IOBase)
    if (system or stream) and function.__name__ not in READ_ONLY:
        steps += 1
        if steps == job.get("kill"):
            os.kill(os.getpid(), signal.SIGKILL)

if job.get("user"):
    os.setgroups([])
    os.setresgid(job["user"], job["user"], job["user"])
    os.setresuid(job["user"], job["user"], job["user"])
error = None
sys.setprofile(count)
try:
    with _files.Edit(job["path"], check=job.get("check", False)) as edit:
        if job.get("wait"):
            print("held", flush=True)
            sys.stdin.read()
        before = _files.read_bytes(job["path"])
        lines = before.decode().splitlines(keepends=True)
        for name in job.get("add", []):
            lines = [f"{name}={int(l.partition('=')[2]) + 1}\\n" if l.startswith(name + "=") else l for l in lines]
        after = "".join(lines).replace(*job.get("change", ["", ""])).encode()
        if after != before:
            edit.replace(job["path"], before, after, keep=job.get("keep"))
except HotfixError as caught:
    error = str(caught)
sys.setprofile(None)
print(json.dumps({"error": error, "steps": steps}))
"""


def start(path: Path, **job: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-S", "-c", CHILD, json.dumps({"path": str(path), **job})],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(COLLECTIONS)},
    )


def edit(path: Path, **job: Any) -> Any:
    """What a run says, or the signal that ended it."""
    with start(path, **{"change": ["old", "new"], **job}) as process:
        try:
            output, _errors = process.communicate(timeout=60)
        finally:
            process.kill()
    return json.loads(output.splitlines()[-1]) if process.returncode == 0 else process.returncode


def replace(path: Path, before: bytes | None = OLD, data: bytes = NEW, check: bool = False, **more: Any) -> str | None:
    with _files.Edit(str(path), check=check) as run:
        return run.replace(str(path), before, data, **more)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def copies(folder: Path) -> list[str]:
    return [name for name in names(folder) if name.endswith(".bak")]


def refused(path: Path, before: bytes | None = OLD, **more: Any) -> str:
    """The sentence with which a change is refused, which is the same in check mode; the folder stays as it was."""
    around = names(path.parent)
    sentences = []
    for check in (True, False):
        with pytest.raises(HotfixError) as caught:
            replace(path, before, check=check, **more)
        sentences.append(str(caught.value))
        assert names(path.parent) == around
    assert sentences[0] == sentences[1]
    assert sentences[0].startswith(f"{path}: ")
    assert caught.value.remedy
    return sentences[0]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / ".env"
    path.write_bytes(OLD)
    path.chmod(0o640)
    return path


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mount a small file system."""
    mounted = []

    def make(options: str) -> Path:
        folder = tmp_path / "mounted"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"no file system can be mounted here: {done.stderr.splitlines()[0]}")
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that everybody can reach."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away and become another user")


# --- properties ------------------------------------------------------------------------------------------------------


def test_mode_and_owner_are_kept(target: Path) -> None:
    if os.geteuid() == 0:
        os.chown(target, 1234, 4321)
    before = target.stat()
    replace(target)
    after = target.stat()
    assert target.read_bytes() == NEW
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino


@needs_root
def test_group_is_kept_in_a_folder_that_hands_its_own_on(target: Path) -> None:
    os.chown(target.parent, 0, 4321)
    target.parent.chmod(0o2755)
    replace(target)
    assert target.stat().st_gid == 0


def set_attribute(path: Path, name: str, value: bytes) -> None:
    try:
        os.setxattr(path, name, value)
    except OSError as error:
        pytest.skip(f"this file system has no {name}: {error}")


def acl(*named: tuple[int, int], group: int = 4) -> bytes:
    """A POSIX ACL of version 2: the owner reads and writes, the users in ``named`` have the permissions given."""
    nobody = 0xFFFFFFFF
    entries = [(1, 6, nobody), *((2, rights, user) for user, rights in named), (4, group, nobody)]
    return struct.pack("<I", 2) + b"".join(
        struct.pack("<HHI", *entry) for entry in [*entries, (0x10, 4, nobody), (0x20, 0, nobody)]
    )


def test_extended_attributes_are_kept(target: Path) -> None:
    set_attribute(target, "user.note", b"mine")
    replace(target)
    assert os.getxattr(target, "user.note") == b"mine"


def test_acl_is_kept(target: Path) -> None:
    wanted = acl((1234, 4), group=0)
    set_attribute(target, _files.ACL, wanted)
    mode = target.stat().st_mode
    copy = replace(target, keep=5)
    assert os.getxattr(target, _files.ACL) == wanted
    assert target.stat().st_mode == mode
    assert copy is not None
    assert stat.S_IMODE(os.stat(copy).st_mode) == 0o600


def test_acl_that_cannot_be_kept_stops_the_change(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_attribute(target, _files.ACL, acl((1234, 4)))

    def full(*args: object) -> None:  # a fault that a test cannot make: no room for attributes only
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "setxattr", full)
    with pytest.raises(HotfixError, match="No space left on device"):
        replace(target)
    assert target.read_bytes() == OLD


def test_default_acl_of_the_folder_lets_nobody_in(target: Path) -> None:
    set_attribute(target.parent, "system.posix_acl_default", acl((1234, 6)))
    replace(target, keep=5)
    assert _files.ACL not in os.listxattr(target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    (copy,) = copies(target.parent)
    assert stat.S_IMODE((target.parent / copy).stat().st_mode) == 0o600  # the mask of its ACL: nobody else


def test_new_file_gets_the_mode_asked_for(tmp_path: Path) -> None:
    replace(tmp_path / "new", None, mode=0o600)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600
    _files.write_atomic(str(tmp_path / "other"), b"x", mode=0o604)
    assert stat.S_IMODE((tmp_path / "other").stat().st_mode) == 0o604


# --- links and what is no file ---------------------------------------------------------------------------------------


def test_chain_of_links_stays_and_its_end_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "app").mkdir()
    end, link = tmp_path / "shared" / "env", tmp_path / "app" / ".env"
    end.write_bytes(OLD)
    (tmp_path / "app" / "next").symlink_to("../shared/env")
    link.symlink_to("next")
    copy = replace(link, keep=5)
    assert end.read_bytes() == NEW
    assert (os.readlink(link), os.readlink(tmp_path / "app" / "next")) == ("next", "../shared/env")
    assert names(tmp_path / "app") == [".env", "next"]
    assert copy == str(tmp_path / "shared" / copies(tmp_path / "shared")[0])


def test_dangling_link_is_refused(tmp_path: Path) -> None:
    link = tmp_path / ".env"
    link.symlink_to("missing")
    assert f"this link points to {tmp_path}/missing, which does not exist. Make that file" in refused(link, None)
    with pytest.raises(HotfixError, match="this link points to"):
        _files.read_bytes(str(link))


def test_link_to_itself_is_refused(tmp_path: Path) -> None:
    link = tmp_path / ".env"
    link.symlink_to("other")
    (tmp_path / "other").symlink_to(".env")
    assert "Too many levels of symbolic links. This link leads back to itself" in refused(link, None)
    with pytest.raises(HotfixError, match="leads back to itself"):
        _files.read_bytes(str(link))


def test_hard_link_is_refused_until_it_is_cut_loose(target: Path) -> None:
    other = target.parent / "a copy"
    os.link(target, other)
    sentence = refused(target)
    assert "2 names (hard links)" in sentence
    remedy = sentence.partition("Cut it loose with ")[2].partition(", or ")[0]
    subprocess.run(["sh", "-c", remedy], check=True)
    replace(target)
    assert (target.read_bytes(), other.read_bytes()) == (NEW, OLD)


def test_hard_link_gives_way_to_a_restore(target: Path) -> None:
    other = target.parent / "copy"
    os.link(target, other)
    _files.write_atomic(str(target), NEW)
    assert (target.read_bytes(), other.read_bytes()) == (NEW, OLD)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("pipe", "this is no file but a named pipe"),
        ("socket", "this is no file but a socket"),
        ("device", "this is no file but a device"),
        ("folder", "Is a directory. Name a file, not a directory"),
    ],
)
def test_what_is_no_file_is_refused(public: Path, kind: str, reason: str) -> None:
    path = public / "x"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/null")
    elif kind == "folder":
        path.mkdir()
    else:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    if kind == "device" and os.geteuid() != 0:
        pytest.skip("a user may not write beside a device anyway")
    assert (reason if kind != "socket" else "No such device") in edit(path)["error"]  # and does not wait for a writer
    with pytest.raises(HotfixError, match=reason):
        replace(path, check=True)
    with pytest.raises(HotfixError, match=reason):
        _files.write_atomic(str(path), b"x")
    assert stat.S_IFMT(path.stat().st_mode) != stat.S_IFREG


@pytest.mark.parametrize("letter", ["i", "a"])
@pytest.mark.parametrize("of", ["file", "folder"])
def test_attribute_that_forbids_it_is_named(target: Path, letter: str, of: str) -> None:
    item = target if of == "file" else target.parent
    if shutil.which("chattr") is None or subprocess.run(["chattr", f"+{letter}", item], check=False).returncode != 0:
        pytest.skip("chattr does nothing here")
    try:
        sentence = refused(target)
    finally:
        subprocess.run(["chattr", f"-{letter}", item], check=True)
    assert f"has the attribute {letter} (lsattr). Take it off with chattr -{letter} {item}" in sentence
    replace(target)


@pytest.mark.parametrize("make", ["missing", "folder"])
def test_unreadable_file_is_named_with_reason_and_remedy(tmp_path: Path, make: str) -> None:
    path = tmp_path / make
    if make == "folder":
        path.mkdir()
    with pytest.raises(HotfixError, match="No such file" if make == "missing" else "Is a directory") as caught:
        _files.read_bytes(str(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert caught.value.remedy


# --- disks that are full, read-only, mounted -------------------------------------------------------------------------


def test_full_disk(mount: Callable[..., Path]) -> None:
    folder = mount("size=64k")
    path = folder / ".env"
    path.write_bytes(OLD * 2500)
    for keep in (None, 5):  # no room for the new file, no room for the copy
        with pytest.raises(HotfixError, match=r"No space left on device\. Free some space on that file system\.$"):
            replace(path, OLD * 2500, NEW * 2500, keep=keep)
        assert path.read_bytes() == OLD * 2500
        assert names(folder) == [".env"]


def test_disk_that_fills_up_between_the_copy_and_the_file(mount: Callable[..., Path]) -> None:
    folder = mount("size=64k")
    path = folder / ".env"
    path.write_bytes(OLD)
    older = folder / ".env.20250101T000000.000000Z.bak"
    older.write_bytes(b"older")
    with pytest.raises(HotfixError, match="Free some space"):
        replace(path, OLD, b"x" * 70_000, keep=1)
    assert names(folder) == [".env", older.name]  # neither a useless copy nor one the less


def test_file_system_without_inodes(mount: Callable[..., Path]) -> None:
    folder = mount("size=1m,nr_inodes=8")
    path = folder / ".env"
    path.write_bytes(OLD)
    with pytest.raises(OSError, match="No space left"):
        for number in range(20):
            (folder / str(number)).touch()
    around = names(folder)
    with pytest.raises(HotfixError, match=r"No space left on device\. .* no more files \(df -i\); remove some there"):
        replace(path)
    assert path.read_bytes() == OLD
    (folder / "0").unlink()
    replace(path)
    assert names(folder) == [name for name in around if name != "0"]


@needs_root
def test_quota(mount: Callable[..., Path]) -> None:
    folder = mount("size=1m,usrquota,usrquota_block_hardlimit=64k,mode=777")
    path = folder / ".env"
    path.write_bytes(OLD * 2500)
    os.chown(path, NOBODY, NOBODY)
    result = edit(path, user=NOBODY)
    assert "Disk quota exceeded. Free some space within the quota." in result["error"]
    assert path.read_bytes() == OLD * 2500
    assert names(folder) == [".env"]


def test_read_only_file_system(mount: Callable[..., Path]) -> None:
    folder = mount("size=64k")
    path = folder / ".env"
    path.write_bytes(OLD)
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    assert "Read-only file system. The file system is mounted read-only" in refused(path)
    assert edit(path, change=["", ""]) == {"error": None, "steps": pytest.approx(10, abs=10)}  # reading is no trouble


def test_quota_where_none_can_be_set(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:  # a fake: not every kernel has quotas
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(HotfixError, match=r"Disk quota exceeded\. Free some space within the quota"):
        replace(target)
    assert target.read_bytes() == OLD
    assert names(target.parent) == [".env"]


def test_file_that_is_a_mount_point(target: Path) -> None:
    source = target.parent / "source"
    source.write_bytes(OLD)
    done = subprocess.run(["mount", "--bind", source, target], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"nothing can be mounted here: {done.stderr.splitlines()[0]}")
    try:
        with pytest.raises(HotfixError, match=r"busy\. It is a mount point of its own"):
            replace(target, keep=5)
    finally:
        subprocess.run(["umount", target], check=True)
    assert names(target.parent) == [".env", "source"]


# --- a user without privileges ---------------------------------------------------------------------------------------


def owned(folder: Path, *, folder_mode: int = 0o755, mode: int = 0o644, owner: int = NOBODY) -> Path:
    path = folder / ".env"
    path.write_bytes(OLD)
    os.chown(path, owner, owner)
    path.chmod(mode)
    folder.chmod(folder_mode)
    return path


@needs_root
def test_user_changes_their_own_file(public: Path) -> None:
    path = owned(public, folder_mode=0o777)
    assert edit(path, user=NOBODY, keep=5)["error"] is None
    assert (path.read_bytes(), path.stat().st_uid) == (NEW, NOBODY)


@needs_root
@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    ("properties", "reason"),
    [
        (
            {},
            "cannot write this file: Permission denied. It is replaced by a new file, so its folder has to be writable",
        ),
        ({"owner": 0}, "cannot write this file: Permission denied. Run as a user that may read and write it"),
        (
            {"owner": 0, "folder_mode": 0o777},
            "cannot write this file: Operation not permitted. Run as the owner of the file or as root",
        ),
        ({"owner": 0, "mode": 0o600}, "cannot read this file: Permission denied. Run as a user that may read"),
        ({"folder_mode": 0o733}, "cannot lock this file: Permission denied. Run as a user that may read"),
    ],
)
def test_user_is_refused(public: Path, properties: dict[str, int], reason: str, check: bool) -> None:
    path = owned(public, **properties)
    result = edit(path, user=NOBODY, check=check)
    if check and "lock" in reason:
        assert result["error"] is None
    else:
        assert reason in result["error"]
    assert path.read_bytes() == OLD
    assert names(public) == [".env"]


@needs_root
def test_user_may_read_where_they_may_not_write(public: Path) -> None:
    path = owned(public, owner=0)
    assert edit(path, user=NOBODY, change=["old", "old"])["error"] is None


# --- copies ----------------------------------------------------------------------------------------------------------


def test_copies_are_private_and_pruned(target: Path) -> None:
    made = [replace(target, OLD, OLD, keep=3) for _round in range(5)]
    kept = [str(target.parent / name) for name in copies(target.parent)]
    assert kept == made[-3:]
    assert all(stat.S_IMODE(os.stat(copy).st_mode) == 0o600 for copy in kept)
    assert Path(kept[-1]).read_bytes() == OLD


def test_only_own_copies_are_pruned(target: Path) -> None:
    others = [
        ".env.bak",
        ".env.Z.bak",
        ".env.20250101.Z.bak",
        ".env.20250101T000000.000000Z.bak.gz",
        ".env.production.20250101T000000.000000Z.bak",  # a copy of another file
        "old.env.20250101T000000.000000Z.bak",
    ]
    for name in others:
        (target.parent / name).touch()
    ours = target.parent / ".env.20250101T000000.000000Z.bak"
    ours.touch()
    replace(target, keep=1)
    assert set(others) < set(names(target.parent))
    assert not ours.exists()


def test_new_copy_stays_though_the_clock_was_set_back(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("20990101T000000.000000Z", "20990101T000001.000000Z"):
        (target.parent / f".env.{name}.bak").touch()
    monkeypatch.setattr(_files.time, "time", lambda: 1_760_753_700.0)
    copy = replace(target, keep=2)
    assert copy == str(target.parent / ".env.20251018T021500.000000Z.bak")
    assert copies(target.parent) == [os.path.basename(copy), ".env.20990101T000001.000000Z.bak"]


def test_number_of_copies_that_is_none(target: Path) -> None:
    with pytest.raises(HotfixError, match=r"backup_keep is 0\. Give 1 or more"):
        replace(target, keep=0)
    assert target.read_bytes() == OLD


# --- killed ----------------------------------------------------------------------------------------------------------


def test_killed_at_every_step(target: Path, figure: Callable[[str], None]) -> None:
    folder = target.parent
    has_attributes = True
    with contextlib.suppress(OSError):
        os.setxattr(target, "user.note", b"mine")
    has_attributes = "user.note" in os.listxattr(target)
    steps = edit(target, keep=5)["steps"]
    olds = 0
    for step in range(1, steps + 1):
        for name in copies(folder):
            (folder / name).unlink()
        target.write_bytes(OLD)
        assert edit(target, keep=5, kill=step) == -9
        left = target.read_bytes()
        assert left in (OLD, NEW)
        olds += left == OLD
        assert stat.S_IMODE(target.stat().st_mode) == 0o640
        for name in names(folder):
            path = folder / name
            # The new file has the old one's mode at the end; until then, and the copy always, it is the owner's alone.
            allowed = (0o600,) if ".bak" in name else (0o600, 0o640)
            assert stat.S_IMODE(path.stat().st_mode) in allowed, name
            assert not name.endswith(".bak") or path.read_bytes() == OLD, name
        assert edit(target, keep=5)["error"] is None
        assert target.read_bytes() == NEW
        assert names(folder) == [".env", *copies(folder)]
        assert not has_attributes or os.getxattr(target, "user.note") == b"mine"
    assert 0 < olds < steps
    figure(f"a run killed at each of its {steps} steps: {olds} times the old file, {steps - olds} the new, never half")


def test_leftovers_go_and_look_alikes_and_files_in_use_stay(target: Path) -> None:
    folder = target.parent
    alike = ["..env.backup.tmp", "..env.abcdefgh.tmp.old", "..env.prod.abcdefgh.tmp", ".env.abcdefgh.tmp"]
    left = ["..env.abcdefgh.tmp", "..env.20251018T021500.000000Z.bak.abcdefgh.tmp"]
    for name in [*alike, *left]:
        (folder / name).touch()
    with _files.temporary_beside(str(target)) as (_descriptor, temporary):
        with _files.Edit(str(target), check=True):
            assert set(left) < set(names(folder))
        with _files.Edit(str(target)):
            assert names(folder) == sorted([".env", os.path.basename(temporary), *alike])
    assert names(folder) == sorted([".env", *alike])


# --- two at once -----------------------------------------------------------------------------------------------------


def test_fifty_runs_at_once_lose_nothing(target: Path, figure: Callable[[str], None]) -> None:
    target.write_text("".join(f"V{number}=0\n" for number in range(50)) + "ALL=0\n")
    runs = [start(target, add=[f"V{number}", "ALL"]) for number in range(50)]
    errors = [json.loads(run.communicate(timeout=300)[0])["error"] for run in runs]
    assert errors == [None] * 50
    assert target.read_text() == "".join(f"V{number}=1\n" for number in range(50)) + "ALL=50\n"
    assert names(target.parent) == [".env"]
    figure("50 runs at once on one file: 100 of 100 changes kept")


def test_folder_that_the_run_makes_is_locked_too(tmp_path: Path) -> None:
    path = str(tmp_path / "a" / "b" / "state")
    with _files.Edit(path) as first:
        os.makedirs(os.path.dirname(path))
        first.replace(path, None, b"1")
        with pytest.raises(BlockingIOError):
            lock_of(os.path.dirname(path))
    lock_of(os.path.dirname(path))


def lock_of(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _files.lock(descriptor, 0)
    finally:
        os.close(descriptor)


def test_who_waits_too_long_is_told_and_a_killed_run_holds_nothing(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = start(target, wait=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    monkeypatch.setattr(_files, "LOCK_SECONDS", 0.0)
    with pytest.raises(HotfixError, match=r"another run has been changing files in this folder .* Run again once"):
        replace(target)
    assert replace(target, check=True) is None
    assert names(target.parent) == [".env"]
    other.kill()
    other.communicate()
    replace(target)
    assert target.read_bytes() == NEW


def test_waiting_run_goes_on_when_the_other_has_ended(target: Path) -> None:
    first = start(target, wait=True, change=["old", "new"])
    assert first.stdout is not None
    assert first.stdout.readline() == "held\n"
    second = start(target, change=["OTHER=1", "OTHER=2"])
    first.communicate("")
    assert json.loads(second.communicate(timeout=60)[0])["error"] is None
    assert target.read_bytes() == b"KEY=new\nOTHER=2\n"


def test_one_run_takes_no_lock_twice(tmp_path: Path) -> None:
    with _files.Edit(str(tmp_path / "a")) as run:
        (tmp_path / "link").symlink_to(".")
        run.hold(str(tmp_path / "b"), str(tmp_path / "link" / "c"))
        run.replace(str(tmp_path / "b"), None, b"x")


def by_editor(path: Path) -> None:
    (path.parent / "swap").write_bytes(b"theirs")
    (path.parent / "swap").rename(path)


SOMEBODY_ELSE: dict[str, Callable[[Path], object]] = {
    "writes into it": lambda path: path.write_bytes(b"theirs"),
    "puts a new file in its place": by_editor,
    "removes it": lambda path: path.unlink(),
    "makes it": lambda path: path.write_bytes(b"theirs"),
}


def test_link_that_somebody_turns_elsewhere_is_noticed(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link, elsewhere = target.parent / "link", target.parent / "elsewhere"
    link.symlink_to(".env")
    elsewhere.write_bytes(OLD)
    fsync = os.fsync

    def turn(descriptor: int) -> None:
        monkeypatch.setattr(os, "fsync", fsync)
        link.unlink()
        link.symlink_to("elsewhere")

    monkeypatch.setattr(os, "fsync", turn)
    with pytest.raises(HotfixError, match="somebody else changed this file meanwhile"):
        replace(link)
    assert target.read_bytes() == elsewhere.read_bytes() == OLD


@pytest.mark.parametrize("when", ["before the new file is written", "at the last moment"])
@pytest.mark.parametrize("what", SOMEBODY_ELSE)
def test_change_by_somebody_else_is_noticed_and_left(
    target: Path, monkeypatch: pytest.MonkeyPatch, what: str, when: str
) -> None:
    if what == "makes it":
        target.unlink()
    before = None if what == "makes it" else OLD
    fsync = os.fsync
    around: dict[str, bytes] = {}

    def change(*descriptor: int) -> None:
        monkeypatch.setattr(os, "fsync", fsync)
        SOMEBODY_ELSE[what](target)
        around.update({name: (target.parent / name).read_bytes() for name in names(target.parent) if "tmp" not in name})

    with _files.Edit(str(target)) as run:
        if when == "at the last moment":
            monkeypatch.setattr(os, "fsync", change)
        else:
            change()
        with pytest.raises(HotfixError, match=r"somebody else changed this file meanwhile\. It is left so; run again"):
            run.replace(str(target), before, NEW, keep=5)
    assert {name: (target.parent / name).read_bytes() for name in names(target.parent)} == around
