# SPDX-License-Identifier: GPL-3.0-or-later
"""application_info, run as Ansible does, against what a real engine printed."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

LABEL = "com.docker.compose."


def container(engine: Any, name: str, folder: Path | str = "", **more: Any) -> dict[str, Any]:
    """One of a project in a folder, whose command is uvicorn's; it does not run."""
    data: dict[str, Any] = copy.deepcopy(engine.inspect)
    data["Id"], data["Name"] = name * 4, f"/{name}"
    data["State"] |= {"Status": "exited", "Running": False}
    data["Config"]["Cmd"] = ["uvicorn", "main:app"]
    labels = {
        f"{LABEL}project": "shop",
        f"{LABEL}project.working_dir": str(folder),
        f"{LABEL}project.config_files": f"{folder}/base.yml,{folder}/deploy/prod.yml",
        f"{LABEL}service": "web",
    }
    data["Config"]["Labels"] = {**(labels if folder else {}), **more}
    return data


def found(engine: Any, *containers: dict[str, Any]) -> list[dict[str, Any]]:
    engine.answers = {
        "ps": {"stdout": "".join(f"{data['Id']}\n" for data in containers)},
        "inspect": {"stdout": json.dumps(containers)},
    }
    applications: list[dict[str, Any]] = engine.run("application_info")["applications"]
    return applications


def test_project_files_and_address_are_those_of_the_container(engine: Any, tmp_path: Path) -> None:
    data = container(engine, "web", tmp_path)
    bindings = [{"HostIp": "", "HostPort": "8080"}, {"HostIp": "::", "HostPort": "8080"}]
    data["NetworkSettings"]["Ports"] = {"8000/tcp": bindings, "8001/udp": [{"HostIp": "", "HostPort": "1"}]}
    (one,) = found(engine, data)
    assert (one["project"], one["project_src"], one["service"]) == ("shop", str(tmp_path), "web")
    assert (one["files"], one["project_src_exists"]) == (["base.yml", "deploy/prod.yml"], True)
    assert (one["container"], one["server"], one["status"], one["workers"]) == ("web", "uvicorn", "exited", 0)
    assert (one["url"], len(one["ports"])) == ("http://127.0.0.1:8080", 2)


def test_the_likeliest_comes_first_and_what_is_no_application_does_not_come(engine: Any, tmp_path: Path) -> None:
    redis = container(engine, "redis", tmp_path)
    redis["Config"]["Cmd"] = ["redis-server"]
    one_off = container(engine, "oneoff", tmp_path, **{f"{LABEL}oneoff": "True"})
    copied = container(engine, "copy", tmp_path, **{"composeops.hotfix.handover": "890581d3af32"})
    applications = found(
        engine,
        container(engine, "by-hand"),
        container(engine, "gone", "/nowhere/at/all"),
        redis,
        one_off,
        copied,
        container(engine, "web", tmp_path),
    )
    assert [one["container"] for one in applications] == ["web", "by-hand", "gone"]
    assert [one["project_src_exists"] for one in applications] == [True, False, False]


@pytest.mark.parametrize(
    ("host_ip", "url"),
    [("0.0.0.0", "http://127.0.0.1:8080"), ("10.0.0.5", "http://10.0.0.5:8080"), ("::1", "http://[::1]:8080")],
)
def test_a_port_is_asked_at_the_address_to_which_it_is_bound(
    engine: Any, tmp_path: Path, host_ip: str, url: str
) -> None:
    data = container(engine, "web", tmp_path)
    data["NetworkSettings"]["Ports"] = {"8000/tcp": [{"HostIp": host_ip, "HostPort": "8080"}]}
    assert found(engine, data)[0]["url"] == url


def test_of_both_families_it_is_asked_by_the_one_that_each_engine_serves(engine: Any, tmp_path: Path) -> None:
    data = container(engine, "web", tmp_path)
    bindings = [{"HostIp": "::", "HostPort": "8000"}, {"HostIp": "0.0.0.0", "HostPort": "8080"}]
    data["NetworkSettings"]["Ports"] = {"8000/tcp": bindings}
    assert found(engine, data)[0]["url"] == "http://127.0.0.1:8080"


def test_a_host_without_containers_has_none(engine: Any) -> None:
    assert found(engine) == []


def test_an_engine_that_does_not_answer_is_an_error(engine: Any) -> None:
    engine.answers = {"ps": {"rc": 1, "stderr": "Cannot connect to the Docker daemon at unix:///x. Is it running?"}}
    assert "does not answer" in engine.run("application_info", expect_failure=True)["msg"]
