# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines of the kernel's log and the engine's events, as Linux 6.18 and Engine 20.10 gave them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils import _kernel_log
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Completed
from ansible_collections.composeops.hotfix.plugins.module_utils._kernel_log import Exit, events, parse_engine

ID = "33fec6f80248834a051491cc51a7a3bc32024b807eefc4abbb45e2cbe1ad24a5"
OTHER = "f14eefe855ec1d2c4a3b8f0e6d9c7a5b4e3f2d1c0b9a8f7e6d5c4b3a2f1e0d9c"
OOM = (
    "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset={id},mems_allowed=0,oom_memcg=/docker/{id},"
    "task_memcg=/docker/{id},task=python3,pid=4329,uid=0"
)
KILLED = (
    "Memory cgroup out of memory: Killed process 4329 (python3) total-vm:219256kB, anon-rss:60928kB, file-rss:5648kB, "
    "shmem-rss:0kB, UID:0 pgtables:184kB oom_score_adj:0"
)
SEGFAULT = (
    "python3[31874]: segfault at 0 ip 00007f03934b3a98 sp 00007fffe60cde68 error 4 in libc.so.6[175a98,7f0393366000"
    "+163000] likely on CPU 0 (core 0, socket 0)"
)


def test_a_kill_for_the_containers_limit() -> None:
    found = events([(10.0, OOM.format(id=ID)), (10.1, KILLED)], ID)
    assert [(event.time, event.cause, event.pid, event.ours) for event in found] == [(10.0, "oom", 4329, True)]
    assert found[0].text.endswith("for the container's memory limit; it held 59 MiB of its own")


def test_a_kill_because_the_host_has_no_memory_left() -> None:
    text = (
        "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,"
        f"task_memcg=/system.slice/docker-{ID}.scope,task=uvicorn,pid=77,uid=1000"
    )
    assert "for the whole host" in events([(1.0, text)], ID)[0].text


def test_kills_in_other_containers_are_none_of_ours() -> None:
    assert events([(10.0, OOM.format(id=OTHER)), (10.1, KILLED)], ID) == []


@pytest.mark.parametrize(
    ("line", "pid", "words"),
    [
        (SEGFAULT, 31874, "segfault of process 31874 (python3) in libc.so.6"),
        (
            "traps: uvicorn[812] general protection fault ip:7f03934b3a98 sp:7fffe60cde68 error:0 in libfoo.so[7f03+1]",
            812,
            "general protection fault of process 812 (uvicorn) in libfoo.so",
        ),
        ("traps: python3[9] trap invalid opcode ip:55d sp:7ff error:0 in _core.abi3.so[55d+1]", 9, "_core.abi3.so"),
        ("python3[5]: segfault at 10 ip 0000000000000010 sp 00007ffc error 14", 5, "segfault of process 5 (python3)"),
    ],
)
def test_crashes(line: str, pid: int, words: str) -> None:
    (found,) = events([(2.0, line)], ID)
    assert (found.cause, found.pid, found.ours) == ("crash", pid, False)
    assert words in found.text


@pytest.mark.parametrize(
    "line",
    [
        "eth0: renamed from veth381bc02",
        "python3 invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0",
        "[   4329]     0  4329    54814    16644    15232     1412         0   188416        0             0 python3",
        'audit: type=1400 comm="python3[1]: segfault"',
    ],
)
def test_other_lines(line: str) -> None:
    assert events([(1.0, line)], ID) == []


def test_the_engines_events() -> None:
    oom = {"Action": "oom", "Actor": {"ID": ID, "Attributes": {"name": "x"}}, "timeNano": 1795535899613561173}
    die = {"Action": "die", "Actor": {"ID": ID, "Attributes": {"exitCode": "137"}}, "timeNano": 1795535900000000000}
    text = "\n".join([json.dumps(oom), "not json", json.dumps({"Action": "die"}), json.dumps(die)])
    kills, exits = parse_engine(Completed(0, text, ""))
    assert [(event.cause, event.ours, int(event.time)) for event in kills] == [("oom", True, 1795535899)]
    assert exits == [Exit(1795535900.0, 137)]


def test_the_kernels_own_buffer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fake device, since tests have no kernel of their own: a pipe gives one record for each read as well."""
    records = ["4,1,1000000,-;old\n", f"3,2,5000000,-;{SEGFAULT}\n SUBSYSTEM=x\n", "6,3,6000000,c;later; on\n"]
    monkeypatch.setattr(_kernel_log, "_records", lambda handle: iter(records))
    monkeypatch.setattr(_kernel_log.time, "time", lambda: 100.0)
    monkeypatch.setattr(_kernel_log.time, "monotonic", lambda: 90.0)
    assert _kernel_log._device(15.0, os.devnull) == [(15.0, SEGFAULT), (16.0, "later; on")]
    assert _kernel_log._device(15.0, str(tmp_path / "none")) is None


def test_the_journal_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def journalctl(argv: list[str], **_options: Any) -> Completed:
        assert argv[0] == "journalctl" and "--since=@15" in argv
        lines = [
            "15.100000 host kernel: one",
            "14.000000 host kernel: early",
            "-- Boot 5 --",
            "16.5 host systemd[1]: no",
        ]
        return Completed(0, "\n".join(lines), "")

    monkeypatch.setattr(_kernel_log, "run_command", journalctl)
    assert _kernel_log.read(15.0) == [(15.1, "one")]


def test_without_journal_and_device_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(argv: list[str], **_options: Any) -> Completed:
        raise FileNotFoundError(argv[0])

    monkeypatch.setattr(_kernel_log, "run_command", missing)
    monkeypatch.setattr(_kernel_log, "_device", lambda since: None)
    assert _kernel_log.read(0.0) is None
