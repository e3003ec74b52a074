# SPDX-License-Identifier: GPL-3.0-or-later
"""How long the role deploy waits for a healthy answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from role_play import play_roles

VARIABLES = Path(__file__).parents[3] / "roles/deploy/vars/main.yml"
# What is known of the container of before and of the new one, by the seconds that it has in all.
LOOKS: dict[str, dict[str, Any]] = {
    "20": {},
    "20.0": {"deploy_before": {"exists": False, "container": None}, "deploy_up": {"skipped": True}},
    "320": {"deploy_before": {"container": {"start_period": 300.0}}},
    "110": {"deploy_before": {"container": {"start_period": 30.0}}, "deploy_up": {"container": {"start_period": 90.0}}},
}


def test_the_start_period_of_the_service_comes_before_the_time_to_answer(tmp_path: Path) -> None:
    hosts = {
        f"host{index}": {"deploy_health_timeout": 20, "wanted": float(seconds), **looks}
        for index, (seconds, looks) in enumerate(LOOKS.items())
    }
    parts = [
        {"ansible.builtin.include_vars": {"file": str(VARIABLES)}},
        {"ansible.builtin.assert": {"that": "deploy_health_seconds | float == wanted"}},
    ]
    done = play_roles(tmp_path, parts, hosts)
    assert done.returncode == 0, done.stdout
