# SPDX-License-Identifier: GPL-3.0-or-later
"""health_probe, run as Ansible does, against a real HTTP server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, ClassVar

import pytest

HEALTHY = {"status": "healthy"}
LICENCE = "canary4Kq27wZr5tY8uI1oP"


class Application(BaseHTTPRequestHandler):
    """Answers as it is told."""

    answer: ClassVar[tuple[int, bytes]] = (200, b"")

    def do_GET(self) -> None:
        status, body = self.answer
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: Any) -> None:
        """Keep quiet."""


@pytest.fixture
def url() -> Iterator[str]:
    """The address of such an application."""
    server = HTTPServer(("127.0.0.1", 0), Application)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/health"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "healthy"),
    [
        (200, '{"status": "healthy"}', True),
        (200, '{"status": "healthy", "version": 3}', True),
        (200, '{"status": "starting"}', False),
        (503, '{"status": "healthy"}', False),
        (200, '["healthy"]', False),
        (200, "<html>healthy</html>", False),
        (500, "", False),
        pytest.param(200, "[" * 100_000, False, id="nested too deep"),
    ],
)
def test_the_body_decides(engine: Any, url: str, status: int, body: str, healthy: bool) -> None:
    Application.answer = (status, body.encode())
    result = engine.run("health_probe", url=url, body=HEALTHY)
    assert (result["healthy"], result["status"]) == (healthy, status)
    assert result["answer"] == body or len(body) > 1000


def test_secrets_in_the_answer_are_masked(engine: Any, url: str) -> None:
    engine.inspect["Config"]["Env"] += [f"LICENCE={LICENCE}", "DATABASE_URL=postgresql://app:s3cr%2Ft@db/app"]
    detail = [f"licence {LICENCE}", f"licence {LICENCE[:14]}...", "postgresql://app:s3cr%2Ft@db/app refused", "s3cr/t"]
    Application.answer = (503, json.dumps({"detail": detail}).encode())
    result = engine.run("health_probe", url=url, body=HEALTHY, container="shop-web-1")
    assert result["healthy"] is False
    assert "postgresql://app:" in result["answer"]
    assert not [secret for secret in ("canary4Kq27w", "s3cr") if secret in json.dumps(result)]


@pytest.mark.parametrize("address", ["http://127.0.0.1:1/", "http://127.0.0.1:0/", "http://[/", "nonsense"])
def test_no_answer_is_no_failure(engine: Any, address: str) -> None:
    result = engine.run("health_probe", url=address, body=HEALTHY)
    assert (result["healthy"], result["status"]) == (False, 0)
    assert result["answer"].startswith("no answer: ")


def test_an_engine_that_is_down_does_not_hide_the_answer(engine: Any, url: str) -> None:
    engine.answers["inspect"] = {
        "rc": 1,
        "stderr": "Cannot connect to the Docker daemon. Is the docker daemon running?",
    }
    Application.answer = (200, b'{"status": "healthy"}')
    assert engine.run("health_probe", url=url, body=HEALTHY, container="shop-web-1")["healthy"] is True
