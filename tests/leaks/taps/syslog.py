# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for Python's module of this name on the controller, where nobody may be there to write a system log."""

import os

LOG_INFO, LOG_USER, LOG_DEBUG, LOG_ERR, LOG_WARNING, LOG_NOTICE = 6, 8, 7, 3, 4, 5


def openlog(*_arguments: object) -> None:
    """As the real one, without effect."""


def syslog(*arguments: object) -> None:
    """Write the message to the file that is searched."""
    with open(os.environ["SYSLOG_TAP"], "a", encoding="utf-8") as stream:
        stream.write(f"{arguments[-1]}\n")
