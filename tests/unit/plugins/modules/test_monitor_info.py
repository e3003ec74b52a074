# SPDX-License-Identifier: GPL-3.0-or-later
"""monitor_info as Ansible runs it, on the data of real watches."""

from __future__ import annotations

import json
from typing import Any

import pytest
from monitored_host import DOWN, Hook, Host

POINT = {
    "time",
    "up",
    "latency_ms",
    "workers",
    "memory",
    "limit",
    "worker_memory",
    "deaths",
    "oom_kills",
    "restarts",
    "errors",
    "disk_percent",
}


def test_where_nothing_was_ever_watched_nothing_is_known(host: Host) -> None:
    found = host.info()
    assert (found["changed"], found["status"], found["verdict"]) == (False, "absent", "unknown")
    assert (found["samples"], found["series"], found["events"], found["latest"]) == (0, [], [], None)
    assert not (host.folder / "state").exists()


def test_a_watch_is_shown_as_the_report_draws_it_and_nothing_is_changed(host: Host) -> None:
    host.start()
    host.sample()
    before = host.files()
    found = host.info(check=True)
    assert found == {**host.info(), "invocation": found["invocation"]}
    assert host.files() == before
    assert (found["status"], found["verdict"], found["reasons"]) == ("running", "healthy", [])
    assert (found["samples"], found["missed"], found["interval"], found["duration"]) == (2, 0, 60, 3600)
    assert found["started_at"] <= found["last_sample_at"] <= found["until"]
    assert [set(point) for point in found["series"]] == [POINT, POINT]
    assert {"availability_percent", "latency_ms", "memory", "deaths", "oom_kills", "restarts", "errors"} <= set(
        found["summary"]
    )


def test_no_more_points_and_events_than_are_asked_for_and_the_worst_of_them(host: Host) -> None:
    host.start()
    for down in (True, False, True, False):
        Hook.healthy = not down
        host.sample()
    everything, few = host.info(), host.info(points=1, events=1)
    assert (len(everything["series"]), few["samples"]) == (5, 5)
    assert [point["up"] for point in few["series"]] == [False]
    assert few["events"] == everything["events"][-1:] and len(everything["events"]) > 1
    assert host.info(events=0)["events"] == []


def test_an_engine_that_is_down_keeps_nothing_from_being_shown(host: Host) -> None:
    host.start()
    host.engine(ps=DOWN, inspect=DOWN)
    host.sample()
    found = host.info()
    assert found["samples"] == 2
    assert "engine_down" in [event["kind"] for event in found["events"]]


def test_damaged_lines_do_not_hide_the_others(host: Host) -> None:
    host.start()
    with open(host.home / "samples.jsonl", "ab") as stream:
        stream.write(b'\0\0\0\n[1]\n{"time": 3, "up": "x", "errors": 5, "memory": "x"}\n{"half": ')
    host.sample()
    found = host.info()
    assert (found["samples"], len(found["series"])) == (2, 3)
    assert found["latest"]["up"] is True


def test_a_watch_that_takes_no_samples_any_more_is_not_called_healthy(host: Host) -> None:
    host.start()
    clock = host.state()["clock"]
    host.state(clock={**clock, "wall": clock["wall"] - 600})
    found = host.info()
    assert (found["status"], found["verdict"]) == ("running", "degraded")
    assert found["reasons"] == ["No sample was taken for 10 min: see journalctl -u composeops-monitor-shop.service."]


def test_settings_that_are_damaged_are_said_with_what_to_do(host: Host) -> None:
    host.start()
    (host.home / "settings.json").write_text("{")
    failed = host.info(expect_failure=True)
    assert "settings.json: this file of the monitor is damaged. Stop the monitor and start it anew." in failed["msg"]


@pytest.mark.parametrize("options", [{"points": 0}, {"events": -1}])
def test_wrong_numbers(host: Host, options: dict[str, Any]) -> None:
    assert "points is 1 or more, and events is not negative" in host.info(expect_failure=True, **options)["msg"]


def test_no_address_to_be_told_is_in_it(host: Host) -> None:
    host.start(webhook=f"http://127.0.0.1:{host.port}/secret-of-the-hook")
    assert "secret-of-the-hook" not in json.dumps(host.info())
