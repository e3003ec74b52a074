# SPDX-License-Identifier: GPL-3.0-or-later
"""Building and starting services with Compose, and saying why it failed without a secret of the project."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from ansible_collections.composeops.hotfix.plugins.module_utils import _dotenv, _ports
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_file import Project
from ansible_collections.composeops.hotfix.plugins.module_utils._container import WARNING, ComposeFailed, Docker
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._files import read_bytes
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import hidden_values, mask

# Lines of what Compose printed that are kept of a failure: a build ends with the output of the step that failed.
TAIL = 30
ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(\"(?:[^\"\\]|\\.)*\"|'[^']*'|\S+)")


class Request(NamedTuple):
    """What is to be done; see the module ``compose_up``."""

    services: Sequence[str]
    state: str = "present"
    build: str = "auto"
    recreate: str = "auto"
    dependencies: bool = True

    def words(self) -> list[str]:
        """The subcommand of Compose with its options."""
        if self.state == "built":
            return ["build", *self.services]
        if self.state == "absent":
            return ["down"]
        words = ["up", "--detach"]
        words += {"auto": [], "always": ["--build"], "never": ["--no-build"]}[self.build]
        words += {"auto": [], "always": ["--force-recreate"], "never": ["--no-recreate"]}[self.recreate]
        return [*words, *([] if self.dependencies else ["--no-deps"]), *self.services]

    @property
    def action(self) -> str:
        """What the journal calls it."""
        if self.state != "present":
            return {"built": "built", "absent": "taken down"}[self.state]
        return "started" if self.recreate == "never" else "recreated"


class Failure(HotfixError):
    """As any bad input, with the last lines that Compose printed, masked."""

    def __init__(self, message: str, output: list[str]) -> None:
        self.output = output
        super().__init__(message)


def made(docker: Docker, project: Project, files: Sequence[str], request: Request) -> dict[str, list[str]]:
    """The IDs of what there is of each service: its image where images are built, its containers otherwise."""
    if request.state != "built":
        names_wanted = request.services or project.names()
        return {name: docker.find(project.project_src, name, files=files) for name in names_wanted}
    config = docker.config(project.project_src, files, request.services, unset=project.variables())
    names = {name: config["services"][name].get("image") or f"{config['name']}-{name}" for name in request.services}
    listed = {
        name: docker.run("image", "inspect", "--format={{.Id}}", image, check=False) for name, image in names.items()
    }
    return {name: result.stdout.split() for name, result in listed.items()}


def running(docker: Docker, project: Project, files: Sequence[str], request: Request) -> set[str]:
    """The IDs of the containers that run of the services that are to be started."""
    names = request.services if request.state == "present" else ()
    return {found for name in names for found in docker.find(project.project_src, name, files=files, all=False)}


def carry_out(docker: Docker, project: Project, files: Sequence[str], request: Request, timeout: float) -> None:
    """Have Compose do it.

    :param files: as for :meth:`Docker.compose`.
    :param timeout: seconds.
    :raises Failure: with Compose's reason.
    """
    if request.state == "present" and request.recreate != "never":
        require_ports(docker, project, files, request.services)
    words = ("--progress=quiet", *request.words())
    with explained(docker, project):
        docker.compose(project.project_src, files, *words, unset=project.variables(), timeout=timeout)


def require_ports(docker: Docker, project: Project, files: Sequence[str], services: Sequence[str]) -> None:
    """See that the ports which services are going to publish in addition are free, while their containers still run.

    :raises HotfixError: naming the port and who has it.
    """
    try:
        config = docker.config(project.project_src, files, services, unset=project.variables())
    except ComposeFailed:
        return  # what follows fails for the same reason, and explains it
    for name in services:
        members = [data for data in map(docker.lookup, docker.find(project.project_src, name, files=files)) if data]
        port = _ports.taken(_ports.added(config["services"].get(name) or {}, members))
        if port is not None:
            by = _ports.holder(port)
            raise HotfixError(
                f"port {port.host_port}/{port.protocol} of this host, which service {name} is to publish, is taken"
                + (f" by {by}" if by else ""),
                path=project.project_src,
                remedy="Free it, or publish another one; the container was not touched",
            )


@contextlib.contextmanager
def explained(docker: Docker, project: Project) -> Iterator[None]:
    """Turn a failure of Compose into one that shows no secret of the project.

    :raises Failure: with Compose's reason.
    """
    try:
        yield
    except ComposeFailed as error:
        secrets = known(docker, project)
        shown = [line for line in error.output.splitlines() if line.strip() and not WARNING.search(line)]
        lines = mask("\n".join(shown), secrets).splitlines()
        raise Failure(mask(error.message, secrets), lines[-TAIL:]) from None


def answer(module: Any, run: Callable[[], dict[str, Any]]) -> None:
    """End a module with what a run returned, or with why it failed.

    :param module: its ``AnsibleModule``.
    """
    try:
        result = run()
    except Failure as error:
        module.fail_json(msg=str(error), output=error.output)
    except HotfixError as error:
        module.fail_json(msg=str(error))
    else:
        module.exit_json(**result)


def known(docker: Docker, project: Project) -> set[str]:
    """The secrets that a failure of Compose or of a build may quote, from all that the project's files set."""
    found: set[str] = set()
    for file in [*project.included, *project.files]:
        found |= file.secrets()
    for name in project.names():
        with contextlib.suppress(HotfixError):
            found |= _of_service(project, name)
    with contextlib.suppress(HotfixError):
        found |= hidden_values(project.variables())
    return found


def _of_service(project: Project, name: str) -> set[str]:
    service = project.resolved(name)
    variables: dict[str, str] = {}
    build = service.get("build") or {}
    for mapping in (service.get("environment"), build.get("args")):
        variables.update({name: str(value) for name, value in (mapping or {}).items() if value is not None})
    found = hidden_values(variables)
    for file in project.env_files(name):
        with contextlib.suppress(HotfixError):
            document = _dotenv.parse(read_bytes(file.path), file.path, _dotenv.RAW if file.raw else _dotenv.PORTABLE)
            found |= hidden_values(document.variables)
            found |= hidden_values({entry.name: document.meant(entry).value or "" for entry in document.entries})
    folder = os.path.join(project.directory, str(build.get("context") or "."))
    with contextlib.suppress(HotfixError):
        text = read_bytes(os.path.join(folder, str(build.get("dockerfile") or "Dockerfile"))).decode("utf-8", "replace")
        text += str(build.get("dockerfile_inline") or "")
        found |= hidden_values({name: value.strip("\"'") for name, value in ASSIGNMENT.findall(text)})
    return found
