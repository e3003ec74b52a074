# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything worth knowing of a container, put together without a secret in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.composeops.hotfix.plugins.module_utils import _cgroup, _container
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Docker, Process
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._processes import workers
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import (
    fingerprint,
    hidden_values,
    list_elements,
    mask,
)

# A container that nobody found.
MISSING: dict[str, Any] = {
    "exists": False,
    "container": None,
    "restart_policy": None,
    "memory": None,
    "cpus": None,
    "processes": [],
    "workers": None,
    "environment": {},
    "environment_list": {},
    "source": None,
    "outdated": None,
    "publishers_down": None,
    "copied_in": None,
}


def facts(docker: Docker, inspect: Mapping[str, Any]) -> dict[str, Any]:
    """The result of the module ``container_info`` for a container that exists.

    :param inspect: its ``docker inspect`` data.
    """
    state = _container.state(inspect)
    variables = _container.environment(inspect)
    secrets = hidden_values(variables)
    processes = live_processes(docker, inspect)
    return {
        "exists": True,
        "container": identity(inspect),
        "restart_policy": _container.restart_policy(inspect)._asdict(),
        "memory": _cgroup.memory(state.pid, inspect["Id"])._asdict(),
        "cpus": _cgroup.cpus(state.pid, inspect["Id"]),
        "processes": [{"pid": p.pid, "ppid": p.ppid, "args": mask(p.args, secrets)} for p in processes],
        "workers": count_workers(processes),
        **fingerprints(variables),
        "source": None,
        "outdated": None,
        "publishers_down": None,
        "copied_in": None,
    }


def identity(inspect: Mapping[str, Any]) -> dict[str, Any]:
    """Name, state, origin and addresses of a container."""
    labels = _container.compose_labels(inspect)
    state = _container.state(inspect)._asdict()
    del state["pid"]
    return {
        "id": inspect["Id"],
        "name": inspect["Name"].lstrip("/"),
        **state,
        "project": labels.project,
        "service": labels.service,
        "working_dir": labels.working_dir,
        "config_files": labels.config_files,
        "ports": [port._asdict() for port in _container.published_ports(inspect)],
        "networks": _container.networks(inspect),
    }


def live_processes(docker: Docker, inspect: Mapping[str, Any]) -> list[Process]:
    """The container's processes; none when it does not run, or ends while we look."""
    if not inspect["State"].get("Running"):
        return []
    try:
        return docker.processes(inspect["Id"])
    except HotfixError:
        now = docker.lookup(inspect["Id"])
        # A container that waits to be started again counts as running, too.
        state = now["State"] if now is not None else {}
        if state.get("Running") and not state.get("Restarting") and state["Pid"] == inspect["State"]["Pid"]:
            raise
        return []


def count_workers(processes: list[Process]) -> dict[str, Any]:
    """The live workers among a container's processes."""
    found = workers(processes)
    return {**found._asdict(), "count": len(found.pids)}


def fingerprints(variables: Mapping[str, str]) -> dict[str, Any]:
    """Fingerprints of variables, and of each element of those that are JSON lists, such as VALID_API_KEYS."""
    lists = {name: list_elements(value) for name, value in variables.items()}
    return {
        "environment": {name: fingerprint(value) for name, value in variables.items()},
        "environment_list": {
            name: [fingerprint(item) for item in items] for name, items in lists.items() if items is not None
        },
    }
