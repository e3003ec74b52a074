#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keep what was found out about a container before it is made anew."""

from __future__ import annotations

DOCUMENTATION = r"""
module: findings
short_description: Keep what was found out about a container before it is made anew
version_added: 0.1.0
description:
  - The kernel's counters and the log of a container are gone once it is recreated. This keeps what the role
    P(composeops.hotfix.diagnose#role) found out before, as JSON in the project's folder below O(state_dir).
  - There is one file for each life of a container, named after its start and its ID. A later look at the same life
    replaces the earlier one.
notes:
  - The folder has mode V(0700) and the file V(0600).
  - Nothing is masked here. The filter P(composeops.hotfix.findings#filter) gets its texts from modules that do so.
options:
  findings:
    description:
      - What the filter P(composeops.hotfix.findings#filter) returns. C(container.id) and C(container.started_at) name
        the file.
    type: dict
    required: true
  keep:
    description:
      - How many files stay; the oldest ones are removed.
    type: int
    default: 10
extends_documentation_fragment:
  - composeops.hotfix._project.SOURCE
  - composeops.hotfix._project.STATE
  - composeops.hotfix._attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
seealso:
  - module: composeops.hotfix.worker_info
  - module: composeops.hotfix.snapshot
author:
  - composeops.hotfix contributors (@composeops)
"""

EXAMPLES = r"""
- name: Diagnose the application
  ansible.builtin.import_role:
    name: composeops.hotfix.diagnose

- name: Keep what was found
  composeops.hotfix.findings:
    project_src: /opt/wealth-coach-ai
    findings: "{{ diagnose_findings }}"
"""

RETURN = r"""
path:
  description: The file.
  type: str
  returned: success
  sample: /var/lib/composeops/wealth-coach-ai/findings/20251018T020000Z-890581d3af32.json
pruned:
  description: The names of the files that were removed, or in check mode would be.
  type: list
  elements: str
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.composeops.hotfix.plugins.module_utils import _journal
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._kept_findings import keep


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "project_src": {"type": "path", "required": True},
            "findings": {"type": "dict", "required": True},
            "keep": {"type": "int", "default": 10},
            "state_dir": {"type": "path", "default": _journal.STATE_DIR},
        },
        supports_check_mode=True,
    )
    options = module.params
    try:
        folder = _journal.project_folder(options["state_dir"], options["project_src"])
        with _journal.held(folder, options["project_src"], check=module.check_mode):
            kept = keep(folder, options["findings"], options["keep"], check=module.check_mode)
    except HotfixError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=kept.changed or bool(kept.pruned), path=kept.path, pruned=kept.pruned)


if __name__ == "__main__":
    main()
