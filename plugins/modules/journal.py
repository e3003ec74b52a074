#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Write down what a run does, and read it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: journal
short_description: Write down what a run does to a project, and read it
version_added: 0.1.0
description:
  - Adds a line to the journal of a project on the managed host, or reads the lines of a run. Each line has its time,
    the ID of the run that has the lock (M(composeops.hotfix.lock)), and names, never values.
  - An entry renews the lock of the run.
notes:
  - The journal is C(journal.jsonl) in the project's folder below O(state_dir), with mode V(0600). Beyond 1 MB its older
    half goes.
  - It is bookkeeping and does not count as a change.
options:
  state:
    description:
      - V(present) adds an entry.
      - V(read) reads the entries of a run.
    type: str
    choices: [present, read]
    default: present
  action:
    description:
      - What was done, such as V(healthy). Needed with O(state=present).
    type: str
  result:
    description:
      - How it ended, in words.
    type: str
    default: ""
  files:
    description:
      - The files concerned, by name.
    type: list
    elements: str
    default: []
  details:
    description:
      - Further words, such as C(seconds) or C(container). Never a secret.
    type: dict
    default: {}
  run:
    description:
      - With O(state=read) the ID of the run that is asked for. By default the last one.
    type: str
    default: ""
extends_documentation_fragment:
  - composeops.hotfix._project.SOURCE
  - composeops.hotfix._project.STATE
  - composeops.hotfix._attributes
attributes:
  check_mode:
    support: full
    details:
      - Nothing is written.
  diff_mode:
    support: none
  idempotent:
    support: none
    details:
      - Each call adds an entry.
author:
  - composeops.hotfix contributors (@composeops)
"""

EXAMPLES = r"""
- name: Note that the application is healthy
  composeops.hotfix.journal:
    project_src: /opt/wealth-coach-ai
    action: healthy
    result: '{"status": "healthy"}'
    details:
      seconds: 12

- name: Read what the last run did
  composeops.hotfix.journal:
    state: read
    project_src: /opt/wealth-coach-ai
  register: journal
"""

RETURN = r"""
run:
  description: The ID of the run that the entries belong to, empty if there is none.
  type: str
  returned: success
  sample: 3f9c1d0b7a52
entries:
  description: The entries of the run, oldest first, with O(state=read).
  type: list
  elements: dict
  returned: success
  contains:
    time:
      description: When, in UTC.
      type: str
    action:
      description: What was done.
      type: str
    run:
      description: The ID of the run.
      type: str
    files:
      description: The names of the files concerned.
      type: list
      elements: str
    result:
      description: How it ended.
      type: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.composeops.hotfix.plugins.module_utils import _journal, _lock
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError

SPEC = {
    "state": {"type": "str", "choices": ["present", "read"], "default": "present"},
    "project_src": {"type": "path", "required": True},
    "action": {"type": "str"},
    "result": {"type": "str", "default": ""},
    "files": {"type": "list", "elements": "str", "default": []},
    "details": {"type": "dict", "default": {}},
    "run": {"type": "str", "default": ""},
    "state_dir": {"type": "path", "default": _journal.STATE_DIR},
}
# What an entry has of itself.
OWN = ("time", "action", "run", "files", "result")


def note(folder: str, options: dict[str, Any]) -> str:
    """Add an entry, and renew the lock."""
    taken = sorted(set(options["details"]) & set(OWN))
    if taken:
        raise HotfixError(f"details may not hold {', '.join(taken)}", remedy="Each entry has these of itself")
    details = {name: str(value) for name, value in options["details"].items()}
    with _journal.held(folder, options["project_src"]):
        run = _journal.current_run(folder)
        _journal.append(folder, options["action"], files=options["files"], result=options["result"], **details)
        _lock.renew(folder, run)
    return run


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True, required_if=[("state", "present", ["action"])])
    options, found = module.params, []
    try:
        folder = _journal.project_folder(options["state_dir"], options["project_src"])
        if options["state"] == "read":
            found = _journal.of_run(_journal.entries(folder), options["run"])
            run = str(found[0]["run"]) if found else ""
        else:
            run = _journal.current_run(folder) if module.check_mode else note(folder, options)
    except HotfixError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, run=run, entries=found)


if __name__ == "__main__":
    main()
