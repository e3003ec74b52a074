# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in droplet, seen from outside: commands on it, modules and playbooks against it, load on it."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
PROJECT = "/opt/wealth-coach-ai"
BIN = Path(sys.executable).parent


def kill_run(run: subprocess.Popen[Any]) -> None:
    """Kill a run of ansible-playbook with its workers, each of which is in a session of its own."""
    workers = subprocess.run(["pgrep", "-P", str(run.pid)], capture_output=True, text=True, check=False).stdout.split()
    os.killpg(run.pid, signal.SIGKILL)
    for worker in workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(worker), signal.SIGKILL)


class Load:
    """Requests by ``droplet/load.py``, each on a connection of its own."""

    def __init__(self, url: str, path: str, *, rate: int, seconds: float, key: str = "not-used") -> None:
        program = [sys.executable, str(CHECKOUT / "droplet" / "load.py"), f"--url={url}", f"--path={path}"]
        program += [f"--rate={rate}", f"--seconds={seconds}", "--concurrency=48", "--timeout=20"]
        environment = {**os.environ, "DROPLET_API_KEY": key}
        self._process = subprocess.Popen(program, env=environment, stdout=subprocess.PIPE, text=True)

    def result(self) -> dict[str, Any]:
        """What load.py says, at the end of its time."""
        found: dict[str, Any] = json.loads(self._process.communicate()[0])
        return found

    def stop(self) -> dict[str, Any]:
        """As :meth:`result`, now."""
        self._process.terminate()
        return self.result()


class Host:
    """A stand-in droplet of this checkout.

    :param name: as ``droplet/create.yml`` was given it.
    """

    def __init__(self, name: str) -> None:
        self.folder = CHECKOUT / ".state" / "droplets" / name
        self.inventory = self.folder / "inventory"
        host = yaml.safe_load((self.inventory / "hosts.yml").read_text())["all"]["hosts"]["droplet"]
        self.url: str = host["droplet_api_url"]
        self.container: str = host["droplet_container"]
        # Of its own, so that a test can end the connections to it, and no other ones.
        self.sockets = tempfile.mkdtemp(prefix=f"droplet-{name}-")
        atexit.register(shutil.rmtree, self.sockets, ignore_errors=True)

    def sh(self, script: str, *, check: bool = True) -> str:
        """Run a shell script on it; what it printed."""
        command = ["docker", "exec", "-i", self.container, "bash", "-euo", "pipefail", "-s"]
        done = subprocess.run(command, input=script, capture_output=True, text=True, check=False)
        assert done.returncode == 0 or not check, f"{script}\n{done.stdout[-1000:]}\n{done.stderr[-2000:]}"
        return done.stdout

    def write(self, path: str, text: str) -> None:
        """Write a file on it."""
        command = ["docker", "exec", "-i", self.container, "bash", "-c", 'mkdir -p "${0%/*}"; cat >"$0"', path]
        subprocess.run(command, input=text, check=True, text=True)

    def reboot(self) -> None:
        """Reboot it, and wait for its engine."""
        subprocess.run(["docker", "restart", "--time", "20", self.container], check=True, capture_output=True)
        self.sh("for i in $(seq 100); do docker info >/dev/null 2>&1 && exit; sleep 0.2; done; exit 1")

    def module(self, name: str, *, check: bool = False, **options: Any) -> dict[str, Any]:
        """What a module of the collection says, run as Ansible does."""
        with tempfile.TemporaryDirectory() as folder:
            words = [str(BIN / "ansible"), "-i", str(self.inventory), "droplet", "-m", f"composeops.hotfix.{name}"]
            words += ["-a", json.dumps(options), "--tree", folder, *(["--check"] if check else [])]
            done = subprocess.run(words, cwd=CHECKOUT, capture_output=True, text=True, check=False)
            answer = Path(folder, "droplet")
            assert answer.exists(), done.stdout + done.stderr
            result: dict[str, Any] = json.loads(answer.read_text())
        return result

    def playbook(self, name: str, *options: str, **variables: Any) -> subprocess.Popen[str]:
        """Begin a playbook of the collection against it, as an operator of the stand-in would."""
        (self.folder / "vault-password").touch()
        if not (self.folder / "vault-password").read_text():
            (self.folder / "vault-password").write_text("for tests only\n")
        words = [str(BIN / "ansible-playbook"), "-i", str(self.inventory), f"composeops.hotfix.{name}"]
        words += ["-e", f"@{CHECKOUT / 'droplet' / 'hotfix.yml'}", "-e", json.dumps(variables), *options]
        environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "COLUMNS": "1000"}
        environment["ANSIBLE_SSH_CONTROL_PATH_DIR"] = self.sockets
        # A session of its own, so that a test can kill all of it, as a closed laptop does.
        return subprocess.Popen(
            words,
            cwd=CHECKOUT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def play(self, name: str, *options: str, **variables: Any) -> tuple[int, str]:
        """Run a playbook to its end: its exit status, and all that it printed."""
        process = self.playbook(name, *options, **variables)
        output = process.communicate(timeout=600)[0]
        return process.returncode, output

    def load(self, path: str = "/api/v1/health", *, rate: int = 50, seconds: float = 20) -> Load:
        """Put load on the published port of the droplet."""
        return Load(self.url, path, rate=rate, seconds=seconds)
