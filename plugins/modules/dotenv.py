#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Set and remove variables of a Compose environment file."""

from __future__ import annotations

DOCUMENTATION = r"""
module: dotenv
short_description: Set and remove variables of a Compose environment file
version_added: 0.1.0
description:
  - Changes only the lines it must. Comments, order, the style of quotes, C(export), CRLF and a byte order mark
    stay.
  - Writes only forms that Compose, python-dotenv and a shell read alike, or those of another O(dialect), and proves it
    by reading the result again before it replaces the file. A value that has no such form is refused.
  - Where a variable stands several times, the last one counts for Compose. It is set, and the stale ones are removed.
  - A file that Compose cannot read is refused, naming line and reason, and is left as it is.
  - Only the file changes. A running container keeps its environment until it is recreated.
options:
  path:
    description: The environment file.
    type: path
    required: true
  values:
    description:
      - Variables to set, as name and value. Booleans become V(true) or V(false), a list of strings becomes JSON.
      - Values are never shown, only their fingerprints, C(sha256:<first 8 hexadecimal digits> len=<length>).
    type: dict
    default: {}
  absent:
    description: Names of variables to remove. Commented examples stay.
    type: list
    elements: str
    default: []
  create:
    description: Make the file, with mode V(0600) unless O(mode) says otherwise, when there is none.
    type: bool
    default: false
extends_documentation_fragment:
  - ansible.builtin.files
  - composeops.hotfix._attributes
  - composeops.hotfix._attributes.FULL
  - composeops.hotfix._project.BACKUP
  - composeops.hotfix._env_file
notes:
  - The file is always replaced in one step, so O(unsafe_writes) makes no difference.
seealso:
  - module: composeops.hotfix.dotenv_info
  - module: composeops.hotfix.key_rotation
author:
  - composeops.hotfix contributors (@composeops)
"""

EXAMPLES = r"""
- name: Set the production settings
  composeops.hotfix.dotenv:
    path: /opt/wealth-coach-ai/.env
    values:
      ENVIRONMENT: production
      DEBUG: false
      RATE_LIMIT_ENABLED: true
    backup: true

- name: Remove a variable that nothing reads
  composeops.hotfix.dotenv:
    path: /opt/wealth-coach-ai/.env
    absent:
      - WORKERS
"""

RETURN = r"""
changed_names:
  description: The variables that were set or removed, sorted.
  type: list
  elements: str
  returned: success
  sample: [DEBUG, ENVIRONMENT]
backup_file:
  description: The copy of the file as it was.
  type: str
  returned: when O(backup=true) and the file's content was changed, which it is not in check mode
  sample: /opt/wealth-coach-ai/.env.20251018T021500.123456Z.bak
"""

import os
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv import DIALECT, Document, parse, redacted
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv_forms import as_texts
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._files import Edit, read_bytes
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import hide_option

ARGUMENTS: dict[str, Any] = {
    "path": {"type": "path", "required": True},
    **DIALECT,
    "values": {"type": "dict", "default": {}, "no_log": True},
    "absent": {"type": "list", "elements": "str", "default": []},
    "create": {"type": "bool", "default": False},
    "backup": {"type": "bool", "default": False},
    "backup_keep": {"type": "int", "default": 5},
}
PRIVATE = 0o600


def wanted(params: Mapping[str, Any]) -> dict[str, str]:
    """The variables to set.

    :raises HotfixError: when a name is to be set and removed, or a value has no textual form.
    """
    values = as_texts(params["values"], "values")
    both = sorted(set(values) & set(params["absent"]))
    if both:
        raise HotfixError(f"{', '.join(both)} is both in values and in absent", remedy="Name it in one of them")
    return values


def read(path: str, create: bool, dialect: str) -> tuple[Document, bool]:
    """The file's document, and whether the file is there.

    :raises HotfixError: when it cannot be read, parsed or made, or is missing without ``create``.
    """
    if os.path.lexists(path):
        return parse(read_bytes(path), path, dialect), True
    if not create:
        raise HotfixError("there is no such file", path=path, remedy="Check the path, or set create: true")
    return parse(b"", path, dialect), False


def changed_names(before: Document, after: Document) -> list[str]:
    """The variables whose value, or number of occurrences, or form differs."""
    names = {entry.name for document in (before, after) for entry in document.entries}

    def written(document: Document, name: str) -> list[str]:
        return [document.text[entry.start : entry.value_end] for entry in document.occurrences(name)]

    return sorted(name for name in names if written(before, name) != written(after, name))


def require_attributes(module: AnsibleModule) -> None:
    """Fail on an owner that is unknown or a mode that is none before the file is changed, and in check mode as well."""
    real = os.path.realpath(module.params["path"])
    attributes = module.load_file_common_arguments(
        module.params, real if os.path.exists(real) else os.path.dirname(real)
    )
    check_mode, module.check_mode = module.check_mode, True
    module.set_fs_attributes_if_different(attributes, False)
    module.check_mode = check_mode


def set_attributes(module: AnsibleModule, changed: bool) -> tuple[bool, str]:
    """Set owner, mode and the like on the file itself, not on a link to it; what changed, in words."""
    attributes = module.load_file_common_arguments(module.params, os.path.realpath(module.params["path"]))
    diff: dict[str, dict[str, str]] = {}
    changed = module.set_fs_attributes_if_different(attributes, changed, diff)
    before, after = diff.get("before", {}), diff.get("after", {})
    return changed, "".join(f"{name}: {before.get(name)} -> {after[name]}\n" for name in sorted(after))


def run(module: AnsibleModule, values: Mapping[str, str], edit: Edit) -> dict[str, Any]:
    """Change the file as asked, and say what was done."""
    path: str = module.params["path"]
    before, exists = read(path, module.params["create"], module.params["dialect"])
    after = before.change(values, module.params["absent"])
    changed = after.data != before.data or not exists
    diff = {"before_header": path, "after_header": path, "before": redacted(before), "after": redacted(after)}
    result: dict[str, Any] = {"changed": changed, "changed_names": changed_names(before, after), "diff": diff}
    if changed:
        edit.require(path)
        require_attributes(module)
        keep = module.params["backup_keep"] if module.params["backup"] else None
        copy = edit.replace(path, before.data if exists else None, after.data, mode=PRIVATE, keep=keep)
        result.update({"backup_file": copy} if copy else {})
    if exists or not module.check_mode:
        result["changed"], prepared = set_attributes(module, changed)
        if prepared and exists:
            diff["prepared"] = prepared
    return result


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, add_file_common_args=True, supports_check_mode=True)
    try:
        values = wanted(module.params)
        hide_option(module, "values", values)
        with Edit(module.params["path"], check=module.check_mode) as edit:
            result = run(module, values, edit)
    except HotfixError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
