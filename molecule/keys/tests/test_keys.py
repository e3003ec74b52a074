# SPDX-License-Identifier: GPL-3.0-or-later
"""A rotation and a retirement, seen from outside: HTTP, the engine, the files on both sides."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values

PROJECT = "/opt/wealth-coach-ai"
BACKEND = "wealth_coach_backend"
SEARCH = "/api/v1/search?q=saving"
CHECKOUT = Path(__file__).resolve().parents[3]

# Those that ask for no host would run last, and the order is that of an operator.
pytestmark = pytest.mark.usefixtures("host")


@pytest.fixture(scope="module")
def old_key(state: Path) -> str:
    return (state / "old-key").read_text(encoding="utf-8").strip()


def hashes(*keys: str) -> list[str]:
    """Keys as they may be shown when a comparison fails."""
    return [hashlib.sha256(key.encode()).hexdigest() for key in keys]


def identity(host: Any) -> str:
    return str(host.check_output("docker inspect --format '{{.Id}}' %s", BACKEND))


def live(host: Any, name: str) -> str:
    (container,) = json.loads(host.check_output("docker inspect %s", BACKEND))
    return dict(line.split("=", 1) for line in container["Config"]["Env"])[name]


def retire(state: Path, *options: str, **vars: Any) -> subprocess.CompletedProcess[str]:
    """Run the playbook, as an operator would after the rotation."""
    command = ["ansible-playbook", "composeops.hotfix.retire_keys", "-i", str(state / "inventory" / "hosts.yml")]
    command += [
        "-e",
        f"@{CHECKOUT}/droplet/hotfix.yml",
        "-e",
        json.dumps({"api_keys_retire": "all_but_newest", **vars}),
    ]
    environment = {**os.environ, "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1"}
    return subprocess.run(
        [*command, *options], cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def refused(api: Any, state: Path, old_key: str) -> subprocess.CompletedProcess[str]:
    """The attempt to retire the old key while a client still has it."""
    assert api.get(SEARCH, old_key)[0] == 200
    return retire(state)


@pytest.fixture(scope="module")
def retired(refused: Any, state: Path) -> subprocess.CompletedProcess[str]:
    """The retirement once nobody has used the old key for a while."""
    time.sleep(6)
    result = retire(state, api_keys_seen_since="5s")
    assert result.returncode == 0, result.stdout + result.stderr
    return result


def test_old_and_new_key_are_served_side_by_side(api: Any, old_key: str, new_key: str) -> None:
    assert hashes(old_key) != hashes(new_key)
    assert [api.get(SEARCH, key)[0] for key in (old_key, new_key, old_key[::-1])] == [200, 200, 401]


def test_live_environment_holds_both_the_new_one_first(host: Any, old_key: str, new_key: str) -> None:
    assert hashes(*json.loads(live(host, "VALID_API_KEYS"))) == hashes(new_key, old_key)


def test_hand_off_is_private_and_the_mobile_configuration_has_the_new_key(state: Path, new_key: str) -> None:
    (file,) = (state / "handoff").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == stat.S_IMODE((state / "mobile.env").stat().st_mode) == 0o600
    assert new_key not in file.read_text(encoding="utf-8")
    assert hashes(dotenv_values(state / "mobile.env")["WEALTH_COACH_API_KEY"] or "") == hashes(new_key)


def test_signing_secret_was_replaced_and_nothing_else(host: Any, before: Path) -> None:
    old = (before / ".env").read_text(encoding="utf-8").splitlines()
    new = host.file(f"{PROJECT}/.env").content_string.splitlines()
    changed = [line for line in difflib.ndiff(old, new) if line[:2] in ("- ", "+ ")]
    assert sorted(line[2:].split("=")[0] for line in changed) == ["JWT_SECRET_KEY"] * 2 + ["VALID_API_KEYS"] * 2
    assert len(live(host, "JWT_SECRET_KEY")) == 64


def test_ages_are_kept_without_values(host: Any, old_key: str, new_key: str) -> None:
    ages = host.file("/var/lib/composeops/wealth-coach-ai/key_ages.json")
    assert ages.mode == 0o600
    content = ages.content_string
    for key in (old_key, new_key):
        assert key not in content
        assert f"sha256:{hashes(key)[0][:8]} len=43" in content


def test_log_shows_the_keys_in_use_without_values(host: Any, api: Any, old_key: str) -> None:
    api.get(SEARCH, old_key)
    result = host.run("docker logs %s", BACKEND)
    assert f'"key_id": "sha256:{hashes(old_key)[0][:16]}"' in result.stdout + result.stderr
    assert old_key not in result.stdout + result.stderr


def test_key_that_is_in_use_is_not_retired(host: Any, api: Any, refused: Any, old_key: str) -> None:
    text = " ".join((refused.stdout + refused.stderr).split())
    assert refused.returncode != 0
    assert f"The key sha256:{hashes(old_key)[0][:8]} len=43 was used" in text
    assert "with -e api_keys_force=true" in text
    assert "is not seen, for the log of container wealth_coach_backend was recreated" in text
    assert old_key not in text
    assert api.get(SEARCH, old_key)[0] == 200
    assert hashes(*json.loads(live(host, "VALID_API_KEYS")))[1:] == hashes(old_key)


def test_it_would_be_retired_by_force(api: Any, refused: Any, state: Path, old_key: str) -> None:
    result = retire(state, "--check", api_keys_force=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "WARNING: The key sha256:" in " ".join(result.stdout.split())
    assert "Would hand over backend to a copy of it" in " ".join(result.stdout.split())
    assert api.get(SEARCH, old_key)[0] == 200


def test_retired_key_is_refused(host: Any, api: Any, retired: Any, old_key: str, new_key: str) -> None:
    assert [api.get(SEARCH, key)[0] for key in (old_key, new_key)] == [401, 200]
    assert hashes(*json.loads(live(host, "VALID_API_KEYS"))) == hashes(new_key)
    assert f"sha256:{hashes(old_key)[0][:8]} len=43 got HTTP 401" in " ".join(retired.stdout.split())


def test_second_retirement_changes_nothing(host: Any, retired: Any, state: Path) -> None:
    before = identity(host)
    result = retire(state)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "changed=0" in result.stdout.split("PLAY RECAP")[1]
    assert identity(host) == before


def test_no_report_holds_a_key(retired: Any, state: Path, old_key: str, new_key: str) -> None:
    text = (state / "report" / "droplet.json").read_text(encoding="utf-8") + retired.stdout + retired.stderr
    assert not [number for number, key in enumerate((old_key, new_key)) if key in text]
