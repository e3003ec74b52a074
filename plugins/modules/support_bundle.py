#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Collect what somebody who helps needs to see, without a secret."""

from __future__ import annotations

DOCUMENTATION = r"""
module: support_bundle
short_description: Collect what somebody who helps needs to see, without a secret
version_added: 0.1.0
description:
  - Writes one archive with the end of each log, resources, memory, disk, versions, containers, configuration, what git
    says, and what the collection remembers of the project.
  - Values of variables are fingerprints, and all that looks like a secret is masked, in configuration and logs alike.
  - What cannot be read, because the engine does not answer or a file is damaged, is an entry that says why. So it works
    best when nothing else does.
options:
  project_src:
    required: true
  dest:
    description:
      - The archive to write on the managed host, such as C(/var/tmp/support-bundle.tar.gz). It gets mode V(0600).
    type: path
    required: true
  tail:
    description:
      - How many of the last lines of each log are taken.
    type: int
    default: 200
  host:
    description:
      - The host's name in the inventory, for the title.
    type: str
    default: ""
  notes:
    description:
      - Further entries, names to texts, such as a diagnosis. They are masked as well.
    type: dict
    default: {}
extends_documentation_fragment:
  - composeops.hotfix._project
  - composeops.hotfix._project.STATE
  - composeops.hotfix._attributes
attributes:
  check_mode:
    support: full
    details:
      - Everything is read and named, and nothing written.
  diff_mode:
    support: none
  idempotent:
    support: none
    details:
      - Each run collects anew.
author:
  - composeops.hotfix contributors (@composeops)
"""

EXAMPLES = r"""
- name: Collect what there is to see
  composeops.hotfix.support_bundle:
    project_src: /opt/wealth-coach-ai
    dest: /var/tmp/support-bundle.tar.gz
  register: bundle
"""

RETURN = r"""
dest:
  description: The archive.
  type: str
  returned: success
  sample: /var/tmp/support-bundle.tar.gz
size:
  description: Its size in bytes, V(0) in check mode.
  type: int
  returned: success
entries:
  description: What is in it.
  type: list
  elements: dict
  returned: success
  contains:
    name:
      description: The name of the entry.
      type: str
      sample: logs/wealth_coach_backend.log
    size:
      description: Its size in bytes.
      type: int
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.composeops.hotfix.plugins.module_utils import _journal
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Docker
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._files import write_atomic
from ansible_collections.composeops.hotfix.plugins.module_utils._support_bundle import Request, archive, collect


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "project_src": {"type": "path", "required": True},
            "files": {"type": "list", "elements": "path"},
            "dest": {"type": "path", "required": True},
            "tail": {"type": "int", "default": 200},
            "host": {"type": "str", "default": ""},
            "notes": {"type": "dict", "default": {}},
            "state_dir": {"type": "path", "default": _journal.STATE_DIR},
        },
        supports_check_mode=True,
    )
    options = module.params
    try:
        if options["tail"] < 0:
            raise HotfixError("tail cannot be negative")
        notes = {str(name): str(text) for name, text in options["notes"].items()}
        request = Request(options["project_src"], options["files"] or (), options["tail"], options["state_dir"], notes)
        entries = collect(Docker(), request, host=options["host"])
        folder = os.path.basename(options["dest"]).partition(".")[0]
        data = archive(entries, folder)
        if not module.check_mode:
            write_atomic(options["dest"], data, mode=0o600)
    except HotfixError as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=True,
        dest=options["dest"],
        size=0 if module.check_mode else len(data),
        entries=[{"name": name, "size": len(text.encode("utf-8", "replace"))} for name, text in entries.items()],
    )


if __name__ == "__main__":
    main()
