# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with where an environment file lies: who may read it, copies of it beside it, git."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
from collections.abc import Iterable, Mapping, Sequence

from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv_audit import Finding, Secret
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._git import ANY_CODE, Git, find_work_tree
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import SHORTEST_MASKED

LARGEST_COPY = 2**20  # bytes
MOST_VERSIONS = 500
HISTORY_SECONDS = 60.0


def place_findings(path: str, secrets: Iterable[Secret]) -> list[Finding]:
    """All findings about the file ``path`` as a whole, and about files beside it that hold its present secrets.

    :param secrets: what the file holds.
    """
    real = os.path.realpath(path)
    values = _values(secrets)
    copies = {name: held for name in _beside(real) for held in [_held(name, values)] if held}
    found = _open_mode(real, "")
    for name, held in copies.items():
        found += _open_mode(name, f"{os.path.basename(name)}, which holds the value of {', '.join(held)},")
    return found + _git(real, copies, values)


def _values(secrets: Iterable[Secret]) -> dict[bytes, list[str]]:
    """The values long enough not to turn up by chance, with their variables."""
    found: dict[bytes, list[str]] = {}
    for secret in secrets:
        if len(secret.value) >= SHORTEST_MASKED:
            names = found.setdefault(secret.value.encode("utf-8", "surrogateescape"), [])
            names += [] if secret.name in names else [secret.name]
    return found


def _in_data(data: bytes, values: Mapping[bytes, Sequence[str]]) -> list[str]:
    return list(dict.fromkeys(name for value, names in values.items() if value in data for name in names))


# --- modes and copies ------------------------------------------------------------------------------------------------


def _open_mode(path: str, what: str) -> list[Finding]:
    """A finding when others than the owner may read or write a file.

    :param what: how the sentence calls a copy; empty for the file itself.
    """
    mode = os.stat(path).st_mode & 0o7777
    if not mode & 0o066:
        return []
    done = "written" if mode & 0o022 else "read"
    who = "everybody" if mode & (0o002 if mode & 0o022 else 0o004) else "its group"
    severity = "medium" if (done, who) == ("read", "its group") else "high"
    remedy = "remove it, or close it with chmod 600" if what else "chmod 600 closes it"
    message = f"{what or 'The file'} may be {done} by {who} (mode {mode:04o}); {remedy}."
    return [Finding("open_mode", "", 0, severity, message, path if what else "")]


def _beside(real: str) -> list[str]:
    """Files that an editor, a person or this collection left beside the file as copies of it."""
    folder, base = os.path.split(real)
    copy = re.compile(rf"{re.escape(base)}.+|#{re.escape(base)}#|\.{re.escape(base)}\.sw[a-p]")
    found = []
    with contextlib.suppress(OSError):
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            if copy.fullmatch(entry.name) and stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode):
                found.append(entry.path)
    return found


def _held(path: str, values: Mapping[bytes, Sequence[str]]) -> list[str]:
    """The variables whose present value a file holds; none where it may not be read."""
    try:
        with open(path, "rb") as stream:
            return _in_data(stream.read(LARGEST_COPY), values)
    except OSError:
        return []


# --- git -------------------------------------------------------------------------------------------------------------


def _git(real: str, copies: Mapping[str, Sequence[str]], values: Mapping[bytes, Sequence[str]]) -> list[Finding]:
    """What git has, or would take; nothing where there is no work tree."""
    try:
        top = find_work_tree(os.path.dirname(real))
        if top is None:
            return []
        with tempfile.TemporaryDirectory() as scratch:
            git = Git(top, scratch)
            tracked = set(
                git.names("ls-files", "-z", "--full-name", "--", *(_literal(top, p) for p in [real, *copies]))
            )
            found = _tracked(top, real, copies, tracked)
            if os.path.relpath(real, top) not in tracked:
                found += _not_ignored(git, real)
            return found + _in_history(git, top, real, values)
    except HotfixError as error:
        return _not_searched(f"Whether git has the file was not looked at: {error.message}.")


def _literal(top: str, path: str) -> str:
    return f":(top,literal){os.path.relpath(path, top)}"


def _tracked(top: str, real: str, copies: Mapping[str, Sequence[str]], tracked: set[str]) -> list[Finding]:
    remedy = "its secrets are in the history of every clone; untrack it (git rm --cached) and rotate them"
    found = []
    if os.path.relpath(real, top) in tracked:
        message = f"The file is tracked by git, so {remedy}."
        found.append(Finding("tracked_by_git", "", 0, "high", message))
    for path, held in copies.items():
        if os.path.relpath(path, top) in tracked:
            message = (
                f"{os.path.basename(path)}, which holds the value of {', '.join(held)}, is tracked by git, so {remedy}."
            )
            found.append(Finding("tracked_by_git", "", 0, "high", message, path))
    return found


def _not_ignored(git: Git, real: str) -> list[Finding]:
    if git.run("check-ignore", "--quiet", "--", real, accept=ANY_CODE).returncode != 1:
        return []
    message = "No .gitignore names the file, so the next git add takes it; add a line with its name to .gitignore."
    return [Finding("not_ignored_by_git", "", 0, "low", message)]


def _in_history(git: Git, top: str, real: str, values: Mapping[bytes, Sequence[str]]) -> list[Finding]:
    """A finding when a version of the file that git keeps, on whatever branch, holds a present value."""
    path = os.path.relpath(real, top)
    arguments = ("rev-list", "--all", "--objects", "--full-history", "--", _literal(top, real))
    listed = git.run(*arguments, accept=ANY_CODE, timeout=HISTORY_SECONDS)
    if listed.returncode != 0:
        return _unread(listed.returncode)
    lines = os.fsdecode(listed.stdout).splitlines()
    versions = [line.partition(" ")[0] for line in lines if line.partition(" ")[2] == path]
    if not versions:
        return []
    searched = "".join(f"{blob}\n" for blob in versions[:MOST_VERSIONS])
    contents = git.run("cat-file", "--batch", stdin=searched.encode(), accept=ANY_CODE)
    held = _in_data(contents.stdout, values)
    if not held and len(versions) > MOST_VERSIONS:
        return _not_searched(
            f"Of the history of git only the newest {MOST_VERSIONS} versions of the file were searched."
        )
    if not held:
        return []
    message = (
        f"The history of git holds the value of {', '.join(held)}, committed with this file, and so does every clone; "
        "rotate it."
    )
    return [Finding("in_git_history", held[0], 0, "high", message)]


def _unread(code: int) -> list[Finding]:
    if code != 124:  # a repository without a commit, or a damaged one
        return []
    return _not_searched(f"The history of git was not searched: it took longer than {HISTORY_SECONDS:g} seconds.")


def _not_searched(message: str) -> list[Finding]:
    return [Finding("not_searched", "", 0, "low", message)]
