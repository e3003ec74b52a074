#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What watching over an application has shown."""

from __future__ import annotations

DOCUMENTATION = r"""
module: monitor_info
short_description: Say what watching over an application has shown
version_added: 0.1.0
description:
  - Returns the verdict of the watch that M(composeops.hotfix.monitor) has started, its reasons, figures and events,
    while it runs and after its end.
notes:
  - No secret is in it. Lines of the log and answers of the application are masked where they are kept.
options:
  points:
    description:
      - How many points RV(series) has at most, each the worst of its stretch of samples.
    type: int
    default: 300
  events:
    description:
      - How many of the last events are returned.
    type: int
    default: 200
  unit_dir:
    description:
      - Where the units are.
    type: path
    default: /etc/systemd/system
extends_documentation_fragment:
  - composeops.hotfix._project.SOURCE
  - composeops.hotfix._project.STATE
  - composeops.hotfix._attributes
  - composeops.hotfix._attributes.INFO
seealso:
  - module: composeops.hotfix.monitor
author:
  - composeops.hotfix contributors (@composeops)
"""

EXAMPLES = r"""
- name: See what the watch has shown
  composeops.hotfix.monitor_info:
    project_src: /opt/wealth-coach-ai
  register: watch
  failed_when: watch.verdict == 'failed'
"""

RETURN = r"""
status:
  description: V(running), V(ended), V(stopped) before its time, or V(absent) when there never was a watch.
  type: str
  returned: success
started_at:
  description: When the watch began, RFC 3339 in UTC. Null without a watch, as are the others of its times.
  type: str
  returned: success
until:
  description: When it ends, has ended or was stopped.
  type: str
  returned: success
last_sample_at:
  description: When the last sample was taken.
  type: str
  returned: success
interval:
  description: Seconds from one sample to the next.
  type: float
  returned: success
duration:
  description: Seconds for which the watch lasts.
  type: float
  returned: success
verdict:
  description: V(healthy), V(degraded), V(failed), or V(unknown) while there is no sample.
  type: str
  returned: success
reasons:
  description: Why it is not healthy, a sentence each, the worst first.
  type: list
  elements: str
  returned: success
  sample: ["1 worker died (oom 1), the last one by 2025-10-18T02:00:00Z."]
samples:
  description: The number of samples that were taken.
  type: int
  returned: success
missed:
  description: The number of samples that should have been taken and were not, since the host was down.
  type: int
  returned: success
summary:
  description: The figures of the whole watch.
  type: dict
  returned: success
  contains:
    availability_percent:
      description: The part of the samples in which the application was healthy; those during runs do not count.
      type: float
    latency_ms:
      description: How long healthy answers took, as C(median), C(p95) and C(max).
      type: dict
    memory:
      description: The container's C(limit) and C(peak) in bytes, and C(peak_percent).
      type: dict
    deaths:
      description: The number of workers that died.
      type: int
    oom_kills:
      description: The number of processes that the kernel killed for lack of memory.
      type: int
    restarts:
      description: How often the container was restarted, by no run, reboot or restart of the engine.
      type: int
    errors:
      description: The number of lines of each pattern.
      type: dict
series:
  description: The course of the watch, oldest first.
  type: list
  elements: dict
  returned: success
  contains:
    time:
      description: When the stretch begins.
      type: str
    up:
      description: Whether the application was healthy all the time. Null when it was not asked.
      type: bool
    latency_ms:
      description: The longest time that a healthy answer took.
      type: float
    workers:
      description: The smallest number of live workers.
      type: int
    memory:
      description: The most memory that the container used, in bytes, without page cache that could be dropped.
      type: int
    limit:
      description: Its limit in bytes.
      type: int
    worker_memory:
      description: The memory of each worker then, in bytes, by its process ID in the container.
      type: dict
    deaths:
      description: Workers that died in the stretch.
      type: int
    oom_kills:
      description: Kills for lack of memory in the stretch.
      type: int
    restarts:
      description: Restarts of the container in the stretch.
      type: int
    errors:
      description: Lines of the patterns in the stretch.
      type: int
    disk_percent:
      description: How full the disk was.
      type: float
events:
  description: What happened, oldest first.
  type: list
  elements: dict
  returned: success
  contains:
    time:
      description: When it was noticed.
      type: str
    kind:
      description:
        - V(death), V(oom), V(restart), V(unhealthy), V(healthy), V(engine_down), V(reboot), V(policy), V(disk),
          V(error) or V(gap).
      type: str
    text:
      description: What it was, in a sentence.
      type: str
latest:
  description: The last sample as it was taken. Null without one.
  type: dict
  returned: success
cost:
  description: What the samples take, as C(cpu_percent) of one CPU on average and C(memory) in bytes at most.
  type: dict
  returned: success
notified:
  description: Which ways, C(webhook) and C(command), have been told of a failure.
  type: list
  elements: str
  returned: success
before:
  description: The names of earlier watches of which the data is kept, oldest first.
  type: list
  elements: str
  returned: success
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.composeops.hotfix.plugins.module_utils import _journal, _monitor_setup
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._monitor_store import FOLDER
from ansible_collections.composeops.hotfix.plugins.module_utils._monitor_units import UNIT_DIR, Systemd


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "project_src": {"type": "path", "required": True},
            "points": {"type": "int", "default": 300},
            "events": {"type": "int", "default": 200},
            "unit_dir": {"type": "path", "default": UNIT_DIR},
            "state_dir": {"type": "path", "default": _journal.STATE_DIR},
        },
        supports_check_mode=True,
    )
    options = module.params
    try:
        if options["points"] < 1 or options["events"] < 0:
            raise HotfixError("points is 1 or more, and events is not negative")
        home = os.path.join(_journal.project_folder(options["state_dir"], options["project_src"]), FOLDER)
        watch = _monitor_setup.look(home, Systemd(options["unit_dir"]))
        found = _monitor_setup.findings(home, watch, points=options["points"], events=options["events"])
    except HotfixError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
