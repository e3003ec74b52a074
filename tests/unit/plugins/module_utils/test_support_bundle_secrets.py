# SPDX-License-Identifier: GPL-3.0-or-later
"""Which secrets a project's command lines, labels and monitor hold, and which words are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils import _support_bundle_secrets as found
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_file import Project

SECRET = "canary7Kq2"


@pytest.mark.parametrize(
    "words",
    [
        ["redis-server", "--requirepass", SECRET],
        ["redis-server", f"--requirepass={SECRET}"],
        ["sh", "-c", f"exec redis-server /etc/redis.conf --requirepass '{SECRET}'"],
        ["CMD", "redis-cli", "-h", "redis", "-a", SECRET, "ping"],
        ["CMD-SHELL", f"/usr/bin/redis-cli -a {SECRET} ping || exit 1"],
        ["CMD-SHELL", f"it's redis-cli -a {SECRET} ping"],
        ["mysqladmin", "ping", "-uroot", f"-p{SECRET}"],
        ["mongosh", "-u", "root", "-p", SECRET],
        ["curl", "-u", SECRET, "https://x"],
        ["app", "--db-password", SECRET],
        ["app", "--API_KEY", SECRET],
    ],
)
def test_what_follows_an_option_that_takes_a_secret(words: list[str]) -> None:
    assert found.option_secrets(words) == {SECRET}


@pytest.mark.parametrize(
    "words",
    [
        ["gunicorn", "--bind", "0.0.0.0:8000", "--workers", "4"],
        ["ssh", "-p", "2222", "host"],
        ["ls", "-a", "/srv"],
        ["app", "--password-file", "/run/secrets/db", "--tokens", "4096"],
        ["app", "--no-password", "--verbose"],
        ["redis-cli", "-a", "$REDIS_PASSWORD", "ping"],
        ["redis-server", "--requirepass", "$${REDIS_PASSWORD}"],
        ["redis-cli", "-a"],
        [],
    ],
)
def test_what_follows_other_options_is_none(words: list[str]) -> None:
    assert found.option_secrets(words) == set()


def test_a_project_holds_them_in_commands_labels_and_telling_variables(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("REDIS_PASSWORD=from-env\nHOOK=https://hooks.example.org/t/hook-path\n")
    (tmp_path / "compose.yml").write_text(
        """\
services:
  redis:
    image: redis
    command: redis-server --requirepass ${REDIS_PASSWORD:-the-default}
    healthcheck:
      test: [CMD, redis-cli, -a, of-the-check, ping]
  mail:
    image: mail
    entrypoint: [mail, --password, of-the-entry]
    labels:
      - traefik.http.middlewares.a.basicauth.users=admin:$$apr1$$hash,bob:other
    environment:
      - ALERT_WEBHOOK_URL=${HOOK}
      - BASIC_AUTH=true
      - ENVIRONMENT=production
"""
    )
    assert found.of_project(Project.load(str(tmp_path))) == {
        "from-env",
        "the-default",
        "of-the-check",
        "of-the-entry",
        "$apr1$hash",
        "other",
        "t/hook-path",
    }


def test_a_damaged_description_is_no_reason_to_stop() -> None:
    assert found.of_service({"command": 3, "healthcheck": "x", "labels": "x", "build": ["y"]}) == set()
    config = {"Env": ["REDIS_PASSWORD=secret"], "Cmd": None, "Healthcheck": None, "Labels": None}
    assert found.of_container({"Config": config, "Args": None}) == {"secret"}


def test_a_container_holds_what_it_was_started_with() -> None:
    config = {
        "Env": ["WEBHOOK=https://x.example.org/hook"],
        "Cmd": ["redis-server", "--requirepass", "of-cmd"],
        "Entrypoint": "redis-server --masterauth of-entry",
        "Healthcheck": {"Test": ["CMD", "redis-cli", "-a", "of-check"]},
        "Labels": {"a.basicauth.users": "admin:of-label"},
    }
    data = {"Config": config, "Path": "redis-cli", "Args": ["-a", "of-args"]}
    assert found.of_container(data) == {"hook", "of-cmd", "of-entry", "of-check", "of-label", "of-args"}


@pytest.mark.parametrize(
    ("way", "secrets"),
    [
        ("https://hooks.example.org/services/T01/x?k=v", {"services/T01/x", "k=v"}),
        ("https://u:pw%20x@example.org", {"pw%20x", "pw x"}),
        ("http://[", {"http://["}),
        ("curl -u ops:pw -d @- https://ntfy.example.org/my-topic", {"ops:pw", "pw", "@-", "my-topic"}),
        ("notify -H 'Authorization: Bearer abc' --channel=ops /opt/shop/x", {"Bearer abc", "ops"}),
        ("mail -s 'backend failed' ops@example.org", {"ops@example.org"}),
        ("no 'end", {"'end"}),
    ],
)
def test_whom_the_monitor_tells(tmp_path: Path, way: str, secrets: set[str]) -> None:
    (tmp_path / "monitor").mkdir()
    (tmp_path / "monitor" / "notify.json").write_text(json.dumps({"webhook": None, "command": way, "x": 1}))
    assert found.of_monitor(str(tmp_path)) == secrets


def test_a_monitor_that_is_not_there_or_damaged_tells_nobody(tmp_path: Path) -> None:
    assert found.of_monitor(str(tmp_path)) == set()
    (tmp_path / "monitor").mkdir()
    (tmp_path / "monitor" / "notify.json").write_text("{")
    assert found.of_monitor(str(tmp_path)) == set()
