# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures that sizing needs: from options, else the Compose file, else measured on the running container."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from ansible_collections.composeops.hotfix.plugins.module_utils import _cgroup, _container, _processes
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_file import Project
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Docker
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._kernel_files import stat, uptime
from ansible_collections.composeops.hotfix.plugins.module_utils._launch import Files, ImageConfig, Launch
from ansible_collections.composeops.hotfix.plugins.module_utils._server_settings import settings_of
from ansible_collections.composeops.hotfix.plugins.module_utils._workers import (
    Measured,
    human,
    measure,
    parse_size,
    sizes,
)

# Seconds. Workers that are younger may not have loaded what they load at the first request that needs it.
YOUNG = 300


class Figures(NamedTuple):
    """Bytes and CPUs, and how they are known.

    :ivar measured: whether any of the sizes was measured, so that it varies from run to run.
    :ivar most: the largest number of workers that experience allows; None when there is none to go by.
    :ivar warnings: what may make the measured sizes wrong.
    """

    limit: int
    shared: int
    per_worker: int
    cpus: float
    measured: bool
    most: int | None
    reasons: list[str]
    warnings: list[str]


class Live(NamedTuple):
    """What was measured on a running container.

    :ivar configured: the number of workers that it was started with.
    :ivar age: seconds since the oldest worker was started.
    :ivar oom_kills: processes of this container that the kernel killed for lack of memory.
    """

    memory: Measured
    configured: int
    age: float
    oom_kills: int


class Running:
    """The service's container, looked for only when something of it is needed.

    That there is none, or no Docker, is no error as long as nothing of it is needed.
    """

    def __init__(self, project_src: str, service: str, files: Sequence[str], docker: Docker | None = None) -> None:
        self.project_src, self.service, self.files = project_src, service, files
        self.docker = docker or Docker()
        self.why_not = f"service {service} has no container"

    @cached_property
    def inspect(self) -> dict[str, Any] | None:
        """What ``docker inspect`` says of it; None when there is none."""
        try:
            return self.docker.lookup(project_src=self.project_src, service=self.service, files=self.files)
        except HotfixError as error:
            self.why_not = error.message
            return None

    @property
    def pid(self) -> int:
        """The first process of the container; 0 when it does not run."""
        return _container.state(self.inspect).pid if self.inspect else 0

    def limit(self) -> int | None:
        """The container's memory limit in bytes."""
        return _cgroup.memory(self.pid, self.inspect["Id"]).limit if self.inspect and self.pid else None

    def cpus(self) -> float | None:
        """The CPUs that the container may use, by its quota; None when there is none."""
        return _cgroup.cpus(self.pid, self.inspect["Id"]) if self.inspect and self.pid else None

    def measure(self) -> Live:
        """What the container's processes use, and how they fared.

        :raises HotfixError: when it does not run, or may not be looked at.
        """
        if self.inspect is None or not self.pid:
            why = self.why_not if self.inspect is None else "the container does not run"
            raise HotfixError(
                f"the memory of the workers cannot be measured: {why}",
                remedy="Give memory_per_worker and memory_shared, or a number of workers",
            )
        processes = self.docker.processes(self.inspect["Id"])
        found = _processes.workers(processes)
        memory = measure(sizes(process.pid for process in processes), found.pids)
        kills = _cgroup.memory(self.pid, self.inspect["Id"]).oom_kills
        number = settings_of(self.inspect, processes, found).workers or 0
        return Live(memory, max(memory.workers, number), _age(found.pids), kills or 0)

    def launch(self, project: Project) -> Launch:
        """What Compose would run for the service, with its image's own command where that is not built here."""
        launch = Launch(project, self.service, None, Files())
        if launch.built is not None and launch.argv:
            return launch
        image = self.image(launch.data.get("image") if launch.built is None else None)
        return launch if image is None else Launch(project, self.service, image, Files())

    def image(self, name: str | None) -> ImageConfig | None:
        """What the image of the container, or else the image of that name, runs by itself."""
        reference = self.inspect["Image"] if self.inspect else name
        if not reference:
            return None
        try:
            result = self.docker.run("image", "inspect", "--format", "{{json .Config}}", reference)
        except HotfixError:
            return None
        return image_config(name or reference, result.stdout)


def image_config(name: str, text: str) -> ImageConfig:
    """Read the JSON that ``docker image inspect`` prints of an image's configuration."""
    data = json.loads(text) or {}
    pairs = (entry.partition("=") for entry in data.get("Env") or [])
    return ImageConfig(
        name,
        list(data.get("Entrypoint") or []),
        list(data.get("Cmd") or []),
        {key: value for key, _sign, value in pairs},
        data.get("WorkingDir") or "/",
    )


def limit_in_compose(data: Mapping[str, Any]) -> tuple[int, str] | None:
    """The memory limit that a service's description sets, and the key; ``deploy`` and ``mem_limit`` may not differ.

    :param data: the service with its variables filled in.
    """
    deploy = (((data.get("deploy") or {}).get("resources") or {}).get("limits") or {}).get("memory")
    for key, value in (("deploy.resources.limits.memory", deploy), ("mem_limit", data.get("mem_limit"))):
        if value not in (None, "", 0, "0"):
            return parse_size(value, key), key
    return None


def cpus_in_compose(data: Mapping[str, Any]) -> float | None:
    """The CPUs that a service's description allows."""
    deploy = (((data.get("deploy") or {}).get("resources") or {}).get("limits") or {}).get("cpus")
    value = deploy if deploy is not None else data.get("cpus")
    try:
        return float(value) or None if value is not None else None
    except (TypeError, ValueError):
        return None


def figures(params: Mapping[str, Any], data: Mapping[str, Any], running: Running) -> Figures:
    """All that :func:`_workers.size` needs.

    :param params: the options ``memory_limit``, ``memory_shared``, ``memory_per_worker``; sizes as texts, or None.
    :param data: the service's description with its variables filled in.
    :raises HotfixError: naming the options to give, when a figure is known from nowhere.
    """
    names = ("memory_limit", "memory_shared", "memory_per_worker")
    given = {name: parse_size(params[name], name) for name in names if params[name] is not None}
    limit, reasons = given.get("memory_limit"), []
    if limit is None:
        limit, where = _limit(data, running)
        reasons.append(f"The memory limit of {human(limit)} is that of {where}.")
    # Without a quota a container may use all CPUs of the host, on which this runs.
    cpus = cpus_in_compose(data) or running.cpus() or len(os.sched_getaffinity(0))
    shared, per_worker = given.get("memory_shared"), given.get("memory_per_worker")
    if shared is not None and per_worker is not None:
        return Figures(limit, shared, per_worker, cpus, False, None, reasons, [])
    try:
        live = running.measure()
    except HotfixError:
        if per_worker is None:
            raise
        reasons.append("memory_shared is not given and cannot be measured; it is taken as 0.")
        return Figures(limit, 0, per_worker, cpus, True, None, reasons, [])
    return Figures(
        limit,
        live.memory.shared if shared is None else shared,
        live.memory.per_worker if per_worker is None else per_worker,
        cpus,
        True,
        _most(live, given),
        [*reasons, *_experience(live)],
        _doubts(live),
    )


def _most(live: Live, given: Mapping[str, int]) -> int | None:
    """Fewer than the kernel killed some of under this limit; no more than now while they have not loaded all yet."""
    if live.oom_kills and "memory_limit" not in given:
        return max(live.configured - 1, 1)
    return live.configured if live.age < YOUNG and "memory_per_worker" not in given else None


def _experience(live: Live) -> Iterator[str]:
    """What was measured and what happened, as sentences."""
    count = live.memory.workers
    yield (
        f"Measured on {count} running worker{'s' * (count > 1)}: {human(live.memory.per_worker)} of private memory in "
        f"the largest, {human(live.memory.shared)} shared and in other processes."
    )
    if live.oom_kills:
        killed = f"{live.oom_kills} process{'es' * (live.oom_kills > 1)}"
        was = f"{live.configured} worker{'s' * (live.configured > 1)}"
        yield f"The kernel killed {killed} of the running container, set up for {was}, for lack of memory."


def _doubts(live: Live) -> list[str]:
    if live.age >= YOUNG:
        return []
    return [
        f"The oldest worker was measured {live.age:.0f} seconds after its start. What it loads later, at the first "
        "request that needs it, is not in the figures, so that by these no worker is added. Ask again when the "
        f"application has been used for {YOUNG // 60} minutes."
    ]


def _age(pids: Iterable[int]) -> float:
    """Seconds since the oldest of some processes was started."""
    return max((uptime() - state.started for state in map(stat, pids) if state is not None), default=0.0)


def _limit(data: Mapping[str, Any], running: Running) -> tuple[int, str]:
    found = limit_in_compose(data)
    if found:
        return found[0], f"{found[1]} in the Compose file"
    limit = running.limit()
    if limit is not None:
        return limit, "the running container"
    raise HotfixError(
        f"there is no memory limit to size for: the Compose file sets none, and {_no_limit(running)}",
        remedy="Set deploy.resources.limits.memory for the service, give memory_limit, or give a number of workers",
    )


def _no_limit(running: Running) -> str:
    return "the running container has none" if running.pid else running.why_not
