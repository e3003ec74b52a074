# SPDX-License-Identifier: GPL-3.0-or-later
"""The project's journal of changes of running servers, so that what happened before is not held against them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Callable

from ansible_collections.composeops.hotfix.plugins.module_utils import _cgroup, _journal

# What the journal calls such a change.
ACTION = "workers scaled"


def last_change(params: Mapping[str, Any], inspect: Mapping[str, Any]) -> dict[str, Any] | None:
    """The last change since the container's start; None when there was none.

    :param params: the options ``state_dir``, which may be None, and ``project_src``.
    :param inspect: the container's ``docker inspect`` data.
    :raises HotfixError: when the journal cannot be read.
    """
    if not params["state_dir"]:
        return None
    folder = _journal.project_folder(params["state_dir"], params["project_src"])
    same = {"action": ACTION, **_life(inspect)}
    found = [
        {"time": entry["time"], "oom_kills": _number(entry, "oom_kills") or 0, "workers": _number(entry, "workers")}
        for entry in _journal.entries(folder)
        if all(entry.get(key) == value for key, value in same.items())
    ]
    return found[-1] if found else None


@contextlib.contextmanager
def noted(
    params: Mapping[str, Any], inspect: Mapping[str, Any], workers: int, result: Callable[[], str]
) -> Iterator[None]:
    """Hold the journal during a change, and write the change down however it ends.

    :param params: as for :func:`last_change`.
    :param workers: the number that is wanted.
    :param result: what has changed, in words; empty when nothing has.
    :raises HotfixError: before anything is changed, when the journal cannot be had.
    """
    if not params["state_dir"]:
        yield
        return
    folder = _journal.project_folder(params["state_dir"], params["project_src"])
    with _journal.held(folder, params["project_src"]):
        try:
            yield
        finally:
            if result():
                # The kernel's counter goes on with the container.
                kills = _cgroup.memory(inspect["State"]["Pid"], inspect["Id"]).oom_kills or 0
                figures = {"workers": str(workers), "oom_kills": str(kills)}
                _journal.append(folder, ACTION, result=result(), **_life(inspect), **figures)


def _number(entry: Mapping[str, Any], name: str) -> int | None:
    """A figure of an entry; None where somebody left none."""
    text = str(entry.get(name, ""))
    return int(text) if text.isdecimal() else None


def _life(inspect: Mapping[str, Any]) -> dict[str, str]:
    """The container from its last start on."""
    return {"container": inspect["Id"], "started_at": inspect["State"]["StartedAt"]}
