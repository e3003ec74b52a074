# Copyright: composeops.hotfix contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes random tokens on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
name: secure_token
short_description: Make a random API key on the controller
version_added: 0.1.0
author:
  - composeops.hotfix contributors (@composeops)
description:
  - Makes a random token with C(secrets.token_urlsafe), in the characters C(A-Z a-z 0-9 _ -).
  - Each evaluation makes another token. Put it into a fact once (C(ansible.builtin.set_fact) with C(run_once)) to give
    the same key to several hosts.
  - For one host prefer a key made on that host by M(composeops.hotfix.key_rotation), which never travels.
options:
  _terms:
    description:
      - How many tokens to make; 1 without it.
    type: int
  nbytes:
    description:
      - Bytes of randomness, from 16 to 1024. The token has about 1.33 characters for each, 43 for V(32), 64 for V(48).
    type: int
    default: 32
seealso:
  - module: composeops.hotfix.key_rotation
"""

EXAMPLES = r"""
- name: Make one key for the whole group
  ansible.builtin.set_fact:
    fleet_key: "{{ lookup('composeops.hotfix.secure_token') }}"
  run_once: true
  no_log: true

- name: Give it to each host
  composeops.hotfix.key_rotation:
    path: /opt/wealth-coach-ai/.env
    regenerate: always
    new_key: "{{ fleet_key }}"

- name: Make three secrets of 64 characters
  ansible.builtin.set_fact:
    secrets_of_64: "{{ query('composeops.hotfix.secure_token', 3, nbytes=48) }}"
  no_log: true
"""

RETURN = r"""
_raw:
  description: The tokens.
  type: list
  elements: str
"""

from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._keys import generate


class LookupModule(LookupBase):
    """The lookup ``composeops.hotfix.secure_token``."""

    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[str]:
        """One token, or as many as the only term says."""
        self.set_options(var_options=variables, direct=kwargs)
        nbytes = self.get_option("nbytes")
        try:
            (count,) = [int(term) for term in terms] or [1]
        except (TypeError, ValueError):
            raise AnsibleError("secure_token takes one term, the number of tokens.") from None
        if count < 1 or not 16 <= nbytes <= 1024:
            raise AnsibleError("secure_token makes at least 1 token, of 16 to 1024 bytes.")
        try:
            return [generate(nbytes) for _number in range(count)]
        except HotfixError as error:
            raise AnsibleError(str(error)) from error
