# SPDX-License-Identifier: GPL-3.0-or-later
"""Each cause of dying workers made for real, in containers on the engine of this machine: ``pytest tests/causes``.

Takes root, since the module under test reads the host's ``/proc``. Images are made from the application's base image of
the stand-in droplet, with servers that pip downloads; containers and images carry the checkout's label.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import figure, pytest_terminal_summary, run_module

__all__ = ["figure", "pytest_terminal_summary", "run_module"]

FOLDER = Path(__file__).resolve().parent
CHECKOUT = FOLDER.parents[1]
ID = hashlib.sha256(str(CHECKOUT).encode()).hexdigest()[:8]
LABEL = f"org.composeops.hotfix.checkout={ID}"
# The oldest uvicorn that prints the line, and whatever is the newest.
SERVERS = {
    "uvicorn-oldest": ["uvicorn==0.30.0"],
    "uvicorn-newest": ["uvicorn"],
    "gunicorn": ["gunicorn", "uvicorn", "uvicorn-worker"],
}
SECRET = "k7Jx0pWcQ2vTz9LmR4sN8aYbE1uHdGf3"


def docker(*arguments: str, check: bool = True) -> str:
    """Run docker; what it printed."""
    result = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 0 or not check, result.stderr
    return result.stdout.strip()


class Running(NamedTuple):
    """A container with the application."""

    name: str

    def get(self, path: str, timeout: float = 20) -> int | None:
        """The status of one request on a connection of its own; None when the worker went before it answered."""
        port = docker("port", self.name, "8000").splitlines()[0].rpartition(":")[2]
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=timeout)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def wait_for(self, text: str) -> None:
        """Until the log holds this."""
        until = time.monotonic() + 40
        command = ["docker", "logs", self.name]
        while text not in subprocess.run(command, check=True, capture_output=True, text=True).stderr:
            assert time.monotonic() < until, f"no {text} in the log"
            time.sleep(0.2)

    def wait(self, workers: int = 2) -> None:
        """Until as many different workers have answered, which each takes its time to start."""
        until = time.monotonic() + 40
        while time.monotonic() < until:
            if self.get("/health") == 200:
                time.sleep(1.5 if workers > 1 else 0)
                return
            time.sleep(0.2)
        raise AssertionError(f"the application does not serve: {docker('logs', self.name, check=False)}")


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Builds the image of a server once and gives its name."""
    if os.geteuid() != 0:
        pytest.fail("the module looks at other users' processes: run this as root")
    bases = docker(
        "images", "--filter", f"label={LABEL}", "--filter", "reference=*/application-base", "--format", "{{.ID}}"
    )
    if not bases:
        pytest.fail("the base image of the droplet's application is missing: run 'make images'")
    built: dict[str, str] = {}

    def build(server: str) -> str:
        if server not in built:
            context = tmp_path_factory.mktemp(server)
            for name in ("Dockerfile", "application.py"):
                shutil.copy(FOLDER / name, context)
            # Outside the image, since pip inside may neither reach nor trust the package index that is used here.
            wheels = [*SERVERS[server], "pip==24.3.1"]
            options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]
            command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(context / "wheels"), *wheels]
            subprocess.run(command, check=True, capture_output=True)
            name = f"composeops-hotfix-{ID}/causes:{server}"
            arguments = [
                "--build-arg",
                f"BASE={bases.split()[0]}",
                "--build-arg",
                f"SERVER={' '.join(SERVERS[server])}",
            ]
            docker("build", "--quiet", "--network", "none", "--label", LABEL, *arguments, "--tag", name, str(context))
            built[server] = name
        return built[server]

    return build


@pytest.fixture
def start(image: Callable[[str], str], request: pytest.FixtureRequest) -> Iterator[Callable[..., Running]]:
    """Starts a container with the application under a server; it is removed after the test."""
    names = []

    def run(server: str, *options: str, workers: int = 2, level: str = "info", more: tuple[str, ...] = ()) -> Running:
        name = f"composeops-hotfix-{ID}-cause-{os.getpid()}-{len(names)}"
        names.append(name)
        keys = (
            [] if any("VALID_API_KEYS" in option for option in options) else ["--env", f'VALID_API_KEYS=["{SECRET}"]']
        )
        if server == "gunicorn":
            command = ["gunicorn", "application:app", "--worker-class", "uvicorn_worker.UvicornWorker"]
            command += ["--bind", "0.0.0.0:8000"]
        else:
            command = ["uvicorn", "application:app", "--host", "0.0.0.0"]
        command += ["--workers", str(workers), "--log-level", level, *more]
        labels = ["--label", LABEL, "--publish", "127.0.0.1::8000"]
        docker("run", "--detach", "--name", name, *labels, *keys, *options, image(server), *command)
        return Running(name)

    yield run
    for name in names:
        docker("rm", "--force", "--volumes", name, check=False)


@pytest.fixture
def diagnose(run_module: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """The module's result for a container; it must not hold the secret."""

    def run(container: Running, **options: Any) -> dict[str, Any]:
        result = run_module("worker_info", {"container": container.name, **options})
        assert SECRET not in str(result)
        return result

    return run
