#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Audit a Compose environment file."""

from __future__ import annotations

DOCUMENTATION = r"""
module: dotenv_info
short_description: Audit a Compose environment file
version_added: 0.1.0
description:
  - Reads the file as Compose does and names what is wrong with it, by rule, variable, line and severity. No value is
    shown, only fingerprints, C(sha256:<first 8 hexadecimal digits> len=<length>).
  - "Rules about secrets: C(dev_key), C(published_key), C(placeholder) (critical), C(short), C(low_entropy), C(denied)
    (high), C(reused) (medium). C(short) is medium for a random key of 80 bits or more, C(low_entropy) for a password of
    15 characters or more, C(reused) is high where a key of a list, which clients are given, is also used to sign."
  - A variable counts as a secret by its name (C(KEY), C(SECRET), C(TOKEN), C(PASSWORD) and the like), unless the name
    goes on to say that it is about one (C(KEY_FILE), C(TOKEN_TTL)), or the value is empty, a switch, a small number or
    refers to another variable. The elements of a JSON or comma-separated list are judged one by one, and so is the
    password in an address such as C(postgres://user:password@host), whatever the variable's name.
  - C(reused) names the variables that hold the same secret, unless they are about one account, as C(DB_PASSWORD) and
    C(DATABASE_URL) are.
  - "Rules about settings: C(missing) and C(wrong_value) (high)."
  - "Rules about the file: C(unparsable) (critical: Compose cannot read it), C(open_mode) (high: everybody may read it,
    or others may write it; medium: the group may read it), C(tracked_by_git) (high), C(duplicate) (medium),
    C(unportable_value) (low: readers take it differently)."
options:
  path:
    description: The environment file.
    type: path
    required: true
  required:
    description:
      - Variables that have to be set to these values, or with null to any value that is not empty.
      - The values are shown as fingerprints only.
    type: dict
    default: {}
  deny_patterns:
    description: Regular expressions. A secret in which one of them is found is unsafe.
    type: list
    elements: str
    default: []
  min_entropy_bits:
    description:
      - A secret with less entropy is unsafe. The estimate is cautious; a key of 128 random bits has at least 72.
      - A password needs 40 at most, and 15 characters where another secret needs 22.
    type: float
    default: 72.0
extends_documentation_fragment:
  - composeops.hotfix._attributes
  - composeops.hotfix._attributes.INFO
seealso:
  - module: composeops.hotfix.dotenv
  - module: composeops.hotfix.key_rotation
author:
  - composeops.hotfix contributors (@composeops)
"""

EXAMPLES = r"""
- name: Audit the environment file
  composeops.hotfix.dotenv_info:
    path: /opt/wealth-coach-ai/.env
    required:
      ENVIRONMENT: production
      DEBUG: false
  register: audit

- name: Require that it is secure
  ansible.builtin.assert:
    that: audit.secure
    fail_msg: "{{ audit.findings | map(attribute='message') | join(' ') }}"
"""

RETURN = r"""
variables:
  description: The variables, each once, in the order of the file.
  type: list
  elements: dict
  returned: success
  contains:
    name:
      description: Name of the variable.
      type: str
    line:
      description: Line of the assignment that counts.
      type: int
    length:
      description: Number of characters of its value.
      type: int
    fingerprint:
      description: Fingerprint of its value; empty for a name without a value.
      type: str
    occurrences:
      description: How often it is assigned.
      type: int
findings:
  description: What is wrong, in the order of the lines.
  type: list
  elements: dict
  returned: success
  contains:
    rule:
      description: Name of the rule.
      type: str
    name:
      description: The variable; empty for the file as a whole.
      type: str
    line:
      description: Line in the file; 0 for the file as a whole.
      type: int
    severity:
      description: C(critical), C(high), C(medium) or C(low).
      type: str
    message:
      description: A sentence that says what is wrong.
      type: str
secure:
  description: Whether there is no critical and no high finding.
  type: bool
  returned: success
"""

import os
import tempfile
from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv import Document, parse, shown_name
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv_audit import SEVERE, Finding, audit
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv_forms import as_texts
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._files import read_bytes
from ansible_collections.composeops.hotfix.plugins.module_utils._git import Git, find_work_tree
from ansible_collections.composeops.hotfix.plugins.module_utils._keys import MIN_ENTROPY_BITS
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import fingerprint, hide_option

ARGUMENTS: dict[str, Any] = {
    "path": {"type": "path", "required": True},
    "required": {"type": "dict", "default": {}, "no_log": True},
    "deny_patterns": {"type": "list", "elements": "str", "default": []},
    "min_entropy_bits": {"type": "float", "default": MIN_ENTROPY_BITS},
}


def open_mode(path: str) -> list[Finding]:
    """A finding when others than the owner may read or write the file."""
    mode = os.stat(path).st_mode & 0o7777
    if not mode & 0o066:
        return []
    what = "written" if mode & 0o022 else "read"
    who = "everybody" if mode & (0o002 if mode & 0o022 else 0o004) else "its group"
    severity = "medium" if (what, who) == ("read", "its group") else "high"
    message = f"The file may be {what} by {who} (mode {mode:04o}); chmod 600 closes it."
    return [Finding("open_mode", "", 0, severity, message)]


def tracked_by_git(path: str) -> list[Finding]:
    """A finding when git has the file under version control; none where there is no git or no work tree."""
    real = os.path.realpath(path)
    try:
        top = find_work_tree(os.path.dirname(real))
        if top is None:
            return []
        with tempfile.TemporaryDirectory() as scratch:
            tracked = Git(top, scratch).maybe("ls-files", "--error-unmatch", "--", real)
    except HotfixError:
        return []
    message = (
        "The file is tracked by git, so its secrets are in the history of every clone; untrack it and rotate them."
    )
    return [Finding("tracked_by_git", "", 0, "high", message)] if tracked else []


def variables(document: Document) -> list[dict[str, Any]]:
    """Each variable once, by fingerprint."""
    shown = []
    for name in dict.fromkeys(entry.name for entry in document.entries):
        entry = document.effective(name)
        if entry is not None:
            shown.append(
                {
                    "name": shown_name(entry),
                    "line": entry.line,
                    "length": len(entry.value or ""),
                    "fingerprint": "" if entry.value is None else fingerprint(entry.value),
                    "occurrences": len(document.occurrences(name)),
                }
            )
    return shown


def run(params: dict[str, Any], required: dict[str, str | None]) -> dict[str, Any]:
    """Audit the file.

    :raises HotfixError: when it cannot be read.
    """
    path: str = params["path"]
    data = read_bytes(path)
    findings = open_mode(path) + tracked_by_git(path)
    shown: list[dict[str, Any]] = []
    try:
        document = parse(data, path)
        shown = variables(document)
        findings += audit(document, required, params["deny_patterns"], params["min_entropy_bits"])
    except HotfixError as error:
        if error.line is None:
            raise
        findings.append(Finding("unparsable", "", error.line, "critical", f"{error.message}. {error.remedy}."))
    return {
        "changed": False,
        "variables": shown,
        "findings": [asdict(finding) for finding in findings],
        "secure": not any(finding.severity in SEVERE for finding in findings),
    }


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    required = module.params["required"]
    try:
        texts = as_texts({name: value for name, value in required.items() if value is not None}, "required")
        hide_option(module, "required", texts)
        result = run(module.params, {str(name): texts.get(str(name)) for name in required})
    except HotfixError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
