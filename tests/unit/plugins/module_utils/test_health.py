# SPDX-License-Identifier: GPL-3.0-or-later
"""A health route is asked and judged without Ansible; what is said of a failure never holds the address."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils._health import ask, holding, is_healthy

TOKEN = "T0ken-in-the-address-1234567890"


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by the path, and keeps what was posted."""

    posted: ClassVar[list[tuple[str, bytes]]] = []

    def do_GET(self) -> None:
        status = int(self.path.strip("/").split("?")[0] or 200)
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/200")
        self.end_headers()
        self.wfile.write(b'{"status": "healthy"}' if status == 200 else b"sick")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.posted.append((self.headers["Content-Type"], body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()


@pytest.mark.parametrize(("path", "found"), [("/200", (200, '{"status": "healthy"}')), ("/503", (503, "sick"))])
def test_status_and_text(server: str, path: str, found: tuple[int, str]) -> None:
    assert ask(server + path, timeout=5) == found


def test_a_redirect_is_followed_and_no_proxy_is_used(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert ask(f"{server}/302", timeout=5)[0] == 200


def test_what_is_posted_arrives(server: str) -> None:
    assert ask(f"{server}/hook", timeout=5, data=b'{"text": "x"}', content_type="application/json") == (204, "")
    assert Handler.posted[-1] == ("application/json", b'{"text": "x"}')


@pytest.mark.parametrize(
    "url",
    [
        f"http://127.0.0.1:1/{TOKEN}",
        f"http://no-such-host.invalid/{TOKEN}",
        f"{TOKEN}://x",
        f"http://[{TOKEN}",
        f"http://127.0.0.1/{TOKEN} with a blank",
        "file:///etc/hostname",
        f"https://127.0.0.1:1/{TOKEN}",
    ],
)
def test_a_failure_does_not_show_the_address(url: str) -> None:
    status, text = ask(url, timeout=5)
    assert status == 0
    assert text.startswith("no answer: ")
    assert TOKEN not in text


def test_who_does_not_answer_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert ask(f"http://127.0.0.1:{silent.getsockname()[1]}/", timeout=0.2) == (0, "no answer: timed out")


@pytest.mark.parametrize(
    ("status", "text", "healthy"),
    [
        (200, '{"status": "healthy", "more": 1}', True),
        (200, '{"status": "sick"}', False),
        (200, "<html>", False),
        (503, '{"status": "healthy"}', False),
        (0, '{"status": "healthy"}', False),
        (200, "[" * 100_000, False),
    ],
)
def test_an_answer_is_judged_by_status_and_body(status: int, text: str, healthy: bool) -> None:
    assert is_healthy(status, text, {"status": "healthy"}) is healthy


@pytest.mark.parametrize(
    ("body", "expected", "holds"),
    [
        ({"status": "healthy", "more": 1}, {"status": "healthy"}, True),
        ({"ready": False}, {"ready": True}, False),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, True),
        ({"a": 1}, {"a": {"b": 1}}, False),
        (None, {"status": "healthy"}, False),
        ([], {}, False),
        ("ok", "ok", True),
    ],
)
def test_a_body_is_judged_by_what_it_holds(body: Any, expected: Any, holds: bool) -> None:
    assert holding(body, expected) is holds
