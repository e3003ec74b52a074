# SPDX-License-Identifier: GPL-3.0-or-later
"""The module runs as Ansible runs it. A ``docker`` of the test's own has the container: it takes an engine to make one.

What that container is told to execute is executed for real, with the container's variables and no others.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from listeners import PASSWORD, TOKEN, Api, RedisLike, closed_port, served

Run = Callable[..., dict[str, Any]]
DOCKER = """#!{python}
import json, os, sys
folder = os.path.dirname(os.path.abspath(__file__))
words = sys.argv[1:]
with open(os.path.join(folder, "calls"), "a") as calls:
    calls.write(json.dumps(words) + chr(10))
if words[0] == "inspect":
    print(open(os.path.join(folder, "inspect.json")).read())
elif words[0] == "top":
    print("PID PPID COMMAND" + chr(10) + "999999999 1 {python} /app/bin/uvicorn main:app")
elif words[0] == "exec":
    variables = json.load(open(os.path.join(folder, "variables.json")))
    os.execve(words[2], words[2:], variables)
"""
REDIS = {"name": "Redis", "kind": "redis", "url_variable": "REDIS_URL"}
OPENAI = {
    "name": "OpenAI",
    "kind": "http",
    "url_variable": "OPENAI_BASE_URL",
    "path": "/models",
    "secret_variable": "OPENAI_API_KEY",
    "expect_key": "data",
}


class Container:
    """A container of which everything but the engine is real."""

    def __init__(self, folder: Path, run_module: Run) -> None:
        self.folder, self.run_module = folder, run_module
        docker = folder / "docker"
        docker.write_text(DOCKER.format(python=sys.executable))
        docker.chmod(0o755)
        self.state = {"Running": True, "Status": "running"}
        self.variables: dict[str, str] = {}

    def probe(self, *dependencies: dict[str, Any], expect_failure: bool = False, **options: Any) -> dict[str, Any]:
        """What the module says, in check mode and without, which has to be the same."""
        inspect = [{"Id": "c0ffee", "Name": "/backend", "State": self.state}]
        (self.folder / "inspect.json").write_text(json.dumps(inspect))
        (self.folder / "variables.json").write_text(json.dumps(self.variables))
        env = {"PATH": f"{self.folder}:{os.environ['PATH']}"}
        args = {"container": "backend", "dependencies": list(dependencies), **options}
        results = [
            self.run_module("dependency_probe", args, check=check, expect_failure=expect_failure, env=env)
            for check in (True, False)
        ]
        shown = json.dumps(results) + (self.folder / "calls").read_text()
        for secret in (PASSWORD, "p%40ss", TOKEN, TOKEN[:12]):
            assert secret not in shown
        said = [result.get("msg") or [{**a, "milliseconds": 0} for a in result["dependencies"]] for result in results]
        assert said[0] == said[1]
        assert not any(result.get("changed") for result in results)
        return results[1]


@pytest.fixture
def container(tmp_path: Path, run_module: Run) -> Container:
    return Container(tmp_path, run_module)


def test_the_container_asks_with_its_own_address_and_secret(container: Container) -> None:
    with served(RedisLike) as redis, served(Api) as api:
        container.variables = {
            "REDIS_URL": f"redis://:p%40ss%20word@127.0.0.1:{redis}/0",
            "OPENAI_BASE_URL": f"http://127.0.0.1:{api}/v1",
            "OPENAI_API_KEY": TOKEN,
        }
        result = container.probe(REDIS, OPENAI)
    assert result["ok"]
    assert [(answer["name"], answer["ok"], answer["reason"]) for answer in result["dependencies"]] == [
        ("Redis", True, "Redis answered PONG"),
        ("OpenAI", True, "the answer is HTTP 200, JSON with data"),
    ]


def test_one_that_says_no_is_a_finding_and_no_failure(container: Container) -> None:
    with served(Api) as api:
        container.variables = {
            "REDIS_URL": f"redis://127.0.0.1:{closed_port()}/0",
            "OPENAI_BASE_URL": f"http://127.0.0.1:{api}/v1",
            "OPENAI_API_KEY": "sk-dev-nothing",
        }
        result = container.probe(REDIS, OPENAI)
    assert not result["ok"]
    assert [answer["reason"] for answer in result["dependencies"]] == [
        "connection refused",
        "the answer is HTTP 401 (invalid_api_key)",
    ]


def test_one_out_of_two_is_not_enough(container: Container) -> None:
    with served(RedisLike) as redis:
        container.variables = {"REDIS_URL": f"redis://:p%40ss%20word@127.0.0.1:{redis}/0"}
        result = container.probe(REDIS, {"name": "mail", "kind": "tcp", "url": f"smtp://127.0.0.1:{closed_port()}"})
    assert not result["ok"]
    assert [answer["ok"] for answer in result["dependencies"]] == [True, False]


def test_a_container_that_does_not_run_is_one_sentence(container: Container) -> None:
    container.state = {"Running": False, "Status": "exited"}
    failed = container.probe(REDIS, expect_failure=True)
    assert failed["msg"] == "container backend does not run. Start it: docker compose up -d."


def test_a_password_in_the_url_is_refused(container: Container) -> None:
    failed = container.probe(
        {"name": "Redis", "kind": "redis", "url": "redis://:hunter2-hunter2@127.0.0.1"},
        {"name": "Redis", "kind": "redis", "url": "redis://:swordfish-2@127.0.0.1"},
        {"name": "API token", "kind": "tcp", "url": "tcp://plain.example:1"},
        expect_failure=True,
    )
    assert "hunter2" not in json.dumps(failed)
    assert "swordfish" not in json.dumps(failed)
    assert "tcp://plain.example:1" in json.dumps(failed)
    assert failed["msg"].startswith("the url of Redis holds a password")


@pytest.mark.parametrize(
    ("dependency", "message"),
    [
        ({"name": "x", "kind": "redis"}, "url, url_variable"),
        ({"name": "x", "kind": "smtp", "url": "x"}, "redis, http, tcp"),
        ({"kind": "tcp", "url": "x"}, "missing required arguments: name"),
    ],
)
def test_a_question_that_cannot_be_asked(run_module: Run, dependency: dict[str, Any], message: str) -> None:
    args = {"container": "backend", "dependencies": [dependency]}
    assert message in run_module("dependency_probe", args, expect_failure=True)["msg"]
