# SPDX-License-Identifier: GPL-3.0-or-later
"""Log lines: cutting, time stamps, matching, masking, and both pipes of a process read to the end."""

from __future__ import annotations

import os
import sys
from datetime import datetime, timezone
from typing import Any

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils import _logs
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._logs import (
    Line,
    Scan,
    Splitter,
    compile_patterns,
    life_start,
    parse_instant,
    parse_line,
    read,
)
from hypothesis import given
from hypothesis import strategies as st

STAMP = "2026-11-24T11:10:15.408751981Z"
NOW = datetime(2025, 10, 18, 12, 0, 0, 250000, timezone.utc)


def scan(*patterns: dict[str, Any], **options: Any) -> Scan:
    return Scan(compile_patterns(patterns), **options)


def line(text: str, *, time: str | None = STAMP, stream: str = "stdout") -> Line:
    return Line(stream, time, text, len(text))


DIED = {"name": "died", "regex": r"Child process \[\d+\] died"}


def test_a_line_of_docker_logs() -> None:
    raw = f"{STAMP} INFO:     Child process [10] died\r".encode()
    assert parse_line("stderr", raw, len(raw)) == ("stderr", STAMP, "INFO:     Child process [10] died", 34)


def test_a_line_without_time_stamp_or_utf_8() -> None:
    assert parse_line("stdout", b"caf\xe9", 4) == ("stdout", None, "caf�", 4)


@given(st.lists(st.binary(max_size=30).map(lambda data: data.replace(b"\n", b"")), max_size=8), st.integers(1, 7))
def test_lines_are_the_same_however_the_bytes_arrive(lines: list[bytes], size: int) -> None:
    data = b"\n".join(lines)
    splitter = Splitter("stdout")
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    found = [line for piece in pieces for line in splitter.feed(piece)] + list(splitter.end())
    expected = lines[:-1] if lines and not lines[-1] else lines
    assert found == [parse_line("stdout", raw, len(raw)) for raw in expected]


def test_a_line_without_end_takes_no_more_memory_than_its_beginning() -> None:
    splitter = Splitter("stdout")
    for _round in range(100):
        assert list(splitter.feed(b"x" * _logs.CHUNK)) == []
        assert len(splitter._kept) <= _logs.LINE_LENGTH
    (found,) = splitter.feed(b"\n")
    assert found.size == 100 * _logs.CHUNK
    assert len(found.text) == _logs.LINE_LENGTH


def test_counts_and_times_in_whatever_order_the_streams_arrive() -> None:
    log = scan(DIED, {"name": "ready", "regex": "Server ready", "expect": "present"})
    log.feed(line("Child process [7] died", time="2026-01-01T00:00:02.000000000Z", stream="stderr"))
    log.feed(line("Child process [8] died", time="2026-01-01T00:00:01.000000000Z"))
    log.feed(line("🚀 Server ready on 0.0.0.0:8000", time="2026-01-01T00:00:03.000000000Z"))
    died, ready = (match.result() for match in log.matches)
    assert (died["count"], died["first"], died["last"]) == (
        2,
        "2026-01-01T00:00:01.000000000Z",
        "2026-01-01T00:00:02.000000000Z",
    )
    assert (died["ok"], ready["ok"], log.ok) == (False, True, False)
    assert (log.lines, log.streams) == (3, {"stdout": 2, "stderr": 1})
    assert (log.first, log.last) == ("2026-01-01T00:00:01.000000000Z", "2026-01-01T00:00:03.000000000Z")
    assert log.bytes == 22 + 22 + 30
    assert log.problems() == [
        "died: 2 found, the last at 2026-01-01T00:00:02.000000000Z, where none was expected",
    ]


@pytest.mark.parametrize(
    ("expect", "text", "ok"),
    [
        ("absent", "x", False),
        ("absent", "y", True),
        ("present", "x", True),
        ("present", "y", False),
        ("any", "x", True),
        ("any", "y", True),
        (None, "x", False),
    ],
)
def test_expectations(expect: str | None, text: str, ok: bool) -> None:
    log = scan({"name": "p", "regex": "x", "expect": expect})
    log.feed(line(text))
    assert log.ok is ok
    assert bool(log.problems()) is not ok


def test_samples_are_few_short_and_masked() -> None:
    log = scan({"name": "p", "regex": "key"}, secrets=["kR7-live-value"], samples=2)
    log.feed(line("key kR7-live-value and api_key=other " + "long " * 100))
    log.feed(line("key 2"))
    log.feed(line("key 3"))
    first, second = log.matches[0].samples
    assert "kR7-live-value" not in first
    assert "other" not in first
    assert first.startswith("key sha256:")
    assert len(first) == _logs.SAMPLE_LENGTH
    assert second == "key 2"


def test_a_secret_at_the_cut_is_masked_before_the_cut() -> None:
    secret = "Zq8-canary-value"
    log = scan({"name": "p", "regex": "^x"}, secrets=[secret])
    log.feed(line("x" * (_logs.SAMPLE_LENGTH - 8) + secret))
    assert "Zq8" not in log.matches[0].samples[0]


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        ([{"name": "a", "regex": "("}], "the regex of pattern a is not a regular expression"),
        ([{"name": "a", "regex": "x"}, {"name": "a", "regex": "y"}], "two patterns are named a"),
    ],
)
def test_wrong_patterns(patterns: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(HotfixError, match=message):
        compile_patterns(patterns)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2025-10-18T02:00:00Z", "2025-10-18T02:00:00Z"),
        ("2025-10-18t02:00:00.123456789z", "2025-10-18T02:00:00.123456789Z"),
        ("2025-10-18 07:30:00.5+05:30", "2025-10-18T02:00:00.5Z"),
        ("10m", "2025-10-18T11:50:00.250000Z"),
        ("1h30m", "2025-10-18T10:30:00.250000Z"),
        ("1.5d", "2025-10-17T00:00:00.250000Z"),
        ("1760752800", "2025-10-18T02:00:00Z"),
        (" 1760752800.25 ", "2025-10-18T02:00:00.25Z"),
    ],
)
def test_instants(text: str, instant: str) -> None:
    assert parse_instant(text, option="since", now=NOW) == instant


@pytest.mark.parametrize(
    "text", ["yesterday", "", "2025-10-18", "2025-13-18T02:00:00Z", "10", "5 m", "0001-01-01T00:00:00+10:00"]
)
def test_no_instants(text: str) -> None:
    with pytest.raises(HotfixError, match="since is no point in time"):
        parse_instant(text, option="since", now=NOW)


@given(st.text(max_size=30))
def test_any_text_is_an_instant_or_a_clear_error(text: str) -> None:
    try:
        assert parse_instant(text, option="since", now=NOW).endswith("Z")
    except HotfixError as error:
        assert "since is no point in time" in str(error)


# Times that Engine 20.10 gave. The first line of the present life came 1.6 ms before its StartedAt.
@pytest.mark.parametrize(
    ("started", "finished", "cut"),
    [
        ("2026-11-24T11:01:17.697295102Z", None, "2026-11-24T11:01:16.697295Z"),
        ("2026-11-24T11:13:47.897274874Z", "2026-11-24T11:13:47.44673566Z", "2026-11-24T11:13:47.672004Z"),
        ("2026-11-24T11:20:13.723338855Z", "2026-11-24T11:16:30.897125943Z", "2026-11-24T11:20:12.723338Z"),
        ("2026-11-24T11:15:43.512477405Z", "2026-11-24T11:16:30.897125943Z", "2026-11-24T11:15:43.412477Z"),
    ],
    ids=["first life", "restarted at once", "started later", "stopped"],
)
def test_the_start_of_the_present_life(started: str, finished: str | None, cut: str) -> None:
    assert life_start(started, finished) == cut
    assert cut < started
    assert finished is None or finished > started or cut > finished


def command(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def test_both_pipes_are_read_to_the_end_even_when_one_fills_up() -> None:
    """A reader of one pipe after the other would hang here: each holds far more than a pipe's buffer."""
    program = (
        "import sys, threading\n"
        f"def out(to): to.write('{STAMP} Child process [1] died\\n' * 20000); to.flush()\n"
        "threads = [threading.Thread(target=out, args=(to,)) for to in (sys.stdout, sys.stderr)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
    )
    log = scan(DIED)
    ended = read(command(program), log, env=os.environ)
    assert ended == (True, 0, "")
    assert log.streams == {"stdout": 20000, "stderr": 20000}
    assert log.matches[0].count == 40000


def test_a_last_line_without_end_counts() -> None:
    log = scan(DIED)
    read(command(f"print('{STAMP} Child process [1] died', end='')"), log, env=os.environ)
    assert (log.lines, log.matches[0].count) == (1, 1)


def test_what_docker_itself_complains_of() -> None:
    program = "import sys; sys.exit('Error response from daemon: configured logging driver does not support reading')"
    ended = read(command(program), scan(), env=os.environ)
    assert ended.returncode == 1
    assert ended.complaint == "Error response from daemon: configured logging driver does not support reading"


def test_following_reads_all_that_was_written_until_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline has passed before the first byte comes; only a line from after it ends the reading."""
    monkeypatch.setattr(_logs, "SETTLED", 1000)
    log = scan(DIED)
    late = "9999-01-01T00:00:00.000000000Z x"
    program = f"import time; print('{STAMP} Child process [1] died\\n' * 1000 + '{late}', flush=True); time.sleep(1000)"
    assert read(command(program), log, env=os.environ, seconds=0) == (False, None, "")
    assert log.matches[0].count == 1000


def test_following_a_silent_log_ends_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_logs, "SETTLED", 0.1)
    assert not read(command("import time; time.sleep(1000)"), scan(), env=os.environ, seconds=0).at_end


def test_following_ends_by_itself_when_the_log_does() -> None:
    assert read(command("pass"), scan(), env=os.environ, seconds=1000).at_end


def test_following_a_log_that_never_pauses_ends_at_the_first_line_from_after_the_deadline() -> None:
    program = (
        "import datetime, sys\n"
        "while True:\n"
        "    now = datetime.datetime.now(datetime.timezone.utc)\n"
        "    sys.stdout.write(now.strftime('%Y-%m-%dT%H:%M:%S.%f000Z') + ' x\\n')\n"
    )
    log = scan()
    assert not read(command(program), log, env=os.environ, seconds=0.2).at_end
    assert log.lines > 0


def test_a_hung_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_logs, "IDLE", 0.2)
    with pytest.raises(HotfixError, match=r"printed nothing for 0\.2 seconds"):
        read(command("import time; time.sleep(1000)"), scan(), env=os.environ)
