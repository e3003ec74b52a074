# SPDX-License-Identifier: GPL-3.0-or-later
"""Weak keys are found and named; random keys are never called weak; lists of keys are read and written."""

from __future__ import annotations

import base64
import json
import random
import re
import string

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils import _keys
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv import parse
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from hypothesis import given
from hypothesis import strategies as st

STRONG = "Jq3v7Yb0tN5xR8wK2mZcD4fGhLpSaUeX1iOoV6y9BTA"
KEY = st.text(st.characters(codec="utf-8", exclude_characters=",", exclude_categories=["Cc", "Zs"]), min_size=1)


def rules(key: str, *args: object) -> list[str]:
    return [weakness.rule for weakness in _keys.weaknesses(key, *args)]


@pytest.mark.parametrize(
    ("key", "rule"),
    [
        ("dev-key-12345", "dev_key"),
        ("dev-" + STRONG, "dev_key"),
        ("sk_test_" + STRONG, "dev_key"),
        ("my-local-backend-secret", "dev_key"),
        ("TESTKEY", "dev_key"),
        ("dev-key-12345", "published_key"),
        ("xK9mP2nQ8rL5vW3jH7fA1cB4dE6gT0yU2sR9pM5nL8v", "published_key"),
        ("production-api-key-1", "published_key"),
        ("09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7", "published_key"),
        ("your-openai-api-key", "placeholder"),
        ("sk-your-openai-key-here", "placeholder"),
        ("CHANGE-THIS-in-production", "placeholder"),
        ("changeme", "placeholder"),
        ("example-key-for-the-documentation", "placeholder"),
        ("[64-char random string]", "placeholder"),
        ("sk-proj-[PRODUCTION_KEY]", "placeholder"),
        ("<API_KEY>", "placeholder"),
        ("${API_KEY}", "placeholder"),
        ("sk-proj-****************", "placeholder"),
        ("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "placeholder"),
        ("", "low_entropy"),
        ("Jq3v7Yb0tN5xR8wK2mZcD", "short"),
        ("Winter2025!", "short"),
        ("Winter2025!", "low_entropy"),
        ("MasterKey", "published_key"),
        ("a" * 64, "low_entropy"),
        ("abc" * 20, "low_entropy"),
        ("k9Zt" * 12, "low_entropy"),
        ("0123456789abcdefghijklmnopqrstuvwxyz", "low_entropy"),
        ("MySuperSecretProductionKey2025", "low_entropy"),
        ("my-secret-jwt-key-for-wealth-coach-production", "low_entropy"),
    ],
)
def test_weak_keys_are_named(key: str, rule: str) -> None:
    assert rule in rules(key)


@pytest.mark.parametrize("key", [STRONG, "prod-" + STRONG, "latest-" + STRONG, "sk-proj-" + STRONG * 2, STRONG[:22]])
def test_strong_keys_pass(key: str) -> None:
    assert rules(key) == []


def test_ten_thousand_random_tokens_pass() -> None:
    """The alphabet and length of secrets.token_urlsafe, from a fixed seed so that the test always does the same."""
    source = random.Random(20251018)
    for _number in range(10_000):
        token = base64.urlsafe_b64encode(source.randbytes(source.randint(24, 64))).rstrip(b"=").decode()
        assert rules(token) == [], token


@pytest.mark.parametrize(
    ("alphabet", "length"),
    [(string.hexdigits[:16], 32), (string.hexdigits[:16], 64), (string.ascii_uppercase + "234567", 32)],
)
def test_random_keys_in_other_alphabets_pass(alphabet: str, length: int) -> None:
    source = random.Random(5)
    for _number in range(2_000):
        key = "".join(source.choices(alphabet, k=length))
        assert rules(key) == [], key


def test_128_random_bits_are_enough() -> None:
    source = random.Random(16)
    for _number in range(2_000):
        token = base64.urlsafe_b64encode(source.randbytes(16)).rstrip(b"=").decode()
        assert rules(token) == [], token


def test_a_word_inside_a_random_key_means_nothing() -> None:
    for word in ("dev", "test", "-dev-", "_TEST_", "todo", "xxx", "your-"):
        assert rules(STRONG[:20] + word + STRONG[20:]) == [], word


def test_denied() -> None:
    assert rules(STRONG, ["^Jq3"]) == ["denied"]
    assert rules(STRONG, ["^jq3"]) == []
    with pytest.raises(HotfixError, match="number 2 of deny_patterns is not a regular expression"):
        rules(STRONG, ["a", "("])


def test_minimum_entropy_is_an_option() -> None:
    assert rules(STRONG, (), 250.0) == ["low_entropy"]
    assert rules("MySuperSecretProductionKey2025", (), 10.0) == []


@given(st.text())
def test_any_text_is_judged_and_no_message_quotes_it(key: str) -> None:
    for weakness in _keys.weaknesses(key):
        assert weakness.severity in ("critical", "high", "medium")
        assert len(key) < 12 or key not in weakness.message


@pytest.mark.parametrize("key", ["aA" * 20_000 + "!#", "a-" * 20_000 + "#", "[" * 40_000, "1" * 40_000 + "x"])
def test_long_keys_do_not_make_the_patterns_backtrack(key: str) -> None:
    """A pattern that backtracks would hang here."""
    assert isinstance(_keys.weaknesses(key), list)


def test_generated_keys_satisfy_the_rules() -> None:
    assert len(_keys.generate(32)) == 43
    assert len(_keys.generate(48)) == 64
    assert re.fullmatch(r"[A-Za-z0-9_-]{22}", _keys.generate(16))
    assert rules(_keys.generate(24)) == []
    assert not _keys.generate(32, ["^[A-M]"]).startswith("A")
    with pytest.raises(HotfixError, match="no random key of 8 bytes"):
        _keys.generate(8)


@pytest.mark.parametrize(
    ("value", "format", "keys"),
    [
        ("", "json_list", []),
        ("[]", "json_list", []),
        ('["a","b"]', "json_list", ["a", "b"]),
        (' [ "a" , "b", "a" ] ', "json_list", ["a", "b"]),
        ("a,b", "csv", ["a", "b"]),
        ("a, b,,a", "csv", ["a", "b"]),
        ("a", "scalar", ["a"]),
        ("[64-char random string]", "scalar", ["[64-char random string]"]),
    ],
)
def test_formats_are_recognised(value: str, format: str, keys: list[str]) -> None:
    assert _keys.detect_format(value) == format
    assert _keys.split(value) == keys


@pytest.mark.parametrize("value", ['["a"', "['a']", '["a",1]', '["a"]]', '{"a":1}', "null", "a"])
def test_what_is_not_a_json_list_is_refused(value: str) -> None:
    with pytest.raises(HotfixError, match="not a JSON list of strings"):
        _keys.split(value, "json_list")


@given(st.lists(KEY, unique=True))
def test_what_is_joined_is_split_again(keys: list[str]) -> None:
    assert _keys.split(_keys.join(keys, "json_list"), "json_list") == keys
    assert _keys.split(_keys.join(keys, "csv"), "csv") == keys


def test_json_list_is_compact() -> None:
    assert _keys.join(["a", "b"], "json_list") == '["a","b"]'
    assert json.loads(_keys.join(["ä"], "json_list")) == ["ä"]


@pytest.mark.parametrize(
    ("keys", "format"), [(["a,b"], "csv"), ([""], "csv"), ([" a"], "csv"), (["a", "b"], "scalar"), ([], "scalar")]
)
def test_what_a_format_cannot_hold_is_refused(keys: list[str], format: str) -> None:
    with pytest.raises(HotfixError):
        _keys.join(keys, format)


def test_keys_of_a_document() -> None:
    document = parse(
        b'A=1\nKEYS=\'["x","y"]\'\nBAD=\'["x"\'\nREF=${A}\nBARE\nCUT=[not-json\nPLAIN=[a-key]\n', "/srv/.env"
    )
    assert _keys.in_document(document, "KEYS") == _keys.KeyList(["x", "y"], "json_list", 2)
    assert _keys.in_document(document, "MISSING", "csv") == _keys.KeyList([], "csv", None)
    assert _keys.in_document(document, "BARE") == _keys.KeyList([], "json_list", 5)
    with pytest.raises(HotfixError, match=r"^/srv/\.env:3: BAD: the value is not a JSON list"):
        _keys.in_document(document, "BAD")
    with pytest.raises(HotfixError, match=r"^/srv/\.env:6: CUT: the value is not a JSON list"):
        _keys.in_document(document, "CUT")
    with pytest.raises(HotfixError, match=r"^/srv/\.env:7: PLAIN stands in brackets, but is no JSON list"):
        _keys.in_document(document, "PLAIN")
    assert _keys.in_document(document, "PLAIN", "scalar").keys == ["[a-key]"]
    with pytest.raises(HotfixError, match=r"^/srv/\.env:4: REF refers to another variable"):
        _keys.in_document(document, "REF")
    assert "x" not in repr(_keys.KeyList(["x"], "csv", 1))
