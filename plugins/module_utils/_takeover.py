# SPDX-License-Identifier: GPL-3.0-or-later
"""What two containers of one service take of which one takes over from the other, in whichever way."""

from __future__ import annotations

import inspect as source
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.composeops.hotfix.plugins.module_utils import (
    _cgroup,
    _handover,
    _handover_guard,
    _journal,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_file import Project
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Docker, run_command
from ansible_collections.composeops.hotfix.plugins.module_utils._container_options import STATE_DIR
from ansible_collections.composeops.hotfix.plugins.module_utils._kernel_files import kernel_text
from ansible_collections.composeops.hotfix.plugins.module_utils._netfilter import MARK

# As the documentation fragment of the same name describes them.
ARGUMENTS: dict[str, Any] = {
    "project_src": {"type": "path", "required": True},
    "files": {"type": "list", "elements": "path"},
    "service": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["started", "active", "absent"], "default": "started"},
    "required": {"type": "bool", "default": False},
    "force": {"type": "bool", "default": False},
    "shared_volumes": {"type": "list", "elements": "str", "default": []},
    "exclusive": {"type": "bool", "default": False},
    "drain_timeout": {"type": "int", "default": 30},
    **STATE_DIR,
}
GRACE = 10.0  # seconds that Docker gives a container to stop when nobody says otherwise
OVERHEAD = 60.0  # seconds that the engine may take beyond that


def memory_obstacle(inspect: Mapping[str, Any]) -> str | None:
    """Why the host has too little memory for another container such as this one; None when it has enough."""
    memory = _cgroup.memory(inspect["State"]["Pid"], inspect["Id"])
    known = [figure for figure in (memory.limit, memory.peak or memory.usage) if figure is not None]
    available, total = _handover.meminfo(kernel_text("/proc/meminfo"))
    return _handover.memory_obstacle(min(known) if known else None, available, total)


def guard(
    container: Mapping[str, Any], programs: Sequence[str], *, network_of: Mapping[str, Any] | None = None
) -> None:
    """Have the rules that lead to a container taken away when its process ends, whatever becomes of this run.

    :param programs: the iptables programs that made them.
    :param network_of: the container in whose network they stand; by default that is the host's.
    """
    identity, pid = container["Id"][:12], container["State"]["Pid"]
    text = source.getsource(_handover_guard)
    words = [sys.executable, "-c", text, str(pid), _handover_guard.start_time(pid), MARK + identity, *programs]
    unit = f"composeops-hotfix-handover-{identity}"
    if network_of is not None:
        words = [*entering(network_of), *words]
        unit += f"-{network_of['Id'][:12]}"
    systemd = shutil.which("systemd-run")
    if systemd and os.path.isdir("/run/systemd/system"):
        # Of its own, so that it outlives the connection that started this module.
        describe = "--description=Ends a handover of composeops.hotfix when its copy ends"
        done = run_command([systemd, "--quiet", "--collect", f"--unit={unit}", describe, "--", *words])
        if done.returncode == 0:
            return
    null = subprocess.DEVNULL
    subprocess.Popen(words, stdin=null, stdout=null, stderr=null, start_new_session=True, close_fds=True, cwd="/")


def entering(container: Mapping[str, Any]) -> list[str]:
    """The words before a command that is to run in a container's network, with all else that of the host."""
    return [shutil.which("nsenter") or "nsenter", f"--net=/proc/{container['State']['Pid']}/ns/net", "--"]


def grace(project: Project, service: str) -> float:
    """Seconds that a service's containers get to stop."""
    period = project.resolved(service).get("stop_grace_period")
    return max(_handover.seconds(str(period or ""), GRACE), 1.0)


def end(docker: Docker, container: Mapping[str, Any], seconds: float, *, volumes: bool = False) -> None:
    """Stop a container, and remove it.

    :param seconds: that it gets to stop.
    :param volumes: remove those that are its own as well, as is right for one that was made for a while.
    """
    if container["State"]["Running"]:
        docker.run("stop", f"--time={int(seconds)}", container["Id"], check=False, timeout=seconds + OVERHEAD)
    docker.run("rm", "--force", *(["--volumes"] if volumes else []), container["Id"])


def note(params: Mapping[str, Any], action: str, result: str) -> None:
    """Write down in the project's journal what was done, where the module was given one."""
    if params["state_dir"]:
        folder = _journal.project_folder(params["state_dir"], params["project_src"])
        with _journal.held(folder, params["project_src"]):
            _journal.append(folder, action, result=result)
