# SPDX-License-Identifier: GPL-3.0-or-later
"""What the collection remembers of a project on its host: a folder, a journal, and the transaction that is open.

The folder is ``<state_dir>/<name>`` with mode 0700. ``<name>`` is the base name of the project's real path, with every
character outside ``A-Za-z0-9_.-`` made a dash. A second project of the same base name gets ``<name>-<hash>``, the first
8 hexadecimal digits of the SHA-256 of its path; the file ``source`` in a folder says whose it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from typing import Any

from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._files import lock, problem, read_bytes, write_atomic
from ansible_collections.composeops.hotfix.plugins.module_utils._shown import printable

STATE_DIR = "/var/lib/composeops"
JOURNAL = "journal.jsonl"
LOCK = "lock.json"  # of the run that is at work, see _lock
JOURNAL_LIMIT = 1_000_000  # bytes; beyond it the older half goes
LOCK_SECONDS = 2.0  # long enough for a rotation to note its keys, too short for another snapshot or rollback
OPEN = "transaction.json"
COMMITTED = "committed.json"
UNHEARD = 7200.0  # seconds; a run notes each of its steps, and compose_up ends the longest after an hour


def now() -> str:
    """The time in UTC as RFC 3339 with milliseconds."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def project_folder(state_dir: str, project_src: str) -> str:
    """The folder in which a project's state lies, whether or not it exists yet."""
    source = os.path.realpath(project_src)
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", os.path.basename(source)).lstrip(".-") or "root"
    plain = os.path.join(state_dir, name)
    hashed = f"{plain}-{hashlib.sha256(os.fsencode(source)).hexdigest()[:8]}"
    if os.path.isdir(hashed):
        return hashed
    owner = os.path.join(plain, "source")
    ours = not os.path.exists(owner) or os.fsdecode(read_bytes(owner)).rstrip("\n") == source
    return plain if ours else hashed


def make_folder(path: str) -> None:
    """Make a folder that only its owner can look into, and its parents.

    :raises HotfixError: naming the folder and the reason.
    """
    try:
        if not os.path.isdir(os.path.dirname(path)):
            make_folder(os.path.dirname(path))
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
    except OSError as error:
        raise problem(error, path, "create") from error


def claim(folder: str, project_src: str) -> None:
    """Make the project's folder, and note in it whose it is.

    :raises HotfixError: naming the folder and the reason.
    """
    make_folder(folder)
    try:
        os.chmod(folder, 0o700)
    except OSError as error:
        raise problem(error, folder, "use") from error
    owner = os.path.join(folder, "source")
    if not os.path.exists(owner):
        write_atomic(owner, os.fsencode(os.path.realpath(project_src)) + b"\n", mode=0o600)


@contextlib.contextmanager
def held(folder: str, project_src: str, *, check: bool = False) -> Iterator[None]:
    """Make the project's folder and hold it alone; the lock goes with the process.

    :param check: make and hold nothing.
    :raises HotfixError: when the project's directory is missing, or another run is at work.
    """
    if not os.path.isdir(project_src):
        raise HotfixError("there is no such directory", path=project_src, remedy="Check project_src")
    if check:
        yield
        return
    make_folder(folder)
    descriptor = -1
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        lock(descriptor, LOCK_SECONDS)
        claim(folder, project_src)
        yield
    except BlockingIOError as error:
        raise HotfixError(
            "another run is at work on this project's state", path=folder, remedy="Wait until it has ended"
        ) from error
    except OSError as error:
        raise problem(error, folder, "use") from error
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def append(folder: str, action: str, *, files: Iterable[str] = (), result: str = "", **more: str) -> None:
    """Add a line to the project's journal: when, what, which files by name, and how it ended. Never a value.

    :param more: further words, such as the ``id`` of a snapshot. ``run`` is the run that has the lock, unless given;
        an empty one stands for none.
    """
    run = more.pop("run", None)
    run = current_run(folder) if run is None else run
    named = {"run": run} if run else {}
    entry = {
        "time": now(),
        "action": action,
        **named,
        **more,
        "files": [printable(name) for name in files],
        "result": result,
    }
    path = os.path.join(folder, JOURNAL)
    try:
        _shorten(path)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "ab+") as stream:
            end = stream.seek(0, os.SEEK_END)
            stream.seek(max(end - 1, 0))
            # A run that was killed, or a full disk, may have left half a line.
            separator = b"" if stream.read(1) in (b"", b"\n") else b"\n"
            stream.write(separator + json.dumps(entry).encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise problem(error, path, "write") from error


def _shorten(path: str) -> None:
    if os.path.exists(path) and os.path.getsize(path) > JOURNAL_LIMIT:
        kept = read_bytes(path)[-JOURNAL_LIMIT // 2 :]
        write_atomic(path, kept[kept.find(b"\n") + 1 :], mode=0o600)


def entries(folder: str) -> list[dict[str, Any]]:
    """The journal's entries, oldest first; a line that was cut off is left out."""
    path = os.path.join(folder, JOURNAL)
    found = []
    for line in read_bytes(path).splitlines() if os.path.exists(path) else []:
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return found


def current_run(folder: str) -> str:
    """The ID of the run that has the lock; empty when none has it, or that cannot be read."""
    with contextlib.suppress(HotfixError, ValueError, KeyError, TypeError):
        path = os.path.join(folder, LOCK)
        return str(json.loads(read_bytes(path))["run"]) if os.path.exists(path) else ""
    return ""


def of_runs(all_entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The entries that belong to a run, oldest first."""
    return [entry for entry in all_entries if isinstance(entry, dict) and entry.get("run")]


def of_run(all_entries: Iterable[dict[str, Any]], run: str = "") -> list[dict[str, Any]]:
    """The entries of one run, oldest first.

    :param run: its ID; empty: the run that has the last line of all that belong to one.
    """
    listed = of_runs(all_entries)
    wanted = run or (str(listed[-1]["run"]) if listed else "")
    return [entry for entry in listed if entry["run"] == wanted]


def open_transaction(folder: str) -> str:
    """The snapshot of the transaction that is open, or an empty string."""
    return _marked(os.path.join(folder, OPEN))


def deployed_since(folder: str, moment: str) -> bool:
    """Whether a container that was made at a moment is of somebody who came after the runs of the open transaction.

    :param moment: in UTC as RFC 3339, by the host's clock.
    """
    opened = _marked(os.path.join(folder, OPEN), "time")
    return bool(opened) and let_go(entries(folder), opened, moment)


def let_go(all_entries: Iterable[dict[str, Any]], opened: str, moment: str) -> bool:
    """Whether no run was at work on a transaction at a moment: the last one had ended, or was not heard of for long.

    A run that was killed cannot note that it ended, though a step of it that goes on does; and a run on two names of a
    host notes it twice. A clock that was set back leaves the moment before what was noted, or before the beginning;
    that is no.

    :param opened: when the transaction was opened, as ``moment``.
    """
    made, begun = _seconds(moment), _seconds(opened)
    noted = [(_seconds(str(entry.get("time"))), entry) for entry in of_runs(all_entries)]
    if any(time - float(entry["seconds"]) - 1 <= made < time for time, entry in noted if "seconds" in entry):
        return False
    heard, action = next(((time, entry.get("action")) for time, entry in reversed(noted) if time <= made), (0.0, None))
    if action == "run ended" and heard >= begun:
        return True
    return made - max(heard, begun) > UNHEARD


def _seconds(moment: str) -> float:
    """A time in UTC as RFC 3339 in whole seconds since 1970; 0 when it is none."""
    try:
        return datetime.strptime(moment[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        return 0.0


def last_closed(folder: str) -> str:
    """The snapshot of the last transaction that was closed unfinished, or an empty string."""
    ids = [str(entry["id"]) for entry in entries(folder) if isinstance(entry, dict) and entry.get("action") == "closed"]
    return ids[-1] if ids else ""


def last_committed(folder: str) -> str:
    """The snapshot of the last state that was proven good, or an empty string."""
    return _marked(os.path.join(folder, COMMITTED))


def mark(folder: str, name: str, snapshot: str) -> None:
    """Record a snapshot as the one of the open transaction (:data:`OPEN`) or as the good one (:data:`COMMITTED`)."""
    content = json.dumps({"snapshot": snapshot, "time": now()}).encode() + b"\n"
    write_atomic(os.path.join(folder, name), content, mode=0o600)


def close_transaction(folder: str) -> None:
    """Forget the open transaction."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(folder, OPEN))


def _marked(path: str, what: str = "snapshot") -> str:
    if not os.path.exists(path):
        return ""
    try:
        return str(json.loads(read_bytes(path))[what])
    except (ValueError, KeyError, TypeError) as error:
        raise HotfixError(
            "this record is damaged", path=path, remedy="Compare the project with its snapshots, then remove it"
        ) from error
