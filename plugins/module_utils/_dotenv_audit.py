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
# They say so after its word; before it such a word says whose secret it is: EMAIL_HOST_PASSWORD, DB_USER_PASSWORD.
_ABOUT_A_SECRET = re.compile(
    r"(?:^|_)(?:ALG|ALGORITHMS?|AUDIENCE|BACKEND|CLAIMS?|COLUMN|COUNT|DAYS?|DIR|DOMAIN|ENABLED?|ENCODING|ENDPOINT|EXPIR\w*"
    r"|FIELD|FILE|FORMAT|HASHERS?|HEADER|HOST|HOURS?|ID|ISSUER|LEEWAY|LENGTH|LIFETIME|LIMIT|LOCATION|MAX\w*|MIN\w*|MINUTES?"
    r"|MODE|NAME|PATH|PER_\w+|POLICY|PORT|PREFIX|PROVIDER|REGION|REQUIRED?|ROUNDS|SAMESITE|SCOPES?|SECONDS?|SIZE|STORAGE"
    r"|STORE|STRATEGY|TIMEOUT|TTL|TYPE|URI|URL|USER|USERNAME|VERSION|WINDOW)(?:_|$)",
    re.IGNORECASE,
)
# Nor is a public key a secret, nor MAX_TOKENS, nor TOKENIZERS_PARALLELISM.
_NO_SECRET = re.compile(r"(?:^|_)(?:(?:MAX|MIN|NUM)_TOKENS|PUBLIC|PUBLISHABLE|TOKENIZERS?)(?:_|$)", re.IGNORECASE)
# A switch or a small number is a setting, whatever its name says; but 1234 may be a password.
_SWITCH = re.compile(r"true|false|yes|no|on|off|none|null", re.IGNORECASE)
_SMALL_NUMBER = re.compile(r"-?[0-9]{1,5}(?:\.[0-9]{1,3})?")
# NIST SP 800-63B-4, 3.1.1.2: passwords have at least 15 characters. Unlike a token a password is typed, and guesses
# are limited, so that a long one is not insecure for having less entropy than a token.
_PASSWORD_LENGTH = 15
_PASSWORD_NAME = re.compile(r"password|passwd|passphrase|(?:^|[_.-])(?:pass|pwd|pw|pin)(?:$|[_.-])", re.IGNORECASE)
_STRINGS = re.compile(r"\[\s*[\"']")
_OBJECTS = re.compile(r"(?:\[\s*)?\{\s*\"")
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


def holds_secret(name: str, value: str) -> bool:
    """Whether a variable is taken for a secret: by words in its name such as KEY, SECRET, TOKEN, PASSWORD.

    An empty value, a switch such as ``false``, and a small number under a name without PASSWORD are none.
    """
    words = list(SECRET_NAME.finditer(name))
    if not value or not words or _ABOUT_A_SECRET.search(name[words[-1].end() :]) or _NO_SECRET.search(name):
        return False
    if _SWITCH.fullmatch(value):
        return False
    return bool(_PASSWORD_NAME.search(name)) or not _SMALL_NUMBER.fullmatch(value)


def audit(
    document: Document,
    required: Mapping[str, str | None],
    deny_patterns: Sequence[str] = (),
    min_entropy_bits: float = MIN_ENTROPY_BITS,
) -> list[Finding]:
    """All findings about a file's content, in the order of its lines.

    :param required: the value that each of these variables must have; ``None`` for any that is not empty.
    :raises HotfixError: when a pattern is not a regular expression.
    """
    found = list(_file(document))
    for name in dict.fromkeys(entry.name for entry in document.entries):
        entry = document.effective(name)
        if entry is None:
            continue
        if not entry.interpolated and holds_secret(name, entry.value or ""):
            found += _weak(document, entry, deny_patterns, min_entropy_bits)
        found += _written(document, entry)
    found += _required(document, required)
    return sorted(found, key=lambda finding: finding.line)


def _weak(document: Document, entry: Entry, deny_patterns: Sequence[str], min_entropy_bits: float) -> Iterator[Finding]:
    value = (entry.value or "").strip()
    several = not _OBJECTS.match(value) and bool(_SEVERAL.search(entry.name) or _STRINGS.match(value))
    try:
        keys = split(value, "auto" if several else "scalar")
    except HotfixError as error:
        yield Finding("unparsable", entry.name, entry.line, "critical", f"{entry.name}: {error.message}.")
        return
    for number, key in enumerate(keys, 1):
        which = f"Key {number} of {len(keys)} in {entry.name}" if len(keys) > 1 else entry.name
        long_password = bool(_PASSWORD_NAME.search(entry.name)) and len(key) >= _PASSWORD_LENGTH
        for weakness in weaknesses(key, deny_patterns, min_entropy_bits):
            severity = "medium" if long_password and weakness.rule == "low_entropy" else weakness.severity
            yield Finding(weakness.rule, entry.name, entry.line, severity, f"{which} {weakness.message}.")


def _file(document: Document) -> Iterator[Finding]:
    """What concerns every line: marks that only some readers skip."""
    if document.bom:
        message = "The file begins with a byte order mark, which a shell takes for a part of the first name."
        yield Finding("unportable_value", "", 1, "low", message)
    before, crlf, _after = document.text.partition("\r\n")
    if crlf:
        message = "Lines end in CRLF, and a shell takes the CR for a part of the value."
        yield Finding("unportable_value", "", before.count("\n") + 1, "low", message)


def _written(document: Document, entry: Entry) -> Iterator[Finding]:
    name = shown_name(entry)
    places = [str(other.line) for other in document.occurrences(entry.name)]
    if len(places) > 1:
        message = f"{name} stands on lines {', '.join(places)}; Compose takes the one on line {entry.line}."
        yield Finding("duplicate", name, entry.line, "medium", message)
    problem = document.problem(entry)
    if problem:
        yield Finding("unportable_value", name, entry.line, "low", f"{name} {problem}.")


def _required(document: Document, required: Mapping[str, str | None]) -> Iterator[Finding]:
    for name, value in required.items():
        entry = document.effective(name)
        if entry is None or entry.value is None or (value is None and not entry.value):
            line = entry.line if entry else 0
            yield Finding("missing", name, line, "high", f"{name} {'has no value' if entry else 'is not set'}.")
        elif value is not None and not _same(entry.value, value):
            message = f"{name} does not have the value that is required."
            yield Finding("wrong_value", name, entry.line, "high", message)


def _same(found: str, wanted: str) -> bool:
    """Whether a program takes both for the same: False and false are one switch."""
    return found == wanted or (wanted in ("true", "false") and found.lower() == wanted)
