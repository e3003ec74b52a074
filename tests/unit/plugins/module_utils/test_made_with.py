# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the number of workers is all in which a container differs from its files.

Real Compose programs say what the files mean and which hash they have; what they label a container with was compared
with that on engines, for 2.26.1, 2.40.3 and 5.6.1. The engine here is made up: it knows two images.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils import _compose_file
from ansible_collections.composeops.hotfix.plugins.module_utils._container import LABEL, Completed, Docker
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._made_with import (
    Made,
    copied_in,
    difference,
    numbered,
    of_service,
    outdated,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._server_settings import settings
from compose_binary import BY_VERSION


@pytest.mark.parametrize(
    ("service", "config", "found"),
    [
        ({}, {}, False),
        ({"configs": [{"source": "a"}]}, {"configs": {"a": {"content": "x"}}}, True),
        ({"configs": [{"source": "a"}]}, {"configs": {"a": {"file": "./x"}, "b": {"content": "x"}}}, False),
        ({"secrets": [{"source": "a"}]}, {"secrets": {"a": {"environment": "X"}}}, True),
        ({"secrets": [{"source": "a"}]}, {"secrets": {"a": {"file": "./x"}}}, False),
        ({"post_start": [{"command": "x"}]}, {}, True),
    ],
)
def test_what_compose_puts_into_a_container_that_is_made(service: Any, config: Any, found: bool) -> None:
    assert copied_in({"services": {"web": service}, **config}, "web") is found


UVICORN = ["uvicorn", "app:app", "--workers", "4"]


def made(command: list[str], entrypoint: list[str] | None = None, **variables: str) -> Made:
    return Made(entrypoint or [], command, variables)


NUMBERS = [
    (made(UVICORN), 4),
    (made(["uvicorn", "app:app", "--workers=4"]), 4),
    (made(["uvicorn", "app:app"], WEB_CONCURRENCY="3"), 3),
    (made(["uvicorn", "app:app"], WEB_CONCURRENCY="3", UVICORN_WORKERS="2"), 2),
    (made([*UVICORN], WEB_CONCURRENCY="3"), 4),
    (made(["uvicorn", "app:app"]), 1),
    (made(["gunicorn", "app:app", "-w4"]), 4),
    (made(["gunicorn", "app:app"], GUNICORN_CMD_ARGS="--workers 5 --threads 2"), 5),
    (made(["gunicorn", "app:app"]), None),
    (made(["sh", "-c", "exec uvicorn app:app --workers ${N:-4}"]), 4),
    (made(["sh", "-c", "exec uvicorn app:app --workers ${N:-4}"], N="2"), 2),
    (made(["app:app", "--workers", "4"], ["tini", "--", "uvicorn"]), 4),
]


@pytest.mark.parametrize(("what", "number"), NUMBERS)
def test_the_number_that_a_restart_brings(what: Made, number: int | None) -> None:
    assert settings([], [*what.entrypoint, *what.command], what.variables, None, None).workers == number


@pytest.mark.parametrize(("what", "number"), [(what, number) for what, number in NUMBERS if number not in (None, 1)])
def test_nothing_but_the_number_is_taken_out(what: Made, number: int) -> None:
    found = numbered(what)
    both = [*found.words, *(f"{name}={value}" for name, value in found.variables.items())]
    before = [*what.entrypoint, *what.command, *(f"{name}={value}" for name, value in what.variables.items())]
    changed = [(old, new) for old, new in zip(before, both) if old != new]
    assert len(changed) == 1
    assert changed[0][1] == changed[0][0].replace(str(number), "#")


def test_an_entrypoint_in_compose_makes_the_command_of_the_image_void() -> None:
    image = {"Config": {"Entrypoint": ["a"], "Cmd": ["b"], "Env": ["PATH=/bin", "X=1"]}}
    assert of_service({}, image) == (["a"], ["b"], {"PATH": "/bin", "X": "1"})
    assert of_service({"entrypoint": ["c"]}, image)[:2] == (["c"], [])
    assert of_service({"command": ["d"]}, image)[:2] == (["a"], ["d"])
    assert of_service({"environment": {"X": "2", "Y": None}}, image)[2] == {"PATH": "/bin", "X": "2"}


FILES = {
    "docker-compose.yml": """
services:
  backend:
    build: .
    image: shop
    command: uvicorn app:app --workers ${WORKERS:-4} --log-level info
    env_file: .env
    environment:
      PRICE: "5$$"
    depends_on: [redis]
    mem_limit: 512m
    ports: ["8000:8000"]
  redis:
    image: redis
""",
    ".env": "TOKEN=very-secret-token\nMAIL='a$b'\n",
}


class Project:
    """A project, a container made from it, and an engine that knows both."""

    def __init__(self, folder: Path, binary: str) -> None:
        self.folder, self.binary = folder, binary
        self.files = dict(FILES)
        self.old: dict[str, Any] = {
            "Id": "sha256:1",
            "RootFS": {"Layers": ["a", "b"]},
            "Config": {"Entrypoint": None, "Cmd": UVICORN, "Env": ["PATH=/bin"], "User": "app", "Labels": None},
        }
        self.new = self.old
        self.inspect: dict[str, Any] = {}
        self.missing = ""
        # The folder for temporary files, as it was each time that Compose was started.
        self.temporary: list[list[str]] = []

    def write(self) -> None:
        for name, text in self.files.items():
            (self.folder / name).write_text(text)

    def edit(self, name: str, old: str, new: str) -> None:
        assert old in self.files[name]
        self.files[name] = self.files[name].replace(old, new)

    def rebuild(self, layers: tuple[str, ...] = ("a", "b"), **config: Any) -> None:
        root = {"Layers": list(layers)}
        self.new = {**self.old, "Id": "sha256:2", "RootFS": root, "Config": {**self.old["Config"], **config}}

    def run(self, argv: list[str], **options: Any) -> Completed:
        """The command ``docker``: Compose for real, the engine from memory."""
        words = argv[1:]
        if words[0] == "compose":
            self.temporary.append(os.listdir(tempfile.gettempdir()))
            done = subprocess.run(
                [self.binary, *words[1:]],
                cwd=options["cwd"],
                env=options["env"],
                input=options.get("stdin", ""),
                capture_output=True,
                text=True,
                check=False,
            )
            return Completed(done.returncode, done.stdout, done.stderr)
        if words[0] == "ps":
            # No container of the project has a name of its own to give to it.
            return Completed(0, "", "")
        if self.missing:
            return Completed(1, "[]", self.missing)
        assert words[:2] == ["image", "inspect"]
        if words[2] == "--format={{.Id}}":
            return Completed(0, self.new["Id"] + "\n", "")
        return Completed(0, json.dumps([self.old, self.new]), "")

    def docker(self) -> Docker:
        docker = Docker(self.run)
        docker.command = lambda *args: ["docker", *args]
        docker._compose = ["docker", "compose"], "2"
        return docker

    def start(self) -> None:
        """Make the container from the files as they are."""
        self.write()
        docker = self.docker()
        text = docker.compose(str(self.folder), [], "config", "--format", "json", "backend")
        resolved = self.folder / "resolved"
        resolved.write_text(text)
        service = json.loads(text.replace("$$", "$"))["services"]["backend"]
        words = ("--profile=*", "config", "--hash", "backend")
        hashed = docker.compose(str(self.folder), [str(resolved)], *words).split()[-1]
        inner = of_service(service, self.old)
        self.inspect = {
            "Image": self.old["Id"],
            "Config": {
                "Image": "shop",
                "Entrypoint": inner.entrypoint,
                "Cmd": inner.command,
                "Env": [f"{name}={value}" for name, value in inner.variables.items()],
                "Labels": {f"{LABEL}config-hash": hashed},
            },
        }

    def difference(self) -> str | None:
        self.write()
        found = difference(self.docker(), _compose_file.Project.load(str(self.folder)), [], "backend", self.inspect)
        assert found.image_id == self.new["Id"]
        return found.reason

    def outdated(self) -> bool:
        self.write()
        return outdated(self.docker(), _compose_file.Project.load(str(self.folder)), [], "backend", self.inspect)


@pytest.fixture(params=BY_VERSION)
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    return Project(tmp_path, BY_VERSION[request.param])


COMPOSE = "docker-compose.yml"
NUMBER_ALONE: dict[str, tuple[Callable[[Project], None], Callable[[Project], None]]] = {
    "nothing": (lambda p: None, lambda p: None),
    "the default of a variable": (lambda p: None, lambda p: p.edit(COMPOSE, ":-4", ":-2")),
    "a variable in .env, which is in the environment too": (
        lambda p: p.edit(".env", "TOKEN", "WORKERS=4\nTOKEN"),
        lambda p: p.edit(".env", "WORKERS=4", "WORKERS=2"),
    ),
    "the Dockerfile's command": (
        lambda p: p.edit(COMPOSE, "    command: uvicorn app:app --workers ${WORKERS:-4} --log-level info\n", ""),
        lambda p: p.rebuild(Cmd=["uvicorn", "app:app", "--workers", "2"]),
    ),
    "a shell's variable with dollar signs about": (
        lambda p: p.edit(
            COMPOSE, "uvicorn app:app --workers ${WORKERS:-4}", 'sh -c "echo $$HOME; uvicorn app:app -- --workers 4"'
        ),
        lambda p: p.edit(COMPOSE, "--workers 4", "--workers 2"),
    ),
}


@pytest.mark.parametrize("case", NUMBER_ALONE)
def test_compose_would_make_another_container_of_whatever_has_changed(project: Project, case: str) -> None:
    before, after = NUMBER_ALONE[case]
    before(project)
    project.start()
    assert not project.outdated()
    after(project)
    assert project.outdated() is (case != "nothing")


@pytest.mark.parametrize("case", NUMBER_ALONE)
def test_only_the_number_has_changed(project: Project, case: str) -> None:
    before, after = NUMBER_ALONE[case]
    before(project)
    project.start()
    after(project)
    assert project.difference() is None


def test_only_a_variable_of_the_server_has_changed(project: Project) -> None:
    project.edit(COMPOSE, " --workers ${WORKERS:-4}", "")
    project.edit(COMPOSE, '      PRICE: "5$$"', '      PRICE: "5$$"\n      WEB_CONCURRENCY: 4')
    project.start()
    project.edit(COMPOSE, "WEB_CONCURRENCY: 4", "WEB_CONCURRENCY: 2")
    assert project.difference() is None


def test_a_service_whose_profile_is_not_active(project: Project) -> None:
    project.edit(COMPOSE, "    mem_limit", "    profiles: [production]\n    mem_limit")
    project.start()
    assert project.difference() is None
    project.edit(COMPOSE, ":-4", ":-2")
    assert project.difference() is None
    project.edit(COMPOSE, "512m", "1g")
    assert project.difference() is not None


def test_a_variable_of_the_shell_does_not_count(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.edit(".env", "TOKEN", "LEVEL=info\nTOKEN")
    project.edit(COMPOSE, "--log-level info", "--log-level ${LEVEL}")
    project.start()
    monkeypatch.setenv("LEVEL", "debug")
    assert project.difference() is None


def test_the_secrets_get_to_compose_by_a_pipe_alone(
    project: Project, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.start()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("temporary")))
    project.temporary.clear()
    assert project.difference() is None
    assert len(project.temporary) >= 2
    assert not any(project.temporary)


def test_what_cannot_be_known_is_an_error(project: Project) -> None:
    project.start()
    project.missing = "Error: No such image: shop"
    with pytest.raises(HotfixError, match="No such image: shop"):
        project.difference()
    project.edit(COMPOSE, "  backend:", "  api:")
    with pytest.raises(HotfixError, match="no such service: backend"):
        project.difference()


MORE: dict[str, tuple[Callable[[Project], None], str]] = {
    "another word of the command": (lambda p: p.edit(COMPOSE, "info", "debug"), "its command has changed"),
    "a secret": (lambda p: p.edit(".env", "very-secret-token", "another-secret"), "variables have changed: TOKEN"),
    "a new variable": (lambda p: p.edit(".env", "TOKEN", "A=1\nTOKEN"), "variables have changed: A"),
    "a limit": (lambda p: p.edit(COMPOSE, "512m", "1g"), "its settings in the Compose files have changed"),
    "a policy": (
        lambda p: p.edit(COMPOSE, "    mem_limit", "    restart: unless-stopped\n    mem_limit"),
        "its settings in the Compose files have changed",
    ),
    "the source": (
        lambda p: p.rebuild(layers=("a", "c")),
        "files in its image have changed",
    ),
    "the image's user": (lambda p: p.rebuild(User="root"), "its image has another User"),
}


@pytest.mark.parametrize("number_too", [False, True])
@pytest.mark.parametrize("case", MORE)
def test_something_else_has_changed(project: Project, case: str, number_too: bool) -> None:
    change, reason = MORE[case]
    project.start()
    change(project)
    if number_too:
        project.edit(COMPOSE, ":-4", ":-2")
    found = project.difference()
    assert found is not None and found.startswith(reason)
    assert "secret" not in found
