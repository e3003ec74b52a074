# SPDX-License-Identifier: GPL-3.0-or-later
"""The module api_key_probe against a real HTTP server on this machine."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import fingerprint

A = "Jq3v7Yb0tN5xR8wK2mZcD4fGhLpSaUeX1iOoV6y9BTA"
OLD = "t9WmXc2LrQ7kZp0aVs4dEy8fGu1hJi3nBo5MKTbRNYw"
DEV = "dev-key-12345"
RUNBOOK = 3  # published keys that are asked about by default
Run = Callable[..., dict[str, Any]]


class Api:
    """A small API: the answer to a request is what ``answer`` makes of its key."""

    def __init__(self, answer: Callable[[str | None], int]) -> None:
        self.answer = answer
        self.seen: list[dict[str, Any]] = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                body = self.rfile.read(length).decode()
                api.seen.append({"path": self.path, "method": self.command, "headers": self.headers, "body": body})
                self.send_response(api.answer(self.headers.get("X-API-Key")))
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_POST = do_GET

            def log_message(self, *args: Any) -> None:
                """Keep the test's output clean."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/api/v1/portfolio"


@contextmanager
def serving(answer: Callable[[str | None], int]) -> Iterator[Api]:
    api = Api(answer)
    thread = threading.Thread(target=api.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield api
    finally:
        api.server.shutdown()
        thread.join()
        api.server.server_close()


def only(*keys: str) -> Callable[[str | None], int]:
    return lambda key: 200 if key in keys else 401 if key is None else 403


@pytest.fixture
def env(tmp_path: Path) -> Path:
    path = tmp_path / ".env"
    path.write_text(f"VALID_API_KEYS='[\"{A}\"]'\n")
    return path


def assert_no_leak(result: dict[str, Any]) -> None:
    for value in (A, OLD, DEV, "production-api-key-1"):
        assert value not in json.dumps(result)


@pytest.mark.parametrize("check", [True, False])
def test_proof(run_module: Run, env: Path, tmp_path: Path, check: bool) -> None:
    copy = tmp_path / "old.env"
    copy.write_text(f'VALID_API_KEYS=["{OLD}","{A}","{DEV}"]\n')
    with serving(only(A)) as api:
        args = {"url": api.url, "path": str(env), "old_files": [str(copy)]}
        result = run_module("api_key_probe", args, check=check)
    assert result["ok"], result
    assert (result["enforced"], result["verdict"]) == (True, "enforced")
    assert (result["current_accepted"], result["old_refused"], result["changed"]) == (True, True, False)
    assert result["reasons"] == []
    assert [request["what"] for request in result["requests"]] == [
        "none",
        "random",
        "current",
        *["old"] * (RUNBOOK + 1),
    ]
    assert result["requests"][0] == {"what": "none", "fingerprint": "", "status": 401, "accepted": False}
    assert result["requests"][2] == {"what": "current", "fingerprint": fingerprint(A), "status": 200, "accepted": True}
    assert result["requests"][-1]["fingerprint"] == fingerprint(OLD)
    keys = [request["headers"]["X-API-Key"] for request in api.seen]
    assert keys[0] is None
    assert len(keys) == len(set(keys)) == len(result["requests"])
    assert keys[1] not in json.dumps(result)
    assert_no_leak(result)


def test_not_enforced_is_never_ok(run_module: Run, env: Path) -> None:
    with serving(lambda key: 200) as api:
        result = run_module("api_key_probe", {"url": api.url, "path": str(env)})
    assert (result["enforced"], result["verdict"], result["ok"]) == (False, "not_enforced", False)
    assert result["current_accepted"]
    assert not result["old_refused"]
    assert "a key that was never issued (status 200): keys are not enforced here" in result["reasons"][1]


def test_container_with_its_old_environment(run_module: Run, env: Path) -> None:
    """What `docker-compose restart` leaves behind: the file has the new key, the process the old one."""
    with serving(only(DEV)) as api:
        result = run_module("api_key_probe", {"url": api.url, "path": str(env)})
    assert (result["enforced"], result["current_accepted"], result["old_refused"]) == (True, False, False)
    assert result["reasons"] == [
        f"The current key {fingerprint(A)} is not accepted (status 403).",
        f"The old key {fingerprint(DEV)} is not refused (status 200).",
    ]
    assert_no_leak(result)


def test_development_key_still_in_the_file(run_module: Run, env: Path) -> None:
    env.write_text(f'VALID_API_KEYS=\'["{A}","{DEV}"]\'\n')
    with serving(only(A, DEV)) as api:
        result = run_module("api_key_probe", {"url": api.url, "path": str(env), "refused": [DEV]})
    assert [request["what"] for request in result["requests"]] == ["none", "random", "current", "old"]
    assert (result["current_accepted"], result["old_refused"], result["ok"]) == (True, False, False)
    assert "is still in the file" in result["reasons"][0]


def test_missing_variable_is_not_a_success(run_module: Run, env: Path) -> None:
    with serving(only(A)) as api:
        result = run_module("api_key_probe", {"url": api.url, "path": str(env), "name": "OTHER"})
    assert (result["enforced"], result["current_accepted"], result["ok"]) == (True, False, False)


@pytest.mark.parametrize("status", [302, 307, 404, 429, 500])
def test_other_answers_prove_nothing_and_are_not_followed_or_repeated(run_module: Run, env: Path, status: int) -> None:
    with serving(lambda key: status) as api:
        result = run_module("api_key_probe", {"url": api.url, "path": str(env)})
    assert (result["verdict"], result["ok"], result["old_refused"]) == ("undetermined", False, False)
    assert {request["status"] for request in result["requests"]} == {status}
    assert len(api.seen) == 3 + RUNBOOK
    assert {request["path"] for request in api.seen} == {"/api/v1/portfolio"}


def test_post_with_a_body_that_fails_validation(run_module: Run, env: Path) -> None:
    with serving(lambda key: 422 if key == A else 401) as api:
        args = {
            "url": api.url,
            "path": str(env),
            "method": "POST",
            "body": {"messages": []},
            "accepted_status": [200, 422],
        }
        result = run_module("api_key_probe", args)
    assert result["ok"], result
    assert {(request["method"], request["body"]) for request in api.seen} == {("POST", '{"messages": []}')}
    assert {request["headers"]["Content-Type"] for request in api.seen} == {"application/json"}
    assert {request["headers"]["User-Agent"] for request in api.seen} == {"composeops.hotfix.api_key_probe"}


def test_other_header_and_proxies_are_left_alone(run_module: Run, env: Path) -> None:
    with serving(lambda key: 401) as api:
        args = {"url": api.url, "path": str(env), "header": "Authorization", "header_prefix": "Bearer ", "refused": []}
        run_module("api_key_probe", args, env={"http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"})
    assert [request["headers"]["Authorization"] for request in api.seen][::2] == [None, f"Bearer {A}"]
    assert all(request["headers"]["X-API-Key"] is None for request in api.seen)


def test_key_that_no_header_can_carry(run_module: Run, env: Path, tmp_path: Path) -> None:
    copy = tmp_path / "old.env"
    copy.write_text("VALID_API_KEYS='[\"clé-du-développeur\"]'\n")
    with serving(only(A)) as api:
        result = run_module("api_key_probe", {"url": api.url, "path": str(env), "old_files": [str(copy)]})
    assert result["ok"], result
    assert result["requests"][-1]["status"] == 0
    assert len(api.seen) == len(result["requests"]) - 1


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def test_nobody_answers(run_module: Run, env: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/"
    result = run_module("api_key_probe", {"url": url, "path": str(env)}, expect_failure=True)
    assert result["msg"].startswith(f"cannot probe {url}: no answer: ")
    assert "Connection refused" in result["msg"]
    assert_no_leak(result)


@pytest.mark.parametrize(
    ("sent", "reason"), [(None, "no answer within 1 seconds"), (b"", "broke"), (b"220 smtp\r\n\r\n", "not HTTP")]
)
def test_something_else_answers(run_module: Run, env: Path, sent: bytes | None, reason: str) -> None:
    """A server that accepts and says nothing, hangs up, or speaks another protocol."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            connection, _address = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(sent or b"")

        thread = threading.Thread(target=hang_up, daemon=True)
        if sent is not None:
            thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        result = run_module("api_key_probe", {"url": url, "path": str(env), "timeout": 1}, expect_failure=True)
        if sent is not None:
            thread.join()
    assert f"cannot probe {url}: " in result["msg"]
    assert reason in result["msg"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"url": "file:///etc/passwd"}, "url is not an http or https address"),
        ({"url": "127.0.0.1:8000"}, "url is not an http or https address"),
        ({"url": "http://[::1"}, "url is not an http or https address"),
        ({"url": "http://127.0.0.1:1/", "header": "X API\nKey"}, "cannot be used in a request"),
        ({"url": "http://127.0.0.1:1/", "path": "/nonexistent/.env"}, "/nonexistent/.env: cannot read this file"),
        ({"url": "http://127.0.0.1:1/", "old_files": ["/nonexistent/old"]}, "/nonexistent/old: cannot read this file"),
    ],
)
def test_bad_input(run_module: Run, env: Path, args: dict[str, Any], message: str) -> None:
    with serving(only(A)) as api:
        url = api.url if "header" in args else args["url"]
        result = run_module("api_key_probe", {"path": str(env), **args, "url": url}, expect_failure=True)
    assert message in result["msg"]
    assert_no_leak(result)
