# SPDX-License-Identifier: GPL-3.0-or-later
"""All witnesses put together: control groups of both versions, the kernel's log, the engine and the container's log.

The container's processes and its control group are made up, since no test has a kernel that kills; real ones are in
tests/causes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils import (
    _cgroup,
    _journal,
    _kernel_log,
    _live_changes,
    _worker_info,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Completed, Docker
from ansible_collections.composeops.hotfix.plugins.module_utils._logs import Scan, parse_line
from ansible_collections.composeops.hotfix.plugins.module_utils._worker_info import Request, worker_info

ID = "21b868c932585cb005f1d0d149d75ccdfd712649f42bad0b9fc1634acde05934"
RECORDED = Path(__file__).parent / "recorded" / "inspect_engine_20.json"
# No process of this machine: more than a kernel numbers.
PID = 999999901
MIB = 1024**2
FILES = {
    1: {
        "memory.limit_in_bytes": 512 * MIB,
        "memory.usage_in_bytes": 400 * MIB,
        "memory.max_usage_in_bytes": 512 * MIB,
        "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill {kills}",
    },
    2: {
        "memory.max": 512 * MIB,
        "memory.current": 400 * MIB,
        "memory.peak": 512 * MIB,
        "memory.events": "low 0\nhigh 0\nmax 51\noom 20\noom_kill {kills}\noom_group_kill 0",
    },
}
DIED = ("Started server process [8]", "Child process [8] died", "Started server process [14]")
NO_KERNEL_LOG = "The kernel's log cannot be read here; the control group's counter stands in for it."


class Host:
    """A host on which one container ran a uvicorn with two workers, an hour ago until now."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.proc = folder, folder / "proc"
        self.inspect: dict[str, Any] = json.loads(RECORDED.read_text(encoding="utf-8"))[0]
        self.start = time.time() - 3600
        self.inspect |= {"Id": ID, "RestartCount": 0}
        self.inspect["State"] |= {"Status": "running", "Running": True, "Restarting": False, "Pid": PID}
        self.inspect["State"]["StartedAt"] = self.instant(0)
        self.inspect["HostConfig"]["LogConfig"] = {"Type": "json-file"}
        self.log: list[str] = []
        self.events: list[str] = []
        self.kernel: list[tuple[float, str]] | None = None
        docker = folder / "bin" / "docker"
        docker.parent.mkdir()
        docker.write_text("#!/bin/sh\n")
        docker.chmod(0o755)
        self.docker = Docker(run=self.run, environ={"PATH": str(docker.parent)})
        for name in ("memory", "cpus", "cpu_use"):
            monkeypatch.setattr(_cgroup, name, partial(getattr(_cgroup, name), proc=str(self.proc)))
        monkeypatch.setattr(_kernel_log, "read", lambda since: self.kernel)
        monkeypatch.setattr(_worker_info, "read_log", self.read_log)

    def instant(self, seconds: float) -> str:
        """So many seconds after the container's start."""
        return datetime.fromtimestamp(self.start + seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")

    def run(self, argv: list[str], **_options: Any) -> Completed:
        texts = {"inspect": json.dumps([self.inspect]), "info": "/\n", "events": "\n".join(self.events)}
        if argv[1] == "top":
            spawned = "/usr/bin/python3 -c from multiprocessing.spawn import spawn_main; spawn_main()"
            texts["top"] = (
                f"PID PPID COMMAND\n{PID} 1 /usr/bin/python3 /usr/bin/uvicorn app:app --workers 2\n"
                f"{PID + 2} {PID} {spawned}\n{PID + 3} {PID} {spawned}\n"
            )
        return Completed(0 if argv[1] in texts else 1, texts.get(argv[1], ""), "")

    def read_log(self, docker: Docker, inspect: Any, options: list[str], scan: Scan, seconds: int | None) -> None:
        since = options[options.index("--since") + 1]
        for number, text in enumerate(self.log, 60):
            if self.instant(number) >= since:
                raw = f"{self.instant(number)} INFO:     {text}".encode()
                scan.feed(parse_line("stderr", raw, len(raw)))

    def write(self, name: str, text: object) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")

    def group(self, version: int, kills: int) -> None:
        """Its control group, with the counters as the kernel of either interface writes them."""
        point = self.folder / "cgroup"
        kind, options = ("cgroup", "rw,memory") if version == 1 else ("cgroup2", "rw")
        self.write(f"proc/{PID}/cgroup", f"{'4:memory' if version == 1 else '0:'}:/docker/{ID}")
        self.write("proc/self/mountinfo", f"30 25 0:30 / {point} rw shared:9 - {kind} {kind} {options}")
        for name, text in FILES[version].items():
            self.write(f"cgroup/docker/{ID}/{name}", str(text).format(kills=kills))

    def asked(self, **options: Any) -> dict[str, Any]:
        request = {"since": None, "watch": 0, "project_src": None, "service": None, "files": [], **options}
        result = worker_info(self.docker, self.inspect, Request(**request))
        assert json.loads(json.dumps(result)) == result
        return result


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def counts(result: dict[str, Any]) -> dict[str, int]:
    return {item["cause"]: item["count"] for item in result["diagnosis"]["causes"]}


@pytest.mark.parametrize("version", [1, 2])
def test_the_counter_of_either_version_explains_deaths_without_the_kernels_log(host: Host, version: int) -> None:
    host.group(version, 2)
    host.log = [*DIED, "Child process [14] died"]
    result = host.asked()
    assert (result["diagnosis"]["cause"], result["diagnosis"]["confidence"], counts(result)) == (
        "oom",
        "high",
        {"oom": 2},
    )
    assert result["memory"] == {"limit": 512 * MIB, "usage": 400 * MIB, "peak": 512 * MIB, "oom_kills": 2}
    assert result["diagnosis"]["evidence"][-1] == NO_KERNEL_LOG
    assert any("counts 2 processes killed" in line for line in result["diagnosis"]["evidence"])


@pytest.mark.parametrize("version", [1, 2])
def test_the_counter_needs_no_line_of_the_log(host: Host, version: int) -> None:
    host.group(version, 1)
    assert counts(host.asked()) == {"oom": 1}


@pytest.mark.parametrize("version", [1, 2])
def test_without_a_kill_and_without_the_kernels_log_a_death_is_unknown_and_it_is_said_what_would_tell(
    host: Host, version: int
) -> None:
    host.group(version, 0)
    host.log = list(DIED)
    result = host.asked()
    assert (result["diagnosis"]["cause"], result["diagnosis"]["confidence"], counts(result)) == (
        "unknown",
        "low",
        {"unknown": 1},
    )
    assert any("What would tell: run again with watch: 120" in line for line in result["diagnosis"]["evidence"])
    assert NO_KERNEL_LOG in result["diagnosis"]["evidence"]
    assert [item["kind"] for item in result["recommendation"]["actions"]] == ["again"]
    assert result["recommendation"]["workers"] == {"value": 2, "reason": "The cause is not known yet."}


def test_without_any_counter_a_death_is_unknown(host: Host) -> None:
    host.log = list(DIED)
    result = host.asked()
    assert result["memory"]["oom_kills"] is None and counts(result) == {"unknown": 1}


def test_the_kernels_log_names_the_process_and_how_much_it_held(host: Host) -> None:
    host.group(2, 1)
    host.log = list(DIED)
    when = host.start + 60.9
    host.kernel = [
        (
            when,
            f"oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),task_memcg=/docker/{ID},task=uvicorn,pid=77,uid=0",
        ),
        (when, "Memory cgroup out of memory: Killed process 77 (uvicorn) total-vm:9kB, anon-rss:81920kB, file-rss:0kB"),
    ]
    evidence = host.asked()["diagnosis"]["evidence"]
    assert any("killed process 77 (uvicorn)" in line and "it held 80 MiB" in line for line in evidence)
    assert NO_KERNEL_LOG not in evidence


def test_the_engines_event_gives_a_kill_its_time(host: Host) -> None:
    host.group(2, 1)
    host.events = [json.dumps({"Action": "oom", "timeNano": int((host.start + 61) * 1e9)})]
    host.log = list(DIED)
    result = host.asked()
    assert counts(result) == {"oom": 1}
    assert any("the engine was told of a kill" in line for line in result["diagnosis"]["evidence"])
    # The counter began before that instant, so that only a kill with a time counts.
    assert counts(host.asked(since=host.instant(30))) == {"oom": 1}
    host.events = []
    assert counts(host.asked(since=host.instant(30))) == {"unknown": 1}


def test_what_was_before_the_instant_that_is_asked_for_does_not_count(host: Host) -> None:
    host.group(2, 5)
    host.log = list(DIED)
    result = host.asked(since=host.instant(600))
    assert "oom" not in counts(result)
    assert result["deaths"] == {"count": 0, "timestamps": []}


def test_a_number_that_was_changed_while_it_runs_is_the_configured_one_and_deaths_count_from_then_on(
    host: Host,
) -> None:
    host.group(2, 3)
    host.log = list(DIED)
    project, state = host.folder / "shop", host.folder / "state"
    project.mkdir()
    where = {"project_src": str(project), "service": "web", "state_dir": str(state)}
    assert counts(host.asked(**where)) == {"oom": 3} and host.asked(**where)["last_change"] is None
    with _live_changes.noted(where, host.inspect, 3, lambda: "4 to 3"):
        pass
    host.group(2, 4)
    result = host.asked(**where)
    assert result["server"]["configured"] == 3
    assert (result["last_change"]["oom_kills"], result["last_change"]["workers"]) == (3, 3)
    assert counts(result) == {"oom": 1}
    assert any(
        "1 process killed for lack of memory since the number of workers was changed" in line
        for line in result["diagnosis"]["evidence"]
    )
    # Who asks for an earlier instant gets it.
    assert host.asked(**where, since=host.instant(0))["deaths"]["count"] >= 1
    # What is no such entry, as an editor may leave it, is none of a number.
    folder = _journal.project_folder(str(state), str(project))
    text = (Path(folder) / "journal.jsonl").read_text().replace('"workers": "3"', '"workers": "?"')
    assert "?" in text
    (Path(folder) / "journal.jsonl").write_text(text)
    assert host.asked(**where)["server"]["configured"] == 2


@pytest.mark.parametrize(("driver", "words"), [("none", "its logging driver is none"), ("json-file", "it is away")])
def test_a_log_that_cannot_be_read_is_said(
    host: Host, monkeypatch: pytest.MonkeyPatch, driver: str, words: str
) -> None:
    def away(*_arguments: Any) -> None:
        raise _worker_info.HotfixError("it is away")

    host.group(2, 0)
    host.inspect["HostConfig"]["LogConfig"] = {"Type": driver}
    monkeypatch.setattr(_worker_info, "read_log", away)
    assert f"The container's log cannot be read: {words}." in host.asked()["diagnosis"]["evidence"]


def test_a_young_life_of_a_container_that_starts_again_and_again_looks_back(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(_worker_info, "read_log", lambda _d, _i, options, *_more: seen.append(options[2]))
    host.start = time.time() - 10
    host.inspect["State"]["StartedAt"] = host.instant(0)
    host.inspect["State"]["FinishedAt"] = host.instant(-5)
    host.asked()
    host.inspect["RestartCount"] = 4
    host.asked()
    alone, after_restarts = (datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() for text in seen)
    assert host.start - 2 < alone <= host.start
    assert alone - after_restarts == pytest.approx(_worker_info.LOOK_BACK)


def test_a_container_that_goes_meanwhile(host: Host) -> None:
    gone: Callable[..., Completed] = lambda argv, **_options: Completed(1, "", "Error: No such container: x")  # noqa: E731
    with pytest.raises(_worker_info.HotfixError, match="was removed while it was watched"):
        worker_info(
            Docker(run=gone, environ={"PATH": str(host.folder / "bin")}),
            host.inspect,
            Request(None, 0, None, None, []),
        )
