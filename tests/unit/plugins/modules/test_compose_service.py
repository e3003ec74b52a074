# SPDX-License-Identifier: GPL-3.0-or-later
"""The module compose_service, run as Ansible runs it."""

from __future__ import annotations

import itertools
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from compose_binary import BY_VERSION

BASE = """\
# the shop
services:
  backend:
    image: app  # built elsewhere
    environment:
      WEB_CONCURRENCY: 4
      API_TOKEN: hunter2-in-the-file
    deploy:
      restart_policy:
        condition: on-failure
        max_attempts: 3

  redis:
    image: redis
"""
FIXED = BASE.replace(
    "    deploy:\n      restart_policy:\n        condition: on-failure\n        max_attempts: 3\n",
    "    restart: unless-stopped\n",
)
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "docker-compose.yml").write_text(BASE)
    return folder


@pytest.fixture
def no_docker(tmp_path: Path) -> dict[str, str]:
    """An environment whose docker command has no Compose."""
    return shim(tmp_path / "no-compose", "exit 1")


@pytest.fixture(params=BY_VERSION.values(), ids=BY_VERSION)
def compose(tmp_path: Path, request: pytest.FixtureRequest) -> dict[str, str]:
    """An environment whose docker command hands ``docker compose`` on to Compose, as Docker does."""
    return shim(tmp_path / "compose", hand_on(request.param))


def hand_on(program: str) -> str:
    return f'[ "$1" = compose ] || exit 1\nshift\nexec {program} "$@"'


def shim(folder: Path, body: str) -> dict[str, str]:
    folder.mkdir()
    program = folder / "docker"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    old = folder / "docker-compose"
    old.write_text("#!/bin/sh\necho 'docker-compose version 1.29.2'\n")
    old.chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


def rhythm(run_module: Run, args: dict[str, Any], env: dict[str, str]) -> dict[str, Any]:
    """Check, run, check again, run again: predicted, done, nothing left to do. Returns the first run's result."""
    folder = Path(args["project_src"])
    before = contents(folder)
    checked = run_module("compose_service", args, check=True, env=env)
    assert contents(folder) == before, "check mode has changed something"
    done = run_module("compose_service", args, env=env)
    assert checked["changed"] and done["changed"]
    for key in ("file", "changed_files", "restart_policy", "validated", "validation", "diff"):
        assert checked[key] == done[key], f"{key} was predicted wrongly"
    after = contents(folder)
    for check in (True, False):
        again = run_module("compose_service", args, check=check, env=env)
        assert not again["changed"] and not again["diff"]
        assert again["restart_policy"] == done["restart_policy"]
        assert contents(folder) == after
    return done


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_restart_policy_that_comes_back(run_module: Run, project: Path, no_docker: dict[str, str]):
    args = {
        "project_src": str(project),
        "service": "backend",
        "restart": "unless-stopped",
        "absent": ["deploy.restart_policy"],
    }
    result = rhythm(run_module, args, no_docker)
    file = project / "docker-compose.yml"
    assert file.read_text() == FIXED
    assert result["file"] == str(file)
    assert result["files"] == result["changed_files"] == [str(file)]
    assert result["validated"] is False
    assert result["validation"].startswith("Compose has not checked the files: only docker-compose 1.29.2 is installed")
    assert "backup_file" not in result
    assert result["restart_policy"] == {
        "written": {"restart": "unless-stopped"},
        "effective": {"name": "unless-stopped", "maximum_retry_count": 0},
        "survives_reboot": True,
        "notes": ["It comes back after a crash and after a reboot, unless somebody stopped it before."],
    }


def test_pair_of_the_runbook_is_written_and_explained(run_module: Run, project: Path, no_docker: dict[str, str]):
    args = {
        "project_src": str(project),
        "service": "redis",
        "restart": "unless-stopped",
        "deploy_restart_policy": {"condition": "on-failure", "max_attempts": 3},
    }
    policy = rhythm(run_module, args, no_docker)["restart_policy"]
    added = "    restart: unless-stopped\n    deploy:\n      restart_policy:\n        condition: on-failure\n"
    assert (project / "docker-compose.yml").read_text() == BASE + added + "        max_attempts: 3\n"
    assert policy["written"] == {
        "restart": "unless-stopped",
        "deploy_restart_policy": {"condition": "on-failure", "max_attempts": 3},
    }
    assert policy["effective"] == {"name": "on-failure", "maximum_retry_count": 3}
    assert policy["survives_reboot"] is False
    assert policy["notes"][0].startswith("`restart: unless-stopped` is discarded by Compose")
    assert any("stays down after a reboot" in note for note in policy["notes"])
    assert any("crash number 4" in note for note in policy["notes"])


def test_nothing_wanted_tells_about_the_service(run_module: Run, project: Path, no_docker: dict[str, str]):
    result = run_module("compose_service", {"project_src": str(project), "service": "backend"}, env=no_docker)
    assert not result["changed"]
    assert result["diff"] == []
    assert result["file"] == str(project / "docker-compose.yml")
    assert result["restart_policy"]["effective"] == {"name": "on-failure", "maximum_retry_count": 3}


def test_restart_no_is_the_word(run_module: Run, project: Path, no_docker: dict[str, str]):
    args = {"project_src": str(project), "service": "redis", "restart": False}
    result = rhythm(run_module, args, no_docker)
    assert (project / "docker-compose.yml").read_text() == BASE + '    restart: "no"\n'
    assert result["restart_policy"]["effective"]["name"] == "no"


@pytest.mark.parametrize("command", ["uvicorn app --workers 2", ["uvicorn", "app", "--workers", "2"]])
def test_command(run_module: Run, project: Path, no_docker: dict[str, str], command: Any):
    rhythm(run_module, {"project_src": str(project), "service": "redis", "command": command}, no_docker)
    shown = json.dumps(command) if isinstance(command, list) else command
    assert (project / "docker-compose.yml").read_text() == BASE + f"    command: {shown}\n"


def test_environment_keeps_its_form(run_module: Run, project: Path, no_docker: dict[str, str]):
    args = {
        "project_src": str(project),
        "service": "backend",
        "environment": {"WEB_CONCURRENCY": 2, "DEBUG": False, "FROM_HOST": None},
    }
    rhythm(run_module, args, no_docker)
    wanted = BASE.replace("WEB_CONCURRENCY: 4", "WEB_CONCURRENCY: 2").replace(
        "in-the-file\n", 'in-the-file\n      DEBUG: "false"\n      FROM_HOST: null\n'
    )
    assert (project / "docker-compose.yml").read_text() == wanted


def test_environment_as_a_list(run_module: Run, project: Path, no_docker: dict[str, str]):
    text = "services:\n  backend:\n    environment:\n      - A=1\n      - B=2  # two\n    image: app\n"
    (project / "docker-compose.yml").write_text(text)
    args = {
        "project_src": str(project),
        "service": "backend",
        "environment": {"B": "3", "C": "4"},
        "absent": ["environment.A"],
    }
    rhythm(run_module, args, no_docker)
    wanted = text.replace("      - A=1\n", "").replace("B=2  # two\n", "B=3  # two\n      - C=4\n")
    assert (project / "docker-compose.yml").read_text() == wanted


def test_secrets_are_not_shown(run_module: Run, project: Path, no_docker: dict[str, str]):
    """Neither the file's own nor the new one; short ones and values that are no secrets are."""
    args = {
        "project_src": str(project),
        "service": "backend",
        "environment": {"API_TOKEN": "swordfish-new", "DB_PASSWORD": "s3cr", "MODE": "fast"},
        "backup": True,
    }
    result = run_module("compose_service", args, env=no_docker)
    written = (project / "docker-compose.yml").read_text()
    assert "API_TOKEN: swordfish-new" in written and "DB_PASSWORD: s3cr" in written
    printed = json.dumps(result)
    for secret in ("hunter2", "swordfish", "s3cr"):
        assert secret not in printed
    (difference,) = result["diff"]
    assert "API_TOKEN: sha256:" in difference["before"] and "API_TOKEN: sha256:" in difference["after"]
    assert difference["before"] != difference["after"]
    assert "MODE: fast" in difference["after"]
    assert stat.S_IMODE(os.stat(result["backup_file"]).st_mode) == 0o600
    assert Path(result["backup_file"]).read_text() == BASE


def test_each_key_changes_where_it_comes_from(run_module: Run, project: Path, no_docker: dict[str, str]):
    override = project / "docker-compose.override.yml"
    override.write_text("services:\n  backend:\n    restart: always # here\n")
    args = {
        "project_src": str(project),
        "service": "backend",
        "restart": "unless-stopped",
        "absent": ["deploy.restart_policy"],
        "backup": True,
    }
    result = rhythm(run_module, {**args, "backup": False}, no_docker)
    base = project / "docker-compose.yml"
    assert base.read_text() == FIXED.replace("    restart: unless-stopped\n", "")
    assert override.read_text() == "services:\n  backend:\n    restart: unless-stopped # here\n"
    assert result["changed_files"] == result["files"] == [str(base), str(override)]
    assert len(result["diff"]) == 2


def test_backup_of_each_file_and_pruning(run_module: Run, project: Path, no_docker: dict[str, str]):
    args = {"project_src": str(project), "service": "backend", "backup": True, "backup_keep": 2}
    for restart in ("always", "no", "unless-stopped"):
        result = run_module("compose_service", {**args, "restart": restart}, env=no_docker)
        assert Path(result["backup_file"]).exists()
        assert result["backup_files"] == [result["backup_file"]]
    assert len(list(project.glob("*.bak"))) == 2
    unchanged = run_module("compose_service", {**args, "restart": "unless-stopped"}, env=no_docker)
    assert "backup_file" not in unchanged
    assert len(list(project.glob("*.bak"))) == 2


def test_override_file_is_made(run_module: Run, project: Path, no_docker: dict[str, str]):
    args = {
        "project_src": str(project),
        "service": "backend",
        "restart": "unless-stopped",
        "absent": ["deploy.restart_policy"],
        "target": "override",
        "backup": True,
    }
    result = rhythm(run_module, args, no_docker)
    override = project / "docker-compose.override.yml"
    assert (project / "docker-compose.yml").read_text() == BASE
    assert override.read_text() == (
        "services:\n  backend:\n    restart: unless-stopped\n    deploy:\n      restart_policy: !reset null\n"
    )
    assert stat.S_IMODE(override.stat().st_mode) == 0o644
    assert result["file"] == str(override)
    assert result["files"][-1] == str(override)
    assert "backup_file" not in result
    assert result["diff"][0]["before_header"] == f"{override} (absent)"
    assert result["restart_policy"]["effective"] == {"name": "unless-stopped", "maximum_retry_count": 0}


def test_override_takes_back_what_would_be_merged_in(run_module: Run, project: Path, no_docker: dict[str, str]):
    """max_attempts of the other file with the condition any would make Docker refuse the container."""
    args = {
        "project_src": str(project),
        "service": "backend",
        "deploy_restart_policy": {"condition": "any"},
        "target": "override",
    }
    result = rhythm(run_module, args, no_docker)
    assert (
        (project / "docker-compose.override.yml")
        .read_text()
        .endswith("        condition: any\n        max_attempts: !reset null\n")
    )
    assert result["restart_policy"]["effective"] == {"name": "always", "maximum_retry_count": 0}


def test_override_for_a_service_behind_an_anchor(run_module: Run, project: Path, no_docker: dict[str, str]):
    (project / "docker-compose.yml").write_text(
        "services:\n  backend: &app\n    image: app\n    restart: always\n  worker: *app\n"
    )
    args = {"project_src": str(project), "service": "backend", "restart": "no"}
    failed = run_module("compose_service", args, env=no_docker, expect_failure=True)
    assert "belongs to an anchor that is used in other places too" in failed["msg"]
    assert "Set target to override" in failed["msg"]
    result = rhythm(run_module, {**args, "target": "override"}, no_docker)
    assert result["restart_policy"]["effective"]["name"] == "no"


def test_compose_accepts(run_module: Run, project: Path, compose: dict[str, str]):
    args = {
        "project_src": str(project),
        "service": "backend",
        "restart": "unless-stopped",
        "absent": ["deploy.restart_policy", "environment.API_TOKEN"],
    }
    assert rhythm(run_module, args, compose)["validated"] is True
    override = {**args, "service": "redis", "command": ["redis-server"], "absent": [], "target": "override"}
    assert rhythm(run_module, override, compose)["validated"] is True
    assert run_module("compose_service", args, env=compose)["validated"] is True


def test_compose_refuses_the_change(run_module: Run, project: Path, compose: dict[str, str]):
    args = {
        "project_src": str(project),
        "service": "backend",
        "environment": {"API_TOKEN": "swordfish${", "MODE": "x"},
    }
    before = contents(project)
    for check in (True, False):
        result = run_module("compose_service", args, check=check, env=compose, expect_failure=True)
        assert "invalid interpolation format for services.backend.environment.API_TOKEN" in result["msg"]
        assert "Nothing was changed; without the change Compose accepts the files" in result["msg"]
        assert "swordfish" not in json.dumps(result)
        assert ".tmp" not in result["msg"]
        assert contents(project) == before


def test_compose_refuses_the_project_as_it_is(run_module: Run, project: Path, compose: dict[str, str]):
    (project / "docker-compose.yml").write_text(BASE.replace("image: redis", "imagee: redis"))
    for args in ({}, {"restart": "always"}):
        result = run_module(
            "compose_service",
            {"project_src": str(project), "service": "backend", **args},
            env=compose,
            expect_failure=True,
        )
        assert "docker-compose.yml" in result["msg"] and "imagee" in result["msg"]
        assert "correct that first, it is so without any change" in result["msg"]


ERRORS = [
    (
        "no_directory",
        {"project_src": "/nowhere/at/all"},
        "/nowhere/at/all: there is no such directory. Check project_src.",
    ),
    ("no_service", {"service": "web"}, "there is no service web in docker-compose.yml; there is backend, redis"),
    ("no_file", {"files": ["compose.prod.yml"]}, "the option files names this Compose file, which is not there"),
    ("odd_restart", {"restart": "sometimes"}, "restart is 'sometimes'. Give no, always, unless-stopped, on-failure"),
    ("odd_command", {"command": {"a": 1}}, "command is neither a text nor a list of words"),
    ("odd_variable", {"environment": {"A B": "1"}}, "environment has a name with a blank"),
    ("deep_variable", {"environment": {"A": {"b": 1}}}, "the value of A in environment is no text"),
    ("empty_policy", {"deploy_restart_policy": {}}, "deploy_restart_policy is empty"),
    ("set_and_absent", {"restart": "no", "absent": ["restart"]}, "restart is to be set and to be absent"),
    ("empty_absent", {"absent": ["deploy."]}, "absent holds an empty key"),
    (
        "no_override",
        {"files": ["docker-compose.yml"], "target": "override", "restart": "always"},
        "Compose would not load an override file, since the option files names its files",
    ),
]


@pytest.mark.parametrize(("args", "message"), [case[1:] for case in ERRORS], ids=[case[0] for case in ERRORS])
def test_bad_input(run_module: Run, project: Path, no_docker: dict[str, str], args: dict[str, Any], message: str):
    before = contents(project)
    options = {"project_src": str(project), "service": "backend", **args}
    result = run_module("compose_service", options, env=no_docker, expect_failure=True)
    assert message in result["msg"]
    assert "Traceback" not in json.dumps(result)
    assert contents(project) == before


def test_broken_yaml_names_file_and_line(run_module: Run, project: Path, no_docker: dict[str, str]):
    (project / "docker-compose.yml").write_text("services:\n  backend:\n    image: [app\n")
    result = run_module(
        "compose_service", {"project_src": str(project), "service": "backend"}, env=no_docker, expect_failure=True
    )
    assert f"{project}/docker-compose.yml:4: not readable as YAML" in result["msg"]


class Layout(NamedTuple):
    """A project, the options for it, and the files after the run that differ.

    :ivar checked: whether Compose can read the result before it is written.
    """

    files: dict[str, str]
    options: dict[str, Any]
    changed: dict[str, str]
    checked: bool = True


IMAGE = "services:\n  backend:\n    image: app\n"
RESTART = "    restart: unless-stopped\n"
FOLDER = {
    ".env": "COMPOSE_FILE=deploy/base.yml:deploy/site.override.yml\nTAG=7\n",
    "deploy/base.yml": "services:\n  backend:\n    image: app:${TAG:?}\n    env_file: app.env\n",
    "deploy/app.env": "A=1\n",
    "deploy/site.override.yml": "services:\n  backend:\n    user: app\n",
    "compose.yaml": "services: {other: {image: x}}\n",
}
LAYOUTS = {
    "compose_file": Layout(FOLDER, {}, {"deploy/base.yml": FOLDER["deploy/base.yml"] + RESTART}),
    "compose_file_override": Layout(
        FOLDER, {"target": "override"}, {"deploy/site.override.yml": FOLDER["deploy/site.override.yml"] + RESTART}
    ),
    "files": Layout(
        {"a.yml": IMAGE, "b.yml": "services:\n  backend:\n    restart: always\n", "compose.yaml": "services: {}\n"},
        {"files": ["a.yml", "b.yml"]},
        {"b.yml": "services:\n  backend:\n    restart: unless-stopped\n"},
    ),
    "files_in_a_folder": Layout(
        {"deploy/.env": "TAG=1\n", **{name: text for name, text in FOLDER.items() if name.startswith("deploy/")}},
        {"files": ["deploy/base.yml"]},
        {"deploy/base.yml": FOLDER["deploy/base.yml"] + RESTART},
    ),
    "files_with_override": Layout(
        {"a.yml": IMAGE, "a.override.yml": "services: {}\n"},
        {"files": ["a.yml", "a.override.yml"], "target": "override"},
        {"a.override.yml": "services: {backend: {restart: unless-stopped}}\n"},
    ),
    "service_in_the_override_only": Layout(
        {"compose.yaml": "services:\n  redis:\n    image: redis\n", "compose.override.yaml": IMAGE},
        {},
        {"compose.override.yaml": IMAGE + RESTART},
    ),
    "extends_in_the_file": Layout(
        {"compose.yaml": "services:\n  base:\n    image: app\n    restart: always\n  backend:\n    extends: base\n"},
        {},
        {
            "compose.yaml": "services:\n  base:\n    image: app\n    restart: always\n  backend:\n    extends: base\n"
            + RESTART
        },
    ),
    "extends_of_another_file": Layout(
        {
            "common/base.yml": IMAGE.replace("backend", "base"),
            "compose.yaml": "services:\n  backend:\n    extends: {file: common/base.yml, service: base}\n",
        },
        {},
        {"compose.yaml": "services:\n  backend:\n    extends: {file: common/base.yml, service: base}\n" + RESTART},
    ),
    "include": Layout(
        {
            "api/compose.yaml": IMAGE,
            "compose.yaml": "include: [api/compose.yaml]\nservices:\n  redis: {image: redis}\n",
        },
        {},
        {"api/compose.yaml": IMAGE + RESTART},
        checked=False,
    ),
}


@pytest.mark.parametrize(
    ("layout", "program"),
    list(zip(LAYOUTS.values(), itertools.cycle(BY_VERSION.values()))),
    ids=[name for name, _program in zip(LAYOUTS, itertools.cycle(BY_VERSION))],
)
def test_layout(run_module: Run, tmp_path: Path, layout: Layout, program: str):
    """The versions of Compose take turns."""
    folder = tmp_path / "shop"
    for name, text in layout.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    args = {"project_src": str(folder), "service": "backend", "restart": "unless-stopped", **layout.options}
    result = rhythm(run_module, args, shim(tmp_path / "compose", hand_on(program)))
    assert contents(folder) == {**layout.files, **layout.changed}
    assert result["changed_files"] == [str(folder / name) for name in layout.changed]
    assert result["restart_policy"]["effective"]["name"] == "unless-stopped"
    assert result["validated"] is layout.checked, result["validation"]
    if layout.checked:
        assert result["validation"] == "docker compose config accepts the files."
    else:
        assert result["validation"].startswith(
            f"Compose has not checked the files: others include or extend {folder}/api"
        )


def test_folder_that_cannot_be_written(run_module: Run, project: Path, compose: dict[str, str]):
    """Nothing can be changed, and what needs no change is told all the same."""
    args = {"project_src": str(project), "service": "backend"}
    subprocess.run(["mount", "--bind", "-o", "ro", str(project), str(project)], check=False, capture_output=True)
    if os.access(project, os.W_OK):
        pytest.skip("nothing can be mounted here")
    try:
        for options in ({"restart": "always"}, {"restart": "always", "target": "override"}):
            messages = set()
            for check in (True, False):
                failed = run_module(
                    "compose_service", {**args, **options}, check=check, env=compose, expect_failure=True
                )
                messages.add(failed["msg"])
            (message,) = messages
            assert message.startswith(f"{project}/docker-compose.") and "Read-only file system" in message
        told = run_module("compose_service", args, env=compose)
        assert not told["changed"] and told["validated"]
    finally:
        subprocess.run(["umount", str(project)], check=True)
    assert contents(project) == {"docker-compose.yml": BASE}


def test_without_pyyaml_it_says_which_package_is_missing(run_module: Run, tmp_path: Path) -> None:
    (tmp_path / "docker-compose.yml").write_text("services: {backend: {image: x}}\n")
    (tmp_path / "yaml.py").write_text("raise ImportError\n")
    args = {"project_src": str(tmp_path), "service": "backend", "restart": "always"}
    path = os.pathsep.join([str(tmp_path), *sys.path])
    result = run_module("compose_service", args, expect_failure=True, env={"PYTHONPATH": path})
    assert "PyYAML is missing on this host. Install it: apt-get install python3-yaml" in result["msg"]
