# SPDX-License-Identifier: GPL-3.0-or-later
"""An application that was replaced behind its proxy, seen from outside: HTTP, the engine, the proxy's network."""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from host import kill_run

PROJECT = "/opt/wealth-coach-ai"
BACKEND = "wealth-coach-ai-backend-1"
PROXY = "wealth-coach-ai-proxy-1"
CHECKOUT = Path(__file__).resolve().parents[3]
APPLY = ["ansible-playbook", "composeops.hotfix.apply", "--tags=env", f"-e@{CHECKOUT}/droplet/hotfix.yml", "-e"]

START = "Start a new container beside the old one"
LEAD = "Lead the proxy to it, and take the old one away when its connections are over"
# The module that is at work on the droplet at this moment, which a run that is killed leaves behind.
MODULE = "pkill -KILL --full --exact '[^ ]*/python3[.0-9]*'"

# Those that ask for no host would run last, and the order is that of an operator.
pytestmark = pytest.mark.usefixtures("host")


def inspect(host: Any, name: str = BACKEND) -> dict[str, Any]:
    (container,) = json.loads(host.check_output("docker inspect %s", name))
    found: dict[str, Any] = container
    return found


def containers(host: Any) -> dict[str, str]:
    """All containers, those that do not run included: names and IDs."""
    listed = host.check_output("docker ps --all --no-trunc --format '{{.Names}} {{.ID}}'").splitlines()
    return dict(line.split() for line in listed)


def rules(host: Any) -> str:
    """The rules in the proxy's network."""
    pid = inspect(host, PROXY)["State"]["Pid"]
    found: str = host.check_output(f"nsenter --net=/proc/{pid}/ns/net -- iptables -t nat -S")
    return found


def run(state: Path, *words: str) -> None:
    """Run a command of Ansible against the droplet."""
    done = attempt(state, *words)
    assert done.returncode == 0, done.stdout[-4000:]


def attempt(state: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run one that may fail; Molecule has Ansible say on the other stream what failed."""
    command = [words[0], "-i", f"{state}/inventory", *words[1:]]
    return subprocess.run(
        command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )


def wait_for(host: Any, name: str) -> None:
    """Wait until the application in a container answers."""
    ask = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/api/v1/health')"
    host.check_output(f'timeout 60 sh -c "until docker exec {name} python3 -c \\"{ask}\\"; do sleep 1; done"')


@pytest.fixture(scope="module")
def before(state: Path) -> dict[str, str]:
    lines = (state / "containers-before").read_text(encoding="utf-8").splitlines()
    return {line.split()[0]: line.split()[1] for line in lines}


def test_no_request_was_lost(state: Path) -> None:
    load = json.loads((state / "load").read_text(encoding="utf-8"))
    assert load["requests"] > 500
    assert (load["statuses"], load["errors"]) == ({"200": load["requests"]}, {})


def test_the_service_alone_was_replaced_and_once(host: Any, state: Path, before: dict[str, str]) -> None:
    now = containers(host)
    assert sorted(now) == sorted(before)
    assert [name for name in now if now[name] != before[name]] == [BACKEND]
    assert [path.name for path in (state / "containers").iterdir()] == [now[BACKEND]]


def test_what_runs_is_what_the_files_say(host: Any, new_key: str) -> None:
    container = inspect(host)
    image = host.check_output("docker image inspect --format '{{.Id}}' wealth-coach-ai-backend")
    assert container["Image"] == image
    variables = dict(line.split("=", 1) for line in container["Config"]["Env"])
    (live,) = json.loads(variables["VALID_API_KEYS"])
    assert hashlib.sha256(live.encode()).hexdigest() == hashlib.sha256(new_key.encode()).hexdigest()
    assert variables["ENVIRONMENT"] == "production"


def test_the_proxy_leads_to_it_and_keeps_no_trace(host: Any, api: Any, new_key: str) -> None:
    assert api.get("/api/v1/search?q=saving", new_key)[0] == 200
    assert api.get("/api/v1/search?q=saving", "dev-key-12345")[0] == 401
    assert "DOCKER_OUTPUT" in rules(host) and "composeops" not in rules(host)


def test_compose_takes_it_for_its_own(host: Any, api: Any) -> None:
    was = containers(host)
    host.check_output(f"cd {PROJECT} && docker compose up --detach")
    assert containers(host) == was
    assert api.get("/api/v1/health") == (200, '{"status":"healthy"}')


def test_a_recreate_first_completes_the_replacement_of_a_run_that_was_killed(host: Any, state: Path, api: Any) -> None:
    was = containers(host)
    host.check_output(f"echo LATER=$(date +%s) >> {PROJECT}/.env")
    start = {"project_src": PROJECT, "service": "backend", "shared_volumes": ["vector_data"]}
    run(state, "ansible", "droplet", "-m", "composeops.hotfix.rolling", "-a", json.dumps(start))
    new = containers(host)[f"{BACKEND}-incoming"]
    wait_for(host, new)
    # As they are left when the proxy knows the old one only.
    host.check_output(f"docker rename {BACKEND} {BACKEND}-outgoing && docker rename {new} {BACKEND}")
    with api.asked("/api/v1/health") as answers:
        run(state, *APPLY, json.dumps({"deploy_strategy": "recreate"}))
    assert set(answers) == {200}, answers
    assert containers(host) == {**was, BACKEND: new}
    assert "composeops" not in rules(host)


def test_what_does_not_differ_is_left_alone_where_it_could_only_be_recreated(host: Any, state: Path, api: Any) -> None:
    # Together with its dependencies, which Compose before 2.40 takes for another service than one started alone.
    host.check_output(f"cd {PROJECT} && docker compose up --detach --force-recreate")
    # Compose names it by its number now, which is not 1 after it was replaced.
    wait_for(host, host.check_output("docker ps --quiet --filter label=com.docker.compose.service=backend"))
    was = containers(host)
    with api.asked("/api/v1/health") as answers:
        run(state, *APPLY, json.dumps({"deploy_shared_volumes": []}))
    assert set(answers) == {200}, answers
    assert containers(host) == was


@contextlib.contextmanager
def started(state: Path, task: str) -> Iterator[subprocess.Popen[str]]:
    """A run of ``apply`` that has come to a task of the role deploy."""
    command = [APPLY[0], "-i", f"{state}/inventory", *APPLY[1:], "{}"]
    running = subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, start_new_session=True)
    with running:
        assert running.stdout is not None
        assert any(line.startswith(f"TASK [composeops.hotfix.deploy : {task}]") for line in running.stdout)
        yield running


def replaced(host: Any, was: dict[str, str], value: str) -> bool:
    """Whether one container has taken the place of another, has the value, and nothing else is left."""
    now = containers(host)
    new = set(now.values()) - set(was.values())
    assert len(now) == len(was) and len(new) == 1, (was, now)
    assert "composeops" not in rules(host)
    return value in inspect(host, new.pop())["Config"]["Env"]


@pytest.mark.parametrize(("task", "late"), [(START, (2, "true")), (LEAD, (0.5, MODULE)), (LEAD, (1.5, MODULE))])
def test_a_run_that_is_killed_loses_no_request_and_the_next_one_completes_it(
    host: Any, state: Path, api: Any, task: str, late: tuple[float, str]
) -> None:
    was, value = containers(host), f"KILLED={time.time_ns()}"
    host.check_output(f"echo {value} >> {PROJECT}/.env")
    with api.asked("/api/v1/health") as answers:
        with started(state, task) as running:
            time.sleep(late[0])
            kill_run(running)
            print(host.run(late[1]))
            running.communicate()
        run(state, *APPLY, "{}")
    assert set(answers) == {200}, answers
    assert replaced(host, was, value)


@pytest.mark.parametrize(("task", "late"), [(START, 2), (LEAD, 0.5)])
def test_an_engine_that_is_killed_leaves_a_service_that_answers_and_the_next_run_completes_it(
    host: Any, state: Path, api: Any, task: str, late: float
) -> None:
    was, value = containers(host), f"ENGINE_KILLED={time.time_ns()}"
    host.check_output(f"echo {value} >> {PROJECT}/.env")
    with started(state, task) as running:
        time.sleep(late)
        host.check_output("systemctl kill --signal KILL docker")
        said, _errors = running.communicate()
    # It has gone on or returned, as far as it had come.
    assert api.get("/api/v1/health") == (200, '{"status":"healthy"}'), said
    run(state, *APPLY, "{}")
    assert api.get("/api/v1/health") == (200, '{"status":"healthy"}')
    assert replaced(host, was, value)


def test_a_proxy_that_is_down_is_started_whatever_the_strategy_unless_another_program_answers(
    host: Any, state: Path, api: Any
) -> None:
    was, value = containers(host), f"PROXY_STOPPED={time.time_ns()}"
    host.check_output(f"echo {value} >> {PROJECT}/.env && docker stop {PROXY}")
    rolling = json.dumps({"deploy_strategy": "rolling"})
    host.check_output("systemd-run --unit=another python3 -m http.server 8000")
    try:
        host.check_output("timeout 30 sh -c 'until curl --silent http://127.0.0.1:8000; do sleep 1; done'")
        refused = attempt(state, *APPLY, rolling)
    finally:
        host.check_output("systemctl stop another")
    assert refused.returncode == 2, refused.stdout[-3000:]
    assert "cannot be replaced behind a proxy: no nginx, Traefik or Caddy" in refused.stdout
    assert "deploy_strategy: recreate" in refused.stdout
    assert containers(host) == was and not inspect(host, PROXY)["State"]["Running"]
    run(state, *APPLY, rolling)
    assert api.get("/api/v1/health") == (200, '{"status":"healthy"}')
    assert replaced(host, was, value)
