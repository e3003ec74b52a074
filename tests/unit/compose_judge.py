# SPDX-License-Identifier: GPL-3.0-or-later
"""Edits of Compose projects, and Compose itself as the judge of what they mean."""

from __future__ import annotations

import copy
import json
import os
import re
import shlex
import subprocess
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_change import plan, wanted
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_file import Project
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from compose_binary import BY_VERSION

SERVICE = "backend"
with_compose = pytest.mark.skipif(not BY_VERSION, reason="there is no docker-compose to ask")


class Sample(NamedTuple):
    """A project: its files by path, the option files, and the edits that have to be refused, by target."""

    name: str
    files: dict[str, str]
    named: list[str]
    refused: dict[str, set[str]]


# Each edit: the module's options, and the keys that change.
EDITS: dict[str, dict[str, Any]] = {
    "restart": {"restart": "unless-stopped"},
    "restart-never": {"restart": "no"},
    "restart-limited": {"restart": "on-failure:3"},
    "policy": {"deploy_restart_policy": {"condition": "on-failure", "max_attempts": 5}},
    "policy-any": {"deploy_restart_policy": {"condition": "any", "delay": "5s", "window": "30s"}},
    "command-text": {"command": "uvicorn other:app --port 9000"},
    "command-list": {"command": ["uvicorn", "other:app", "--title", "a b: # c"]},
    "variable": {"environment": {"LOG_LEVEL": "debug"}},
    "variables": {"environment": {"NEW_ONE": "1", "NEW_TWO": "a: b # 'c'", "LOG_LEVEL": "no"}},
    "no-restart": {"absent": ["restart"]},
    "no-policy": {"absent": ["deploy.restart_policy"]},
    "no-command": {"absent": ["command"]},
    "no-variable": {"absent": ["environment.LOG_LEVEL"]},
    "runbook": {
        "restart": "unless-stopped",
        "deploy_restart_policy": {"condition": "on-failure", "max_attempts": 3},
    },
    "comes-back": {"restart": "unless-stopped", "absent": ["deploy.restart_policy"]},
}
TARGETS = ("source", "override")


def load(folder: Path, sample: Sample) -> Project:
    for name, text in sample.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    return Project.load(str(folder), sample.named or None)


def changed_paths(options: dict[str, Any]) -> list[tuple[str, ...]]:
    change = wanted(**options)
    return [*change.values, *change.absent]


def edited(project: Project, edit: str, target: str) -> Project | HotfixError:
    try:
        return plan(project, SERVICE, wanted(**EDITS[edit]), override=target == "override")
    except HotfixError as error:
        return error


def unclear(error: HotfixError, folder: Path) -> list[str]:
    """What a refusal lacks: one sentence with file, line, reason, and what to do."""
    text = str(error)
    found = [] if re.match(rf"{re.escape(str(folder))}/[^:]+:[0-9]+: ", text) else [f"no file and line: {text}"]
    if not re.search(r"\. .*(?:[Ss]et target to (?:override|source)|Use target: override|by hand)", text):
        found.append(f"no remedy: {text}")
    return found


def config(program: str, folder: Path, named: list[str]) -> Any:
    """What Compose makes of a project, without what is empty there."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    files = [f"--file={name}" for name in named]
    command = [program, *files, "--profile=*", "config", "--format=json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    document["services"] = {name: without_empty(body) for name, body in document["services"].items()}
    return document


def without_empty(body: dict[str, Any]) -> dict[str, Any]:
    """A service without what Compose adds to it, and without what means nothing."""
    body = {**body, "deploy": {key: value for key, value in (body.get("deploy") or {}).items() if value}}
    return {
        key: value
        for key, value in body.items()
        if value is not None and not (key in ("environment", "deploy", "command") and not value)
    }


def expected(document: Any, options: dict[str, Any]) -> Any:
    """Compose's document plus the change."""
    document = copy.deepcopy(document)
    body = document["services"][SERVICE]
    if "restart" in options:
        body["restart"] = options["restart"]
    if "deploy_restart_policy" in options:
        body.setdefault("deploy", {})["restart_policy"] = options["deploy_restart_policy"]
    if "command" in options:
        command = options["command"]
        body["command"] = shlex.split(command) if isinstance(command, str) else command
    for name, value in options.get("environment", {}).items():
        body.setdefault("environment", {})[name] = value
    for path in options.get("absent", []):
        *holders, last = path.split(".")
        holder = body.get(holders[0], {}) if holders else body
        holder.pop(last, None)
    document["services"][SERVICE] = without_empty(body)
    return document


def judges(*case: str) -> list[str]:
    """The versions of Compose that judge a case."""
    versions = list(BY_VERSION)
    turn = zlib.crc32(" ".join(case).encode()) % len(versions)
    return versions if "FUZZ_EXAMPLES" in os.environ else [versions[turn]]


class Judge:
    """Asks Compose about a project before and after edits.

    :ivar asked: the number of edits judged.
    """

    def __init__(self, folder: Path, sample: Sample) -> None:
        self.folder, self.sample, self.asked = folder, sample, 0
        self.project = load(folder, sample)
        self.seen: dict[Any, Any] = {}

    def config(self, version: str, changes: dict[str, bytes]) -> Any:
        """What a version makes of the project with changed files."""
        key = (version, *sorted(changes.items()))
        self.asked += 1
        if key not in self.seen:
            for path, data in changes.items():
                Path(path).write_bytes(data)
            self.seen[key] = config(BY_VERSION[version], self.folder, self.sample.named)
            known = {str(self.folder / name): text for name, text in self.sample.files.items()}
            for path in changes:
                if path in known:
                    Path(path).write_bytes(known[path].encode())
                else:
                    Path(path).unlink()
        return self.seen[key]
