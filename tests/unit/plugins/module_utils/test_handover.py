# SPDX-License-Identifier: GPL-3.0-or-later
"""What speaks against two copies of a service at a time."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Port
from ansible_collections.composeops.hotfix.plugins.module_utils._handover import (
    MIB,
    meminfo,
    memory_obstacle,
    obstacles,
    publishing,
    seconds,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._handover_run import published

INSPECT: dict[str, Any] = {
    "HostConfig": {},
    "NetworkSettings": {"Ports": {"8000/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8000"}]}},
}
PORTS = [{"published": "8000", "target": 8000}]


@pytest.mark.parametrize(
    ("service", "why"),
    [
        ({}, ""),
        ({"labels": {"composeops.hotfix.exclusive": "false"}}, ""),
        ({"labels": {"composeops.hotfix.exclusive": "true"}}, "label composeops.hotfix.exclusive"),
        ({"network_mode": "host"}, "network_mode: host"),
        ({"network_mode": "service:vpn"}, "network_mode: service:vpn"),
        ({"volumes": [{"type": "volume", "source": "data", "target": "/data"}]}, "write to the same data"),
        ({"volumes": [{"type": "volume", "source": "data", "target": "/data", "read_only": True}]}, ""),
        ({"volumes": [{"type": "volume", "target": "/data"}]}, ""),
        ({"volumes": [{"type": "tmpfs", "target": "/data"}]}, ""),
        ({"volumes": [{"type": "bind", "source": "/srv/data", "target": "/data"}]}, "same /srv/data"),
        ({"volumes": [{"type": "volume", "source": "cache", "target": "/cache"}]}, ""),
        ({"volumes": [{"type": "bind", "source": "/srv/x", "target": "/shared"}]}, ""),
        ({"volumes_from": ["other"]}, "volumes_from other"),
        ({"volumes_from": ["other:ro"]}, ""),
        ({"post_start": [{"command": "a"}], "pre_stop": [{"command": "b"}]}, "runs its post_start and pre_stop"),
        ({"devices": ["/dev/ttyS0:/dev/ttyS0"]}, "a device of the host"),
        ({"deploy": {"replicas": 3}}, "it has 3 containers"),
        ({"scale": 2}, "it has 2 containers"),
        ({"networks": {"default": {"ipv4_address": "172.19.0.9"}}}, "fixed address in the network default"),
        ({"networks": {"default": None}}, ""),
        ({"mac_address": "02:42:ac:11:00:03"}, "fixed hardware address"),
        ({"ports": [{"target": 8000}]}, "chooses the number"),
        ({"ports": [{"published": "8000-8010", "target": 8000}]}, "out of a range"),
        ({"ports": [{"published": "9000", "target": 8000}]}, "other ports than the running container"),
    ],
)
def test_each_obstacle_is_named(service: dict[str, Any], why: str) -> None:
    found = obstacles({"ports": PORTS, **service}, INSPECT, ["cache", "/shared"])
    assert (why in "; ".join(found)) if why else found == []
    assert len(found) == bool(why)


@pytest.mark.parametrize(
    ("service", "mount", "shareable", "why"),
    [
        ({}, {}, [], "without what is in /data, a volume without a name"),
        ({}, {"Destination": "/data/"}, [], "without what is in /data"),
        ({"volumes": [{"type": "volume", "target": "/data"}]}, {}, [], "without what is in /data"),
        ({"volumes": [{"type": "volume", "source": "data", "target": "/data/"}]}, {}, ["data"], ""),
        ({}, {}, ["/data"], ""),
        ({}, {"RW": False}, [], ""),
        ({}, {"Type": "bind"}, [], ""),
        ({"volumes_from": ["other:ro"]}, {}, [], ""),
    ],
)
def test_a_volume_without_a_name_would_not_be_with_the_copy(
    service: dict[str, Any], mount: dict[str, Any], shareable: list[str], why: str
) -> None:
    mounted = {"Type": "volume", "Name": "0" * 64, "Destination": "/data", "RW": True, **mount}
    found = obstacles({"ports": PORTS, **service}, {**INSPECT, "Mounts": [mounted]}, shareable)
    assert (why in "; ".join(found)) if why else found == []
    assert len(found) == bool(why)


def test_the_operator_can_declare_it_exclusive() -> None:
    assert "deploy_exclusive" in obstacles({"ports": PORTS}, INSPECT, [], only_one=True)[0]


def test_other_protocols_and_no_port_are_obstacles() -> None:
    udp = {"HostConfig": {}, "NetworkSettings": {"Ports": {"53/udp": [{"HostIp": "", "HostPort": "53"}]}}}
    assert "port of udp" in obstacles({}, udp, [])[0]
    assert obstacles({}, {"HostConfig": {}, "NetworkSettings": {}}, []) == ["it publishes no port"]


def test_all_obstacles_are_named_at_once() -> None:
    assert len(obstacles({"mac_address": "02:42:ac:11:00:03", "scale": 2, "ports": PORTS}, INSPECT, [])) == 2


def test_the_host_needs_the_memory_and_a_reserve() -> None:
    total = 8192 * MIB
    assert memory_obstacle(512 * MIB, 1400 * MIB, total) is None
    assert memory_obstacle(512 * MIB, 1300 * MIB, total) == (
        "a second copy may need 512 MiB, and the host can give 480 MiB (1300 MiB available less 10% of 8192 MiB)"
    )
    assert "host can give 0 MiB" in str(memory_obstacle(512 * MIB, 100 * MIB, total))
    assert "not known" in str(memory_obstacle(None, 1400 * MIB, total))
    assert "not known" in str(memory_obstacle(512 * MIB, *meminfo("")))


def test_memory_of_the_host() -> None:
    assert meminfo("MemTotal:        8148 kB\nMemFree: 1 kB\nMemAvailable:    4074 kB\n") == (4074 * 1024, 8148 * 1024)


@pytest.mark.parametrize(("text", "expected"), [("10s", 10), ("1m30s", 90), ("1h", 3600), ("500ms", 0.5), ("", 7)])
def test_durations_of_compose(text: str, expected: float) -> None:
    assert seconds(text, 7) == expected


def test_the_copy_is_published_on_the_same_addresses_and_found_again() -> None:
    ports = [Port("0.0.0.0", 8000, 80, "tcp"), Port("::", 8000, 80, "tcp"), Port("127.0.0.1", 9000, 81, "tcp")]
    ports.append(Port("fd00::1", 9001, 82, "tcp"))
    assert publishing(ports) == ["80", "127.0.0.1::81", "[fd00::1]::82"]
    copies = [port._replace(host_port=30000 + index) for index, port in enumerate(ports)]
    assert [(pair.host_port, pair.free_port) for pair in published(ports, copies)] == [
        (8000, 30000), (8000, 30001), (9000, 30002), (9001, 30003),
    ]  # fmt: skip
