# SPDX-License-Identifier: GPL-3.0-or-later
"""Source that a container sees through a bind mount instead of having it in its image, and whether its process read it.

Such source takes no build: the process has to be started again, which Compose never finds out, since neither the image
nor the configuration of the container differs.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.composeops.hotfix.plugins.module_utils._container import compose_labels, state
from ansible_collections.composeops.hotfix.plugins.module_utils._logs import epoch

# What holds no source of the application, or is written by the process itself.
SKIPPED = (".git", "__pycache__", "node_modules")
MOST = 20  # files that are named


def inside(path: str, mounts: Sequence[Mapping[str, Any]]) -> str | None:
    """Where a container sees a file of the host through a bind mount, or None.

    :param path: the file on the host, without symbolic links.
    :param mounts: ``Mounts`` of ``docker inspect``.
    """
    for mount in mounts:
        source = os.path.realpath(mount["Source"]) if mount.get("Type") == "bind" else None
        if source is None or not _is_below(path, source):
            continue
        target = posixpath.normpath(posixpath.join(mount["Destination"], os.path.relpath(path, source)))
        # A mount further in hides what is below it.
        over = [other["Destination"] for other in mounts if _is_below(target, other["Destination"])]
        if max(over, key=len) == mount["Destination"]:
            return target
    return None


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def mounted_source(inspect: Mapping[str, Any]) -> dict[str, Any]:
    """The folders and files of a container's project that it sees through bind mounts, where Python source is in them.

    :param inspect: its ``docker inspect`` data.
    :returns: ``mounts``, and ``unread``: source that the process cannot have read as it is now.
    """
    folder = compose_labels(inspect).working_dir
    project = os.path.realpath(folder) if folder else ""
    bound = [mount for mount in inspect.get("Mounts") or [] if mount.get("Type") == "bind"]
    started_at = state(inspect).started_at
    started = epoch(started_at) if started_at else None
    mounts, changed = set(), set()
    for mount in bound if project else []:
        source = os.path.realpath(mount["Source"])
        top = source if _is_below(source, project) else project if _is_below(project, source) else None
        for path in _python_files(top) if top else ():
            if inside(path, inspect["Mounts"]) is None:
                continue
            mounts.add(mount["Source"])
            with contextlib.suppress(OSError):
                # The time of the change itself, since a copy may keep the time of its original's last edit.
                if started is not None and os.stat(path).st_ctime > started:
                    changed.add(path)
    return {"mounts": sorted(mounts), "unread": sorted(changed)[:MOST]}


def _python_files(top: str) -> Iterator[str]:
    if os.path.isfile(top):
        yield from [top] if top.endswith(".py") else []
    for folder, folders, names in os.walk(top):
        folders[:] = [name for name in folders if name not in SKIPPED]
        for name in names:
            path = os.path.join(folder, name)
            if name.endswith(".py") and not os.path.islink(path):
                yield path
