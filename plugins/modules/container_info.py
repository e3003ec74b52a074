#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a container really is and does."""

from __future__ import annotations

DOCUMENTATION = r"""
module: container_info
short_description: Observe a container without changing anything
version_added: 0.1.0
description:
  - Tells what a container really is and does, as proof that a change has arrived in it. State, effective restart
    policy, memory and OOM kills from its control group, live worker processes, and fingerprints of its environment.
  - Files may say something else. A container keeps the environment, the policy and the image that it was created
    with.
notes:
  - Values of variables are never returned. A fingerprint is C(sha256:<first 8 hex digits> len=<length>), so that
    two values can be compared.
  - Memory figures and the processes' exact arguments need the engine to be on the managed host itself.
options:
  required:
    description:
      - Fail when there is no such container, instead of returning RV(exists=false).
    type: bool
    default: false
  source:
    description:
      - Look for source that the container sees through bind mounts, too (RV(source)). The folders are searched for it.
    type: bool
    default: false
  outdated:
    description:
      - See whether Compose would make another container of the service now (RV(outdated), RV(copied_in)). Needs
        O(project_src).
    type: bool
    default: false
  published_at:
    description:
      - A TCP port of the host. See what of the project has to be started for it to be published (RV(publishers_down)),
        such as a proxy in front of the service that an engine which was killed has left down. Needs O(project_src).
    type: int
requirements:
  - Docker Engine 20.10 or newer
extends_documentation_fragment:
  - composeops.hotfix._project
  - composeops.hotfix._project.SERVICE
  - composeops.hotfix._project.CONTAINER
  - composeops.hotfix._attributes
  - composeops.hotfix._attributes.INFO
author:
  - composeops.hotfix contributors (@composeops)
"""

EXAMPLES = r"""
- name: Look at the backend
  composeops.hotfix.container_info:
    project_src: /opt/wealth-coach-ai
    service: backend
    required: true
  register: backend

- name: Prove that the running container has two workers and lost none to the OOM killer
  ansible.builtin.assert:
    that:
      - backend.workers.count == 2
      - backend.memory.oom_kills == 0
      - backend.restart_policy.survives_reboot

- name: Prove that the running container no longer accepts the development key
  ansible.builtin.assert:
    that: "'sha256:f82f3a6e len=13' not in backend.environment_list.VALID_API_KEYS"
"""

RETURN = r"""
exists:
  description: Whether there is such a container, running or not. Without one, the other values are empty.
  type: bool
  returned: success
container:
  description: The container.
  type: dict
  returned: success
  contains:
    id:
      description: Its ID.
      type: str
    name:
      description: Its name.
      type: str
    image:
      description: The image as it was named when the container was created.
      type: str
    image_id:
      description: The image that it runs.
      type: str
    status:
      description: V(created), V(running), V(paused), V(restarting), V(removing), V(exited) or V(dead).
      type: str
    health:
      description: V(starting), V(healthy) or V(unhealthy). Null without a health check.
      type: str
    created_at:
      description: When it was made, RFC 3339.
      type: str
    started_at:
      description: When it was last started, RFC 3339. Null if never.
      type: str
    finished_at:
      description: When it last ended, RFC 3339. Null if never.
      type: str
    restart_count:
      description: How often the restart policy has started it again.
      type: int
    start_period:
      description: Seconds that it gets for its start before its health check counts; 0 without one.
      type: float
    exit_code:
      description: Exit code of its first process when it last ended.
      type: int
    oom_killed:
      description:
        - What the engine says. It stays false when the kernel kills a worker that is not the first process, and only
          RV(memory.oom_kills) tells.
      type: bool
    project:
      description: Name of the Compose project, else empty.
      type: str
    service:
      description: Name of the Compose service, else empty.
      type: str
    working_dir:
      description: Directory of the Compose project, else empty.
      type: str
    config_files:
      description: Absolute paths of the Compose files that it was made from.
      type: list
      elements: str
    ports:
      description: Published ports.
      type: list
      elements: dict
      contains:
        host_ip:
          description: Address on the host.
          type: str
        host_port:
          description: Port on the host.
          type: int
        container_port:
          description: Port in the container.
          type: int
        protocol:
          description: V(tcp), V(udp) or V(sctp).
          type: str
    networks:
      description: Its address in each network.
      type: dict
      sample: {wealth-coach-ai_default: 172.18.0.3}
restart_policy:
  description: The effective restart policy.
  type: dict
  returned: success
  contains:
    name:
      description: V(no), V(on-failure), V(unless-stopped) or V(always).
      type: str
    maximum_retry_count:
      description: Limit of V(on-failure). V(0) means none.
      type: int
    survives_reboot:
      description: Whether the container, running when the host reboots, comes back.
      type: bool
    notes:
      description: Why, in words.
      type: list
      elements: str
memory:
  description: Bytes from the control group. They begin anew whenever the container is started.
  type: dict
  returned: success
  contains:
    limit:
      description: The limit in force, the host's own groups around it included. Null without one.
      type: int
    usage:
      description: Memory in use, page cache included.
      type: int
    peak:
      description: The most that was ever in use. Null where the kernel does not keep it (version 2 before Linux 5.19).
      type: int
    oom_kills:
      description: How many processes the kernel's OOM killer has taken.
      type: int
cpus:
  description: The CPU quota. Null without one.
  type: float
  returned: success
processes:
  description: The processes, as the host numbers them. Secrets in their arguments are masked.
  type: list
  elements: dict
  returned: success
  contains:
    pid:
      description: Process ID on the host.
      type: int
    ppid:
      description: Process ID of the parent.
      type: int
    args:
      description: The command line.
      type: str
workers:
  description: The processes that serve requests.
  type: dict
  returned: success
  contains:
    server:
      description: V(uvicorn), V(gunicorn), or null when no process has that name.
      type: str
    count:
      description: Live workers. Neither the supervisor nor uvicorn's resource tracker is one.
      type: int
    supervisor_pid:
      description: The process that keeps them. Null when one process serves alone.
      type: int
    pids:
      description: The workers' process IDs.
      type: list
      elements: int
environment:
  description: A fingerprint for the value of each variable that the container was created with.
  type: dict
  returned: success
  sample: {ENVIRONMENT: "sha256:ab8e18ef len=10"}
environment_list:
  description: For each variable that is a JSON list of strings, the fingerprints of its elements.
  type: dict
  returned: success
  sample: {VALID_API_KEYS: ["sha256:1f0c3a5e len=43"]}
source:
  description:
    - Python source of the Compose project that the container sees through bind mounts, not in its image. A change
      of it takes a restart of the process and no build.
    - Null without O(source).
  type: dict
  returned: success
  contains:
    mounts:
      description: The directories or files of the host. Empty where the source is in the image.
      type: list
      elements: str
      sample: [/opt/wealth-coach-ai/backend]
    unread:
      description: Files, at most 20, that were changed after the container's start and that its process has not read.
      type: list
      elements: str
outdated:
  description:
    - Whether Compose would make another container, because of the service's image or of anything in the project's
      files.
    - Null without O(outdated), and where it cannot be known since Compose does not take the files.
  type: bool
  returned: success
copied_in:
  description:
    - Whether Compose puts configurations, secrets or what a hook makes into the container once it is made, by the files
      as they are. M(composeops.hotfix.container_restore) cannot know of them. Null as RV(outdated).
  type: bool
  returned: success
publishers_down:
  description:
    - The services to start, in this order, for O(published_at) to be published. That is the one that is made for it and
      does not run, behind what it depends on and does not run either; of several the one that ran last.
    - Empty where one of them runs, where the service publishes the port itself, and where Compose does not take the
      files.
    - Null without O(published_at).
  type: list
  elements: str
  returned: success
  sample: [proxy]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.composeops.hotfix.plugins.module_utils import _made_with
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_file import Project
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Docker
from ansible_collections.composeops.hotfix.plugins.module_utils._container_facts import MISSING, facts
from ansible_collections.composeops.hotfix.plugins.module_utils._container_options import (
    OPTIONS,
    REQUIRED,
    find_container,
    named_container,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._mounted_source import mounted_source
from ansible_collections.composeops.hotfix.plugins.module_utils._publishers import to_start


def compared(docker: Docker, options: dict[str, Any], inspect: dict[str, Any]) -> dict[str, bool]:
    """How the files stand to the container; empty where Compose does not take them."""
    if not options["project_src"]:
        raise HotfixError("outdated is asked of a container without its project", remedy="Name project_src and service")
    files, name = options["files"] or (), options["service"]
    try:
        project = Project.load(options["project_src"], options["files"])
        config = docker.config(project.project_src, files, [name], unset=project.variables())
        return {
            "outdated": _made_with.differs(docker, project, config, name, inspect),
            "copied_in": _made_with.copied_in(config, name),
        }
    except HotfixError:
        return {}


def publishers_down(docker: Docker, options: dict[str, Any]) -> list[str]:
    """What has to be started for a port to be published; nothing where Compose does not take the files."""
    if not options["project_src"]:
        raise HotfixError("published_at is asked without a project", remedy="Name project_src and service")
    files = options["files"] or ()
    try:
        project = Project.load(options["project_src"], options["files"])
        config = docker.config(project.project_src, files, unset=project.variables())
        found = map(docker.lookup, docker.find(project.project_src, files=files))
        # One may be gone by now.
        containers = [data for data in found if data is not None]
        return to_start(project, config, containers, options["service"], options["published_at"])
    except HotfixError:
        return []


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            **OPTIONS,
            "required": {"type": "bool", "default": False},
            "source": {"type": "bool", "default": False},
            "outdated": {"type": "bool", "default": False},
            "published_at": {"type": "int"},
        },
        **REQUIRED,
        supports_check_mode=True,
    )
    options = module.params
    docker = Docker()
    find = named_container if options["required"] else find_container
    try:
        inspect = find(docker, options)
        result = facts(docker, inspect) if inspect else MISSING
        if inspect and options["source"]:
            result["source"] = mounted_source(inspect)
        if inspect and options["outdated"]:
            result |= compared(docker, options, inspect)
        if options["published_at"] is not None:
            result["publishers_down"] = publishers_down(docker, options)
    except HotfixError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
