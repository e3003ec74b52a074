# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in droplet with secrets in every place where operators keep them."""

from __future__ import annotations

import io
import json
import secrets
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dotenv import dotenv_values
from search import PIECE, Table

PROJECT = "/opt/wealth-coach-ai"
ENV = f"{PROJECT}/.env"
COMPOSE = f"{PROJECT}/docker-compose.yml"
DOCKERFILE = f"{PROJECT}/Dockerfile"
MAIN = f"{PROJECT}/backend/main.py"
HERE = Path(__file__).parent

ENV_TEXT = """\
# Copied from the development machine. The old backup's passphrase was {comment}
ENVIRONMENT=development
DEBUG=true
LOG_LEVEL=info
RATE_LIMIT_ENABLED=false
VALID_API_KEYS='["dev-key-12345","{old_key}"]'
JWT_SECRET_KEY="{jwt}"   # before: {jwt_before}
# JWT_SECRET_KEY={jwt_example}
REDIS_PASSWORD={redis}
REDIS_URL=redis://:{redis}@redis:6379/0
DATABASE_URL="postgresql://coach:{database_quoted}@db.example:5432/coach"
export OPENAI_API_KEY=sk-proj-{openai}
SMTP_PASSWORD='{smtp}'
NPM_TOKEN={npm}
LICENCE={licence}
SERVICE_USER={user}
PARTNER='a$${dollar}'
TLS_KEY="-----BEGIN PRIVATE KEY-----
{pem_1}
{pem_2}
-----END PRIVATE KEY-----"
"""


class Droplet:
    """The droplet, from outside: through the container engine, with all that is secret on standard input."""

    def __init__(self, container: str) -> None:
        self.exec = ["docker", "exec", "-i", container]

    def sh(self, script: str) -> str:
        """Run a script and return what it printed."""
        command = [*self.exec, "bash", "-euo", "pipefail", "-s"]
        return subprocess.run(command, input=script, check=True, stdout=subprocess.PIPE, text=True).stdout

    def read(self, path: str) -> str:
        """A file's text."""
        return subprocess.run([*self.exec, "cat", path], check=True, capture_output=True, text=True).stdout

    def write(self, path: str, text: str) -> None:
        """Replace a file's text; its mode stays."""
        subprocess.run([*self.exec, "bash", "-c", 'cat >"$0"', path], input=text, check=True, text=True)

    def replace(self, path: str, old: str, new: str) -> None:
        """Replace a text in a file.

        :raises ValueError: when it is not there, so that no case is left out silently.
        """
        text = self.read(path)
        if old not in text:
            raise ValueError(f"{path} has no {old!r}")
        self.write(path, text.replace(old, new, 1))


def token(bytes_: int = 24) -> str:
    """A random text of letters and digits."""
    return secrets.token_urlsafe(bytes_).replace("-", "x").replace("_", "y")


def plant(droplet: Droplet, table: Table) -> None:
    """Put a secret of its own in each place, and start the application with them."""
    made: dict[str, str] = {name: table.add(name, token(size)) for name, size in SIZES.items()}
    awkward = {name: table.add(name, text) for name, text in {
        "smtp": f"{token(9)}@{token(9)} #{token(9)}",
        "database": f"{token(9)}@/{token(9)}",
        "pem_1": token(48)[:40] + "+/" + token(12),
        "pem_2": token(48)[:40] + "//" + token(12),
        "dollar": token(12),
    }.items()}  # fmt: skip
    made.update(awkward, database_quoted=quote(awkward["database"], safe=""))
    droplet.write(ENV, ENV_TEXT.format(**made))
    droplet.sh(f"chmod 600 {ENV}")
    droplet.replace(COMPOSE, "    build: .\n", COMPOSE_TEXT.format(**made))
    droplet.replace(COMPOSE, '["redis-server", ', '["redis-server", "--requirepass", "${REDIS_PASSWORD}", ')
    droplet.replace(DOCKERFILE, "\n", DOCKERFILE_TEXT.format(**made))
    droplet.write(MAIN, droplet.read(MAIN) + f'\nFALLBACK_TOKEN = "{made["source"]}"\n')
    serve_git(droplet, made["git"])
    droplet.sh(f"echo 'root:{made['become']}' | chpasswd")
    droplet.sh(JOE)
    droplet.sh(f"cd {PROJECT}; docker compose up --detach --build --quiet-pull >/dev/null 2>&1")


SIZES = {
    name: size
    for size, names in {
        24: "user comment jwt_before jwt_example redis openai npm licence git become source index sentry innocent "
        "default compose_comment",
        32: "old_key",
        48: "jwt",
    }.items()
    for name in names.split()
}

COMPOSE_TEXT = """\
    build:
      context: .
      args:
        NPM_TOKEN: ${{NPM_TOKEN}}
    environment:
      SENTRY_DSN: https://{sentry}@sentry.example/1
      PARTNER_CODE: {innocent}   # the old token was {compose_comment}
      PARTNER_TOKEN: ${{PARTNER_TOKEN:-{default}}}
"""
DOCKERFILE_TEXT = """
ARG PIP_INDEX_URL=https://ci:{index}@packages.example/simple
ARG NPM_TOKEN
"""
JOE = """
useradd --create-home --shell /bin/bash joe
cp /etc/ssh/authorized_keys/root /etc/ssh/authorized_keys/joe
chmod 644 /etc/ssh/authorized_keys/joe
"""


def serve_git(droplet: Droplet, secret: str) -> None:
    """Move the origin behind a server that wants a token, which is in the address as many people have it."""
    droplet.write("/srv/git_server.py", (HERE / "git_server.py").read_text(encoding="utf-8"))
    droplet.write("/srv/git-token", f"deploy:{secret}")
    droplet.sh(
        "chmod 600 /srv/git-token; systemd-run --quiet --unit=git-server python3 /srv/git_server.py /srv/git-token"
    )
    config = f"{PROJECT}/.git/config"
    droplet.replace(config, "/srv/git/", f"http://deploy:{secret}@127.0.0.1:8418/")


def learn(table: Table, texts: list[str]) -> None:
    """Register the keys that were made since, from versions of the environment file."""
    for text in texts:
        values = dotenv_values(stream=io.StringIO(text), interpolate=False)
        try:
            keys = json.loads(values.get("VALID_API_KEYS") or "[]")
        except ValueError:
            continue
        found: list[Any] = [*keys, values.get("JWT_SECRET_KEY"), values.get("WEALTH_COACH_API_KEY")]
        for value in found:
            if isinstance(value, str) and len(value) >= PIECE and value != "dev-key-12345":
                table.add("new key", value)
