# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of all scenarios know of the droplet, all of it from outside the collection's own modules."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[1]
STATE = CHECKOUT / ".state" / "droplets" / os.environ.get("MOLECULE_SCENARIO_NAME", "default")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--without", help="the fix that was left out: every test marked with it has to fail")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "fix(name): the fix (a tag of the playbook) without which the test fails")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --without, run only the tests of that fix, and demand that each of them fails."""
    left_out = config.getoption("--without")
    if not left_out:
        return
    items[:] = [item for item in items if left_out in [name for mark in item.iter_markers("fix") for name in mark.args]]
    for item in items:
        # No test is excused by this: with `strict` the run fails where a test passes though its fix is left out.
        item.add_marker(pytest.mark.xfail(strict=True, reason=f"fix {left_out} is left out, so this test has to fail"))


class Api:
    """The application as a client on another machine sees it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, key: str | None = None) -> tuple[int, str]:
        """Status and body of a GET request."""
        request = urllib.request.Request(self.url + path, headers={"X-API-Key": key} if key else {})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def wait(self, seconds: int = 90) -> None:
        """Wait until the application answers at all."""
        for _ in range(seconds):
            try:
                if self.get("/api/v1/health")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(1)
        raise AssertionError(f"{self.url} did not come back")

    def load(self, key: str, seconds: int) -> dict[str, Any]:
        """Put the load on the search that killed workers before."""
        command = [sys.executable, str(CHECKOUT / "droplet" / "load.py"), "--url", self.url, "--seconds", str(seconds)]
        environment = {**os.environ, "DROPLET_API_KEY": key}
        process = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        result: dict[str, Any] = json.loads(process.stdout)
        return result

    @contextmanager
    def asked(self, path: str) -> Iterator[Counter[int | str]]:
        """Requests on connections of their own, one after the other while the block runs: answers and errors."""
        found: Counter[int | str] = Counter()
        over = threading.Event()

        def ask() -> None:
            while not over.wait(0.05):
                try:
                    found[self.get(path)[0]] += 1
                except (OSError, http.client.HTTPException) as error:
                    found[repr(error)] += 1

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield found
        finally:
            over.set()
            thread.join()


@pytest.fixture(scope="session")
def droplet() -> dict[str, Any]:
    """The droplet's entry in the inventory."""
    inventory = yaml.safe_load((STATE / "inventory" / "hosts.yml").read_text(encoding="utf-8"))
    entry: dict[str, Any] = inventory["all"]["hosts"]["droplet"]
    return entry


@pytest.fixture(scope="session")
def api(droplet: dict[str, Any]) -> Api:
    return Api(droplet["droplet_api_url"])


@pytest.fixture(scope="session")
def new_key() -> str:
    """The key that the hand-off file on the controller decrypts to."""
    (file,) = (STATE / "handoff").glob("*.vault.yml")
    command = ["ansible-vault", "view", "--vault-password-file", str(STATE / "vault-password"), str(file)]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    key: str = yaml.safe_load(shown)["valid_api_keys_newest"]
    return key


@pytest.fixture(scope="session")
def loaded(api: Api, new_key: str) -> dict[str, Any]:
    """What became of the load that killed workers before."""
    return api.load(new_key, 20)


@pytest.fixture(scope="session")
def state() -> Path:
    """The folder on the controller with what belongs to the droplet."""
    return STATE


@pytest.fixture(scope="session")
def before() -> Path:
    """The folder with the files as they were before the hot-fix."""
    return STATE / "before"
