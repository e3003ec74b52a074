# SPDX-License-Identifier: GPL-3.0-or-later
"""The script asks real listeners here, in a process that has only the variables of a container."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from typing import Any

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils import _dependency_script
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Completed, Docker
from ansible_collections.composeops.hotfix.plugins.module_utils._dependencies import ask
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from listeners import PASSWORD, TOKEN, Api, RedisLike, closed_port, served, silent

QUESTION = {
    "name": "it",
    "url": None,
    "url_variable": "ADDRESS",
    "path": "",
    "secret_variable": None,
    "header": "Authorization",
    "header_prefix": "Bearer ",
    "status": [200],
    "expect_key": None,
}


def asked(kind: str, environment: dict[str, str], timeout: float = 5, **question: Any) -> dict[str, Any]:
    options = {"mark": "mark", "timeout": timeout, "questions": [{**QUESTION, "kind": kind, **question}]}
    done = subprocess.run(
        [sys.executable, "-I", "-c", inspect.getsource(_dependency_script), json.dumps(options)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("mark ")
    for secret in (PASSWORD, "p%40ss%20word", TOKEN, TOKEN[:12]):
        assert secret not in done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stdout[5:])["answers"][0]
    assert answer["name"] == "it"
    assert answer["milliseconds"] >= 0
    # That the container was not given an address or a secret says nothing about the dependency.
    assert answer["asked"] is not answer["reason"].endswith("is not set in the container")
    return answer


@pytest.mark.parametrize(
    ("login", "ok", "reason"),
    [
        (":p%40ss%20word@", True, "Redis answered PONG"),
        ("worker:p%40ss%20word@", True, "Redis answered PONG"),
        (":wrong@", False, "Redis refuses the password"),
        ("", False, "Redis answered NOAUTH"),
    ],
)
def test_redis_is_logged_in_to_and_asked(login: str, ok: bool, reason: str) -> None:
    with served(RedisLike) as port:
        answer = asked("redis", {"ADDRESS": f"redis://{login}127.0.0.1:{port}/0"})
    assert (answer["ok"], answer["reason"]) == (ok, reason)


@pytest.mark.parametrize(
    ("environment", "question", "ok", "reason"),
    [
        ({"KEY": TOKEN}, {"path": "/models", "expect_key": "data"}, True, "the answer is HTTP 200, JSON with data"),
        ({"KEY": "sk-dev-x"}, {"path": "/models"}, False, "the answer is HTTP 401 (invalid_api_key)"),
        ({"KEY": "sk-dev-x"}, {"path": "/models", "status": [401]}, True, "the answer is HTTP 401"),
        (
            {"KEY": TOKEN},
            {"path": "/empty", "expect_key": "data"},
            False,
            "the answer is HTTP 200, but no JSON with data",
        ),
        ({}, {"path": "/models"}, False, "KEY is not set in the container"),
    ],
)
def test_the_answer_of_an_api_is_read(
    environment: dict[str, str], question: dict[str, Any], ok: bool, reason: str
) -> None:
    with served(Api) as port:
        variables = {"ADDRESS": f"http://127.0.0.1:{port}/v1/", **environment}
        answer = asked("http", variables, secret_variable="KEY", **question)
    assert (answer["ok"], answer["reason"]) == (ok, reason)


def test_the_address_given_counts_where_the_variable_is_not_set() -> None:
    with served(Api) as port:
        answer = asked("http", {"KEY": TOKEN}, url=f"http://127.0.0.1:{port}/v1", path="/models", secret_variable="KEY")
    assert answer["ok"]


def test_an_open_port_is_found() -> None:
    with silent() as port:
        assert asked("tcp", {"ADDRESS": f"postgres://user:{TOKEN}@127.0.0.1:{port}/db"})["ok"]


@pytest.mark.parametrize("kind", ["redis", "http"])
def test_what_accepts_and_says_nothing_does_not_answer(kind: str) -> None:
    with silent() as port:
        scheme = "redis" if kind == "redis" else "http"
        answer = asked(kind, {"ADDRESS": f"{scheme}://127.0.0.1:{port}"}, timeout=0.3)
    assert (answer["ok"], answer["reason"]) == (False, "it did not answer in time")


@pytest.mark.parametrize(("kind", "scheme"), [("redis", "redis"), ("http", "http"), ("tcp", "any")])
def test_a_closed_port_and_an_unknown_name_are_told_apart(kind: str, scheme: str) -> None:
    closed = asked(kind, {"ADDRESS": f"{scheme}://127.0.0.1:{closed_port()}"})
    unknown = asked(kind, {"ADDRESS": f"{scheme}://nowhere.invalid:1"})
    assert (closed["reason"], unknown["reason"]) == ("connection refused", "its host name is not known")
    assert not closed["ok"]
    assert not unknown["ok"]


@pytest.mark.parametrize(
    ("kind", "environment", "reason"),
    [
        ("redis", {}, "ADDRESS is not set in the container"),
        ("redis", {"ADDRESS": "127.0.0.1:6379"}, "the address is no redis:// or rediss:// URL"),
        ("http", {"ADDRESS": "file:///etc/passwd"}, "the address is no http:// or https:// URL"),
        ("tcp", {"ADDRESS": "localhost"}, "the address has no host and port"),
    ],
)
def test_an_address_that_is_none_is_said_so(kind: str, environment: dict[str, str], reason: str) -> None:
    answer = asked(kind, environment)
    assert (answer["ok"], answer["reason"]) == (False, reason)


def test_another_program_on_the_port_is_no_redis() -> None:
    with served(Api) as port:
        answer = asked("redis", {"ADDRESS": f"redis://127.0.0.1:{port}"})
    assert not answer["ok"]


def docker(result: Completed, calls: list[list[str]]) -> Docker:
    """A command line of which only the answer of ``exec`` matters: a container needs an engine."""

    def run(argv: list[str], **_options: Any) -> Completed:
        calls.append(argv)
        top = Completed(0, "PID PPID COMMAND\n999999999 1 /opt/venv/bin/uvicorn main:app\n", "")
        return top if argv[1] == "top" else result

    return Docker(run)


CONTAINER = {"Id": "c0ffee", "Name": "/backend", "State": {"Running": True}}


@pytest.fixture
def with_docker(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "docker"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.usefixtures("with_docker")
def test_the_python_of_the_server_asks() -> None:
    calls: list[list[str]] = []
    with pytest.raises(HotfixError, match="nothing can be asked from inside of container backend: it said nothing"):
        ask(docker(Completed(1, "", ""), calls), CONTAINER, [{**QUESTION, "kind": "tcp"}], 5)
    assert calls[-1][1:4] == ["exec", "c0ffee", "/opt/venv/bin/python3"]


@pytest.mark.usefixtures("with_docker")
@pytest.mark.parametrize(
    ("container", "question", "result", "message"),
    [
        ({"State": {"Running": False}}, {}, Completed(0, "", ""), "container backend does not run. Start it"),
        ({}, {}, Completed(127, "", "exec failed"), "container backend has no /opt/venv/bin/python3 to ask with"),
        ({}, {"url": "redis://:hunter22@redis"}, Completed(0, "", ""), "the url of it holds a password"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(
    container: dict[str, Any], question: dict[str, Any], result: Completed, message: str
) -> None:
    with pytest.raises(HotfixError) as caught:
        ask(docker(result, []), {**CONTAINER, **container}, [{**QUESTION, "kind": "redis", **question}], 5)
    assert message in str(caught.value)
    assert "hunter22" not in str(caught.value)
