# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots of a project: the bytes of its files, its image and its git revision, named by their content.

A snapshot is a folder ``snapshots/<id>`` with ``manifest.json`` and one file for each content, named by its SHA-256. It
is built beside and renamed, so that it is there whole or not at all. An image is kept by a tag of its own, which
``docker image prune`` respects.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ansible_collections.composeops.hotfix.plugins.module_utils import _dotenv, _git, _journal
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Docker
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._files import (
    Edit,
    fsync_folder,
    problem,
    read_bytes,
    remove_leftovers,
    write_atomic,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._shown import file_diff, is_dotenv

REPOSITORY = "composeops-hotfix"
BESIDE = ".composeops-new"
CONTAINER = "container.json"


@dataclass(frozen=True)
class Kept:
    """One file of a snapshot.

    :ivar path: relative to the project, or absolute when it lies outside.
    :ivar link: where a symbolic link points to, or None; the content is then that of the file it points to.
    :ivar sha256: of the content; empty when there is none (absent, or a link to nothing).
    """

    path: str
    link: str | None = None
    sha256: str = ""
    mode: int = 0
    uid: int = 0
    gid: int = 0

    @property
    def absent(self) -> bool:
        """True when there was nothing, so that a restore removes the file."""
        return self.link is None and not self.sha256


@dataclass
class Snapshot:
    """A snapshot, with the contents of its files when it was just taken."""

    id: str
    files: list[Kept]
    image: str = ""
    revision: str = ""
    service: str = ""
    taken: str = ""
    contents: dict[str, bytes] = field(default_factory=dict, repr=False)
    image_name: str = ""


@dataclass
class Change:
    """What a restore does to one file; None where there is no file."""

    kept: Kept
    before: bytes | None
    after: bytes | None


def relative(project_src: str, name: str) -> str:
    """How a file is called in a snapshot: relative to the project if it lies in it, whatever way it was written."""
    full = os.path.normpath(os.path.join(project_src, name))
    inside = os.path.relpath(full, os.path.normpath(project_src))
    return full if inside == os.pardir or inside.startswith(os.pardir + os.sep) else inside


def look(project_src: str, name: str) -> tuple[Kept, bytes | None]:
    """A file as it is now, with its content.

    :raises HotfixError: when it is a directory, or cannot be read.
    """
    path = relative(project_src, name)
    full = os.path.join(project_src, path)
    link = None
    try:
        link = os.readlink(full) if os.path.islink(full) else None
        descriptor = os.open(full, os.O_RDONLY | os.O_NONBLOCK)  # a named pipe must not hold us up
    except (FileNotFoundError, NotADirectoryError):
        return Kept(path, link), None
    except OSError as error:
        raise problem(error, full, "read") from error
    try:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            raise HotfixError("this is not a file", path=full, remedy="Name files, neither directories nor devices")
        with open(descriptor, "rb", closefd=False) as stream:
            data = stream.read()
    finally:
        os.close(descriptor)
    digest = hashlib.sha256(data).hexdigest()
    return Kept(path, link, digest, stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid), data


def take(
    project_src: str, names: Iterable[str], image: str, revision: str, service: str, *, image_name: str = ""
) -> Snapshot:
    """The present state of a project, not yet stored. Its ID is a hash of files, image and revision.

    :param image: the ID of the image (not a name, which may move), or an empty string.
    :param image_name: the name under which Compose looks for it, for the record.
    """
    files, contents = [], {}
    for name in sorted({relative(project_src, name) for name in names}):
        kept, data = look(project_src, name)
        files.append(kept)
        if data is not None:
            contents[kept.sha256] = data
    told = json.dumps([[asdict(kept) for kept in files], image, revision], sort_keys=True)
    identity = hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return Snapshot(identity, files, image, revision, service, contents=contents, image_name=image_name)


class Store:
    """The snapshots of one project.

    :param folder: the project's state folder, see :func:`_journal.project_folder`.
    """

    def __init__(self, folder: str) -> None:
        self.folder = os.path.join(folder, "snapshots")

    def path(self, identity: str) -> str:
        """The folder of a snapshot."""
        return os.path.join(self.folder, identity)

    def ids(self) -> list[str]:
        """The snapshots, oldest first."""
        names = os.listdir(self.folder) if os.path.isdir(self.folder) else []
        now = _journal.now()
        return sorted((name for name in names if not name.startswith(".")), key=lambda name: self._age(name, now))

    def _age(self, identity: str, now: str) -> tuple[bool, str]:
        with contextlib.suppress(HotfixError):
            taken = self.load(identity).taken
            # A time that lies ahead is from before the clock went back, and so older than what was taken since.
            return taken <= now, taken
        return False, ""  # a damaged one is the first to be pruned

    def has(self, identity: str) -> bool:
        """True when this snapshot is kept."""
        return os.path.isdir(self.path(identity))

    def load(self, identity: str) -> Snapshot:
        """Read a snapshot's manifest; the contents stay on the disk.

        :raises HotfixError: when there is none of this name (naming those there are), or it is damaged.
        """
        if not re.fullmatch(r"[0-9a-f]+", identity) or not self.has(identity):
            names = os.listdir(self.folder) if self.exists() else []
            known = sorted(name for name in names if not name.startswith("."))
            there = f"there is {', '.join(known)}" if known else "there is none at all"
            raise HotfixError(f"there is no snapshot {identity}; {there}", path=self.folder, remedy="Check name")
        path = os.path.join(self.path(identity), "manifest.json")
        try:
            data = json.loads(read_bytes(path))
            files = [Kept(**kept) for kept in data.pop("files")]
            return Snapshot(files=files, **data)
        except (ValueError, KeyError, TypeError) as error:
            raise HotfixError("this manifest is damaged", path=path, remedy="Restore another snapshot") from error

    def exists(self) -> bool:
        """True when the project has ever had a snapshot."""
        return os.path.isdir(self.folder)

    def content(self, identity: str, kept: Kept) -> bytes | None:
        """The content of a file in a snapshot, proven against its hash; None when there is none."""
        if not kept.sha256:
            return None
        path = os.path.join(self.path(identity), kept.sha256)
        data = read_bytes(path)
        if hashlib.sha256(data).hexdigest() != kept.sha256:
            raise HotfixError("this copy is damaged", path=path, remedy="Restore another snapshot")
        return data

    def put(self, snapshot: Snapshot) -> None:
        """Store a snapshot: built in a temporary folder, written through to the disk, renamed."""
        _journal.make_folder(self.folder)
        snapshot.taken = _journal.now()
        manifest = {name: value for name, value in asdict(snapshot).items() if name != "contents"}
        building = tempfile.mkdtemp(prefix=f".new-{snapshot.id}-", dir=self.folder)
        try:
            for digest, data in snapshot.contents.items():
                write_atomic(os.path.join(building, digest), data, mode=0o600)
            content = json.dumps(manifest, indent=1).encode() + b"\n"
            write_atomic(os.path.join(building, "manifest.json"), content, mode=0o600)
            os.rename(building, self.path(snapshot.id))
            fsync_folder(self.folder)
        except OSError as error:
            raise problem(error, self.path(snapshot.id), "write") from error
        finally:
            shutil.rmtree(building, ignore_errors=True)

    def put_container(self, identity: str, spec: Mapping[str, Any] | None) -> None:
        """Keep beside a snapshot what the container was made with (:mod:`_container_spec`), or that its files say it.

        It is no part of the snapshot's ID, since the same files may have had containers that were made otherwise.
        """
        path = os.path.join(self.path(identity), CONTAINER)
        if spec is not None:
            write_atomic(path, json.dumps(spec).encode() + b"\n", mode=0o600)
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    def container(self, identity: str) -> dict[str, Any] | None:
        """What :meth:`put_container` has kept beside a snapshot; None when that is nothing.

        :raises HotfixError: when it is damaged.
        """
        path = os.path.join(self.path(identity), CONTAINER)
        if not os.path.exists(path):
            return None
        try:
            return dict(json.loads(read_bytes(path)))
        except ValueError as error:
            raise HotfixError("this description of a container is damaged", path=path) from error

    def set_aside(self, keep: int, protected: Iterable[str]) -> list[str]:
        """Take all but the newest ``keep`` snapshots and the protected ones out of the store, each in one step.

        :returns: the IDs that went.
        """
        names = self.ids()
        doomed = [name for name in names[: max(len(names) - keep, 0)] if name not in set(protected)]
        for name in doomed:
            os.rename(self.path(name), os.path.join(self.folder, f".old-{name}"))
        return doomed

    def leftovers(self) -> dict[str, str]:
        """What was set aside, now or by a run that was killed, and what such a run had begun: folder name to ID."""
        names = os.listdir(self.folder) if self.exists() else []
        return {name: name.split("-")[1] for name in names if re.match(r"\.(old|new)-", name)}

    def sweep(self, leftover: str) -> None:
        """Remove a leftover from the disk."""
        shutil.rmtree(os.path.join(self.folder, leftover), ignore_errors=True)


# --- images ----------------------------------------------------------------------------------------------------------


def image_repository(folder: str) -> str:
    """The repository under which a project's images are kept; Docker allows lower case only."""
    name = re.sub(r"[^a-z0-9]+", "-", os.path.basename(folder).lower()).strip("-") or "project"
    return f"{REPOSITORY}/{name}"


def image_id(docker: Docker, reference: str) -> str:
    """The ID of an image.

    :raises HotfixError: when there is no such image.
    """
    found = docker.run("image", "inspect", "--format", "{{.Id}}", "--", reference, check=False)
    if found.returncode != 0:
        raise HotfixError(f"there is no image {reference} on this host", remedy="Check image, or leave it out")
    return found.stdout.strip()


def image_ids(docker: Docker) -> set[str]:
    """The images on this host, under whatever name or none."""
    return set(docker.run("image", "ls", "--all", "--quiet", "--no-trunc").stdout.split())


def tag_image(docker: Docker, image: str, tag: str) -> None:
    """Give an image a tag, so that it is not pruned away."""
    docker.run("image", "tag", image, tag)


def untag_image(docker: Docker, tag: str) -> None:
    """Let an image go. One that a container still uses, and that has no other name, stays."""
    docker.run("image", "rm", tag, check=False)


# --- restore ---------------------------------------------------------------------------------------------------------


def plan_restore(
    project_src: str,
    store: Store,
    snapshot: Snapshot,
    exclude: Iterable[str],
    exclude_variables: Iterable[str],
    *,
    dialect: str,
) -> tuple[list[Change], list[str]]:
    """What has to be done to the project's files to make them the snapshot's; files that are so already are left out.

    With it come the names of the variables whose present values differ from the snapshot's, and stay.

    :param exclude: files that keep their present state.
    :param exclude_variables: variables of environment files that keep their present values.
    :param dialect: in which these files are read and written; one of ``_dotenv.DIALECTS``.
    :raises HotfixError: with nothing changed: damaged copy, file that is a directory, variable that cannot be kept.
    """
    skipped = {relative(project_src, name) for name in exclude}
    variables = list(exclude_variables)
    changes, staying = [], []
    for kept in snapshot.files:
        if kept.path in skipped:
            continue
        present, before = look(project_src, kept.path)
        after = store.content(snapshot.id, kept)
        if after is not None and variables and is_dotenv(kept.path):
            after, names = keep_variables(os.path.join(project_src, kept.path), before, after, variables, dialect)
            staying += names
        same_kind = (present.link, present.absent) == (kept.link, kept.absent)
        if before != after or not same_kind or (after is not None and _properties(present) != _properties(kept)):
            changes.append(Change(kept, before, after))
    return changes, staying


def _properties(kept: Kept) -> tuple[int, ...]:
    """What is restored beside the content; only root can give files away."""
    return (kept.mode, kept.uid, kept.gid) if os.geteuid() == 0 else (kept.mode,)


def keep_variables(
    path: str, present: bytes | None, restored: bytes, names: Iterable[str], dialect: str
) -> tuple[bytes, list[str]]:
    """A restored environment file in which these variables have their present values, or are absent as they are now.

    With it come the names of those whose values differ.
    """
    if present is None:
        raise HotfixError(
            f"there is no file to keep the present values of {', '.join(names)} from",
            path=path,
            remedy="Restore it without exclude_variables",
        )
    now, document = _dotenv.parse(present, path, dialect), _dotenv.parse(restored, path, dialect)
    wanted = {name: now.get(name) for name in names}
    differing = {name: value for name, value in wanted.items() if value != document.get(name)}
    document = document.set({name: value for name, value in differing.items() if value is not None})
    gone = [name for name, value in differing.items() if value is None]
    return (document.remove(gone) if gone else document).data, list(differing)


def differing(project_src: str, snapshot: Snapshot) -> list[str]:
    """The files of a snapshot that are not now what they were then; one that cannot be read is not either."""
    names = []
    for kept in snapshot.files:
        try:
            same = look(project_src, kept.path)[0] == kept
        except HotfixError:
            same = False
        if not same:
            names.append(kept.path)
    return names


def unbuilt(then: Snapshot, now: Snapshot) -> bool:
    """Whether files of an image differ, and the image does not: a run has changed them and was killed before its build.

    Environment and Compose files are no part of that; a container can be made anew from them alone.
    """
    if now.image != then.image:
        return False
    was = {kept.path: kept for kept in then.files}
    changed = [kept.path for kept in now.files if kept != was.get(kept.path, Kept(kept.path))]
    return now.revision != then.revision or any(
        not (is_dotenv(name) or name.endswith((".yml", ".yaml"))) for name in changed
    )


def restore(project_src: str, changes: Iterable[Change]) -> None:
    """Carry a restore out, each file atomically. After a kill it can be repeated, as a new plan finds what is left."""
    for change in changes:
        full = os.path.join(project_src, change.kept.path)
        remove_leftovers(full)
        try:
            _restore_file(full, change.kept, change.after)
        except OSError as error:
            raise problem(error, full, "restore") from error


def _restore_file(full: str, kept: Kept, content: bytes | None) -> None:
    if kept.absent:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(full)
        return
    os.makedirs(os.path.dirname(full), exist_ok=True)
    linked = os.readlink(full) if os.path.islink(full) else None
    if kept.link is not None and linked != kept.link:
        _replace_by(full, lambda beside: os.symlink(kept.link or "", beside))
    if content is None:
        return
    if kept.link is None and linked is not None:
        _replace_by(full, lambda beside: _write_as(beside, content, kept))
    else:
        _write_as(full, content, kept)


def _replace_by(full: str, make: Callable[[str], None]) -> None:
    """Put something else in a file's place in one step: a link for a file, or a file for a link."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(full + BESIDE)
    make(full + BESIDE)
    os.replace(full + BESIDE, full)


def _write_as(path: str, content: bytes, kept: Kept) -> None:
    """Write content, owner and permissions; a secret is never in a file that is more open than the old one was."""
    if not os.path.exists(path) or read_bytes(path) != content:
        if os.path.exists(path):
            os.chmod(path, stat.S_IMODE(os.stat(path).st_mode) & kept.mode)
        write_atomic(path, content, mode=kept.mode)
    info = os.stat(path)
    if os.geteuid() == 0 and (info.st_uid, info.st_gid) != (kept.uid, kept.gid):
        os.chown(path, kept.uid, kept.gid)
    if stat.S_IMODE(os.stat(path).st_mode) != kept.mode:
        os.chmod(path, kept.mode)


def restore_diff(changes: Iterable[Change]) -> list[dict[str, str]]:
    """The diff of a restore; the values of environment files as fingerprints."""
    return [file_diff(change.kept.path, change.before, change.after) for change in changes]


# --- the verbs -------------------------------------------------------------------------------------------------------


@dataclass
class Result:
    """What a verb did, or would do."""

    changed: bool
    transaction: str
    snapshot: Snapshot
    changed_files: list[str] = field(default_factory=list)
    diff: list[dict[str, str]] = field(default_factory=list)
    kept_variables: list[str] = field(default_factory=list)
    closed: str = ""


class Project:
    """A project with its snapshots, journal and transaction.

    :param check: only find out.
    :param docker: reaches the engine when there is an image to keep, else it is not used.
    :param spec: what the container was made with, where that is to be kept as well.
    """

    def __init__(
        self,
        project_src: str,
        folder: str,
        docker: Docker | None,
        *,
        keep: int,
        check: bool,
        spec: Mapping[str, Any] | None = None,
    ) -> None:
        self.project_src = project_src
        self.folder = folder
        self.docker = docker
        self.keep = keep
        self.check = check
        self.spec = spec
        self.store = Store(folder)

    def tag(self, snapshot: Snapshot) -> str:
        """The tag that keeps a snapshot's image, or an empty string."""
        return f"{image_repository(self.folder)}:{snapshot.id}" if snapshot.image else ""

    def present(self, take_now: Callable[[], Snapshot], deployed_at: str = "") -> Result:
        """Keep a state to return to and open a transaction, unless a run that was killed left one open.

        :param deployed_at: when what runs well now was made. By somebody who came after the runs of the open
            transaction, it is what to return to, and their beginning is not any more.
        """
        opened = _journal.open_transaction(self.folder)
        if opened and deployed_at and _journal.deployed_since(self.folder, deployed_at):
            now = take_now()
            if not unbuilt(self.store.load(opened), now):
                result = self._keep(now, "present", "opened", closed=opened)
                result.closed = opened
                return result
        if opened:
            kept = self.store.load(opened)
            staged = differing(self.project_src, kept)
            self._note("present", kept, "continued")
            if staged:
                self._note("staged", kept, "", staged)
            return Result(False, "continued", kept, staged)
        return self._keep(take_now(), "present", "opened")

    def kept(self, take_now: Callable[[], Snapshot]) -> Result:
        """Keep the present state, whatever the transaction is."""
        return self._keep(take_now(), "kept", "continued" if _journal.open_transaction(self.folder) else "none")

    def found(self, take_now: Callable[[], Snapshot]) -> Result:
        """As :meth:`kept`, for what another run has left."""
        return self._keep(take_now(), "found", "continued" if _journal.open_transaction(self.folder) else "none")

    def committed(self, take_now: Callable[[], Snapshot]) -> Result:
        """Keep the present state as the good one and close the transaction."""
        return self._keep(take_now(), "committed", "committed")

    def restored(
        self, name: str, exclude: Iterable[str], exclude_variables: Iterable[str], dialect: str, scratch: str
    ) -> Result:
        """Write the files of a snapshot back, and take the branch back to its commit; the transaction stays open.

        :param scratch: an existing folder (0700) for temporary files.
        """
        opened = _journal.open_transaction(self.folder)
        if not (name or opened):
            raise HotfixError(
                "no transaction is open, so there is no snapshot to return to by itself",
                path=self.folder,
                remedy="Give the name of a snapshot",
            )
        snapshot = self.store.load(name or opened)
        files = [os.path.join(self.project_src, kept.path) for kept in snapshot.files]
        with Edit(*files, check=self.check):
            changes, staying = plan_restore(
                self.project_src, self.store, snapshot, exclude, exclude_variables, dialect=dialect
            )
            names = [change.kept.path for change in changes]
            if changes and not self.check:
                self._note("restored", snapshot, "started", names)
                restore(self.project_src, changes)
        moved = _git.go_back(self.project_src, snapshot.revision, scratch, check=self.check)
        self._note("restored", snapshot, "changed" if changes or moved else "unchanged", names)
        transaction = "restored" if opened else "none"
        return Result(bool(changes) or moved, transaction, snapshot, names, restore_diff(changes), staying)

    def _keep(self, snapshot: Snapshot, action: str, transaction: str, *, closed: str = "") -> Result:
        opened = "" if closed else _journal.open_transaction(self.folder)
        known = self.store.has(snapshot.id)
        diff = [] if known else [_summary(snapshot)]
        if known:
            snapshot = self.store.load(snapshot.id)
        if not self.check:
            if closed:
                _journal.append(self.folder, "closed", id=closed, result="somebody has deployed since")
            if self.docker is not None and snapshot.image:
                tag_image(self.docker, snapshot.image, self.tag(snapshot))
            if not known:
                self.store.put(snapshot)
            # That of the transaction that is open stays as it was when that was opened.
            if snapshot.id != opened:
                self.store.put_container(snapshot.id, self.spec)
            if action == "present":
                _journal.mark(self.folder, _journal.OPEN, snapshot.id)
            elif action == "committed":
                _journal.mark(self.folder, _journal.COMMITTED, snapshot.id)
                _journal.close_transaction(self.folder)
            # What a run has begun with is what `rollback` returns to next, however old it is.
            self._prune(opened)
        self._note(action, snapshot, "unchanged" if known else "changed")
        return Result(not known, transaction, snapshot, diff=diff)

    def _prune(self, begun_with: str = "") -> None:
        marked = [_journal.open_transaction(self.folder), _journal.last_committed(self.folder)]
        protected = [begun_with, *marked, _journal.last_closed(self.folder)]
        for name in self.store.set_aside(self.keep, protected):
            _journal.append(self.folder, "pruned", id=name, result="changed")
        for leftover, name in self.store.leftovers().items():
            if self.docker is not None and not self.store.has(name):
                untag_image(self.docker, f"{image_repository(self.folder)}:{name}")
            self.store.sweep(leftover)

    def _note(self, action: str, snapshot: Snapshot, result: str, files: Iterable[str] = ()) -> None:
        if not self.check:
            _journal.append(self.folder, action, id=snapshot.id, files=files, result=result)


def _summary(snapshot: Snapshot) -> dict[str, str]:
    """What a new snapshot holds, for ``--diff``."""
    lines = [f"{'absent' if kept.absent else kept.sha256[:12] or 'link'}  {kept.path}" for kept in snapshot.files]
    lines += [f"image {snapshot.image}"] if snapshot.image else []
    lines += [f"revision {snapshot.revision}"] if snapshot.revision else []
    after = "".join(f"{line}\n" for line in lines)
    return {"before_header": "no snapshot", "after_header": f"snapshot {snapshot.id}", "before": "", "after": after}


def described(snapshot: Snapshot) -> list[Mapping[str, str]]:
    """The files of a snapshot as a module returns them."""
    return [
        {
            "name": kept.path,
            "state": "absent" if kept.absent else "link" if kept.link else "file",
            "sha256": kept.sha256,
        }
        for kept in snapshot.files
    ]
