# SPDX-License-Identifier: GPL-3.0-or-later
"""The small files in which the kernel tells of processes and control groups."""

from __future__ import annotations


def kernel_text(path: str) -> str:
    """A file's text; empty when the process is gone, may not be looked at, or the kernel has no such file."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""
