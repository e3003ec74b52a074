# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with an environment file: unsafe secrets, wrong settings, lines that readers take differently."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv import Document, Entry, shown_name
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._keys import (
    MIN_ENTROPY_BITS,
    Weakness,
    split,
    weaknesses,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import SECRET_NAME, URL_PASSWORD

# With one of these a file is not secure.
SEVERE = ("critical", "high")
# Settings about a secret, such as ACCESS_TOKEN_EXPIRE_MINUTES, JWT_ALGORITHM and SSL_KEY_FILE, are none themselves.
# They say so after its word; before it such a word says whose secret it is: EMAIL_HOST_PASSWORD, DB_USER_PASSWORD.
_ABOUT_A_SECRET = re.compile(
    r"(?:^|_)(?:ALG|ALGORITHMS?|AUDIENCE|BACKEND|CLAIMS?|COLUMN|COUNT|DAYS?|DIR|DOMAIN|ENABLED?|ENCODING|ENDPOINT|EXPIR\w*"
    r"|FIELD|FILE|FORMAT|HASHERS?|HEADER|HOST|HOURS?|IDS?|ISSUER|LEEWAY|LENGTH|LIFETIME|LIMIT|LOCATION|MAX\w*|MIN\w*|MINUTES?"
    r"|MODE|NAME|PATH|PER_\w+|POLICY|PORT|PREFIX|PROVIDER|REGION|REQUIRED?|ROUNDS|SAMESITE|SCOPES?|SECONDS?|SIZE|STORAGE"
    r"|STORE|STRATEGY|TIMEOUT|TTL|TYPE|URI|URL|USER|USERNAME|VERSION|WINDOW)(?:_|$)",
    re.IGNORECASE,
)
# Nor is a public key a secret (GPG_KEY is its fingerprint), nor MAX_TOKENS, nor TOKENIZERS_PARALLELISM, nor the key
# that rows are sorted by.
_NO_SECRET = re.compile(
    r"(?:^|_)(?:(?:MAX|MIN|NUM)_TOKENS|PUBLIC|PUBLISHABLE|(?:SITE|SORT|PARTITION|ROUTING|CACHE)_KEY|PASSWORDLESS"
    r"|TOKENIZERS?|GPG_KEYS?)(?:_|$)",
    re.IGNORECASE,
)
# A switch or a small number is a setting, whatever its name says; but 1234 may be a password.
_SWITCH = re.compile(r"true|false|yes|no|on|off|none|null", re.IGNORECASE)
_SMALL_NUMBER = re.compile(r"-?[0-9]{1,5}(?:\.[0-9]{1,3})?")
_PASSWORD_NAME = re.compile(r"password|passwd|passphrase|(?:^|[_.-])(?:pass|pwd|pw|pin)(?:$|[_.-])", re.IGNORECASE)
_STRINGS = re.compile(r"\[\s*[\"']")
_OBJECTS = re.compile(r"(?:\[\s*)?\{\s*\"")
# An address is no secret, but it may hold a password: postgres://user:password@host, jdbc:...?password=...
_ADDRESS = re.compile(r"(?:[a-z][a-z0-9+.-]*:){1,2}//", re.IGNORECASE)
_PARAMETER = re.compile(r"(?:^|[?&;\s])(?:password|pwd)=([^&;\s]+)", re.IGNORECASE)
_CLIENT_KEY = re.compile(r"API_?KEY|TOKEN", re.IGNORECASE)
# Names of one account's secret: given to the program and to its database, or to a program of another name for it.
_ONE_ACCOUNT = tuple(
    re.compile(rf"(?:^|_)(?:{words})", re.IGNORECASE)
    for words in (
        r"DB(?:_|$)|DATABASE|POSTGRES|PG|MYSQL|MARIADB|MONGO|SQL",
        r"SMTP|E?MAIL|SENDGRID|POSTMARK|RESEND|BREVO",
        r"AWS|S3|MINIO|SPACES|R2_",
        r"REDIS|CELERY|CACHE|BROKER|QUEUE",
        r"(?:NEXT)?AUTH_SECRET$",
    )
)
_PUBLIC_PREFIX = re.compile(r"^(?:NEXT_PUBLIC|NUXT_PUBLIC|EXPO_PUBLIC|VITE|REACT_APP|GATSBY|TF_VAR)_", re.IGNORECASE)
_SEVERAL = re.compile(r"(?:KEYS|TOKENS|SECRETS|PASSWORDS)(?:_|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, never quoting a value.

    :ivar rule: the name of the rule; the module ``dotenv_info`` documents them.
    :ivar name: the variable concerned, empty for the file as a whole.
    :ivar line: the line in the file, 0 for the file as a whole.
    :ivar severity: ``critical``, ``high``, ``medium`` or ``low``.
    :ivar message: a sentence.
    :ivar file: the file concerned, where it is not the environment file itself.
    """

    rule: str
    name: str
    line: int
    severity: str
    message: str
    file: str = ""


@dataclass(frozen=True)
class Secret:
    """One secret in a file: a variable's value, an element of its list, or the password in its address.

    :ivar name: the variable.
    :ivar line: its line.
    :ivar value: the secret itself.
    :ivar which: how a sentence calls it.
    :ivar password: whether it is a password rather than a key.
    :ivar listed: whether the variable holds a list of keys, which other programs are given.
    :ivar user: the user name before a password in an address.
    """

    name: str
    line: int
    value: str = field(repr=False)
    which: str
    password: bool = False
    listed: bool = False
    user: str = ""


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
        found += _weak(document.meant(entry), deny_patterns, min_entropy_bits)
        found += _written(document, entry)
    found += _reused(held_secrets(document))
    found += _required(document, required)
    return sorted(found, key=lambda finding: finding.line)


def held_secrets(document: Document) -> list[Secret]:
    """Every secret in a file, in the order of its lines; of a malformed list none."""
    held: list[Secret] = []
    for name in dict.fromkeys(entry.name for entry in document.entries):
        entry = document.effective(name)
        if entry is not None:
            with contextlib.suppress(HotfixError):
                held += secrets_of(document.meant(entry))
    return held


def secrets_of(entry: Entry) -> list[Secret]:
    """The secrets in one variable; none in one that refers to another variable.

    :raises HotfixError: when it holds a malformed list.
    """
    if entry.interpolated:
        return []
    name, value = entry.name, (entry.value or "").strip()
    found = [
        Secret(name, entry.line, password, f"The password in {name}", password=True, user=user)
        for user, password in _passwords(value)
    ]
    if _ADDRESS.match(value) or not holds_secret(name, value):
        return found
    several = not _OBJECTS.match(value) and bool(_SEVERAL.search(name) or _STRINGS.match(value))
    keys = split(value, "auto" if several else "scalar")
    for number, key in enumerate(keys, 1):
        which = f"Key {number} of {len(keys)} in {name}" if len(keys) > 1 else name
        found.append(Secret(name, entry.line, key, which, bool(_PASSWORD_NAME.search(name)), several))
    return found


def _passwords(value: str) -> Iterator[tuple[str, str]]:
    """User (or nothing) and password of each address in a value."""
    for match in URL_PASSWORD.finditer(value):
        user = match.group(1).partition("://")[2].rstrip(":")
        yield unquote(user), unquote(match.group(2))
    for match in _PARAMETER.finditer(value):
        yield "", unquote(match.group(1))


def _weak(entry: Entry, deny_patterns: Sequence[str], min_entropy_bits: float) -> Iterator[Finding]:
    try:
        held = secrets_of(entry)
    except HotfixError as error:
        yield Finding("unparsable", entry.name, entry.line, "critical", f"{entry.name}: {error.message}.")
        return
    for secret in held:
        found = weaknesses(secret.value, deny_patterns, min_entropy_bits, password=secret.password)
        if secret.value == secret.user:
            found = [weakness for weakness in found if weakness.rule != "low_entropy"]
            found.append(Weakness("low_entropy", "can be guessed: it is the same as its user name", "high"))
        for weakness in found:
            message = f"{secret.which} {weakness.message}."
            yield Finding(weakness.rule, secret.name, secret.line, weakness.severity, message)


def _reused(held: Iterable[Secret]) -> Iterator[Finding]:
    """The same secret in several variables: who learns it in one place has the others as well."""
    groups: dict[str, list[Secret]] = {}
    for secret in held:
        groups.setdefault(secret.value, []).append(secret)
    for value, group in groups.items():
        by_name = {secret.name: secret for secret in group}
        known = any(weakness.severity == "critical" for weakness in weaknesses(value))
        if len(by_name) == 1 or known or _one_account(list(by_name.values())):
            continue
        places = [f"{secret.name} (line {secret.line})" for secret in by_name.values()]
        # The clients that are given a key of the list could also sign with it, or log in.
        others = [secret for secret in group if not secret.listed and not _CLIENT_KEY.search(secret.name)]
        given = any(secret.listed for secret in group)
        message = f"{', '.join(places[:-1])} and {places[-1]} hold the same secret; give each its own."
        first = group[0]
        yield Finding("reused", first.name, first.line, "high" if given and others else "medium", message)


def _one_account(group: Sequence[Secret]) -> bool:
    """Whether several variables hold what one account or one public name has to be given in several places."""
    names = [secret.name for secret in group]
    if all(secret.password for secret in group) and any(secret.which != secret.name for secret in group):
        return True
    if len({_PUBLIC_PREFIX.sub("", name) for name in names}) == 1:
        return True
    return any(all(account.search(name) for name in names) for account in _ONE_ACCOUNT)


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
        severity = "low" if document.meant(entry) == entry else "high"
        yield Finding("unportable_value", name, entry.line, severity, f"{name} {problem}.")


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
