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
  - Writes only forms that Compose, python-dotenv and a shell read alike, and proves it by reading the result again
    before it replaces the file. A value that has no such form is refused.
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
      - Variables to set, as name and value. Booleans become V(true) or V(false).
      - Values are never shown, only their fingerprints, C(sha256:<first 8 hexadecimal digits> len=<length>).
    type: dict
    default: {}
  absent:
    description: Names of variables to remove. Commented examples stay.
    type: list
    elements: str
    default: []
  create:
    description: Make the file, with mode V(0600), when there is none.
    type: bool
    default: false
extends_documentation_fragment:
  - ansible.builtin.files
  - composeops.hotfix._attributes
  - composeops.hotfix._attributes.FULL
  - composeops.hotfix._project.BACKUP
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
  returned: when O(backup=true) and the file was changed
  sample: /opt/wealth-coach-ai/.env.20251018T021500.123456Z.bak
"""

import os
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv import Document, parse, redacted
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._files import backup, read_bytes, write_atomic
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import fingerprint, register, secret_values

ARGUMENTS: dict[str, Any] = {
    "path": {"type": "path", "required": True},
    "values": {"type": "dict", "default": {}, "no_log": True},
    "absent": {"type": "list", "elements": "str", "default": []},
    "create": {"type": "bool", "default": False},
    "backup": {"type": "bool", "default": False},
    "backup_keep": {"type": "int", "default": 5},
}
PRIVATE = 0o600


def as_text(name: str, value: Any) -> str:
    """A value from YAML as an environment holds it.

    :raises HotfixError: for null, lists and mappings, which have no single textual form.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (str, int, float)):
        return str(value)
    raise HotfixError(
        f"{name} is {'null' if value is None else 'a list or a mapping'} in values",
        remedy="Give a string, a number or a boolean; write a JSON list as a quoted string",
    )


def wanted(params: Mapping[str, Any]) -> dict[str, str]:
    """The variables to set.

    :raises HotfixError: when a name is to be set and removed, or a value has no textual form.
    """
    values = {str(name): as_text(str(name), value) for name, value in params["values"].items()}
    both = sorted(set(values) & set(params["absent"]))
    if both:
        raise HotfixError(f"{', '.join(both)} is both in values and in absent", remedy="Name it in one of them")
    return values


def read(path: str, create: bool) -> tuple[Document, bool]:
    """The file's document, and whether the file is there.

    :raises HotfixError: when it cannot be read or parsed, or is missing without ``create``.
    """
    if create and not os.path.lexists(path):
        return parse(b"", path), False
    return parse(read_bytes(path), path), True


def changed_names(before: Document, after: Document) -> list[str]:
    """The variables whose value, or number of occurrences, or form differs."""
    names = {entry.name for document in (before, after) for entry in document.entries}

    def written(document: Document, name: str) -> list[str]:
        return [document.text[entry.start : entry.value_end] for entry in document.occurrences(name)]

    return sorted(name for name in names if written(before, name) != written(after, name))


def run(module: AnsibleModule, values: Mapping[str, str]) -> dict[str, Any]:
    """Change the file as asked, and say what was done."""
    path: str = module.params["path"]
    before, exists = read(path, module.params["create"])
    after = before.set(values).remove(module.params["absent"])
    changed = after.data != before.data or not exists
    result: dict[str, Any] = {
        "changed": changed,
        "changed_names": changed_names(before, after),
        "diff": {
            "before_header": path,
            "after_header": path,
            "before": redacted(before),
            "after": redacted(after),
        },
    }
    if changed and not module.check_mode:
        if exists and module.params["backup"]:
            result["backup_file"] = backup(path, keep=module.params["backup_keep"])
        write_atomic(path, after.data, mode=PRIVATE)
    if exists or not module.check_mode:
        attributes = module.load_file_common_arguments(module.params)
        result["changed"] = module.set_fs_attributes_if_different(attributes, changed)
    return result


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, add_file_common_args=True, supports_check_mode=True)
    try:
        values = wanted(module.params)
        # Masking words such as "true" wherever they occur would garble the result; the values themselves are not in it.
        module.no_log_values.clear()
        register(module, secret_values(values))
        module.params["values"] = {name: fingerprint(value) for name, value in values.items()}
        result = run(module, values)
    except HotfixError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
