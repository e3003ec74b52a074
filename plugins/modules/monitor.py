#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Watch over an application for a day."""

from __future__ import annotations

DOCUMENTATION = r"""
module: monitor
short_description: Watch over an application for a day, from the managed host
version_added: 0.1.0
description:
  - Installs a systemd service and its timer, which take a sample of the application each O(interval) for O(duration)
    and then remove themselves. They survive a reboot of the host and a restart of the engine, and need neither
    Ansible nor the controller.
  - A sample asks the health route, and looks at the container's state, its workers, their memory, the kernel's
    counter of kills for lack of memory, the restart policy, the disk, and at what is new in the log. A worker that
    died between two samples shows by these. What a run of this collection does meanwhile is told, and no fault.
  - The watch has a verdict, V(healthy), V(degraded) or V(failed), with its reasons. M(composeops.hotfix.monitor_info)
    returns it. Of the first failure somebody can be told by O(webhook) and O(command). Where that fails it is tried
    again until the end of the watch, at a growing distance of an hour at most.
  - The same again changes nothing. With other settings a watch that runs goes on by these. Once a watch has ended or
    was stopped, another one begins, and the data of three watches before it stays.
notes:
  - The data lies in C(monitor) in the project's folder below O(state_dir), with mode V(0700), as JSON lines that are
    rotated. Texts in it are masked as those of M(composeops.hotfix.container_log_info) are.
  - While nothing can be written there, as on a full disk, the watch goes on, and tells of a failure; what it remembers
    lies below C(/run/composeops-monitor) meanwhile, and each sample ends as failed for systemd.
  - A watch of which the time is over while the host is down ends with the first sample after its boot.
  - The units are called C(composeops-monitor-<name of the project's folder>).
options:
  state:
    description:
      - V(started) lets a watch run.
      - V(stopped) ends it before its time and removes its units. Its data stays.
    type: str
    choices: [started, stopped]
    default: started
  project_src:
    required: true
  service:
    description:
      - Name of the service in the Compose project. Needed with O(state=started).
    type: str
  url:
    description:
      - Address of the health route, as seen from the managed host. Without it the application counts as up while its
        container runs.
    type: str
  body:
    description:
      - What the JSON of a healthy answer holds. Further keys in it do not matter.
    type: dict
    default: {}
  timeout:
    description:
      - Seconds that the answer may take, at most 10.
    type: int
    default: 5
  validate_certs:
    description:
      - Whether the certificate of O(url) has to be valid.
    type: bool
    default: true
  interval:
    description:
      - The time from one sample to the next, such as V(60s) or V(5m). A plain number is one of seconds.
    type: str
    default: 60s
  duration:
    description:
      - For how long the watch lasts, such as V(24h) or V(7d).
    type: str
    default: 24h
  patterns:
    description:
      - What to look for in the log.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description:
          - Name of the pattern in the result.
        type: str
        required: true
      regex:
        description:
          - Regular expression of Python, found anywhere in a line.
        type: str
        required: true
      expect:
        description:
          - A line of a pattern that is expected to be V(absent) makes the watch V(degraded). V(any) only counts.
        type: str
        choices: [absent, any]
        default: absent
  outage:
    description:
      - Seconds for which the application may be unhealthy on end before the watch is V(failed), from the first bad
        sample to the last. One bad sample alone is none, unless it is V(0).
    type: int
    default: 120
  memory_percent:
    description:
      - The part of the container's memory limit, in percent, from which on the watch is V(degraded).
    type: int
    default: 95
  disk_percent:
    description:
      - The part of the disk, in percent, from which on the watch is V(degraded).
    type: int
    default: 90
  webhook:
    description:
      - Address to which the first failure is posted, as JSON with C(text), C(host), C(project_src), C(service),
        C(time), C(verdict) and C(reasons). It may hold a user and password. A redirect is not followed.
      - It is kept in a file of its own with mode V(0600) until the watch ends, and shown as a fingerprint only.
    type: str
  command:
    description:
      - Command that is given the first failure as text on its standard input, such as
        V(mail -s 'Application failed' ops@example.org). It is run without a shell.
      - Its program has to be on the managed host, where units look for programs; they see none in C(/tmp). On Ubuntu
        C(mail) comes with the package C(mailutils).
    type: str
  unit_dir:
    description:
      - Where the units are written.
    type: path
    default: /etc/systemd/system
extends_documentation_fragment:
  - composeops.hotfix._project
  - composeops.hotfix._project.STATE
  - composeops.hotfix._attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - The settings and the units. Addresses to be told are shown as fingerprints.
  idempotent:
    support: full
requirements:
  - systemd on the managed host
  - Docker Engine 20.10 or newer
seealso:
  - module: composeops.hotfix.monitor_info
author:
  - composeops.hotfix contributors (@composeops)
"""

EXAMPLES = r"""
- name: Watch over the application for a day
  composeops.hotfix.monitor:
    project_src: /opt/wealth-coach-ai
    service: backend
    url: http://127.0.0.1:8000/api/v1/health
    body: {status: healthy}
    patterns:
      - name: errors
        regex: '\bERROR\b|Traceback'
    command: mail -s 'The application failed' ops@example.org

- name: End it before its time
  composeops.hotfix.monitor:
    state: stopped
    project_src: /opt/wealth-coach-ai
"""

RETURN = r"""
status:
  description: What becomes of the watch, V(running), V(ended), V(stopped) or V(absent).
  type: str
  returned: success
new:
  description: Whether a watch begins.
  type: bool
  returned: success
folder:
  description: Where its data lies.
  type: str
  returned: success
  sample: /var/lib/composeops/wealth-coach-ai/monitor
unit:
  description: The name of its service and timer.
  type: str
  returned: success
  sample: composeops-monitor-wealth-coach-ai
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.composeops.hotfix.plugins.module_utils import _journal, _monitor_setup
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Docker
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._logs import compile_patterns
from ansible_collections.composeops.hotfix.plugins.module_utils._monitor_store import FOLDER
from ansible_collections.composeops.hotfix.plugins.module_utils._monitor_units import UNIT_DIR, Systemd, unit_name
from ansible_collections.composeops.hotfix.plugins.module_utils._patterns import parse_duration

PATTERN = {
    "name": {"type": "str", "required": True},
    "regex": {"type": "str", "required": True},
    "expect": {"type": "str", "choices": ["absent", "any"], "default": "absent"},
}
SPEC = {
    "state": {"type": "str", "choices": ["started", "stopped"], "default": "started"},
    "project_src": {"type": "path", "required": True},
    "files": {"type": "list", "elements": "path"},
    "service": {"type": "str"},
    "url": {"type": "str"},
    "body": {"type": "dict", "default": {}},
    "timeout": {"type": "int", "default": 5},
    "validate_certs": {"type": "bool", "default": True},
    "interval": {"type": "str", "default": "60s"},
    "duration": {"type": "str", "default": "24h"},
    "patterns": {"type": "list", "elements": "dict", "default": [], "options": PATTERN},
    "outage": {"type": "int", "default": 120},
    "memory_percent": {"type": "int", "default": 95},
    "disk_percent": {"type": "int", "default": 90},
    "webhook": {"type": "str", "no_log": True},
    "command": {"type": "str", "no_log": True},
    "unit_dir": {"type": "path", "default": UNIT_DIR},
    "state_dir": {"type": "path", "default": _journal.STATE_DIR},
}
# What a watch is told as it stands in the options.
PLAIN = ("service", "url", "body", "timeout", "validate_certs", "outage", "memory_percent", "disk_percent", "unit_dir")


def seconds(text: str, option: str) -> float:
    """A duration of at least a second.

    :raises HotfixError: naming the option.
    """
    found = float(text) if text.strip().isdigit() else parse_duration(text, option)
    if not 1 <= found <= 366 * 86400:
        raise HotfixError(f"{option} is {text}", remedy="Give at least a second, and a year at most")
    return found


def wanted(options: dict[str, Any], docker: Docker) -> dict[str, Any]:
    """What the watch is told, checked.

    :raises HotfixError: naming the option, or why the application cannot be watched over.
    """
    source, told = options["project_src"], {name: options[name] for name in PLAIN}
    told.update(interval=seconds(options["interval"], "interval"), duration=seconds(options["duration"], "duration"))
    if told["interval"] > told["duration"]:
        raise HotfixError("interval is longer than duration", remedy="Give a shorter interval")
    if options["url"] and not options["url"].lower().startswith(("http://", "https://")):
        raise HotfixError("url is no address of http or https", remedy="Write it like http://127.0.0.1:8000/health")
    if not 1 <= options["timeout"] <= 10:
        raise HotfixError(f"timeout is {options['timeout']}", remedy="Give 1 to 10 seconds")
    compile_patterns(options["patterns"])
    # Once here, so that a mistyped name is an error at once and not a watch over nothing.
    docker.container(project_src=source, service=options["service"], files=options["files"] or ())
    root = docker.run("info", "--format", "{{.DockerRootDir}}").stdout.strip()
    disks = sorted({os.path.realpath(path) for path in (source, options["state_dir"], root) if path})
    return {
        **told,
        "project_src": os.path.realpath(source),
        "files": options["files"],
        "patterns": options["patterns"],
        "disks": disks,
    }


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec=SPEC, required_if=[("state", "started", ["service"])], supports_check_mode=True
    )
    options, systemd = module.params, Systemd(module.params["unit_dir"])
    folder = _journal.project_folder(options["state_dir"], options["project_src"])
    home, result = os.path.join(folder, FOLDER), {"unit": unit_name(folder)}
    notify = {name: options[name] or "" for name in ("webhook", "command")}
    try:
        was = _monitor_setup.look(home, systemd)
        if options["state"] == "started":
            systemd.require()
            plan = _monitor_setup.plan(home, wanted(options, Docker()), notify, systemd, was)
            result.update(status="running", new=plan.new, changed=plan.changed, diff=plan.diff)
            if plan.changed and not module.check_mode:
                _monitor_setup.start(home, options["project_src"], plan, was, systemd)
        else:
            changed = _monitor_setup.left_over(home, was)
            status = "stopped" if was.status == "running" else was.status
            result.update(status=status, new=False, changed=changed)
            result["diff"] = _monitor_setup.removal(home, was, options["unit_dir"])
            if changed and not module.check_mode:
                _monitor_setup.stop(home, systemd)
    except HotfixError as error:
        module.fail_json(msg=str(error))
    module.exit_json(folder=home, **result)


if __name__ == "__main__":
    main()
