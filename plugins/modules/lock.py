#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Let one run at a time change a project."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lock
short_description: Let one run at a time change a project
version_added: 0.1.0
description:
  - Takes the lock of a project on the managed host for this run of C(ansible-playbook), or lets go of it. It says who
    has it, on which controller, since when, and for which playbook.
  - A run that cannot have it fails, with a sentence that says who has it and what to do. Nothing is waited for.
  - It is for a run, not for a task. Whoever has it can take it again, from another role or for another host of the
    inventory, and renews it by that.
notes:
  - A run that was killed leaves its lock. The next one takes it over, and says so, when the process of that run is gone
    from this controller, or, if it ran on another controller, when the lock was not renewed for O(ttl) seconds.
  - While a step of that run is at work on the host, such as M(composeops.hotfix.compose_up) with O(state_dir), the lock
    is not taken over, not by O(force) either.
  - The time is counted from the host's boot, whatever its clock is set to. A boot of the host ends no lock, since the
    run may live through it.
  - The lock is bookkeeping and does not count as a change.
  - This is an action plugin, which adds what only the controller knows. The file is C(lock.json) in the project's
    folder below O(state_dir).
options:
  state:
    description:
      - V(present) takes the lock or renews it.
      - V(absent) lets go of it. The lock of another run stays as it is.
    type: str
    choices: [present, absent]
    default: present
  ttl:
    description:
      - Seconds after which the lock of a run on another controller is stale when it was not renewed.
    type: int
    default: 900
  force:
    description:
      - Take the lock from a run that only you can know to be dead.
    type: bool
    default: false
  result:
    description:
      - How the run ended, for the journal, with O(state=absent).
    type: str
    default: ok
  holder:
    description:
      - Who runs. Added by the action plugin.
    type: dict
  ended:
    description:
      - The run whose process is gone from the controller. Added by the action plugin.
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
      - The lock is not taken. A warning says who has it, and the run goes on.
  diff_mode:
    support: none
  idempotent:
    support: full
author:
  - composeops.hotfix contributors (@composeops)
"""

EXAMPLES = r"""
- name: Let no other run change the project meanwhile
  composeops.hotfix.lock:
    project_src: /opt/wealth-coach-ai
  register: lock

- name: Let go of it
  composeops.hotfix.lock:
    state: absent
    project_src: /opt/wealth-coach-ai
"""

RETURN = r"""
run:
  description: The ID of this run, the same on each host and for each task.
  type: str
  returned: success
  sample: 3f9c1d0b7a52
acquired:
  description: Whether this run has the lock, or in check mode would get it. With O(state=absent), whether it had it.
  type: bool
  returned: success
taken_from:
  description: The ID of the run from which a stale lock was taken, empty if there was none.
  type: str
  returned: success
message:
  description: What is to be said about the lock of another run, empty if there was none.
  type: str
  returned: success
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.composeops.hotfix.plugins.module_utils import _journal, _lock
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError

SPEC = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "project_src": {"type": "path", "required": True},
    "ttl": {"type": "int", "default": _lock.TTL},
    "force": {"type": "bool", "default": False},
    "result": {"type": "str", "default": "ok"},
    "holder": {"type": "dict"},
    "ended": {"type": "str", "default": ""},
    "state_dir": {"type": "path", "default": _journal.STATE_DIR},
}


def run(options: dict[str, Any], *, check: bool) -> dict[str, Any]:
    """Take the lock, or let go of it."""
    facts = {name: str((options["holder"] or {}).get(name, "")) for name in _lock.FACTS}
    if not facts["run"]:
        raise HotfixError("nobody has said who runs", remedy="Call it as composeops.hotfix.lock, which adds that")
    source = options["project_src"]
    folder = _journal.project_folder(options["state_dir"], source)
    result: dict[str, Any] = {"run": facts["run"], "taken_from": "", "message": ""}
    if options["state"] == "absent":
        had = _lock.release(folder, source, facts["run"], facts["host"], options["result"], check=check)
        return {**result, "acquired": had}
    more = {name: options[name] for name in ("ttl", "ended", "force")}
    outcome = _lock.take(folder, source, facts, check=check, **more)
    result["acquired"] = outcome.acquired
    if outcome.lock is not None and outcome.acquired:
        result.update(taken_from=outcome.lock.run, message=_lock.takeover(outcome.lock, outcome, source))
    elif outcome.lock is not None:
        result.update(message=_lock.refusal(outcome.lock, outcome, source, check=check))
        result.update(ask=outcome.ask, lock=outcome.lock.facts)
    return result


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    try:
        result = run(module.params, check=module.check_mode)
    except HotfixError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
