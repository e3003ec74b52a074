# SPDX-License-Identifier: GPL-3.0-or-later
"""How long the role deploy waits for a healthy answer, what it says meanwhile, and at which port."""

from __future__ import annotations

import re
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import yaml
from role_play import play_roles

ROLE = Path(__file__).parents[2] / "roles/deploy"
VARIABLES = ROLE / "vars/main.yml"
# What is known of the container of before and of the new one, by the seconds that it has in all.
LOOKS: dict[str, dict[str, Any]] = {
    "20": {},
    "20.0": {"deploy_before": {"exists": False, "container": None}, "deploy_up": {"skipped": True}},
    "320": {"deploy_before": {"container": {"start_period": 300.0}}},
    "110": {"deploy_before": {"container": {"start_period": 30.0}}, "deploy_up": {"container": {"start_period": 90.0}}},
}


def require(
    folder: Path, hosts: dict[str, dict[str, Any]], condition: str, facts: dict[str, Any] | None = None
) -> None:
    """Have the role's own variables fulfil a condition on each host.

    :param facts: what the run has registered by then.
    """
    parts = [
        {"ansible.builtin.include_vars": {"file": str(VARIABLES)}},
        *([{"ansible.builtin.set_fact": facts}] if facts else []),
        {"ansible.builtin.assert": {"that": condition}},
    ]
    done = play_roles(folder, parts, hosts)
    assert done.returncode == 0, done.stdout


def test_the_start_period_of_the_service_comes_before_the_time_to_answer(tmp_path: Path) -> None:
    hosts = {
        f"host{index}": {"deploy_health_timeout": 20, "wanted": float(seconds), **looks}
        for index, (seconds, looks) in enumerate(LOOKS.items())
    }
    require(tmp_path, hosts, "deploy_health_seconds | float == wanted")


def test_the_port_of_the_address_is_known(tmp_path: Path) -> None:
    urls = {"http://127.0.0.1:8000": 8000, "HTTPS://shop.example": 443, "http://shop.example/": 80}
    hosts = {f"host{port}": {"application_url": url, "port": port} for url, port in urls.items()}
    require(tmp_path, hosts, "deploy_url_port | int == port")


def test_a_proxy_that_could_not_be_started_is_named_as_the_reason(tmp_path: Path) -> None:
    failure = {"item": "proxy", "failed": False, "msg": "docker compose up failed: port is already allocated."}
    known = {
        "application_url": "http://127.0.0.1:8000",
        "application_health_path": "/health",
        "application_health_body": {"status": "healthy"},
        "ansible_failed_task": {"name": "Wait until it answers as a healthy one does"},
        "deploy_health": {"answer": "no answer: Connection refused"},
        "deploy_health_timeout": 20,
    }
    hosts = {
        "taken": {"started": [{"item": "pages", "after": {}, "failed": False}, failure], "says": failure["msg"][:-1]},
        "fine": {"started": [{"item": "proxy", "after": {}, "failed": False}], "says": "Connection refused)"},
    }
    require(
        tmp_path, hosts, "deploy_reason.endswith(says)", {"deploy_proxy_started": {"results": "{{ started }}"}, **known}
    )


def test_a_proxy_that_an_earlier_try_could_not_start_is_forgotten_by_the_next(tmp_path: Path) -> None:
    first, *_others = yaml.safe_load((ROLE / "tasks/up.yml").read_text(encoding="utf-8"))
    fails = {
        "ansible.builtin.command": "false",
        "loop": ["proxy"],
        "register": "deploy_proxy_started",
        "failed_when": False,
    }
    parts = [
        {"ansible.builtin.include_vars": {"file": str(VARIABLES)}},
        fails,
        {"ansible.builtin.assert": {"that": "deploy_proxy_failures | length == 1"}},
        first,
        {"ansible.builtin.assert": {"that": "deploy_proxy_failures | length == 0"}},
    ]
    done = play_roles(tmp_path, parts, {"web1": {}})
    assert done.returncode == 0, done.stdout


class Application(BaseHTTPRequestHandler):
    """Gives one answer after the other, and the last one again and again."""

    answers: ClassVar[list[tuple[int, str]]] = []

    def do_GET(self) -> None:
        status, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_arguments: Any) -> None:
        """Keep quiet."""


def test_while_it_waits_it_says_what_is_answered(tmp_path: Path) -> None:
    refused = (503, '{"detail": "postgresql://app:s3cret@db/app refused"}')
    starting, healthy = (200, '{"status": "starting"}'), (200, '{"status": "healthy"}')
    Application.answers = [refused, refused, refused, starting, healthy, starting, healthy]
    server = HTTPServer(("127.0.0.1", 0), Application)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ask = {"url": f"http://127.0.0.1:{server.server_port}/health", "body": {"status": "healthy"}}
    until = {"register": "health", "until": "health.healthy", "retries": 5, "delay": 1}
    try:
        # The first one is asked once: there is nothing to wait for. The last one is not to be shown.
        asked = {"composeops.hotfix.health_probe": ask}
        parts = [asked, {**asked, **until}, {**asked, **until, "no_log": True}]
        done = play_roles(tmp_path, parts, {"web1": {}})
    finally:
        server.shutdown()
        server.server_close()
    assert done.returncode == 0, done.stdout
    said = [line for line in done.stdout.splitlines() if "not healthy" in line]
    assert len(said) == 2, done.stdout
    assert said[0].startswith("  web1: not healthy after   0 s: status 503, ") and "s3cret" not in done.stdout
    assert re.search(r' after +[1-9]\d* s: status 200, {"status": "starting"}$', said[1])
