# SPDX-License-Identifier: GPL-3.0-or-later
"""What publishes a port of the host in front of a service, such as its proxy, and what is to be started for that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.composeops.hotfix.plugins.module_utils import _container
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_file import Project

UP = ("running", "restarting", "paused")


def to_start(
    project: Project, config: Mapping[str, Any], containers: Iterable[Mapping[str, Any]], service: str, port: int
) -> list[str]:
    """The services to start, in this order, for a TCP port of the host to be published again.

    That is a service made to publish it, by its files or by a container, with what it depends on; of several the one
    that ran last. None where one of them runs, and where the service publishes its port itself.

    :param config: the project as Compose resolves it, services of inactive profiles left out.
    :param containers: ``docker inspect`` data of all that the project has.
    :param service: what runs in any case.
    """
    members: dict[str, list[Mapping[str, Any]]] = {}
    for data in containers:
        members.setdefault(_container.compose_labels(data).service, []).append(data)
    # The files may name a service by now that somebody started with another profile.
    known = project.names()
    made_for = {name for name, spec in config["services"].items() if _is_to_publish(spec, port)}
    made_for |= {name for name in known for data in members.get(name, []) if _publishes(data, port)}
    running = {name for name, found in members.items() if any(data["State"]["Status"] in UP for data in found)}
    if not made_for or service in made_for or made_for & running:
        return []
    ended = {
        name: max((str(data["State"]["FinishedAt"]) for data in members.get(name, [])), default="") for name in made_for
    }
    chosen = max(sorted(made_for), key=lambda name: ended[name])
    needed = [name for name in reversed(project.dependencies(chosen)) if name != service and name not in running]
    return [*needed, chosen]


def _is_to_publish(spec: Mapping[str, Any], port: int) -> bool:
    return any(
        str(entry.get("published") or "") == str(port) and (entry.get("protocol") or "tcp") == "tcp"
        for entry in spec.get("ports") or []
    )


def _publishes(inspect: Mapping[str, Any], port: int) -> bool:
    return (port, "tcp") in {(found.host_port, found.protocol) for found in _container.published_ports(inspect)}
