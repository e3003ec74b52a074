# SPDX-License-Identifier: GPL-3.0-or-later
"""Having Compose read the files of a project as they are going to be, before one of them is replaced."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator

from ansible_collections.composeops.hotfix.plugins.module_utils._compose_file import ComposeFile, Project
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Docker
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._files import problem, temporary_beside
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import redact


def accepted(docker: Docker, project: Project, changed: Iterable[ComposeFile], secrets: Iterable[str]) -> bool:
    """Whether Compose reads the project without an error.

    :param project: the project as it is going to be.
    :param changed: those of its files that are not on disk like that yet.
    :param secrets: values that an error must not show.
    :returns: ``False`` when it cannot be tried: there is no Compose here, or the changed file is one that others
        include or extend, of which no second copy can be made.
    :raises HotfixError: with Compose's reason.
    """
    try:
        docker.compose_version()
    except HotfixError:
        return False
    changed = list(changed)
    if any(file.path not in [other.path for other in project.files] for file in changed):
        return False
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
    return True


def _read(docker: Docker, project: Project, files: Iterable[str]) -> None:
    command = (f"--project-directory={project.project_src}", "config", "--quiet")
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
