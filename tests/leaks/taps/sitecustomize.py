# SPDX-License-Identifier: GPL-3.0-or-later
"""Leads Python's messages to the system log of the controller, where nobody may be there to write one, into a file.

Python reads a module of this name when it starts. One named ``syslog`` would not be read where that is built in.
"""

import os
import syslog


def _openlog(*_arguments: object) -> None:
    """As the real one, without effect."""


def _syslog(*arguments: object) -> None:
    """Write the message to the file that is searched."""
    with open(os.environ["SYSLOG_TAP"], "a", encoding="utf-8") as stream:
        stream.write(f"{arguments[-1]}\n")


syslog.openlog, syslog.syslog = _openlog, _syslog
