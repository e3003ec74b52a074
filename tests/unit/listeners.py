# SPDX-License-Identifier: GPL-3.0-or-later
"""What an application may depend on, listening on this machine: a Redis with a password, an API with a key, others."""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from typing import Any

PASSWORD = "p@ss word"
TOKEN = "sk-proj-Zt4vWq81LmXyRb93"


class RedisLike(socketserver.StreamRequestHandler):
    """Speaks as much of the protocol as a log-in and PING take: https://redis.io/docs/latest/develop/reference/protocol-spec/."""

    def handle(self) -> None:
        logged_in = False
        while line := self.rfile.readline():
            words = [self._word() for _number in range(int(line[1:]))]
            if words[0] == "AUTH":
                logged_in = words[-1] == PASSWORD and words[1:-1] in ([], ["worker"])
                self.wfile.write(b"+OK\r\n" if logged_in else b"-WRONGPASS invalid username-password pair\r\n")
            else:
                self.wfile.write(b"+PONG\r\n" if logged_in else b"-NOAUTH Authentication required.\r\n")

    def _word(self) -> str:
        self.rfile.readline()
        return self.rfile.readline().rstrip(b"\r\n").decode()


class Api(http.server.BaseHTTPRequestHandler):
    """An API as OpenAI's: a list of models with the right key, an error with a code and a piece of the key without."""

    def do_GET(self) -> None:
        if self.path == "/v1/empty":
            self._answer(200, b"<html>a captive portal</html>")
        elif self.headers.get("Authorization") == f"Bearer {TOKEN}":
            self._answer(200, json.dumps({"object": "list", "data": []}).encode())
        else:
            error = {"code": "invalid_api_key", "message": f"Incorrect API key provided: {TOKEN[:12]}"}
            self._answer(401, json.dumps({"error": error}).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: Any) -> None:
        pass


@contextlib.contextmanager
def served(handler: Callable[..., Any]) -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()


@contextlib.contextmanager
def silent() -> Iterator[int]:
    """A port that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
