# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a watch: what it is told, what it remembers, its samples and events, and the watches before it.

They lie in ``monitor`` in the project's folder, readable by root only. Samples and events are JSON lines; of each there
are two files at most, so that they stay small however long a watch is.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.composeops.hotfix.plugins.module_utils import _journal
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._files import (
    lock_folder,
    problem,
    read_bytes,
    write_atomic,
)

FOLDER = "monitor"
# What is remembered lies below it, by the whole path, as long as its own file cannot be written; until the next boot.
SPARE = "/run/composeops-monitor"
SETTINGS, STATE, NOTIFY = "settings.json", "state.json", "notify.json"
SAMPLES, EVENTS = "samples.jsonl", "events.jsonl"
CODE, BEFORE = "code", "before"
# What belongs to a watch, and is put aside for the next one; the last file of lines is the one before.
KEPT = (SETTINGS, STATE, SAMPLES, f"{SAMPLES}.1", EVENTS, f"{EVENTS}.1")
# Bytes after which a file of lines is put aside, and the one before goes: two days of samples, one a minute.
LIMITS = {SAMPLES: 2_000_000, EVENTS: 500_000}
# Watches before the present one that stay.
WATCHES = 3
# Seconds to wait for a sample that is being taken; systemd ends one that takes longer, see _monitor_units.
PATIENCE = 100.0


@contextlib.contextmanager
def alone(home: str) -> Iterator[None]:
    """Hold the folder, so that no sample is taken meanwhile; the lock goes with the process.

    :raises HotfixError: when somebody else has it for too long.
    """
    descriptor = lock_folder(home, PATIENCE, "a sample of the monitor takes too long", "Run again")
    try:
        yield
    finally:
        os.close(descriptor)


def load(home: str, name: str) -> dict[str, Any] | None:
    """One of the files with one JSON object; None when there is none.

    :raises HotfixError: when it cannot be read.
    """
    path = os.path.join(home, name)
    if not os.path.exists(path):
        return None
    try:
        data = json.loads(read_bytes(path))
        if isinstance(data, dict):
            return data
    except (ValueError, RecursionError):
        pass
    raise HotfixError("this file of the monitor is damaged", path=path, remedy="Stop the monitor and start it anew")


def save(home: str, name: str, data: Mapping[str, Any]) -> None:
    """Write such a file, whole or not at all.

    :raises HotfixError: naming the file and the reason.
    """
    write_atomic(os.path.join(home, name), json.dumps(data, sort_keys=True).encode() + b"\n", mode=0o600)


def spare(home: str) -> str:
    """The folder for what is remembered while its own file cannot be written."""
    return os.path.join(SPARE, home.lstrip("/"))


def remember(home: str, state: Mapping[str, Any]) -> None:
    """Write what is remembered, where its own file cannot be written to the folder that :func:`spare` names.

    :raises HotfixError: when the file cannot be written, also where the other one was.
    """
    place = spare(home)
    try:
        save(home, STATE, state)
    except HotfixError:
        with contextlib.suppress(HotfixError):
            _journal.make_folder(place)
            save(place, STATE, state)
        raise
    with contextlib.suppress(HotfixError):
        remove(place, STATE)


def recall(home: str) -> dict[str, Any] | None:
    """What is remembered, wherever it is; None when nothing is.

    :raises HotfixError: when its own file cannot be read.
    """
    kept, aside = load(home, STATE), load_quietly(spare(home), STATE)
    if kept is None or aside is None or aside["began"] != kept["began"]:
        return kept
    return aside if aside["tally"]["samples"] >= kept["tally"]["samples"] else kept


def append(home: str, name: str, items: Iterable[Mapping[str, Any]]) -> None:
    """Add lines to :data:`SAMPLES` or :data:`EVENTS`.

    :raises HotfixError: naming the file and the reason.
    """
    text = b"".join(json.dumps(item).encode() + b"\n" for item in items)
    path = os.path.join(home, name)
    if not text:
        return
    try:
        if os.path.exists(path) and os.path.getsize(path) + len(text) > LIMITS[name]:
            os.replace(path, f"{path}.1")
        with open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "ab+") as stream:
            end = stream.seek(0, os.SEEK_END)
            stream.seek(max(end - 1, 0))
            # A host that lost its power, or a full disk, may have left half a line.
            separator = b"" if stream.read(1) in (b"", b"\n") else b"\n"
            stream.write(separator + text)
    except OSError as error:
        raise problem(error, path, "write") from error


def lines(home: str, name: str) -> list[dict[str, Any]]:
    """The lines of such a file, oldest first, without those that are damaged.

    :raises HotfixError: when it cannot be read.
    """
    found = []
    for path in (os.path.join(home, f"{name}.1"), os.path.join(home, name)):
        for line in read_bytes(path).splitlines() if os.path.exists(path) else []:
            with contextlib.suppress(ValueError, RecursionError):
                data = json.loads(line)
                found += [data] if isinstance(data, dict) else []
    return found


def set_aside(home: str) -> None:
    """Put the files of a watch, if there are any, into a folder of their own, and remove the oldest of such folders.

    :raises HotfixError: naming the folder and the reason.
    """
    if not any(os.path.exists(os.path.join(home, kept)) for kept in KEPT):
        return
    started = (load_quietly(home, SETTINGS) or {}).get("started_at")
    # Where that cannot be read any more, the time of the next watch does.
    name = re.sub(r"[^0-9TZ]", "", str(started or "")) or time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    with contextlib.suppress(HotfixError):
        if os.path.exists(os.path.join(spare(home), STATE)):
            remember(home, recall(home) or {})
    place = os.path.join(home, BEFORE, name)
    _journal.make_folder(place)
    try:
        for kept in KEPT:
            with contextlib.suppress(FileNotFoundError):
                os.replace(os.path.join(home, kept), os.path.join(place, kept))
        for old in before(home)[:-WATCHES]:
            shutil.rmtree(os.path.join(home, BEFORE, old))
    except OSError as error:
        raise problem(error, place, "write") from error
    remove(spare(home), STATE)


def before(home: str) -> list[str]:
    """The names of the watches that were put aside, oldest first."""
    with contextlib.suppress(OSError):
        return sorted(os.listdir(os.path.join(home, BEFORE)))
    return []


def load_quietly(home: str, name: str) -> dict[str, Any] | None:
    """As :func:`load`; None also when it cannot be read."""
    with contextlib.suppress(HotfixError):
        return load(home, name)
    return None


def remove(home: str, *names: str) -> None:
    """Remove files and folders of the monitor, as far as they are there.

    :raises HotfixError: naming the file and the reason.
    """
    for name in names:
        path = os.path.join(home, name)
        try:
            if os.path.isdir(path):
                shutil.rmtree(path)
            else:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
        except OSError as error:
            raise problem(error, path, "remove") from error
