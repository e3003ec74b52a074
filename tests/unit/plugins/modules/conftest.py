# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in ``docker`` for the modules that look at containers.

It gives back what real engines printed, and has the faults that no unit test can have for real. Against a real engine
the modules are tried by the Molecule scenarios.
"""

from __future__ import annotations

import http.server
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from compose_binary import BY_VERSION
from monitored_host import API_KEY as HOST_KEY
from monitored_host import Hook, Host

RECORDED = Path(__file__).parents[1] / "module_utils" / "recorded"
API_KEY = "dev-key-12345"
REDIS_PASSWORD = "s3cret-pw"

STAND_IN = r"""#!{python}
import json, os, sys
folder = os.path.dirname(os.path.abspath(__file__))
answers = json.load(open(os.path.join(folder, "answers.json")))
words = sys.argv[1:]
with open(os.path.join(folder, "calls"), "a") as calls:
    calls.write(json.dumps(words) + "\n")
key = words[0] + (" --follow" if "--follow" in words else "")
answer = answers.get(key, answers.get(words[0], {{"rc": 1, "stderr": "Error: No such container: x"}}))
if answer.get("once"):
    answers[words[0]] = answer["then"]
    json.dump(answers, open(os.path.join(folder, "answers.json"), "w"))
sys.stdout.write(answer.get("stdout", ""))
sys.stdout.flush()
sys.stderr.write(answer.get("stderr", ""))
sys.exit(answer.get("rc", 0))
"""


class Engine:
    """A stand-in ``docker`` command."""

    def __init__(self, folder: Path, run_module: Callable[..., dict[str, Any]]) -> None:
        self.folder = folder
        self.run_module = run_module
        self.answers: dict[str, Any] = {}
        self.inspect: dict[str, Any] = json.loads((RECORDED / "inspect_engine_20.json").read_text())[0]
        # No process of this machine may be taken for the container's.
        self.inspect["State"]["Pid"] = 0
        docker = folder / "docker"
        docker.write_text(STAND_IN.format(python=sys.executable))
        docker.chmod(0o755)

    def run(self, module: str, expect_failure: bool = False, **args: Any) -> dict[str, Any]:
        self.answers.setdefault("inspect", {"stdout": json.dumps([self.inspect])})
        (self.folder / "answers.json").write_text(json.dumps(self.answers))
        env = {"PATH": f"{self.folder}:{os.environ['PATH']}"}
        result = self.run_module(module, args, check=True, expect_failure=expect_failure, env=env)
        assert result.get("changed") is not True
        for secret in (API_KEY, REDIS_PASSWORD):
            assert secret not in json.dumps({key: value for key, value in result.items() if key != "invocation"})
        return result

    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]


@pytest.fixture
def engine(tmp_path: Path, run_module: Callable[..., dict[str, Any]]) -> Engine:
    return Engine(tmp_path, run_module)


HANDED_ON = r"""#!/bin/bash
# Compose for real, the engine from memory, what would run in a container on this machine; its rules are not to be seen.
cd "$(dirname "$0")"; echo "${{*//$'\n'/ }}" >>calls; cd - >/dev/null
case "$*" in
  compose*" run "*composeops-starts-nothing*) cat {folder}/refusal >&2; exit 1 ;;
  compose*" run "*) while [ "$1" != -W ]; do shift; done; cd {project}; exec {python} "$@" ;;
  compose*) shift; exec {compose} "$@" ;;
  "image inspect"*) cat {folder}/image || exit 1 ;;
  rm*) ;;
  *composeops.hotfix.handover*) ;;
  ps*--format*) ;;
  ps*) cat {folder}/ids 2>/dev/null ;;
  inspect*) cat {folder}/inspect ;;
  *) echo "not to be asked: $*" >&2; exit 1 ;;
esac
exit 0
"""


class Service:
    """A service ``web`` of a project, with a container of it that a recorded engine shows."""

    def __init__(self, folder: Path, run_module: Callable[..., dict[str, Any]]) -> None:
        self.folder = folder
        self.project = folder / "shop"
        self.programs = folder / "bin"
        for made in (self.project, self.programs):
            made.mkdir()
        self._run_module = run_module
        docker = self.programs / "docker"
        docker.write_text(
            HANDED_ON.format(
                compose=next(iter(BY_VERSION.values())),
                folder=self.programs,
                project=self.project,
                python=sys.executable,
            )
        )
        for family in ("iptables", "ip6tables"):
            for name in (family, f"{family}-nft", f"{family}-legacy"):
                (self.programs / name).write_text("#!/bin/sh\nexit 3\n")
        for program in self.programs.iterdir():
            program.chmod(0o755)
        self.write("ports: ['8000:8000']")
        self.refuse('exec: "/composeops-starts-nothing": stat /composeops-starts-nothing: no such file or directory')

    def refuse(self, why: str) -> None:
        """Let the engine start no container."""
        (self.programs / "refusal").write_text(f"Error response from daemon: {why}\n")

    def write(self, *lines: str) -> None:
        """Its Compose file."""
        (self.project / "compose.yml").write_text(
            "\n    ".join(["services:\n  proxy: {image: nginx}\n  web:", "image: web:1", *lines, ""])
        )

    def build(self, *command: str) -> None:
        """Let the engine have its image."""
        (self.programs / "image").write_text(json.dumps([{"Config": {"Cmd": list(command), "Entrypoint": None}}]))

    def start(self, **state: Any) -> None:
        """Let the engine have a container of it."""
        inspect = json.loads((RECORDED / "inspect_engine_20.json").read_text())[0]
        # No process of this machine may be taken for the container's.
        inspect["State"].update({"Pid": 0, **state})
        inspect["Config"]["Labels"]["com.docker.compose.project.working_dir"] = str(self.project)
        binding = [{"HostIp": "0.0.0.0", "HostPort": "8000"}]
        inspect["NetworkSettings"]["Ports"] = {"8000/tcp": binding}
        (self.programs / "inspect").write_text(json.dumps([inspect]))
        (self.programs / "ids").write_text(inspect["Id"] + "\n")

    def run(self, module: str, *, check: bool = False, expect_failure: bool = False, **args: Any) -> dict[str, Any]:
        """Run a module on it."""
        env = {"PATH": f"{self.programs}:{os.environ['PATH']}"}
        given = {"project_src": str(self.project), "service": "web", **args}
        return self._run_module(module, given, check=check, expect_failure=expect_failure, env=env)

    def changes(self) -> list[str]:
        """What was asked of the engine beside looking."""
        calls = (self.programs / "calls").read_text().splitlines()
        looks = ("ps ", "inspect ", "compose version", "image inspect")
        return [call for call in calls if not call.startswith(looks) and " config " not in call]


@pytest.fixture
def service(tmp_path: Path, run_module: Callable[..., dict[str, Any]]) -> Service:
    return Service(tmp_path, run_module)


@pytest.fixture
def port() -> Iterator[int]:
    Hook.healthy, Hook.status, Hook.posted = True, 200, []
    Hook.answer = f'{{"error": "no redis with {HOST_KEY}"}}'.encode()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


@pytest.fixture
def host(tmp_path: Path, run_module: Callable[..., dict[str, Any]], port: int) -> Host:
    return Host(tmp_path, run_module, port)
