# SPDX-License-Identifier: GPL-3.0-or-later
"""API keys and other secrets: which are weak, how a variable holds one or a list of them."""

from __future__ import annotations

import base64
import json
import math
import re
import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv import Document
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._patterns import compile_pattern

# 128 random bits in base64url, secrets.token_urlsafe(16): the strength that OWASP ASVS 5.0 (7.2.3) asks of a token.
MIN_LENGTH = 22
# In bits as entropy_bits() counts, which underrates short random strings: of 20,000 tokens made of 128 random bits the
# lowest had 75.
MIN_ENTROPY_BITS = 72.0
# NIST SP 800-63B-4, 3.1.1.2: passwords have at least 15 characters. A password is typed and guesses at it are limited,
# so that a long one is good enough with less entropy than a token: five words, or 15 random letters (at least 43).
PASSWORD_LENGTH = 15
PASSWORD_BITS = 40.0
# Somebody who makes up a key out of words draws on a few hundred of them: log2(256).
BITS_PER_WORD = 8.0

RUNBOOK_KEYS = ("dev-key-12345", "xK9mP2nQ8rL5vW3jH7fA1cB4dE6gT0yU2sR9pM5nL8v", "production-api-key-1")
# Also the secrets printed in the FastAPI tutorial and on jwt.io, which end up in real installations.
PUBLISHED_KEYS = frozenset(
    (
        *RUNBOOK_KEYS,
        "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",
        "your-256-bit-secret",
        "a-string-secret-at-least-256-bits-long",
        "6LeIxAcTAAAAAGG-vFI1TnRWxMZNFuojJ4WifJWe",  # reCAPTCHA's for tests: every answer is right
    )
)
# What images, frameworks and their manuals come with, in small letters.
DEFAULT_PASSWORDS = frozenset(
    (
        "admin", "admin123", "administrator", "app", "changeit", "default", "elastic", "guest", "keyboard cat",
        "mariadb", "masterkey", "minio", "minio123", "minioadmin", "mongo", "mysql", "pass", "password", "password123",
        "postgres", "rabbitmq", "redis", "root", "secret", "shhhhh", "somerandomstring", "supersecret", "toor", "user",
    )
)  # fmt: skip
# Short of 128 bits, but random: 10 to 15 bytes in hexadecimal, as providers issue them (Pusher: 10), and a Nano ID.
_ISSUED = re.compile(r"[0-9a-f]{20,31}|(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9])[A-Za-z0-9_-]{20,21}")

_DEV_WORDS = "dev|devel|develop|development|test|testing|local|localhost|demo|debug|sandbox|sample|dummy|fake|mock"
# A label at the start (sk_test_...) names the key's purpose, however random the rest is. Lower case only.
_DEV_LABEL = re.compile(rf"(?:[a-z]{{1,4}}[-_])?(?:{_DEV_WORDS})[-_.:]")
# A word anywhere means something only in a key that is not random.
_DEV_WORD = re.compile(rf"(?i)(?:^|[^a-z])(?:{_DEV_WORDS})(?:[^a-z]|key|token|secret|$)")
_PLACEHOLDER_ALWAYS = re.compile(
    r"(?i)^your[-_ ]|change[-_ ]?(?:this|me)|replace[-_ ]?(?:this|me|with)|placeholder|example|x{6,}|qwerty"
    r"|django-insecure"
)
_PLACEHOLDER_WORD = re.compile(
    r"(?i)your[-_ ]|insert[-_ ]|xxx|\*{4,}|\.\.\.|(?:^|[^a-z])(?:todo|tbd|fixme|foo|bar)(?:[^a-z]|$)"
)
_BRACKETED = re.compile(r"\[[A-Za-z0-9][\w .:-]*\]|<[A-Za-z0-9][\w .:-]*>|\{+ ?[A-Za-z0-9][\w .:-]*\}+", re.ASCII)
# Words between separators, or in camel case, perhaps with a number after them: my-secret-Key-2025, MyProductionKey1.
_MADE_OF_WORDS = re.compile(r"(?:(?:[a-z]{2,12}|[A-Z]{2,12}|(?:[A-Z][a-z]+)+|[A-Za-z0-9])\d{0,4}(?:[-_ .:!?]+|$))+")

FORMATS = ("json_list", "csv", "scalar")
# A placeholder such as [64-char random string], or a list whose quotes somebody forgot.
_NO_LIST = re.compile(r"\[\s*[^\"'\]\s][^\"']*\]")
_BY_HAND = "Correct it by hand, or name its real format"


@dataclass(frozen=True)
class Weakness:
    """Why a key is insecure.

    :param rule: ``dev_key``, ``published_key``, ``placeholder``, ``short``, ``low_entropy`` or ``denied``.
    :param message: the end of a sentence about the key, never quoting it.
    :param severity: ``critical`` where anybody can know the key, ``high`` where it can be guessed, ``medium`` where it
        is random but short, or a long password.
    """

    rule: str
    message: str
    severity: str


def weaknesses(
    key: str,
    deny_patterns: Sequence[str] = (),
    min_entropy_bits: float = MIN_ENTROPY_BITS,
    *,
    password: bool = False,
) -> list[Weakness]:
    """All the reasons not to trust a key; an empty list for a secure one.

    :param deny_patterns: regular expressions, searched for anywhere in the key.
    :param min_entropy_bits: the lowest acceptable :func:`entropy_bits` of a key.
    :param password: judge it as a password: :data:`PASSWORD_LENGTH`, :data:`PASSWORD_BITS`.
    :raises HotfixError: when a pattern is not a regular expression.
    """
    found = []
    bits = entropy_bits(key)
    length, floor = (PASSWORD_LENGTH, PASSWORD_BITS) if password else (MIN_LENGTH, MIN_ENTROPY_BITS)
    random = len(key) >= length and bits >= floor
    if key.strip() in PUBLISHED_KEYS or _is_demo_token(key):
        found.append(Weakness("published_key", "is printed in public documentation", "critical"))
    elif key.strip().lower() in DEFAULT_PASSWORDS:
        found.append(Weakness("published_key", "is a default that everybody knows", "critical"))
    if _DEV_LABEL.match(key) or (not random and _DEV_WORD.search(key)):
        found.append(Weakness("dev_key", "is labelled as a development or test key", "critical"))
    if _is_placeholder(key, random):
        found.append(Weakness("placeholder", "is a placeholder that was never filled in", "critical"))
    if any(pattern.search(key) for pattern in compile_patterns(deny_patterns)):
        found.append(Weakness("denied", "matches one of deny_patterns", "high"))
    return found + _strength(key, bits, length, min(min_entropy_bits, PASSWORD_BITS) if password else min_entropy_bits)


def _strength(key: str, bits: float, length: int, needed: float) -> list[Weakness]:
    """Whether a key of so many :func:`entropy_bits` is too short or can be guessed.

    :param length: characters that are needed.
    :param needed: bits that are needed.
    """
    if not key:
        return [Weakness("low_entropy", "is empty", "high")]
    found = []
    issued = bits >= PASSWORD_BITS and bool(_ISSUED.fullmatch(key))
    if len(key) < length:
        severity = "medium" if issued else "high"
        message = f"is too short: {len(key)} characters where {length} are needed"
        found.append(Weakness("short", message, severity))
    if bits < needed:
        severity = "medium" if issued or length == PASSWORD_LENGTH <= len(key) else "high"
        message = f"can be guessed: about {bits:.0f} bits of entropy where {needed:.0f} are needed"
        found.append(Weakness("low_entropy", message, severity))
    return found


def compile_patterns(patterns: Sequence[str]) -> list[re.Pattern[str]]:
    """``deny_patterns`` as regular expressions.

    :raises HotfixError: naming the number of the pattern that is none.
    """
    return [compile_pattern(pattern, f"number {number} of deny_patterns") for number, pattern in enumerate(patterns, 1)]


def entropy_bits(key: str) -> float:
    """An estimate of how many bits somebody has to guess, in bits.

    Shannon's entropy of the characters' frequencies, of that part of the key that does not merely repeat or count on;
    for a key made of words with separators, the bits that choosing those words takes (:data:`BITS_PER_WORD`).
    """
    novel = _without_sequences(key[: _period(key)])
    if not novel:
        return 0.0
    total = len(novel)
    bits = sum(count * math.log2(total / count) for count in Counter(novel).values())
    words = _words(key)
    return min(bits, words) if words is not None else bits


def generate(nbytes: int = 32, deny_patterns: Sequence[str] = (), min_entropy_bits: float = MIN_ENTROPY_BITS) -> str:
    """A new random key that none of the rules flags (one token in ten million happens to begin with ``dev-``).

    :param nbytes: bytes of randomness; the key has about 1.33 characters for each.
    :raises HotfixError: when keys of this size cannot satisfy the rules.
    """
    for _attempt in range(20):
        key = secrets.token_urlsafe(nbytes)
        if not weaknesses(key, deny_patterns, min_entropy_bits):
            return key
    raise HotfixError(
        f"no random key of {nbytes} bytes satisfies min_entropy_bits and deny_patterns",
        remedy="Raise nbytes or relax these rules",
    )


def detect_format(value: str) -> str:
    """How a variable's value holds its keys: ``json_list``, ``csv`` or ``scalar``.

    An empty value counts as ``json_list``, the form that pydantic-settings reads; something that begins like a JSON
    list of strings counts as one even when it is malformed, so that :func:`split` can say so.
    """
    text = value.strip()
    if not text or (text.startswith("[") and not _NO_LIST.fullmatch(text)):
        return "json_list"
    return "csv" if "," in text else "scalar"


def split(value: str, format: str = "auto") -> list[str]:
    """The keys that a variable's value holds, in order, each once.

    :param format: one of :data:`FORMATS`, or ``auto`` for :func:`detect_format`.
    :raises HotfixError: when the value is not a JSON list of strings though it should be.
    """
    format = detect_format(value) if format == "auto" else format
    text = value.strip()
    if not text:
        return []
    if format == "json_list":
        keys = _json_strings(text)
    elif format == "csv":
        keys = [part.strip() for part in text.split(",") if part.strip()]
    else:
        keys = [text]
    return list(dict.fromkeys(keys))


def join(keys: Sequence[str], format: str) -> str:
    """The value that holds these keys; a JSON list without spaces, which Compose, python-dotenv and bash read alike.

    :param format: one of :data:`FORMATS`.
    :raises HotfixError: when the format cannot hold these keys.
    """
    if format == "json_list":
        return json.dumps(list(keys), separators=(",", ":"), ensure_ascii=False)
    if format == "csv":
        if any("," in key or key != key.strip() or not key for key in keys):
            raise HotfixError(
                "a comma-separated list cannot hold a key that is empty, has a comma, or begins or ends with a space",
                remedy="Use format json_list",
            )
        return ",".join(keys)
    if len(keys) != 1:
        raise HotfixError(
            f"a scalar variable holds one key, not {len(keys)}", remedy="Use format json_list or csv for several keys"
        )
    return keys[0]


@dataclass(frozen=True)
class KeyList:
    """The keys in one variable of a ``.env``.

    :param keys: newest first; empty when the variable is missing.
    :param format: the format to write them in, never ``auto``.
    :param line: the line of the variable; None when it is missing.
    """

    keys: list[str] = field(repr=False)
    format: str
    line: int | None


def in_document(document: Document, name: str, format: str = "auto") -> KeyList:
    """The keys that a variable of a ``.env`` holds.

    :raises HotfixError: naming file and line, when they cannot be told from the file.
    """
    entry = document.effective(name)
    if entry is None or entry.value is None:
        return KeyList([], "json_list" if format == "auto" else format, entry.line if entry else None)
    if entry.interpolated:
        raise HotfixError(
            f"{name} refers to another variable", path=document.path, line=entry.line, remedy="Write its value instead"
        )
    value = document.meant(entry).value or ""
    if format == "auto" and _NO_LIST.fullmatch(value.strip()):
        raise HotfixError(
            f"{name} stands in brackets, but is no JSON list of strings",
            path=document.path,
            line=entry.line,
            remedy=_BY_HAND,
        )
    try:
        keys = split(value, format)
    except HotfixError as error:
        raise HotfixError(
            f"{name}: {error.message}", path=document.path, line=entry.line, remedy=error.remedy
        ) from None
    return KeyList(keys, detect_format(value) if format == "auto" else format, entry.line)


def _json_strings(text: str) -> list[str]:
    try:
        keys = json.loads(text)
    except ValueError:
        keys = None
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise HotfixError("the value is not a JSON list of strings", remedy=_BY_HAND) from None
    return keys


def _is_demo_token(key: str) -> bool:
    """Whether this is a token of Supabase's self-hosting guide, which is signed with a secret printed there as well."""
    parts = key.strip().split(".")
    if len(parts) != 3 or not key.startswith("eyJ"):
        return False
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return False
    return isinstance(claims, dict) and claims.get("iss") == "supabase-demo"


def _is_placeholder(key: str, random: bool) -> bool:
    bracketed = max((len(match.group()) for match in _BRACKETED.finditer(key)), default=0)
    return bool(
        _PLACEHOLDER_ALWAYS.search(key) or bracketed * 2 > len(key) or (not random and _PLACEHOLDER_WORD.search(key))
    )


def _period(key: str) -> int:
    """The length after which the key only repeats itself; the whole length when it does not do so at least once."""
    for period in range(1, len(key) // 2 + 1):
        if key[period:] == key[:-period]:
            return period
    return len(key)


def _without_sequences(key: str) -> str:
    """The key without the characters that continue a run such as ``aaaa``, ``abcd`` or ``4321``."""
    steps = [ord(after) - ord(before) for before, after in zip(key, key[1:])]
    return key[:2] + "".join(
        key[index + 2]
        for index in range(len(key) - 2)
        if not (steps[index] == steps[index + 1] and abs(steps[index]) <= 1)
    )


def _words(key: str) -> float | None:
    """The bits in a key made of words such as ``my-secret-Key-2025``; None when it is not made of words.

    English has about 38 % vowels, random letters have 19 %: that keeps chance combinations of letters out.
    """
    if not _MADE_OF_WORDS.fullmatch(key):
        return None
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", key)
    letters = "".join(words)
    if sum(letter in "aeiouAEIOU" for letter in letters) < 0.28 * len(letters):
        return None
    return BITS_PER_WORD * len(words) + math.log2(10) * sum(character.isdigit() for character in key)
