# SPDX-License-Identifier: GPL-3.0-or-later
"""A container that Compose has replaced, made again by a real engine: the same, and for Compose its own."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils import _container_restore, _container_spec
from ansible_collections.composeops.hotfix.plugins.module_utils._container import INCOMING, Docker
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from compose_binary import BY_VERSION
from tiny_image import LABEL, docker, sleeper

SERVICE = """
    image: {image}
    container_name: {name}-web
    hostname: shop
    command: [/sleep]
    user: "1000:1000"
    environment: {{KEY: "a b=c'\\"$$d", EMPTY: ""}}
    ports: ["127.0.0.1::8000", "127.0.0.1::9000/udp"]
    volumes: ["data:/data", "/cache", {{type: tmpfs, target: /scratch}}, "./web:/web:ro"]
    networks: {{front: {{aliases: [shop]}}, back: {{ipv4_address: {subnet}.9}}}}
    restart: unless-stopped
    mem_limit: 64m
    cpus: 0.5
    init: true
    read_only: true
    cap_drop: [ALL]
    stop_grace_period: 1s
    healthcheck: {{test: [CMD, /sleep], interval: 1h}}
    logging: {{driver: json-file, options: {{max-size: 1m}}}}
    extra_hosts: ["other:10.0.0.1"]
    labels: {{{label}}}
"""
# What differs between two containers that were made alike.
OWN = {"Id", "Created", "State", "ResolvConfPath", "HostnamePath", "HostsPath", "LogPath", "GraphDriver", "Storage"}


class Shop:
    """A Compose project with one service ``web``, which has a bit of everything."""

    def __init__(self, program: str, folder: Path, image: str) -> None:
        self.program, self.folder, self.image = program, folder, image
        self.name = f"hotfix-restore-{os.getpid()}-{secrets.token_hex(4)}"
        self.subnet = f"10.{secrets.randbelow(200) + 20}.{secrets.randbelow(250)}"
        (folder / "web").mkdir()

    def write(self, more: str = "") -> None:
        label = LABEL.replace("=", ": '") + "'"
        service = SERVICE.format(image=self.image, name=self.name, subnet=self.subnet, label=label)
        networks = f"networks: {{front: {{}}, back: {{ipam: {{config: [{{subnet: {self.subnet}.0/24}}]}}}}}}"
        text = f"name: {self.name}\nservices:\n  web:{service}{more}\nvolumes: {{data: {{}}}}\n{networks}\n"
        (self.folder / "compose.yaml").write_text(text)

    def compose(self, *words: str) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("COMPOSE_")}
        command = [self.program, "--progress=quiet", *words]
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stderr

    def inspect(self) -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(docker("inspect", f"{self.name}-web"))
        return found[0]

    def names(self) -> list[str]:
        words = ("--all", f"--filter=label=com.docker.compose.project={self.name}", "--format={{.Names}}")
        return docker("ps", *words).split()

    def options(self) -> dict[str, Any]:
        return {"project_src": str(self.folder), "files": None, "service": "web", "variables": []}


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    with sleeper() as identity:
        yield identity


@pytest.fixture(params=BY_VERSION)
def shop(request: pytest.FixtureRequest, tmp_path: Path, image: str) -> Iterator[Shop]:
    project = Shop(BY_VERSION[request.param], tmp_path, image)
    project.write()
    project.compose("up", "--detach")
    yield project
    project.write()
    project.compose("down", "--volumes", "--timeout=0")


def compared(inspect: dict[str, Any]) -> dict[str, Any]:
    """What is to be the same of two containers that were made alike."""
    networks = inspect["NetworkSettings"]["Networks"]
    identity = inspect["Id"][:12]
    asked = {
        name: (network["IPAMConfig"] or {}, sorted(set(network["Aliases"]) - {identity}), network["Links"])
        for name, network in networks.items()
    }
    mounts = sorted(
        (mount["Type"], mount.get("Name"), mount["Destination"], mount["RW"]) for mount in inspect["Mounts"]
    )
    host = {key: value for key, value in inspect["HostConfig"].items() if key not in ("Mounts", "Binds")}
    # Compose notes in a label which container it has replaced.
    labels = {key: value for key, value in inspect["Config"]["Labels"].items() if not key.endswith(".replace")}
    config = {**inspect["Config"], "Labels": labels}
    rest = {key: value for key, value in inspect.items() if key not in OWN}
    return {**rest, "Config": config, "HostConfig": host, "NetworkSettings": asked, "Mounts": mounts}


def test_it_is_the_same_and_compose_has_nothing_to_do(shop: Shop) -> None:
    before = shop.inspect()
    spec = json.loads(json.dumps(_container_spec.of_container(before)))
    shop.write("    working_dir: /data\n    oom_score_adj: 100\n")
    shop.compose("up", "--detach")
    assert shop.inspect()["Id"] != before["Id"]
    made = _container_restore.restore(Docker(), spec, shop.options())
    after = shop.inspect()
    assert after["Id"] == made and after["State"]["Running"]
    assert compared(after) == compared(before)
    assert shop.names() == [f"{shop.name}-web"]
    shop.write()
    shop.compose("up", "--detach")
    assert shop.inspect()["Id"] == made


def test_what_the_engine_refuses_changes_nothing(shop: Shop) -> None:
    before = shop.inspect()
    spec = _container_spec.of_container(before)
    spec["id"], spec["host_config"]["Runtime"] = "gone", "nobody-has-it"
    with pytest.raises(HotfixError, match=r"the engine refused /containers/create: .*nobody-has-it"):
        _container_restore.restore(Docker(), spec, shop.options())
    assert shop.inspect()["Id"] == before["Id"] and shop.inspect()["State"]["Running"]
    spec = {**_container_spec.of_container(before), "id": "gone"}
    spec["networks"] = {**spec["networks"], "gone": {}}
    with pytest.raises(HotfixError, match=r"docker network failed .*: network gone not found"):
        _container_restore.restore(Docker(), spec, shop.options())
    assert shop.names() == [f"{shop.name}-web"] and shop.inspect()["Id"] == before["Id"]


def test_the_very_container_is_taken_where_it_is_still_there(shop: Shop) -> None:
    before = shop.inspect()
    spec = _container_spec.of_container(before)
    docker("stop", "--time=1", before["Id"])
    docker("rename", before["Id"], f"{before['Name'][1:]}-outgoing")
    kept = {**shop.options(), "variables": ["KEY"]}
    assert _container_restore.restore(Docker(), spec, kept) == ""
    assert shop.names() == [f"{shop.name}-web-outgoing"]
    assert _container_restore.restore(Docker(), spec, shop.options()) == before["Id"]
    assert shop.names() == [f"{shop.name}-web"] and shop.inspect()["State"]["Running"]


def test_what_a_run_has_left_that_was_killed_is_in_nobodys_way(shop: Shop) -> None:
    before = shop.inspect()
    spec = _container_spec.of_container(before)
    docker("rm", "--force", before["Id"])
    docker("create", f"--name={shop.name}-web{INCOMING}", f"--label={LABEL}", shop.image)
    made = _container_restore.restore(Docker(), spec, shop.options())
    assert shop.names() == [f"{shop.name}-web"] and shop.inspect()["Id"] == made
    assert docker("ps", "--all", "--quiet", f"--filter=name={shop.name}-web{INCOMING}") == ""
