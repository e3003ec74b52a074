# SPDX-License-Identifier: GPL-3.0-or-later
"""compose_up, run as Ansible does: what it asks of Compose, and what it says when that fails.

Real Compose reads the files; what only an engine could do is a recording.
"""

from __future__ import annotations

import json
import os
import shlex
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from compose_binary import BY_VERSION

Run = Callable[..., dict[str, Any]]

LICENCE = "canaryKq27wZr5tY8uI1oP3"
ENV = f"LICENCE={LICENCE}\nSMTP_PASSWORD='canary-pa$canarytail99$x'\nNPM_TOKEN=canaryNpm7wZr5tY8\n"
COMPOSE = """\
services:
  backend:
    build:
      context: .
      args:
        NPM_TOKEN: ${NPM_TOKEN}
    env_file: .env
    environment:
      PARTNER: canaryPartner5tY8uI1oP3
    depends_on: [redis]
  redis:
    image: redis:8
"""
DOCKERFILE = (
    'FROM scratch\nARG PIP_INDEX_URL=https://ci:canaryIndex@host/\nENV CODE="canaryCode7wZr5t"\nRUN env; false\n'
)
# As Compose 2.26 with BuildKit prints it, for a step that printed its environment.
BUILD_FAILED = f"""\
time="2025-10-18T02:00:00Z" level=warning msg="The \\"canarytail99\\" variable is not set. Defaulting to..."
#8 [backend 2/3] RUN env; false
#8 0.1 NPM_TOKEN=canaryNpm7wZr5tY8
#8 0.1 echo canaryPartner5tY8uI1oP3 {LICENCE[:15]}
#8 0.1 canaryCode7wZr5t
Dockerfile:4
   2 | ARG PIP_INDEX_URL=https://ci:canaryIndex@host/
target backend: failed to solve: process "/bin/sh -c env; false" did not complete successfully: exit code: 1
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    for name, text in ((".env", ENV), ("docker-compose.yml", COMPOSE), ("Dockerfile", DOCKERFILE)):
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def docker(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Makes a ``docker`` that lists a container once there is a file ``made``, and has ``compose`` do what is asked.

    With a file ``stopped`` the container does not run.
    """

    def make(compose: str) -> dict[str, str]:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        program = folder / "docker"
        program.write_text(
            "#!/bin/bash\n"
            f'cd {shlex.quote(str(folder))}; echo "$*" >>calls; cd - >/dev/null\n'
            f'case "$*" in *"compose version"*) echo 2.40.3 ;;\n'
            f' compose*"config --format json"*) shift; exec {next(iter(BY_VERSION.values()))} "$@" ;;\n'
            f" compose*) shift; {compose} ;;\n"
            f"  ps*--all*) test ! -e {folder}/made || echo 1 ;;\n"
            f"  ps*) test ! -e {folder}/made -o -e {folder}/stopped || echo 1 ;;\n"
            """  inspect*) echo '[{"Id": "1", "Name": "/x", "State": {"Running": true}, "HostConfig": {}, """
            """ "Config": {"Labels": """
            f"""{{"com.docker.compose.project.working_dir": "{tmp_path}/shop"}}}}}}]' ;;\n"""
            "esac\n"
        )
        program.chmod(0o755)
        return {"PATH": f"{folder}:{os.environ['PATH']}"}

    return make


def calls(tmp_path: Path) -> list[str]:
    return [line for line in (tmp_path / "bin" / "calls").read_text().splitlines() if "--progress" in line]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "up --detach backend"),
        ({"build": "always", "dependencies": False}, "up --detach --build --no-deps backend"),
        ({"build": "never", "recreate": "always"}, "up --detach --no-build --force-recreate backend"),
        ({"recreate": "never", "services": ["redis", "backend"]}, "up --detach --no-recreate redis backend"),
    ],
)
def test_what_compose_is_asked(run_module: Run, project: Path, docker: Any, options: Any, words: str) -> None:
    env = docker(f"touch {project.parent}/bin/made")
    args = {"project_src": str(project), "services": ["backend"], **options}
    result = run_module("compose_up", args, env=env)
    assert result["changed"] is True
    assert (result["before"]["backend"], result["after"]["backend"]) == ([], ["1"])
    assert run_module("compose_up", args, env=env)["changed"] is False
    assert calls(project.parent) == [f"compose --progress=quiet {words}"] * 2


def test_a_container_that_is_started_is_a_change(run_module: Run, project: Path, docker: Any) -> None:
    stopped = project.parent / "bin" / "stopped"
    env = docker(f"rm -f {stopped}")
    for name in ("made", "stopped"):
        stopped.with_name(name).touch()
    args = {"project_src": str(project), "services": ["backend"], "recreate": "never"}
    result = run_module("compose_up", args, env=env)
    assert result["changed"] is True and result["before"] == result["after"] == {"backend": ["1"]}
    assert run_module("compose_up", args, env=env)["changed"] is False


@pytest.mark.parametrize("recreate", ["auto", "never"])
def test_a_port_that_is_taken_is_said_before_the_container_is_touched(
    run_module: Run, project: Path, docker: Any, recreate: str
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        text = COMPOSE.replace("  redis:\n", f'    ports: ["127.0.0.1:{port}:8000"]\n  redis:\n')
        (project / "docker-compose.yml").write_text(text)
        args = {"project_src": str(project), "services": ["backend"], "recreate": recreate}
        env = docker(f"touch {project.parent}/bin/made")
        if recreate == "never":
            run_module("compose_up", args, env=env)
            return
        failed = run_module("compose_up", args, env=env, expect_failure=True)
    assert f"port {port}/tcp of this host, which service backend is to publish, is taken by" in failed["msg"]
    assert f"(process {os.getpid()})" in failed["msg"]
    assert calls(project.parent) == []


def test_the_whole_project_is_taken_down(run_module: Run, project: Path, docker: Any) -> None:
    (project.parent / "bin").mkdir(exist_ok=True)
    env = docker(f"rm {project.parent}/bin/made")
    (project.parent / "bin" / "made").touch()
    state = project.parent / "state"
    args = {"project_src": str(project), "state": "absent", "state_dir": str(state)}
    result = run_module("compose_up", args, env=env)
    assert (result["changed"], result["before"], result["after"]) == (
        True,
        {"backend": ["1"], "redis": ["1"]},
        {"backend": [], "redis": []},
    )
    assert calls(project.parent) == ["compose --progress=quiet down"]
    assert '"action": "taken down"' in (state / "shop" / "journal.jsonl").read_text()
    failed = run_module("compose_up", {**args, "services": ["redis"]}, env=env, expect_failure=True)
    assert "state absent takes the whole project down. Leave services out." in failed["msg"]


def test_check_mode_asks_for_nothing(run_module: Run, project: Path, docker: Any) -> None:
    result = run_module(
        "compose_up", {"project_src": str(project), "services": ["backend"]}, check=True, env=docker("false")
    )
    assert result["skipped"] is True
    assert not (project.parent / "bin" / "calls").exists()


def test_a_build_that_fails_is_explained_without_a_secret(run_module: Run, project: Path, docker: Any) -> None:
    (project.parent / "said").write_text(BUILD_FAILED)
    env = docker(f"cat {project.parent}/said >&2; exit 17")
    args = {"project_src": str(project), "services": ["backend"], "build": "always"}
    result = run_module("compose_up", args, env=env, expect_failure=True)
    assert result["msg"] == (
        "docker compose up failed (exit code 17): target backend: failed to solve: "
        'process "/bin/sh -c env; false" did not complete successfully: exit code: 1.'
    )
    assert "Dockerfile:4" in result["output"]
    assert result["output"][-1] in result["msg"]
    assert "canary" not in json.dumps(result)


@pytest.mark.parametrize("version", BY_VERSION)
@pytest.mark.parametrize("setting", ["mem_limit: ${LICENCE}", 'ports: ["${LICENCE}:80"]', "cpus: ${LICENCE}"])
def test_a_value_that_compose_quotes_is_not_shown(
    run_module: Run, project: Path, docker: Any, version: str, setting: str
) -> None:
    (project / "docker-compose.yml").write_text(COMPOSE.replace("  redis:\n", f"    {setting}\n  redis:\n"))
    args = {"project_src": str(project), "services": ["backend"]}
    result = run_module("compose_up", args, env=docker(f'{BY_VERSION[version]} "$@"'), expect_failure=True)
    assert result["msg"].startswith("docker compose up failed (exit code ")
    assert "sha256:" in result["msg"] or "***" in result["msg"]
    assert "canary" not in json.dumps(result)


@pytest.mark.parametrize(
    ("services", "reason"), [(["web"], "there is no service web in docker-compose.yml"), ([], "services is empty")]
)
def test_services_have_to_exist(run_module: Run, project: Path, docker: Any, services: Any, reason: str) -> None:
    args = {"project_src": str(project), "services": services}
    result = run_module("compose_up", args, env=docker("false"), expect_failure=True)
    assert reason in result["msg"]


def test_what_was_done_is_told_to_the_journal(run_module: Run, project: Path, docker: Any) -> None:
    state = project.parent / "state"
    args = {"project_src": str(project), "services": ["backend"], "state_dir": str(state)}
    env = docker(f"touch {project.parent}/bin/made")
    run_module("compose_up", args, env=env)
    run_module("compose_up", args, env=env)
    run_module("compose_up", {**args, "recreate": "never"}, env=env)
    run_module("compose_up", args, env=docker(f"echo {LICENCE} >&2; exit 1"), expect_failure=True)
    lines = (state / "shop" / "journal.jsonl").read_text().splitlines()
    told = [(entry["action"], entry["service"], entry["result"]) for entry in map(json.loads, lines)]
    assert told == [
        ("recreated", "backend", "changed"),
        ("recreated", "backend", "unchanged"),
        ("started", "backend", "unchanged"),
        ("recreated", "backend", "failed"),
    ]
    assert LICENCE not in "".join(lines)


def test_no_other_run_can_take_the_lock_meanwhile(run_module: Run, project: Path, docker: Any) -> None:
    holder = {"run": "aaaa", "host": "droplet", "controller": "office", "machine": "m"}
    lock = {"project_src": str(project), "state_dir": str(project.parent / "state")}
    assert run_module("lock", {**lock, "holder": holder})["acquired"] is True
    folder = project.parent
    # Compose goes on until the test has asked for the lock.
    env = docker(f"touch {folder}/bin/made; until test -e {folder}/asked; do sleep 0.1; done")
    args = {"project_src": str(project), "services": ["backend"], "state_dir": lock["state_dir"]}
    with ThreadPoolExecutor() as pool:
        done = pool.submit(run_module, "compose_up", args, env=env)
        while not (folder / "bin" / "made").exists():
            time.sleep(0.05)
        other = {**lock, "holder": {**holder, "run": "bbbb", "controller": "laptop"}, "ttl": -1, "force": True}
        refused = run_module("lock", other)
        (folder / "asked").touch()
        assert done.result()["changed"] is True
    assert refused["acquired"] is False
    assert "its step compose_up (process " in refused["message"]
    assert run_module("lock", other)["taken_from"] == "aaaa"
