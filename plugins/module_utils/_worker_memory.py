# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures that sizing needs: from options, else the Compose file, else measured on the running container."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from ansible_collections.composeops.hotfix.plugins.module_utils import _cgroup, _container, _processes
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Docker
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._launch import ImageConfig
from ansible_collections.composeops.hotfix.plugins.module_utils._workers import (
    Measured,
    human,
    measure,
    parse_size,
    smaps,
)


class Figures(NamedTuple):
    """Bytes and CPUs, and how they are known."""

    limit: int
    shared: int
    per_worker: int
    cpus: float | None
    measured: bool
    reasons: list[str]


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
        """The CPUs that the container may use, by its quota."""
        return _cgroup.cpus(self.pid, self.inspect["Id"]) if self.inspect and self.pid else None

    def measure(self) -> Measured:
        """Shared memory and memory per worker, from the container's processes.

        :raises HotfixError: when it does not run, or may not be looked at.
        """
        if self.inspect is None or not self.pid:
            why = self.why_not if self.inspect is None else "the container does not run"
            raise HotfixError(
                f"the memory of the workers cannot be measured: {why}",
                remedy="Give memory_per_worker and memory_shared, or a number of workers",
            )
        processes = self.docker.processes(self.inspect["Id"])
        serving = set(_processes.workers(processes).pids)
        sizes = {process.pid: smaps(process.pid) for process in processes}
        return measure(
            [size for pid, size in sizes.items() if size and pid in serving],
            [size for pid, size in sizes.items() if size and pid not in serving],
        )

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
    reasons = []
    limit = given.get("memory_limit")
    if limit is None:
        limit, where = _limit(data, running)
        reasons.append(f"The memory limit of {human(limit)} is that of {where}.")
    per_worker, shared = given.get("memory_per_worker"), given.get("memory_shared")
    if per_worker is None or shared is None:
        try:
            measured = running.measure()
        except HotfixError:
            if per_worker is None:
                raise
            measured = Measured(0, per_worker, 0)
        reasons.append(_said(measured))
        per_worker = measured.per_worker if per_worker is None else per_worker
        shared = measured.shared if shared is None else shared
    cpus = cpus_in_compose(data) or running.cpus()
    return Figures(limit, shared, per_worker, cpus, len(given) < len(names), reasons)


def _said(measured: Measured) -> str:
    if not measured.workers:
        return "memory_shared is not given and cannot be measured; it is taken as 0."
    return (
        f"Measured on {measured.workers} running worker{'s' * (measured.workers > 1)}: {human(measured.per_worker)} "
        f"of private memory in the largest, {human(measured.shared)} shared and in other processes."
    )


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
