# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs roles of the collection by ansible-playbook on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

PROGRAM = Path(sys.executable).with_name("ansible-playbook")


def play_roles(
    folder: Path,
    roles: Sequence[str | Mapping[str, Any]],
    hosts: Mapping[str, Mapping[str, Any]],
    *options: str,
    serial: Any = "100%",
    programs: Path | None = None,
    start: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run roles in one play, and return what became of it.

    :param folder: for inventory, playbook and temporary files.
    :param roles: each a name, or ``name:entry_point``; or a task to do in between.
    :param hosts: the hosts, all of them this machine, in order, with their variables.
    :param programs: a folder whose programs go before those of the machine.
    :param start: where ansible-playbook is started, if not in that folder.
    """
    common = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    tasks = []
    for role in roles:
        if not isinstance(role, str):
            tasks.append(dict(role))
            continue
        name, _colon, part = role.partition(":")
        imported = {"name": f"composeops.hotfix.{name}", "tasks_from": part or "main"}
        tasks.append({"ansible.builtin.import_role": imported})
    play = {"hosts": "all", "gather_facts": False, "serial": serial, "tasks": tasks}
    inventory = {name: {**common, **variables} for name, variables in hosts.items()}
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": inventory}}, sort_keys=False))
    (folder / "play.yml").write_text(yaml.safe_dump([play]))
    environment = {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}" if programs else os.environ["PATH"],
        "ANSIBLE_LOCAL_TEMP": str(folder / "tmp"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_PIPELINING": "1",
        # So that no sentence is broken over lines.
        "COLUMNS": "1000",
    }
    command = [str(PROGRAM), "-i", str(folder / "hosts.yml"), str(folder / "play.yml"), *options]
    return subprocess.run(command, cwd=start or folder, env=environment, capture_output=True, text=True, check=False)
