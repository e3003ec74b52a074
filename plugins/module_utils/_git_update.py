# SPDX-License-Identifier: GPL-3.0-or-later
"""``git pull`` done safely: fast-forward only, server-side edits merged beforehand, each file old or new at any time.

How nothing can get lost. What the work tree holds (edits included) is written as a git tree, merged with upstream in a
private index, and only when that is clean the plan is stored in ``<git dir>/composeops-update`` and carried out: each
file goes from its old to its merged content by an atomic rename, then the branch moves, then the index. The edits are
in the work tree all the time. A run that was killed leaves the plan; the next run finds it and finishes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Optional

from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._files import (
    Edit,
    problem,
    read_bytes,
    write_atomic,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._git import (
    ANY_CODE,
    Git,
    Request,
    fetch,
    find_upstream,
    find_work_tree,
    has_commit,
    is_ancestor,
    joined,
    own_repository,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._shown import file_diff, printable

PENDING = "composeops-update"
REGULAR = ("100644", "100755")
LINK = "120000"
SUBMODULE = "160000"
NULL_MODE = "000000"
BESIDE = ".composeops-new"  # what takes the place of a symbolic link, or becomes one
IN_PROGRESS = ("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "rebase-merge", "rebase-apply")


@dataclass(frozen=True)
class Entry:
    """One file in a tree: git's mode (``100644``) and the name of its blob."""

    mode: str
    blob: str


# What a path is before and after; None where it does not exist. (typing.Optional: evaluated at run time on Python 3.9)
Change = tuple[Optional[Entry], Optional[Entry]]


@dataclass
class Plan:
    """Everything that is needed to carry an update out, or to finish it after the run was killed.

    :ivar base: the commit that the branch is on before; ``target`` the commit that it is moved to.
    :ivar edited: the tree of what lies in the work tree before; ``merged`` of what lies there afterwards.
    :ivar staged: the paths that were staged; ``flags`` those hidden by assume-unchanged and skip-worktree.
    """

    branch: str
    base: str
    target: str
    edited: str = ""
    merged: str = ""
    staged: list[str] = field(default_factory=list)
    flags: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class Outcome:
    """What an update did, or in check mode would do."""

    status: str
    before: str = ""
    after: str = ""
    commits: list[dict[str, str]] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    carried_over: list[str] = field(default_factory=list)
    submodules: list[str] = field(default_factory=list)
    resumed: bool = False
    diff: list[dict[str, str]] = field(default_factory=list)


# --- trees -----------------------------------------------------------------------------------------------------------


def compare(git: Git, before: str, after: str, env: Mapping[str, str]) -> dict[str, Change]:
    """The paths that differ between two commits or trees, renames as delete and add."""
    fields = git.run("diff-tree", "-r", "-z", "--raw", "--no-abbrev", "--no-renames", before, after, env=env).stdout
    parts = fields.split(b"\0")
    changes: dict[str, Change] = {}
    for head, name in zip(parts[::2], parts[1::2]):
        old_mode, new_mode, old, new = head.decode().lstrip(":").split(" ")[:4]
        changes[os.fsdecode(name)] = (
            None if old_mode == NULL_MODE else Entry(old_mode, old),
            None if new_mode == NULL_MODE else Entry(new_mode, new),
        )
    return changes


def observe(git: Git, paths: Iterable[str]) -> dict[str, Entry | None]:
    """What lies in the work tree at these paths now, as git would store it. A folder counts as no file."""
    seen: dict[str, Entry | None] = {}
    modes: dict[str, str] = {}
    for path in paths:
        seen[path] = None
        full = os.path.join(git.top, path)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            mode = os.lstat(full).st_mode
            if stat.S_ISLNK(mode):
                target = os.fsencode(os.readlink(full))
                blob = git.run("hash-object", "--stdin", stdin=target).stdout.decode().strip()
                seen[path] = Entry(LINK, blob)
            elif stat.S_ISREG(mode):
                modes[path] = REGULAR[1] if mode & stat.S_IXUSR else REGULAR[0]
            elif not stat.S_ISDIR(mode):
                seen[path] = Entry(oct(mode), "special")
    for start in range(0, len(modes), 200):
        batch = list(modes)[start : start + 200]
        for path, blob in zip(batch, git.text("hash-object", "--", *batch).splitlines()):
            seen[path] = Entry(modes[path], blob)
    return seen


def in_the_way(git: Git, changes: Mapping[str, Change], tracked: set[str]) -> tuple[dict[str, Entry], list[str]]:
    """Files that git does not track and that lie where upstream puts one, ignored ones included.

    :returns: those that equal what upstream brings, and the names of those that do not.
    """
    same: dict[str, Entry] = {}
    conflicts: list[str] = []
    removed = {path for path, (_old, new) in changes.items() if new is None}
    added = {path: new for path, (_old, new) in changes.items() if new and new.mode != SUBMODULE}
    untracked = observe(git, [path for path in added if path not in tracked])
    for path, new in added.items():
        blocked = next((parent for parent in _parents(path) if _blocks(git.top, parent)), None)
        if blocked is not None and blocked not in removed:
            conflicts.append(blocked)
        elif blocked is None:
            conflicts += [name for name in _files_below(git.top, path) if name not in removed]
            seen = untracked.get(path)
            if seen is not None and seen == new:
                same[path] = new
            elif seen is not None:
                conflicts.append(path)
    return same, conflicts


def _parents(path: str) -> Iterator[str]:
    parts = path.split("/")
    return ("/".join(parts[:count]) for count in range(1, len(parts)))


def _blocks(top: str, parent: str) -> bool:
    full = os.path.join(top, parent)
    return os.path.lexists(full) and (os.path.islink(full) or not os.path.isdir(full))


def _files_below(top: str, path: str) -> Iterator[str]:
    full = os.path.join(top, path)
    if os.path.islink(full):
        return
    for folder, folders, files in os.walk(full):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        yield from (os.path.relpath(os.path.join(folder, name), top) for name in (*files, *links))


def edited_tree(
    git: Git, base: str, changes: Mapping[str, Change], env: Mapping[str, str]
) -> tuple[str, dict[str, list[str]], list[str]]:
    """Write what the work tree holds as a tree, edits and staged files included, through a copy of the index.

    :param changes: what upstream changes; only there untracked files matter.
    :returns: the tree, the paths with the flags ``assume-unchanged`` and ``skip-worktree``, the conflicting names.
    """
    index = os.path.join(git.scratch, "index")
    with contextlib.suppress(FileNotFoundError):
        shutil.copyfile(os.path.join(git.git_dir, "index"), index)
    private = {**env, "GIT_INDEX_FILE": index}
    flags: dict[str, list[str]] = {"assume-unchanged": [], "skip-worktree": []}
    tracked: set[str] = set()
    for line in git.names("ls-files", "-v", "-z", env=private):
        tag, path = line[0], line[2:]
        tracked.add(path)
        if path in changes and tag.upper() == "S":
            flags["skip-worktree"].append(path)
        if path in changes and tag.islower():
            flags["assume-unchanged"].append(path)
    for flag, paths in flags.items():  # hidden edits count as well
        git.run("update-index", f"--no-{flag}", "-z", "--stdin", stdin=joined(paths), env=private)
    git.run("add", "--update", "--", ".", env=private)
    same, conflicts = in_the_way(git, changes, tracked)
    entries = dict(same)
    entries.update(submodules(git, base, env))
    _set_entries(git, entries, private)
    return git.text("write-tree", env=private), flags, conflicts


def submodules(git: Git, revision: str, env: Mapping[str, str]) -> dict[str, Entry]:
    """The submodules as the commit has them: what is checked out in them is not an edit of ours to carry."""
    found = {}
    for line in git.names("ls-tree", "-r", "-z", revision, env=env):
        head, _tab, path = line.partition("\t")
        mode, _kind, blob = head.split(" ")
        if mode == SUBMODULE:
            found[path] = Entry(mode, blob)
    return found


def _set_entries(git: Git, entries: Mapping[str, Entry], env: Mapping[str, str]) -> None:
    lines = (os.fsencode(f"{entry.mode} {entry.blob}\t{path}") + b"\0" for path, entry in entries.items())
    git.run("update-index", "-z", "--index-info", stdin=b"".join(lines), env=env)


def merge(git: Git, base: str, target: str, edited: str, env: Mapping[str, str]) -> tuple[str, list[str]]:
    """Three-way merge of upstream (``target``) and the edits, in a private index, touching no file of the work tree.

    A file that upstream renamed and that is edited here counts as a conflict: the safe answer.

    :returns: the merged tree (meaningless when there are conflicts) and the names of the conflicting files.
    """
    index = os.path.join(git.scratch, "merge-index")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(index)
    private = {**env, "GIT_INDEX_FILE": index}
    git.run("read-tree", "-i", "-m", "--aggressive", base, target, edited, env=private)
    unmerged: dict[str, dict[str, Entry]] = {}
    for line in git.names("ls-files", "-u", "-z", env=private):
        head, _tab, path = line.partition("\t")
        mode, blob, stage = head.split(" ")
        unmerged.setdefault(path, {})[stage] = Entry(mode, blob)
    resolved: dict[str, Entry] = {}
    conflicts: list[str] = []
    for path, stages in unmerged.items():
        clean, entry = _merge_entry(git, stages, env)
        resolved[path] = entry or Entry(NULL_MODE, NULL_MODE.ljust(len(base), "0"))
        conflicts += [] if clean else [path]
    if conflicts:
        return "", conflicts
    _set_entries(git, resolved, private)
    merged = git.text("write-tree", env=private)
    # A file of one side and a folder of the other can't both be: git would silently drop one.
    lost = {path for side in (target, edited) for path, (_old, new) in compare(git, base, side, env).items() if new}
    missing = compare(git, merged, target, env), compare(git, merged, edited, env)
    return merged, [path for path in lost if any(path in side and side[path][0] is None for side in missing)]


def _merge_entry(git: Git, stages: Mapping[str, Entry], env: Mapping[str, str]) -> tuple[bool, Entry | None]:
    """Merge one path that ``git read-tree`` left open; returns whether that is possible, and what it becomes."""
    base, ours, theirs = (stages.get(stage) for stage in ("1", "2", "3"))
    if theirs in (base, ours):
        return True, ours
    if ours == base:
        return True, theirs
    if base is None or ours is None or theirs is None:
        return False, None
    if any(entry.mode not in REGULAR for entry in (base, ours, theirs)):
        return False, None
    entry = _merge_contents(git, base, ours, theirs, env)
    return entry is not None, entry


def _merge_contents(git: Git, base: Entry, ours: Entry, theirs: Entry, env: Mapping[str, str]) -> Entry | None:
    """Merge one file that both sides changed, or None when they conflict."""
    names = []
    for name, entry in (("ours", ours), ("base", base), ("theirs", theirs)):  # the order of git merge-file
        names.append(os.path.join(git.scratch, name))
        write_atomic(names[-1], git.run("cat-file", "blob", entry.blob, env=env).stdout, mode=0o600)
    done = git.run("merge-file", "-p", "-q", *names, accept=ANY_CODE, env=env)
    for name in names:
        os.unlink(name)
    if done.returncode != 0:
        return None
    blob = git.run("hash-object", "-w", "--stdin", stdin=done.stdout, env=env).stdout.decode().strip()
    return Entry(theirs.mode if ours.mode == base.mode else ours.mode, blob)


# --- the plan, carried out -------------------------------------------------------------------------------------------


def private_objects(git: Git, folder: str, *also: str) -> dict[str, str]:
    """Variables that make git write new objects below ``folder`` and read the repository's own as well."""
    objects = os.path.join(folder, "objects")
    os.makedirs(os.path.join(objects, "info"), mode=0o700, exist_ok=True)
    os.makedirs(os.path.join(objects, "pack"), mode=0o700, exist_ok=True)
    known = "".join(f"{path}\n" for path in (git.objects, *also))
    write_atomic(os.path.join(objects, "info", "alternates"), os.fsencode(known), mode=0o600)
    return {"GIT_OBJECT_DIRECTORY": objects}


def store_plan(folder: str, plan: Plan) -> None:
    """Make the plan last: its objects are on the disk before the file that says that there is a plan."""
    for parent, _folders, files in os.walk(folder):
        for name in files:
            descriptor = os.open(os.path.join(parent, name), os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
    write_atomic(os.path.join(folder, "plan.json"), json.dumps(asdict(plan)).encode(), mode=0o600)


def load_plan(folder: str) -> Plan | None:
    """The plan of a run that was killed, if there is one."""
    path = os.path.join(folder, "plan.json")
    if not os.path.exists(path):
        return None
    try:
        return Plan(**json.loads(read_bytes(path)))
    except (ValueError, TypeError) as error:
        raise HotfixError(
            "this record of an interrupted update is damaged",
            path=path,
            remedy="Compare the work tree with git status, then remove that folder",
        ) from error


def drop_plan(folder: str) -> None:
    """Forget the plan, the file that announces it first."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(folder, "plan.json"))
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)


def carry_out(git: Git, plan: Plan, folder: str, env: Mapping[str, str], *, resumed: bool = False) -> None:
    """Do what the plan says: files, branch, index. Each step can be repeated, so a killed run can be finished.

    :raises HotfixError: when a file cannot be written, or another run edits files there; the work tree is then as it
        was.
    """
    changes = compare(git, plan.edited, plan.merged, env)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(Edit(*(os.path.join(git.top, path) for path in _files(changes))))
        except HotfixError:
            if not resumed:
                drop_plan(folder)
            raise
        _carry_out(git, plan, folder, env, changes=changes, resumed=resumed)


def _carry_out(
    git: Git, plan: Plan, folder: str, env: Mapping[str, str], *, changes: Mapping[str, Change], resumed: bool
) -> None:
    tip = git.maybe("rev-parse", "--verify", "--quiet", f"refs/heads/{plan.branch}")
    checked_out = git.maybe("symbolic-ref", "--quiet", "--short", "HEAD")
    strange = [f"branch {plan.branch}"] if tip not in (plan.base, plan.target) or checked_out != plan.branch else []
    strange += [path for path, seen in observe(git, _files(changes)).items() if not _known(seen, changes[path])]
    if strange:
        raise _overtaken(folder, strange, resumed)
    for path in changes if resumed else ():
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(git.top, path + BESIDE))
    try:
        move_files(git, changes, env)
    except HotfixError:
        if not resumed:
            with contextlib.suppress(HotfixError):
                move_files(git, {path: (new, old) for path, (old, new) in changes.items()}, env)
                drop_plan(folder)
        raise
    if tip != plan.target:
        reason = "composeops.hotfix.git_update: Fast-forward"
        git.run("update-ref", "-m", reason, f"refs/heads/{plan.branch}", plan.target, plan.base)
    _move_index(git, plan, env)
    drop_plan(folder)


def _move_index(git: Git, plan: Plan, env: Mapping[str, str]) -> None:
    """Make the index upstream's, then stage again what was staged, with what the work tree holds now."""
    git.run("read-tree", "-i", "-m", plan.target)
    carried = compare(git, plan.target, plan.merged, env)
    removed = [path for path in plan.staged if path in carried and carried[path][1] is None]
    edited = [path for path in plan.staged if path not in removed]
    git.run("update-index", "--add", "--remove", "-z", "--stdin", stdin=joined(edited))
    git.run("update-index", "--force-remove", "-z", "--stdin", stdin=joined(removed))
    present = set(git.names("ls-files", "-z"))
    for flag, paths in plan.flags.items():
        kept = [path for path in paths if path in present]
        git.run("update-index", f"--{flag}", "-z", "--stdin", stdin=joined(kept))
    git.run("update-index", "-q", "--refresh", accept=(0, 1))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(printable(name) for name in names)


def _overtaken(folder: str, names: list[str], resumed: bool) -> HotfixError:
    if not resumed:
        drop_plan(folder)
        return HotfixError(
            f"somebody changed {_listed(names)} during the update; nothing was changed by it",
            path=os.path.dirname(folder),
            remedy="Run it again",
        )
    return HotfixError(
        f"an earlier update was interrupted and since then somebody changed {_listed(names)}",
        path=folder,
        remedy="Bring the work tree into order with git status and git diff, remove that folder and run this again",
    )


def _files(changes: Mapping[str, Change]) -> dict[str, Change]:
    return {path: change for path, change in changes.items() if not _is_submodule(change)}


def move_files(git: Git, changes: Mapping[str, Change], env: Mapping[str, str]) -> None:
    """Bring the files of the work tree to their new state, each atomically; what is there already is skipped.

    Submodules are left alone; a new one gets its empty folder, as with git.
    """
    modes_count = git.maybe("config", "--type=bool", "core.fileMode") != "false"
    files = _files(changes)
    seen = observe(git, files)
    for path, (_old, new) in files.items():
        if new is None and seen[path] is not None:
            _remove(git.top, path)
    for path, (old, new) in files.items():
        if new is not None:
            _place(git, path, new, seen[path], env, with_mode=modes_count or old is None)
            if old is None:
                _own_like_parent(os.path.join(git.top, path))
    for path, (_old, new) in changes.items():
        if new is not None and new.mode == SUBMODULE:
            _make_folder(git.top, path)


def _known(seen: Entry | None, change: Change) -> bool:
    """True for a file in its old or new state, or half-way (new content, old permissions)."""
    if seen is None:
        return None in change
    return seen.blob in {entry.blob for entry in change if entry}


def _place(git: Git, path: str, new: Entry, seen: Entry | None, env: Mapping[str, str], *, with_mode: bool) -> None:
    full = os.path.join(git.top, path)
    kind_changes = seen is not None and (seen.mode == LINK) != (new.mode == LINK)
    _make_folder(git.top, os.path.dirname(path))
    if seen is None or seen.blob != new.blob or kind_changes:
        _write(git, path, new, env)
    if new.mode in REGULAR and with_mode:
        try:
            mode = stat.S_IMODE(os.stat(full).st_mode)
            runs = bool(mode & stat.S_IXUSR)
            if runs != (new.mode == REGULAR[1]):
                os.chmod(full, mode & ~0o111 if runs else mode | (mode & 0o444) >> 2)
        except OSError as error:
            raise problem(error, full, "change the permissions of") from error


def _write(git: Git, path: str, new: Entry, env: Mapping[str, str]) -> None:
    full = os.path.join(git.top, path)
    beside = full + BESIDE
    try:
        if new.mode == LINK:
            target = git.run("cat-file", "blob", new.blob, env=env).stdout
            with contextlib.suppress(FileNotFoundError):
                os.unlink(beside)
            os.symlink(os.fsdecode(target), beside)
            os.replace(beside, full)
            return
        # With the filters of .gitattributes (line ends, large files), as git checkout would write it.
        content = git.run("cat-file", "--filters", f"--path={path}", new.blob, env=env).stdout
        umask = os.umask(0)
        os.umask(umask)
        replaces_link = os.path.islink(full)
        write_atomic(beside if replaces_link else full, content, mode=0o666 & ~umask)
        if replaces_link:
            os.replace(beside, full)
    except OSError as error:
        raise problem(error, full, "write") from error


def _remove(top: str, path: str) -> None:
    """Remove a file, and the folders that become empty, as git does."""
    full = os.path.join(top, path)
    try:
        os.unlink(full)
    except OSError as error:
        raise problem(error, full, "remove") from error
    for parent in reversed(list(_parents(path))):
        try:
            os.rmdir(os.path.join(top, parent))
        except OSError:
            return


def _make_folder(top: str, path: str) -> None:
    for parent in (*_parents(path), *([path] if path else [])):
        full = os.path.join(top, parent)
        if not os.path.isdir(full):
            try:
                os.mkdir(full)
            except OSError as error:
                raise problem(error, full, "create") from error
            _own_like_parent(full)


def _own_like_parent(path: str) -> None:
    """Root's new files belong to whom the folder belongs to, so that the tree's owner can go on working in it."""
    info = os.stat(os.path.dirname(path))
    if os.geteuid() == 0 and (info.st_uid, info.st_gid) != (0, 0):
        os.chown(path, info.st_uid, info.st_gid, follow_symlinks=False)


# --- the whole -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _alone(git_dir: str) -> Iterator[None]:
    """One update at a time; the lock goes with the process."""
    descriptor = os.open(git_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise HotfixError(
            "another update of this work tree is running", path=git_dir, remedy="Wait until it has ended"
        ) from error
    finally:
        os.close(descriptor)


def _refuse_unfinished(git: Git) -> None:
    """Stop before anything is touched when git itself is in the middle of something."""
    names = [name for name in IN_PROGRESS if os.path.lexists(os.path.join(git.git_dir, name))]
    if names or git.names("ls-files", "-u", "-z"):
        what = names[0] if names else "unmerged files"
        raise HotfixError(
            f"a merge, rebase or cherry-pick is unfinished ({what})",
            path=git.top,
            remedy="Finish or abort it, see git status",
        )
    lock = os.path.join(git.git_dir, "index.lock")
    if os.path.lexists(lock):
        raise HotfixError(
            "another git command is running here, or was killed",
            path=lock,
            remedy="Wait for it, or remove that file if none runs",
        )
    if git.maybe("config", "--type=bool", "core.sparseCheckout") == "true":
        raise HotfixError("this is a sparse checkout", path=git.top, remedy="Update it by hand with git pull")


def _make_plan(git: Git, plan: Plan, env: Mapping[str, str]) -> list[str]:
    """Complete a plan that knows branch, base and target: what is in the work tree, and what it becomes.

    :returns: the names of the files in conflict; the plan is of no use then.
    """
    changes = compare(git, plan.base, plan.target, env)
    conflicts: list[str] = []
    if not plan.edited:
        plan.edited, plan.flags, conflicts = edited_tree(git, plan.base, changes, env)
    plan.merged, unmerged = merge(git, plan.base, plan.target, plan.edited, env)
    staged = git.names("diff-index", "--cached", "--name-only", "--no-renames", "-z", plan.base, env=env)
    modules = submodules(git, plan.base, env)
    plan.staged = [name for name in staged if name not in modules]
    return sorted({*conflicts, *unmerged})


def update(project_src: str, request: Request, scratch: str) -> Outcome:
    """Bring the work tree to the remote's state, with the server-side edits on top.

    :param scratch: an existing folder (0700) for temporary files.
    :raises HotfixError: with nothing changed: conflict, diverged history, remote that cannot be reached.
    """
    top = find_work_tree(project_src)
    if top is None:
        return Outcome("no_git")
    git = Git(top, scratch)
    with _alone(git.git_dir):
        try:
            return _update(git, request)
        finally:
            if not request.check:
                own_repository(git.git_dir)


def _update(git: Git, request: Request) -> Outcome:
    folder = os.path.join(git.git_dir, PENDING)
    pending = load_plan(folder)
    outcome = Outcome("up_to_date", resumed=pending is not None)
    head = outcome.before = git.maybe("rev-parse", "--verify", "--quiet", "HEAD")
    start = ""
    if pending is not None:
        env = private_objects(git, os.path.join(git.scratch, "pending"), os.path.join(folder, "objects"))
        _report(git, outcome, pending, env)
        outcome.before, head, start = pending.base, pending.target, pending.merged
        if not request.check:
            carry_out(git, pending, folder, env, resumed=True)
            start = ""
    current = git.maybe("symbolic-ref", "--quiet", "--short", "HEAD")
    if not current:
        outcome.status = "detached"
    elif request.remote not in git.text("remote").splitlines():
        outcome.status = "no_remote"
    else:
        upstream = find_upstream(git, request, current) if head else None
        outcome.status = "up_to_date" if upstream else "no_upstream"
        if upstream is not None:
            plan = Plan(current, head, upstream[1], edited=start)
            head = _advance(git, request, upstream[0], plan, outcome)
    outcome.after = head
    if outcome.before != head:
        outcome.status = "updated"
    return outcome


def _advance(git: Git, request: Request, branch: str, plan: Plan, outcome: Outcome) -> str:
    """Fetch and fast-forward from the plan's base to its target; returns the commit that the branch is on then."""
    remote, pending = f"{request.remote}/{branch}", os.path.join(git.git_dir, PENDING)
    folder = os.path.join(git.scratch, PENDING) if request.check else pending
    if not request.check:
        drop_plan(folder)  # what a run left that was killed before it had a plan
        os.mkdir(folder, 0o700)
    env = private_objects(git, folder, *([os.path.join(pending, "objects")] if request.check and plan.edited else []))
    try:
        if has_commit(git, plan.target, env) and is_ancestor(git, plan.target, plan.base, env):
            return plan.base
        _refuse_unfinished(git)
        fetch(git, request, branch, plan.target, env)
        if not is_ancestor(git, plan.base, plan.target, env):
            ours = git.text("rev-list", "--count", f"{plan.target}..{plan.base}", env=env)
            theirs = git.text("rev-list", "--count", f"{plan.base}..{plan.target}", env=env)
            raise HotfixError(
                f"the history here and {remote} have diverged (commits only here: {ours}, only there: {theirs}); "
                "nothing was changed",
                path=git.top,
                remedy="Push the local commits or rebase them by hand",
            )
        conflicts = _make_plan(git, plan, env)
        if conflicts:
            raise HotfixError(
                f"what was edited here conflicts with {remote} in {_listed(conflicts)}; nothing was changed",
                path=git.top,
                remedy="Bring these edits upstream, or undo them here (git diff shows them), and run it again",
            )
        _report(git, outcome, plan, env)
        if not request.check:
            store_plan(folder, plan)
            carry_out(git, plan, folder, env)
        return plan.target
    finally:
        if not os.path.exists(os.path.join(folder, "plan.json")):
            drop_plan(folder)


def _report(git: Git, outcome: Outcome, plan: Plan, env: Mapping[str, str]) -> None:
    """Add what a plan does to the outcome, while its objects can still be read."""
    carried = compare(git, plan.target, plan.merged, env)
    outcome.carried_over = sorted(name for name, change in carried.items() if not _is_submodule(change))
    upstream = compare(git, plan.base, plan.target, env)
    outcome.files = sorted({*outcome.files, *upstream})
    modules = {name for name, change in upstream.items() if _is_submodule(change)}
    outcome.submodules = sorted({*outcome.submodules, *modules})
    log = git.run("log", "-z", "--format=%H %s", f"{plan.base}..{plan.target}", env=env).stdout
    entries = [entry.decode("utf-8", "replace").partition(" ") for entry in log.split(b"\0") if entry]
    outcome.commits = [{"revision": entry[0], "subject": entry[2]} for entry in entries] + outcome.commits
    outcome.diff += render_diff(git, plan, env)


def _is_submodule(change: Change) -> bool:
    return SUBMODULE in {entry.mode for entry in change if entry}


# --- diff ------------------------------------------------------------------------------------------------------------


def render_diff(git: Git, plan: Plan, env: Mapping[str, str]) -> list[dict[str, str]]:
    """What changes in the work tree, for ``--diff``."""

    def content(entry: Entry | None) -> bytes | None:
        return git.run("cat-file", "blob", entry.blob, env=env).stdout if entry else None

    changes = _files(compare(git, plan.edited, plan.merged, env))
    return [file_diff(path, content(old), content(new)) for path, (old, new) in sorted(changes.items())]


def as_result(outcome: Outcome) -> dict[str, Any]:
    """The outcome as a module returns it; names that are not UTF-8 are made printable."""
    result = asdict(outcome)
    for name in ("files", "carried_over", "submodules"):
        result[name] = [printable(path) for path in result[name]]
    return {"changed": outcome.status == "updated", **result}
