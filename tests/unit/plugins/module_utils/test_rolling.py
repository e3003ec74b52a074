# SPDX-License-Identifier: GPL-3.0-or-later
"""What speaks against replacing a container behind a proxy, and how the proxy is found and led."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils._rolling import (
    Pair,
    addresses,
    caddy_file,
    exposed,
    is_checked,
    kind,
    known_as,
    leading,
    mentions,
    nginx_words,
    obstacles,
    pairs,
    port,
    relabelled,
    shared_networks,
    turning_away,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._rolling_run import lives, settled

DATA = [{"type": "volume", "source": "data", "target": "/data"}]


@pytest.mark.parametrize(
    ("service", "other", "why"),
    [
        ({}, {}, ""),
        ({"container_name": "shop"}, {}, "its name is fixed (container_name: shop)"),
        ({"ports": [{"published": "8000", "target": 8000}]}, {}, "publishes ports itself"),
        ({"volumes": DATA}, {}, "write to the same data"),
        ({"scale": 2}, {}, "it has 2 containers"),
        ({"labels": {"composeops.hotfix.exclusive": "true"}}, {}, "label composeops.hotfix.exclusive"),
        ({"post_start": [{"command": "warm"}]}, {}, "Compose alone runs its post_start"),
        ({}, {"network_mode": "service:web"}, "other would stay in the old container's network"),
        ({}, {"pid": "service:web"}, "other would stay"),
        ({}, {"network_mode": "service:db", "ipc": "host"}, ""),
    ],
)
def test_each_obstacle_is_named(service: dict[str, Any], other: dict[str, Any], why: str) -> None:
    found = obstacles({"services": {"web": service, "other": other}}, "web", {}, [])
    assert (why in "; ".join(found)) if why else found == []
    assert len(found) == bool(why)


def test_volumes_may_be_named_and_the_operator_can_declare_it_exclusive() -> None:
    config = {"services": {"web": {"volumes": DATA}}}
    assert obstacles(config, "web", {}, ["data"]) == []
    assert "deploy_exclusive" in obstacles(config, "web", {}, ["data"], only_one=True)[0]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["nginx: master process nginx -g daemon off;"], "nginx"),
        (["nginx:", "master", "process", "nginx"], "nginx"),
        (["/usr/sbin/nginx", "-g", "daemon off;"], "nginx"),
        (["/usr/local/bin/traefik", "--providers.docker"], "traefik"),
        (["caddy", "run"], "caddy"),
        (["redis-server", "*:6379"], ""),
        (["sh", "-c", "nginx"], ""),
        (["nginx-prometheus-exporter"], ""),
        ([], ""),
    ],
)
def test_a_proxy_is_known_by_its_program(words: list[str], found: str) -> None:
    assert kind(words) == found


def test_the_configuration_is_the_one_that_the_proxy_was_started_with() -> None:
    assert nginx_words(["/entrypoint.sh", "nginx", "-c", "/srv/n.conf", "-g", "daemon off;", "-q"]) == [
        *("-c", "/srv/n.conf"),
        *("-g", "daemon off;"),
    ]
    assert caddy_file(["caddy", "run", "--config", "/srv/Caddyfile"]) == "/srv/Caddyfile"
    assert caddy_file(["caddy", "run", "--config=/srv/c.json"]) == "/srv/c.json"
    assert caddy_file(["caddy", "run"]) == "/etc/caddy/Caddyfile"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("proxy_pass http://web:8000;", True),
        ("server web;", True),
        ('"dial": "shop-web-1:80"', True),
        ("proxy_pass http://web-admin:8000;", False),
        ("server_name web.example;", False),
        ("root /srv/www-web_files;", False),
        ("", False),
    ],
)
def test_a_configuration_names_the_service_as_a_whole_word(text: str, found: bool) -> None:
    assert mentions(text, ["web", "shop-web-1"]) == found


def container(name: str, **networks: dict[str, Any]) -> dict[str, Any]:
    return {"Name": f"/{name}", "NetworkSettings": {"Networks": networks}, "Config": {}}


OLD = container(
    "shop-web-1",
    front={"IPAddress": "172.19.0.3", "GlobalIPv6Address": "fd00::3", "Aliases": ["web", "api"]},
    back={"IPAddress": "172.20.0.3", "GlobalIPv6Address": ""},
)
NEW = container(
    "shop-web-1-incoming",
    front={"IPAddress": "172.19.0.5", "GlobalIPv6Address": "fd00::5"},
    back={"IPAddress": "172.20.0.5", "GlobalIPv6Address": ""},
)


def test_addresses_are_those_of_the_networks_that_the_proxy_is_in() -> None:
    assert shared_networks(container("proxy", front={}, other={}), OLD) == ["front"]
    assert pairs(OLD, NEW, ["front"]) == [Pair(4, "172.19.0.3", "172.19.0.5"), Pair(6, "fd00::3", "fd00::5")]
    assert pairs(OLD, NEW, ["back"]) == [Pair(4, "172.20.0.3", "172.20.0.5")]
    assert pairs(OLD, container("shop-web-2"), ["front"]) == []
    assert known_as(OLD, "web") == ["web", "shop-web-1", "api"]


def test_only_what_opens_a_connection_is_led_elsewhere() -> None:
    rule = leading(Pair(4, "172.19.0.3", "172.19.0.5"), "0123456789ab")
    assert rule.chain == "OUTPUT"
    assert " ".join(rule.words) == (
        "-d 172.19.0.3/32 -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN"
        " -m comment --comment composeops-hotfix-handover:0123456789ab -j DNAT --to-destination 172.19.0.5"
    )
    assert rule.copy == "0123456789ab"
    six = leading(Pair(6, "fd00::3", "fd00::5"), "0123456789ab")
    assert (six.option("-d"), six.option("--to-destination")) == ("fd00::3/128", "fd00::5")


def test_what_a_proxy_opens_is_refused_in_each_family() -> None:
    assert addresses(OLD, ["front", "back"]) == ["172.19.0.3", "fd00::3", "172.20.0.3"]
    rule = turning_away("172.19.0.5", "0123456789ab")
    assert (rule.chain, rule.copy) == ("OUTPUT", "0123456789ab")
    assert " ".join(rule.words) == (
        "-d 172.19.0.5/32 -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN"
        " -m comment --comment composeops-hotfix-handover:0123456789ab -j REDIRECT --to-ports 1"
    )
    assert turning_away("fd00::5", "0123456789ab").words[:2] == ("-d", "fd00::5/128")


@pytest.mark.parametrize(
    ("service", "image", "checked"),
    [
        ({}, None, False),
        ({}, {"Test": ["CMD", "ask"]}, True),
        ({}, {"Test": ["NONE"]}, False),
        ({"healthcheck": {"test": ["CMD-SHELL", "ask"]}}, None, True),
        ({"healthcheck": {"test": ["NONE"]}}, {"Test": ["CMD", "ask"]}, False),
        ({"healthcheck": {"disable": True}}, {"Test": ["CMD", "ask"]}, False),
        ({"healthcheck": {"interval": "5s"}}, {"Test": ["CMD", "ask"]}, True),
        ({"healthcheck": {"interval": "5s"}}, None, False),
    ],
)
def test_whether_the_engine_checks_the_health(service: dict[str, Any], image: Any, checked: bool) -> None:
    assert is_checked(service, {"Config": {"Healthcheck": image}}) is checked


@pytest.mark.parametrize(
    ("state", "restarts", "trusted"),
    [
        ({"Running": True}, 0, True),
        ({"Running": False}, 0, False),
        ({"Running": True, "Restarting": True}, 0, False),
        ({"Running": True, "Restarting": False}, 1, False),
    ],
)
def test_what_ends_again_and_again_does_not_take_over(state: dict[str, Any], restarts: int, trusted: bool) -> None:
    assert lives({"State": state, "RestartCount": restarts}) is trusted


@pytest.mark.parametrize(
    ("now", "then", "image", "changed"),
    [
        (None, {}, None, []),
        ({"traefik.a": "1"}, {"traefik.a": "1", "com.docker.compose.service": "web"}, None, []),
        ({"traefik.a": "2", "traefik.b": "1"}, {"traefik.a": "1"}, None, ["traefik.a", "traefik.b"]),
        ({}, {"traefik.a": "1"}, None, ["traefik.a"]),
        ({}, {"traefik.a": "1"}, {"traefik.a": "1"}, []),
        ({"traefik.a": "2"}, {"traefik.a": "2"}, {"traefik.a": "1"}, []),
        ({"other": "2"}, {"other": "1"}, {}, []),
    ],
)
def test_which_labels_would_change_for_traefik(now: Any, then: Any, image: Any, changed: list[str]) -> None:
    assert relabelled({"labels": now}, {"Config": {"Labels": then}}, image) == changed


def test_the_port_is_one_that_the_container_listens_on() -> None:
    assert port({8000}, []) == 8000
    assert port({9000, 8000}, [9000]) == 9000
    assert port({9000, 8000}, [80]) == 8000
    assert port([], [80]) == 0
    assert exposed({"Config": {"ExposedPorts": {"8000/tcp": {}, "9000/tcp": {}}}}) == [8000, 9000]
    assert exposed({"Config": {}}) == []


@pytest.mark.parametrize("name", ["shop-web-1", "shop-web-1-incoming", "shop-web-1-outgoing"])
def test_the_new_container_gets_the_name_of_the_old_one(name: str) -> None:
    assert settled(container(name)) == "shop-web-1"
