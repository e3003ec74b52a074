# SPDX-License-Identifier: GPL-3.0-or-later
"""A health route is asked and judged without Ansible; what is said of a failure never holds the address."""

from __future__ import annotations

import contextlib
import http.server
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils._health import ask, holding, is_healthy, post

TOKEN = "T0ken-in-the-address-1234567890"


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by the path, and keeps what was posted."""

    posted: ClassVar[list[tuple[str, bytes]]] = []
    users: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        self.users.append(self.headers["Authorization"])
        status = int(self.path.strip("/").split("?")[0] or 200)
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/200")
        self.end_headers()
        self.wfile.write(b'{"status": "healthy"}' if status == 200 else b"sick")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.users.append(self.headers["Authorization"])
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
    assert post(f"{server}/hook", b'{"text": "x"}', timeout=5, content_type="application/json") == ""
    assert Handler.posted[-1] == ("application/json", b'{"text": "x"}')


@pytest.mark.parametrize("send", [lambda url: ask(url, timeout=5)[0] == 200, lambda url: posted(url) == ""])
def test_a_user_and_password_in_the_address_are_sent_as_a_header(server: str, send: Callable[[str], bool]) -> None:
    assert send(server.replace("//", "//us%40er:pa%3Ass@") + "/200")
    assert Handler.users[-1] == "Basic dXNAZXI6cGE6c3M="


def test_a_redirect_does_not_carry_the_password_on(server: str) -> None:
    assert ask(server.replace("//", "//user:pass@") + "/302", timeout=5)[0] == 200
    assert Handler.users[-2:] == ["Basic dXNlcjpwYXNz", None]


def posted(url: str) -> str:
    return post(url, b"{}", timeout=1, content_type="application/json")


Serve = Callable[..., str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Makes servers that send these bytes at once, then some one by one, and let go at the end of the test."""
    end, sockets = threading.Event(), []

    def answer(listening: socket.socket, reply: bytes, dripping: int) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _place = listening.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(reply)
                    for _byte in range(dripping):
                        if not end.wait(0.1):
                            connection.sendall(b" ")

    def made(reply: bytes, dripping: int = 0) -> str:
        listening = socket.create_server(("127.0.0.1", 0))
        sockets.append(listening)
        threading.Thread(target=answer, args=(listening, reply, dripping), daemon=True).start()
        return f"http://127.0.0.1:{listening.getsockname()[1]}/{TOKEN}"

    yield made
    end.set()
    for listening in sockets:
        listening.close()


STALLED = b"HTTP/1.1 503 X\r\nContent-Length: 1000\r\n\r\nabc"
CUT = b"HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nabc"
GOOD = b"HTTP/1.1 200 X\r\nContent-Length: 1000\r\n\r\n{"


@pytest.mark.parametrize(
    ("reply", "dripping", "answer"),
    [
        (STALLED, 100, (503, "")),
        (CUT, 0, (500, "")),
        (GOOD, 100, (0, "no answer: timed out")),
        (b"HTTP/1.1 200 X\r\nX-A: ", 100, (0, "no answer: timed out")),
    ],
)
def test_an_answer_that_breaks_off_or_never_ends(
    serve: Serve, reply: bytes, dripping: int, answer: tuple[int, str]
) -> None:
    begun = time.monotonic()
    assert ask(serve(reply, dripping), timeout=0.5) == answer
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize(
    ("reply", "dripping", "problem"),
    [
        (STALLED, 100, "HTTP 503"),
        (CUT, 0, "HTTP 500"),
        (GOOD, 100, ""),
        (GOOD.replace(b"200", b"204"), 0, ""),
        (b"HTTP/1.1 304 X\r\n\r\n", 0, "HTTP 304"),
    ],
)
def test_what_is_posted_is_taken_by_the_first_line_of_the_answer(
    serve: Serve, reply: bytes, dripping: int, problem: str
) -> None:
    assert posted(serve(reply, dripping)) == problem


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    ("scheme", "place"), [("https", "an address of https"), ("http", "another address"), ("x", "another address")]
)
def test_a_redirect_is_no_taking(serve: Serve, server: str, status: int, scheme: str, place: str) -> None:
    before = len(Handler.users)
    target = f"{server}/200".replace("http:", f"{scheme}:")
    reply = f"HTTP/1.1 {status} X\r\nLocation: {target}?{TOKEN}\r\nContent-Length: 0\r\n\r\n"
    problem = posted(serve(reply.encode()))
    assert problem == (
        f"HTTP {status}: it redirects to {place}, which is not followed. Give the address that it leads to"
    )
    assert len(Handler.users) == before


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
