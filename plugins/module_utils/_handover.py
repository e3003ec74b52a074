# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a service can be handed over to a second copy of itself: what has to hold, and why it does not.

A handover replaces a container that publishes its ports itself without an interruption: a copy of what it is going to
be starts beside it, new connections are led to the copy while the container is recreated, and back to it afterwards.
For some seconds two copies of the service run at once, so that it has to bear that.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.composeops.hotfix.plugins.module_utils import _container
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Port

# On the copy: the container that it stands in for. Such a container of an earlier run is found by it.
LABEL = "composeops.hotfix.handover"
# An operator puts this label on a service of which there may be only one at a time.
EXCLUSIVE = "composeops.hotfix.exclusive"
# What Compose runs in a container after its start and before its end, and in no other that is started some other way.
HOOKS = ("post_start", "pre_stop")
MIB = 1 << 20
# What a second copy leaves to the host beside its own memory: a tenth of the host's.
RESERVE = 0.1
DURATION = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s|us|ns)")
UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


def seconds(duration: str | None, default: float) -> float:
    """A duration as Compose writes it, such as ``1m30s``, in seconds."""
    parts = DURATION.findall(duration or "")
    return sum(float(number) * UNITS[unit] for number, unit in parts) if parts else default


def shared_writable(service: Mapping[str, Any], shareable: Iterable[str]) -> list[str]:
    """The volumes and folders that two copies of a service would both write to.

    :param service: the service as Compose resolves it.
    :param shareable: names of volumes, sources or targets of mounts that are known to bear it.
    """
    allowed = set(shareable)
    found = []
    for mount in service.get("volumes") or []:
        # Where a volume has no name, two copies have two.
        if mount.get("read_only") or mount.get("type") not in ("volume", "bind") or not mount.get("source"):
            continue
        if not allowed & {mount["source"], mount.get("target", "")}:
            found.append(mount["source"])
    return [*found, *(f"volumes_from {name}" for name in service.get("volumes_from") or [] if not name.endswith(":ro"))]


def unnamed(service: Mapping[str, Any], inspect: Mapping[str, Any], shareable: Iterable[str]) -> list[str]:
    """Where a container writes to volumes that nobody has named, so that another copy would begin with empty ones.

    Compose takes such a volume along when it recreates a container, one of the image (``VOLUME``) included.

    :param service: the service as Compose resolves it.
    :param inspect: the running container.
    :param shareable: as for :func:`shared_writable`.
    """
    mounts = service.get("volumes") or []
    named = {posixpath.normpath(mount["target"]) for mount in mounts if mount.get("source") and mount.get("target")}
    found = {
        posixpath.normpath(mount["Destination"])
        for mount in inspect.get("Mounts") or []
        if mount.get("Type") == "volume" and mount.get("RW")
    }
    return sorted(found - named - set(shareable))


def exclusive(service: Mapping[str, Any]) -> bool:
    """Whether the service says by its label that there may be only one of it."""
    value = (service.get("labels") or {}).get(EXCLUSIVE)
    return value is not None and str(value).lower() not in ("false", "no", "0", "")


def obstacles(
    service: Mapping[str, Any], inspect: Mapping[str, Any], shareable: Sequence[str], *, only_one: bool = False
) -> list[str]:
    """Why the service cannot be handed over to a second copy of it, from what the files and the container say.

    :param service: the service as Compose resolves it.
    :param inspect: the running container.
    :param shareable: as for :func:`shared_writable`.
    :param only_one: the operator says that there may be only one.
    """
    found = side_by_side(service, inspect, shareable, only_one=only_one)
    return [*found, *_ports(_container.published_ports(inspect), service)]


def side_by_side(
    service: Mapping[str, Any], inspect: Mapping[str, Any], shareable: Sequence[str], *, only_one: bool = False
) -> list[str]:
    """Why a second container of the service cannot run beside the first, whatever leads to them.

    :param service: the service as Compose resolves it.
    :param inspect: the running container.
    :param shareable: as for :func:`shared_writable`.
    :param only_one: the operator says that there may be only one.
    """
    found = []
    if only_one or exclusive(service):
        found.append(f"it is declared exclusive ({'deploy_exclusive' if only_one else 'label ' + EXCLUSIVE})")
    mode = str(service.get("network_mode") or "")
    if mode in ("host", "none") or mode.startswith(("container:", "service:")):
        found.append(f"it has no network of its own (network_mode: {mode})")
    writable = shared_writable(service, shareable)
    if writable:
        found.append(
            f"two copies would write to the same {', '.join(writable)} (name it in deploy_shared_volumes if they may)"
        )
    alone = [] if service.get("volumes_from") else unnamed(service, inspect, shareable)
    if alone:
        found.append(
            f"a second copy would begin without what is in {', '.join(alone)}, a volume without a name "
            "(give it one, or name it in deploy_shared_volumes if that may be)"
        )
    hooks = [hook for hook in HOOKS if service.get(hook)]
    if hooks:
        found.append(f"Compose alone runs its {' and '.join(hooks)}")
    if service.get("devices"):
        found.append("it uses a device of the host")
    if replicas(service) > 1:
        found.append(f"it has {replicas(service)} containers")
    for name, network in (service.get("networks") or {}).items():
        if (network or {}).get("ipv4_address") or (network or {}).get("ipv6_address"):
            found.append(f"it has a fixed address in the network {name}")
    if service.get("mac_address"):
        found.append("it has a fixed hardware address")
    return found


def replicas(service: Mapping[str, Any]) -> int:
    """How many containers the service has."""
    deploy = service.get("deploy") or {}
    return int(service.get("scale") or deploy.get("replicas") or 1)


def _ports(live: Sequence[Port], service: Mapping[str, Any]) -> list[str]:
    wanted = service.get("ports") or []
    other = sorted({port.protocol for port in live if port.protocol != "tcp"})
    if not live:
        return ["it publishes no port"]
    if other:
        return [f"it publishes a port of {', '.join(other)}, and only TCP can be handed over"]
    if any(not str(port.get("published") or "").isdigit() for port in wanted):
        return ["the engine chooses the number of a published port, or one out of a range"]
    chosen = {(int(port["published"]), int(port["target"])) for port in wanted}
    if {(port.host_port, port.container_port) for port in live} != chosen:
        return ["its files publish other ports than the running container does"]
    return []


def memory_obstacle(needed: int | None, available: int | None, total: int | None) -> str | None:
    """Why the host has too little memory for a second copy; None when it has enough.

    :param needed: bytes that the running container uses at most; None where the kernel does not tell.
    :param available: bytes the kernel can give without swapping (``MemAvailable``); None where it does not tell.
    :param total: bytes of the host.
    """
    if needed is None or available is None or total is None:
        return "it is not known whether the host has the memory for a second copy"
    left = available - int(total * RESERVE)
    if needed <= left:
        return None
    return (
        f"a second copy may need {needed // MIB} MiB, and the host can give {max(left, 0) // MIB} MiB "
        f"({available // MIB} MiB available less {RESERVE:.0%} of {total // MIB} MiB)"
    )


def meminfo(text: str) -> tuple[int | None, int | None]:
    """Bytes available and in total, from ``/proc/meminfo``."""
    fields = dict(re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE))
    available, total = fields.get("MemAvailable"), fields.get("MemTotal")
    return int(available) * 1024 if available else None, int(total) * 1024 if total else None


def publishing(ports: Sequence[Port]) -> list[str]:
    """What the copy publishes, as ``docker compose run --publish`` takes it: the same, at ports the engine chooses."""
    words = []
    for port in ports:
        host = "" if port.everywhere else f"[{port.host_ip}]::" if ":" in port.host_ip else f"{port.host_ip}::"
        words.append(f"{host}{port.container_port}")
    return list(dict.fromkeys(words))
