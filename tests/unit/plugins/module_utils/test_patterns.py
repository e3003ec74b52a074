# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from datetime import datetime, timezone

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._logs import parse_instant
from ansible_collections.composeops.hotfix.plugins.module_utils._patterns import compile_pattern, parse_duration
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90d", 90 * 86400), ("12h", 43200), (" 2w ", 1209600), ("1h30m", 5400), ("1.5d", 129600), ("0s", 0)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text, "max_age") == seconds


NONE = ["", "90", "d", "-1d", "90 days", "1h30", "20000000d", "999999999w", "9" * 400 + "d", "1.2.3d", "1..5d", ".d"]


@pytest.mark.parametrize("text", NONE)
def test_no_durations(text: str) -> None:
    with pytest.raises(HotfixError, match="retire_after is not a duration of at most 100 years"):
        parse_duration(text, "retire_after")


@given(st.text(alphabet="0123456789.smhdw ", max_size=20))
def test_any_text_is_a_duration_or_a_clear_error(text: str) -> None:
    try:
        assert 0 <= parse_duration(text, "max_age") <= 100 * 365 * 86400
    except HotfixError as error:
        assert "max_age is not a duration" in str(error)


@given(st.from_regex(r"\A(\d{1,12}(\.\d{1,4})?[smhdw]){1,3}\Z"))
def test_any_duration_leads_to_a_date_or_a_clear_error(text: str) -> None:
    now = datetime(2025, 10, 18, tzinfo=timezone.utc)
    try:
        assert parse_instant(text, option="since", now=now)[:2] in ("19", "20")
    except HotfixError as error:
        assert "since is no" in str(error)


def test_pattern_of_python() -> None:
    assert compile_pattern("a+", "pattern").fullmatch("aa")


@pytest.mark.parametrize("text", ["(", "a{99999999999}", "[", "(" * 5000 + ")" * 5000])
def test_no_pattern(text: str) -> None:
    with pytest.raises(HotfixError, match=r"^pattern is not a regular expression of Python"):
        compile_pattern(text, "pattern")
