# SPDX-License-Identifier: GPL-3.0-or-later
"""Projects that were started in ways that no file of theirs tells, deployed with the oldest and the newest Compose."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_binary import BY_VERSION
from host import BIN, CHECKOUT, Host
from test_handover import COMPOSE

PROJECT = "/opt/shop"
PLUGIN = "/usr/local/lib/docker/cli-plugins/docker-compose"
# What has to be deployed, and how it was started.
STARTS = {
    "one file": ([], ""),
    "one file and its override": ([], ""),
    "two files with -f": (["-f", "base.yml", "-f", "prod.yml"], ""),
    "a name with -p": (["-p", "shop-prod"], ""),
    "two files, a name": (["-f", "base.yml", "-f", "prod.yml", "-p", "shop-prod"], ""),
    "COMPOSE_FILE in .env": ([], "COMPOSE_FILE=base.yml:prod.yml\n"),
    "a name and a profile in .env": (["--profile", "api"], "COMPOSE_PROJECT_NAME=shop-live\nCOMPOSE_PROFILES=api\n"),
}
VERSIONS = {"as installed": "", **{version: str(BY_VERSION[version]) for version in sorted(BY_VERSION)[-1:]}}


def write(droplet: Host, start: str, generation: int) -> None:
    """The project's files."""
    web = {**COMPOSE["services"]["web"], "environment": {}, "env_file": ".env"}
    if "profile" in start:
        web["profiles"] = ["api"]
    droplet.write(f"{PROJECT}/base.yml", yaml.safe_dump({"services": {"web": web}}))
    override = {"services": {"web": {"environment": {"GENERATION": str(generation)}}}}
    droplet.write(f"{PROJECT}/prod.yml", yaml.safe_dump(override))
    if "files" not in start:
        if "override" in start:
            droplet.write(f"{PROJECT}/compose.override.yml", yaml.safe_dump(override))
        else:
            web["environment"] = {"GENERATION": str(generation)}
        droplet.write(f"{PROJECT}/compose.yml", yaml.safe_dump({"services": {"web": web}}))
    droplet.write(f"{PROJECT}/.env", f"LEVEL=info\n{STARTS[start][1]}")


TOLD = {"application_project_src": PROJECT, "application_service": "web", "application_health_path": "/health"}
USUAL = "/opt/wealth-coach-ai"
ELSEWHERE = "/opt/advice"


def run(droplet: Host, folder: Path, told: dict[str, str]) -> tuple[int, str]:
    """Run role deploy, told where the application is; its exit status and what it printed."""
    variables = {**told, "preflight_minimum_free_mb": 1}
    roles = [{"ansible.builtin.import_role": {"name": f"composeops.hotfix.{name}"}} for name in ("preflight", "deploy")]
    play = [{"hosts": "droplet", "gather_facts": False, "vars": variables, "tasks": roles}]
    (folder / "play.yml").write_text(yaml.safe_dump(play))
    words = [str(BIN / "ansible-playbook"), "-i", str(droplet.inventory), str(folder / "play.yml")]
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "COLUMNS": "1000"}
    done = subprocess.run(words, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def deploy(droplet: Host, folder: Path, **told: str) -> str:
    """Deploy it; what was printed."""
    status, said = run(droplet, folder, told)
    assert status == 0, said[-4000:]
    return said


def containers(droplet: Host) -> list[dict[str, Any]]:
    """All containers of the project's directory."""
    listed = droplet.sh(f"docker ps -aq --filter label=com.docker.compose.project.working_dir={PROJECT}").split()
    return [json.loads(droplet.sh(f"docker inspect {one}"))[0] for one in listed]


@pytest.fixture(params=VERSIONS)
def _compose(droplet: Host, request: pytest.FixtureRequest) -> Iterator[None]:
    """Puts a version of Compose in the place where Docker looks first."""
    binary = VERSIONS[request.param]
    droplet.sh("docker stop wealth_coach_backend")
    if binary:
        droplet.sh(f"mkdir -p {os.path.dirname(PLUGIN)}")
        subprocess.run(["docker", "cp", binary, f"{droplet.container}:{PLUGIN}"], check=True, capture_output=True)
        droplet.sh(f"chmod 755 {PLUGIN}; docker compose version --short")
    yield
    droplet.sh(f"docker ps -aq --filter label=com.docker.compose.project.working_dir={PROJECT} | xargs -r docker rm -f")
    droplet.sh(f"rm -rf {PLUGIN} {PROJECT} /var/lib/composeops/shop; docker start wealth_coach_backend")


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.usefixtures("_compose")
def test_a_project_is_deployed_as_it_was_started(droplet: Host, start: str, tmp_path: Path) -> None:
    write(droplet, start, 1)
    words = " ".join(STARTS[start][0])
    droplet.sh(f"cd {PROJECT}; docker compose {words} --progress quiet up -d")
    [before] = containers(droplet)
    write(droplet, start, 2)
    said = deploy(droplet, tmp_path, **TOLD)
    assert "strategy handover" in said
    [after] = containers(droplet)
    assert after["Id"] != before["Id"] and after["State"]["Running"]
    assert "GENERATION=2" in after["Config"]["Env"]
    for label in ("project", "project.config_files", "service"):
        name = f"com.docker.compose.{label}"
        assert after["Config"]["Labels"][name] == before["Config"]["Labels"][name]
    again = deploy(droplet, tmp_path, **TOLD)
    assert "changed=0" in again
    assert [one["Id"] for one in containers(droplet)] == [after["Id"]]


def move(droplet: Host, source: str, target: str) -> None:
    """Move the stand-in's application into another directory, and start it there."""
    droplet.sh(f"""
        cd {source}; docker compose --progress quiet down --volumes; mv {source} {target}
        cd {target}; docker compose --progress quiet up -d --build
        timeout 60 sh -c 'until curl -sf -m 2 -o /dev/null http://127.0.0.1:8000/api/v1/health; do sleep 1; done'
    """)


@pytest.fixture
def _elsewhere(droplet: Host) -> Iterator[None]:
    """The application is not where it is looked for unless somebody names its directory."""
    move(droplet, USUAL, ELSEWHERE)
    yield
    move(droplet, ELSEWHERE, USUAL)
    droplet.sh("rm -rf /var/lib/composeops/advice; docker image rm -f advice-backend")


@pytest.mark.usefixtures("_elsewhere")
def test_the_only_application_of_the_host_needs_no_name(droplet: Host, tmp_path: Path) -> None:
    def identity() -> str:
        return droplet.sh("docker inspect -f '{{.Id}}' wealth_coach_backend")

    before, value = identity(), f"FOUND={time.time_ns()}"
    droplet.sh(f"echo {value} >> {ELSEWHERE}/.env")
    # Who names a directory means no other one.
    status, said = run(droplet, tmp_path, {"application_project_src": "/opt/advise"})
    assert status != 0
    assert "/opt/advise does not exist on droplet. Set application_project_src" in said
    assert identity() == before
    # Nor is one of two chosen.
    droplet.sh(f"""
        cp -a {ELSEWHERE} /opt/other; cd /opt/other
        sed -i 's/container_name: wealth_coach_/container_name: other_/' docker-compose.yml
        docker compose --progress quiet create backend
    """)
    try:
        status, said = run(droplet, tmp_path, {})
    finally:
        droplet.sh("cd /opt/other; docker compose --progress quiet down --volumes --rmi local; rm -rf /opt/other")
    assert status != 0
    for folder in (ELSEWHERE, "/opt/other"):
        assert f"-e application_project_src={folder}" in said
    assert identity() == before
    said = deploy(droplet, tmp_path)
    assert "Found by its container: wealth_coach_backend: -e application_project_src=/opt/advice" in said
    assert identity() != before
    assert f'"{value}"' in droplet.sh("docker inspect -f '{{json .Config.Env}}' wealth_coach_backend")
    assert "changed=0" in deploy(droplet, tmp_path)
