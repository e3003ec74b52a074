# SPDX-License-Identifier: GPL-3.0-or-later
"""How a module is told who reads an environment file."""

from __future__ import annotations


class ModuleDocFragment:
    """The option that names the readers of a ``.env``."""

    DOCUMENTATION = r"""
options:
  dialect:
    description:
      - Who reads the environment file, and so how its lines are read and written.
      - V(portable) is for Compose, python-dotenv and a shell. A value stands in quotes where it needs any.
      - "V(raw) is for a file that is only read with C(format: raw) of C(env_file), or by C(docker run --env-file).
        Those keep quotes and comments as a part of the value, so it is written without."
      - V(bare) is for a file that is read raw and by Compose and python-dotenv as well, such as the C(.env) of a
        project whose service reads it raw. A value that these would read differently is refused.
      - RV(composeops.hotfix.compose_service#module:env_dialects) tells which one a file of a Compose project needs.
    type: str
    choices: [portable, raw, bare]
    default: portable
"""
