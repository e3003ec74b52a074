# SPDX-License-Identifier: GPL-3.0-or-later
"""How a module is told which Compose project, service or container it is about."""

from __future__ import annotations


class ModuleDocFragment:
    """Options that name a Compose project, a service in it, or a container."""

    DOCUMENTATION = r"""
options:
  project_src:
    description:
      - Directory of the Compose project on the managed host.
    type: path
  files:
    description:
      - Compose files, relative to O(project_src), in the order in which Compose merges them.
      - By default the files that Compose itself would load, C(COMPOSE_FILE) and override files included.
    type: list
    elements: path
"""

    SOURCE = r"""
options:
  project_src:
    description:
      - Directory of the Compose project on the managed host.
    type: path
    required: true
"""

    SERVICE = r"""
options:
  service:
    description:
      - Name of the service in the Compose project.
    type: str
"""

    BACKUP = r"""
options:
  backup:
    description:
      - Keep a copy of each file before it is changed, beside it, with mode V(0600) and the time in its name.
    type: bool
    default: false
  backup_keep:
    description:
      - How many such copies of a file stay; older ones are removed. At least 1.
    type: int
    default: 5
notes:
  - Runs that change files in the same folder wait for each other, for up to a minute. A file that somebody else changed
    while it was being edited is left so, and the run fails.
  - A file with more than one name (hard links) is refused, as are named pipes and devices. Symbolic links are followed.
"""

    CONTAINER = r"""
options:
  container:
    description:
      - Name or ID of a container.
      - Without it, the container of O(service) in O(project_src); of several that of which only one is running.
    type: str
"""

    STATE = r"""
options:
  state_dir:
    description:
      - The folder below which the state of the projects lies on the managed host.
    type: path
    default: /var/lib/composeops
"""
