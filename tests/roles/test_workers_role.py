# SPDX-License-Identifier: GPL-3.0-or-later
"""The role workers, run by ansible-playbook on this machine, where no container runs: it writes files only."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from role_play import play_roles

COMPOSE = """\
services:
  backend:
    image: shop
    # Four, as ever.
    command: uvicorn app:app --workers 4
"""
ENGINE = '#!/bin/sh\n[ "$1" = ps ]\n'
# Values of workers_healthcheck_timeout by host.
REFUSED = {"unit": "30s", "part": "0.5", "word": "abc", "none": 0, "truth": True, "lines": "30\n"}


def run(folder: Path, hosts: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """Run the role on a project for each host, beside an engine that knows no container and no Compose."""
    engine = engine_without_containers(folder)
    for name in hosts:
        (folder / name).mkdir()
        (folder / name / "compose.yml").write_text(COMPOSE)
    variables = {
        name: {"application_project_src": str(folder / name), "workers_healthcheck_timeout": value}
        for name, value in hosts.items()
    }
    return play_roles(folder, ["workers"], variables, programs=engine)


def engine_without_containers(folder: Path) -> Path:
    """The folder of its program."""
    engine = folder / "bin" / "docker"
    engine.parent.mkdir()
    engine.write_text(ENGINE)
    engine.chmod(0o755)
    return engine.parent


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


def test_the_number_that_is_announced_is_the_one_that_is_set_for_that_service_alone(tmp_path: Path) -> None:
    """Between the announcement and the change there is less room, as there is when a worker has grown."""
    limit = "    mem_limit: 1g\n"
    other = "  other:\n    image: shop\n    command: uvicorn app:app --workers 4\n" + limit
    (tmp_path / "compose.yml").write_text(COMPOSE + limit + other)
    variables = {"application_project_src": str(tmp_path), "workers_count": "auto", "workers_memory_per_worker": "250m"}
    smaller = {"path": str(tmp_path / "compose.yml"), "regexp": "1g", "replace": "700m"}
    parts = ["workers:check", {"ansible.builtin.replace": smaller}, "workers"]
    for_another = {"import_role": {"name": "composeops.hotfix.workers"}, "vars": {"application_service": "other"}}
    done = play_roles(
        tmp_path, [*parts, for_another], {"host": variables}, programs=engine_without_containers(tmp_path)
    )
    assert done.returncode == 0, done.stdout
    services = yaml.safe_load((tmp_path / "compose.yml").read_text())["services"]
    # 80 % of 1 GiB have room for three, 80 % of 700 MiB for two.
    assert [services[name]["command"][-1] for name in ("backend", "other")] == ["3", "2"]


@pytest.mark.parametrize("count", ["auto", "2"])
def test_the_arithmetic_of_a_computed_number_is_in_the_report(tmp_path: Path, count: str) -> None:
    (tmp_path / "compose.yml").write_text(COMPOSE + "    mem_limit: 1g\n")
    check = {"issue": "Workers dying", "check": "x", "status": "pass", "evidence": "they live"}
    variables = {
        "application_project_src": str(tmp_path),
        "workers_count": count,
        "workers_memory_per_worker": "250m",
        "verify_results": [check],
        "report_dir": str(tmp_path / "report"),
    }
    engine = engine_without_containers(tmp_path)
    done = play_roles(tmp_path, ["workers:check", "report"], {"host": variables}, programs=engine)
    assert done.returncode == 0, done.stdout
    report = json.loads((tmp_path / "report" / "host.json").read_text())
    arithmetic = (
        "The budget is 819 MiB: the limit of 1.00 GiB less 20% headroom. total(n) = 0 MiB shared + n * 250 MiB per"
    )
    shown = " ".join(done.stdout.split())
    assert (arithmetic in shown) is (count == "auto")
    assert report.get("workers", {}).get("workers") == (3 if count == "auto" else None)
