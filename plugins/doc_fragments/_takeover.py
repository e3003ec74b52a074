# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module is told that replaces a service's container by another one which is there already."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of the modules ``handover`` and ``rolling``; ``_takeover.ARGUMENTS`` is the same for Python."""

    DOCUMENTATION = r"""
options:
  project_src:
    required: true
  service:
    description: The service.
    type: str
    required: true
  required:
    description: Fail when the service cannot be replaced this way, for O(state=started).
    type: bool
    default: false
  force:
    description: Start another container although Compose would not make one, for O(state=started).
    type: bool
    default: false
  shared_volumes:
    description:
      - Volumes, folders of the host or mount points to which two containers of the service may write at the same time.
      - A service that writes to others is not replaced this way.
    type: list
    elements: str
    default: []
  exclusive:
    description:
      - There may be only one of this service at a time. Its label C(composeops.hotfix.exclusive) says so as well.
    type: bool
    default: false
  drain_timeout:
    description: Seconds that open connections may take to end by themselves.
    type: int
    default: 30
  state_dir:
    description:
      - The folder below which the state of the projects lies on the managed host. Given, what is done is noted in the
        project's journal.
    type: path
"""
