# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that name a container, as the documentation fragments ``_project`` describe them, and what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.composeops.hotfix.plugins.module_utils._container import Docker

OPTIONS: dict[str, Any] = {
    "container": {"type": "str"},
    "project_src": {"type": "path"},
    "files": {"type": "list", "elements": "path"},
    "service": {"type": "str"},
}
# For AnsibleModule(); with REQUIRED one has to be named.
RULES: dict[str, Any] = {
    "mutually_exclusive": [("container", "project_src")],
    "required_by": {"project_src": "service", "service": "project_src"},
}
REQUIRED: dict[str, Any] = {**RULES, "required_one_of": [("container", "project_src")]}
# The same for a module that reads the project's journal.
STATE_DIR: dict[str, Any] = {"state_dir": {"type": "path"}}
JOURNALED: dict[str, Any] = {**REQUIRED, "required_by": {**RULES["required_by"], "state_dir": "project_src"}}


def named_container(docker: Docker, params: Mapping[str, Any]) -> dict[str, Any]:
    """What ``docker inspect`` says of the container that the options name.

    :raises HotfixError: naming what there is, when none or several fit.
    """
    return docker.container(
        params.get("container"), params["project_src"], params["service"], files=params["files"] or ()
    )


def find_container(docker: Docker, params: Mapping[str, Any]) -> dict[str, Any] | None:
    """As :func:`named_container`, but ``None`` when there is none."""
    return docker.lookup(params.get("container"), params["project_src"], params["service"], files=params["files"] or ())
