# SPDX-License-Identifier: GPL-3.0-or-later
"""From one state of origin and server to the next, seen from outside: git, HTTP, the engine, Redis' list of clients."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PROJECT = "/opt/wealth-coach-ai"
ORIGIN = "/srv/git/wealth-coach-ai.git"
BACKEND = "wealth_coach_backend"
HELD = "redis-test-held"
MAIN = f"{PROJECT}/backend/main.py"
CHECKOUT = Path(__file__).resolve().parents[3]
EDIT = "# Edited on the server."
IDENTITY = "-c user.name=dev -c user.email=dev@wealth-coach.example"

# Those that ask for no host would run last, and each state follows from the one before.
pytestmark = pytest.mark.usefixtures("host")


class Run:
    """A run of ansible-playbook as an operator starts it."""

    def __init__(self, state: Path, playbook: str, *options: str) -> None:
        command = ["ansible-playbook", playbook, "-i", str(state / "inventory" / "hosts.yml")]
        command += ["-e", f"@{CHECKOUT}/droplet/hotfix.yml", "-e", "verify_watch_seconds=0", *options]
        environment = {**os.environ, "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1"}
        done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)
        self.code = done.returncode
        self.text = " ".join((done.stdout + done.stderr).split())


def apply(state: Path, *options: str) -> Run:
    return Run(state, "composeops.hotfix.apply", "--tags", "redis", *options)


def fix(state: Path) -> Run:
    return Run(state, str(CHECKOUT / "molecule" / "redis" / "fix.yml"))


def deploy(state: Path, *options: str) -> Run:
    return Run(state, str(CHECKOUT / "molecule" / "redis" / "deploy.yml"), *options)


def shell(host: Any, script: str) -> str:
    return str(host.check_output("bash -euc %s", script))


def git(host: Any, words: str) -> str:
    return str(host.check_output(f"git -C {PROJECT} {words}"))


def push(host: Any, script: str, subject: str) -> str:
    """Let the author change something in a clone of the origin; the revision afterwards."""
    shell(
        host,
        f"rm -rf /tmp/author; git clone -q {ORIGIN} /tmp/author; cd /tmp/author; {script}; git add -A;"
        f" git {IDENTITY} commit -q -m {shlex.quote(subject)}; git push -q origin main",
    )
    return shell(host, "git -C /tmp/author rev-parse HEAD")


def inspect(host: Any, name: str = BACKEND) -> dict[str, Any]:
    (container,) = json.loads(host.check_output("docker inspect %s", name))
    found: dict[str, Any] = container
    return found


def tree(host: Any) -> str:
    """All that git and the files of the work tree are, without the references that a fetch may move."""
    script = f"cd {PROJECT}; git rev-parse HEAD; git status --porcelain; git stash list; git ls-files -s; "
    return shell(host, script + "find . -path ./.git -prune -o -type f -exec sha256sum {} + | sort")


def clients(host: Any, address: str) -> int:
    """How many connections from an address Redis lists."""
    listed = host.check_output(f"cd {PROJECT} && docker compose exec -T redis redis-cli client list")
    return sum(f"addr={address}:" in line for line in listed.splitlines())


def wait_for(host: Any, point: str) -> None:
    for _ in range(150):
        if host.run(f"docker exec {HELD} test -e /tmp/{point}").rc == 0:
            return
        time.sleep(0.2)
    raise AssertionError(host.run(f"docker logs {HELD}").stderr)


def connections(host: Any) -> tuple[int, int]:
    """What Redis lists of a process of the service once it has started, and once its shutdown code has run.

    The process still lives at both times: its end would close its sockets whatever the code does.
    """
    program = shlex.quote(Path(__file__).with_name("held.py").read_text(encoding="utf-8"))
    options = f"--detach --no-deps --name {HELD} --entrypoint python3"
    host.check_output(f"cd {PROJECT} && docker compose run {options} backend -c {program}")
    try:
        address = next(iter(inspect(host, HELD)["NetworkSettings"]["Networks"].values()))["IPAddress"]
        wait_for(host, "started")
        started = clients(host, address)
        host.check_output(f"docker exec {HELD} touch /tmp/after-started")
        wait_for(host, "stopped")
        return started, clients(host, address)
    finally:
        host.run(f"docker rm --force {HELD}")


@pytest.fixture(scope="module")
def start(host: Any) -> str:
    """The revision before everything, in a tree that was edited on the server."""
    shell(
        host,
        f"cd {PROJECT}; echo {shlex.quote(EDIT)} >> backend/main.py; echo {shlex.quote(EDIT)} >> Dockerfile;"
        " git add Dockerfile; echo mine > notes.txt; mkdir scripts; echo true > scripts/backup.sh",
    )
    return git(host, "rev-parse HEAD")


# --- origin ahead with the false fix, dirty tree ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def before(host: Any, start: str) -> tuple[int, int]:
    return connections(host)


@pytest.fixture(scope="module")
def fixed(host: Any, before: Any, state: Path) -> Run:
    return apply(state)


def test_before_the_connection_stays_open(before: tuple[int, int]) -> None:
    assert before == (1, 1)


def test_the_false_fix_is_said_and_replaced(host: Any, fixed: Run) -> None:
    assert fixed.code == 0, fixed.text[-3000:]
    assert "The shutdown that the update brought does not close Redis" in fixed.text
    assert "redis_client is a coroutine that was never awaited" in fixed.text
    assert "await redis_client.disconnect()" in host.file(MAIN).content_string
    assert "hasattr" not in host.file(MAIN).content_string


def test_the_branch_was_fast_forwarded_and_the_edits_are_kept(host: Any, fixed: Run, start: str) -> None:
    assert git(host, "rev-parse HEAD") == git(host, "rev-parse origin/main")
    assert git(host, "rev-parse HEAD~1") == start
    assert git(host, "rev-list --count HEAD") == "2"
    # testinfra strips the first line's blank.
    assert git(host, "status --porcelain").split("\n")[0].split()[0] == "M"
    assert sorted(line.split()[1] for line in git(host, "status --porcelain").splitlines()) == [
        "Dockerfile",
        "backend/main.py",
        "notes.txt",
        "scripts/",
    ]
    assert git(host, "diff --cached --name-only") == "Dockerfile"
    for name in ("backend/main.py", "Dockerfile"):
        assert EDIT in host.file(f"{PROJECT}/{name}").content_string.splitlines()
    assert git(host, "stash list") == ""


def test_the_report_names_the_revisions(host: Any, fixed: Run, start: str, state: Path) -> None:
    revision = json.loads((state / "report" / "droplet.json").read_text(encoding="utf-8"))["revision"]
    assert (revision["before"], revision["after"]) == (start, git(host, "rev-parse HEAD"))
    assert [commit["subject"] for commit in revision["commits"]] == ["Fix Redis shutdown error"]
    assert f"from {start[:12]} to" in fixed.text


def test_redis_lists_no_client_after_the_shutdown(host: Any, api: Any, fixed: Run) -> None:
    api.wait()
    assert connections(host) == (1, 0)
    stopping = host.check_output("date -u +%Y-%m-%dT%H:%M:%S.%NZ")
    host.check_output(f"docker restart {BACKEND}")
    log = host.run(f"docker logs --since {stopping} {BACKEND}")
    assert "✓ Redis connections closed" in log.stdout + log.stderr
    assert "Shutdown error" not in log.stdout + log.stderr
    assert "never awaited" not in log.stdout + log.stderr
    api.wait()


# --- an upstream that does not start ---------------------------------------------------------------------------------


def test_a_rollback_returns_to_the_revision(host: Any, api: Any, fixed: Run, state: Path) -> None:
    was, image = tree(host), inspect(host)["Image"]
    push(host, "echo 'raise SystemExit(3)' >> backend/api/routes.py; echo new > new.txt", "Break it")
    failed = deploy(state, "-e", "deploy_health_timeout=10")
    assert failed.code != 0
    assert "What runs now: what ran before" in failed.text
    assert tree(host) == was
    assert inspect(host)["Image"] == image
    assert api.get("/api/v1/health") == (200, '{"status":"healthy"}')


# --- an upstream with the right fix ----------------------------------------------------------------------------------


def test_a_right_fix_of_upstream_is_left_alone(host: Any, fixed: Run, state: Path) -> None:
    right = push(
        host,
        f"cp {MAIN} backend/main.py; sed -i '/^{EDIT}/d' backend/main.py; git rm -q -f new.txt;"
        " git checkout -q HEAD~1 -- backend/api/routes.py",
        "Close Redis, and start again",
    )
    was = host.file(MAIN).sha256sum
    run = fix(state)
    assert run.code == 0, run.text[-3000:]
    assert "The shutdown that the update brought closes Redis as it is" in run.text
    assert git(host, "rev-parse HEAD") == right
    assert host.file(MAIN).sha256sum == was
    assert git(host, "diff --unified=0 HEAD -- backend/main.py").splitlines()[-1] == f"+{EDIT}"


# --- conflict --------------------------------------------------------------------------------------------------------


def test_a_conflict_changes_nothing_and_names_the_files(host: Any, fixed: Run, state: Path) -> None:
    shell(host, f'sed -i \'s/"4"/"3"/\' {PROJECT}/Dockerfile')
    push(host, 'sed -i \'s/"4"/"8"/\' Dockerfile; echo new > other.txt', "More workers")
    was, container = tree(host), inspect(host)
    failed = apply(state)
    assert failed.code != 0
    assert "what was edited here conflicts with origin/main in Dockerfile; nothing was changed" in failed.text
    assert tree(host) == was
    now = inspect(host)
    assert (now["Id"], now["State"]["StartedAt"]) == (container["Id"], container["State"]["StartedAt"])


# --- deploy keys -----------------------------------------------------------------------------------------------------

CLONE = "/opt/deployed-by-key"
SSH = "/etc/ssh/deploy-keys"
# What ssh is told, and what the module says then; None where it updates.
KEYS = {
    "accepted": (f"-i {SSH}/accepted -o UserKnownHostsFile={SSH}/known_hosts", None),
    "refused": (f"-i {SSH}/refused -o UserKnownHostsFile={SSH}/known_hosts", "Permission denied"),
    "with a passphrase": (f"-i {SSH}/locked -o UserKnownHostsFile={SSH}/known_hosts", "Permission denied"),
    "unknown host": (f"-i {SSH}/accepted -o UserKnownHostsFile=/dev/null", "Host key verification failed"),
}
REMEDIES = {
    "Permission denied": "Give the server a deploy key or a credential helper that needs no prompt.",
    "Host key verification failed": "Add the host's key to known_hosts of the user that runs this.",
}


@pytest.fixture(scope="module")
def by_key(host: Any, fixed: Run) -> None:
    """A clone of somebody else's that is updated by ssh, one commit behind."""
    authorized = host.check_output("sshd -T -C user=root | sed -n 's/^authorizedkeysfile //p'").split()[0]
    authorized = authorized.replace("%u", "root")
    shell(
        host,
        f"mkdir -m 700 {SSH}; cd {SSH}; ssh-keygen -q -t ed25519 -f accepted -N '';"
        " ssh-keygen -q -t ed25519 -f refused -N ''; ssh-keygen -q -t ed25519 -f locked -N a-passphrase;"
        f" cat accepted.pub locked.pub >> {authorized}; ssh-keyscan 127.0.0.1 > known_hosts 2>/dev/null;"
        f" git clone -q {ORIGIN} {CLONE}; git -C {CLONE} reset -q --hard HEAD~1; chown -R nobody {CLONE};"
        f" git config --file {CLONE}/.git/config remote.origin.url ssh://root@127.0.0.1{ORIGIN}",
    )


@pytest.mark.parametrize("name", sorted(KEYS, reverse=True))
def test_a_deploy_key_serves_or_is_refused_without_a_prompt(host: Any, by_key: None, state: Path, name: str) -> None:
    options, refusal = KEYS[name]
    refused = host.run(f"git -C {CLONE} status")
    assert "dubious ownership" in refused.stderr
    ssh = f"ssh -o IdentitiesOnly=yes -o IdentityAgent=none {options}"
    host.check_output(f"git config --file {CLONE}/.git/config core.sshCommand %s", ssh)
    command = ["ansible", "droplet", "-i", str(state / "inventory"), "-m", "composeops.hotfix.git_update"]
    command += ["-a", f"project_src={CLONE}"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=60)
    if refusal is None:
        assert done.returncode == 0, done.stdout
        head = host.check_output(f"git -c safe.directory={CLONE} -C {CLONE} rev-parse HEAD")
        assert head == host.check_output(f"git -C {ORIGIN} rev-parse main")
        assert host.check_output(f"find {CLONE} ! -user nobody") == ""
    else:
        assert done.returncode != 0
        assert refusal in done.stdout and REMEDIES[refusal] in done.stdout


# --- no origin, and source that is mounted ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mounted(host: Any, start: str, fixed: Run) -> Iterator[dict[str, Any]]:
    """The container as it was, with broken source mounted into it instead of copied; the remote is gone."""
    override = "services: {backend: {volumes: ['./backend:/app/backend:ro']}}"
    shell(
        host,
        f"cd {PROJECT}; git remote remove origin; git show {start}:backend/main.py > backend/main.py;"
        " sed -i '/^COPY/d' Dockerfile;"
        f" echo {shlex.quote(override)} > docker-compose.override.yml;"
        # As the deployment does: with dependencies Compose would reckon it as another container.
        " docker compose up --detach --build --no-deps backend",
    )
    return inspect(host)


@pytest.fixture(scope="module")
def announced(mounted: dict[str, Any], api: Any, state: Path) -> Run:
    api.wait()
    return apply(state, "--check")


@pytest.fixture(scope="module")
def restarted(announced: Run, state: Path) -> Run:
    return apply(state)


def test_check_mode_says_that_mounted_source_takes_a_restart(announced: Run) -> None:
    assert announced.code == 0, announced.text[-3000:]
    assert "Would restart backend, whose source is mounted, without a build." in announced.text


def test_without_an_origin_the_source_is_repaired_where_it_is(host: Any, restarted: Run) -> None:
    assert restarted.code == 0, restarted.text[-3000:]
    assert "Source: git has no such remote to update from; it stays at " in restarted.text
    assert "The shutdown did not close Redis" in restarted.text
    assert "await redis_client.disconnect()" in host.file(MAIN).content_string


def test_mounted_source_takes_a_restart_and_no_build(host: Any, restarted: Run, mounted: dict[str, Any]) -> None:
    now = inspect(host)
    assert (now["Id"], now["Image"]) == (mounted["Id"], mounted["Image"])
    assert now["State"]["StartedAt"] > mounted["State"]["StartedAt"]
    assert "Restarted backend, whose source is mounted, without a build" in restarted.text
    assert "was started after its last change" in restarted.text
    assert connections(host) == (1, 0)


def test_a_second_run_leaves_the_process_alone(host: Any, api: Any, restarted: Run, state: Path) -> None:
    started = inspect(host)["State"]["StartedAt"]
    again = deploy(state)
    assert again.code == 0, again.text[-3000:]
    assert "changed=0" in again.text.split("PLAY RECAP")[1]
    assert inspect(host)["State"]["StartedAt"] == started
    assert api.get("/api/v1/health") == (200, '{"status":"healthy"}')
