# SPDX-License-Identifier: GPL-3.0-or-later
"""The role diagnose, run by ansible-playbook on this machine; only the engine, with one dead container, is made up."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from role_play import play_roles

ROOT = Path(__file__).resolve().parents[2]
RECORDED = ROOT / "tests" / "unit" / "plugins" / "module_utils" / "recorded" / "inspect_engine_20.json"
API_KEY = "dev-key-12345"
LOG = f"""\
2025-10-18T02:00:00.000000001Z Process SpawnProcess-1:
2025-10-18T02:00:00.000000002Z Traceback (most recent call last):
2025-10-18T02:00:00.000000003Z SettingsError: bad key {API_KEY}
2025-10-18T02:00:00.100000000Z INFO:     Child process [9] died
2025-10-18T02:00:00.200000000Z ERROR redis refused the connection with {API_KEY}
"""
DOCKER = r"""#!{python}
import json, os, sys
folder = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(folder, "calls"), "a") as calls:
    nested = sys.argv[1] in ("compose", "image")
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    calls.write(" ".join(words[: 1 + nested]) + "\n")
texts = json.load(open(os.path.join(folder, "texts.json")))
sys.stdout.write(texts.get(sys.argv[1], ""))
sys.exit(0 if sys.argv[1] in texts else "Error: there is no such thing")
"""


class Application:
    """A project whose container could not import the application, and its engine."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.state, self.bin = folder, folder / "state", folder / "bin"
        (folder / "compose.yaml").write_text("services:\n  backend:\n    image: x\n")
        self.bin.mkdir()
        docker = self.bin / "docker"
        docker.write_text(DOCKER.format(python=sys.executable))
        docker.chmod(0o755)
        inspect: dict[str, Any] = json.loads(RECORDED.read_text(encoding="utf-8"))[0]
        inspect["State"] |= {"Status": "exited", "Running": False, "ExitCode": 3, "Pid": 0}
        inspect["State"]["StartedAt"] = "2025-10-18T01:59:59Z"
        inspect["Config"]["Cmd"] = ["uvicorn", "main:app", "--workers", "2"]
        label = "com.docker.compose."
        inspect["Config"]["Labels"] |= {
            f"{label}project.working_dir": str(folder),
            f"{label}project.config_files": str(folder / "compose.yaml"),
            f"{label}service": "backend",
        }
        self.texts: dict[str, str] = {
            "ps": inspect["Id"],
            "inspect": json.dumps([inspect]),
            "info": "/\n",
            "logs": LOG,
            "events": "",
        }

    def run(self, tasks_from: str, *options: str, **variables: Any) -> subprocess.CompletedProcess[str]:
        (self.bin / "texts.json").write_text(json.dumps(self.texts))
        host = {
            "application_project_src": str(self.folder),
            "application_state_dir": str(self.state),
            "diagnose_watch": 0,
            "diagnose_minimum_free": 0,
            "diagnose_issues": False,
            **variables,
        }
        roles = [f"diagnose:{tasks_from}"]
        done = play_roles(self.folder, roles, {"localhost": host}, *options, programs=self.bin)
        assert API_KEY not in done.stdout + done.stderr
        return done


@pytest.fixture
def application(tmp_path: Path) -> Application:
    return Application(tmp_path)


def screen(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The findings, without the time in their first line."""
    lines = done.stdout.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("Diagnosis of backend on localhost"))
    return [line for line in lines[first + 1 : lines.index("ok: [localhost]", first)] if " CPU " not in line]


def test_it_shows_the_cause_changes_nothing_and_fails_only_where_that_is_wanted(application: Application) -> None:
    done = application.run("main")
    assert done.returncode == 0, done.stdout
    shown = screen(done)
    assert "NOT RUNNING: the container is exited, with exit code 3." in shown
    assert any(line.startswith("IMPORT_ERROR: the application cannot be imported") for line in shown)
    assert any(line.startswith("  FAIL  Redis in the log   1 in the log's 5 lines") for line in shown)
    assert any(line.startswith("  ?     Redis reachable    container shop-web-1 does not run") for line in shown)
    assert " changed=0 " in done.stdout
    wanted = application.run("main", "--check", diagnose_fail=True)
    assert wanted.returncode != 0
    # This machine's own load may be a finding as well.
    said = "workers: import_error; failed checks: workers,( CPU,)? errors in the log, Redis in the log[.]"
    assert re.search(said, wanted.stdout + wanted.stderr)
    # In check mode it looks and says the same.
    kinds = ("  ok ", "  FAIL", "  ?", "IMPORT_ERROR", "NOT RUNNING")
    assert [line for line in screen(wanted) if line.startswith(kinds) and " free " not in line] == [
        line for line in shown if line.startswith(kinds) and " free " not in line
    ]
    assert not application.state.exists()
    asked = set((application.bin / "calls").read_text().splitlines())
    reading = {"ps", "inspect", "top", "logs", "info", "events", "version", "image inspect", "compose version"}
    assert asked <= {*reading, "compose config", "compose ps"}, asked


def test_before_a_deployment_it_is_kept_and_is_no_change(application: Application) -> None:
    checked = application.run("before", "--check")
    assert checked.returncode == 0 and not application.state.exists()
    done = application.run("before")
    assert done.returncode == 0, done.stdout
    assert " changed=0 " in done.stdout
    assert "Workers of backend: cause import_error (high confidence), 1 died since" in done.stdout
    [file] = application.state.rglob("findings/*.json")
    assert f"Kept in {file}." in done.stdout
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    text = file.read_text(encoding="utf-8")
    assert json.loads(text)["diagnosis"]["cause"] == "import_error" and API_KEY not in text


def test_nothing_to_diagnose_ends_a_diagnosis_and_no_deployment(application: Application) -> None:
    application.texts = {"ps": "", "info": "/\n"}
    done = application.run("main")
    assert done.returncode != 0
    assert "No diagnosis of backend on localhost: " in done.stdout + done.stderr
    assert "the project has no container of service backend" in done.stdout + done.stderr
    first = application.run("before")
    assert first.returncode == 0, first.stdout
    assert "No diagnosis: " in first.stdout and not application.state.exists()


@pytest.mark.parametrize("path", sorted((ROOT / "playbooks").glob("*.yml")), ids=lambda path: path.stem)
def test_each_playbook_that_deploys_diagnoses_before_its_first_change(path: Path) -> None:
    """What comes before only looks: whatever writes or deploys comes after the diagnosis."""
    looks = ("preflight", "application", "check", "retire_check", "jwt_check", "before")
    for play in yaml.safe_load(path.read_text(encoding="utf-8")):
        used = [task.get("ansible.builtin.import_role", {}) for task in play.get("tasks", [])]
        names = [(str(role.get("name", "")).rpartition(".")[2], role.get("tasks_from", "main")) for role in used]
        if ("deploy", "main") not in names:
            continue
        assert ("diagnose", "before") in names
        before = names[: names.index(("diagnose", "before"))]
        assert [name for name in before if not (name[0] in looks or name[1] in looks)] == []


def test_a_long_watch_says_how_it_goes_and_ends_with_the_module(application: Application) -> None:
    application.texts = {"ps": "", "info": "/\n"}
    (application.bin / "texts.json").write_text(json.dumps(application.texts))
    watch: dict[str, Any] = {
        "composeops.hotfix.worker_info": {
            "project_src": str(application.folder),
            "service": "backend",
            "watch": 900,
        },
        "register": "watched",
        "failed_when": False,
    }
    proof = {
        "ansible.builtin.assert": {
            "that": ["'no container of service backend' in watched.msg", "watched.ansible_job_id is not defined"]
        }
    }
    folder = application.folder / "async"
    host = {"ansible_async_dir": str(folder)}
    done = play_roles(application.folder, [watch, proof], {"host": host}, programs=application.bin)
    assert done.returncode == 0, done.stdout
    assert "  host: watched   0 of 900 s: there is no container" in done.stdout
    assert list(folder.iterdir()) == []


def test_an_application_that_is_elsewhere_is_found(application: Application) -> None:
    elsewhere = {"application_project_src": "/nowhere/at/all", "application_service": "unknown"}
    done = application.run("main", **elsewhere)
    assert done.returncode == 0, done.stdout
    said = " ".join(done.stdout.split())
    assert "Diagnosis of backend on localhost" in said
    assert f"shop-web-1: service backend of {application.folder} (compose.yaml)" in said
    # A variable of the command line cannot be set otherwise.
    options = [word for item in elsewhere.items() for word in ("-e", "=".join(item))]
    done = application.run("main", *options)
    assert done.returncode != 0
    said = " ".join((done.stdout + done.stderr).split())
    assert "There is no container of service unknown of /nowhere/at/all on localhost. What there is:" in said
    assert f"-e application_project_src={application.folder} -e application_service=backend" in said


def test_a_project_without_a_container_is_not_taken_for_another_one(application: Application) -> None:
    down = application.folder / "down"
    down.mkdir()
    options = {"application_project_src": str(down), "application_service": "web"}
    # Compose may be unable to read it, and it may have no such service: it is there all the same.
    for text in ("services:\n  web:\n    image: x\n", "services: [", "services:\n  api:\n    image: x\n"):
        (down / "compose.yaml").write_text(text)
        done = application.run("main", **options)
        said = " ".join((done.stdout + done.stderr).split())
        assert done.returncode != 0, done.stdout
        assert f"There is no container of service web of {down} on localhost. Not looked at" in said
        assert f"shop-web-1: -e application_project_src={application.folder} -e application_service=backend." in said
        assert "No diagnosis of web on localhost: " in said
    # Folders that Docker makes for mounts are no project.
    (down / "compose.yaml").unlink()
    done = application.run("main", **options)
    assert done.returncode == 0, done.stdout
    said = " ".join(done.stdout.split())
    assert "Diagnosis of backend on localhost" in said and "There is no container" not in said


def test_where_the_other_issues_cannot_be_looked_at_it_says_why(application: Application) -> None:
    done = application.run("main", diagnose_issues=True)
    assert done.returncode == 0, done.stdout
    assert "The runbook's other issues" in done.stdout
