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
    without_keys,
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
        # Whole headers, whatever the scheme, in every way in which a log writes them.
        f"Authorization: Token {CANARY}",
        f"> authorization: GenieKey 0a1b2c3d-{CANARY}-2222",
        f'curl -H "Authorization: Token {CANARY}" https://x',
        f"{{'Authorization': 'Token {CANARY}', 'Host': 'x'}}",
        f'{{"m": "{{\\"Authorization\\": \\"Token {CANARY}\\"}}"}}',
        f"(b'authorization', b'Token {CANARY}')",
        f'Authorization: Digest username="x", realm="y", response="{CANARY}"',
        f"Authorization: AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host;date, Signature={CANARY}",
        f"Cookie: theme=dark; sessionid={CANARY}",
        f"set-cookie: sid={CANARY}; Path=/; HttpOnly",
        f"{{'cookie': 'sid={CANARY}'}}",
        f"[('Set-Cookie', 'sid={CANARY}; Secure')]",
        # All of a password, and addresses that are secrets as a whole.
        f"postgres://u:p@{CANARY}@h/db",
        f"https://hooks.slack.com/services/T01/B02/{CANARY}",
        f"https://discord.com/api/webhooks/1234/{CANARY}",
        f"https://api.telegram.org/bot1234:{CANARY}/sendMessage",
        f"SLACK_WEBHOOK_URL=https://n8n.example.org/w/{CANARY}",
        f'"webhook": "https://n8n.example.org/w/{CANARY}"',
        f"SENTRY_DSN: https://{CANARY}@sentry.io/1",
        f"GET /report?sig={CANARY}&x=1 HTTP/1.1",
        # Users of a proxy, by hash or not.
        f"traefik.http.middlewares.a.basicauth.users=admin:{CANARY},bob:{CANARY}",
        f'a.basicauth.users: "admin:$$apr1$$H6{CANARY}$$IgXLP6ewTrSuBkTrqE8wj/"',
        f"admin:$2y$05${CANARY}{CANARY}",
        f"BASIC_AUTH=admin:{CANARY}",
        # Command lines, written as one and as a list.
        f"redis-server --requirepass {CANARY} --port 6379",
        f'["redis-server","--requirepass","{CANARY}"]',
        f"requirepass {CANARY}",
        f"redis-cli -h redis -a {CANARY} ping",
        f'["CMD", "redis-cli", "-a", "{CANARY}", "ping"]',
        f"app serve --db-password '{CANARY}' --port 80",
        f"mysqladmin ping -h db -uroot -p{CANARY}",
        f"mongosh -u root -p {CANARY}",
        f"curl -s -u ops:{CANARY} https://x",
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str) -> None:
    assert CANARY not in mask(text)


PRIVATE_KEY = """-----BEGIN RSA PRIVATE KEY-----
MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj
MzEfYyjiWA4R4/M2bS1GB4t7NXp98C3SC6dVMvDuictGeurT8jNbvJZHtCSuYEvu
NMoSfm76oqFvAp8Gy0iz5sxjZmSnXyCdPEovGhLa0VzMaQ8s+CLOyS56YyCFGeJZ
qgtzJ6GR3eqo==
-----END RSA PRIVATE KEY-----"""


@pytest.mark.parametrize("begin", [0, 1, 2])
@pytest.mark.parametrize("end", [4, 5, 6])
@pytest.mark.parametrize("before", ["", "2025-10-18T02:00:02.000000000Z ", "    "])
def test_no_line_of_a_private_key_is_shown(begin: int, end: int, before: str) -> None:
    """A log may begin or end within it."""
    lines = PRIVATE_KEY.splitlines()[begin:end]
    told = without_keys("".join(f"{before}{line}\n" for line in ["first", *lines, "last"]))
    shown = "".join(mask(line) for line in told.splitlines(keepends=True))
    # The last line alone, with no end behind it, is no more than a word.
    assert not [line for line in PRIVATE_KEY.splitlines()[1 : 4 + (end == 6)] if line in shown]
    assert f"{before}first\n" in shown and shown.endswith("last\n")
    assert PRIVATE_KEY.splitlines()[4] not in mask(json.dumps(PRIVATE_KEY)) + mask(PRIVATE_KEY)


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
        "cookie: expired, cookies are set by the proxy",
        "SESSION_COOKIE_SECURE=True",
        "webhook: sent",
        "POST https://example.org/api/webhooks 204",
        "ssh://git@github.com/acme/shop.git",
        "http://localhost:8000/users/@me",
        "redis-server --port 6379 --appendonly yes",
        "redis-cli -a $REDIS_PASSWORD ping",
        "redis-server --requirepass ${REDIS_PASSWORD}",
        "docker run -p 8000:8000 -a stdout --name web",
        "curl -fsS -o /dev/null http://localhost:8000/api/v1/health",
        "/srv/www/Application/src/components/LoginPage/widgets/button/index",
        "basicauth.usersfile=/etc/traefik/users",
        "-----BEGIN CERTIFICATE-----",
        "GET /search?page=2&sort=name HTTP/1.1",
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


HOSTILE = [
    "curl " * 13000,
    "redis-cli -a" * 5000,
    "mysql" * 13000,
    "-" * 65000,
    "-----BEGIN PRIVATE KEY-----" * 2400,
    "-----END PRIVATE KEY-----" * 2400,
    "Ab0/" * 16000,
    "a=" * 32000,
    "authorization: " + "a=b, " * 13000,
    "cookie: " + 'a="' * 20000,
    "webhook" * 9000,
    "basicauth" * 7000,
    "x://a:" + "b@" * 30000,
    "://a:" * 13000,
    "$2a" * 20000,
]


def test_masking_a_hostile_line_takes_no_quadratic_time() -> None:
    """If it were quadratic this would take hours."""
    for text in (
        "token" * 13000,
        "a." * 32000,
        " " * 65000 + "=",
        "eyJ-" * 16000,
        "=" * 65000,
        "secret" + " " * 65000,
        *HOSTILE,
    ):
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
