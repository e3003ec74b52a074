# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking for secrets whole, in part and in disguise, in files here or on another machine."""

from __future__ import annotations

import base64
import html
import json
import shlex
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, quote_plus

# Characters in a row that count as a piece of a secret. Twelve of a random token are found by accident in no file.
PIECE = 12
GREP_FILES = Path(__file__).with_name("grep_files.py")
# So many characters of base64 stand for twelve of the secret.
BASE64_PIECE = 16


def disguises(value: str) -> set[str]:
    """The lines in which a program may print a value."""
    escaped = json.dumps(value)[1:-1]
    forms = {
        value,
        quote(value, safe=""),
        quote_plus(value),
        escaped,
        json.dumps(escaped)[1:-1],
        repr(value)[1:-1],
        html.escape(value),
        shlex.quote(value),
        value.replace("'", "''"),
        value.replace("$", "$$"),
    }
    return {line for form in forms for line in form.splitlines()}


def pieces(value: str) -> set[str]:
    """What to search for, so that each run of :data:`PIECE` characters of the value is found, in each disguise."""
    found = set()
    for form in disguises(value):
        found |= {form[at : at + PIECE] for at in range(len(form) - PIECE + 1)}
    data = value.encode()
    for skipped in range(3):
        # Within longer data the value starts at any of three places of a group of base64; its edges are shared ones.
        text = base64.b64encode(data[skipped : len(data) - (len(data) - skipped) % 3]).decode()
        found |= {text[at : at + BASE64_PIECE] for at in range(len(text) - BASE64_PIECE + 1)}
    return found


class Table:
    """The secrets and their names. Several may have one name, such as each new key."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}

    def add(self, name: str, value: str) -> str:
        """Register a secret and return it.

        :raises ValueError: for one too short to be searched for.
        """
        if len(value) < PIECE:
            raise ValueError(f"{name} is too short to be searched for")
        self.names.setdefault(value, name)
        return value

    def named(self, name: str) -> str:
        """The secret of a name."""
        return next(value for value, other in self.names.items() if other == name)

    def patterns(self) -> dict[str, str]:
        """Each piece of each secret, with the secret's name."""
        return {piece: name for value, name in self.names.items() for piece in pieces(value)}


@dataclass
class Found:
    """What a search came to.

    :ivar hits: how many pieces of a secret are in a file, by file and name.
    """

    files: int = 0
    bytes: int = 0
    hits: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, other: Found) -> None:
        self.files += other.files
        self.bytes += other.bytes
        self.hits.update(other.hits)


def search(
    patterns: Mapping[str, str], paths: Iterable[str], *, prefix: Sequence[str] = (), pruned: Iterable[str] = ()
) -> Found:
    """Search files and folders.

    :param patterns: as :meth:`Table.patterns`.
    :param prefix: what runs a command elsewhere, such as ``docker exec -i NAME``.
    :param pruned: folders to leave out.
    """
    # The pieces go in on standard input: as arguments, or in a file, they would themselves be found.
    request = json.dumps({"patterns": list(patterns), "paths": list(paths), "pruned": list(pruned)})
    command = [*prefix, "python3", "-c", GREP_FILES.read_text(encoding="utf-8")]
    answer = json.loads(subprocess.run(command, input=request, check=True, capture_output=True, text=True).stdout)
    found = Found(answer["files"], answer["bytes"])
    for path, piece, count in answer["hits"]:
        found.hits[path, patterns[piece]] += count
    return found
