# SPDX-License-Identifier: GPL-3.0-or-later
"""What is started so that a port of the host is published again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_file import Project
from ansible_collections.composeops.hotfix.plugins.module_utils._publishers import to_start

COMPOSE = """\
services:
  web: {image: web, depends_on: [redis]}
  redis: {image: redis}
  pages: {image: pages}
  migrate: {image: web}
  proxy:
    image: nginx
    depends_on:
      web: {condition: service_healthy}
      pages: {condition: service_started}
      migrate: {condition: service_completed_successfully}
  other: {image: caddy}
"""
AT = {"mode": "ingress", "target": 80, "published": "8000", "protocol": "tcp"}


def container(service: str, status: str = "running", port: int | None = None, ended: str = "") -> dict[str, Any]:
    bindings = {"80/tcp": [{"HostIp": "", "HostPort": str(port)}]} if port else {}
    return {
        "Id": service,
        "Name": f"/shop-{service}-1",
        "Config": {"Labels": {"com.docker.compose.service": service, "com.docker.compose.project": "shop"}},
        "State": {"Status": status, "FinishedAt": ended or "0001-01-01T00:00:00Z"},
        "HostConfig": {"PortBindings": bindings},
        "NetworkSettings": {"Ports": {}},
    }


def asked(folder: Path, containers: list[dict[str, Any]], **ports: list[dict[str, Any]]) -> list[str]:
    (folder / "compose.yml").write_text(COMPOSE)
    config = {"services": {name: {"ports": given} for name, given in ports.items()}}
    return to_start(Project.load(str(folder)), config, containers, "web", 8000)


WEB, PAGES, REDIS = container("web"), container("pages"), container("redis")


@pytest.mark.parametrize(
    ("containers", "started"),
    [
        ([WEB, PAGES, REDIS, container("proxy", "exited")], ["proxy"]),
        # What it depends on comes first, without what ends by itself.
        ([WEB, REDIS, container("pages", "exited"), container("proxy", "exited")], ["pages", "proxy"]),
        # After everything was taken down.
        ([WEB], ["redis", "pages", "proxy"]),
        ([WEB, PAGES, REDIS, container("proxy")], []),
        ([WEB, PAGES, REDIS, container("proxy", "restarting")], []),
        ([WEB, PAGES, REDIS, container("proxy", "paused")], []),
    ],
)
def test_what_publishes_the_port_is_started(
    tmp_path: Path, containers: list[dict[str, Any]], started: list[str]
) -> None:
    assert asked(tmp_path, containers, proxy=[AT]) == started


@pytest.mark.parametrize(
    "port", [{**AT, "published": "8001"}, {**AT, "protocol": "udp"}, {"target": 8000, "protocol": "tcp"}]
)
def test_another_port_does_not_count(tmp_path: Path, port: dict[str, Any]) -> None:
    assert asked(tmp_path, [WEB, PAGES, REDIS, container("proxy", "exited")], proxy=[port]) == []


def test_a_container_tells_of_a_profile_that_is_not_active(tmp_path: Path) -> None:
    assert asked(tmp_path, [WEB, PAGES, REDIS, container("proxy", "exited", 8000)]) == ["proxy"]
    # Its service is not in the files any more.
    assert asked(tmp_path, [WEB, PAGES, REDIS, container("gone", "exited", 8000)]) == []


def test_of_several_the_one_that_ran_last_is_meant(tmp_path: Path) -> None:
    older, newer = "2025-10-18T02:00:00.5Z", "2025-10-18T02:00:01Z"
    for ended, started in (((older, newer), ["other"]), ((newer, older), ["proxy"])):
        containers = [container("proxy", "exited", ended=ended[0]), container("other", "exited", ended=ended[1])]
        assert asked(tmp_path, [WEB, PAGES, REDIS, *containers], proxy=[AT], other=[AT]) == started
    containers = [container("proxy", "exited"), container("other")]
    assert asked(tmp_path, [WEB, PAGES, REDIS, *containers], proxy=[AT], other=[AT]) == []


def test_nothing_is_started_in_front_of_a_service_that_publishes_the_port_itself(tmp_path: Path) -> None:
    stopped = container("proxy", "exited", 8000)
    assert asked(tmp_path, [WEB, PAGES, REDIS, stopped], web=[AT]) == []
    assert asked(tmp_path, [container("web", port=8000), PAGES, REDIS, stopped], proxy=[AT]) == []
