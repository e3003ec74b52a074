# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a container's log through the engine, for a while if asked, and judging it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ansible_collections.composeops.hotfix.plugins.module_utils._container import Docker, environment, state
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._logs import Ended, Pattern, Scan, life_start, read
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import hidden_values, mask

READABLE = "Give the service a logging driver that can be read (json-file, local or journald) and recreate it"
UNREADABLE = "does not support reading"
ENDINGS = {
    "stopped": "the container stopped while it was watched",
    "restarted": "the container was restarted while it was watched",
    "removed": "the container was removed while it was watched",
    "cut": "the engine ended the log while it was watched",
}


class Request(NamedTuple):
    """What to look for and when: RFC 3339 times (``since`` None: the container's last start) and seconds to watch."""

    patterns: list[Pattern]
    since: str | None = None
    until: str | None = None
    watch: int = 0
    allow_stop: bool = False
    samples: int = 5
    tail: int = 0


def search(docker: Docker, inspect: Mapping[str, Any], request: Request) -> dict[str, Any]:
    """The result of the module ``container_log_info``.

    :param inspect: the container's ``docker inspect`` data.
    :raises HotfixError: when the container was never started, or its log cannot be read.
    """
    name = inspect["Name"].lstrip("/")
    driver = inspect["HostConfig"].get("LogConfig", {}).get("Type", "")
    if driver == "none":
        raise HotfixError(f"container {name} keeps no log: its logging driver is none", remedy=READABLE)
    since = request.since or _last_start(inspect, name)
    secrets = hidden_values(environment(inspect))
    scan = Scan(request.patterns, secrets=secrets, samples=request.samples, tail=request.tail)
    bounds = ["--timestamps", "--since", since, *(["--until", request.until] if request.until else [])]
    ending = None
    if request.watch:
        ended = read_log(docker, inspect, ["--follow", *bounds], scan, request.watch)
        ending = _ending(docker, inspect) if ended.at_end else "elapsed"
    # While it skips gigabytes of older lines the engine is silent, as if there were none.
    if not request.watch or (ending == "elapsed" and not scan.lines):
        read_log(docker, inspect, bounds, scan, None)
    stopped = ending in ENDINGS and not request.allow_stop
    return {
        "ok": scan.ok and not stopped,
        "problems": [*scan.problems(), *([ENDINGS[str(ending)]] if stopped else [])],
        "tail": scan.tail,
        "matches": [match.result() for match in scan.matches],
        "lines": scan.lines,
        "bytes": scan.bytes,
        "streams": scan.streams,
        "first_line": scan.first,
        "last_line": scan.last,
        "since": since,
        "until": request.until,
        "watch_ended": ending,
        "container": name,
    }


def _last_start(inspect: Mapping[str, Any], name: str) -> str:
    now = state(inspect)
    if now.started_at is None:
        raise HotfixError(f"container {name} was never started, so it has no log", remedy="Start it first")
    return life_start(now.started_at, now.finished_at)


def read_log(docker: Docker, inspect: Mapping[str, Any], options: list[str], scan: Scan, seconds: int | None) -> Ended:
    """Feed a container's log to ``scan``.

    :param options: of ``docker logs``.
    :param seconds: as :func:`_logs.read`.
    :raises HotfixError: when the log cannot be read.
    """
    command = docker.command("logs", *options, inspect["Id"])
    ended = read(command, scan, env=docker.environ, seconds=seconds)
    if not ended.returncode:
        return ended
    name = inspect["Name"].lstrip("/")
    if UNREADABLE in ended.complaint:
        driver = inspect["HostConfig"]["LogConfig"]["Type"]
        raise HotfixError(
            f"the log of container {name} cannot be read: its logging driver {driver} only sends it away",
            remedy=READABLE,
        )
    docker.version()  # raises when it is the engine that does not answer
    raise HotfixError(
        f"docker logs failed for container {name} (exit code {ended.returncode}): {mask(ended.complaint)}"
    )


def _ending(docker: Docker, inspect: Mapping[str, Any]) -> str:
    """Why a log that was followed came to its end."""
    now = docker.lookup(inspect["Id"])
    if now is None:
        return "removed"
    if state(now).started_at != state(inspect).started_at:
        return "restarted"
    return "cut" if now["State"]["Running"] else "stopped"
