# SPDX-License-Identifier: GPL-3.0-or-later
"""The role support_bundle, run by ansible-playbook on this machine, beside an engine that is a stand-in."""

from __future__ import annotations

import json
import stat
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from compose_binary import BY_VERSION
from role_play import play_roles

RECORDED = Path(__file__).resolve().parents[1] / "unit/plugins/module_utils/recorded"
COMPOSE = """\
services:
  backend: {image: shop, build: .}
  redis: {image: redis}
"""
# Compose for real where it only reads; containers are files, and what is to fail is one as well.
ENGINE = """#!/bin/bash
cd "$(dirname "$0")"; echo "$*" >>calls
fails() {{ test -e "$1-fails" && {{ echo "$2" >&2; exit 1; }}; }}
case "$*" in
  "ps --filter"*--format*) printf 'shop backend\\nshop redis\\n' ;;
  ps*handover*) ;;
  ps*) cat ids 2>/dev/null ;;
  inspect*) test -e ids && cat inspect ;;
  "image prune"*) fails prune "Error response from daemon: a prune operation is already running" ;;
  "image inspect"*) echo {image} ;;
  "compose version"*) echo 2.40.3 ;;
  compose*" config "*) cd {project}; shift; exec {compose} "$@" ;;
  compose*" down") rm -f ids; fails down "network shop_default has active endpoints" ;;
  compose*" up "*backend) fails up "no space left on device"; echo {id} >ids ;;
esac
exit 0
"""


class Droplet:
    """A project whose engine is a folder."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port, self.programs, self.project = folder, port, folder / "bin", folder / "shop"
        self.programs.mkdir()
        self.project.mkdir()
        (self.project / "compose.yml").write_text(COMPOSE)
        (self.project / "Dockerfile").write_text("FROM scratch\n")
        inspect = json.loads((RECORDED / "inspect_engine_20.json").read_text())[0]
        # No process of this machine may be taken for the container's.
        inspect["State"].update({"Pid": 0, "Status": "running", "Running": True})
        labels = {"com.docker.compose.project.working_dir": str(self.project), "com.docker.compose.service": "backend"}
        inspect["Config"]["Labels"] |= labels
        (self.programs / "inspect").write_text(json.dumps([inspect]))
        compose = next(iter(BY_VERSION.values()))
        engine = ENGINE.format(compose=compose, project=self.project, id=inspect["Id"], image=inspect["Image"])
        for name, text in {"docker": engine, "iptables": "#!/bin/sh\nexit 3\n"}.items():
            (self.programs / name).write_text(text)
            (self.programs / name).chmod(0o755)

    def play(self, role: str, start: Path | None = None, **variables: Any) -> subprocess.CompletedProcess[str]:
        """Run the role, by ansible-playbook that is started in some folder."""
        given = {
            "application_project_src": str(self.project),
            "application_state_dir": str(self.folder / "state"),
            "application_url": f"http://127.0.0.1:{self.port}",
            "deploy_strategy": "recreate",
            "deploy_health_timeout": 2,
            "deploy_stable_seconds": 0,
            **variables,
        }
        return play_roles(self.folder, [role], {"droplet": given}, programs=self.programs, start=start)

    def restart(self, *failing: str) -> tuple[int, str]:
        """Restart it from a clean state while some commands fail; status and what was printed, in one line."""
        for name in failing:
            (self.programs / f"{name}-fails").touch()
        done = self.play("support_bundle:restart", support_bundle_restart_confirm="shop")
        return done.returncode, " ".join((done.stdout + done.stderr).split())

    def calls(self) -> list[str]:
        """What was asked of the engine, in order, each as its last words."""
        words = [line.split() for line in (self.programs / "calls").read_text().splitlines()]
        return [" ".join(call[call.index("up") :]) for call in words if "up" in call]

    @property
    def runs(self) -> bool:
        """Whether the application has a container."""
        return (self.programs / "ids").exists()


class Healthy(BaseHTTPRequestHandler):
    """The application."""

    def do_GET(self) -> None:
        body = b'{"status": "healthy"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def droplet(tmp_path: Path) -> Iterator[Droplet]:
    server = HTTPServer(("127.0.0.1", 0), Healthy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Droplet(tmp_path, server.server_port)
    server.shutdown()


def test_the_application_is_deployed_though_another_prune_runs(droplet: Droplet) -> None:
    status, said = droplet.restart("prune")
    assert status == 0, said
    assert droplet.runs and any(call.endswith(" backend") for call in droplet.calls())
    assert "stay on droplet: Error response from daemon: a prune operation is already running" in said


def test_the_application_is_started_again_where_the_project_did_not_go_down_whole(droplet: Droplet) -> None:
    status, said = droplet.restart("down")
    assert status != 0 and droplet.runs
    assert "The restart from a clean state failed: " in said and "network shop_default has active endpoints" in said
    assert "backend was down and was started again, as its files say." in said
    assert any(call.endswith(" redis") for call in droplet.calls())


def test_the_cause_is_said_where_the_application_cannot_be_started_again(droplet: Droplet) -> None:
    status, said = droplet.restart("down", "up")
    assert status != 0 and not droplet.runs
    assert "network shop_default has active endpoints" in said.split("backend was down and could not be started")[0]
    assert "no space left on device" in said.split("backend was down and could not be started (")[-1]


def test_the_archive_lies_where_the_operator_is_and_a_folder_of_others_keeps_its_mode(
    droplet: Droplet, tmp_path: Path
) -> None:
    start = tmp_path / "operator"
    start.mkdir()
    folder = start / "support-bundles"
    for mode in (0o700, 0o755):
        done = droplet.play("support_bundle", start)
        assert done.returncode == 0, done.stdout + done.stderr
        assert stat.S_IMODE(folder.stat().st_mode) == mode
        archives = sorted(folder.iterdir())
        assert f"Support bundle of droplet: {archives[-1]}" in done.stdout
        folder.chmod(0o755)
    assert len(archives) == 2 and {stat.S_IMODE(path.stat().st_mode) for path in archives} == {0o600}
    assert not (tmp_path / "support-bundles").exists()
