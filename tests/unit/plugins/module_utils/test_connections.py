# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections of a port, as the kernel shows them: this machine's own, and recorded tables for what it has not."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils import _connections
from ansible_collections.composeops.hotfix.plugins.module_utils._connections import (
    Drained,
    drain,
    listening,
    served,
    sockets,
)

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
REST = "00000000:00000000 00:00000000 00000000 0 0 743180 1 0 100 0 0 10 0"


def table(folder: Path, *rows: tuple[str, str, str], six: tuple[tuple[str, str, str], ...] = ()) -> str:
    """A ``/proc`` with the tables of process 7."""
    net = folder / "7" / "net"
    net.mkdir(parents=True)
    for name, lines in (("tcp", rows), ("tcp6", six)):
        text = "".join(f"   0: {local} {peer} {state} {REST}\n" for local, peer, state in lines)
        (net / name).write_text(HEAD + text)
    return str(folder)


def test_connections_from_outside_to_the_port_count(tmp_path: Path) -> None:
    proc = table(
        tmp_path,
        ("030013AC:1F40", "010013AC:D7F8", "01"),  # a client
        ("030013AC:1F40", "010013AC:D7F9", "06"),  # one that is over (TIME_WAIT)
        ("00000000:1F40", "00000000:0000", "0A"),  # the listening socket
        ("030013AC:9C40", "020013AC:18EB", "01"),  # its own connection to Redis
        ("0100007F:1F40", "0100007F:D7F8", "01"),  # its own health check
        six=(
            ("0000000000000000FFFF0000030013AC:1F40", "0000000000000000FFFF0000010013AC:D7FA", "01"),
            ("0000000000000000FFFF00000100007F:1F40", "0000000000000000FFFF00000100007F:D7FA", "01"),
            ("00000000000000000000000001000000:1F40", "00000000000000000000000001000000:D7FA", "01"),
        ),
    )
    assert served(7, [8000], proc=proc) == 2
    assert served(7, [8000, 40000], proc=proc) == 3
    assert served(8, [8000], proc=proc) == 0


def test_ports_that_others_can_connect_to_are_listened_on(tmp_path: Path) -> None:
    proc = table(
        tmp_path,
        ("00000000:1F40", "00000000:0000", "0A"),
        ("0B00007F:9BA5", "00000000:0000", "0A"),  # the engine's name server
        ("030013AC:D7F8", "010013AC:0050", "01"),
        six=(("00000000000000000000000000000000:2328", "00000000000000000000000000000000:0000", "0A"),),
    )
    assert listening(7, proc=proc) == {8000, 9000}
    assert listening(8, proc=proc) == set()


def test_a_connection_that_is_listed_twice_counts_once(tmp_path: Path) -> None:
    row = ("030013AC:1F40", "010013AC:D7F8", "01")
    assert served(7, [8000], proc=table(tmp_path, row, row)) == 1


def test_the_sockets_of_this_process_are_seen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            found = [entry for entry in sockets(os.getpid()) if entry.port == port]
    assert sorted(entry.state for entry in found) == [_connections.ESTABLISHED, 10]


class Clock:
    """A clock that goes on only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("counts", "limit", "expected"),
    [
        ([0] * 20, 30, Drained(0, 0, 0.5)),
        ([2, 1, 1, 0, 0, 0, 0, 0, 0, 0], 30, Drained(2, 0, 0.8)),
        # One that the proxy had accepted and passes on a little later.
        ([0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0], 30, Drained(0, 0, 0.8)),
        ([1] * 50, 2, Drained(1, 1, 2.0)),
    ],
)
def test_draining_waits_for_quiet_or_for_its_limit(counts: list[int], limit: float, expected: Drained) -> None:
    clock, rest = Clock(), iter(counts)
    assert drain(7, [8000], limit, count=lambda *_args: next(rest), sleep=clock.sleep, clock=clock) == expected
