# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings about a container, kept on its host: counters and logs are gone once it is made anew.

They lie in the project's folder (``_journal``) as ``findings/<start>-<container>.json``, one file for each life of a
container. A later look at the same life replaces the earlier one unless it knows of fewer deaths: the counters only
grow, but those of a container that was stopped meanwhile are gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ansible_collections.composeops.hotfix.plugins.module_utils import _journal
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._files import problem, read_bytes, write_atomic

FOLDER = "findings"
NAME = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{12}\.json")


class Kept(NamedTuple):
    """Where findings lie, whether the file had to be written, and which older files went."""

    path: str
    changed: bool
    pruned: list[str]


def file_name(findings: Mapping[str, Any]) -> str:
    """The name for findings about one life of a container.

    :raises HotfixError: when they are about no container that was ever started.
    """
    container = findings.get("container")
    container = container if isinstance(container, Mapping) else {}
    started, identity = str(container.get("started_at") or ""), str(container.get("id") or "")
    stamp = re.sub(r"[-:]", "", started.partition(".")[0].rstrip("Z")) + "Z"
    name = f"{stamp}-{identity[:12]}.json"
    if not NAME.fullmatch(name):
        raise HotfixError(
            "the findings name no container that was started",
            remedy="Give what the filter composeops.hotfix.findings returns, with id and started_at in container",
        )
    return name


def keep(folder: str, findings: Mapping[str, Any], number: int, *, check: bool) -> Kept:
    """Write findings, and remove the oldest files beyond a number.

    :param folder: the project's folder; without ``check`` it exists and is held.
    :param check: only find out.
    :raises HotfixError: naming the file and the reason.
    """
    if number < 1:
        raise HotfixError(f"keep is {number}", remedy="Give 1 or more")
    home, name = os.path.join(folder, FOLDER), file_name(findings)
    path = os.path.join(home, name)
    content = json.dumps(findings, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"
    changed = not os.path.exists(path) or not _enough(read_bytes(path), content)
    there = sorted({entry for entry in _names(home) if NAME.fullmatch(entry)} | {name})
    old = [entry for entry in there[:-number] if entry != name]
    if not check:
        _journal.make_folder(home)
        if changed:
            write_atomic(path, content, mode=0o600)
            # Looked for before a run has the lock, which one that was killed may still have.
            _journal.append(folder, "findings kept", files=[name], result=f"{_deaths(findings)} deaths", run="")
        for entry in old:
            _remove(os.path.join(home, entry))
    return Kept(path, changed, old)


def _enough(before: bytes, now: bytes) -> bool:
    """Whether what is kept already is the same, or knows of more deaths."""
    try:
        return before == now or _deaths(json.loads(before)) > _deaths(json.loads(now))
    except ValueError:
        return False


def _deaths(findings: Any) -> int:
    deaths = findings.get("deaths") if isinstance(findings, Mapping) else None
    count = deaths.get("count") if isinstance(deaths, Mapping) else None
    return count if isinstance(count, int) else 0


def _names(home: str) -> list[str]:
    try:
        return os.listdir(home)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise problem(error, home, "read") from error


def _remove(path: str) -> None:
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    except OSError as error:
        raise problem(error, path, "remove") from error
