# SPDX-License-Identifier: GPL-3.0-or-later
"""Which keys a log shows in use, and what it cannot show."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
from pathlib import Path

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._key_use import (
    SHORTEST,
    Source,
    Uses,
    instant,
    key_pattern,
    log_files,
    read_file,
    shown,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._logs import Line
from hypothesis import given
from hypothesis import strategies as st

NEW = "P0lKm9iJn8uHb7yGv6tFc5rDx4eSz3wAq2QoWpEiRuT"
OLD = "Jq3v7Yb0tN5xR8wK2mZcD4fGhLpSaUeX1iOoV6y9BTA"
OLD_HASH = hashlib.sha256(OLD.encode()).hexdigest()
BY_HASH = r'"key_id": "sha256:(?P<fingerprint>[0-9a-fA-F]*)"'
BY_KEY = r"key=(?P<key>[\w-]*)"
NGINX = r"\[(?P<time>[^]]+)\].*key=(?P<key>[\w-]+)"
SINCE = 1760000000.0  # 2025-10-09T08:53:20Z


def uses(pattern: str, ignore: str | None = None, keys: tuple[str, ...] = (NEW, OLD)) -> Uses:
    return Uses(
        keys=keys,
        pattern=key_pattern(pattern, "pattern", tuple(SHORTEST)),
        ignore=re.compile(ignore) if ignore else None,
        since=SINCE,
    )


def look(wanted: Uses, *texts: str, time: str | None = "2025-10-10T00:00:00.000000001Z") -> Source:
    source = Source("the log", start=SINCE - 1)
    wanted.sources.append(source)
    for text in texts:
        wanted.look(Line("stdout", time, text, len(text)), source, SINCE)
    return source


def counts(wanted: Uses) -> list[int]:
    return [use.count for use in wanted.seen]


@pytest.mark.parametrize("digits", [8, 16, 64])
def test_hash_of_a_key(digits: int) -> None:
    wanted = uses(BY_HASH)
    for text in (OLD_HASH[:digits], OLD_HASH[:digits].upper(), "0" * 16, OLD_HASH[:7], ""):
        look(wanted, f'{{"key_id": "sha256:{text}"}}')
    assert counts(wanted) == [0, 2]
    assert (wanted.unknown, wanted.unusable) == (1, 2)


def test_key_or_its_beginning() -> None:
    wanted = uses(BY_KEY)
    for text in (OLD, OLD[:6], OLD[:12], OLD[:5], OLD + "x", "Unknown-Key", NEW[:8]):
        look(wanted, f"GET /x key={text} 200")
    assert counts(wanted) == [1, 3]
    assert (wanted.unknown, wanted.unusable) == (2, 1)


def test_a_beginning_of_several_keys_counts_for_each() -> None:
    wanted = uses(BY_KEY, keys=(OLD, OLD[:20] + "-and-another-end"))
    look(wanted, f"key={OLD[:10]}", f"key={OLD[:25]}")
    assert counts(wanted) == [2, 1]


def test_several_keys_in_a_line() -> None:
    wanted = uses(BY_KEY)
    look(wanted, f"key={OLD} key={NEW} key={OLD}")
    assert counts(wanted) == [1, 2]


def test_ignored_lines_do_not_count_but_prove_that_the_pattern_fits() -> None:
    wanted = uses(BY_KEY, ignore="composeops")
    look(wanted, f"key={OLD} agent=composeops.hotfix.api_key_probe", f"key={OLD} agent=phone")
    result = wanted.result()
    assert (result["keys"][1]["count"], result["ignored"], result["found"]) == (1, 1, 2)


def test_result_has_times_and_no_key() -> None:
    wanted = uses(BY_KEY)
    look(wanted, f"key={OLD}", time="2025-10-12T00:00:00.5Z")
    look(wanted, f"key={OLD}", time="2025-10-11T05:30:00+05:30")
    new, old = wanted.result()["keys"]
    assert (old["first"], old["last"], old["newest"]) == ("2025-10-11T00:00:00Z", "2025-10-12T00:00:00Z", False)
    assert (new["first"], new["last"], new["newest"]) == (None, None, True)
    assert OLD not in str(wanted.result())
    assert NEW not in repr(wanted)


def test_use_before_the_window_does_not_count() -> None:
    wanted = uses(NGINX)
    source = look(
        wanted, f"[01/Oct/2025:00:00:00 +0000] key={OLD}", f"[01/Nov/2025:00:00:00 +0000] key={OLD}", time=None
    )
    assert counts(wanted) == [0, 1]
    assert source.found == 2


def test_what_a_log_does_not_prove_is_said() -> None:
    wanted = uses(BY_KEY)
    source = look(wanted, "nothing of the kind", f"key={OLD[:3]}")
    assert wanted.result()["complete"]
    assert len(wanted.notes()) == 1
    assert "fewer than 6 characters of a key" in wanted.notes()[0]
    source.start = SINCE + 10
    assert "Use before 2025-10-09T08:53:30Z is not seen, for the log was recreated" in wanted.notes()[0]
    source.start, source.fits = None, False
    assert not wanted.result()["complete"]
    assert wanted.notes()[:2] == [
        "Since when the log goes back is not known, so earlier use may be missing.",
        "The pattern is in no line of the log.",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "2025-10-09T08:53:20Z",
        "2025-10-09T08:53:20.000000000+00:00",
        "2025-10-09T14:23:20+05:30",
        "2025-10-09 08:53:20",
        "2025-10-09 08:53:20,000",
        "09/Oct/2025:10:53:20 +0200",
        "1760000000",
        "1760000000.0",
        " 2025-10-09t08:53:20z ",
    ],
)
def test_times(text: str) -> None:
    assert instant(text) == SINCE
    assert shown(SINCE) == "2025-10-09T08:53:20Z"


@pytest.mark.parametrize(
    "text", ["", "yesterday", "99/Foo/2025:10:53:20 +0200", "2025-13-09T08:53:20Z", "12", "9" * 11]
)
def test_no_times(text: str) -> None:
    found = instant(text)
    assert found is None or text.isdigit()


@given(st.text())
def test_any_text_is_a_time_or_not(text: str) -> None:
    assert instant(text) is None or isinstance(instant(text), float)


@pytest.mark.parametrize(("text", "message"), [("(", "is not a regular"), ("key=(.*)", "no group named key or fing")])
def test_patterns_that_tell_nothing(text: str, message: str) -> None:
    with pytest.raises(HotfixError, match=message):
        key_pattern(text, "pattern", tuple(SHORTEST))


def test_log_files_of_the_host(tmp_path: Path) -> None:
    plain, packed = tmp_path / "access.log", tmp_path / "access.log.1.gz"
    plain.write_text(f"[11/Oct/2025:00:00:00 +0000] key={OLD[:8]}\n[12/Oct/2025:00:00:00 +0000] key={OLD[:8]}")
    packed.write_bytes(gzip.compress(f"[01/Oct/2025:00:00:00 +0000] key={OLD}\nno time key={NEW}\n".encode()))
    os.utime(packed, (SINCE + 60, SINCE + 60))
    paths = log_files([str(tmp_path / "access.log*"), str(plain)])
    assert paths == [str(plain), str(packed)]
    wanted = uses(NGINX)
    for path in paths:
        read_file(path, wanted)
    assert counts(wanted) == [0, 2]
    assert [source.result(SINCE)["reaches_back"] for source in wanted.sources] == [False, True]
    wanted = uses(BY_KEY)
    read_file(str(packed), wanted)
    assert [use.last for use in wanted.seen] == [SINCE + 60, SINCE + 60]


def test_log_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(HotfixError, match=r"none\.log\*: there is no such log file"):
        log_files([str(tmp_path / "none.log*")])
    damaged = tmp_path / "a.gz"
    for data in (b"no gzip", gzip.compress(b"x" * 1000)[:-9], gzip.compress(os.urandom(999))[:50] + b"\xff" * 900):
        damaged.write_bytes(data)
        with pytest.raises(HotfixError, match=r"a\.gz: this compressed log is damaged"):
            read_file(str(damaged), uses(BY_KEY))
    with pytest.raises(HotfixError, match="cannot read this file"):
        read_file(str(tmp_path), uses(BY_KEY))


def test_a_line_of_any_length_takes_bounded_memory(tmp_path: Path) -> None:
    log = tmp_path / "long.log"
    log.write_bytes(f"key={OLD} ".encode() + b"x" * 10_000_000 + f"key={NEW}\nkey={OLD}\n".encode())
    wanted = uses(BY_KEY)
    read_file(str(log), wanted)
    assert counts(wanted) == [0, 2]
