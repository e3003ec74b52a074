# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the ports that a service is going to publish are free, asked before its container is taken away.

The engine finds out only when it starts the new container, and by then the old one is gone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.composeops.hotfix.plugins.module_utils import _connections, _container
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Port
from ansible_collections.composeops.hotfix.plugins.module_utils._kernel_files import kernel_text


def added(service: Mapping[str, Any], members: Iterable[Mapping[str, Any]]) -> list[Port]:
    """The ports of the host that a service is going to publish and that none of its containers publishes now.

    A port that the engine chooses itself, or out of a range, is left out.

    :param service: the service as Compose resolves it.
    :param members: ``docker inspect`` data of its containers.
    """
    live = {(port.host_port, port.protocol) for data in members for port in _container.published_ports(data)}
    wanted = [
        Port(
            port.get("host_ip") or _container.ANYWHERE,
            int(port["published"]),
            int(port["target"]),
            port.get("protocol") or "tcp",
        )
        for port in service.get("ports") or []
        if str(port.get("published") or "").isdigit()
    ]
    return [port for port in wanted if (port.host_port, port.protocol) not in live]


def taken(ports: Sequence[Port]) -> Port | None:
    """The first of these ports that another process of the host listens on; None when all are free."""
    return next((port for port in ports if not _free(port)), None)


def holder(port: Port, *, proc: str = "/proc") -> str:
    """The process that listens on a TCP port, as ``python3 (process 123)``; empty where that cannot be seen."""
    inodes = {
        found.inode
        for found in _connections.sockets("self", proc=proc)
        if found.port == port.host_port and found.state == _connections.LISTENING
    }
    for pid in filter(str.isdigit, os.listdir(proc)):
        with contextlib.suppress(OSError):
            folder = f"{proc}/{pid}/fd"
            if any(_inode(f"{folder}/{name}") in inodes for name in os.listdir(folder)):
                return f"{kernel_text(f'{proc}/{pid}/comm').strip()} (process {pid})"
    return ""


def _inode(path: str) -> str:
    """The inode of a socket that a descriptor stands for; empty for anything else."""
    with contextlib.suppress(OSError):
        kind, _colon, inode = os.readlink(path).partition(":")
        return inode.strip("[]") if kind == "socket" else ""
    return ""


def _free(port: Port) -> bool:
    family = socket.AF_INET6 if ":" in port.host_ip else socket.AF_INET
    kind = socket.SOCK_DGRAM if port.protocol == "udp" else socket.SOCK_STREAM
    try:
        with socket.socket(family, kind) as probe:
            if kind == socket.SOCK_STREAM:
                # What is left of ended connections does not matter, to the engine neither.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((port.host_ip, port.host_port))
    except OSError as error:
        # An address that this host does not have, or a kernel without IPv6, is the engine's to tell.
        return error.errno != errno.EADDRINUSE
    return True
