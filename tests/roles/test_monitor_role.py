# SPDX-License-Identifier: GPL-3.0-or-later
"""The role monitor, run by ansible-playbook on this machine, with an engine and a systemd that are made up."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from role_play import play_roles

RECORDED = Path(__file__).resolve().parents[1] / "unit/plugins/module_utils/recorded/inspect_engine_20.json"
ROLES = Path(__file__).resolve().parents[2] / "roles"
TOKEN = "hook-T0ken-9f8e7d6c5b4a39281706"
SYSTEMCTL = r"""#!/bin/sh
cd "$(dirname "$0")"
case "$1" in
  show) echo Version=255 ;;
  is-active) test -e active ;;
  restart) touch active ;;
  stop) rm -f active ;;
  start) eval "$(sed -n 's/^ExecStart=//p' units/"$2")" ;;
esac
"""
DOCKER = r"""#!{python}
import os, sys
folder = os.path.dirname(os.path.abspath(__file__))
words = {{"ps": "{identity}\n", "version": '"26.1.5"', "info": "/", "logs": ""}}
text = open(os.path.join(folder, "inspect")).read() if sys.argv[1] == "inspect" else words.get(sys.argv[1])
sys.exit("not there") if text is None else sys.stdout.write(text)
"""


@pytest.fixture
def host(tmp_path: Path) -> dict[str, Any]:
    """The variables of a host."""
    programs = tmp_path / "bin"
    (programs / "units").mkdir(parents=True)
    inspect = json.loads(RECORDED.read_text())[0]
    inspect["State"].update(Pid=0, Status="running", Running=True)
    inspect["Config"]["Labels"]["com.docker.compose.project.working_dir"] = str(tmp_path)
    inspect["Config"]["Labels"]["com.docker.compose.service"] = "web"
    (programs / "inspect").write_text(json.dumps([inspect]))
    (programs / "systemctl").write_text(SYSTEMCTL)
    (programs / "docker").write_text(DOCKER.format(python=sys.executable, identity=inspect["Id"]))
    for name in ("systemctl", "docker"):
        (programs / name).chmod(0o755)
    (tmp_path / "compose.yaml").write_text("services:\n  web:\n    image: x\n")
    return {
        "application_project_src": str(tmp_path),
        "application_service": "web",
        "application_state_dir": str(tmp_path / "state"),
        # Nobody answers there.
        "application_url": "http://127.0.0.1:1",
        "monitor_webhook": f"http://127.0.0.1:1/{TOKEN}",
        "monitor_outage": 0,
    }


def play(folder: Path, host: dict[str, Any], action: str, *options: str) -> tuple[int, str]:
    # Where units go is for the module alone to say.
    place = {"unit_dir": str(folder / "bin" / "units")}
    defaults = {f"composeops.hotfix.{name}": place for name in ("monitor", "monitor_info")}
    role = {"ansible.builtin.import_role": {"name": "composeops.hotfix.monitor"}}
    task = {"block": [role], "module_defaults": defaults}
    done = play_roles(
        folder, [task], {"box": {**host, "monitor_action": action}}, "-v", *options, programs=folder / "bin"
    )
    output = done.stdout + done.stderr
    assert TOKEN not in output
    return done.returncode, output


def shown(output: str) -> list[str]:
    """The lines that the role shows."""
    lines = output.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("Monitor of web on box"))
    end = next(number for number in range(start, len(lines)) if lines[number].startswith(("ok:", "TASK", "PLAY")))
    return lines[start:end]


def test_each_action_shows_the_verdict_first_on_80_columns(tmp_path: Path, host: dict[str, Any]) -> None:
    code, output = play(tmp_path, host, "start")
    assert code == 0, output
    assert shown(output)[0] == "Monitor of web on box: FAILED"
    assert any("not healthy since" in line for line in shown(output))
    code, output = play(tmp_path, host, "start")
    assert (code, "changed=0" in output) == (0, True), output
    for action in ("status", "report"):
        code, output = play(tmp_path, host, action)
        assert (code, "changed=0" in output) == (0, True), output
        lines = shown(output)
        assert (lines[0], lines[1]) == ("Monitor of web on box: FAILED", "=" * 80)
        assert all(len(line) <= 80 for line in lines)
        assert ("The whole watch" if action == "report" else "The last sample") in lines
    code, output = play(tmp_path, host, "report", "-e", "monitor_fail=true")
    assert (code, "web on box failed: It is not healthy since" in output) == (2, True), output
    code, output = play(tmp_path, host, "stop")
    assert (code, "changed=1" in output) == (0, True), output
    assert "Stopped before its time" in " ".join(shown(output))
    assert list((tmp_path / "bin" / "units").iterdir()) == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('{"level": "error", "message": "chat failed: upstream"}', True),
        ('{"level":"critical"}', True),
        ("2025-10-18 12:00:00 ERROR x", True),
        ("web | Traceback (most recent call last):", True),
        ('{"level": "info", "message": "no error"}', False),
        ("0 errors", False),
    ],
)
def test_the_roles_look_for_the_same_lines_with_errors(line: str, found: bool) -> None:
    regex = yaml.safe_load((ROLES / "application" / "vars" / "main.yml").read_text())["application_error_lines"]
    assert bool(re.search(regex, line)) is found
    for role, variable in (("monitor", "patterns"), ("diagnose", "error_patterns"), ("verify", "patterns")):
        patterns = yaml.safe_load((ROLES / role / "defaults" / "main.yml").read_text())[f"{role}_{variable}"]
        assert "{{ application_error_lines }}" in [pattern["regex"] for pattern in patterns]


def test_what_the_watch_looks_for_is_known_on_the_host(tmp_path: Path, host: dict[str, Any]) -> None:
    code, output = play(tmp_path, host, "start")
    assert code == 0, output
    (kept,) = tmp_path.glob("state/*/monitor/settings.json")
    (pattern,) = [one for one in json.loads(kept.read_text())["patterns"] if one["name"] == "errors in the log"]
    assert re.search(pattern["regex"], '{"level": "error"}') and not re.search(pattern["regex"], "fine")


def test_ways_of_blanks_are_none(tmp_path: Path, host: dict[str, Any]) -> None:
    code, output = play(tmp_path, {**host, "monitor_webhook": " ", "monitor_command": "  "}, "start")
    assert (code, shown(output)[0]) == (0, "Monitor of web on box: FAILED"), output
    (kept,) = tmp_path.glob("state/*/monitor/notify.json")
    assert json.loads(kept.read_text()) == {}


def test_who_records_what_tasks_are_told_does_not_get_whom_the_watch_tells(
    tmp_path: Path, host: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = tmp_path / "recorded"
    monkeypatch.setenv("ANSIBLE_CALLBACK_PLUGINS", str(ROLES.parent / "tests" / "leaks" / "callbacks"))
    monkeypatch.setenv("ANSIBLE_CALLBACKS_ENABLED", "dump_results")
    monkeypatch.setenv("DUMP_RESULTS", str(recorded))
    code, output = play(tmp_path, {**host, "monitor_command": f"cat {TOKEN}"}, "start", "--diff")
    assert code == 0, output
    (kept,) = tmp_path.glob("state/*/monitor/notify.json")
    assert kept.read_text().count(TOKEN) == 2
    assert '"url": "http://127.0.0.1:1/api/v1/health"' in recorded.read_text()
    assert TOKEN not in recorded.read_text()


def test_a_wrong_word_fails_with_the_choices(tmp_path: Path, host: dict[str, Any]) -> None:
    code, output = play(tmp_path, host, "begin")
    assert code != 0
    assert "value of monitor_action must be one of: start, status, report, stop, got: begin" in output
    assert not (tmp_path / "state").exists()


def test_without_a_watch_it_is_said_how_to_start_one(tmp_path: Path, host: dict[str, Any]) -> None:
    code, output = play(tmp_path, host, "status")
    assert code == 0, output
    assert shown(output) == [
        "Monitor of web on box: UNKNOWN",
        "=" * 80,
        "There is no watch. Start one with: -e monitor_action=start",
    ]
