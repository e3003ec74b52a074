# SPDX-License-Identifier: GPL-3.0-or-later
"""How a module is told which keys it is about."""

from __future__ import annotations


class ModuleDocFragment:
    """Options that name the keys in a ``.env``."""

    DOCUMENTATION = r"""
options:
  path:
    description:
      - The C(.env) file with the keys.
    type: path
    required: true
  name:
    description:
      - The variable that holds them.
    type: str
    default: VALID_API_KEYS
  format:
    description:
      - How it holds them, as for M(composeops.hotfix.key_rotation).
    type: str
    choices: [auto, json_list, csv, scalar]
    default: auto
"""
