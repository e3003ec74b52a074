# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit on environment files as frameworks have them, and on generated keys: all that is weak, nothing else."""

from __future__ import annotations

import base64
import random
import re
import string
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils import _keys
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv import parse
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv_audit import audit

CORPUS = Path(__file__).with_name("dotenv_audit_corpus.txt").read_text(encoding="utf-8")
SECTIONS = dict(section.split("\n", 1) for section in CORPUS.split("\n### ")[1:])
ALPHANUMERIC = string.ascii_letters + string.digits
ALPHABETS = {
    "hex": "0123456789abcdef",
    "alnum": ALPHANUMERIC,
    "upper": string.ascii_uppercase + "234567",
    "django": string.ascii_lowercase + string.digits + "!@#$%^&*(-_=+)",
}
NOT_ABOUT_SECRETS = {"unportable_value", "duplicate"}
TOKENS = 10_000


def url_safe(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def uuid4(source: random.Random) -> str:
    return str(uuid.UUID(bytes=source.randbytes(16), version=4))


def filled(text: str, source: random.Random) -> str:
    def value(match: re.Match[str]) -> str:
        kind, length = match[1], int(match[2] or 0)
        if kind == "uuid":
            return uuid4(source)
        if kind in ALPHABETS:
            return "".join(source.choices(ALPHABETS[kind], k=length))
        data = source.randbytes(length)
        return {"url": url_safe, "b64": lambda data: base64.b64encode(data).decode()}[kind](data)

    return re.sub(r"<<(\w+) ?(\d*)>>", value, text)


@pytest.mark.parametrize("section", SECTIONS)
def test_an_environment_file_of(section: str, figure: Callable[[str], None]) -> None:
    template = SECTIONS[section]
    lines = template.split("\n")
    weak = good = 0
    for seed in range(20):
        document = parse(filled(template, random.Random(seed)).encode())
        found: dict[int, set[str]] = {entry.line: set() for entry in document.entries}
        for finding in audit(document, {}):
            if finding.rule not in NOT_ABOUT_SECRETS:
                found[finding.line].add(f"{finding.rule}:{finding.severity}")
        for entry in document.entries:
            above = lines[entry.line - 2] if entry.line > 1 else ""
            expected = set(above[2:].split()) if above.startswith("#!") else set()
            assert found[entry.line] == expected, f"{entry.name} with seed {seed}"
            weak, good = weak + bool(expected), good + (not expected)
    figure(f"audit of {section}: {weak} weak values named, {good} others not flagged")


GENERATED: dict[str, Callable[[random.Random], str]] = {
    **{f"token_urlsafe({size})": lambda s, size=size: url_safe(s.randbytes(size)) for size in (16, 24, 32, 48, 64)},
    **{f"token_hex({size})": lambda s, size=size: s.randbytes(size).hex() for size in (16, 24, 32, 64)},
    "uuid4": uuid4,
    "uuid4().hex": lambda source: uuid4(source).replace("-", ""),
    **{
        f"base64 of {size} bytes": lambda s, size=size: base64.b64encode(s.randbytes(size)).decode()
        for size in (16, 32, 48)
    },
    "base32 of 20 bytes": lambda source: base64.b32encode(source.randbytes(20)).decode(),
    "Django's get_random_secret_key": lambda source: "".join(source.choices(ALPHABETS["django"], k=50)),
    "32 letters and digits": lambda source: "".join(source.choices(ALPHANUMERIC, k=32)),
    "key_rotation (32 bytes)": lambda _source: _keys.generate(32),
    "key_rotation (16 bytes)": lambda _source: _keys.generate(16),
}


@pytest.mark.parametrize("kind", GENERATED)
def test_no_generated_key_is_flagged(kind: str, figure: Callable[[str], None]) -> None:
    # From a fixed seed: a random token begins with "dev-" once in ten million times.
    source = random.Random(20251018)
    keys = [GENERATED[kind](source) for _number in range(TOKENS)]
    content = "".join(f"KEY_{number}='{key}'\n" for number, key in enumerate(keys))
    findings = [finding for finding in audit(parse(content.encode()), {}) if finding.rule not in NOT_ABOUT_SECRETS]
    assert findings == []
    figure(f"{TOKENS:,} keys of {kind}: {len(findings)} false alarms")
