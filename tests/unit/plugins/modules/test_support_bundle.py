# SPDX-License-Identifier: GPL-3.0-or-later
"""support_bundle, run as Ansible does: what is in the archive, and that no secret is."""

from __future__ import annotations

import json
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import fingerprint

Run = Callable[..., dict[str, Any]]

SECRETS = {
    "VALID_API_KEYS": '["canary-key-Zq8Xw2"]',
    "JWT_SECRET_KEY": "canaryJwt9mP2nQ8rL5vW3jH7fA1cB4dE6",
    "REDIS_URL": "redis://:canary-redis-pw@redis:6379/0",
    "PLAIN_LOOKING": "canaryRandom5tY8uI1oP3",
}
ENV = "".join(f"{name}='{value}'\n" for name, value in SECRETS.items()) + "ENVIRONMENT=production\n"
COMPOSE = """\
services:
  web:
    build: .
    env_file: [.env, .envs/.production/.django, {path: settings.txt, format: raw}]
    environment:
      SMTP_PASSWORD: canary-smtp-pw
      ALERT_WEBHOOK_URL: https://hooks.example.org/services/canary-hook
    labels:
      traefik.http.middlewares.a.basicauth.users: "admin:canary-user"
  redis:
    image: redis
    command:
      - redis-server
      - --requirepass
      - Sh0rt
    healthcheck:
      test: ["CMD", "redis-cli", "-a", "canary-check", "ping"]
"""
NOTIFY = {
    "webhook": "https://hooks.slack.com/services/T01/B02/canary3dE5",
    "command": "curl -u ops:canary-pw https://ntfy.example.org/canary-topic",
}
PRIVATE_KEY = ["-----BEGIN PRIVATE KEY-----", "canary+QIBADANBgkqhkiG9w", "-----END PRIVATE KEY-----"]
LOG = """\
2025-10-18T02:00:02.000000000Z using canary-key-Zq8Xw2 at redis://:canary-redis-pw@redis:6379/0
2025-10-18T02:00:01.000000000Z token=canaryTokenOfSomebodyElse1
"""
LOG_OF_TOLD = """\
2025-10-18T02:00:03.000000000Z cannot post to /services/T01/B02/canary3dE5: ops, canary-pw, canary-topic
2025-10-18T02:00:04.000000000Z canary-user asked with canary-check, Sh0rt is a short one
"""


@pytest.fixture
def project(engine: Any, tmp_path: Path) -> Path:
    """A project with a secret in everything that is collected."""
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / ".env").write_text(ENV)
    (folder / "compose.yml").write_text(COMPOSE)
    (folder / ".envs" / ".production").mkdir(parents=True)
    (folder / ".envs" / ".production" / ".django").write_text("SITE=canary-site\n")
    (folder / "settings.txt").write_text('NAME="canary name"\n')
    (folder / "Dockerfile").write_text('FROM scratch\nENV API_TOKEN="canaryDocker7wZr5tY8"\n')
    state = tmp_path / "state" / "shop"
    (state / "snapshots" / "5f0c1d9a").mkdir(parents=True)
    for name in ("env", "snapshot.json"):
        (state / "snapshots" / "5f0c1d9a" / name).write_text(ENV)
    (state / "journal.jsonl").write_text(
        '{"action": "healthy", "result": "canary-redis-pw"}\nbroken canary-key-Zq8Xw2\n'
    )
    (state / "monitor").mkdir()
    (state / "monitor" / "notify.json").write_text(json.dumps(NOTIFY))
    inspect = engine.inspect
    inspect["Config"]["Env"] = [f"{name}={value}" for name, value in SECRETS.items()] + ["ENVIRONMENT=production"]
    inspect["Config"]["Cmd"] = ["uvicorn", "--token=canaryCommand5tY8uI1oP3", "--password", "Sh0rt", "--verbose"]
    inspect["Args"] = ["redis-cli", "-a", "canary-check"]
    inspect["Config"]["Labels"] |= {"a.digestauth.users": "bob:canary-bob", "app.api-key": "canary-label"}
    label = "com.docker.compose."
    inspect["Config"]["Labels"] |= {f"{label}project.working_dir": str(folder), f"{label}service": "web"}
    engine.answers = {
        "ps": {"stdout": f"{inspect['Id']}\n"},
        "logs": {"stdout": LOG},
        "version": {"stdout": "26.1.5\n"},
        "info": {"stdout": "Name: canary-key-Zq8Xw2\n"},
        "compose": {"stdout": "2.26.1\n"},
    }
    return folder


def collected(engine: Any, run_module: Run, project: Path, *, check: bool = False, **more: Any) -> dict[str, Any]:
    engine.answers.setdefault("inspect", {"stdout": json.dumps([engine.inspect])})
    (engine.folder / "answers.json").write_text(json.dumps(engine.answers))
    args = {"project_src": str(project), "dest": str(project.parent / "bundle.tar.gz"), "host": "droplet", **more}
    args["state_dir"] = str(project.parent / "state")
    result = run_module("support_bundle", args, check=check, env={"PATH": f"{engine.folder}:/usr/bin:/bin"})
    assert "canary" not in json.dumps(result["entries"])
    return result


def texts(path: str) -> dict[str, str]:
    with tarfile.open(path) as tar:
        members = tar.getmembers()
        assert {member.mode for member in members} == {0o600}
        found = {member.name: tar.extractfile(member) for member in members}
        return {name.partition("/")[2]: stream.read().decode() for name, stream in found.items() if stream}


def test_all_of_it_is_there_and_nothing_of_it_is_secret(engine: Any, run_module: Run, project: Path) -> None:
    notes = {"diagnosis.txt": "oom, seen by canary-smtp-pw\n"}
    result = collected(engine, run_module, project, notes=notes)
    assert stat.S_IMODE(Path(result["dest"]).stat().st_mode) == 0o600
    found = texts(result["dest"])
    container = engine.inspect["Name"].lstrip("/")
    wanted = {
        "README.txt",
        "host/memory.txt",
        "host/disk.txt",
        "docker/stats.txt",
        "docker/version.txt",
        "diagnosis.txt",
    }
    wanted |= {f"logs/{container}.log", f"docker/inspect-{container}.json", "project/.env", "project/compose.yml"}
    wanted |= {"project/Dockerfile", "project/git.txt", "state/journal.jsonl", "state/snapshots.txt"}
    assert wanted <= set(found)
    assert [name for name, text in found.items() if "canary" in text] == []
    assert not [name for name in found if name.startswith("state/snapshots/")]
    # It is still of use.
    inspected = json.loads(found[f"docker/inspect-{container}.json"])
    assert inspected["Id"] == engine.inspect["Id"][:12]
    assert "ENVIRONMENT=production" in inspected["Config"]["Env"]
    assert any(text.startswith("VALID_API_KEYS=sha256:") for text in inspected["Config"]["Env"])
    assert [line[:20] for line in found[f"logs/{container}.log"].splitlines()] == [
        "2025-10-18T02:00:01.",
        "2025-10-18T02:00:02.",
    ]
    assert json.loads(found["state/journal.jsonl"].splitlines()[0])["action"] == "healthy"
    assert inspected["Config"]["Cmd"][2:] == ["--password", "***", "--verbose"]
    assert "SMTP_PASSWORD: sha256:" in found["project/compose.yml"]
    assert "      - --requirepass\n      - ***\n" in found["project/compose.yml"]
    assert found["project/.envs/.production/.django"].startswith("SITE=sha256:")
    # A raw reader keeps the quotes.
    assert found["project/settings.txt"] == f"NAME={fingerprint(chr(34) + 'canary name' + chr(34))}\n"
    assert json.loads(found["state/monitor/notify.json"]) == {
        name: fingerprint(value) for name, value in NOTIFY.items()
    }
    assert "VALID_API_KEYS='sha256:" in found["project/.env"]


def test_what_the_files_and_the_monitor_hold_is_masked_in_the_logs(engine: Any, run_module: Run, project: Path) -> None:
    lines = [f"2025-10-18T02:00:05.00000000{number}Z {line}" for number, line in enumerate(PRIVATE_KEY)]
    engine.answers["logs"] = {"stdout": LOG_OF_TOLD, "stderr": "\n".join([*lines, ""])}
    found = texts(collected(engine, run_module, project)["dest"])
    (log,) = [text for name, text in found.items() if name.startswith("logs/")]
    assert "canary" not in log
    assert "cannot post to " in log and "Sh0rt is a short one" in log
    assert log.endswith("BEGIN PRIVATE KEY-----***-----END PRIVATE KEY-----\n")


def test_a_damaged_file_of_the_monitor_is_not_shown(engine: Any, run_module: Run, project: Path) -> None:
    (project.parent / "state" / "shop" / "monitor" / "notify.json").write_text('{"webhook": "https://x/canary')
    found = texts(collected(engine, run_module, project)["dest"])
    assert found["state/monitor/notify.json"].startswith("(could not be read: ")
    assert "canary" not in found["state/monitor/notify.json"]


def test_only_the_last_lines_of_a_log_are_taken(engine: Any, run_module: Run, project: Path) -> None:
    engine.answers["logs"] = {"stdout": LOG, "stderr": LOG.replace("02:00", "03:00")}
    found = texts(collected(engine, run_module, project, tail=2)["dest"])
    (log,) = [text for name, text in found.items() if name.startswith("logs/")]
    assert len(log.splitlines()) == 2 and all("T03:00" in line for line in log.splitlines())
    assert "--tail" in [word for call in engine.calls() if call[0] == "logs" for word in call]


def test_what_cannot_be_read_says_why_and_the_rest_is_there(engine: Any, run_module: Run, project: Path) -> None:
    (project / "compose.yml").write_text("services: [\n")
    down = {"rc": 1, "stderr": "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?"}
    engine.answers = dict.fromkeys(("ps", "inspect", "version", "info", "compose"), down)
    found = texts(collected(engine, run_module, project)["dest"])
    assert "the Docker engine does not answer" in found["docker/version.txt"]
    assert found["project/compose.txt"].startswith("(could not be read: ")
    assert "state/journal.jsonl" in found and "host/memory.txt" in found


def test_check_mode_names_all_and_writes_nothing(engine: Any, run_module: Run, project: Path) -> None:
    before = sorted(project.parent.rglob("*"))
    result = collected(engine, run_module, project, check=True)
    assert [path for path in sorted(project.parent.rglob("*")) if path not in before] == [
        path for path in (project.parent / "answers.json", project.parent / "calls") if path not in before
    ]
    assert result["size"] == 0 and len(result["entries"]) > 10
