# SPDX-License-Identifier: GPL-3.0-or-later
"""What a container was made with; that the engine makes the same of it is tried by ``tests/engine``."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils import _container_spec as spec
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError

RECORDED = Path(__file__).parent / "recorded"
OLD = {"VALID_API_KEYS": "canary-old", "DEBUG": "true"}


def inspected(engine: int = 26) -> dict[str, Any]:
    """What a real engine printed."""
    data: dict[str, Any] = json.loads((RECORDED / f"inspect_engine_{engine}.json").read_text())[0]
    return data


def made(*env: str, **config: Any) -> dict[str, Any]:
    """A description with these variables."""
    return {
        "id": "1",
        "name": "web",
        "image": "sha256:1",
        "config": {"Env": list(env), **config},
        "host_config": {},
        "networks": {},
    }


@pytest.mark.parametrize("engine", [20, 26])
def test_what_the_engine_has_chosen_is_not_asked_for(engine: int) -> None:
    data = inspected(engine)
    found = spec.of_container(data)
    identity = data["Id"][:12]
    assert identity not in json.dumps({**found, "id": ""})
    assert found["name"] == data["Name"][1:] and found["image"] == data["Image"]
    for network in found["networks"].values():
        assert "IPAddress" not in network and "EndpointID" not in network
        assert data["Config"]["Labels"]["com.docker.compose.service"] in network["Aliases"]
    assert found["host_config"]["PortBindings"] == data["HostConfig"]["PortBindings"]
    assert found["config"]["Labels"] == data["Config"]["Labels"]


def test_a_name_of_the_host_that_somebody_chose_stays() -> None:
    data = inspected()
    data["Config"]["Hostname"] = "web-1"
    assert spec.of_container(data)["config"]["Hostname"] == "web-1"


def test_a_fixed_address_stays() -> None:
    data = inspected()
    network = next(iter(data["NetworkSettings"]["Networks"].values()))
    network["IPAMConfig"] = {"IPv4Address": "172.30.0.9"}
    assert next(iter(spec.of_container(data)["networks"].values()))["IPAMConfig"] == {"IPv4Address": "172.30.0.9"}


def test_volumes_that_nobody_named_are_found_again_and_named_ones_are_not_asked_for_twice() -> None:
    data = inspected()
    data["HostConfig"]["Binds"] = ["shop_data:/data:rw"]
    data["HostConfig"]["Mounts"] = [
        {"Type": "bind", "Source": "/srv", "Target": "/srv"},
        {"Type": "volume", "Target": "/scratch", "VolumeOptions": {"NoCopy": True}},
    ]
    data["Mounts"] = [
        {"Type": "volume", "Name": "shop_data", "Destination": "/data", "RW": True},
        {"Type": "bind", "Source": "/srv", "Destination": "/srv", "RW": True},
        {"Type": "volume", "Name": "0f3a", "Destination": "/cache", "RW": False},
        {"Type": "volume", "Name": "77c1", "Destination": "/scratch", "RW": True},
    ]
    assert spec.of_container(data)["host_config"]["Mounts"] == [
        {"Type": "bind", "Source": "/srv", "Target": "/srv"},
        {"Type": "volume", "Target": "/scratch", "VolumeOptions": {"NoCopy": True}, "Source": "77c1"},
        {"Type": "volume", "Source": "0f3a", "Target": "/cache", "ReadOnly": True},
    ]


def test_links_are_asked_for_in_their_own_form() -> None:
    data = inspected()
    data["HostConfig"]["Links"] = ["/redis:/web/store"]
    assert spec.of_container(data)["host_config"]["Links"] == ["redis:store"]


def test_the_network_that_the_container_is_in_first_comes_first() -> None:
    data = inspected()
    data["HostConfig"]["NetworkMode"] = "front"
    data["NetworkSettings"]["Networks"] = {
        "back": {},
        "front": {"MacAddress": "02:42:ac:11:00:02", "DNSNames": ["web"]},
    }
    found = spec.of_container(data)["networks"]
    assert list(found.items()) == [("front", {"MacAddress": "02:42:ac:11:00:02"}), ("back", {})]


def test_an_address_that_an_older_engine_has_chosen_is_not_asked_for() -> None:
    data = inspected(20)
    assert all("MacAddress" not in network for network in spec.of_container(data)["networks"].values())


@pytest.mark.parametrize(
    ("host", "without"),
    [
        ({"NetworkMode": "container:0f3a"}, {"Hostname", "Domainname", "ExposedPorts"}),
        ({"NetworkMode": "host", "UTSMode": "host"}, {"Hostname"}),
    ],
)
def test_what_is_of_another_container_or_of_the_host_is_not_asked_for(host: dict[str, str], without: set[str]) -> None:
    data = inspected()
    data["Config"] |= {"Hostname": "other", "Domainname": "example.org", "ExposedPorts": {"80/tcp": {}}}
    data["HostConfig"] |= host
    assert set(data["Config"]) - set(spec.of_container(data)["config"]) == without


def test_an_entrypoint_that_was_taken_away_does_not_come_back() -> None:
    data = inspected()
    data["Config"]["Entrypoint"] = None
    assert spec.of_container(data)["config"]["Entrypoint"] == [""]


def test_it_is_made_in_its_first_network() -> None:
    networks: dict[str, Any] = {"front": {"Aliases": ["web"]}, "back": {}}
    body = spec.request({**made("A=1"), "networks": networks}, "web:1")
    assert body["NetworkingConfig"] == {"EndpointsConfig": {"front": {"Aliases": ["web"]}}}
    assert (body["Image"], body["Env"], body["HostConfig"]) == ("web:1", ["A=1"], {})


def test_another_value_gets_into_its_variable_and_the_rest_stays() -> None:
    before = made("PATH=/bin", "VALID_API_KEYS=canary-old", "DEBUG=true")
    kept = copy.deepcopy(before)
    now = {"VALID_API_KEYS": "canary-new", "DEBUG": "false"}
    found = spec.with_values(before, OLD, now, ["VALID_API_KEYS"])
    assert found == made("PATH=/bin", "DEBUG=true", "VALID_API_KEYS=canary-new")
    assert before == kept


def test_a_variable_that_is_new_gets_into_a_container_that_has_the_whole_file() -> None:
    now = {**OLD, "JWT_SECRET_KEY": "canary-jwt"}
    found = spec.with_values(made("VALID_API_KEYS=canary-old", "DEBUG=true"), OLD, now, ["JWT_SECRET_KEY"])
    assert found["config"]["Env"] == ["VALID_API_KEYS=canary-old", "DEBUG=true", "JWT_SECRET_KEY=canary-jwt"]
    with pytest.raises(HotfixError, match="how the container gets JWT_SECRET_KEY"):
        spec.with_values(made("VALID_API_KEYS=canary-old"), OLD, now, ["JWT_SECRET_KEY"])


@pytest.mark.parametrize(
    ("before", "now", "why"),
    [
        (made("DEBUG=true"), {"VALID_API_KEYS": "canary-new"}, "how the container gets VALID_API_KEYS"),
        (made("VALID_API_KEYS=other"), {"VALID_API_KEYS": "canary-new"}, "how the container gets VALID_API_KEYS"),
        (made("VALID_API_KEYS=canary-old"), {}, "how the container gets VALID_API_KEYS"),
        (
            made("VALID_API_KEYS=canary-old", "URL=http://canary-old@x"),
            {"VALID_API_KEYS": "canary-new"},
            "the old value of VALID_API_KEYS in more than",
        ),
        (
            made("VALID_API_KEYS=canary-old", Healthcheck={"Test": ["CMD", "ask", "--key=canary-old"]}),
            {"VALID_API_KEYS": "canary-new"},
            "the old value of VALID_API_KEYS in more than",
        ),
    ],
)
def test_where_it_cannot_be_told_how_a_value_gets_there_it_is_refused(
    before: dict[str, Any], now: dict[str, str], why: str
) -> None:
    with pytest.raises(HotfixError, match=why) as raised:
        spec.with_values(before, OLD, now, ["VALID_API_KEYS"])
    assert "canary" not in str(raised.value)


def test_an_old_key_that_stays_beside_the_new_one_is_no_copy() -> None:
    old, now = {"KEYS": "canary-one,canary-two"}, {"KEYS": "canary-one,canary-two,canary-three"}
    found = spec.with_values(made("KEYS=canary-one,canary-two"), old, now, ["KEYS"])
    assert found["config"]["Env"] == ["KEYS=canary-one,canary-two,canary-three"]


def test_what_is_short_is_not_looked_for_and_a_variable_without_a_value_stays_so() -> None:
    found = spec.with_values(made("DEBUG=1", "PORT=8001", "UNSET"), {"DEBUG": "1"}, {"DEBUG": "0"}, ["DEBUG"])
    assert found["config"]["Env"] == ["PORT=8001", "UNSET", "DEBUG=0"]


def test_an_old_value_in_quotes_is_found_too() -> None:
    old = {"VALID_API_KEYS": '["canary-old"]'}
    before = made('VALID_API_KEYS=["canary-old"]', 'COPY=x["canary-old"]')
    with pytest.raises(HotfixError, match="in more than its variable"):
        spec.with_values(before, old, {"VALID_API_KEYS": '["canary-new"]'}, ["VALID_API_KEYS"])
