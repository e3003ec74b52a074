# SPDX-License-Identifier: GPL-3.0-or-later
"""Returns to earlier states, and runs that meet or are killed, seen from outside: files, engine, git, HTTP."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values

PROJECT = "/opt/wealth-coach-ai"
STATE = "/var/lib/composeops/wealth-coach-ai"
BACKEND = "wealth_coach_backend"
IMAGE = "wealth-coach-ai-backend"
DEV_KEY = "dev-key-12345"
SEARCH = "/api/v1/search?q=saving"
FILES = [".env", "Dockerfile", "backend/main.py", "docker-compose.yml"]
CHECKOUT = Path(__file__).resolve().parents[3]

# Those that ask for no host would run last, and the order is that of an operator.
pytestmark = pytest.mark.usefixtures("host")


class Runs:
    """Runs of playbooks against the droplet, each a process of its own."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.started: list[subprocess.Popen[str]] = []

    def start(self, playbook: str, *options: str, **variables: Any) -> subprocess.Popen[str]:
        command = ["ansible-playbook", f"composeops.hotfix.{playbook}", "-i", f"{self.state}/inventory/hosts.yml"]
        given = {"deploy_strategy": "recreate", **variables}
        command += ["-e", f"@{CHECKOUT}/droplet/hotfix.yml", "-e", json.dumps(given), *options]
        environment = {**os.environ, "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1", "COLUMNS": "1000"}
        process = subprocess.Popen(
            command, cwd=CHECKOUT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.started.append(process)
        return process

    def end(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        output = " ".join(process.communicate(timeout=600)[0].split())
        assert DEV_KEY not in output
        return process.returncode, output

    def run(self, playbook: str, *options: str, **variables: Any) -> tuple[int, str]:
        return self.end(self.start(playbook, *options, **variables))

    def good(self, playbook: str, *options: str, **variables: Any) -> str:
        code, output = self.run(playbook, *options, **variables)
        assert code == 0, output
        return output


@pytest.fixture(scope="module")
def runs(state: Path) -> Iterator[Runs]:
    made = Runs(state)
    yield made
    for process in made.started:
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.fixture(scope="module")
def was(before: Path) -> dict[str, str]:
    """Image and revision before the hot-fix."""
    found: dict[str, str] = json.loads((before / "state.json").read_text(encoding="utf-8"))
    return found


def container(host: Any) -> dict[str, Any]:
    (found,) = json.loads(host.check_output("docker inspect %s", BACKEND))
    assert found["State"]["Running"], found["State"]
    shown: dict[str, Any] = found
    return shown


def now(host: Any) -> dict[str, Any]:
    """All that a return is about; the files by their bytes and permissions."""
    names = " ".join(FILES)
    return {
        "files": host.check_output(f"cd {PROJECT} && sha256sum {names} && stat -c '%n %a %u %g' {names}"),
        "image": container(host)["Image"],
        "tagged": host.check_output(f"docker image inspect --format '{{{{.Id}}}}' {IMAGE}"),
        "revision": host.check_output(f"git -C {PROJECT} rev-parse HEAD"),
    }


def healthy(api: Any) -> bool:
    status, body = api.get("/api/v1/health")
    return bool(status == 200 and json.loads(body)["status"] == "healthy")


def journal(host: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in host.check_output(f"cat {STATE}/journal.jsonl").splitlines()]


def last_run(host: Any) -> list[dict[str, Any]]:
    entries = [entry for entry in journal(host) if entry.get("run")]
    return [entry for entry in entries if entry["run"] == entries[-1]["run"]]


def committed(host: Any) -> str:
    found: str = json.loads(host.check_output(f"cat {STATE}/committed.json"))["snapshot"]
    return found


def free(host: Any) -> bool:
    return not host.file(f"{STATE}/lock.json").exists and not host.file(f"{STATE}/transaction.json").exists


def until(reached: Any, process: subprocess.Popen[str], seconds: float = 120) -> None:
    """Wait for something that a run does on its way."""
    end = time.monotonic() + seconds
    while not reached():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.fixture(scope="module")
def applied(host: Any) -> dict[str, Any]:
    """What the hot-fix has left."""
    return {**now(host), "id": committed(host), "first": journal(host)[-1]["run"]}


# --- there and back --------------------------------------------------------------------------------------------------


def test_the_run_before_is_written_down(host: Any, applied: dict[str, Any]) -> None:
    told = [entry["action"] for entry in last_run(host)]
    assert told[0] == "run began"
    assert told[-1] == "run ended"
    positions = [told.index(action) for action in ("present", "staged", "committed")]
    assert positions == sorted(positions)
    (staged,) = (entry for entry in last_run(host) if entry["action"] == "staged")
    assert staged["files"] == FILES
    assert free(host)


def test_what_would_be_done(host: Any, runs: Runs, applied: dict[str, Any], was: dict[str, str], new_key: str) -> None:
    output = runs.good("rollback", "--check", "--diff")
    assert f"files: {', '.join(FILES)}" in output
    assert f"image: {applied['image'][7:19]} to {was['image'][7:19]}" in output
    assert f"git revision: {applied['revision'][:12]} to {was['revision'][:12]}" in output
    assert "- restart: unless-stopped" in output
    assert "-ENVIRONMENT=sha256:" in output
    assert "The present values of VALID_API_KEYS, JWT_SECRET_KEY stay" in output
    assert new_key not in output
    assert now(host) == {name: applied[name] for name in now(host)}
    assert free(host)


@pytest.fixture(scope="module")
def returned(host: Any, runs: Runs, applied: dict[str, Any]) -> str:
    return runs.good("rollback", deploy_strategy="auto")


def test_files_image_and_revision_are_those_before_the_hot_fix(
    host: Any, api: Any, returned: str, before: Path, new_key: str
) -> None:
    was = json.loads((before / "state.json").read_text(encoding="utf-8"))
    for name in FILES[1:]:
        assert host.file(f"{PROJECT}/{name}").content == (before / name).read_bytes(), name
    state = now(host)
    assert (state["image"], state["tagged"], state["revision"]) == (was["image"], was["image"], was["revision"])
    old, new = dotenv_values(before / ".env"), host.check_output(f"cat {PROJECT}/.env").splitlines()
    names = ("VALID_API_KEYS", "JWT_SECRET_KEY")
    kept = [line for line in (before / ".env").read_text(encoding="utf-8").splitlines() if not line.startswith(names)]
    assert [line for line in new if not line.startswith(names)] == kept
    assert healthy(api)
    # An unsafe key does not come back with the rest.
    assert [api.get(SEARCH, key)[0] for key in (DEV_KEY, new_key)] == [401, 200]
    assert all(f"{name}={old[name]}" not in new for name in names)
    assert free(host)
    assert "The present values of VALID_API_KEYS, JWT_SECRET_KEY stay" in returned
    told = [entry["action"] for entry in last_run(host)]
    positions = [
        told.index(action) for action in ("run began", "rollback begun", "rolled back", "committed", "run ended")
    ]
    assert positions == sorted(positions)


def test_there_is_no_state_before_the_first_one(host: Any, runs: Runs, returned: str) -> None:
    identity = container(host)["Id"]
    code, output = runs.run("rollback")
    assert code == 2, output
    assert "No state before the present one is kept of /opt/wealth-coach-ai on droplet" in output
    assert (container(host)["Id"], free(host)) == (identity, True)


def test_an_unknown_state_is_refused_with_those_that_there_are(
    host: Any, runs: Runs, returned: str, applied: dict[str, Any]
) -> None:
    identity, lines = container(host)["Id"], len(journal(host))
    code, output = runs.run("rollback", rollback_to="0123456789abcdef")
    assert code == 2, output
    assert "There is no snapshot 0123456789abcdef of /opt/wealth-coach-ai on droplet" in output
    assert applied["id"] in output
    assert (container(host)["Id"], free(host)) == (identity, True)
    assert [entry["action"] for entry in journal(host)[lines:]] == ["run began", "run ended"]


def test_states_are_listed(runs: Runs, returned: str, applied: dict[str, Any], host: Any) -> None:
    output = runs.good("rollback", rollback_list=True)
    assert f"{committed(host)} (what runs now)" in output
    assert f"{applied['id']} after converge.yml at 2" in output
    assert "changed=0" in output.split("PLAY RECAP")[1]


def test_a_return_can_be_returned_from(host: Any, api: Any, runs: Runs, returned: str, applied: dict[str, Any]) -> None:
    assert f"-e rollback_to={applied['id']}." in returned
    output = runs.good("rollback", rollback_to=applied["id"])
    assert now(host) == {name: applied[name] for name in now(host)}
    assert host.check_output(f"git -C {PROJECT} status --porcelain --untracked-files=no") == host.check_output(
        f"git -C {PROJECT} diff --name-only HEAD | sed 's/^/ M /'"
    )
    assert committed(host) == applied["id"]
    assert healthy(api)
    assert f"Returned backend to snapshot {applied['id']}" in output
    again = runs.good("rollback", rollback_to=applied["id"])
    assert f"Nothing to do: backend is in the state of snapshot {applied['id']} already." in again
    assert "changed=0" in again.split("PLAY RECAP")[1]


# --- runs that meet --------------------------------------------------------------------------------------------------


def test_a_run_stops_before_one_that_lives(host: Any, runs: Runs, applied: dict[str, Any]) -> None:
    first = runs.start("rollback")
    until(lambda: host.file(f"{STATE}/lock.json").exists, first)
    held = json.loads(host.check_output(f"cat {STATE}/lock.json"))
    lines = len(journal(host))
    code, output = runs.run("rollback", rollback_to=applied["id"])
    assert code == 2, output
    assert f"process {first.pid}, run {held['run']}), its process lives; this run has stopped" in output, output
    assert f"is locked since {held['since']} by {held['user']}@{held['controller']}" in output
    assert "(playbook composeops.hotfix.rollback on host droplet" in output
    assert runs.end(first)[0] == 0
    later = [entry for entry in journal(host)[lines:] if entry["action"] != "findings kept"]
    assert {entry["run"] for entry in later} == {held["run"]}
    assert free(host)


def test_of_two_runs_at_once_one_goes_on(host: Any, api: Any, runs: Runs, applied: dict[str, Any]) -> None:
    both = [runs.start("rollback", rollback_to=applied["id"]) for _run in range(2)]
    results = [runs.end(process) for process in both]
    assert sorted(code for code, _output in results) == [0, 2], results
    assert now(host) == {name: applied[name] for name in now(host)}
    assert healthy(api) and free(host)


def test_a_run_that_was_killed_is_taken_over_and_completed(
    host: Any, api: Any, runs: Runs, applied: dict[str, Any], was: dict[str, str]
) -> None:
    first = runs.start("rollback")
    lines = len(journal(host))
    until(lambda: "restored" in [entry["action"] for entry in journal(host)[lines:]], first)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert host.file(f"{STATE}/lock.json").exists
    assert healthy(api)
    # Neither its step nor that of a worker which outlived it may be at work any more.
    end = time.monotonic() + 120
    code, output = runs.run("rollback")
    while code != 0 and "is at work on the host at this moment" in output and time.monotonic() < end:
        code, output = runs.run("rollback")
    assert code == 0, output
    assert f"its process {first.pid} is gone" in output
    state = now(host)
    assert (state["image"], state["tagged"], state["revision"]) == (was["image"], was["image"], was["revision"])
    assert healthy(api) and free(host)
    runs.good("rollback", rollback_to=applied["id"])
    assert now(host) == {name: applied[name] for name in now(host)}


# --- returns that fail -----------------------------------------------------------------------------------------------


def test_a_state_that_is_not_healthy_is_left_again(host: Any, api: Any, runs: Runs, applied: dict[str, Any]) -> None:
    recipe = f'FROM {IMAGE}\nCMD ["sh", "-c", "echo ended on purpose; false"]\n'
    host.check_output(f"docker build -q -t broken - <<'END'\n{recipe}END")
    options = {"state": "kept", "project_src": PROJECT, "files": FILES, "image": "broken", "image_name": IMAGE}
    kept = subprocess.run(
        [
            *("ansible", "droplet", "-i", f"{runs.state}/inventory/hosts.yml", "-m", "composeops.hotfix.snapshot"),
            *("-a", json.dumps(options)),
        ],
        cwd=CHECKOUT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    host.check_output("docker image rm broken")
    (identity,) = re.findall(r"""\bid"?: "?([0-9a-f]{16})""", kept)
    code, output = runs.run("rollback", rollback_to=identity, deploy_health_timeout=15)
    assert code == 2, output
    assert f"The return to snapshot {identity} failed: http://127.0.0.1:8000/api/v1/health did not answer" in output
    assert re.search(r"Its last lines: .*ended on purpose", output)
    assert "What runs now: what ran before, files and keys included." in output
    assert now(host) == {name: applied[name] for name in now(host)}
    assert healthy(api) and free(host)
    assert committed(host) == applied["id"]


def test_an_image_that_is_gone_is_said_before_the_first_change(
    host: Any, api: Any, runs: Runs, applied: dict[str, Any], was: dict[str, str]
) -> None:
    identity = container(host)["Id"]
    tags = host.check_output(f"docker image inspect --format '{{{{join .RepoTags \" \"}}}}' {was['image']}")
    host.check_output(f"docker image rm --force {tags}")
    first = next(entry["id"] for entry in journal(host) if entry["action"] == "present")
    code, output = runs.run("rollback", rollback_to=first)
    assert code == 2, output
    assert (
        f"The image {was['image'][7:19]} of snapshot {first} (composeops-hotfix/wealth-coach-ai:{first}) is gone"
        in output
    )
    assert "-e rollback_build=true" in output
    assert (container(host)["Id"], free(host)) == (identity, True)


def test_keys_come_back_only_when_told_so_and_then_it_is_shouted(
    host: Any, api: Any, runs: Runs, applied: dict[str, Any], before: Path
) -> None:
    was = json.loads((before / "state.json").read_text(encoding="utf-8"))
    first = next(entry["id"] for entry in journal(host) if entry["action"] == "present")
    output = runs.good("rollback", rollback_to=first, rollback_keys=True, rollback_build=True)
    assert "THE KEYS OF THAT STATE COME BACK AS WELL (rollback_keys), UNSAFE ONES INCLUDED" in output
    for name in FILES:
        assert host.file(f"{PROJECT}/{name}").content == (before / name).read_bytes(), name
    assert now(host)["revision"] == was["revision"]
    assert healthy(api)
    assert api.get(SEARCH, DEV_KEY)[0] == 200
