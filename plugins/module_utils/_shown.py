# SPDX-License-Identifier: GPL-3.0-or-later
"""How a file's content is shown in a diff: values of environment files as fingerprints, what looks secret masked."""

from __future__ import annotations

import os

from ansible_collections.composeops.hotfix.plugins.module_utils import _dotenv
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import mask

LIMIT = 200_000  # characters of one file; a vendored library is of no use on a terminal


def is_dotenv(path: str) -> bool:
    """True for a file whose values are secrets: ``.env``, ``.env.production``, ``backend.env``."""
    name = os.path.basename(path)
    return name == ".env" or name.startswith(".env.") or name.endswith(".env")


def printable(name: str) -> str:
    """A file's name as it may be printed, even when it is not UTF-8."""
    return os.fsencode(name).decode("utf-8", "replace")


def shown(path: str, data: bytes | None, dialect: str = "") -> str:
    """A file's content as it may be printed; empty for a file that does not exist.

    :param path: the file's name, which decides whether all its values are secrets.
    :param dialect: the one in which the file is read as an environment file, whatever its name is.
    """
    if data is None:
        return ""
    if dialect or is_dotenv(path):
        try:
            return _dotenv.redacted(_dotenv.parse(data, path, dialect or _dotenv.PORTABLE))
        except HotfixError:
            return f"({len(data)} bytes that cannot be read as an environment file, not shown)\n"
    if b"\0" in data:
        return f"(binary, {len(data)} bytes)\n"
    text = mask(data.decode("utf-8", "replace"))
    return text if len(text) <= LIMIT else f"{text[:LIMIT]}\n(the rest, {len(text) - LIMIT} characters, is left out)\n"


def file_diff(path: str, before: bytes | None, after: bytes | None) -> dict[str, str]:
    """One file's entry in a module's ``diff``."""
    name = printable(path)
    return {
        "before_header": name if before is not None else f"{name} (absent)",
        "after_header": name if after is not None else f"{name} (absent)",
        "before": shown(path, before),
        "after": shown(path, after),
    }
