# SPDX-License-Identifier: GPL-3.0-or-later
"""The lines that are shown while workers are watched, or health is waited for."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils._watch_progress import HealthProgress, Progress


def running(*pids: int, status: str = "running") -> dict[str, Any]:
    return {"exists": True, "container": {"status": status}, "workers": {"pids": list(pids)}}


def test_each_worker_that_takes_the_place_of_another_one_is_counted() -> None:
    progress = Progress("droplet", 300)
    assert progress.line(0.4, running(10, 11)) == "  droplet: watched   0 of 300 s: 2 workers, none replaced"
    assert progress.line(10.2, running(10, 11)) == "  droplet: watched  10 of 300 s: 2 workers, none replaced"
    assert progress.line(20, running(10, 12)).endswith("2 workers, 1 replaced")
    assert progress.line(30, running(12)).endswith("1 worker, 1 replaced")
    assert progress.line(40, running(12, 13)).endswith("2 workers, 2 replaced")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"failed": True, "msg": "cannot connect"}, "the engine does not answer"),
        ({"exists": False}, "there is no container"),
        (running(status="restarting"), "the container is restarting, no worker runs"),
        (running(7, status="paused"), "the container is paused, no worker runs"),
        (running(), "the container is running, no worker runs"),
    ],
)
def test_what_keeps_workers_from_being_seen_is_said(found: dict[str, Any], said: str) -> None:
    line = Progress("droplet", 300).line(290, found)
    assert line == f"  droplet: watched 290 of 300 s: {said}"
    assert len(line) <= 80


def answered(status: int, answer: str, healthy: bool = False) -> dict[str, Any]:
    return {"healthy": healthy, "status": status, "answer": answer}


def test_an_answer_is_shown_when_it_is_new_and_again_after_a_while() -> None:
    progress = HealthProgress("droplet")
    refused = answered(0, "no answer: Connection refused")
    assert progress.line(100, refused) == "  droplet: not healthy after   0 s: no answer: Connection refused"
    assert progress.line(109.9, refused) is None
    assert progress.line(110, refused) == "  droplet: not healthy after  10 s: no answer: Connection refused"
    starting = answered(503, '{"status":\n "starting"}')
    assert progress.line(112, starting) == '  droplet: not healthy after  12 s: status 503, {"status": "starting"}'
    assert progress.line(114, refused) is not None
    assert progress.line(116, answered(200, '{"status": "healthy"}', healthy=True)) is None


def test_an_answer_takes_one_line() -> None:
    line = HealthProgress("droplet").line(0, answered(502, "<html>\n<body>\n" * 100))
    assert line is not None and "\n" not in line and len(line) < 160 and line.endswith("…")
    assert str(HealthProgress("droplet").line(0, answered(500, ""))).endswith("status 500, without a body")


def test_what_would_control_a_terminal_is_not_shown() -> None:
    line = HealthProgress("droplet").line(0, answered(502, "\x1b[31mdown\x07"))
    assert line is not None and line.endswith("status 502, �[31mdown�")


def test_the_time_begins_anew_for_what_is_waited_for_next() -> None:
    progress = HealthProgress("droplet")
    progress.line(100, answered(503, "starting"))
    progress.line(105, answered(200, "", healthy=True))
    assert str(progress.line(120, answered(503, "starting"))).startswith("  droplet: not healthy after   0 s")
