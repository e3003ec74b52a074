# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with an application that the module ``monitor`` watches over.

systemd is a stand-in that keeps what is enabled and starts what the units say; so is the engine. The scenario
``monitor`` of Molecule does the same with real ones.
"""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

RECORDED = Path(__file__).parent / "plugins" / "module_utils" / "recorded" / "inspect_engine_20.json"
API_KEY = "dev-key-12345"
TOKEN = "hook-T0ken-9f8e7d6c5b4a39281706"

SYSTEMCTL = r"""#!{python}
import os, re, shlex, subprocess, sys
folder = os.path.dirname(os.path.abspath(__file__))
units, words = {units!r}, sys.argv[1:]
with open(os.path.join(folder, "systemctl-calls"), "a") as calls:
    calls.write(" ".join(words) + "\n")
def mark(name): return os.path.join(folder, "active-" + name)
verb, names = words[0], [word for word in words[1:] if not word.startswith("-")]
if os.path.exists(os.path.join(folder, "no-systemd")):
    sys.exit("System has not been booted with systemd as init system (PID 1). Can't operate.")
if verb == "show": print("Version=255")
elif verb == "is-active": sys.exit(0 if os.path.exists(mark(names[0])) else 3)
elif verb == "restart": open(mark(names[0]), "w").close()
elif verb == "stop":
    if os.path.exists(mark(names[0])): os.unlink(mark(names[0]))
elif verb == "start":
    text = open(os.path.join(units, names[0])).read()
    command = shlex.split(re.search("^ExecStart=(.*)$", text, re.M)[1])
    sys.exit(subprocess.run(command).returncode)
"""
DOCKER = r"""#!{python}
import json, os, sys
folder = os.path.dirname(os.path.abspath(__file__))
answers = json.load(open(os.path.join(folder, "answers.json")))
with open(os.path.join(folder, "docker-calls"), "a") as calls:
    calls.write(" ".join(sys.argv[1:]) + "\n")
answer = answers.get(sys.argv[1], {{}})
sys.stdout.write(answer.get("out", ""))
sys.stderr.write(answer.get("err", ""))
sys.exit(answer.get("rc", 0))
"""
DOWN = {
    "rc": 1,
    "err": "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?\n",
}


class Hook(http.server.BaseHTTPRequestHandler):
    """The application's health route, and a web hook."""

    healthy = True
    answer = b""
    status = 200
    posted: list[dict[str, Any]] = []  # noqa: RUF012  (that of the test)

    def do_GET(self) -> None:
        self.send_response(200 if self.healthy else 503)
        self.end_headers()
        self.wfile.write(b'{"status": "healthy"}' if self.healthy else self.answer)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        type(self).posted.append({"path": self.path, **json.loads(body)})
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""


class Host:
    """A host with a project, an engine with its container, systemd, and the application's port."""

    def __init__(self, folder: Path, run_module: Callable[..., dict[str, Any]], port: int) -> None:
        self.folder, self.run_module, self.port = folder, run_module, port
        self.project, self.bin, self.units = folder / "shop", folder / "bin", folder / "units"
        for made in (self.project, self.bin, self.units):
            made.mkdir()
        self.home = folder / "state" / "shop" / "monitor"
        for name, text in (("systemctl", SYSTEMCTL), ("docker", DOCKER)):
            path = self.bin / name
            path.write_text(text.format(python=sys.executable, units=str(self.units)))
            path.chmod(0o755)
        self.inspect: dict[str, Any] = json.loads(RECORDED.read_text())[0]
        self.inspect["State"].update(Pid=0, Status="running", Running=True)
        self.inspect["HostConfig"]["RestartPolicy"] = {"Name": "unless-stopped", "MaximumRetryCount": 0}
        self.inspect["Config"]["Labels"]["com.docker.compose.project.working_dir"] = str(self.project)
        self.answers: dict[str, Any] = {"logs": {}}
        self.engine()

    @property
    def env(self) -> dict[str, str]:
        return {"PATH": f"{self.bin}:{os.environ['PATH']}"}

    def engine(self, **answers: Any) -> None:
        """What the engine says from now on."""
        self.answers.update(answers)
        known = {
            "inspect": {"out": json.dumps([self.inspect])},
            "ps": {"out": self.inspect["Id"] + "\n"},
            "info": {"out": str(self.folder) + "\n"},
            "version": {"out": '"26.1.5"\n'},
        }
        (self.bin / "answers.json").write_text(json.dumps({**known, **self.answers}))

    def run(self, module: str = "monitor", **options: Any) -> dict[str, Any]:
        extra = {name: options.pop(name) for name in ("check", "expect_failure") if name in options}
        given = {"project_src": str(self.project), "state_dir": str(self.folder / "state"), "unit_dir": str(self.units)}
        if module == "monitor" and options.get("state") != "stopped":
            given.update(service="web", url=f"http://127.0.0.1:{self.port}/health", body={"status": "healthy"})
            given.update(interval="1m", duration="1h", patterns=[{"name": "errors", "regex": "ERROR"}])
        result = self.run_module(module, {**given, **options}, env=self.env, **extra)
        for secret in (TOKEN, API_KEY):
            assert secret not in json.dumps({key: value for key, value in result.items() if key != "invocation"})
        return result

    def start(self, **options: Any) -> dict[str, Any]:
        """Start a watch, or go on with it."""
        return self.run(**options)

    def checked(self, **options: Any) -> dict[str, Any]:
        """Start it in check mode and for real: both have to say the same."""
        before = self.files()
        checked = self.run(check=True, **options)
        assert self.files() == before
        done = self.run(**options)
        for key in ("changed", "status", "new", "diff", "folder", "unit"):
            assert checked.get(key) == done.get(key), key
        return done

    def sample(self, expected: int = 0) -> str:
        """Let the timer elapse."""
        done = subprocess.run(
            [str(self.bin / "systemctl"), "start", "composeops-monitor-shop.service"],
            env={**os.environ, **self.env},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == expected, done.stderr
        assert not done.stderr or expected
        return done.stderr

    def info(self, **options: Any) -> dict[str, Any]:
        return self.run("monitor_info", **options)

    def files(self) -> dict[str, bytes]:
        places = (self.folder / "state", self.units)
        return {str(path): path.read_bytes() for place in places for path in place.rglob("*") if path.is_file()}

    def state(self, **change: Any) -> dict[str, Any]:
        """What is remembered, and perhaps changed."""
        path = self.home / "state.json"
        data: dict[str, Any] = json.loads(path.read_text())
        if change:
            path.write_text(json.dumps({**data, **change}))
        return data

    def kinds(self) -> list[str]:
        return [event["kind"] for event in self.info()["events"]]
