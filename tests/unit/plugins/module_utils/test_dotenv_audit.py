# SPDX-License-Identifier: GPL-3.0-or-later
"""Each rule of the audit, on documents in memory."""

from __future__ import annotations

import secrets
import uuid
from typing import Any

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv import parse
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv_audit import (
    SEVERE,
    Finding,
    audit,
    holds_secret,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import fingerprint
from hypothesis import given, settings
from hypothesis import strategies as st

STRONG = "Jq3vT9xYb2LkR7mWc5PzH8nDf4sGa6UeV1tKoXiQyZw"
FORMS = ("JWT_SECRET_KEY='{}'\n", "VALID_API_KEYS='[\"{}\"]'\n", f"VALID_API_KEYS='{STRONG},{{}}'\n")
TOKENS = (
    st.binary(min_size=32, max_size=48).map(lambda _seed: secrets.token_urlsafe(32))
    | st.just(0).map(lambda _seed: secrets.token_hex(32))
    | st.just(0).map(lambda _seed: str(uuid.uuid4()))
)


def found(
    content: str, required: dict[str, str | None] | None = None, **options: Any
) -> list[tuple[str, str, int, str]]:
    """What the audit finds, without its sentences, of which none may quote a value."""
    findings = audit(parse(content.encode()), required or {}, **options)
    assert not any("canary" in repr(finding) for finding in findings)
    assert all(finding.message.endswith(".") for finding in findings)
    return [(finding.rule, finding.name, finding.line, finding.severity) for finding in findings]


class TestSecrets:
    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize(
        ("value", "rule", "severity"),
        [
            ("dev-key-12345", "dev_key", "critical"),
            ("sk_test_" + STRONG, "dev_key", "critical"),
            ("xK9mP2nQ8rL5vW3jH7fA1cB4dE6gT0yU2sR9pM5nL8v", "published_key", "critical"),
            ("production-api-key-1", "published_key", "critical"),
            ("your-openai-api-key", "placeholder", "critical"),
            ("CHANGE-THIS-IN-PRODUCTION", "placeholder", "critical"),
            ("[64-char random string]", "placeholder", "critical"),
            ("example", "placeholder", "critical"),
            ("todo", "placeholder", "critical"),
            ("abc123", "short", "high"),
            ("abc123", "low_entropy", "high"),
            ("a" * 64, "low_entropy", "high"),
        ],
    )
    def test_an_unsafe_one_is_found(self, form: str, value: str, rule: str, severity: str) -> None:
        content = "A=1\n" + form.format(value)
        name = form.partition("=")[0]
        assert (rule, name, 2, severity) in found(content)
        assert not any(value in finding.message for finding in audit(parse(content.encode()), {}))

    @given(st.lists(TOKENS, min_size=2, max_size=8, unique=True))
    @settings(max_examples=200)
    def test_a_random_one_is_never_flagged(self, tokens: list[str]) -> None:
        # A word such as "dev-" at the very beginning of a random token is as likely as one in ten million.
        content = "".join(f"KEY_{number}={token}\n" for number, token in enumerate(tokens))
        listed = '","'.join(tokens)
        assert found(content) == found(f"A_KEYS='[\"{listed}\"]'\n") == found(f"B_TOKENS={','.join(tokens)}\n") == []

    def test_the_weak_one_of_several_is_told_by_its_number(self) -> None:
        for content in (f'A_KEYS=\'["{STRONG}","abc"]\'', f"A_KEYS={STRONG},abc"):
            finding, _entropy = audit(parse(content.encode()), {})
            assert finding.message.startswith("Key 2 of 2 in A_KEYS is too short")
        alone, _entropy = audit(parse(b"A_KEY=abc"), {})
        assert alone.message.startswith("A_KEY is too short")

    def test_a_comma_or_an_object_is_one_secret(self) -> None:
        assert found("A_SECRET=Jq3vT9xYb2LkR7mWc5P,zH8nDf4sGa6UeV1tKoXiQyZw\n") == []
        assert found(f'GOOGLE_CREDENTIALS=\'{{"private_key":"{STRONG}","x":1}}\'\n') == []
        assert found(f'SIGNING_KEYS=\'[{{"k":"{STRONG}","x":1}}]\'\n') == []

    def test_a_malformed_list(self) -> None:
        assert found('A=1\nAPI_KEYS=\'["canary-1","canary-2"\'\n') == [("unparsable", "API_KEYS", 2, "critical")]

    def test_deny_patterns(self) -> None:
        content = f"API_KEY={STRONG}\nPLAIN={STRONG}\n"
        assert found(content, deny_patterns=["^nothing", "9xY"]) == [("denied", "API_KEY", 1, "high")]
        with pytest.raises(HotfixError, match="number 2 of deny_patterns"):
            found(content, deny_patterns=["a", "("])

    def test_min_entropy_bits(self) -> None:
        assert found(f"API_KEY={STRONG}\n", min_entropy_bits=500) == [("low_entropy", "API_KEY", 1, "high")]
        assert found("API_KEY=0123456789abcdef0123456789abcdef\n", min_entropy_bits=1) == []

    @pytest.mark.parametrize("name", ["SMTP_PASSWORD", "DB_PASS", "DB_PW", "ROOT_PWD", "KEY_PASSPHRASE"])
    def test_a_long_password_is_no_token(self, name: str) -> None:
        assert found(f"{name}='p@ss#word withX'\n") == []  # 15 characters
        assert found(f"{name}='p@ss#word with '\n") == [("short", name, 1, "high")]
        assert found(f"{name}=some-words-only\n") == [("low_entropy", name, 1, "medium")]
        assert ("placeholder", name, 1, "critical") in found(f"{name}='change-me-please-now'\n")

    @pytest.mark.parametrize("name", ["SMTP_TOKEN", "COMPASS_API_KEY", "BYPASS_SECRET"])
    def test_a_long_token_is_no_password(self, name: str) -> None:
        assert found(f"{name}='p@ss#word with spaces'\n") == [("short", name, 1, "high")]

    def test_only_the_occurrence_that_counts_is_judged(self) -> None:
        assert found(f"A_KEY=abc\nA_KEY={STRONG}\n") == [("duplicate", "A_KEY", 2, "medium")]

    def test_a_reference_is_not_judged(self) -> None:
        assert found("DB_PASSWORD=${OTHER}\n") == [("unportable_value", "DB_PASSWORD", 1, "low")]


class TestNames:
    @pytest.mark.parametrize(
        "name",
        [
            "DB_PASSWORD", "SMTP_PASS", "DB_PW", "REDIS_PASSWD", "SESSION_SECRET", "GITHUB_TOKEN", "APP_KEY", "api_key",
            "VALID_API_KEYS", "JWT_SECRET_KEY", "SENTRY_DSN", "aws.secret",
            # What stands before the secret's word says whose it is.
            "EMAIL_HOST_PASSWORD", "DB_USER_PASSWORD", "MINIO_ROOT_PASSWORD", "MAXMIND_LICENSE_KEY", "OIDC_ID_TOKEN",
            "URL_SIGNING_KEY", "FILE_ENCRYPTION_KEY", "JWT_HEADER_KEY", "PASSWORD_RESET_TOKEN", "JWT_COOKIE_SECRET",
        ],
    )  # fmt: skip
    def test_a_secret(self, name: str) -> None:
        assert holds_secret(name, "hello")
        assert not holds_secret(name, "")
        assert not holds_secret(name, "True")

    @pytest.mark.parametrize(
        "name",
        [
            "ACCESS_TOKEN_EXPIRE_MINUTES", "JWT_ALGORITHM", "SSL_KEY_FILE", "POSTGRES_PASSWORD_FILE", "API_KEY_HEADER",
            "AWS_ACCESS_KEY_ID", "TOKEN_TTL", "TOKEN_URL", "PASSWORD_MIN_LENGTH", "TOKENS_PER_MINUTE", "JWT_ISSUER",
            "JWT_TOKEN_LOCATION", "JWT_COOKIE_SAMESITE", "SECRETS_DIR", "PASSWORD_HASHERS", "MAX_TOKENS",
            "OPENAI_MAX_TOKENS", "TOKENIZERS_PARALLELISM", "STRIPE_PUBLISHABLE_KEY", "JWT_PUBLIC_KEY", "MONKEY",
            "KEYCLOAK_REALM", "KEYBOARD", "LOG_LEVEL", "AUTHOR", "access_token_type",
        ],
    )  # fmt: skip
    def test_no_secret(self, name: str) -> None:
        assert not holds_secret(name, "hello-this-is-1-setting")

    @pytest.mark.parametrize("value", ["true", "OFF", "none", "30", "4096", "0.75", "-1", "99999"])
    def test_a_switch_or_a_small_number_is_none(self, value: str) -> None:
        assert not holds_secret("TOKEN_BUCKET", value)

    def test_a_number_may_be_a_password_and_a_large_one_a_key(self) -> None:
        assert all(holds_secret(name, "1234") for name in ("DB_PASSWORD", "DB_PW", "DB_PASS", "ROOT_PWD"))
        assert holds_secret("A_KEY", "123456")


class TestSettings:
    @pytest.mark.parametrize(
        ("content", "value", "rule", "line"),
        [
            ("", None, "missing", 0), ("", "", "missing", 0), ("\nX\n", None, "missing", 2), ("X\n", "a", "missing", 1),
            ("X=\n", None, "missing", 1), ("X=''\n", "a", "wrong_value", 1), ("X=1\nX=canary\n", "1", "wrong_value", 2),
            ("X=TRUE\n", "True", "wrong_value", 1), ("X=falsee\n", "false", "wrong_value", 1),
        ],
    )  # fmt: skip
    def test_a_finding(self, content: str, value: str | None, rule: str, line: int) -> None:
        severities = {name: severity for name, _name, _line, severity in found(content, {"X": value})}
        assert severities[rule] == "high"
        assert (rule, "X", line, "high") in found(content, {"X": value})

    @pytest.mark.parametrize(
        ("content", "value"),
        [("X=a\n", "a"), ("X=a\n", None), ("X=\n", ""), ("X=False\n", "false"), ("X=TRUE\n", "true")],
    )
    def test_none(self, content: str, value: str | None) -> None:
        assert found(content, {"X": value}) == []


class TestLines:
    def test_duplicates_are_told_with_their_lines(self) -> None:
        (finding,) = audit(parse(b"X=1\nY=1\nX=2\nX=2\n"), {})
        message = "X stands on lines 1, 3, 4; Compose takes the one on line 4."
        assert finding == Finding("duplicate", "X", 4, "medium", message)

    @pytest.mark.parametrize(
        ("content", "name", "line"),
        [
            ('X=["a"]\n', "X", 1), ("X = 'a'\n", "X", 1), ("Y=1\nX: a\n", "X", 2), ("X='a\\b'\n", "X", 1),
            ("X=${Y}\n", "X", 1), ("X\n", "X", 1), ("a.b=1\n", "a.b", 1), ("\ufeffX=1\n", "", 1),
            ("X=1\nY=2\r\nZ=1\r\n", "", 2), ("MIIEvQIBADAN\n", fingerprint("MIIEvQIBADAN"), 1),
        ],
    )  # fmt: skip
    def test_unportable_value(self, content: str, name: str, line: int) -> None:
        assert found(content) == [("unportable_value", name, line, "low")]

    def test_the_order_is_that_of_the_lines(self) -> None:
        findings = found("B\nA_KEY=abc\nC: x\n", {"D": None, "C": "y"})
        assert [(rule, line) for rule, _name, line, _severity in findings] == [
            ("missing", 0),
            ("unportable_value", 1),
            ("short", 2),
            ("low_entropy", 2),
            ("unportable_value", 3),
            ("wrong_value", 3),
        ]

    def test_critical_and_high_are_severe(self) -> None:
        assert SEVERE == ("critical", "high")


class TestPasswordsInAddresses:
    @pytest.mark.parametrize(
        ("value", "rule", "severity"),
        [
            ("postgres://postgres:postgres@db/app", "published_key", "critical"),
            ("redis://:password@redis:6379/0", "published_key", "critical"),
            ("postgres://user:[YOUR-PASSWORD]@db.example.com/app", "placeholder", "critical"),
            ("postgres://app:hunter2@db/app", "short", "high"),
            ("postgres://app:win%74er%202025@db/app", "short", "high"),
            ("mysql://a_long_user_name:a_long_user_name@db/app", "low_entropy", "high"),
            ("mongodb://a:{strong}@one,two/,mongodb://b:guest@three/", "published_key", "critical"),
            ("jdbc:mysql://db/app?user=app&password=root", "published_key", "critical"),
            ("Server=db;User Id=sa;Pwd=admin;", "published_key", "critical"),
        ],
    )
    def test_a_weak_one_is_found_under_any_name(self, value: str, rule: str, severity: str) -> None:
        content = "A=1\nDATABASE_URL='" + value.replace("{strong}", STRONG) + "'\n"
        assert (rule, "DATABASE_URL", 2, severity) in found(content)
        assert not any("hunter2" in finding.message for finding in audit(parse(content.encode()), {}))

    @pytest.mark.parametrize(
        "content",
        [
            f"DATABASE_URL=postgres://app:{STRONG}@localhost/test\n",
            "REDIS_URL=redis://redis:6379/0\nMAILER_DSN=smtp://localhost:1025\nHOME_URL=https://user@example.com/\n",
            "LOGIN_URL=https://example.com/login?next=/password\nTEST_DSN=sqlite:///test.db\n",
            "A_URL=postgres://app:${DB_PASSWORD}@db/app\n",
        ],
    )
    def test_nothing_else_is(self, content: str) -> None:
        assert [entry for entry in found(content) if entry[0] != "unportable_value"] == []


class TestReused:
    OTHER = STRONG[::-1]

    @pytest.mark.parametrize(
        ("content", "severity", "places"),
        [
            (f"A_SECRET={STRONG}\nB=1\nB_SECRET='{STRONG}'\n", "medium", [("A_SECRET", 1), ("B_SECRET", 3)]),
            (f'API_KEYS=\'["{OTHER}","{STRONG}"]\'\nA_SECRET={STRONG}\n', "high", [("API_KEYS", 1), ("A_SECRET", 2)]),
            (f"API_KEYS={OTHER},{STRONG}\nAN_API_KEY={STRONG}\n", "medium", [("API_KEYS", 1), ("AN_API_KEY", 2)]),
            (f"A_KEYS={STRONG},{OTHER}\nB_KEYS={STRONG},x{OTHER}\n", "medium", [("A_KEYS", 1), ("B_KEYS", 2)]),
            (f"A_URL=redis://:{STRONG}@r\nJWT_SECRET={STRONG}\n", "medium", [("A_URL", 1), ("JWT_SECRET", 2)]),
            (
                f"A_SECRET={STRONG}\nA_TOKEN={STRONG}\nB_TOKEN={STRONG}\n",
                "medium",
                [("A_SECRET", 1), ("A_TOKEN", 2), ("B_TOKEN", 3)],
            ),
        ],
    )  # fmt: skip
    def test_names_and_lines_are_told(self, content: str, severity: str, places: list[tuple[str, int]]) -> None:
        (finding,) = audit(parse(content.encode()), {})
        assert (finding.rule, finding.name, finding.line, finding.severity) == ("reused", *places[0], severity)
        assert all(f"{name} (line {line})" in finding.message for name, line in places)

    @pytest.mark.parametrize(
        "content",
        [
            # One account, which several programs have to know.
            f"POSTGRES_PASSWORD={STRONG}\nDATABASE_URL=postgres://app:{STRONG}@db/app\n",
            f"CELERY_BROKER_URL=redis://:{STRONG}@redis/0\nCACHE_URL=redis://:{STRONG}@redis/1\n",
            f"DB_PASSWORD={STRONG}\nPGPASSWORD={STRONG}\n",
            f"SENDGRID_API_KEY={STRONG}\nSMTP_PASSWORD={STRONG}\n",
            f"MINIO_ROOT_PASSWORD={STRONG}\nAWS_SECRET_ACCESS_KEY={STRONG}\n",
            f"SUPABASE_ANON_KEY={STRONG}\nNEXT_PUBLIC_SUPABASE_ANON_KEY={STRONG}\n",
            f"AUTH_SECRET={STRONG}\nNEXTAUTH_SECRET={STRONG}\n",
            # Settings, one list, other secrets.
            f"A={STRONG}\nB={STRONG}\nDEBUG_TOKEN=true\nUSE_TOKEN=true\nA_TOKEN=1\nB_TOKEN=1\n",
            f"A_KEYS={STRONG},{STRONG}\n",
            f"A_KEY={STRONG}\nB_KEY={STRONG}x\n",
        ],
    )
    def test_what_is_not_reused(self, content: str) -> None:
        assert found(content) == []

    def test_a_secret_that_everybody_knows_is_not_told_twice(self) -> None:
        assert "reused" not in {rule for rule, *_rest in found("A_SECRET=changeme\nB_SECRET=changeme\n")}

    def test_two_lines_of_one_name_are_a_duplicate(self) -> None:
        assert found(f"A_KEY={STRONG}\nA_KEY={STRONG}\n") == [("duplicate", "A_KEY", 2, "medium")]
