# SPDX-License-Identifier: GPL-3.0-or-later
"""Control groups of version 1 and 2, with either cgroup driver, from the host and from inside a container."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils import _cgroup
from ansible_collections.composeops.hotfix.plugins.module_utils._cgroup import CpuUse, Memory

ID = "21b868c932585cb005f1d0d149d75ccdfd712649f42bad0b9fc1634acde05934"
DROPLET = "886fd8bc4ee2afbf1142bb5f0fa5d6bda2e3e3065fe31c5a401f8225d1b304e7"
UNLIMITED_V1 = "9223372036854771712\n"
PID = 540


class Host:
    """Trees of /proc and of control groups in a folder, as the kernel shows them to a process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.proc = folder / "proc"
        self.write("proc/self/mountinfo", "")

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def mounts(self, who: str, *rows: tuple[str, str, str, str], under: str | None = None) -> None:
        """Rows of a mount table: root, mount point (below the folder, or ``under``), type, options."""
        prefix = self.folder if under is None else under
        lines = [
            f"{n} 25 0:{n} {root} {prefix}{point} rw,nosuid shared:9 - {kind} {kind} {options}\n"
            for n, (root, point, kind, options) in enumerate(rows, 30)
        ]
        self.write(f"proc/{who}/mountinfo", "".join(["22 1 8:1 / / rw - ext4 /dev/vda1 rw\n", *lines]))

    def group(self, path: str, **files: str) -> None:
        for name, text in files.items():
            self.write(f"{path}/{name.replace('__', '.')}", text)

    def memory(self, container_id: str = ID) -> Memory:
        return _cgroup.memory(PID, container_id, proc=str(self.proc))

    def cpu_use(self) -> CpuUse:
        return _cgroup.cpu_use(PID, ID, proc=str(self.proc))

    def cpus(self, container_id: str = ID) -> float | None:
        return _cgroup.cpus(PID, container_id, proc=str(self.proc))


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


V1 = {
    "memory__limit_in_bytes": "536870912\n",
    "memory__usage_in_bytes": "314077184\n",
    "memory__max_usage_in_bytes": "316063744\n",
    "memory__oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 19\n",
}
V2 = {
    "memory__max": "536870912\n",
    "memory__current": "314077184\n",
    "memory__peak": "316063744\n",
    "memory__events": "low 0\nhigh 0\nmax 51\noom 20\noom_kill 19\noom_group_kill 0\n",
}
FIGURES = Memory(536870912, 314077184, 316063744, 19)


def v1_host(host: Host, group: str = f"/docker/{ID}") -> None:
    host.write(f"proc/{PID}/cgroup", f"9:name=systemd:/\n4:memory:{group}\n2:cpu,cpuacct:{group}\n0::/\n")
    host.mounts(
        "self",
        ("/", "/sys/fs/cgroup/memory", "cgroup", "rw,memory"),
        ("/", "/sys/fs/cgroup/cpu,cpuacct", "cgroup", "rw,cpu,cpuacct"),
        ("/", "/sys/fs/cgroup/unified", "cgroup2", "rw"),
    )
    host.group("sys/fs/cgroup/memory", memory__limit_in_bytes=UNLIMITED_V1)


def v2_host(host: Host, group: str = f"/system.slice/docker-{ID}.scope") -> None:
    host.write(f"proc/{PID}/cgroup", f"0::{group}\n")
    host.mounts("self", ("/", "/sys/fs/cgroup", "cgroup2", "rw,nsdelegate,memory_recursiveprot"))


def test_version_1_with_the_cgroupfs_driver(host: Host) -> None:
    v1_host(host)
    host.group(f"sys/fs/cgroup/memory/docker/{ID}", **V1)
    host.group(f"sys/fs/cgroup/cpu,cpuacct/docker/{ID}", cpu__cfs_quota_us="150000\n", cpu__cfs_period_us="100000\n")
    assert host.memory() == FIGURES
    assert host.cpus() == 1.5


def test_version_2_with_the_systemd_driver(host: Host) -> None:
    v2_host(host)
    host.group(f"sys/fs/cgroup/system.slice/docker-{ID}.scope", **V2, cpu__max="50000 100000\n")
    assert host.memory() == FIGURES
    assert host.cpus() == 0.5


def test_no_limits(host: Host) -> None:
    v1_host(host)
    host.group(f"sys/fs/cgroup/memory/docker/{ID}", **{**V1, "memory__limit_in_bytes": UNLIMITED_V1})
    host.group(f"sys/fs/cgroup/cpu,cpuacct/docker/{ID}", cpu__cfs_quota_us="-1\n", cpu__cfs_period_us="100000\n")
    assert host.memory().limit is None
    assert host.cpus() is None


def test_no_limits_in_version_2_and_no_peak_before_linux_5_19(host: Host) -> None:
    v2_host(host)
    files = {**V2, "memory__max": "max\n"}
    del files["memory__peak"]
    host.group(f"sys/fs/cgroup/system.slice/docker-{ID}.scope", **files, cpu__max="max 100000\n")
    assert host.memory() == Memory(None, 314077184, None, 19)
    assert host.cpus() is None


def test_a_limit_around_the_container_is_in_force_too(host: Host) -> None:
    v2_host(host)
    host.group(f"sys/fs/cgroup/system.slice/docker-{ID}.scope", **{**V2, "memory__max": "max\n"}, cpu__max="max 100000")
    host.group("sys/fs/cgroup/system.slice", memory__max="1073741824\n", cpu__max="200000 100000\n")
    assert host.memory().limit == 1073741824
    assert host.cpus() == 2.0


def test_groups_that_the_container_made_are_inside_its_own(host: Host) -> None:
    v2_host(host, f"/docker/{ID}/init.scope")
    host.group(f"sys/fs/cgroup/docker/{ID}", **V2)
    host.group(f"sys/fs/cgroup/docker/{ID}/init.scope", memory__max="1\n", memory__current="1\n")
    assert host.memory() == FIGURES
    assert host.memory("").usage == 1


def test_inside_a_container_that_shares_the_hosts_cgroup_namespace(host: Host) -> None:
    """The mount's root is the outer container's group, and the inner one's path is given from the host's top."""
    v1_host(host, f"/docker/{DROPLET}/docker/{ID}")
    host.mounts("self", (f"/docker/{DROPLET}", "/sys/fs/cgroup/memory", "cgroup", "rw,memory"))
    host.group(f"sys/fs/cgroup/memory/docker/{ID}", **V1)
    assert host.memory() == FIGURES


def test_a_mount_that_we_cannot_place_gives_way_to_the_containers_own(host: Host) -> None:
    """Mounted outside our cgroup namespace: only the container's mount table and its root show its group."""
    v1_host(host)
    host.mounts("self", ("/../..", "/sys/fs/cgroup/memory", "cgroup", "rw,memory"))
    host.mounts(str(PID), (f"/docker/{ID}", "/sys/fs/cgroup/memory", "cgroup", "rw,memory"), under="")
    host.group("/".join(("proc", str(PID), "root", "sys/fs/cgroup/memory")), **V1)
    assert host.memory() == FIGURES


def test_a_group_outside_our_namespace_is_not_looked_for_outside_the_mount(host: Host) -> None:
    v2_host(host, "/../elsewhere")
    host.group("sys/fs/cgroup", **V2)
    host.group("sys/fs/elsewhere", **V2)
    assert host.memory("") == Memory(None, None, None, None)


def test_blanks_in_a_mount_point(host: Host) -> None:
    host.write(f"proc/{PID}/cgroup", "0::/x\n")
    host.mounts("self", ("/", "/my\\040cgroup", "cgroup2", "rw"))
    host.group("my cgroup/x", **V2)
    assert host.memory("") == FIGURES


def test_the_last_of_the_figures_of_a_process_that_is_gone(host: Host) -> None:
    v2_host(host)
    assert _cgroup.memory(0, ID, proc=str(host.proc)) == Memory(None, None, None, None)
    assert _cgroup.cpus(0, ID, proc=str(host.proc)) is None
    assert _cgroup.cpu_use(0, ID, proc=str(host.proc)) == CpuUse(None, None, None)


def test_cpu_used_and_held_up_in_version_1(host: Host) -> None:
    v1_host(host)
    stat = "nr_periods 400\nnr_throttled 100\nthrottled_time 2500000000\n"
    host.group(f"sys/fs/cgroup/cpu,cpuacct/docker/{ID}", cpu__stat=stat, cpuacct__usage="7500000000\n")
    assert host.cpu_use() == CpuUse(7.5, 2.5, 0.25)


def test_cpu_used_and_held_up_in_version_2(host: Host) -> None:
    v2_host(host)
    stat = "usage_usec 7500000\nuser_usec 1\nnr_periods 400\nnr_throttled 100\nthrottled_usec 2500000\n"
    host.group(f"sys/fs/cgroup/system.slice/docker-{ID}.scope", cpu__stat=stat)
    assert host.cpu_use() == CpuUse(7.5, 2.5, 0.25)
    host.group(f"sys/fs/cgroup/system.slice/docker-{ID}.scope", cpu__stat="usage_usec 7500000\n")
    assert host.cpu_use() == CpuUse(7.5, None, None)


def test_our_own_group_for_real() -> None:
    """Whatever machine runs the tests: the figures of this very process are numbers or None, and nothing is raised."""
    memory = _cgroup.memory(os.getpid())
    assert all(figure is None or figure >= 0 for figure in memory)
