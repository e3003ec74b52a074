#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""git pull, done safely."""

from __future__ import annotations

DOCUMENTATION = r"""
module: git_update
short_description: Bring a project to the state of its git remote without losing what was edited on the server
version_added: 0.1.0
description:
  - What C(git pull) is meant to do on a production server. Fetches and fast-forwards the branch that is checked out,
    and keeps on top of it what was edited on the server.
  - Edits (tracked files that were modified, deleted or staged, and untracked files in the way of upstream's) are
    merged beforehand, in a private index. Only if that is clean anything is touched; otherwise work tree, index,
    branch and stash stay as they are and the error names the files in conflict. Edits never leave the work tree on
    the way.
  - History is never rewritten. Local commits that upstream does not have are an error when upstream has new ones as
    well.
  - Each file is replaced atomically and keeps its owner and permissions. A run that was killed is finished by the
    next one.
notes:
  - Staged edits stay staged, with the content of the work tree. For a file that was staged and edited again the
    version in between is no longer in the index.
  - A file that upstream renamed or removed and that was edited here is a conflict, and so is an untracked file,
    ignored or not, that differs from the one upstream adds in its place.
  - Git hooks are not run, and nothing is committed, so that git needs no identity. Filters of C(.gitattributes) are
    applied.
  - Git runs as the module's user, with that user's keys and credential helpers, and never asks. A work tree that
    belongs to somebody else is accepted, because it was named here; new files then get the owner of their directory.
  - Submodules are left alone; RV(submodules) names those for which upstream records another commit.
  - In check mode new commits are fetched into a temporary directory. Neither the work tree nor the repository
    changes.
  - Outside check mode the remote-tracking branch is updated even if there is a conflict then, as with C(git fetch).
options:
  project_src:
    description:
      - A directory in the git work tree.
    type: path
    required: true
  remote:
    description:
      - Name of the remote.
    type: str
    default: origin
  branch:
    description:
      - The branch on the remote.
      - By default the one that the current branch follows, else the remote's default branch.
    type: str
  timeout:
    description:
      - How many seconds each of the two commands that talk to the remote may take.
    type: int
    default: 120
requirements:
  - git 2.29 or newer on the managed host
extends_documentation_fragment:
  - composeops.hotfix._attributes
  - composeops.hotfix._attributes.FULL
author:
  - composeops.hotfix contributors (@composeops)
"""

EXAMPLES = r"""
- name: Bring the application to the latest commit of main
  composeops.hotfix.git_update:
    project_src: /opt/wealth-coach-ai
    branch: main
  register: update

- name: Say what came in
  ansible.builtin.debug:
    msg: "{{ update.commits | map(attribute='subject') | list }}"
  when: update.status == 'updated'
"""

RETURN = r"""
status:
  description:
    - V(updated) or V(up_to_date), or why there is nothing to update from. With the latter nothing is changed, and the
      module does not fail.
    - V(no_git) means that the directory is in no git work tree, V(no_remote) that it has no remote of that name,
      V(detached) that no branch is checked out, V(no_upstream) that the remote has no branch to follow.
  type: str
  returned: success
  sample: updated
before:
  description: The commit before. Empty without git.
  type: str
  returned: success
  sample: 3f1a9c0d7e5b2a4f6c8d9e0b1a2c3d4e5f607182
after:
  description: The commit afterwards.
  type: str
  returned: success
  sample: 9b2c4d6e8f0a1b3c5d7e9f0a2b4c6d8e0f1a3b5c
commits:
  description: The commits that came in, newest first.
  type: list
  elements: dict
  returned: success
  contains:
    revision:
      description: The commit.
      type: str
    subject:
      description: First line of its message.
      type: str
files:
  description: The files that upstream changed.
  type: list
  elements: str
  returned: success
  sample: ["backend/main.py"]
carried_over:
  description: The files that, after the update, still differ from upstream's because they were edited here.
  type: list
  elements: str
  returned: success
  sample: ["docker-compose.yml"]
submodules:
  description: The submodules for which upstream records another commit; they are left alone.
  type: list
  elements: str
  returned: success
resumed:
  description: An earlier run had been killed on the way, and was finished by this one.
  type: bool
  returned: success
"""

import tempfile

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._git import Request
from ansible_collections.composeops.hotfix.plugins.module_utils._git_update import as_result, update


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "project_src": {"type": "path", "required": True},
            "remote": {"type": "str", "default": "origin"},
            "branch": {"type": "str"},
            "timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    options = module.params
    request = Request(options["remote"], options["branch"], module.check_mode, options["timeout"])
    try:
        with tempfile.TemporaryDirectory(prefix="git-", dir=module.tmpdir) as scratch:
            outcome = update(options["project_src"], request, scratch)
    except HotfixError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**as_result(outcome))


if __name__ == "__main__":
    main()
