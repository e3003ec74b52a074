# SPDX-License-Identifier: GPL-3.0-or-later
"""Proves whether an application closes Redis when it stops: its own image, started and stopped once, in a container.

Or only whether the engine can start such a container, and whether the image can import the application.

The running service is not touched. What stays is what any worker of the application leaves when it starts and stops.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import posixpath
import re
import secrets
import signal
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.composeops.hotfix.plugins.module_utils import _lifespan_script
from ansible_collections.composeops.hotfix.plugins.module_utils._command_line import parse_argv
from ansible_collections.composeops.hotfix.plugins.module_utils._container import ComposeFailed, Docker
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError

LABEL = "composeops.hotfix.shutdown-probe"
# Seconds that starting and removing a container may take beyond what happens in it.
OVERHEAD = 60
# A program that no image has: that only it is missing shows that the engine bears everything else.
NOTHING = "/composeops-starts-nothing"
REFUSAL = "Error response from daemon"
# What the engine refuses a second container and grants the service itself, once its old one is gone: fixed addresses.
TAKEN = re.compile(r"already (in use|allocated)", re.IGNORECASE)
PATTERNS = {
    "closed_line": re.compile("✓ Redis connections closed"),
    "cleanup_skipped": re.compile("Redis cleanup skipped"),
    "shutdown_error": re.compile("Shutdown error"),
    "never_awaited": re.compile("was never awaited"),
}


class Application(NamedTuple):
    """How the application is loaded, and the Python that it runs with."""

    name: str
    factory: bool
    folders: list[str]
    python: str


def exit_on_sigterm() -> None:
    """End on SIGTERM as on an error, so that the container is removed."""

    def end(*_arguments: object) -> None:
        raise SystemExit(143)

    signal.signal(signal.SIGTERM, end)


def application(argv: Sequence[str], override: str | None = None) -> Application:
    """The application in the command line of its server.

    :param override: an import string to use instead.
    :raises HotfixError: when the command line names none.
    """
    command = parse_argv(argv)
    name = override or command.application
    if not name or "$" in name:
        raise HotfixError(
            "the service's command does not name the application to start",
            remedy="Give its import string with the option application, such as backend.main:app",
        )
    return Application(name, command.factory and not override, [command.app_dir or "."], interpreter(argv))


def volumes(service: Mapping[str, Any]) -> list[str]:
    """Mounts with which a second copy of a service writes into nothing that the service has.

    An empty volume that goes with the container covers each named one; what is mounted from the host is read-only.

    :param service: the service as ``docker compose config`` resolves it.
    """
    mounts = []
    for mount in service.get("volumes") or []:
        if mount["type"] == "volume":
            mounts.append(mount["target"])
        elif mount["type"] == "bind":
            mounts.append(f"{mount['source']}:{mount['target']}:ro")
    return mounts


def _argv(service: Mapping[str, Any], image: Mapping[str, Any]) -> list[str]:
    """What the service starts, from Compose and the image."""
    entrypoint, command = service.get("entrypoint"), service.get("command")
    if command is None and entrypoint is None:
        command = image.get("Cmd")
    if entrypoint is None:
        entrypoint = image.get("Entrypoint")
    return [*(entrypoint or []), *(command or [])]


def interpreter(argv: Sequence[str]) -> str:
    """The Python of a server: one started by its full path may be in a virtual environment, with Python beside it."""
    for word in argv:
        if re.fullmatch(r"/\S+/python[\d.]*", word):
            return word
        if re.fullmatch(r"/\S+/(uvicorn|gunicorn|fastapi|hypercorn)", word):
            return posixpath.join(posixpath.dirname(word), "python3")
    return "python3"


def read_result(output: str, mark: str) -> dict[str, Any] | None:
    """The script's own line among all that the application printed."""
    for line in reversed(output.splitlines()):
        if line.startswith(f"{mark} "):
            with contextlib.suppress(ValueError):
                found: dict[str, Any] = json.loads(line[len(mark) + 1 :])
                return found
    return None


def verdict(found: Mapping[str, Any] | None, output: str, redis_port: int) -> dict[str, Any]:
    """The result in the module's terms. Nothing of the application's output is in it: that may hold secrets.

    :param found: what the script reported, or ``None`` when it was ended before.
    """
    data = found or {}
    before, after = int(data.get("connections_before") or 0), data.get("connections_after")
    startup, shutdown = data.get("startup") or "failed", data.get("shutdown") or "failed"
    is_observable = before > 0
    reason = _reason(data, startup, shutdown, redis_port)
    return {
        "ok": is_observable and shutdown == "complete" and after == 0,
        "observable": is_observable,
        "connections_before": before,
        "connections_after": before if after is None else after,
        "startup": startup,
        "shutdown": shutdown,
        "log": {name: bool(pattern.search(output)) for name, pattern in PATTERNS.items()},
        "reason": reason,
    }


def _reason(data: Mapping[str, Any], startup: str, shutdown: str, redis_port: int) -> str:
    because = f" ({data['error']})" if data.get("error") else ""
    before, after = data.get("connections_before") or 0, data.get("connections_after")
    unseen = [
        (not data, "the probe was ended before it could report, perhaps for lack of memory"),
        (startup == "unsupported", f"the application does not take part in the lifespan protocol{because}"),
        (startup != "complete", f"the application did not start{because}"),
        (not before, f"no connection to port {redis_port} was open after the start"),
    ]
    for is_so, text in unseen:
        if is_so:
            return f"not observable: {text}"
    if shutdown != "complete":
        return f"the shutdown did not complete{because}"
    if after:
        return f"{after} of {before} connections to Redis were still open after the shutdown"
    return f"all connections to Redis ({before}) were closed by the shutdown"


class Probe:
    """One container that starts and stops the application.

    :param timeout: seconds that start and stop may take together.
    :param isolated: keep the application from writing into the service's volumes; see :func:`volumes`.
    """

    def __init__(
        self,
        docker: Docker,
        project_src: str,
        files: Sequence[str],
        service: str,
        timeout: int,
        *,
        isolated: bool = True,
    ) -> None:
        self.docker = docker
        self.project_src = project_src
        self.files = list(files)
        self.service = service
        self.timeout = timeout
        self.isolated = isolated
        self.name = f"composeops-shutdown-probe-{secrets.token_hex(6)}"

    def run(
        self, override: str | None, redis_port: int, request_path: str | None, lines: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Start, stop, count, and remove the container again whatever happens.

        :param lines: texts to look for in what the application prints.
        :raises HotfixError: when the project, the service, its image or the application's name can't be found.
        """
        if not self.docker.find(self.project_src, files=self.files, all=False):
            # Without its network and its Redis, Compose would create what nobody removes.
            self.docker.container(None, self.project_src, self.service, files=self.files)
            raise HotfixError(
                "no container of the project is running", path=self.project_src, remedy="Start it: docker compose up -d"
            )
        options = {"redis_port": redis_port, "request_path": request_path or ""}
        app, output, found = self._try(override, options)
        seen = {"lines_seen": [line for line in lines if line in output]}
        return {"application": app.name, **verdict(found, output, redis_port), **seen}

    def refusal(self) -> str:
        """Why the engine cannot start a container of the service as its files say; empty where it can, or may.

        Nothing of the application runs. The user, mounts, devices and limits are what the engine looks at before it
        starts a program.

        :return: what Compose said, secrets masked.
        :raises HotfixError: as :meth:`run`.
        """
        self._service()
        self.sweep()
        try:
            self._compose_run(NOTHING)
        except ComposeFailed as failed:
            proven = REFUSAL in failed.output and NOTHING not in failed.output and not TAKEN.search(failed.output)
            return failed.message if proven else ""
        finally:
            self._remove(self.name)
        return ""

    def imports(self, override: str | None) -> dict[str, Any]:
        """Only import the application, and remove the container again whatever happens.

        What the operating system refuses in this container (OSError) it may grant in the service's, and is no verdict.

        :raises HotfixError: as :meth:`run`.
        """
        app, _output, found = self._try(override, {"only_import": True})
        found = found or {"imported": False, "error": None}
        is_verdict = bool(found["error"]) and found["error"] != "timeout" and not found["from_system"]
        return {
            "application": app.name,
            "imported": found["imported"],
            "refuted": not found["imported"] and is_verdict,
            "error": found["error"],
        }

    def _try(self, override: str | None, more: Mapping[str, Any]) -> tuple[Application, str, dict[str, Any] | None]:
        """The application, all that it printed, and what the script said of it, in a container that is gone again."""
        service, image = self._service()
        app = application(_argv(service, image), override)
        mark = f"composeops-probe-{secrets.token_hex(8)}"
        options = {"application": app.name, "factory": app.factory, "folders": app.folders, **more}
        options.update(timeout=self.timeout, mark=mark)
        self.sweep()
        try:
            output = self._output(app.python, json.dumps(options), volumes(service) if self.isolated else [])
        finally:
            self._remove(self.name)
        return app, output, read_result(output, mark)

    def _service(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The service as Compose resolves it, and the configuration of its image."""
        config = self.docker.config(self.project_src, self.files)
        services = config.get("services") or {}
        if self.service not in services:
            raise HotfixError(
                f"there is no service {self.service}; there is {', '.join(sorted(services))}",
                path=self.project_src,
                remedy="Check the option service",
            )
        service: dict[str, Any] = services[self.service]
        image = service.get("image") or f"{config['name']}-{self.service}"
        result = self.docker.run("image", "inspect", image, check=False)
        if result.returncode != 0:
            raise HotfixError(
                f"the image {image} is not on this host", path=self.project_src, remedy="Build it: docker compose build"
            )
        return service, json.loads(result.stdout)[0].get("Config") or {}

    def _output(self, python: str, options: str, mounts: Sequence[str]) -> str:
        source = inspect.getsource(_lifespan_script)
        return self._compose_run(python, "-W", "always", "-c", source, options, mounts=mounts)

    def _compose_run(self, program: str, *arguments: str, mounts: Sequence[str] = ()) -> str:
        """What a program prints in a container of the service."""
        words = ["run", "--rm", "--no-deps", "-T", "--name", self.name]
        words += ["--label", f"{LABEL}={os.getpid()}.{int(time.time()) + self.timeout + OVERHEAD}"]
        # A proxy that reads labels must not send requests to a container that serves none.
        words += ["--label", "traefik.enable=false", "--env", "PYTHONDONTWRITEBYTECODE=1"]
        words += [f"--volume={mount}" for mount in mounts]
        words += ["--entrypoint", program, self.service, *arguments]
        return self.docker.compose(self.project_src, self.files, *words, timeout=self.timeout + OVERHEAD)

    def sweep(self) -> None:
        """Remove the containers of probes that were killed."""
        listing = self.docker.run(
            "ps", "--all", "--filter", f"label={LABEL}", "--format", f'{{{{.ID}}}} {{{{.Label "{LABEL}"}}}}'
        )
        for line in listing.stdout.splitlines():
            container, _blank, label = line.partition(" ")
            pid, _dot, expires = label.partition(".")
            is_alive = pid.isdigit() and os.path.isdir(f"/proc/{pid}")
            if not is_alive or not expires.isdigit() or int(expires) < time.time():
                self._remove(container)

    def _remove(self, container: str) -> None:
        self.docker.run("rm", "--force", "--volumes", container, check=False)
