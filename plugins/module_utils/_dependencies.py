# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a running container reaches what its application depends on: asked from inside, with its own settings."""

from __future__ import annotations

import inspect
import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.composeops.hotfix.plugins.module_utils import _dependency_script
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Docker
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import URL_PASSWORD, mask
from ansible_collections.composeops.hotfix.plugins.module_utils._shutdown_probe import interpreter, read_result

KINDS = tuple(_dependency_script.ASK)
# Seconds that starting Python in the container may take.
OVERHEAD = 30
NO_PYTHON = (126, 127)


def ask(
    docker: Docker, container: Mapping[str, Any], questions: Sequence[Mapping[str, Any]], timeout: int
) -> list[dict[str, Any]]:
    """Ask each dependency its question, and give the answers in the same order.

    :param container: ``docker inspect`` data.
    :param questions: the suboptions of the module ``dependency_probe``.
    :param timeout: seconds that one answer may take.
    :raises HotfixError: when nothing can be asked from inside of the container.
    """
    for question in questions:
        if URL_PASSWORD.search(question["url"] or ""):
            raise HotfixError(
                f"the url of {question['name']} holds a password, which would show in the list of processes",
                remedy="Name the container's variable that holds it with url_variable",
            )
    name = str(container["Name"]).lstrip("/")
    if not container["State"].get("Running"):
        raise HotfixError(f"container {name} does not run", remedy="Start it: docker compose up -d")
    mark = f"composeops-probe-{secrets.token_hex(8)}"
    options = json.dumps({"questions": list(questions), "timeout": timeout, "mark": mark})
    command = [_python(docker, container), "-I", "-c", inspect.getsource(_dependency_script), options]
    result = docker.run(
        "exec", container["Id"], *command, check=False, timeout=OVERHEAD + len(questions) * timeout * 2.0
    )
    found = read_result(result.stdout, mark)
    if found is None:
        if result.returncode in NO_PYTHON:
            raise HotfixError(
                f"container {name} has no {command[0]} to ask with", remedy="Look from another container of its network"
            )
        last = mask((result.stderr.strip().splitlines() or ["it said nothing"])[-1])
        raise HotfixError(f"nothing can be asked from inside of container {name}: {last}")
    return list(found["answers"])


def _python(docker: Docker, container: Mapping[str, Any]) -> str:
    """The Python that the server runs with, which an image with several has not necessarily in its PATH."""
    processes = docker.processes(container["Id"])
    found = (interpreter(process.argv) for process in processes)
    return next((python for python in found if python.startswith("/")), "python3")
