# SPDX-License-Identifier: GPL-3.0-or-later
"""What is run: the playbooks as an operator uses them, and runs that fail, each beside a secret."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from search import Table
from stand_in import COMPOSE, DOCKERFILE, ENV, MAIN, PROJECT, Droplet, token

Step = Callable[[Droplet, Table], None]


@dataclass(frozen=True)
class Run:
    """One run of a playbook.

    :ivar options: of ansible-playbook.
    :ivar before: what is done to the droplet first; the project's files are put back afterwards.
    :ivar says: what a failing run has to tell the operator, as a regular expression; None for one that must succeed.
    :ivar kill: the task at which something is killed.
    """

    name: str
    playbook: str = "apply"
    options: tuple[str, ...] = ()
    before: Step | None = None
    says: str | None = None
    kill: str = ""


def env_line(line: str) -> Step:
    """One more line in the environment file, with a secret in it."""
    return lambda droplet, table: droplet.write(
        ENV, droplet.read(ENV) + line.format(secret=table.add("beside a fault in .env", token())) + "\n"
    )


def partner(value: str) -> Step:
    """Another value for a variable in the Compose file, with a secret in it."""

    def step(droplet: Droplet, table: Table) -> None:
        secret = table.add("beside a fault in the Compose file", token())
        lines = droplet.read(COMPOSE).splitlines()
        at = next(number for number, line in enumerate(lines) if "PARTNER_CODE:" in line)
        lines[at] = "      PARTNER_CODE: " + value.format(secret=secret)
        droplet.write(COMPOSE, "\n".join(lines) + "\n")

    return step


def setting(key: str) -> Step:
    """A setting of the service that takes a value from the environment file which it cannot have."""

    def step(droplet: Droplet, _table: Table) -> None:
        droplet.replace(COMPOSE, "    mem_limit: 512m\n    memswap_limit: 512m\n", "")
        droplet.replace(COMPOSE, "    depends_on:", f"{key}\n    depends_on:")

    return step


def dockerfile(line: str) -> Step:
    """A step of the build that fails."""
    return lambda droplet, _table: droplet.replace(DOCKERFILE, "WORKDIR", f"{line}\nWORKDIR")


def source(path: str, old: str, new: str) -> Step:
    """An edit of the application."""
    return lambda droplet, _table: droplet.replace(f"{PROJECT}/backend/{path}", old, new)


def conflict(droplet: Droplet, table: Table) -> None:
    """Upstream changes the line where the server's copy has a secret."""
    secret = table.add("in a conflict", token())
    droplet.sh(UPSTREAM)
    droplet.write(
        MAIN, droplet.read(MAIN).replace('title="Wealth Coach AI"', f'title="Wealth Coach AI", token="{secret}"')
    )


def refuse(droplet: Droplet, table: Table) -> None:
    """A token that the code host does not take."""
    config = f"{PROJECT}/.git/config"
    secret = table.add("wrong git token", token())
    text = droplet.read(config)
    was = text.split("deploy:", 1)[1].split("@", 1)[0]
    droplet.write(config, text.replace(was, secret))


def move(droplet: Droplet, _table: Table) -> None:
    """A code host that does not answer."""
    droplet.replace(f"{PROJECT}/.git/config", "127.0.0.1:8418", "127.0.0.1:8419")


UPSTREAM = """
work=$(mktemp -d)
git clone --quiet /srv/git/wealth-coach-ai.git "$work/clone"
cd "$work/clone"
sed -i 's/title="Wealth Coach AI"/title="Wealth Coach"/' backend/main.py
git -c user.name=t -c user.email=t@t.example commit --quiet --all --message "Rename"
git push --quiet
rm -rf "$work"
"""
PRINTS = """
import json, logging, os, sys
NAMES = "VALID_API_KEYS JWT_SECRET_KEY REDIS_URL DATABASE_URL SMTP_PASSWORD TLS_KEY LICENCE PARTNER"
for name in (NAMES + " PARTNER_CODE SENTRY_DSN").split():
    value = os.environ[name]
    print(f"ERROR cannot use {value}", file=sys.stderr)
    print(f"ERROR cannot use {value!r}", file=sys.stderr)
    print(json.dumps({"level": "error", "detail": value}), file=sys.stderr)
    print(f"ERROR cannot use {value[:20]}...", file=sys.stderr)
raise RuntimeError("ERROR " + os.environ["PARTNER"])


class Settings"""
HEALTH = 'return {"status": "healthy"}'
ANSWERS = (
    'import os; return {"status": "failing", "detail": [os.environ[name] for name in '
    '("DATABASE_URL", "REDIS_URL", "LICENCE", "PARTNER_CODE", "TLS_KEY")]}'
)
ALL = ("-vvvv", "--diff")
# Without pipelining a module is a file, named on its command line.
FILES = (*ALL, "-e", "ansible_pipelining=false")
HANDING_OFF = "Put the newest key into the mobile configuration on the controller"
SOON = (*ALL, "-e", "deploy_health_timeout=8")
AS_IT_WAS = (*SOON, "-e", "deploy_strategy=recreate")
ELSEWHERE = "uvicorn backend.main:app --host 0.0.0.0 --port 8001"

RUNS = (
    Run("check", options=("--check", "--diff", "-vvvv")),
    Run("apply", options=ALL),
    Run("verify", "verify", options=ALL),
    Run("rotate", "rotate_keys", options=(*ALL, "-e", "rotate_jwt=true")),
    Run("retire", "retire_keys", options=(*ALL, "-e", "api_keys_retire=all_but_newest", "-e", "api_keys_force=true")),
    Run("states", "rollback", options=(*ALL, "-e", "rollback_list=true")),
    # The diff of a return shows files as they were, old keys included.
    Run("return", "rollback", options=(*ALL, "--check", "-e", "rollback_keys=true")),
    Run("shared", "rotate_keys", options=(*ALL, "-e", "api_keys_shared=true", "-e", "hotfix_hosts=droplet,second")),
    Run("diagnose", "diagnose", options=ALL),
    Run("bundle", "support_bundle", options=ALL),
    Run("monitor", "monitor", options=(*ALL, "-e", "@operator/monitor.yml", "-e", "monitor_interval=2s")),
    Run("monitor-status", "monitor", options=(*ALL, "-e", "monitor_action=status")),
    Run("monitor-report", "monitor", options=(*ALL, "-e", "monitor_action=report")),
    Run("report", "report", options=ALL),
    Run("monitor-stop", "monitor", options=(*ALL, "-e", "monitor_action=stop")),
    Run("live", options=(*ALL, "-t", "workers", "-e", "workers_apply=live", "-e", "workers_count=3")),
    # Its password goes to su, for which Ansible transfers modules as files instead of piping them.
    Run("user", options=(*ALL, "-e", "@operator/joe.yml")),
    Run("env-words", options=ALL, before=env_line("BROKEN LINE {secret}"), says=r"\.env:\d+: .*space"),
    Run("env-quote", options=ALL, before=env_line("X='{secret}"), says=r"\.env:\d+: "),
    Run("env-name", options=ALL, before=env_line("a {secret}-b = c"), says=r"\.env:\d+: "),
    Run("env-template", options=ALL, before=env_line("X=${{{secret}"), says=r"\.env:\d+: "),
    Run("env-required", options=ALL, before=env_line("X=${{X_{secret}:?{secret}}}"), says=r"\.env"),
    Run("yaml-alias", options=ALL, before=partner("*{secret}"), says=r"docker-compose\.yml:\d+: "),
    # Compose takes a tag that it does not know for none.
    Run("yaml-tag", options=(*ALL, "--check"), before=partner("!{secret}")),
    Run("yaml-escape", options=ALL, before=partner('"{secret}\\q"'), says=r"docker-compose\.yml:\d+: "),
    Run("yaml-colon", options=ALL, before=partner("{secret}: a"), says=r"docker-compose\.yml:\d+: "),
    Run("yaml-quote", options=ALL, before=partner('"{secret}'), says=r"docker-compose\.yml:\d+: "),
    Run("yaml-percent", options=ALL, before=partner("%{secret}"), says=r"docker-compose\.yml:\d+: "),
    Run("yaml-template", options=ALL, before=partner("${{{secret}"), says="interpolation"),
    Run("yaml-twice", options=ALL, before=partner("{secret}\n      PARTNER_CODE: {secret}"), says="PARTNER_CODE"),
    Run("compose-size", options=ALL, before=setting("    mem_limit: ${LICENCE}"), says="mem_limit|size"),
    Run("compose-port", options=ALL, before=setting('    ports: ["${LICENCE}:80"]'), says="port"),
    Run("engine-user", options=ALL, before=setting("    user: ${SERVICE_USER}"), says="unable to find user"),
    Run("git-refused", options=ALL, before=refuse, says="cannot fetch from origin"),
    Run("git-away", options=ALL, before=move, says="cannot fetch from origin"),
    Run("git-conflict", options=ALL, before=conflict, says="conflict"),
    Run("build-step", options=ALL, before=dockerfile("RUN env; echo $PIP_INDEX_URL; false"), says="exit code: 1"),
    Run("build-file", options=ALL, before=dockerfile("RUNN $PIP_INDEX_URL"), says="RUNN"),
    Run("crash", options=SOON, before=source("core/config.py", "class Settings", PRINTS), says="cannot import"),
    Run("health", options=SOON, before=source("api/routes.py", HEALTH, ANSWERS), says="did not answer"),
    # The container of before is made again then, with all its variables in a request to the engine.
    Run("port", options=AS_IT_WAS, before=setting("    command: " + ELSEWHERE), says="made again as it was"),
    Run("password", options=(*ALL, "-e", "@operator/wrong.yml"), says="does not open"),
    Run("weak-key", options=(*ALL, "-e", "@operator/weak.yml"), says="development"),
    Run("no-right", options=(*ALL, "-e", "ansible_user=joe", "-e", "ansible_become=false"), says="may not be changed"),
    Run("killed-module", "rotate_keys", FILES, says="MODULE|Shared connection", kill="AnsiballZ_key_rotation"),
    Run("killed-run", "rotate_keys", ALL, says="", kill=HANDING_OFF),
    Run("again", options=ALL),
)  # fmt: skip
