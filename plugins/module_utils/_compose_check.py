# SPDX-License-Identifier: GPL-3.0-or-later
"""Having Compose read the files of a project as they are going to be, before one of them is replaced."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ansible_collections.composeops.hotfix.plugins.module_utils._compose_file import ComposeFile, Project
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Docker
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._files import problem, temporary_beside
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import redact


class Verdict(NamedTuple):
    """Whether Compose has accepted the files, and that as a sentence, or why it was not asked."""

    accepted: bool
    note: str


def validated(docker: Docker, project: Project, changed: Iterable[ComposeFile], secrets: Iterable[str]) -> Verdict:
    """Have Compose read the project, where it can be tried.

    It cannot without a Compose here, nor when the changed file is one that others include or extend, of which no second
    copy can be made.

    :param project: the project as it is going to be.
    :param changed: those of its files that are not on disk like that yet.
    :param secrets: values that an error must not show.
    :raises HotfixError: with Compose's reason.
    """
    try:
        docker.compose_version()
    except HotfixError as error:
        return Verdict(False, f"Compose has not checked the files: {error}")
    changed = list(changed)
    known = [file.path for file in project.files]
    inner = [file.path for file in changed if file.path not in known]
    if inner:
        return Verdict(False, f"Compose has not checked the files: others include or extend {inner[0]}, as it is now.")
    with contextlib.ExitStack() as stack:
        staged = {file.path: stack.enter_context(_staged(file)) for file in changed}
        files = [staged.get(file.path, file.path) for file in project.files]
        try:
            _read(docker, project, files)
        except HotfixError as error:
            reason = redact(str(error), secrets).rstrip(".")
            for path, temporary in staged.items():
                reason = reason.replace(temporary, path)
            raise HotfixError(reason, remedy=_remedy(docker, project, bool(staged))) from None
    return Verdict(True, "docker compose config accepts the files.")


def _read(docker: Docker, project: Project, files: Iterable[str]) -> None:
    """Have Compose read files as those of the project; for named files it does not look where they were named."""
    dotenv = [path for path in project.dotenv_paths() if os.path.isfile(path)]
    command = [*(f"--env-file={path}" for path in dotenv), "config", "--quiet"]
    docker.compose(project.project_src, list(files), *command, unset=project.variables())


def _remedy(docker: Docker, project: Project, is_changed: bool) -> str:
    """Whether the project was in order before is what the operator needs to know first."""
    if is_changed:
        with contextlib.suppress(HotfixError):
            _read(docker, project, [file.path for file in project.files if file.exists])
            return "Nothing was changed; without the change Compose accepts the files"
    return "Nothing was changed; correct that first, it is so without any change"


@contextlib.contextmanager
def _staged(file: ComposeFile) -> Iterator[str]:
    """The file's content under another name beside it, where its relative paths lead to the same places."""
    try:
        with temporary_beside(file.path) as (descriptor, temporary):
            with os.fdopen(descriptor, "wb", closefd=False) as stream:
                stream.write(file.data)
            yield temporary
    except OSError as error:
        raise problem(error, file.path, "write") from error
