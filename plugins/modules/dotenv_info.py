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
    or others may write it; medium: the group may read it), C(tracked_by_git) (high), C(in_git_history) (high: a version
    of the file that git keeps holds a secret in use), C(not_ignored_by_git) (low: the next C(git add) takes it),
    C(duplicate) (medium), C(unportable_value) (low: readers take it differently; high: the service gets
    the quotes as well). C(open_mode) and C(tracked_by_git)
    are also about copies beside the file that hold a secret in use, whatever an editor or a person called them."
  - "Rule about an image (O(image), O(container), O(service)): C(image_layer) (high: it holds a secret in use; medium: a
    secret of another time, in an environment file or a variable). Its history is searched, its own variables, and the
    files of all its layers, also those that a later layer deletes. Files and instructions are searched for secrets of
    12 characters and more. C(not_searched) (low) says what was not searched and why."
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
  image:
    description:
      - Name or ID of an image in which to look for the secrets.
      - Without it, that of O(container), or of the container of O(service) in O(project_src), if one is named.
    type: str
  image_max_mb:
    description:
      - The files of a larger image (in units of 1000000 bytes) are not searched, only its history and its variables.
        With V(0) those of none are.
      - To search them the engine writes the image into a temporary folder of its own, and this module reads it once, as
        a stream; a second for each 30 MB to 100 MB is usual.
    type: int
    default: 2048
extends_documentation_fragment:
  - composeops.hotfix._env_file
  - composeops.hotfix._project
  - composeops.hotfix._project.SERVICE
  - composeops.hotfix._project.CONTAINER
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

- name: Look also for what the image of the running container keeps of it
  composeops.hotfix.dotenv_info:
    path: /opt/wealth-coach-ai/.env
    project_src: /opt/wealth-coach-ai
    service: backend
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
      description: Line in the file; 0 for the file as a whole, and for a variable that is not in it.
      type: int
    severity:
      description: C(critical), C(high), C(medium) or C(low).
      type: str
    message:
      description: A sentence that says what is wrong.
      type: str
    file:
      description: The file concerned where it is another one, a copy beside it or one in an image; else empty.
      type: str
secure:
  description: Whether there is no critical and no high finding.
  type: bool
  returned: success
"""

from dataclasses import asdict, replace
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Docker
from ansible_collections.composeops.hotfix.plugins.module_utils._container_options import (
    OPTIONS,
    RULES,
    named_container,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv import DIALECT, Document, parse, shown_name
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv_audit import (
    SEVERE,
    Finding,
    Secret,
    audit,
    held_secrets,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv_forms import as_texts
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv_place import place_findings
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._files import read_bytes
from ansible_collections.composeops.hotfix.plugins.module_utils._image_layers import not_searched, search_image
from ansible_collections.composeops.hotfix.plugins.module_utils._keys import MIN_ENTROPY_BITS
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import fingerprint, hide_option

ARGUMENTS: dict[str, Any] = {
    "path": {"type": "path", "required": True},
    **DIALECT,
    "required": {"type": "dict", "default": {}, "no_log": True},
    "deny_patterns": {"type": "list", "elements": "str", "default": []},
    "min_entropy_bits": {"type": "float", "default": MIN_ENTROPY_BITS},
    "image": {"type": "str"},
    **OPTIONS,
    "image_max_mb": {"type": "int", "default": 2048},
}


def image_findings(params: dict[str, Any], secrets: list[Secret], docker: Docker) -> list[Finding]:
    """What the image keeps of the secrets; nothing when none is named.

    :raises HotfixError: when there is no such image or container, or the engine does not answer.
    """
    limit = params["image_max_mb"] * 10**6
    if params["image"]:
        return search_image(docker, params["image"], params["image"], secrets, limit)
    if not params["container"] and not params["project_src"]:
        return []
    inspected = named_container(docker, params)
    name = str(inspected["Config"]["Image"])
    try:
        return search_image(docker, inspected["Image"], name, secrets, limit)
    except HotfixError as error:  # an image can be removed by force under its container
        return [not_searched(f"The image of the container was not searched: {error.message}.")]


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
    findings: list[Finding] = []
    shown: list[dict[str, Any]] = []
    secrets: list[Secret] = []
    try:
        document = parse(data, path, params["dialect"])
        shown = variables(document)
        secrets = held_secrets(document)
        findings += audit(document, required, params["deny_patterns"], params["min_entropy_bits"])
    except HotfixError as error:
        if error.line is None:
            raise
        findings.append(Finding("unparsable", "", error.line, "critical", f"{error.message}. {error.remedy}."))
    lines = {variable["name"]: variable["line"] for variable in shown}
    around = place_findings(path, secrets) + image_findings(params, secrets, Docker())
    findings += [replace(finding, line=lines.get(finding.name, 0)) for finding in around]
    return {
        "changed": False,
        "variables": shown,
        "findings": [asdict(finding) for finding in sorted(findings, key=lambda finding: finding.line)],
        "secure": not any(finding.severity in SEVERE for finding in findings),
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
        mutually_exclusive=[("image", "container", "project_src")],
        required_by=RULES["required_by"],
    )
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
