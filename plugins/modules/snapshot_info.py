#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""List the states of a project that can be returned to."""

from __future__ import annotations

DOCUMENTATION = r"""
module: snapshot_info
short_description: List the states of a project that can be returned to
version_added: 0.1.0
description:
  - Lists the snapshots that M(composeops.hotfix.snapshot) has kept of a project, says of each before and after which
    runs the project was in that state and in what it differs from the present one, and which one is the previous state.
options:
  image:
    description:
      - Name or ID of the image that the running container uses, to compare those of the snapshots with.
      - Without it images are not compared.
    type: str
extends_documentation_fragment:
  - composeops.hotfix._project.SOURCE
  - composeops.hotfix._project.STATE
  - composeops.hotfix._attributes
  - composeops.hotfix._attributes.INFO
author:
  - composeops.hotfix contributors (@composeops)
"""

EXAMPLES = r"""
- name: See which states there are
  composeops.hotfix.snapshot_info:
    project_src: /opt/wealth-coach-ai
    image: wealth-coach-ai-backend
  register: kept
"""

RETURN = r"""
previous:
  description:
    - The ID of the snapshot that holds the state before the last deployment, empty if there is none.
    - After a return to an earlier state it is the one before that. While a transaction is open that a return had begun,
      it is the one that it was returning to.
  type: str
  returned: success
  sample: 5f0c1d9a7b3e2846
image_id:
  description: The ID of the image now, empty without O(image).
  type: str
  returned: success
revision:
  description: The git revision now, empty if there is none.
  type: str
  returned: success
lines:
  description: The snapshots in words, newest first.
  type: list
  elements: str
  returned: success
snapshots:
  description: The snapshots, oldest first.
  type: list
  elements: dict
  returned: success
  contains:
    id:
      description: Its ID.
      type: str
    taken:
      description: When it was taken, in UTC.
      type: str
    moments:
      description: Before and after which runs the project was in this state, in words.
      type: list
      elements: str
    files:
      description: The files that it holds, those included of which it holds that they did not exist.
      type: list
      elements: str
    changed_files:
      description: The files that are not now what they were then.
      type: list
      elements: str
    revision:
      description: The git revision, empty if there is none.
      type: str
    image_id:
      description: The ID of the image, empty if there is none.
      type: str
    image_name:
      description: The name under which Compose looks for it.
      type: str
    image:
      description: The tag that keeps it.
      type: str
    image_present:
      description: Whether that image is still on the host, null if there is none to look for or no engine to ask.
      type: bool
    image_differs:
      description: Whether it is another one than O(image).
      type: bool
    current:
      description: Whether it is the present state.
      type: bool
    revision_differs:
      description: Whether a return takes the branch to another commit.
      type: bool
    problem:
      description: What is damaged of it, so that it cannot be returned to; empty if nothing is.
      type: str
"""

import contextlib
import os
import tempfile
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.composeops.hotfix.plugins.module_utils import _history, _journal
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Docker
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._git import go_back, head_revision
from ansible_collections.composeops.hotfix.plugins.module_utils._snapshots import (
    Project,
    Store,
    differing,
    image_id,
    image_ids,
)

SPEC = {
    "project_src": {"type": "path", "required": True},
    "image": {"type": "str"},
    "state_dir": {"type": "path", "default": _journal.STATE_DIR},
}


class Listing:
    """The snapshots of a project beside its present state.

    :param scratch: an existing folder (0700) for temporary files.
    """

    def __init__(self, options: dict[str, Any], folder: str, scratch: str) -> None:
        self.source, self.scratch = options["project_src"], scratch
        docker = Docker()
        self.image = image_id(docker, options["image"]) if options["image"] else ""
        self.images: set[str] | None = None
        with contextlib.suppress(HotfixError):  # a list is of use without an engine as well
            self.images = image_ids(docker)
        self.project = Project(self.source, folder, None, keep=0, check=True)
        self.entries = _journal.entries(folder)
        self.moments = _history.moments(self.entries)

    def one(self, store: Store, identity: str) -> dict[str, Any]:
        """What is to be said of one snapshot."""
        found: dict[str, Any] = {"id": identity, "moments": [str(each) for each in self.moments.get(identity, [])]}
        try:
            snapshot = store.load(identity)
            for kept in snapshot.files:
                store.content(identity, kept)
            moves = go_back(self.source, snapshot.revision, self.scratch, check=True)
        except HotfixError as error:
            return {**found, "current": False, "problem": str(error)}
        changed = differing(self.source, snapshot)
        differs = bool(self.image and snapshot.image and snapshot.image != self.image)
        return {
            **found,
            "taken": snapshot.taken,
            "files": [kept.path for kept in snapshot.files],
            "changed_files": changed,
            "revision": snapshot.revision,
            "image_id": snapshot.image,
            "image_name": snapshot.image_name,
            "image": self.project.tag(snapshot),
            "image_present": snapshot.image in self.images if snapshot.image and self.images is not None else None,
            "image_differs": differs,
            "revision_differs": moves,
            "current": not (changed or differs or moves),
            "problem": "",
        }


def listed(options: dict[str, Any], scratch: str) -> dict[str, Any]:
    """All snapshots, and which one is the previous state."""
    if not os.path.isdir(options["project_src"]):
        raise HotfixError("there is no such directory", path=options["project_src"], remedy="Check project_src")
    folder = _journal.project_folder(options["state_dir"], options["project_src"])
    listing, store = Listing(options, folder, scratch), Store(folder)
    snapshots = [listing.one(store, identity) for identity in store.ids()]
    current = {snapshot["id"]: snapshot["current"] for snapshot in snapshots}
    previous = _history.previous(listing.entries, list(current), current.__getitem__)
    return {
        "image_id": listing.image,
        "revision": head_revision(options["project_src"], scratch),
        "previous": previous,
        "snapshots": snapshots,
        "lines": _history.lines(snapshots[::-1], previous),
    }


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    try:
        with tempfile.TemporaryDirectory(prefix="snapshot-", dir=module.tmpdir) as scratch:
            result = listed(module.params, scratch)
    except HotfixError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
