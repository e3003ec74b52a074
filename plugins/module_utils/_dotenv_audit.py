# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with an environment file: unsafe secrets, wrong settings, lines that readers take differently."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv import Document, Entry, shown_name
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._keys import MIN_ENTROPY_BITS, split, weaknesses
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import SECRET_NAME

# With one of these a file is not secure.
SEVERE = ("critical", "high")
# Settings about a secret, such as ACCESS_TOKEN_EXPIRE_MINUTES, JWT_ALGORITHM and SSL_KEY_FILE, are none themselves.
_ABOUT_A_SECRET = re.compile(
    r"(?:^|_)(?:ALGORITHM|AUDIENCE|COUNT|DAYS?|DIR|ENABLED?|ENDPOINT|EXPIR\w*|FILE|HEADER|HOST|HOURS?|ID|ISSUER|LENGTH"
    r"|LIFETIME|LIMIT|MAX\w*|MIN\w*|MINUTES?|NAME|PATH|PER_\w+|PREFIX|REQUIRED?|SECONDS?|SIZE|TTL|TYPE|URI|URL)(?:_|$)",
    re.IGNORECASE,
)
_SEVERAL = re.compile(r"(?:KEYS|TOKENS|SECRETS|PASSWORDS)(?:_|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, never quoting a value.

    :ivar rule: the name of the rule; the module ``dotenv_info`` documents them.
    :ivar name: the variable concerned, empty for the file as a whole.
    :ivar line: the line in the file, 0 for the file as a whole.
    :ivar severity: ``critical``, ``high``, ``medium`` or ``low``.
    :ivar message: a sentence.
    """

    rule: str
    name: str
    line: int
    severity: str
    message: str


def holds_secret(name: str) -> bool:
    """Whether a variable of this name is taken for a secret: by words such as KEY, SECRET, TOKEN, PASSWORD."""
    return bool(SECRET_NAME.search(name)) and not _ABOUT_A_SECRET.search(name)


def audit(
    document: Document,
    required: Mapping[str, str],
    deny_patterns: Sequence[str] = (),
    min_entropy_bits: float = MIN_ENTROPY_BITS,
) -> list[Finding]:
    """All findings about a file's content, in the order of its lines.

    :param required: the value that each of these variables must have.
    :raises HotfixError: when a pattern is not a regular expression.
    """
    found: list[Finding] = []
    for name in dict.fromkeys(entry.name for entry in document.entries):
        entry = document.effective(name)
        if entry is None:
            continue
        if entry.value and not entry.interpolated and holds_secret(name):
            found += _weak(document, entry, deny_patterns, min_entropy_bits)
        found += _written(document, entry)
    found += _required(document, required)
    return sorted(found, key=lambda finding: finding.line)


def _weak(document: Document, entry: Entry, deny_patterns: Sequence[str], min_entropy_bits: float) -> Iterator[Finding]:
    several = bool(_SEVERAL.search(entry.name)) or (entry.value or "").lstrip().startswith('["')
    try:
        keys = split(entry.value or "", "auto" if several else "scalar")
    except HotfixError as error:
        yield Finding("unparsable", entry.name, entry.line, "critical", f"{entry.name}: {error.message}.")
        return
    for number, key in enumerate(keys, 1):
        which = f"Key {number} of {len(keys)} in {entry.name}" if len(keys) > 1 else entry.name
        for weakness in weaknesses(key, deny_patterns, min_entropy_bits):
            message = f"{which} {weakness.message}."
            yield Finding(weakness.rule, entry.name, entry.line, weakness.severity, message)


def _written(document: Document, entry: Entry) -> Iterator[Finding]:
    name = shown_name(entry)
    places = [str(other.line) for other in document.occurrences(entry.name)]
    if len(places) > 1:
        message = f"{name} stands on lines {', '.join(places)}; Compose takes the one on line {entry.line}."
        yield Finding("duplicate", name, entry.line, "medium", message)
    problem = document.problem(entry)
    if problem:
        yield Finding("unportable_value", name, entry.line, "low", f"{name} {problem}.")


def _required(document: Document, required: Mapping[str, str]) -> Iterator[Finding]:
    for name, value in required.items():
        entry = document.effective(name)
        if entry is None or entry.value is None:
            yield Finding("missing", name, 0, "high", f"{name} is not set.")
        elif entry.value != value:
            message = f"{name} does not have the value that is required."
            yield Finding("wrong_value", name, entry.line, "high", message)
