# SPDX-License-Identifier: GPL-3.0-or-later
"""A container's memory and CPU figures from its control group, version 1 or 2, as the host's kernel keeps them.

``docker stats`` shows neither the peak nor the OOM kills, and the engine's own OOMKilled flag stays false when the
kernel kills a worker that is not the container's first process. The kernel's documentation describes the files:
https://docs.kernel.org/admin-guide/cgroup-v2.html and https://docs.kernel.org/admin-guide/cgroup-v1/memory.html.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import NamedTuple

from ansible_collections.composeops.hotfix.plugins.module_utils._kernel_files import kernel_text

# Version 1 says "no limit" with the largest number of whole pages in 63 bits.
UNLIMITED = 1 << 62


class Memory(NamedTuple):
    """Bytes, page cache included, and a number of kills. ``None``: no limit, or the kernel keeps no such figure.

    The limit is the one in force: the smallest of the container's own and those of the groups around it.
    """

    limit: int | None
    usage: int | None
    peak: int | None
    oom_kills: int | None


class CpuUse(NamedTuple):
    """Seconds of CPU used, seconds for which the quota kept processes waiting, the part of its periods that did so.

    ``None``: there is no quota, or the kernel keeps no such figure.
    """

    seconds: float | None
    throttled: float | None
    throttled_part: float | None


class Group(NamedTuple):
    """A control group: its directory, that of the hierarchy's visible top, and the version of the interface."""

    path: str
    top: str
    version: int


def memory(pid: int, container_id: str = "", *, proc: str = "/proc") -> Memory:
    """Memory figures of the container that a process belongs to; all ``None`` where they cannot be read.

    :param pid: a process of the container, as this process's ``/proc`` numbers it; 0 for a container that is stopped.
    :param container_id: cuts groups that the container made inside its own; without it the process's own group counts.
    :param proc: the mount point of procfs.
    """
    group = find_group(pid, "memory", container_id, proc=proc)
    if group is None:
        return Memory(None, None, None, None)
    if group.version == 2:
        names = ("memory.max", "memory.current", "memory.peak", "memory.events")
    else:
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.max_usage_in_bytes", "memory.oom_control")
    limits = [_number(kernel_text(f"{folder}/{names[0]}")) for folder in _upwards(group)]
    kills = re.search(r"^oom_kill (\d+)$", kernel_text(f"{group.path}/{names[3]}"), re.MULTILINE)
    return Memory(
        limit=min((limit for limit in limits if limit is not None and limit < UNLIMITED), default=None),
        usage=_number(kernel_text(f"{group.path}/{names[1]}")),
        peak=_number(kernel_text(f"{group.path}/{names[2]}")),
        oom_kills=int(kills.group(1)) if kills else None,
    )


def cpus(pid: int, container_id: str = "", *, proc: str = "/proc") -> float | None:
    """How many CPUs the container may use at a time by its quota, or ``None`` for no quota; as :func:`memory` else."""
    group = find_group(pid, "cpu", container_id, proc=proc)
    if group is None:
        return None
    quotas = [quota for folder in _upwards(group) for quota in _quota(folder, group.version)]
    return min(quotas, default=None)


def cpu_use(pid: int, container_id: str = "", *, proc: str = "/proc") -> CpuUse:
    """How much CPU the container has used since its start, and how its quota held it up; as :func:`memory` else."""
    group = find_group(pid, "cpu", container_id, proc=proc)
    if group is None:
        return CpuUse(None, None, None)
    fields = dict(re.findall(r"^(\w+) (\d+)$", kernel_text(f"{group.path}/cpu.stat"), re.MULTILINE))
    if group.version == 2:
        used, waited = int(fields.get("usage_usec", 0)) / 1e6, int(fields.get("throttled_usec", 0)) / 1e6
    else:
        accounts = find_group(pid, "cpuacct", container_id, proc=proc)
        used = (_number(kernel_text(f"{accounts.path}/cpuacct.usage")) or 0) / 1e9 if accounts else 0.0
        waited = int(fields.get("throttled_time", 0)) / 1e9
    periods = int(fields.get("nr_periods", 0))
    if not periods:
        return CpuUse(used, None, None)
    return CpuUse(used, waited, int(fields.get("nr_throttled", 0)) / periods)


def find_group(pid: int, controller: str, container_id: str = "", *, proc: str = "/proc") -> Group | None:
    """The control group of a process, for engines with either cgroup driver and for any cgroup namespace.

    ``/proc/<pid>/cgroup`` gives the group relative to this process's cgroup namespace, as do the roots in a mount
    table. Where our own mounts do not show the group, those of the container do.
    """
    lines = [line.split(":", 2) for line in kernel_text(f"{proc}/{pid}/cgroup").splitlines()]
    paths = {name: path for _number, names, path in lines for name in names.split(",")}
    version, path = (1, paths[controller]) if controller in paths else (2, paths.get("", ""))
    path = _container_part(path, container_id)
    if not path:
        return None
    for table, prefix in ((f"{proc}/self", ""), (f"{proc}/{pid}", f"{proc}/{pid}/root")):
        for root, mount_point in _mounts(table, controller, version):
            inside = _below(path, root)
            folder = f"{prefix}{mount_point}{inside or ''}"
            if inside is not None and os.path.isdir(folder):
                return Group(folder, f"{prefix}{mount_point}", version)
    return None


def _container_part(path: str, container_id: str) -> str:
    """A path up to the container's own group: systemd in a container, say, puts its processes further down."""
    parts = path.split("/")
    depth = next((index for index, part in enumerate(parts) if container_id and container_id in part), len(parts))
    return "/".join(parts[: depth + 1])


def _below(path: str, root: str) -> str | None:
    """A group's path relative to a mount's root, with a leading slash unless empty; ``None`` when it is not below."""
    root = root.rstrip("/")
    if path != root and not path.startswith(f"{root}/"):
        return None
    inside = path[len(root) :].rstrip("/")
    return None if ".." in inside.split("/") else inside


def _mounts(table: str, controller: str, version: int) -> Iterator[tuple[str, str]]:
    """Root and mount point of each mount of a hierarchy: https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html."""
    for line in kernel_text(f"{table}/mountinfo").splitlines():
        before, _dash, after = line.partition(" - ")
        kind, _source, options = [*after.split(" ", 2), "", ""][:3]
        wanted = kind == "cgroup2" if version == 2 else kind == "cgroup" and controller in options.split(",")
        if wanted:
            fields = before.split(" ")
            yield _unescape(fields[3]), _unescape(fields[4])


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), text)


def _upwards(group: Group) -> Iterator[str]:
    """The group's directory and those around it, as far as they can be seen."""
    folder = group.path
    while True:
        yield folder
        if folder in (group.top, "/"):
            return
        folder = os.path.dirname(folder)


def _quota(folder: str, version: int) -> Iterator[float]:
    if version == 2:
        quota, period = [*kernel_text(f"{folder}/cpu.max").split(), "", ""][:2]
    else:
        quota, period = (
            kernel_text(f"{folder}/cpu.cfs_quota_us").strip(),
            kernel_text(f"{folder}/cpu.cfs_period_us").strip(),
        )
    if quota.isdigit() and period.isdigit() and int(period):
        yield int(quota) / int(period)


def _number(text: str) -> int | None:
    return int(text) if text.strip().isdigit() else None
