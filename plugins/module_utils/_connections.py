# SPDX-License-Identifier: GPL-3.0-or-later
"""The TCP connections of a process's network, as ``/proc/<pid>/net/tcp`` shows them to root on the host.

https://docs.kernel.org/networking/proc_net_tcp.html
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from ansible_collections.composeops.hotfix.plugins.module_utils._kernel_files import kernel_text

ESTABLISHED = 1
LISTENING = 10
# The kernel's name of 127.x.x.x, ::1 and ::ffff:127.x.x.x: words of the processor's byte order, little-endian here.
LOOPBACK_ENDS = ("7F",)
LOOPBACK_6 = "00000000000000000000000001000000"
INTERVAL = 0.125  # seconds between two looks
# Seconds without a connection: the userland proxy may have accepted one that it has not passed on yet.
QUIET = 0.5


class Socket(NamedTuple):
    """A socket: its own port, its peer's address as the kernel writes it, its state, its inode."""

    port: int
    peer: str
    state: int
    inode: str


class Drained(NamedTuple):
    """How draining ended: connections that were open at first, that were left at the end, and seconds it took."""

    open: int
    left: int
    seconds: float


def sockets(pid: int | str, *, proc: str = "/proc") -> list[Socket]:
    """The TCP sockets of the network that a process is in; none when it has ended.

    :param pid: as ``/proc`` numbers it, or ``self``.
    """
    lines = [line for name in ("tcp", "tcp6") for line in kernel_text(f"{proc}/{pid}/net/{name}").splitlines()[1:]]
    found = {}
    for fields in (line.split() for line in lines):
        if len(fields) > 9:
            socket = Socket(
                int(fields[1].rpartition(":")[2], 16), fields[2].partition(":")[0], int(fields[3], 16), fields[9]
            )
            # A connection that changes its place in the kernel's table while it is read is listed twice.
            found[(fields[1], fields[2])] = socket
    return list(found.values())


def served(pid: int, ports: Iterable[int], *, proc: str = "/proc") -> int:
    """How many connections from outside of the container its ports have open; its own health checks are left out.

    :param pid: a process of the container.
    :param ports: ports in the container.
    """
    wanted = set(ports)
    return sum(
        socket.port in wanted and socket.state == ESTABLISHED and not _loopback(socket.peer)
        for socket in sockets(pid, proc=proc)
    )


def listening(pid: int, *, proc: str = "/proc") -> set[int]:
    """The ports at which a process's network takes connections from outside of the container."""
    found = set()
    for name in ("tcp", "tcp6"):
        for fields in (line.split() for line in kernel_text(f"{proc}/{pid}/net/{name}").splitlines()[1:]):
            address, _colon, number = fields[1].rpartition(":")
            if int(fields[3], 16) == LISTENING and not _loopback(address):
                found.add(int(number, 16))
    return found


def drain(
    pid: int,
    ports: Iterable[int],
    limit: float,
    *,
    count: Callable[[int, Iterable[int]], int] = served,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Drained:
    """Wait until nobody is connected any more, for so many seconds at most."""
    wanted = list(ports)
    began = last = clock()
    first = left = count(pid, wanted)
    while clock() - began < limit and clock() - last < QUIET:
        sleep(INTERVAL)
        left = count(pid, wanted)
        last = clock() if left else last
    return Drained(first, left, round(clock() - began, 1))


def _loopback(peer: str) -> bool:
    return (
        peer == LOOPBACK_6
        or (len(peer) == 8 and peer.endswith(LOOPBACK_ENDS))
        or (len(peer) == 32 and peer.startswith("0000000000000000FFFF0000") and peer.endswith(LOOPBACK_ENDS))
    )
