#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keep a project's state, and return to it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: snapshot
short_description: Keep the files, image and git revision of a project, and return to them
version_added: 0.1.0
description:
  - The way back of the role P(composeops.hotfix.deploy#role). A snapshot holds the bytes, owner and permissions of
    the files that are named, the image of the service and the git revision. Its ID is a hash of them, so that the
    same state is never kept twice.
  - Snapshots, journal and open transaction lie in a folder of the project below O(state_dir). It is named after the
    base name of the project's real path, characters outside C(A-Za-z0-9_.-) made dashes. A second project of the same
    name gets that name with a dash and the first 8 hexadecimal digits of the SHA-256 of its path.
  - A transaction goes from O(state=present) to O(state=committed). While one is open, its snapshot stays the one to
    return to, also for the next run when this one was killed.
notes:
  - Folders have mode V(0700) and files V(0600). Every action is added to C(journal.jsonl) there, by the names of
    files, never by a value.
  - A snapshot is there whole or not at all, whenever the module is killed, and a restore replaces each file
    atomically; a restore that was killed is completed by running it again.
  - Opening and closing a transaction and the journal are bookkeeping and do not count as a change.
  - A restore starts no container; RV(image) is what to recreate the service from.
  - Where the branch has been updated from its remote since, a restore takes it back to the commit of the snapshot, so
    that the update is not taken for done; or on to it where it was taken back. Local commits are never left behind; the
    branch then stays, and the files are put back over it. Name all files that an update changes with O(files).
options:
  state:
    description:
      - V(present) keeps the present state if it is not kept yet, and opens a transaction. If one is open nothing is
        taken, unless somebody has deployed since (O(deployed_at)).
      - V(restored) writes the files of the snapshot back. Files that did not exist then are removed. The transaction
        stays open.
      - V(committed) keeps the present state as the last good one, and closes the transaction.
      - V(kept) keeps the present state if it is not kept yet, and leaves the transaction as it is.
      - V(found) does the same for what another run has left, which is no state that playbook C(rollback) returns to
        unasked.
    type: str
    choices: [present, restored, committed, kept, found]
    default: present
  files:
    description:
      - The files to keep, relative to O(project_src). Those that do not exist are recorded as absent.
      - A symbolic link is kept together with the content of the file that it points to.
      - Ignored with O(state=restored), else needed.
    type: list
    elements: path
    default: []
  service:
    description:
      - Name of the service, for the record.
    type: str
  image:
    description:
      - Name or ID of the image that the running container uses. It gets a tag of its own so that it is not pruned
        away.
      - Without it no image is kept and Docker is not needed.
    type: str
  image_name:
    description:
      - The name under which Compose looks for that image, for the record.
    type: str
  container:
    description:
      - Name or ID of a container of which it is to be kept as well how it was made, with its environment, so that
        M(composeops.hotfix.container_restore) can make it again. For one that its files would not make again as it is.
      - It is no part of the snapshot's ID.
      - Without it, what an earlier snapshot of the same state has kept of one is forgotten.
    type: str
  deployed_at:
    description:
      - When the container that runs was made, RFC 3339 in UTC. For one that is healthy, and that its files would make
        again.
      - With O(state=present), a transaction that is open is closed where no run was at work on it any more by then.
        What somebody has deployed since is to be returned to, and not what those runs had found.
      - A run is taken not to be at work any more once it has noted its end, or has noted nothing for two hours.
      - It stays open where the image is the same and other files than environment and Compose files are not, since
        those were changed by a run that was killed before its build.
    type: str
  revision:
    description:
      - The git revision.
      - By default git is asked; empty when the project is in no git work tree.
    type: str
  name:
    description:
      - ID of the snapshot to restore. By default that of the open transaction.
    type: str
  exclude:
    description:
      - Files, relative to O(project_src), that a restore leaves as they are.
    type: list
    elements: path
    default: []
  exclude_variables:
    description:
      - Variables of environment files (C(.env), C(.env.*), C(*.env)) that keep their present values in a restore,
        such as V(VALID_API_KEYS). One that is not set now is not set afterwards.
      - They are written in the form of O(dialect).
    type: list
    elements: str
    default: []
  keep:
    description:
      - How many snapshots stay. The open transaction's, the last committed one and that of the last transaction which
        was closed unfinished (RV(closed)) always do.
    type: int
    default: 10
extends_documentation_fragment:
  - composeops.hotfix._project.SOURCE
  - composeops.hotfix._project.STATE
  - composeops.hotfix._env_file
  - composeops.hotfix._attributes
  - composeops.hotfix._attributes.FULL
author:
  - composeops.hotfix contributors (@composeops)
"""

EXAMPLES = r"""
- name: Keep the state to return to
  composeops.hotfix.snapshot:
    state: present
    project_src: /opt/wealth-coach-ai
    files: [.env, docker-compose.yml, Dockerfile, backend/main.py]
    service: backend
    image: wealth-coach-ai-backend:latest

- name: Return to everything but the API keys
  composeops.hotfix.snapshot:
    state: restored
    project_src: /opt/wealth-coach-ai
    exclude_variables: [VALID_API_KEYS]
  register: restored

- name: Keep the state that was proven good
  composeops.hotfix.snapshot:
    state: committed
    project_src: /opt/wealth-coach-ai
    files: [.env, docker-compose.yml, Dockerfile, backend/main.py]
    service: backend
    image: wealth-coach-ai-backend:latest
"""

RETURN = r"""
id:
  description: The ID of the snapshot.
  type: str
  returned: success
  sample: 5f0c1d9a7b3e2846
transaction:
  description:
    - V(opened) or V(continued) with O(state=present), V(committed) with O(state=committed), V(restored) with
      O(state=restored), V(continued) with O(state=kept) and O(state=found); V(none) when no transaction is open with
      the last three.
  type: str
  returned: success
  sample: opened
closed:
  description: The snapshot of an unfinished transaction that this one took the place of (O(deployed_at)), else empty.
  type: str
  returned: success
path:
  description: The folder of the snapshot.
  type: str
  returned: success
  sample: /var/lib/composeops/wealth-coach-ai/snapshots/5f0c1d9a7b3e2846
files:
  description: The files of the snapshot.
  type: list
  elements: dict
  returned: success
  contains:
    name:
      description: The file, relative to the project.
      type: str
    state:
      description: V(file), V(link) or V(absent).
      type: str
    sha256:
      description: The hash of its content, empty if there is none.
      type: str
image:
  description: The tag under which the snapshot's image is kept, to recreate the service from. Empty if there is none.
  type: str
  returned: success
  sample: composeops-hotfix/wealth-coach-ai:5f0c1d9a7b3e2846
image_id:
  description: The ID of that image.
  type: str
  returned: success
image_name:
  description: The name under which Compose looks for it, empty if it is not known.
  type: str
  returned: success
  sample: wealth-coach-ai-backend
container:
  description: The ID of the container of which it is kept how it was made; empty when there is none.
  type: str
  returned: success
revision:
  description: The git revision of the snapshot, empty if there is none.
  type: str
  returned: success
changed_files:
  description:
    - The files that a restore wrote or removed, or in check mode would.
    - With O(state=present) and an open transaction the files that have been changed in it.
  type: list
  elements: str
  returned: success
  sample: [".env", "docker-compose.yml"]
kept_variables:
  description:
    - The names in O(exclude_variables) whose present values differ from those of the snapshot that was, or would be,
      restored.
  type: list
  elements: str
  returned: success
  sample: [VALID_API_KEYS]
"""

import tempfile
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.composeops.hotfix.plugins.module_utils import _journal
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Docker
from ansible_collections.composeops.hotfix.plugins.module_utils._container_spec import of_container
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv import DIALECT
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._git import head_revision
from ansible_collections.composeops.hotfix.plugins.module_utils._snapshots import (
    Project,
    Result,
    Snapshot,
    described,
    image_id,
    take,
)

SPEC = {
    "state": {"type": "str", "choices": ["present", "restored", "committed", "kept", "found"], "default": "present"},
    "project_src": {"type": "path", "required": True},
    "files": {"type": "list", "elements": "path", "default": []},
    "service": {"type": "str"},
    "image": {"type": "str"},
    "image_name": {"type": "str"},
    "container": {"type": "str"},
    "deployed_at": {"type": "str"},
    "revision": {"type": "str"},
    "name": {"type": "str"},
    "exclude": {"type": "list", "elements": "path", "default": []},
    "exclude_variables": {"type": "list", "elements": "str", "default": []},
    **DIALECT,
    "keep": {"type": "int", "default": 10},
    "state_dir": {"type": "path", "default": _journal.STATE_DIR},
}


def take_now(options: dict[str, Any], docker: Docker | None, scratch: str) -> Snapshot:
    """The present state of the project, as the options name it."""
    if not options["files"]:
        raise HotfixError("there are no files to keep", remedy="Name them with files")
    image = image_id(docker, options["image"]) if docker else ""
    revision = options["revision"]
    if revision is None:
        revision = head_revision(options["project_src"], scratch)
    service, name = options["service"] or "", options["image_name"] or ""
    return take(options["project_src"], options["files"], image, revision, service, image_name=name)


def apply(project: Project, options: dict[str, Any], scratch: str) -> Result:
    """Bring about the state that was asked for."""
    if options["state"] == "restored":
        excluded = options["exclude"], options["exclude_variables"], options["dialect"]
        return project.restored(options["name"] or "", *excluded, scratch)

    def now() -> Snapshot:
        return take_now(options, project.docker, scratch)

    if options["state"] == "present":
        return project.present(now, options["deployed_at"] or "")
    verb = {"committed": project.committed, "kept": project.kept, "found": project.found}[options["state"]]
    return verb(now)


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    options = module.params
    try:
        folder = _journal.project_folder(options["state_dir"], options["project_src"])
        docker = Docker() if options["image"] else None
        spec = of_container(Docker().inspect(options["container"])) if options["container"] else None
        project = Project(
            options["project_src"], folder, docker, keep=options["keep"], check=module.check_mode, spec=spec
        )
        lock = _journal.held(folder, options["project_src"], check=module.check_mode)
        with lock, tempfile.TemporaryDirectory(prefix="snapshot-", dir=module.tmpdir) as scratch:
            result = apply(project, options, scratch)
            spec = project.store.container(result.snapshot.id)
    except HotfixError as error:
        module.fail_json(msg=str(error))
    snapshot = result.snapshot
    module.exit_json(
        changed=result.changed,
        id=snapshot.id,
        transaction=result.transaction,
        closed=result.closed,
        path=project.store.path(snapshot.id),
        files=described(snapshot),
        image=project.tag(snapshot),
        image_id=snapshot.image,
        image_name=snapshot.image_name,
        container=spec["id"] if spec else "",
        revision=snapshot.revision,
        changed_files=result.changed_files,
        kept_variables=result.kept_variables,
        diff=result.diff,
    )


if __name__ == "__main__":
    main()
