# SPDX-License-Identifier: GPL-3.0-or-later
"""The role workers, run by ansible-playbook on this machine, where no container runs: it writes files only."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import yaml
from role_play import play_roles

COMPOSE = """\
services:
  backend:
    image: shop
    # Four, as ever.
    command: uvicorn app:app --workers 4
"""
# Values of workers_healthcheck_timeout by host.
REFUSED = {"unit": "30s", "part": "0.5", "word": "abc", "none": 0, "truth": True, "lines": "30\n"}


def run(folder: Path, hosts: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """Run the role on a project for each host, beside an engine that knows no container and no Compose."""
    engine = folder / "bin" / "docker"
    engine.parent.mkdir()
    engine.write_text('#!/bin/sh\n[ "$1" = ps ]\n')
    engine.chmod(0o755)
    for name in hosts:
        (folder / name).mkdir()
        (folder / name / "compose.yml").write_text(COMPOSE)
    variables = {
        name: {"application_project_src": str(folder / name), "workers_healthcheck_timeout": value}
        for name, value in hosts.items()
    }
    return play_roles(folder, ["workers"], variables, programs=engine.parent)


def test_the_time_for_the_workers_health_is_whole_seconds_and_refused_before_anything_is_changed(
    tmp_path: Path,
) -> None:
    done = run(tmp_path, {**REFUSED, "right": "15"})
    said = " ".join(done.stdout.split())
    for name, value in REFUSED.items():
        assert (tmp_path / name / "compose.yml").read_text() == COMPOSE, name
        refusal = f"workers_healthcheck_timeout is '{value}', which uvicorn would not take: give whole seconds"
        assert " ".join(refusal.split()) in said, name
    # No container is no obstacle: there is no server yet that would not take it.
    written = (tmp_path / "right" / "compose.yml").read_text()
    assert written.startswith(COMPOSE.replace("workers 4", "workers 2"))
    service = yaml.safe_load(written)["services"]["backend"]
    assert service["environment"] == {"UVICORN_TIMEOUT_WORKER_HEALTHCHECK": "15"}
