# SPDX-License-Identifier: GPL-3.0-or-later
"""What counts as a secret, and what is left of one in free text."""

from __future__ import annotations

import json
import secrets
from types import SimpleNamespace
from urllib.parse import quote

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils import _secrets
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import (
    fingerprint,
    hidden_values,
    list_elements,
    mask,
    redact,
    register,
    secret_values,
)

CANARY = "canary7Kq2"


@pytest.mark.parametrize(
    "text",
    [
        f"VALID_API_KEYS='[\"{CANARY}\"]' loaded",
        f'VALID_API_KEYS=["a", "{CANARY}"]',
        f'{{"message": "x", "api_key": "{CANARY} and more"}}',
        f"Authorization: Bearer {CANARY}",
        f"authorization=Basic {CANARY}=",
        f"bearer {CANARY}",
        f"password: {CANARY}, user: x",
        f"PGPASSWORD={CANARY}",
        f"X-Api-Key: {CANARY}",
        f"redis://:{CANARY}@redis:6379/0",
        f"postgresql+asyncpg://app:{CANARY}@db/app",
        f"OpenAI says sk-proj-{CANARY}{CANARY}",
        f"eyJhbGciOiJIUzI1NiJ9.{CANARY}.{CANARY}",
        f"ghp_{CANARY}{CANARY}",
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str) -> None:
    assert CANARY not in mask(text)


def test_random_tokens_are_masked_whatever_stands_around_them() -> None:
    for _round in range(200):
        for token in (secrets.token_urlsafe(32), secrets.token_hex(32)):
            assert token not in mask(f"use {token}.")


@pytest.mark.parametrize(
    "text",
    [
        "⚠️  Development API keys detected - do not use in production!",
        "INFO:     Child process [10] died",
        "{\"message\": \"Shutdown error: 'RedisClient' object has no attribute 'close'\"}",
        "✓ Redis connections closed",
        "INFO:     Uvicorn running on http://0.0.0.0:8000 (Press CTRL+C to quit)",
        '  File "/usr/local/lib/python3.11/site-packages/uvicorn/supervisors/multiprocess.py", line 148, in run',
        'INFO:     172.18.0.1:41234 - "GET /api/v1/health HTTP/1.1" 200 OK',
        "redis://redis:6379/0",
    ],
)
def test_ordinary_lines_stay_as_they_are(text: str) -> None:
    assert mask(text) == text


def test_known_values_become_fingerprints() -> None:
    assert mask(f"key {CANARY} used", [CANARY]) == f"key {fingerprint(CANARY)} used"
    assert mask(f"api_key={CANARY}", [CANARY]) == f"api_key={fingerprint(CANARY)}"
    assert redact("abcdefgh abcdef", ["abcdef", "abcdefgh"]) == f"{fingerprint('abcdefgh')} {fingerprint('abcdef')}"


PEM = "-----BEGIN KEY-----\nMIIEvQIBADANBg/kqhkiG9w+0BAQEFAASC\nBKcwggSjAgEA/oIBAQC7+VJTUt9Us8cK\n-----END KEY-----"


@pytest.mark.parametrize("secret", [PEM, 'it\'s a "Pass\\word" #1$2', "x9@/Kq2w:7Zr5é", "Kq27wZr5tY8uI1oP3aS4dF6g"])
def test_no_piece_of_a_known_value_is_shown(secret: str) -> None:
    pieces = {line[at : at + 12] for line in secret.splitlines() for at in range(len(line) - 11)}
    forms = [secret, repr(secret), json.dumps({"detail": secret}), quote(secret, safe=""), secret[:15], secret[3:-3]]
    shown = " ".join(mask(f"cannot use {line} here", [secret]) for form in forms for line in form.splitlines())
    assert not [piece for piece in pieces if piece in shown]
    assert quote(secret, safe="")[2:20] not in shown
    assert shown.count("cannot use ") == shown.count(" here")


def test_hidden_values() -> None:
    random = {"LICENCE": "Kq27wZr5tY8uI1oP", "PARTNER": "a$7wZr5tY8uI1oP3"}
    plain = {"PATH": "/usr/local/bin:/bin2/bin", "URL": "https://host.example/v1", "TEXT": "a text of 2 and more words"}
    assert hidden_values({**random, **plain, "JWT_SECRET_KEY": "short"}) == {*random.values(), "short"}


def test_masking_a_hostile_line_takes_no_quadratic_time() -> None:
    """If it were quadratic this would take hours."""
    for text in ("token" * 13000, "a." * 32000, " " * 65000 + "=", "eyJ-" * 16000, "=" * 65000, "secret" + " " * 65000):
        assert mask(text)


def test_secret_values() -> None:
    found = secret_values(
        {
            "VALID_API_KEYS": '["first-key", "second-key"]',
            "MOBILE_TOKENS": "one-token,two-token",
            "JWT_SECRET_KEY": "jwt-value",
            "SMTP_PASSWORD": "mail-value",
            "REDIS_URL": "redis://:p%40ss@redis/0",
            "ENVIRONMENT": "production",
            "MONKEY": "banana",
            "EMPTY_TOKEN": "",
        }
    )
    assert {"first-key", "second-key", "one-token", "two-token", "jwt-value", "mail-value", "p%40ss", "p@ss"} <= found
    assert not {"production", "banana", ""} & found


@pytest.mark.parametrize(
    ("value", "elements"),
    [('["a", "b"]', ["a", "b"]), ("[]", []), ("[1]", None), ("a,b", None), ('{"a": 1}', None), ("", None)],
)
def test_list_elements(value: str, elements: list[str] | None) -> None:
    assert list_elements(value) == elements


@pytest.mark.parametrize("offered", [True, False])
def test_registering_tells_every_ansible_core(monkeypatch: pytest.MonkeyPatch, offered: bool) -> None:
    """ansible-core before 2.22 masks a result; later ones offer to mask a value for the rest of the run."""
    told: list[str] = []
    monkeypatch.setattr(_secrets, "register_secrets", told.extend if offered else None)
    module = SimpleNamespace(no_log_values={"before"})
    register(module, [CANARY, "short"])
    assert module.no_log_values == {"before", CANARY}
    assert told == ([CANARY] if offered else [])
