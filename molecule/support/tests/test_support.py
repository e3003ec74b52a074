# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator sees of an unknown droplet, takes away from it, and restarts, seen from outside."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

PROJECT = "/srv/coach"
BACKEND = "wealth_coach_backend"
DEV_KEY = "dev-key-12345"
ELSEWHERE = {"application_project_src": PROJECT}
CHECKOUT = Path(__file__).resolve().parents[3]

# Those that ask for no host would run last, and the order is that of an operator.
pytestmark = pytest.mark.usefixtures("host")


def play(state: Path, playbook: str, *options: str, **variables: Any) -> tuple[int, str]:
    """Run a playbook: its exit status and what it printed."""
    command = ["ansible-playbook", f"composeops.hotfix.{playbook}", "-i", f"{state}/inventory/hosts.yml"]
    command += ["-e", json.dumps(variables), *options]
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "COLUMNS": "1000"}
    done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)
    assert DEV_KEY not in done.stdout + done.stderr
    return done.returncode, done.stdout + done.stderr


def containers(host: Any) -> dict[str, str]:
    """The containers of the droplet, running or not: name to ID."""
    lines = host.check_output("docker ps --all --no-trunc --format '{{.Names}} {{.ID}}'").splitlines()
    return dict(line.split() for line in lines)


def files(host: Any) -> str:
    """What is there of the project and of the collection's state, with times and permissions."""
    listing = f"find {PROJECT} /var/lib/composeops -not -path '*/.git/*' -printf '%p %s %m %T@\\n' 2>/dev/null | sort"
    found: str = host.check_output(f"{listing}; find /tmp -name 'support-*'")
    return found


@pytest.fixture(scope="module")
def secrets(host: Any) -> list[str]:
    """The values that nothing may show."""
    text = host.check_output(f"cat {PROJECT}/.env")
    found = re.findall(r"^(?:VALID_API_KEYS|JWT_SECRET_KEY|OPENAI_API_KEY)=.*?([A-Za-z0-9_-]{12,})", text, re.MULTILINE)
    assert DEV_KEY in found
    return found


def test_the_diagnosis_finds_the_application_and_changes_nothing(host: Any, state: Path, secrets: list[str]) -> None:
    before = files(host), containers(host)
    code, output = play(state, "diagnose", diagnose_watch=0)
    assert code == 0, output
    assert f"{BACKEND}: service backend of {PROJECT} (docker-compose.yml)" in output
    assert re.search(r"^  FAIL  API key +the log warns of development API keys", output, re.MULTILINE)
    assert re.search(r"^  FAIL  Restart policy", output, re.MULTILINE)
    assert "changed=0" in output
    assert not [secret for secret in secrets if secret in output]
    assert (files(host), containers(host)) == before


def test_the_bundle_holds_what_helps_and_no_secret(host: Any, state: Path, tmp_path: Path, secrets: list[str]) -> None:
    host.run_expect([0], f"docker exec {BACKEND} sh -c 'echo \"asked with {DEV_KEY}\" > /proc/1/fd/1'")
    before = files(host), containers(host)
    code, output = play(state, "support_bundle", support_bundle_dest=str(tmp_path))
    assert code == 0, output
    assert "changed=0" in output
    (archive,) = tmp_path.iterdir()
    assert str(archive) in output
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    with tarfile.open(archive) as tar:
        found = {member.name.partition("/")[2]: tar.extractfile(member) for member in tar.getmembers()}
        texts = {name: stream.read().decode() for name, stream in found.items() if stream}
    assert "asked with sha256:" in texts[f"logs/{BACKEND}.log"]
    assert "wealth_coach_redis" in texts["docker/stats.txt"]
    assert "Mem:" in texts["host/memory.txt"] and "Filesystem" in texts["host/disk.txt"]
    assert "VALID_API_KEYS='sha256:" in texts["project/.env"] or "VALID_API_KEYS=sha256:" in texts["project/.env"]
    assert json.loads(texts[f"docker/inspect-{BACKEND}.json"])["State"]["Running"] is True
    assert "could not be read" not in "".join(text for name, text in texts.items() if not name.startswith("logs/"))
    assert "Diagnosis of backend" in texts["diagnosis.txt"]
    assert not [(secret, name) for secret in secrets for name, text in texts.items() if secret in text]
    assert (files(host), containers(host)) == before


def test_a_restart_that_is_not_confirmed_changes_nothing(host: Any, state: Path, tmp_path: Path) -> None:
    before = containers(host)
    code, output = play(state, "support_bundle", support_bundle_dest=str(tmp_path), restart_clean=True, **ELSEWHERE)
    assert code != 0
    assert "Confirm it with -e restart_clean_confirm=coach. Nothing was changed." in output
    assert containers(host) == before


def test_a_restart_from_a_clean_state_keeps_what_one_can_return_to(
    host: Any, api: Any, state: Path, tmp_path: Path
) -> None:
    before = containers(host)
    (image,) = json.loads(host.check_output("docker inspect %s", BACKEND))
    # The next build makes another image, so that the present one is left without a name.
    host.run_expect([0], f"echo 'LABEL clean=yes' >> {PROJECT}/Dockerfile")
    wanted = {"restart_clean": True, "restart_clean_confirm": "coach", **ELSEWHERE}
    code, output = play(state, "support_bundle", "--check", support_bundle_dest=str(tmp_path), **wanted)
    assert code == 0 and "Would take backend, redis down" in output, output
    assert containers(host) == before
    code, output = play(state, "support_bundle", support_bundle_dest=str(tmp_path), **wanted)
    assert code == 0, output
    now = containers(host)
    assert set(now) == set(before)
    assert not set(now.values()) & set(before.values())
    assert api.get("/api/v1/health") == (200, '{"status":"healthy"}')
    kept = host.check_output("docker images --all --no-trunc --format '{{.ID}} {{.Repository}}'")
    assert f"{image['Image']} composeops-hotfix/coach" in kept
    code, output = play(state, "rollback", **ELSEWHERE)
    assert code == 0, output
    (returned,) = json.loads(host.check_output("docker inspect %s", BACKEND))
    assert returned["Image"] == image["Image"]
