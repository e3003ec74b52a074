# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts together all that is known of a container's workers; what it means is decided in ``_diagnosis``."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, NamedTuple

from ansible_collections.composeops.hotfix.plugins.module_utils import (
    _cgroup,
    _container,
    _kernel_log,
    _live_changes,
    _processes,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_file import Project
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Docker, Process
from ansible_collections.composeops.hotfix.plugins.module_utils._container_facts import identity, live_processes
from ansible_collections.composeops.hotfix.plugins.module_utils._container_log import read_log
from ansible_collections.composeops.hotfix.plugins.module_utils._diagnosis import (
    Container,
    Observed,
    Settings,
    Worker,
    diagnose,
    judge,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._kernel_files import stat, uptime
from ansible_collections.composeops.hotfix.plugins.module_utils._kernel_log import Event, Exit
from ansible_collections.composeops.hotfix.plugins.module_utils._logs import epoch, life_start
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import hidden_values, mask
from ansible_collections.composeops.hotfix.plugins.module_utils._server_settings import settings_of
from ansible_collections.composeops.hotfix.plugins.module_utils._server_version import package_version
from ansible_collections.composeops.hotfix.plugins.module_utils._worker_advice import Room, recommend, sizing
from ansible_collections.composeops.hotfix.plugins.module_utils._worker_log import Story
from ansible_collections.composeops.hotfix.plugins.module_utils._worker_memory import Running
from ansible_collections.composeops.hotfix.plugins.module_utils._worker_samples import (
    Watch,
    Window,
    inner_pid,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._worker_setting import describe, find
from ansible_collections.composeops.hotfix.plugins.module_utils._workers import Measured, Memory, measure, sizes

# Seconds. A container that the engine starts again and again may not have come to its next error yet: the lines of its
# lives before are looked at as well while this one is so young.
YOUNG_LIFE = 60.0
LOOK_BACK = 120.0
NO_WINDOW = Window(0.0, 0.0, [], {}, 0.0, 0)
ONLY_ROOT = "Run as root (become: true)"


class Request(NamedTuple):
    """What is asked for: ``since`` (RFC 3339; None: the last start), seconds to watch, where files and journal are."""

    since: str | None
    watch: int
    project_src: str | None
    service: str | None
    files: list[str]
    state_dir: str | None = None


class Server(NamedTuple):
    """The server as it runs: its processes' roles, version and settings, and what its files say."""

    found: _processes.Workers
    main: Process | None
    version: str | None
    settings: Settings
    result: dict[str, Any]

    def told_while_running(self, workers: int) -> Server:
        """The same server, which was given another number of workers since it was started."""
        settings = self.settings._replace(workers=workers)
        return self._replace(settings=settings, result={**self.result, "configured": workers})


def worker_info(docker: Docker, inspect: Mapping[str, Any], request: Request) -> dict[str, Any]:
    """The result of the module ``worker_info``.

    :param inspect: the container's ``docker inspect`` data.
    :raises HotfixError: when the container's processes may not be looked at, or the engine does not answer.
    """
    window, kills = _watch(docker, inspect, request.watch)
    now = docker.lookup(inspect["Id"])
    if now is None:
        raise HotfixError("the container was removed while it was watched", remedy="Run it again on the new one")
    change = _live_changes.last_change(request._asdict(), now)
    processes = live_processes(docker, now)
    server = _server(docker, now, processes, request)
    if change is not None and change["workers"]:
        server = server.told_while_running(change["workers"])
    known = _sizes(processes)
    # What happened before the number was changed in the running server is not to be held against the new one.
    noted = change is not None and request.since is None
    since, bounded = _since(now, change["time"] if change is not None and noted else request.since)
    memory = _memory(now)
    kernel_lines = _kernel_log.read(since)
    kernel = _kernel_log.events(kernel_lines or [], now["Id"])
    story, exits, readable = _story(
        docker, now, since, server.settings, window=window, kernel=kernel, kills=(memory.oom_kills or 0) - kills
    )
    seen = Observed(
        settings=server.settings,
        container=_life(now, exits),
        supervisor_started=_started(server.found.supervisor_pid),
        live=_workers_alive(server.found.pids, story, since if bounded else None),
        deaths=list(story.deaths),
        causes=story.causes,
        unexplained=story.unexplained,
        exception=story.exception,
        log=readable is None,
        speaks=story.speaks,
        oom_kills=_kills_since(memory, change if noted else None),
        spare_kills=max(story.kills - story.causes["oom"], 0),
        bounded=bounded,
        watched=window.seconds,
        noted=noted,
    )
    diagnosis = diagnose(seen)
    policy = _container.restart_policy(now)
    host = _host(docker)
    room = _room(now, memory, host, _measured(server, known, window))
    evidence = [*diagnosis.evidence, *_sources(kernel_lines, readable)]
    return {
        "server": server.result,
        "workers": [_worker(pid, known[pid]) for pid in server.found.pids if pid in known],
        "memory": memory._asdict(),
        "cpu": {"quota": _quota(now), **_cgroup.cpu_use(_pid(now), now["Id"])._asdict()},
        "deaths": {"count": diagnosis.deaths, "timestamps": diagnosis.timestamps},
        "host": host,
        "container": {**identity(now), "restart_policy": policy._asdict(), "survives_reboot": policy.survives_reboot},
        "diagnosis": {
            "cause": diagnosis.cause,
            "causes": diagnosis.causes,
            "confidence": diagnosis.confidence,
            "evidence": evidence,
        },
        "recommendation": recommend(
            diagnosis,
            server.settings,
            room,
            version=server.version,
            restart_policy=policy.name,
            exception=story.exception,
            started=_container.state(now).status != "created",
        ),
        "sizing": sizing(server.settings, room),
        "last_change": change,
        "since": datetime.fromtimestamp(since, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "watched": {"seconds": round(window.seconds, 1), "cpu_seconds": round(window.cpu, 2)},
    }


def _pid(inspect: Mapping[str, Any]) -> int:
    return _container.state(inspect).pid


def _memory(inspect: Mapping[str, Any]) -> _cgroup.Memory:
    return _cgroup.memory(_pid(inspect), inspect["Id"])


def _kills_since(memory: _cgroup.Memory, change: Mapping[str, Any] | None) -> int | None:
    """Kills for lack of memory since the container's start, or since a change of the running server."""
    if memory.oom_kills is None or change is None:
        return memory.oom_kills
    return max(memory.oom_kills - int(change["oom_kills"]), 0)


def _quota(inspect: Mapping[str, Any]) -> float | None:
    return _cgroup.cpus(_pid(inspect), inspect["Id"])


def _watch(docker: Docker, inspect: Mapping[str, Any], seconds: int) -> tuple[Window, int]:
    """Watch the workers if asked, and say how many kills for lack of memory there had been before."""
    kills = _memory(inspect).oom_kills or 0

    def processes() -> Sequence[Process]:
        now = docker.lookup(inspect["Id"])
        return live_processes(docker, now) if now is not None else []

    return (Watch(processes).run(seconds) if seconds else NO_WINDOW), kills


def _since(inspect: Mapping[str, Any], wanted: str | None) -> tuple[float, bool]:
    """From when on things count, Unix time, and whether that is later than the container's last start."""
    state = _container.state(inspect)
    if state.started_at is None:
        return (epoch(wanted) if wanted else time.time()), False
    begin = epoch(life_start(state.started_at, state.finished_at))
    if wanted is not None:
        return epoch(wanted), epoch(wanted) > begin
    young = state.restart_count and (state.status == "restarting" or time.time() - begin < YOUNG_LIFE)
    return (begin - LOOK_BACK if young else begin), False


def _story(
    docker: Docker,
    inspect: Mapping[str, Any],
    since: float,
    told: Settings,
    *,
    window: Window,
    kernel: list[Event],
    kills: int,
) -> tuple[Story, list[Exit], str | None]:
    """What log, kernel, engine and watching tell together, the container's ends, and why the log cannot be read."""
    engine, exits = _kernel_log.engine(docker, inspect["Id"], since, time.time())
    ours = [event for event in kernel if event.cause == "oom"]
    watched = {one.pid for one in window.ended}
    # The engine tells of the kernel's kills, without a process: two words for the same thing.
    events = [*kernel, *([] if ours else engine)]
    readable = (
        None if inspect["HostConfig"].get("LogConfig", {}).get("Type") != "none" else "its logging driver is none"
    )
    verdicts = judge(window.ended, told, oom_kills=max(kills, 0), kernel=kernel, log=readable is None)
    story = Story(
        known=verdicts,
        events=sorted(event for event in events if event.pid not in watched),
        max_requests=told.max_requests,
        secrets=hidden_values(_container.environment(inspect)),
    )
    if readable is None and _container.state(inspect).started_at is not None:
        since_text = datetime.fromtimestamp(since, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        try:
            read_log(docker, inspect, ["--timestamps", "--since", since_text], story, None)
        except HotfixError as error:
            readable = error.message
    story.end()
    return story, exits, readable


def _life(inspect: Mapping[str, Any], exits: list[Exit]) -> Container:
    state = _container.state(inspect)
    return Container(state.status, state.exit_code, state.oom_killed, state.restart_count, exits)


def _started(pid: int | None) -> float | None:
    state = stat(pid) if pid else None
    return state.started if state else None


def _workers_alive(pids: Sequence[int], story: Story, since: float | None) -> list[Worker]:
    found, boot = [], time.time() - uptime()
    for pid in pids:
        state = stat(pid)
        if state is not None and not state.ended:
            inner = inner_pid(pid)
            earlier = since is not None and boot + state.started < since
            found.append(Worker(inner, state.started, earlier or story.started(inner)))
    return found


def _server(docker: Docker, inspect: Mapping[str, Any], processes: list[Process], request: Request) -> Server:
    found = _processes.workers(processes)
    main = _processes.main_process(processes, found)
    first = settings_of(inspect, processes, found)
    version = None
    if main is not None and first.server is not None:
        version = package_version(main.pid, first.server, main.argv)
    told = settings_of(inspect, processes, found, version)
    written = _written(docker, inspect, request)
    if told.workers is None and told.server == "gunicorn":
        told = told._replace(workers=written["workers"] if written["name"] else 1)
    secrets = hidden_values(_container.environment(inspect))
    made_of = [*(inspect["Config"].get("Entrypoint") or []), *(inspect["Config"].get("Cmd") or [])]
    result = {
        "name": told.server,
        "version": version,
        "argv": [mask(word, secrets) for word in (main.argv if main else made_of)],
        "supervisor_pid": found.supervisor_pid,
        "configured": told.workers,
        "ping_timeout": told.ping_timeout if told.server == "uvicorn" else None,
        "max_requests": told.max_requests,
        "source": written,
    }
    return Server(found, main, version, told, result)


def _written(docker: Docker, inspect: Mapping[str, Any], request: Request) -> dict[str, Any]:
    """What the project's files say of the number of workers, and where; they may be newer than the container."""
    labels = _container.compose_labels(inspect)
    folder = request.project_src or labels.working_dir
    files = request.files if request.project_src else labels.config_files
    service = request.service or labels.service
    nothing: dict[str, Any] = {"workers": None, "name": None, "file": None, "line": None, "kind": None}
    if not folder or not service:
        return {**nothing, "reason": "The container is of no Compose project."}
    try:
        project = Project.load(folder, files or None)
        setting = find(Running(folder, service, files, docker).launch(project))
    except HotfixError as error:
        return {**nothing, "reason": str(error)}
    return {
        "workers": setting.number,
        "name": setting.name or None,
        **setting.place._asdict(),
        "reason": " ".join([describe(setting), *setting.weaker]),
    }


def _sizes(processes: Sequence[Process]) -> dict[int, Memory]:
    try:
        return sizes(process.pid for process in processes)
    except HotfixError as error:
        raise HotfixError("the container's processes may not be looked at", remedy=ONLY_ROOT) from error


def _measured(server: Server, known: Mapping[int, Memory], window: Window) -> Measured | None:
    """What the processes use; a worker that ended while it was watched counts with what it held then."""
    live = [size for pid, size in known.items() if pid in server.found.pids]
    if not live:
        return None
    measured = measure(known, server.found.pids)
    grown = max(window.peaks.values(), default=0) - min(size.rss - size.uss for size in live)
    return measured._replace(per_worker=max(measured.per_worker, grown))


def _worker(pid: int, size: Memory) -> dict[str, Any]:
    state = stat(pid)
    age = round(uptime() - state.started, 1) if state else None
    return {"pid": pid, **size._asdict(), "age": age}


def _host(docker: Docker) -> dict[str, Any]:
    fields = {}
    with open("/proc/meminfo", encoding="ascii") as stream:
        fields = {
            name: int(kib) * 1024 for name, kib in re.findall(r"^(\w+):\s+(\d+) kB$", stream.read(), re.MULTILINE)
        }
    root = docker.run("info", "--format", "{{.DockerRootDir}}").stdout.strip()
    disk: dict[str, Any] = {"path": root, "total": None, "available": None}
    with contextlib.suppress(OSError):
        space = os.statvfs(root)
        disk.update(total=space.f_blocks * space.f_frsize, available=space.f_bavail * space.f_frsize)
    return {
        "memory": {
            "total": fields.get("MemTotal"),
            "available": fields.get("MemAvailable"),
            "swap_total": fields.get("SwapTotal"),
            "swap_free": fields.get("SwapFree"),
        },
        "cpus": os.cpu_count(),
        "load": [round(load, 2) for load in os.getloadavg()],
        "disk": disk,
    }


def _room(
    inspect: Mapping[str, Any], memory: _cgroup.Memory, host: Mapping[str, Any], measured: Measured | None
) -> Room:
    pid = _pid(inspect)
    limit = memory.limit or inspect["HostConfig"].get("Memory") or None
    return Room(
        measured=measured,
        limit=limit,
        usage=memory.usage or 0,
        host_total=host["memory"]["total"] or 0,
        host_available=host["memory"]["available"] or 0,
        cpus=_quota(inspect) or len(os.sched_getaffinity(0)),
        throttled_part=_cgroup.cpu_use(pid, inspect["Id"]).throttled_part,
    )


def _sources(kernel: list[tuple[float, str]] | None, unreadable: str | None) -> list[str]:
    """Which witnesses could not be heard."""
    lines = []
    if kernel is None:
        lines.append("The kernel's log cannot be read here; the control group's counter stands in for it.")
    if unreadable is not None:
        lines.append(f"The container's log cannot be read: {unreadable}.")
    return lines
