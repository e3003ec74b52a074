#!/usr/bin/python
# Copyright: composeops.hotfix contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rotates the keys that a variable of a Compose .env holds."""

from __future__ import annotations

DOCUMENTATION = r"""
module: key_rotation
short_description: Rotate API keys and other secrets in a Compose .env file
version_added: 0.1.0
description:
  - Replaces, adds and retires the keys that one variable of a C(.env) file holds, such as C(VALID_API_KEYS) or
    C(JWT_SECRET_KEY).
  - The first key of a list is the newest one. A new key goes first.
  - An insecure key is a development, published, placeholder, guessable or denied one; RV(reasons) names the rule.
  - Only the file changes. The running container keeps its old keys until it is recreated.
  - Keys are shown as fingerprints, C(sha256:<first 8 hexadecimal digits> len=<length>), never as values.
author:
  - composeops.hotfix contributors (@composeops)
extends_documentation_fragment:
  - composeops.hotfix._env_file
  - composeops.hotfix._attributes
  - composeops.hotfix._project.BACKUP
attributes:
  check_mode:
    support: full
    details:
      - A key that would be generated is not known yet; RV(new_fingerprint) and the diff say C(generated at run time).
  diff_mode:
    support: full
    details:
      - Values are replaced by fingerprints.
  idempotent:
    support: partial
    details:
      - With O(regenerate=always) each run makes a new key, unless O(new_key) is given and is the newest key already.
options:
  path:
    description:
      - The C(.env) file.
    type: path
    required: true
  name:
    description:
      - The variable. It is added when it is missing and a key is needed.
    type: str
    default: VALID_API_KEYS
  format:
    description:
      - How the variable holds its keys.
      - V(json_list) is C(["newest","older"]), V(csv) is C(newest,older), V(scalar) is a single key.
      - V(auto) keeps the form of the present value, and takes V(json_list) when there is none. A single bare key
        counts as V(scalar).
    type: str
    choices: [auto, json_list, csv, scalar]
    default: auto
  regenerate:
    description:
      - V(never) makes no new key and drops no insecure one; RV(reasons) tells what is wrong. Keys to O(retire) go.
      - V(fail) fails, changing nothing, when a key is insecure, missing or too old.
      - V(insecure) makes a new key when one is insecure, when there is none, or when the newest is older than
        O(max_age).
      - V(always) makes a new key.
    type: str
    choices: [never, fail, insecure, always]
    default: insecure
  new_key:
    description:
      - The key to use when a new one is needed, for instance one made on the controller for several hosts.
      - Without it a key is made on the managed host. An insecure one is refused.
    type: str
  nbytes:
    description:
      - Bytes of randomness in a generated key, from 16 to 1024. The key has about 1.33 characters for each.
    type: int
    default: 32
  overlap:
    description:
      - Keep the secure old keys beside a new one, so that clients that have not been updated go on working.
      - Insecure keys are dropped at once in any case. For the format V(scalar) this has no meaning.
    type: bool
    default: true
  retire:
    description:
      - Fingerprints of keys to drop, with or without their C(len=), or V(all_but_newest). More than 8 digits, up to all
        64 of the SHA-256, are taken as well. A fingerprint that fits several keys is refused.
      - A fingerprint of a key that is not there changes nothing, and RV(reasons) says so.
      - Neither the last key nor the last secure one is dropped unless a new one is made.
    type: raw
  retire_after:
    description:
      - How long an older key stays after a newer one came, such as V(30d). Needs O(state_file) or O(state_dir).
      - By default as long as O(max_age) says; for ever without both.
    type: str
  max_age:
    description:
      - How long a key may be the newest before O(regenerate=insecure) makes a new one, and how long an older key stays
        after a newer one came, such as V(90d), V(12h) or V(4w). Needs O(state_file) or O(state_dir).
      - A key that the state file does not know, or knows with a date in the future, counts as made just now.
    type: str
  state_file:
    description:
      - A file on the managed host that remembers since when each key is known, by fingerprint, without values.
      - It is made with mode V(0600), its folder with mode V(0700).
    type: path
  state_dir:
    description:
      - The folder below which the state of the projects lies on the managed host. The ages are then kept in
        C(key_ages.json) in the project's folder there, the one that M(composeops.hotfix.snapshot) uses.
      - Mutually exclusive with O(state_file).
    type: path
  project_src:
    description:
      - Directory of the Compose project, for O(state_dir). By default the folder of O(path).
    type: path
  deny_patterns:
    description:
      - Regular expressions. A key in which one of them is found is insecure.
    type: list
    elements: str
    default: []
  min_entropy_bits:
    description:
      - A key with less entropy is insecure. The estimate is cautious; a key of 128 random bits has at least 72.
    type: float
    default: 72.0
  return_key:
    description:
      - Return the newest key as RV(key). Use C(no_log) on such a task.
    type: bool
    default: false
seealso:
  - module: composeops.hotfix.api_key_probe
"""

EXAMPLES = r"""
- name: Replace insecure API keys, keeping the secure ones
  composeops.hotfix.key_rotation:
    path: /opt/wealth-coach-ai/.env
    name: VALID_API_KEYS
    backup: true
  register: rotation

- name: Replace the secret that signs sessions if it is insecure, which logs every user out
  composeops.hotfix.key_rotation:
    path: /opt/wealth-coach-ai/.env
    name: JWT_SECRET_KEY
    format: scalar
    nbytes: 48

- name: Make a new key every 90 days and drop the old one 90 days later
  composeops.hotfix.key_rotation:
    path: /opt/wealth-coach-ai/.env
    max_age: 90d
    state_dir: /var/lib/composeops

- name: Drop keys that have had a successor for a month
  composeops.hotfix.key_rotation:
    path: /opt/wealth-coach-ai/.env
    regenerate: never
    retire_after: 30d
    state_dir: /var/lib/composeops

- name: Drop all keys but the newest, once every client has it
  composeops.hotfix.key_rotation:
    path: /opt/wealth-coach-ai/.env
    regenerate: never
    retire: all_but_newest
"""

RETURN = r"""
rotated:
  description: Whether a new key was put first.
  type: bool
  returned: success
reasons:
  description: What was found and decided, as sentences.
  type: list
  elements: str
  returned: success
  sample:
    - "Key 1 of 1 (sha256:ed6b7a3f len=13) is labelled as a development or test key (dev_key)."
    - "A new key becomes the newest."
    - "The key sha256:ed6b7a3f len=13 is dropped: it is insecure."
new_fingerprint:
  description:
    - Fingerprint of the new key; empty without one.
    - In check mode C(generated at run time), unless O(new_key) is given.
  type: str
  returned: success
  sample: "sha256:0a1b2c3d len=43"
newest_fingerprint:
  description: Fingerprint of the newest key, new or not, as RV(new_fingerprint). Empty when there is none.
  type: str
  returned: success
  sample: "sha256:0a1b2c3d len=43"
kept_fingerprints:
  description:
    - Fingerprints of the keys that were there and stay, newest first. Without a new key the newest is one of them.
  type: list
  elements: str
  returned: success
dropped_fingerprints:
  description: Fingerprints of the keys that were dropped.
  type: list
  elements: str
  returned: success
retired_fingerprints:
  description:
    - Those of them that were retired, by O(retire), O(retire_after) or O(max_age), and not dropped because they were
      insecure or replaced.
  type: list
  elements: str
  returned: success
key_count:
  description: How many keys the variable holds now.
  type: int
  returned: success
secure:
  description: Whether there is a key and none is insecure now.
  type: bool
  returned: success
format:
  description: How the variable holds its keys.
  type: str
  returned: success
  sample: json_list
line:
  description: Line of the variable before the change; 0 when it was missing.
  type: int
  returned: success
backup_file:
  description: The copy of the file as it was.
  type: str
  returned: when O(backup=true) and the file was changed
  sample: /opt/wealth-coach-ai/.env.20251018T021500.123456Z.bak
key:
  description: The newest key.
  type: str
  returned: when O(return_key=true), outside check mode or when no key has to be generated
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv import DIALECT
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._files import Edit
from ansible_collections.composeops.hotfix.plugins.module_utils._key_rotation import KeyRotation, state_file
from ansible_collections.composeops.hotfix.plugins.module_utils._keys import FORMATS, MIN_ENTROPY_BITS
from ansible_collections.composeops.hotfix.plugins.module_utils._rotation import REGENERATE

ARGUMENTS: dict[str, Any] = {
    "path": {"type": "path", "required": True},
    **DIALECT,
    "name": {"type": "str", "default": "VALID_API_KEYS"},
    "format": {"type": "str", "choices": ["auto", *FORMATS], "default": "auto"},
    "regenerate": {"type": "str", "choices": list(REGENERATE), "default": "insecure"},
    "new_key": {"type": "str", "no_log": True},
    "nbytes": {"type": "int", "default": 32},
    "overlap": {"type": "bool", "default": True},
    "retire": {"type": "raw"},
    "max_age": {"type": "str"},
    "retire_after": {"type": "str"},
    "state_file": {"type": "path"},
    "state_dir": {"type": "path"},
    "project_src": {"type": "path"},
    "deny_patterns": {"type": "list", "elements": "str", "default": []},
    "min_entropy_bits": {"type": "float", "default": MIN_ENTROPY_BITS},
    "backup": {"type": "bool", "default": False},
    "backup_keep": {"type": "int", "default": 5},
    "return_key": {"type": "bool", "default": False, "no_log": False},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENTS, mutually_exclusive=[("state_file", "state_dir")], supports_check_mode=True
    )
    try:
        # In this order everywhere: what is known of the project first, then the project's files.
        files = [path for path in (state_file(module.params), module.params["path"]) if path]
        with Edit(*files, check=module.check_mode) as edit:
            result = KeyRotation(module, edit).run()
    except HotfixError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
