# SPDX-License-Identifier: GPL-3.0-or-later
"""Which ports a service publishes in addition, and whether they are free, asked of real sockets."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils import _ports
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Port


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as found:
        # As the engine's own.
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(("127.0.0.1", 0))
        found.listen()
        yield found


def port(listener: socket.socket, host_ip: str = "127.0.0.1", protocol: str = "tcp") -> Port:
    return Port(host_ip, listener.getsockname()[1], 8000, protocol)


def container(**bindings: str) -> dict[str, Any]:
    ports = {f"{name[1:]}/tcp": [{"HostIp": "", "HostPort": number}] for name, number in bindings.items()}
    return {"NetworkSettings": {"Ports": ports}, "HostConfig": {}}


def test_only_what_no_container_of_the_service_publishes_is_asked_for() -> None:
    service = {
        "ports": [
            {"target": 8000, "published": "8000"},
            {"target": 8001, "published": "8081", "host_ip": "127.0.0.1", "protocol": "udp"},
            {"target": 8002},
            {"target": 8003, "published": "9000-9010"},
        ]
    }
    one = Port("127.0.0.1", 8081, 8001, "udp")
    assert _ports.added(service, [container(p8000="8000")]) == [one]
    assert _ports.added(service, []) == [Port("0.0.0.0", 8000, 8000, "tcp"), one]
    assert _ports.added({}, []) == []


def test_a_port_on_which_somebody_listens_is_taken(listener: socket.socket) -> None:
    free = Port("127.0.0.1", 0, 8000, "tcp")
    assert _ports.taken([free, port(listener)]) == port(listener)
    assert _ports.taken([free, port(listener, "0.0.0.0")]) == port(listener, "0.0.0.0")
    assert _ports.taken([port(listener, protocol="udp"), port(listener, "127.0.0.2"), free]) is None
    assert _ports.taken([]) is None


def test_what_an_ended_connection_has_left_does_not_take_a_port(listener: socket.socket) -> None:
    with socket.create_connection(listener.getsockname()) as client:
        server, _address = listener.accept()
        wanted = port(listener)
        # The side that closes first waits for two minutes.
        server.close()
        client.recv(1)
    listener.close()
    assert _ports.taken([wanted]) is None


def test_an_address_that_is_not_of_this_host_is_for_the_engine_to_tell() -> None:
    assert _ports.taken([Port("203.0.113.7", 8000, 8000, "tcp")]) is None


def test_it_is_named_who_listens(listener: socket.socket) -> None:
    assert _ports.holder(port(listener)).endswith(f" (process {os.getpid()})")
    listener.close()
    assert _ports.holder(Port("127.0.0.1", 1, 8000, "tcp")) == ""


def test_who_only_has_a_connection_does_not_listen(listener: socket.socket) -> None:
    wanted = port(listener)
    with socket.create_connection(listener.getsockname()):
        server, _address = listener.accept()
        with server:
            listener.close()
            assert _ports.holder(wanted) == ""
