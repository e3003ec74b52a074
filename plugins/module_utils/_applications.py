# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the applications of a host of which nothing is known: what uvicorn or gunicorn serves, and its files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.composeops.hotfix.plugins.module_utils import _container, _container_facts
from ansible_collections.composeops.hotfix.plugins.module_utils._command_line import parse_argv
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Docker, Port, Process
from ansible_collections.composeops.hotfix.plugins.module_utils._processes import workers

# A container of `docker compose run`, or one that this collection made for a while, is no service.
ONE_OFF = f"{_container.LABEL}oneoff"
OURS = "composeops.hotfix."


def find(docker: Docker) -> list[dict[str, Any]]:
    """All of them, the likeliest first; see :func:`described`.

    :raises HotfixError: when the engine does not answer.
    """
    ids = docker.run("ps", "--all", "--quiet", "--no-trunc").stdout.split()
    # One that goes meanwhile is an error of the command, and no reason not to name the others.
    shown = docker.run("inspect", "--type", "container", *ids, check=False).stdout if ids else ""
    inspected: list[dict[str, Any]] = json.loads(shown or "[]")
    found = [
        described(data, _container_facts.live_processes(docker, data)) for data in inspected if not _temporary(data)
    ]
    return sorted((one for one in found if one["server"]), key=_likelihood)


def described(inspect: Mapping[str, Any], processes: Sequence[Process]) -> dict[str, Any]:
    """One container as the module ``application_info`` returns it.

    :param inspect: its ``docker inspect`` data.
    :param processes: those that run in it.
    :returns: ``server`` is None for a container that is of no interest.
    """
    labels, state = _container.compose_labels(inspect), _container.state(inspect)
    running = workers(processes)
    started = [*(inspect["Config"].get("Entrypoint") or []), *(inspect["Config"].get("Cmd") or [])]
    ports = [port for port in _container.published_ports(inspect) if port.protocol == "tcp"]
    return {
        "project": labels.project,
        "project_src": labels.working_dir,
        "project_src_exists": bool(labels.working_dir) and os.path.isdir(labels.working_dir),
        "files": [os.path.relpath(path, labels.working_dir) for path in labels.config_files if labels.working_dir],
        "service": labels.service,
        "container": str(inspect["Name"]).lstrip("/"),
        "image": state.image,
        "status": state.status,
        "server": running.server or parse_argv(started).server,
        "workers": len(running.pids),
        "ports": [port._asdict() for port in ports],
        "url": url(ports),
    }


def url(ports: Sequence[Port]) -> str:
    """Where a service answers on its host; empty when it publishes no port there."""
    if not ports:
        return ""
    # IPv4 first: an engine without IPv6 publishes it, but does not lead there.
    port = min(ports, key=lambda port: (":" in port.host_ip, port.host_port))
    host = "127.0.0.1" if port.everywhere else f"[{port.host_ip}]" if ":" in port.host_ip else port.host_ip
    return f"http://{host}:{port.host_port}"


def _temporary(inspect: Mapping[str, Any]) -> bool:
    labels = inspect["Config"].get("Labels") or {}
    return labels.get(ONE_OFF) == "True" or any(name.startswith(OURS) for name in labels)


def _likelihood(found: Mapping[str, Any]) -> tuple[bool, bool, bool, str]:
    """Made by Compose from files that are there, running, reachable; then by name."""
    return (not found["project_src_exists"], found["status"] != "running", not found["url"], str(found["container"]))
