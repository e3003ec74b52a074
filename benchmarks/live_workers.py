#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes the number of workers of real servers under load on a stand-in droplet, and prints what was lost.

For each server: 4 to 2 and 2 to 4 by the module worker_scale, then 4 to 2 by a recreate for comparison, each under 50
short requests a second and a good dozen that take three seconds, each on a connection of its own. Exit status 1 when a
live change lost a request.

    ansible-playbook droplet/create.yml -e droplet_name=live
    benchmarks/live_workers.py --droplet live
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

import yaml

CHECKOUT = Path(__file__).resolve().parents[1]
PROJECT = "/opt/live-workers"
LOAD_SECONDS = 16
# Seconds of load before the change, and what a long request takes.
WARM_UP, LONG = 4, 3
LIMITS = {"short": (50, 32), "long": (5, 48)}  # requests a second, at most under way

APPLICATION = f"""
import asyncio, time
time.sleep(2)  # What a real application takes to load: whoever accepts connections before that fails them.

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"].split(".")[-1]
            await send({{"type": f"lifespan.{{kind}}.complete"}})
            if kind == "shutdown":
                return
    if scope["path"] == "/long":
        await asyncio.sleep({LONG})
    await send({{"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}})
    await send({{"type": "http.response.body", "body": b"ok"}})
"""

DOCKERFILE = """
FROM wealth-coach-python:3.13
COPY wheels /wheels
# The image has no pip; these wheels are plain Python.
RUN for wheel in /wheels/*.whl; do python -m zipfile -e "$wheel" /packages; done
ENV PYTHONPATH=/packages
WORKDIR /app
COPY app.py .
"""


class Server(NamedTuple):
    """What is measured: packages, the command less the number of workers, and whether another program is PID 1."""

    name: str
    packages: tuple[str, ...]
    command: str
    init: bool = False


UVICORN = "python -m uvicorn app:app --host 0.0.0.0 --port 8000 --workers"
GUNICORN = "python -m gunicorn -k uvicorn_worker.UvicornWorker -b 0.0.0.0:8000 app:app -w"
SERVERS = [
    Server("uvicorn 0.34.0", ("uvicorn==0.34.0",), UVICORN),
    Server("uvicorn 0.30.0", ("uvicorn==0.30.0",), UVICORN),
    Server("uvicorn 0.54.0, init: true", ("uvicorn==0.54.0",), UVICORN, init=True),
    Server(
        "gunicorn 27.0.1 + uvicorn-worker",
        ("gunicorn==27.0.1", "uvicorn==0.54.0", "uvicorn-worker==0.4.0"),
        GUNICORN,
    ),
]


class Droplet:
    """A stand-in droplet of this checkout."""

    def __init__(self, name: str) -> None:
        self.inventory = CHECKOUT / ".state" / "droplets" / name / "inventory"
        if not self.inventory.is_dir():
            sys.exit(f"there is no droplet {name}; make it: ansible-playbook droplet/create.yml -e droplet_name={name}")
        host = yaml.safe_load((self.inventory / "hosts.yml").read_text())["all"]["hosts"]["droplet"]
        self.url, self.container = host["droplet_api_url"], host["droplet_container"]

    def run(self, command: str, data: bytes | None = None) -> str:
        """Run a shell command on the droplet."""
        done = subprocess.run(
            ["docker", "exec", "-i", self.container, "sh", "-ec", command], input=data, capture_output=True, check=False
        )
        if done.returncode:
            sys.exit(f"{command} failed on the droplet: {done.stderr.decode()[-2000:]}")
        return done.stdout.decode()

    def module(self, name: str, arguments: str, *, check: bool = False) -> dict[str, Any]:
        """What a module says, run as Ansible does."""
        with tempfile.TemporaryDirectory() as folder:
            words = ["ansible", "-i", str(self.inventory), "droplet", "-m", f"composeops.hotfix.{name}"]
            words += ["-a", arguments, "--tree", folder, *(["--check"] if check else [])]
            subprocess.run(words, cwd=CHECKOUT, capture_output=True, check=False)
            result: dict[str, Any] = json.loads(Path(folder, "droplet").read_text())
        return result

    def install(self, server: Server) -> None:
        """Build an image with the server, and start 4 workers."""
        with tempfile.TemporaryDirectory() as folder:
            wheels = ["pip", "download", "-q", "--only-binary=:all:", "--python-version=3.13", "-d", f"{folder}/wheels"]
            subprocess.run([sys.executable, "-m", *wheels, *server.packages], check=True, capture_output=True)
            Path(folder, "app.py").write_text(APPLICATION)
            Path(folder, "Dockerfile").write_text(DOCKERFILE)
            buffer = io.BytesIO()
            with tarfile.open(fileobj=buffer, mode="w") as archive:
                archive.add(folder, arcname=".")
        self.run(f"rm -rf {PROJECT}; mkdir {PROJECT}; tar -x -C {PROJECT}", buffer.getvalue())
        self.write(server, 4)
        self.run(f"cd {PROJECT}; docker compose --progress quiet build")
        self.recreate()

    def write(self, server: Server, workers: int) -> None:
        """The Compose file with that number of workers."""
        web = {"build": ".", "ports": ["8000:8000"], "init": server.init, "command": f"{server.command} {workers}"}
        self.run(f"cat > {PROJECT}/compose.yml", yaml.safe_dump({"services": {"web": web}}).encode())

    def recreate(self) -> float:
        """Bring the Compose file into force, and wait for an answer; seconds that this took."""
        began = time.monotonic()
        self.run(f"cd {PROJECT}; docker compose --progress quiet up --detach")
        while time.monotonic() - began < 60:
            try:
                with urllib.request.urlopen(f"{self.url}/short", timeout=2):  # noqa: S310  (a URL of this machine)
                    return time.monotonic() - began
            except OSError:
                time.sleep(0.1)
        sys.exit("the server did not answer within a minute")


class Load:
    """Short and long requests at the same time, by droplet/load.py."""

    def __init__(self, url: str) -> None:
        program = [sys.executable, str(CHECKOUT / "droplet" / "load.py"), f"--url={url}", f"--seconds={LOAD_SECONDS}"]
        self.parts = {
            kind: subprocess.Popen(
                [*program, f"--path=/{kind}", f"--rate={rate}", f"--concurrency={most}", "--timeout=30"],
                env={**os.environ, "DROPLET_API_KEY": "not-used"},
                stdout=subprocess.PIPE,
                text=True,
            )
            for kind, (rate, most) in LIMITS.items()
        }
        time.sleep(WARM_UP)

    def result(self) -> dict[str, dict[str, Any]]:
        """What load.py says of the short and of the long requests."""
        return {kind: json.loads(part.communicate()[0]) for kind, part in self.parts.items()}


def row(server: str, change: str, load: dict[str, dict[str, Any]], seconds: float, signals: str) -> int:
    """Print one measurement; returns the number of failed requests."""
    short, long = load["short"], load["long"]
    failed: int = short["failed"] + long["failed"]
    print(
        f"{server:33} {change:15} {short['requests']:6} {short['failed']:6} {long['requests']:6} {long['failed']:6} "
        f"{seconds:7.1f}  {signals}",
        flush=True,
    )
    return failed


def measure(droplet: Droplet, server: Server) -> int:
    """All changes of one server; returns the number of requests that live changes lost."""
    droplet.install(server)
    lost = 0
    for before, after in ((4, 2), (2, 4)):
        load = Load(droplet.url)
        result = droplet.module("worker_scale", f"project_src={PROJECT} service=web workers={after}")
        measured = load.result()
        if not result.get("changed") or len(result["pids_after"]) != after:
            sys.exit(f"{server.name}: {result.get('msg', result)}")
        lost += row(server.name, f"live {before} to {after}", measured, result["seconds"], result["server"]["version"])
    droplet.write(server, 2)
    load = Load(droplet.url)
    seconds = droplet.recreate()
    row(server.name, "recreate 4 to 2", load.result(), seconds, "for comparison")
    droplet.run(f"cd {PROJECT}; docker compose --progress quiet down")
    return lost


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--droplet", default="live", help="name of the droplet (%(default)s)")
    parser.add_argument("--only", default="", help="measure servers whose name holds this")
    options = parser.parse_args()
    droplet = Droplet(options.droplet)
    droplet.run("docker stop wealth_coach_backend")
    lost = 0
    print(f"{'server':33} {'change':15} {'short':>6} {'failed':>6} {'long':>6} {'failed':>6} {'seconds':>7}")
    try:
        for server in SERVERS:
            if options.only in server.name:
                lost += measure(droplet, server)
    finally:
        droplet.run(f"cd {PROJECT} && docker compose --progress quiet down; docker start wealth_coach_backend")
    print(f"requests lost by live changes: {lost}")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
