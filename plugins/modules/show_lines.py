#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: show_lines
short_description: Show lines on the terminal as they are
version_added: 0.1.0
description:
  - Prints a table or a list as it is, whatever format the callback shows results in. M(ansible.builtin.debug) shows it
    as JSON or YAML.
  - Runs on the controller. In AWX the lines are part of the job's output.
options:
  lines:
    description: The lines.
    type: list
    elements: str
    required: true
extends_documentation_fragment:
  - composeops.hotfix._attributes
  - composeops.hotfix._attributes.INFO
author:
  - composeops.hotfix contributors (@composeops)
"""

EXAMPLES = r"""
- name: Show the summary
  composeops.hotfix.show_lines:
    lines: "{{ report_summary | composeops.hotfix.summary_table }}"
"""

RETURN = r""" # """
