# SPDX-License-Identifier: GPL-3.0-or-later
"""What a watch makes of what it sees: time, deaths, restarts, outages, its verdict, its series, its files."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils import _monitor as mon
from ansible_collections.composeops.hotfix.plugins.module_utils import _monitor_notify as notify
from ansible_collections.composeops.hotfix.plugins.module_utils import _monitor_sampler as sampler
from ansible_collections.composeops.hotfix.plugins.module_utils import _monitor_store as store
from ansible_collections.composeops.hotfix.plugins.module_utils import _monitor_units as units
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Completed
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._files import problem
from ansible_collections.composeops.hotfix.plugins.module_utils._logs import Line, compile_patterns
from ansible_collections.composeops.hotfix.plugins.module_utils._monitor_lines import lines
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import fingerprint
from ansible_collections.composeops.hotfix.plugins.module_utils._worker_log import Story
from hypothesis import example, given
from hypothesis import strategies as st

SETTINGS: dict[str, Any] = {
    "interval": 60.0,
    "duration": 86400.0,
    "outage": 120,
    "memory_percent": 95,
    "disk_percent": 90,
}
NOON = 1_760_788_800.0
MIB = 1024**2
GOOD = mon.Health(True, 200, 12.5, "{}")
SICK = mon.Health(False, 503, 3.0, "no redis")


def box(**change: Any) -> mon.Box:
    return mon.Box("c" * 64, "2025-10-18T11:00:00Z", "running", 0, 0, "unless-stopped", True)._replace(**change)


def figures(*pids: int, kills: int | None = 0, usage: int = 300 * MIB) -> mon.Figures:
    """Workers whose numbers in the container are those of the host less 1000."""
    return mon.Figures({pid + 1000: pid for pid in pids}, {pid: 100 * MIB for pid in pids}, usage, 512 * MIB, kills)


class Watch:
    """A watch that is fed with what is seen."""

    def __init__(self, **settings: Any) -> None:
        self.settings = {**SETTINGS, **settings}
        self.state = mon.fresh(NOON)
        self.clock = mon.Clock(NOON, "boot", 1000.0)
        self.samples: list[dict[str, Any]] = []
        self.events: list[dict[str, str]] = []
        self.look()

    def after(self, seconds: float = 60.0, **change: Any) -> None:
        moved = self.clock._replace(wall=self.clock.wall + seconds, uptime=self.clock.uptime + seconds)
        self.clock = moved._replace(**change)

    def look(self, seconds: float = 0.0, **seen: Any) -> list[str]:
        """Look once more; the texts of the events."""
        if seconds:
            self.after(seconds)
        given = {"container": box(), "health": GOOD, "figures": figures(8, 9), "engine_start": "1:1", **seen}
        judged = mon.judge(self.settings, self.state, mon.Seen(**given), self.clock)
        self.state = json.loads(json.dumps(judged.state))  # as it comes back from its file
        self.samples.append(judged.sample)
        self.events += judged.events
        return [event["text"] for event in judged.events]

    @property
    def verdict(self) -> tuple[str, list[str]]:
        return mon.verdict(self.settings, self.state)

    @property
    def deaths(self) -> int:
        return int(self.state["tally"]["deaths"])


def test_a_quiet_day_is_healthy() -> None:
    watch = Watch()
    for _sample in range(5):
        assert watch.look(60) == []
    assert watch.verdict == ("healthy", [])
    assert watch.samples[-1]["workers"] == 2
    assert mon.summary(watch.state, watch.samples) == {
        "availability_percent": 100.0,
        "latency_ms": {"median": 12.5, "p95": 12.5, "max": 12.5},
        "memory": {"limit": 512 * MIB, "peak": 300 * MIB, "peak_percent": 58.6},
        "deaths": 0,
        "oom_kills": 0,
        "restarts": 0,
        "errors": {},
    }


# --- time ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "step"),
    [
        (mon.Clock(NOON + 60, "boot", 1060), mon.Step(60, 0, False, 0)),
        (mon.Clock(NOON + 300, "boot", 1300), mon.Step(300, 4, False, 0)),
        # The clock was set, forward and back: only the kernel's counts.
        (mon.Clock(NOON + 7260, "boot", 1060), mon.Step(60, 0, False, 7200)),
        (mon.Clock(NOON - 3540, "boot", 1060), mon.Step(60, 0, False, -3600)),
        # Booted: the time away counts, and with a clock that is wrong at least that since the boot.
        (mon.Clock(NOON + 600, "other", 30), mon.Step(600, 9, True, 0)),
        (mon.Clock(0, "other", 30), mon.Step(30, 0, True, 0)),
        (mon.Clock(NOON + 10, "other", 500), mon.Step(500, 7, True, 0)),
    ],
)
def test_how_far_it_is_from_one_sample_to_the_next(now: mon.Clock, step: mon.Step) -> None:
    assert mon.advance(mon.Clock(NOON, "boot", 1000), now, 60) == step


def test_the_end_moves_with_the_clock_and_not_with_the_time() -> None:
    watch = Watch(duration=3600.0)
    assert mon.until(watch.settings, watch.state) == NOON + 3600
    watch.after(60, wall=NOON + 60 + 7200)
    assert watch.look() == ["The host's clock was set forward by 2 h."]
    assert mon.until(watch.settings, watch.state) == NOON + 3600 + 7200
    assert mon.left(watch.settings, watch.state) == 3540


def test_a_watch_whose_time_is_over_while_the_host_is_down_is_over() -> None:
    watch = Watch(duration=3600.0)
    watch.after(90_000, boot="other", uptime=20.0)
    assert watch.look() == ["The host was booted again; the last sample is 25 h old."]
    assert mon.left(watch.settings, watch.state) == 0
    assert watch.state["tally"]["missed"] == 1499


def test_one_missed_sample_is_told_and_no_doubt() -> None:
    watch = Watch()
    assert watch.look(130) == ["No sample for 2 min: 1 sample missed."]
    assert watch.verdict == ("healthy", [])


def test_missed_samples_are_told_and_many_of_them_are_a_doubt() -> None:
    watch = Watch()
    assert watch.look(400) == ["No sample for 7 min: 6 samples missed."]
    assert watch.verdict == ("degraded", ["6 of 8 samples were missed: host or timer was down."])
    for _sample in range(600):
        watch.look(60)
    assert watch.verdict == ("healthy", [])


@pytest.mark.parametrize(
    ("before", "seconds", "after"), [(300, 305, 10), (10, 305, 300), (10, 19, 10), (300, 539, 240)]
)
def test_a_timer_that_begins_anew_makes_no_sample_a_missed_one(before: int, seconds: int, after: int) -> None:
    watch = Watch(interval=float(before))
    watch.settings["interval"] = float(after)
    # Where the interval is another one it shows by that.
    watch.state["timer_anew"] = before == after
    assert watch.look(seconds) == []
    assert watch.look(after) == []
    assert watch.state["tally"]["missed"] == 0
    assert watch.look(5 * after)[0].startswith("No sample for")


# --- deaths ----------------------------------------------------------------------------------------------------------


def told(*deaths: tuple[int | None, str], finished: tuple[int, ...] = ()) -> mon.Log:
    return mon.Log(tuple(mon.Told(pid, cause, "so") for pid, cause in deaths), frozenset(finished))


def test_a_worker_that_is_gone_is_a_death_and_fails_the_watch() -> None:
    watch = Watch()
    assert watch.look(60, figures=figures(9, 10)) == ["Worker 8 died: nothing says why (its process is gone)."]
    assert watch.verdict == ("failed", ["1 worker died (unknown 1), the last one by 2025-10-18T12:01:00Z."])
    assert watch.samples[-1]["deaths"] == 1


@pytest.mark.parametrize(
    ("looks", "deaths"),
    [
        # Gone and told of in the same sample; gone first; told first; told twice; told only, it came back in between.
        ([{"figures": figures(9, 10), "log": told((8, "unknown"))}], 1),
        ([{"figures": figures(9, 10)}, {"figures": figures(9, 10), "log": told((8, "unknown"))}], 1),
        ([{"log": told((8, "crash"))}, {"figures": figures(9, 10)}], 1),
        ([{"log": told((8, "crash"))}, {"log": told((8, "unknown")), "figures": figures(9, 10)}], 1),
        ([{"log": told((31, "unknown"), (32, "unknown"))}], 2),
        # A reason without a number is that of the one that is gone, now or the next time.
        ([{"figures": figures(9, 10), "log": told((None, "import_error"))}], 1),
        ([{"log": told((None, "crash"))}, {"figures": figures(9, 10)}], 1),
        ([{"log": told((None, "crash"))}, {"log": told((8, "unknown")), "figures": figures(9, 10)}], 1),
        ([{"log": told((None, "crash"))}, {}, {"figures": figures(9, 10)}], 2),
        # A limit of requests, and a shutdown in good order, are no deaths.
        ([{"figures": figures(9, 10), "log": told((8, "recycle"))}], 0),
        (
            [
                {"figures": figures(9, 10), "log": told((None, "recycle"))},
                {"log": told((8, "unknown")), "figures": figures(9, 10)},
            ],
            0,
        ),
        ([{"log": told((None, "recycle"))}, {"figures": figures(9, 10)}], 0),
        ([{"figures": figures(9), "log": told(finished=(8,))}], 0),
        # The kernel's counter with two workers that are gone, and with one that nobody has seen.
        ([{"figures": figures(10, 11, kills=2)}], 2),
        ([{"figures": figures(8, 9, kills=1)}], 0),
        # While the engine is down, or the container does not run, nothing is known of the workers.
        ([{"engine": "down", "container": None, "figures": None}, {"figures": figures(9, 10)}], 1),
        ([{"engine": "down", "container": None, "figures": None}, {"figures": figures(8, 9)}], 0),
        ([{"figures": None}, {"figures": figures(8, 9)}], 0),
        # What a run of ours does is no death.
        ([{"figures": figures(10, 11), "run": "abc", "log": told((8, "unknown"))}, {"figures": figures(10, 11)}], 0),
        ([{"figures": figures(10, 11), "run": "abc"}, {"figures": figures(10, 11), "log": told((9, "unknown"))}], 0),
    ],
)
def test_each_death_is_counted_once(looks: list[dict[str, Any]], deaths: int) -> None:
    watch = Watch()
    for seen in looks:
        watch.look(60, **seen)
    assert watch.deaths == deaths
    assert sum(sample["deaths"] for sample in watch.samples) == deaths
    assert sum(watch.state["tally"]["causes"].values()) == deaths


def test_the_kernels_counter_names_the_cause_that_nobody_else_does() -> None:
    watch = Watch()
    assert watch.look(60, figures=figures(9, 10, kills=1)) == [
        "Worker 8 died: the kernel killed it for lack of memory (the kernel's counter says so)."
    ]
    assert watch.look(60, figures=figures(9, 10, kills=3)) == [
        "The kernel killed 2 processes of the container for lack of memory."
    ]
    assert watch.verdict[1] == [
        "1 worker died (oom 1), the last one by 2025-10-18T12:01:00Z.",
        "The kernel killed 3 processes of the container for lack of memory.",
    ]


def test_what_was_killed_before_the_watch_does_not_count() -> None:
    watch = Watch()
    fresh = mon.judge(SETTINGS, mon.fresh(NOON), mon.Seen(container=box(), figures=figures(8, kills=7)), watch.clock)
    assert fresh.sample["oom_kills"] == 0
    assert fresh.state["oom_kills"] == 7


def test_many_deaths_in_one_sample_do_not_flood_the_events() -> None:
    watch = Watch()
    texts = watch.look(60, log=told(*((pid, "import_error") for pid in range(100, 300))))
    assert len(texts) == 6
    assert texts[-1] == "195 more workers died since the last sample."
    assert watch.deaths == 200


def test_process_ids_of_another_life_are_other_workers() -> None:
    watch = Watch()
    watch.look(60, log=told((8, "crash")), figures=figures(9, 10))
    watch.look(60, container=box(id="d" * 64), figures=figures(8, 9))
    watch.look(60, container=box(id="d" * 64), log=told((8, "crash")), figures=figures(9, 10))
    assert watch.deaths == 2


# --- the container ---------------------------------------------------------------------------------------------------

LATER = "2025-10-18T12:00:30Z"


@pytest.mark.parametrize(
    ("change", "restarts", "text"),
    [
        ({"started_at": LATER}, 1, "was restarted, by no run"),
        ({"started_at": LATER, "restart_count": 3}, 3, "ended by itself and was started again, 3 times"),
        ({"id": "d" * 64, "started_at": LATER}, 1, "was replaced by dddddddddddd, by no run"),
    ],
)
def test_a_restart_that_nobody_planned(change: dict[str, Any], restarts: int, text: str) -> None:
    watch = Watch()
    (event,) = watch.look(60, container=box(**change), figures=figures(8, 9))
    assert text in event
    assert watch.samples[-1]["restarts"] == restarts
    assert watch.deaths == 0
    assert watch.verdict[0] == "degraded"
    assert watch.look(60, container=box(**change)) == []


def test_what_comes_back_with_the_host_or_the_engine_is_no_restart_of_its_own() -> None:
    watch = Watch()
    watch.after(90, boot="other", uptime=20.0)
    stopped = box(status="exited", exit_code=0)
    assert watch.look(container=stopped, figures=None) == ["The host was booted again; the last sample is 90 s old."]
    # It comes back later than the first sample.
    texts = watch.look(60, container=box(started_at=LATER), engine_start="2:2")
    assert texts == [
        "The Docker engine was restarted between two samples.",
        "The container was started again with the host or the engine.",
    ]
    texts = watch.look(60, engine="it does not answer", container=None, figures=None, engine_start="")
    assert texts == ["The Docker engine does not answer: it does not answer."]
    texts = watch.look(60, container=box(started_at="2025-10-18T12:05:00Z"), engine_start="3:3")
    assert texts == ["The Docker engine answers again.", "The container was started again with the host or the engine."]
    assert watch.state["tally"]["restarts"] == 0
    assert watch.state["settling"] is False
    # The next one is one of its own.
    watch.look(60, container=box(started_at="2025-10-18T12:09:00Z"), engine_start="3:3")
    assert watch.state["tally"]["restarts"] == 1


def test_a_worker_that_starts_before_what_it_needs_is_no_death_while_host_or_engine_come_back() -> None:
    watch = Watch()
    again = box(started_at=LATER)
    texts = watch.look(60, container=again, engine_start="2:2", health=SICK, log=told((None, "import_error")))
    assert "1 worker could not start while host or engine came back, which is no death (so)." in texts
    watch.look(60, container=again, engine_start="2:2", log=told((9, "unknown"), (10, "import_error")))
    assert watch.deaths == 0
    watch.look(60, container=again, engine_start="2:2", log=told((11, "import_error")))
    assert watch.deaths == 1


def test_a_policy_that_changes_and_one_that_does_not_survive_a_reboot() -> None:
    watch = Watch()
    changed = box(policy="no", survives_reboot=False)
    (event,) = watch.look(60, container=changed)
    assert event == "The restart policy was unless-stopped and is no: after a reboot the container STAYS DOWN."
    assert watch.verdict == (
        "degraded",
        [
            "The restart policy was changed, by no run of this collection.",
            "After a reboot the container stays down: its restart policy is no.",
        ],
    )


# --- health ----------------------------------------------------------------------------------------------------------


def test_a_blip_degrades_and_an_outage_fails() -> None:
    watch = Watch()
    assert watch.look(60, health=SICK) == ["Not healthy: HTTP 503: no redis."]
    assert watch.look(60) == ["Healthy again, after 60 s."]
    assert watch.verdict == ("degraded", ["1 of 3 samples was not healthy."])
    watch.look(60, health=SICK)
    watch.look(60, health=SICK)
    assert watch.verdict[0] == "degraded"
    watch.look(60, health=SICK)
    assert watch.verdict == (
        "failed",
        ["It is not healthy since 2025-10-18T12:03:00Z, for 2 min.", "4 of 6 samples were not healthy."],
    )
    assert watch.look(60) == ["Healthy again, after 3 min."]
    assert watch.verdict[1][0] == "It was not healthy from 2025-10-18T12:03:00Z on, for 2 min."


def test_one_bad_sample_is_no_outage_however_far_the_next_one_is() -> None:
    watch = Watch(interval=300.0)
    watch.look(300, health=SICK)
    watch.look(300)
    assert watch.verdict == ("degraded", ["1 of 3 samples was not healthy."])
    watch.look(300, health=SICK)
    watch.look(300, health=SICK)
    assert watch.verdict[0] == "failed"
    assert watch.verdict[1][0] == "It is not healthy since 2025-10-18T12:15:00Z, for 5 min."
    hasty = Watch(outage=0)
    hasty.look(60, health=SICK)
    assert hasty.verdict[0] == "failed"


def test_a_container_that_ended_or_is_not_there_is_named() -> None:
    watch = Watch()
    ended = box(status="exited", exit_code=137)
    refused = mon.Health(False, 0, 1.0, "no answer: Connection refused")
    (event,) = watch.look(60, container=ended, figures=None, health=refused)
    assert event == "Not healthy: the container is exited, exit code 137; no answer: Connection refused."
    other = Watch()
    assert other.look(60, container=None, figures=None, health=None) == ["Not healthy: there is no container."]


def test_what_is_unhealthy_during_a_run_does_not_count() -> None:
    watch = Watch()
    for _sample in range(10):
        watch.look(60, health=SICK, run="abc", container=box(status="exited"), figures=None)
    watch.look(60)
    assert watch.verdict == ("healthy", [])
    assert mon.summary(watch.state, watch.samples)["availability_percent"] == 100


def test_an_engine_that_is_down_without_an_address_says_nothing_of_the_application() -> None:
    watch = Watch()
    watch.look(60, engine="down", container=None, figures=None, health=None)
    assert watch.samples[-1]["up"] is None
    assert watch.state["tally"]["judged"] == 1


# --- log, memory, disk -----------------------------------------------------------------------------------------------


def test_lines_that_are_expected_are_counted_only() -> None:
    watch = Watch()
    found = {"bad": mon.Found(3, "ERROR x."), "fine": mon.Found(5, "ok", True), "none": mon.Found(0, "")}
    assert watch.look(60, log=mon.Log(found=found)) == ["bad: 3 lines in the log, such as: ERROR x."]
    assert watch.verdict == ("degraded", ["bad: 3 lines."])
    assert mon.summary(watch.state, watch.samples)["errors"] == {"bad": 3, "fine": 5, "none": 0}
    assert watch.samples[-1]["errors"] == {"bad": 3, "fine": 5}
    watch.look(60, log=mon.Log(found=found), run="abc")
    assert watch.state["tally"]["errors"]["bad"] == 3


def test_orders_for_a_terminal_do_not_get_into_the_events() -> None:
    watch = Watch()
    found = {"bad": mon.Found(1, "\x1b[2J\x9b31mERROR\r\n\u2028x")}
    assert watch.look(60, log=mon.Log(found=found)) == ["bad: 1 line in the log, such as: [2J 31mERROR x."]


def test_a_log_that_cannot_be_read_is_told_once() -> None:
    watch = Watch()
    log = mon.Log(problem="its logging driver is none")
    assert watch.look(60, log=log) == ["The container's log cannot be read: its logging driver is none."]
    assert watch.look(60, log=log) == []
    assert watch.verdict == ("degraded", ["The container's log cannot be read: its logging driver is none."])


def test_memory_and_disk_are_told_when_they_pass_their_mark() -> None:
    watch = Watch()
    high = figures(8, 9, usage=500 * MIB)
    assert watch.look(60, figures=high, disk_percent=91.0) == [
        "The container uses 500 MiB of 512 MiB of memory (97.7 %).",
        "The disk is filling up (91 %).",
    ]
    assert watch.look(60, figures=high, disk_percent=92.0) == []
    watch.look(60)
    assert len(watch.look(60, figures=high)) == 1
    assert watch.verdict == ("degraded", ["Memory rose to 97.7 % of the container's limit.", "The disk was 92 % full."])


# --- series ----------------------------------------------------------------------------------------------------------


def test_each_point_is_the_worst_of_its_stretch() -> None:
    watch = Watch()
    for number in range(1, 10):
        watch.look(60, health=SICK if number == 4 else GOOD._replace(milliseconds=float(number)))
    watch.look(60, figures=figures(10, 11, usage=400 * MIB, kills=1), disk_percent=50.0)
    points = mon.series(watch.samples, 3)
    assert [point["up"] for point in points] == [True, False, True]
    assert [point["latency_ms"] for point in points] == [12.5, 6.0, 12.5]
    assert points[-1]["deaths"] == 2 and points[-1]["oom_kills"] == 1 and points[-1]["disk_percent"] == 50
    assert points[-1]["worker_memory"] == {"10": 100 * MIB, "11": 100 * MIB}
    assert points[0]["time"] == "2025-10-18T12:00:00Z"
    assert len(mon.series(watch.samples, 300)) == 11
    assert mon.series([], 300) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = ("time", "up", "latency_ms", "workers", "memory", "limit", "worker_memory", "deaths", "errors", "disk_percent")


@given(st.lists(st.dictionaries(st.sampled_from(NAMES), JSON), max_size=20), st.integers(1, 30))
def test_lines_of_any_content_make_a_series(samples: list[dict[str, Any]], points: int) -> None:
    found = mon.series(samples, points)
    assert len(found) == min(points, len(samples))
    mon.summary(mon.fresh(0), samples)
    json.dumps(found)


# --- files -----------------------------------------------------------------------------------------------------------


@example([b"1", b"[2]", b'"x"'])
@given(st.lists(st.binary(max_size=60)))
def test_damaged_files_give_the_lines_that_are_whole(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]
) -> None:
    home = str(tmp_path_factory.mktemp("home"))
    Path(home, store.EVENTS).write_bytes(b"\n".join(parts))
    store.append(home, store.EVENTS, [{"kind": "whole"}])
    found = store.lines(home, store.EVENTS)
    assert {"kind": "whole"} in found
    assert all(isinstance(line, dict) for line in found)


def test_files_of_lines_are_rotated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(store.LIMITS, store.SAMPLES, 100)
    for number in range(50):
        store.append(str(tmp_path), store.SAMPLES, [{"number": number}])
    kept = [line["number"] for line in store.lines(str(tmp_path), store.SAMPLES)]
    assert kept == list(range(kept[0], 50))
    assert sorted(os.listdir(tmp_path)) == ["samples.jsonl", "samples.jsonl.1"]
    assert all(path.stat().st_size <= 100 for path in tmp_path.iterdir())


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / store.STATE).write_text("[" * 100_000)
    with pytest.raises(HotfixError, match=r"state\.json: this file of the monitor is damaged"):
        store.load(str(tmp_path), store.STATE)


class Full:
    """A file system that can be full, of which all but one folder is."""

    def __init__(self, home: Path) -> None:
        self.home, self.full, self.write = str(home), True, store.write_atomic

    def write_atomic(self, path: str, data: bytes, *, mode: int) -> None:
        self.check(path)
        self.write(path, data, mode=mode)

    def check(self, path: str) -> None:
        if self.full and path.startswith(self.home):
            raise problem(OSError(errno.ENOSPC, ""), path, "write")


class Nothing:
    """An engine that does not answer."""

    def __getattr__(self, name: str) -> Any:
        raise HotfixError("no engine")


FULL = "cannot write this file: No space left on device"


@pytest.fixture
def full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Full:
    """A watch of an application that nobody serves any more, on a disk that is full."""
    home = tmp_path / "shop" / "monitor"
    home.mkdir(parents=True)
    program = tmp_path / "tell"
    program.write_text(f"#!/bin/sh\ncat >> {tmp_path}/told\n")
    program.chmod(0o755)
    monkeypatch.setattr(store, "SPARE", str(tmp_path / "run"))
    disk, append = Full(home), store.append

    def appended(place: str, name: str, items: Any) -> None:
        disk.check(place)
        append(place, name, items)

    options = {"project_src": "/p", "service": "web", "files": None, "url": "http://127.0.0.1:1", "body": {}}
    options.update(timeout=1, validate_certs=True, unit_dir=str(tmp_path), disks=["/"], patterns=[], outage=100)
    store.save(str(home), store.SETTINGS, {**SETTINGS, **options, "started_at": mon.instant(NOON)})
    store.save(str(home), store.STATE, mon.fresh(NOON))
    store.save(str(home), store.NOTIFY, {"command": str(program)})
    monkeypatch.setattr(store, "write_atomic", disk.write_atomic)
    monkeypatch.setattr(store, "append", appended)
    return disk


def sample(disk: Full, minute: int) -> str:
    """Take a sample; why it ended as failed, else empty."""
    engine: Any = Nothing()
    now = mon.Clock(NOON + 60 * minute, "boot", 1000.0 + 60 * minute)
    try:
        sampler.sample(disk.home, docker=engine, systemd=units.Systemd(disk.home), now=lambda: now)
    except HotfixError as error:
        return error.message
    return ""


def test_on_a_full_disk_the_watch_goes_on_and_tells_once(full: Full, tmp_path: Path) -> None:
    told = tmp_path / "told"
    for minute in range(5):
        assert sample(full, minute) == FULL
        assert told.exists() == (minute >= 2)
    state = store.recall(full.home) or {}
    assert (state["verdict"], state["tally"]["samples"], state["notified"]) == ("failed", 5, {"command": -1})
    assert state["reasons"][0] == "It is not healthy since 2025-10-18T12:00:00Z, for 4 min."
    assert f"What was seen in 5 samples could not be kept: {FULL}." in state["reasons"]
    assert told.read_text().count("failed at") == 1
    assert f"What was seen in 3 samples could not be kept: {FULL}." in told.read_text()
    assert json.loads(Path(full.home, store.STATE).read_text())["tally"]["samples"] == 0
    full.full = False
    assert sample(full, 5) == ""
    state = store.load(full.home, store.STATE) or {}
    assert (state["tally"]["samples"], state["tally"]["missed"], state["open"]) == (6, 0, False)
    assert [path for path in (tmp_path / "run").rglob("*") if path.is_file()] == []
    assert told.read_text().count("failed at") == 1
    assert "What is seen can be kept again." in [event["text"] for event in store.lines(full.home, store.EVENTS)]


def test_a_full_disk_is_told_once_and_a_doubt() -> None:
    watch = Watch()
    assert watch.look(60, unkept=FULL) == [f"What is seen cannot be kept: {FULL}."]
    assert watch.look(60, unkept=FULL) == []
    assert watch.look(60) == ["What is seen can be kept again."]
    assert watch.look(60) == []
    assert watch.verdict == ("degraded", [f"What was seen in 2 samples could not be kept: {FULL}."])


def test_what_was_kept_elsewhere_is_that_of_its_own_watch_only(full: Full) -> None:
    state = mon.fresh(NOON)
    with pytest.raises(HotfixError):
        store.remember(full.home, {**state, "tally": {**state["tally"], "samples": 3}})
    assert (store.recall(full.home) or {})["tally"]["samples"] == 3
    full.full = False
    # It was written again, and the other one could not be removed.
    store.save(full.home, store.STATE, {**state, "tally": {**state["tally"], "samples": 4}})
    assert (store.recall(full.home) or {})["tally"]["samples"] == 4
    store.save(full.home, store.STATE, mon.fresh(NOON + 1))
    assert (store.recall(full.home) or {})["tally"]["samples"] == 0


def test_what_was_kept_elsewhere_is_put_aside_with_its_watch(full: Full, tmp_path: Path) -> None:
    sample(full, 0)
    full.full = False
    store.set_aside(full.home)
    (aside,) = Path(full.home, store.BEFORE).iterdir()
    assert json.loads((aside / store.STATE).read_text())["tally"]["samples"] == 1
    assert [path for path in (tmp_path / "run").rglob("*") if path.is_file()] == []


# --- units, notification, small things -------------------------------------------------------------------------------


def test_paths_are_written_as_systemd_reads_them() -> None:
    assert units.quoted("/var/lib/composeops/a-b_c.d") == "/var/lib/composeops/a-b_c.d"
    assert units.quoted('/srv/my "100%"') == r'"/srv/my \"100%%\""'
    for path in ("/srv/a\nExecStart=/bin/sh", "/srv/$HOME"):
        with pytest.raises(HotfixError):
            units.quoted(path)


def test_a_project_of_any_name_cannot_write_a_line_of_its_own() -> None:
    made = units.texts(
        "x", python="/p", program="/q", home="/h", project="/a\nExecStart=/bin/evil %n", interval=2, unit_dir="/u"
    )
    assert "Description=Take a sample of the application in /a ExecStart=/bin/evil %%n\n" in made["x.service"]


def test_the_command_is_no_shell_and_what_it_says_is_masked() -> None:
    ran: list[Any] = []

    def run(argv: list[str], **options: Any) -> Completed:
        ran.append((argv, options["stdin"]))
        return Completed(3, "", "cannot reach smtp with secret-word-123\n")

    about = {"host": "h", "project_src": "/p", "service": "web", "time": "now"}
    done, problems = notify.send({"command": "mail -t '$HOME; x' secret-word-123"}, {}, about, ["why"], [], run=run)
    assert ran[0][0] == ["mail", "-t", "$HOME; x", "secret-word-123"]
    assert ran[0][1].startswith("web of /p on h failed at now.\n\n- why\n")
    assert done == {"command": 1}
    assert problems == [f"command: mail ended with 3: cannot reach smtp with {fingerprint('secret-word-123')}"]


@pytest.mark.parametrize("command", ["", "  ", "''", "'x", "a\0b"])
def test_a_command_that_no_start_would_have_taken_is_a_problem_and_no_crash(command: str) -> None:
    about = {"host": "h", "project_src": "/p", "service": "web", "time": "now"}
    done, (problem,) = notify.send({"command": command}, {}, about, ["why"], [])
    assert (done, problem.startswith("command: ")) == ({"command": 1}, True)


@pytest.mark.parametrize(
    ("done", "again", "elapsed", "ways"),
    [
        ({}, {}, 0.0, ["command", "webhook"]),
        ({"command": -1}, {}, 0.0, ["webhook"]),
        ({"command": -1, "webhook": 3}, {"webhook": 120.0}, 119.0, []),
        ({"command": -1, "webhook": 3}, {"webhook": 120.0}, 120.0, ["webhook"]),
        # As a watch before this version left it, which tried five times at most.
        ({"command": 5, "webhook": -1}, {}, 9.0, ["command"]),
    ],
)
def test_a_way_is_tried_again_in_its_time(
    done: dict[str, int], again: dict[str, float], elapsed: float, ways: list[str]
) -> None:
    told = {"webhook": "https://x", "command": "x", "other": ""}
    assert list(notify.due(told, done, again, elapsed)) == ways


def test_the_distance_of_tries_grows_up_to_an_hour() -> None:
    assert [notify.wait(tries) for tries in range(1, 9)] == [30, 60, 120, 240, 480, 960, 1920, 3600]
    assert notify.wait(10_000) == 3600


def test_what_became_of_a_way_is_forgotten_with_the_way() -> None:
    state = {"notified": {"webhook": 4, "command": -1}, "tell_at": {"webhook": 9.0, "command": 3.0}, "elapsed": 5.0}
    assert notify.forget(state, {"webhook": "a", "command": "b"}, {"webhook": "c", "command": "b"}) == {
        "notified": {"command": -1},
        "tell_at": {"command": 3.0},
        "elapsed": 5.0,
    }
    assert notify.forget({}, {}, {"webhook": "c"}) == {"notified": {}, "tell_at": {}}


@pytest.mark.parametrize(
    ("ways", "message"),
    [
        ({"webhook": "https://"}, "webhook is no address of http or https"),
        ({"webhook": "https://:443/x"}, "webhook is no address of http or https"),
        ({"webhook": "https://host:port/x"}, "webhook is no address of http or https"),
        ({"webhook": "https://[::1/x"}, "webhook is no address of http or https"),
        ({"webhook": "https://host/\u00fc"}, "webhook is no address of http or https"),
        ({"webhook": " "}, "webhook is no address of http or https"),
        ({"command": "  "}, "command names no program. Begin it with one, or leave it out."),
        ({"command": "'' x"}, "command names no program"),
        (
            {"command": "mail -s x ops@example.org"},
            "command begins with a program that this host does not have. Install",
        ),
        ({"command": "KEY=x tell"}, "command begins with a program that this host does not have"),
        ({"command": "bin/tell"}, "command begins with a program that this host does not have"),
        ({"command": "/nonexistent/tell"}, "command begins with a program that this host does not have"),
        ({"webhook": "https://user:pass@host:8443/x?y=z"}, ""),
        ({"webhook": "HTTP://[::1]:8080/"}, ""),
        ({"command": "tell 'a b'", "webhook": ""}, ""),
    ],
)
def test_a_way_that_cannot_work_is_refused_at_the_start(tmp_path: Path, ways: dict[str, str], message: str) -> None:
    program = tmp_path / "bin" / "tell"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    path = f"/nonexistent:{program.parent}"
    notify.check({"command": str(program)}, path)
    if not message:
        notify.check(ways, path)
        return
    with pytest.raises(HotfixError) as raised:
        notify.check(ways, path)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("done", "path"),
    [
        (Completed(0, "LANG=C\nPATH=/opt/bin:/bin\n", ""), "/opt/bin:/bin"),
        (Completed(0, "PATH=$'/a b'\n", ""), units.PATH),
        (Completed(1, "PATH=/x\n", "no"), units.PATH),
        (Completed(0, "", ""), units.PATH),
    ],
)
def test_where_units_look_for_programs_is_for_the_service_manager_to_say(done: Completed, path: str) -> None:
    assert units.Systemd(run=lambda *_words, **_options: done).path() == path


@pytest.mark.parametrize(
    ("instant", "after"),
    [
        ("2025-10-18T12:00:00.000000009Z", "2025-10-18T12:00:00.000000010Z"),
        ("2025-10-18T12:00:00.999999999Z", "2025-10-18T12:00:00.999999999Z"),
        ("2025-10-18T12:00:00.123456789+02:00", "2025-10-18T12:00:00.123456790+02:00"),
        ("2025-10-18T12:00:00Z", "2025-10-18T12:00:00Z"),
    ],
)
def test_lines_are_read_from_behind_the_last_one(instant: str, after: str) -> None:
    assert sampler._after(instant) == after


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (119, "119 s"), (180, "3 min"), (7200, "2 h"), (7500, "2 h 5 min"), (90000, "25 h")],
)
def test_times_as_people_say_them(seconds: float, text: str) -> None:
    assert mon.span(seconds) == text


def read_log(*lines: str) -> sampler.Reader:
    reader = sampler.Reader(compile_patterns([{"name": "errors", "regex": "ERROR"}]), Story(), set())
    for number, text in enumerate(lines):
        reader.feed(Line("stderr", f"2025-10-18T12:00:{number:02d}.000000000Z", text, len(text)))
    reader.story.end()
    return reader


def test_a_line_is_read_once_for_all_that_looks_for_it() -> None:
    reader = read_log(
        "\x1b[32mINFO\x1b[0m:     Finished server process [\x1b[36m9\x1b[0m]",
        "[2025-10-18 12:00:00 +0000] [11] [INFO] Worker exiting (pid: 11)",
        "INFO:     Child process [8] died",
        "ERROR so",
    )
    assert reader.finished == {9, 11}
    assert [death.pid for death in reader.story.deaths] == [8]
    assert [match.count for match in reader.matches] == [1]


@given(st.lists(st.text()))
def test_a_log_of_any_text_is_read(texts: list[str]) -> None:
    assert read_log(*texts[:60]).lines == len(texts[:60])


@given(st.text(), st.text(), st.lists(st.text(), max_size=5), st.booleans())
def test_lines_fit_a_terminal_whatever_is_in_them(host: str, text: str, reasons: list[str], whole: bool) -> None:
    watch = Watch()
    watch.look(60, health=SICK, figures=figures(9, 10), disk_percent=3.0)
    event = {"time": "2025-10-18T12:00:00Z", "kind": "error", "text": text}
    found = {
        "status": "running",
        **dict.fromkeys(("started_at", "until", "last_sample_at"), "2025-10-18T12:00:00Z"),
        **{"interval": 60.0, "verdict": "failed", "reasons": reasons, "samples": 2, "missed": 1},
        "summary": mon.summary(watch.state, watch.samples),
        "latest": watch.samples[-1],
        "events": [event] * 30,
        "cost": {"cpu_percent": 0.5, "memory": 40 * MIB},
        "notified": ["webhook"],
    }
    shown = lines(found, host, "web", whole)
    assert shown[0].startswith("Monitor of web on")
    assert all(len(line) <= 80 and line.isprintable() for line in shown)
    told = shown.index("The last events") if text.split() else len(shown)
    assert len(shown[told + 1 :]) >= (20 if whole else 5) or not text.split()


def test_this_machine_has_a_clock_and_a_process_has_memory() -> None:
    """The parts that read the kernel's files, on this machine's own."""
    now = sampler.clock()
    assert now.boot and now.uptime > 0
    assert sampler.clock().boot == now.boot
    assert sampler._cost()["rss"] > 5 * MIB
