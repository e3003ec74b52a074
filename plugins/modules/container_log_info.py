#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a container's log says, and whether that is as expected."""

from __future__ import annotations

DOCUMENTATION = r"""
module: container_log_info
short_description: Search a container's log and judge what is found
version_added: 0.1.0
description:
  - Searches both streams of a container's log for patterns that must be there or must not. C(docker logs X | grep)
    sees standard output only, while uvicorn reports dead workers on standard error.
  - Looks only at what the container has written since it was last started. Lines of an earlier life stay in the log
    after a restart and would be held against it.
  - Reads as a stream, so a log of any size takes a few megabytes of memory.
notes:
  - Samples are masked. Values of the container's own secret variables are replaced by fingerprints, and all that
    looks like a key, token or password by C(***).
  - A line can be found only if the program writes it. uvicorn prints C(Child process [N] died) at level INFO.
  - Of a line longer than 64 KiB only the beginning is searched.
options:
  since:
    description:
      - Look at lines from then on. RFC 3339 such as V(2025-10-18T02:00:00Z), a duration before now such as V(10m)
        or V(1h30m), or Unix time in seconds.
      - By default the container's last start.
    type: str
  until:
    description:
      - Look at lines up to then, in the same forms. Not together with O(watch).
    type: str
  patterns:
    description:
      - What to look for.
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
          - Whether the pattern must be V(absent), must be V(present), or is only counted (V(any)).
        type: str
        choices: [absent, present, any]
        default: absent
  watch:
    description:
      - How many seconds to follow the log before judging. Ends when the container stops.
    type: int
    default: 0
  allow_stop:
    description:
      - Whether the container may stop while it is watched. If not, that makes RV(ok=false), whatever the patterns
        say.
    type: bool
    default: false
  samples:
    description:
      - How many lines of each pattern are returned.
    type: int
    default: 5
  tail:
    description:
      - How many of the last lines are returned, of both streams in the order in which they were written.
    type: int
    default: 0
requirements:
  - Docker Engine 20.10 or newer
  - A logging driver that can be read, such as C(json-file), C(local) or C(journald)
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
- name: Look for what the runbook complains about
  composeops.hotfix.container_log_info:
    container: wealth_coach_backend
    patterns:
      - name: development_keys
        regex: Development API keys detected
      - name: worker_deaths
        regex: Child process \[\d+\] died
      - name: started
        regex: Application startup complete
        expect: present
  register: log
  failed_when: not log.ok

- name: Watch for five minutes that no worker dies
  composeops.hotfix.container_log_info:
    project_src: /opt/wealth-coach-ai
    service: backend
    since: 1s
    watch: 300
    patterns:
      - name: worker_deaths
        regex: Child process \[\d+\] died
  register: log
  failed_when: not log.ok
"""

RETURN = r"""
ok:
  description: Whether every pattern is as expected and, with O(watch), the container ran all the time.
  type: bool
  returned: success
problems:
  description: One sentence for each reason why RV(ok=false).
  type: list
  elements: str
  returned: success
  sample: ["worker_deaths: 3 found, the last at 2025-10-18T02:00:00.000000000Z, where none was expected"]
matches:
  description: What was found of each pattern.
  type: list
  elements: dict
  returned: success
  contains:
    name:
      description: The pattern's name.
      type: str
    expect:
      description: What was expected.
      type: str
    ok:
      description: Whether it is as expected.
      type: bool
    count:
      description: The number of lines that match.
      type: int
    first:
      description: When the first of them was written, RFC 3339.
      type: str
    last:
      description: When the last of them was written, RFC 3339.
      type: str
    samples:
      description: The first of them, masked and cut to 300 characters.
      type: list
      elements: str
tail:
  description: The last lines, oldest first, masked and cut to 300 characters.
  type: list
  elements: dict
  returned: success
  contains:
    time:
      description: When it was written, RFC 3339.
      type: str
    stream:
      description: V(stdout) or V(stderr).
      type: str
    text:
      description: The line.
      type: str
lines:
  description: The number of lines looked at.
  type: int
  returned: success
bytes:
  description: Their length without the engine's time stamps.
  type: int
  returned: success
streams:
  description: The number of lines of C(stdout) and C(stderr).
  type: dict
  returned: success
  sample: {stdout: 12, stderr: 40}
first_line:
  description: When the first of the lines was written. Null without any.
  type: str
  returned: success
last_line:
  description: When the last of the lines was written. Null without any.
  type: str
  returned: success
since:
  description: From when on lines were looked at, RFC 3339.
  type: str
  returned: success
until:
  description: Up to when lines were looked at, RFC 3339. Null without a bound.
  type: str
  returned: success
watch_ended:
  description:
    - V(elapsed) when O(watch) was over; V(stopped), V(restarted) or V(removed) when that happened to the container
      before, V(cut) when the engine ended the log for another reason. Null without O(watch).
  type: str
  returned: success
container:
  description: Name of the container.
  type: str
  returned: success
"""

from datetime import datetime, timezone

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Docker
from ansible_collections.composeops.hotfix.plugins.module_utils._container_log import Request, search
from ansible_collections.composeops.hotfix.plugins.module_utils._container_options import (
    OPTIONS,
    REQUIRED,
    named_container,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._logs import compile_patterns, parse_instant

PATTERN = {
    "name": {"type": "str", "required": True},
    "regex": {"type": "str", "required": True},
    "expect": {"type": "str", "choices": ["absent", "present", "any"], "default": "absent"},
}


def request(options: dict) -> Request:
    """The module's options, checked."""
    if options["watch"] and options["until"]:
        raise HotfixError("watch looks at lines to come and until bounds lines that are there", remedy="Leave one out")
    if min(options["watch"], options["samples"], options["tail"]) < 0:
        raise HotfixError("watch, samples and tail cannot be negative")
    now = datetime.now(timezone.utc)
    bounds = {
        name: parse_instant(options[name], option=name, now=now) if options[name] else None
        for name in ("since", "until")
    }
    return Request(
        patterns=compile_patterns(options["patterns"]),
        watch=options["watch"],
        allow_stop=options["allow_stop"],
        samples=options["samples"],
        tail=options["tail"],
        **bounds,
    )


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            **OPTIONS,
            "since": {"type": "str"},
            "until": {"type": "str"},
            "patterns": {"type": "list", "elements": "dict", "default": [], "options": PATTERN},
            "watch": {"type": "int", "default": 0},
            "allow_stop": {"type": "bool", "default": False},
            "samples": {"type": "int", "default": 5},
            "tail": {"type": "int", "default": 0},
        },
        **REQUIRED,
        supports_check_mode=True,
    )
    options = module.params
    docker = Docker()
    try:
        wanted = request(options)
        inspect = named_container(docker, options)
        result = search(docker, inspect, wanted)
    except HotfixError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
