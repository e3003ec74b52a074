#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Why workers die, with evidence."""

from __future__ import annotations

DOCUMENTATION = r"""
module: worker_info
short_description: Say why workers die, with evidence
version_added: 0.1.0
description:
  - Names the cause of dying workers of uvicorn or gunicorn, with evidence and a confidence, and says what to do.
    uvicorn itself prints only C(Child process [N] died), for any cause and at level INFO.
  - Looks at the processes on the host, the control group's counters, the kernel's log where it can be read, what the
    engine remembers, and both streams of the container's log with their times.
  - With O(watch) it looks at the workers twenty times a second and so sees how each of them ends, whatever the log
    says. That takes about one hundredth of a CPU.
  - A watch of twenty seconds or more runs in the background, with a line every ten seconds that says what the workers
    do.
  - Counters and log are gone once the container is recreated. Run this before.
notes:
  - Has to run as root, on the host of the engine.
  - Arguments and lines of the log are masked. Values of the container's own secret variables are replaced by
    fingerprints, and all that looks like a key, token or password by C(***).
  - Works with control groups of version 1 and 2, for a container that runs, starts again and again, or has ended.
options:
  since:
    description:
      - Count only deaths from then on. RFC 3339 such as V(2025-10-18T02:00:00Z), a duration before now such as V(10m)
        or V(1h30m), or Unix time in seconds.
      - By default the container's last start, or the last change that O(state_dir) tells of. While the restart policy
        starts a container again and again, the two minutes before are looked at as well.
      - The control group's counter of kills begins with the container. A later instant needs the kernel's log or the
        engine's events to tell of a kill for lack of memory.
    type: str
  watch:
    description:
      - How many seconds to watch the workers before judging. Use the application meanwhile.
      - Without it a cause that leaves no trace, such as a worker that did not answer uvicorn's ping, is V(unknown).
    type: int
    default: 0
  state_dir:
    description:
      - Where the collection keeps its journal of the project, such as V(/var/lib/composeops). With it the number of
        workers that was changed in the running server (M(composeops.hotfix.worker_scale)) is taken for the configured
        one, and by default deaths are counted from that change on.
      - Needs O(project_src).
    type: path
requirements:
  - Docker Engine 20.10 or newer
extends_documentation_fragment:
  - composeops.hotfix._project
  - composeops.hotfix._project.SERVICE
  - composeops.hotfix._project.CONTAINER
  - composeops.hotfix._attributes
  - composeops.hotfix._attributes.INFO
seealso:
  - module: composeops.hotfix.worker_count
  - module: composeops.hotfix.container_log_info
author:
  - composeops.hotfix contributors (@composeops)
"""

EXAMPLES = r"""
- name: Watch the backend for two minutes and say why its workers die
  composeops.hotfix.worker_info:
    project_src: /opt/wealth-coach-ai
    service: backend
    watch: 120
  register: backend

- name: Show cause and evidence
  ansible.builtin.debug:
    msg: "{{ [backend.diagnosis.cause ~ ' (' ~ backend.diagnosis.confidence ~ ')'] + backend.diagnosis.evidence }}"

- name: Prove that nothing has died in the last ten minutes
  composeops.hotfix.worker_info:
    container: wealth_coach_backend
    since: 10m
  register: backend
  failed_when: backend.diagnosis.cause not in ['none', 'recycle']
"""

RETURN = r"""
diagnosis:
  description: Why workers died.
  type: dict
  returned: success
  contains:
    cause:
      description:
        - The cause of most deaths; V(recycle) and V(unknown) only where there is no other.
        - V(oom), the kernel killed for lack of memory. V(ping_timeout), the server killed a worker that did not answer
          in time. V(import_error), the application could not be imported or started. V(crash), a signal such as
          SIGSEGV or an exit code of its own. V(recycle), the server replaced it after its limit of requests, which is
          wanted. V(none), none has died. V(unknown), and the evidence says what would tell.
      type: str
      sample: oom
    causes:
      description: All causes, each with C(cause), C(count) and C(confidence), strongest first.
      type: list
      elements: dict
      sample: [{cause: oom, count: 3, confidence: high}, {cause: crash, count: 1, confidence: high}]
    confidence:
      description: V(high), V(medium) or V(low).
      type: str
    evidence:
      description: What shows it, one sentence each. Secrets are masked.
      type: list
      elements: str
recommendation:
  description: What to do.
  type: dict
  returned: success
  contains:
    workers:
      description: The number of workers to run as C(value), null when it cannot be said, and the C(reason).
      type: dict
      sample: {value: 2, reason: "The budget is 410 MiB: the limit of 512 MiB less 20% headroom."}
    memory:
      description: The memory limit in bytes that all configured workers need as C(value), and the C(reason).
      type: dict
      sample: {value: 721420288, reason: "The cause is not memory, so that fewer workers would not help."}
    actions:
      description:
        - Steps, each with C(action), C(reason) and C(kind).
        - Kinds are V(workers), V(memory), V(droplet), V(cpu), V(patience), V(settings), V(program), V(restart_policy),
          V(again) for what has to be looked at once more, and V(none) where nothing has to be done.
      type: list
      elements: dict
sizing:
  description:
    - What the configured workers take, measured, and what there is for them, in bytes. Null when no worker runs.
      Measure after some minutes of use; what a worker loads later is not in it.
  type: dict
  returned: success
  contains:
    workers:
      description: The number of workers that are reckoned with, the configured ones.
      type: int
    shared:
      description: What all processes share, and what is not a worker's.
      type: int
    per_worker:
      description: What the largest worker has for itself.
      type: int
    total:
      description: C(shared) and for each of the workers C(per_worker).
      type: int
    limit:
      description: The container's memory limit, or what the host has beside all else.
      type: int
    budget:
      description: C(limit) less 20% headroom.
      type: int
    cpus:
      description: The CPUs that the container may use.
      type: float
    busy:
      description: The most workers that so many CPUs keep busy, 2 * CPUs + 1.
      type: int
last_change:
  description: As RV(composeops.hotfix.worker_scale#module:last_change), with O(state_dir).
  type: dict
  returned: success
server:
  description: The server that runs.
  type: dict
  returned: success
  contains:
    name:
      description: V(uvicorn) or V(gunicorn). Null when it is neither by name.
      type: str
    version:
      description: Its version, from the files that the running process uses. Null when it does not run.
      type: str
      sample: 0.34.0
    argv:
      description: Its arguments, masked.
      type: list
      elements: str
    supervisor_pid:
      description: The process that keeps the workers. Null when one process serves alone.
      type: int
    configured:
      description: The number of workers that the running server was told to keep. Null when it cannot be seen.
      type: int
    ping_timeout:
      description: Seconds after which uvicorn kills a worker that does not answer. Null for gunicorn.
      type: float
    max_requests:
      description: Requests after which a worker is replaced. Null without such a limit.
      type: int
    source:
      description:
        - What the project's files say, which may be newer than the container. C(workers) is the number, C(name) the
          option or variable. C(file), C(line) and C(kind) are the place, as the RV(ignore:location) of
          M(composeops.hotfix.worker_count). C(reason) is all of it in words, or why nothing can be said.
      type: dict
workers:
  description: The processes that serve requests.
  type: list
  elements: dict
  returned: success
  contains:
    pid:
      description: Process ID on the host.
      type: int
    rss:
      description: Resident memory in bytes.
      type: int
    pss:
      description: The same, with shared pages divided among those that use them.
      type: int
    uss:
      description: Memory in bytes that it alone uses.
      type: int
    age:
      description: Seconds since it was started.
      type: float
memory:
  description: Bytes from the control group, as RV(composeops.hotfix.container_info#module:memory).
  type: dict
  returned: success
  sample: {limit: 536870912, usage: 401600512, peak: 536870912, oom_kills: 3}
cpu:
  description:
    - C(quota) is the number of CPUs that the container may use, C(seconds) what it has used, C(throttled) for how many
      seconds the quota held it up, C(throttled_part) in which part of its periods. Null where there is none.
  type: dict
  returned: success
  sample: {quota: 2.0, seconds: 812.5, throttled: 3.2, throttled_part: 0.01}
deaths:
  description: C(count), and C(timestamps) of the last ones that have a time, RFC 3339.
  type: dict
  returned: success
  sample: {count: 3, timestamps: ["2025-10-18T02:00:00.512000Z"]}
host:
  description:
    - C(memory) with C(total), C(available), C(swap_total) and C(swap_free) in bytes; C(cpus); C(load) of 1, 5 and 15
      minutes; C(disk) with C(path), C(total) and C(available) of the engine's data.
  type: dict
  returned: success
container:
  description:
    - As RV(composeops.hotfix.container_info#module:container), with the RV(ignore:restart_policy) of that module and
      C(survives_reboot).
  type: dict
  returned: success
since:
  description: From when on deaths are counted, RFC 3339.
  type: str
  returned: success
watched:
  description: For how many C(seconds) the workers were watched, and the C(cpu_seconds) that this took.
  type: dict
  returned: success
  sample: {seconds: 120.0, cpu_seconds: 0.9}
"""

from datetime import datetime, timezone

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Docker
from ansible_collections.composeops.hotfix.plugins.module_utils._container_options import (
    JOURNALED,
    OPTIONS,
    STATE_DIR,
    named_container,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._logs import parse_instant
from ansible_collections.composeops.hotfix.plugins.module_utils._worker_info import Request, worker_info


def request(options: dict) -> Request:
    """The module's options, checked."""
    if not 0 <= options["watch"] <= 86400:
        raise HotfixError(f"watch is {options['watch']}", remedy="Give seconds from 0 to 86400")
    since = options["since"]
    return Request(
        since=parse_instant(since, option="since", now=datetime.now(timezone.utc)) if since else None,
        watch=options["watch"],
        project_src=options["project_src"],
        service=options["service"],
        files=options["files"] or [],
        state_dir=options["state_dir"],
    )


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            **OPTIONS,
            **STATE_DIR,
            "since": {"type": "str"},
            "watch": {"type": "int", "default": 0},
        },
        **JOURNALED,
        supports_check_mode=True,
    )
    options = module.params
    docker = Docker()
    try:
        wanted = request(options)
        result = worker_info(docker, named_container(docker, options), wanted)
    except HotfixError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
