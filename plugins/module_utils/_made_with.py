# SPDX-License-Identifier: GPL-3.0-or-later
"""What a container was made with, and whether its files would make another one, but for the number of workers.

Compose itself is asked: it keeps a hash of all that it made a container from in a label, and prints the hash of what
the files say. With the old number put into the new description, both have to be the same. Tried with 2.26, 2.40, 5.6.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.composeops.hotfix.plugins.module_utils import _command_line as cl
from ansible_collections.composeops.hotfix.plugins.module_utils._command_line import Text
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_file import Project
from ansible_collections.composeops.hotfix.plugins.module_utils._container import LABEL, Docker, environment
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._worker_setting import WORKERS_NAME, first, given

# Numbers of sources: words of the command count from 0, variables from here.
VARIABLES = 1 << 20
PLACEHOLDER = "#"


class Made(NamedTuple):
    """What a container runs, and with which variables. The values are secrets."""

    entrypoint: list[str]
    command: list[str]
    variables: dict[str, str]


class Numbered(NamedTuple):
    """What something is made with, with the number of workers taken out."""

    words: list[str]
    variables: dict[str, str]


class Difference(NamedTuple):
    """How a container differs from what its files would make.

    :ivar reason: what else than the number of workers differs; None when nothing does.
    :ivar image_id: the image that the files name, as it is on this host now.
    """

    reason: str | None
    image_id: str


def of_container(inspect: Mapping[str, Any]) -> Made:
    """What a container was made with.

    :param inspect: its ``docker inspect`` data.
    """
    config = inspect["Config"]
    return Made(list(config.get("Entrypoint") or []), list(config.get("Cmd") or []), environment(inspect))


def of_service(service: Mapping[str, Any], image: Mapping[str, Any]) -> Made:
    """What a container would be made with.

    :param service: the service as Compose resolves it.
    :param image: ``docker image inspect`` data.
    """
    base = of_container(image)
    entrypoint, command = service.get("entrypoint"), service.get("command")
    # An entrypoint in Compose makes the image's command void.
    inherited = base.command if entrypoint is None else []
    variables = {name: str(value) for name, value in (service.get("environment") or {}).items() if value is not None}
    return Made(
        base.entrypoint if entrypoint is None else list(entrypoint),
        inherited if command is None else list(command),
        {**base.variables, **variables},
    )


def numbered(made: Made) -> Numbered:
    """Find the number of workers, and take it out."""
    words, variables = [*made.entrypoint, *made.command], dict(made.variables)
    names = list(variables)
    texts = {name: Text.of(variables[name], VARIABLES + index) for index, name in enumerate(names)}
    command = cl.parse([Text.of(word, index) for index, word in enumerate(words)], texts.get)
    found = first(given(command, texts)) if command.server else None
    number, span = cl.number(found), found.span() if found is not None else None
    if span is not None and span.source >= VARIABLES:
        variables[names[span.source - VARIABLES]] = _cut(variables[names[span.source - VARIABLES]], span)
    elif span is not None:
        words[span.source] = _cut(words[span.source], span)
    # A variable that Compose put into the command is often in the environment file as well, where nothing reads it.
    echoes = [name for name in names if WORKERS_NAME.search(name) and variables[name] == str(number)]
    variables.update({name: PLACEHOLDER for name in echoes})
    return Numbered(words, variables)


def difference(
    docker: Docker, project: Project, files: Sequence[str], name: str, inspect: dict[str, Any]
) -> Difference:
    """What Compose would make another container for, beside the number of workers.

    :param files: as for :meth:`Docker.compose`.
    :param name: the service.
    :param inspect: the running container.
    :raises HotfixError: when it cannot be known: Compose refuses the files, or an image is not on this host.
    """
    config = docker.config(project.project_src, files, [name], unset=project.variables())
    service = config["services"].get(name)
    if service is None:
        raise HotfixError(f"Compose has no service {name}", path=project.project_src)
    reference = service.get("image") or inspect["Config"]["Image"]
    images = json.loads(docker.run("image", "inspect", inspect["Image"], reference).stdout)
    old, new = of_container(inspect), of_service(service, images[1])
    reason = _image(*images) or _said(old, new) or _hashed(docker, project, config, name, inspect)
    return Difference(reason, images[1]["Id"])


def outdated(docker: Docker, project: Project, files: Sequence[str], name: str, inspect: Mapping[str, Any]) -> bool:
    """Whether Compose would make another container: because of its image, or of anything else in the files.

    :param files: as for :meth:`Docker.compose`.
    :param name: the service.
    :param inspect: the running container.
    """
    config = docker.config(project.project_src, files, [name], unset=project.variables())
    return differs(docker, project, config, name, inspect)


def differs(docker: Docker, project: Project, config: dict[str, Any], name: str, inspect: Mapping[str, Any]) -> bool:
    """As :func:`outdated`, of a project that Compose has resolved."""
    reference = config["services"][name].get("image") or f"{config['name']}-{name}"
    image = docker.run("image", "inspect", "--format={{.Id}}", reference, check=False).stdout.strip()
    return image != inspect["Image"] or not _same(docker, project, config, name, inspect)


def copied_in(config: Mapping[str, Any], name: str) -> bool:
    """Whether Compose puts something into a service's containers after it has made them, which the engine cannot tell.

    :param config: the project as Compose resolves it.
    """
    service = config["services"][name]
    for kind in ("configs", "secrets"):
        known = config.get(kind) or {}
        for used in service.get(kind) or []:
            if {"content", "environment"} & set(known.get(used.get("source")) or {}):
                return True
    return bool(service.get("post_start"))


def _cut(value: str, span: cl.Span) -> str:
    return value[: span.start] + PLACEHOLDER + value[span.end :]


def _image(old: dict[str, Any], new: dict[str, Any]) -> str | None:
    """How two images differ beside command and variables, which are looked at apart."""
    if old["Id"] == new["Id"]:
        return None
    if old["RootFS"] != new["RootFS"]:
        return "files in its image have changed"
    apart = ("Entrypoint", "Cmd", "Env", "Image", "Hostname")
    names = [key for key in {**old["Config"], **new["Config"]} if key not in apart]
    changed = sorted(key for key in names if (old["Config"].get(key) or None) != (new["Config"].get(key) or None))
    return f"its image has another {', '.join(changed)}" if changed else None


def _said(old: Made, new: Made) -> str | None:
    was, now = numbered(old), numbered(new)
    if was.words != now.words:
        return "its command has changed"
    names = sorted({**old.variables, **new.variables})
    changed = [
        name
        for name in names
        if old.variables.get(name) != new.variables.get(name) and was.variables.get(name) != now.variables.get(name)
    ]
    return f"variables have changed: {', '.join(changed)}" if changed else None


def _hashed(docker: Docker, project: Project, config: dict[str, Any], name: str, inspect: dict[str, Any]) -> str | None:
    """Ask Compose for the hash of the new description with the old command and variables in it."""
    service, old = dict(config["services"][name]), of_container(inspect)
    for key, words in (("entrypoint", old.entrypoint), ("command", old.command)):
        if service.get(key) is not None:
            service[key] = words
    if service.get("environment"):
        service["environment"] = {
            variable: value if value is None else old.variables.get(variable, value)
            for variable, value in service["environment"].items()
        }
    if _same(docker, project, {**config, "services": {**config["services"], name: service}}, name, inspect):
        return None
    return "its settings in the Compose files have changed, or were made by another version of Compose"


def _same(docker: Docker, project: Project, config: dict[str, Any], name: str, inspect: Mapping[str, Any]) -> bool:
    """Whether Compose makes the same hash of a service as it noted on the container."""
    service = config["services"][name]
    wanted = (inspect["Config"].get("Labels") or {}).get(f"{LABEL}config-hash", "")
    # Compose before 2.40 reckons what is started alone as another one than what is started with its dependencies.
    alone = {key: value for key, value in service.items() if key != "depends_on"}
    variants = ({**config, "services": {**config["services"], name: variant}} for variant in (service, alone))
    return bool(wanted) and any(_hash(docker, project, variant, name) == wanted for variant in variants)


def _hash(docker: Docker, project: Project, config: dict[str, Any], name: str) -> str:
    """The hash of a service of a resolved project, which is full of secrets and gets to Compose by a pipe alone."""
    folder = f"--project-directory={os.path.abspath(project.project_src)}"
    # Resolved already, so that no dollar sign in it begins a variable.
    text = json.dumps(config).replace("$", "$$")
    words = (folder, "--profile=*", "config", "--hash", name)
    return docker.compose(project.project_src, ["-"], *words, unset=project.variables(), stdin=text).split()[-1]
