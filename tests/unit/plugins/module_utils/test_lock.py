# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock of a project: who may have it, and that of many who want it at once one gets it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils import _journal, _lock
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._lock import Clock, Lock

NOW = Clock("2026-01-01T12:00:00.000Z", "boot-1", 5000.0)
OURS = {
    "run": "aaaa",
    "user": "ada",
    "controller": "laptop",
    "machine": "m1 pid:[1]",
    "pid": "11",
    "started": "100",
    "playbook": "composeops.hotfix.apply",
    "host": "droplet",
    "job": "",
}
SAME = {**OURS, "run": "bbbb", "user": "bob", "pid": "22"}
OTHER = {**SAME, "controller": "office", "machine": "m2 pid:[1]"}


def lock_of(facts: dict[str, str], *, idle: float = 10.0, boot: str = "boot-1") -> Lock:
    return Lock(facts, [facts["host"]], "2026-01-01T11:00:00.000Z", "2026-01-01T11:00:00.000Z", boot, 5000.0 - idle)


def judged(lock: Lock | None, **options: Any) -> _lock.Outcome:
    given = {"working": "", "ttl": 900.0, "ended": "", "force": False, **options}
    return _lock.judge(lock, OURS, NOW, **given)


# --- who may have it -------------------------------------------------------------------------------------------------


def test_a_lock_that_nobody_has_and_ones_own() -> None:
    assert judged(None) == _lock.Outcome(True)
    assert judged(lock_of(OURS, idle=4000), working="compose_up (process 1)") == _lock.Outcome(True)


@pytest.mark.parametrize(
    ("facts", "idle", "options", "acquired", "reason"),
    [
        (SAME, 10, {}, False, ""),
        # Its process can be asked for, so that no time makes it stale.
        (SAME, 4000, {}, False, ""),
        (SAME, 10, {"ended": "bbbb"}, True, "its process 22 is gone"),
        (SAME, 10, {"ended": "cccc"}, False, ""),
        (SAME, 10, {"force": True}, True, "deploy_lock_force is set"),
        (OTHER, 900, {}, False, ""),
        (OTHER, 901, {}, True, "it was not renewed for 901 s"),
        (OTHER, 61, {"ttl": 60}, True, "it was not renewed for 61 s"),
        (OTHER, 10, {"force": True}, True, "deploy_lock_force is set"),
        # A step that is at work is the proof that something of that run lives.
        (SAME, 10, {"ended": "bbbb", "working": "compose_up (process 5)"}, False, ""),
        (OTHER, 4000, {"working": "compose_up (process 5)"}, False, ""),
        (OTHER, 4000, {"working": "compose_up (process 5)", "force": True}, False, ""),
        # Another boot of the same controller, and one more container on it.
        ({**SAME, "machine": "m3 pid:[1]"}, 10, {}, False, ""),
        ({**SAME, "machine": "m3 pid:[1]"}, 901, {}, True, "it was not renewed for 901 s"),
        ({**SAME, "machine": "m1 pid:[2]"}, 901, {}, True, "it was not renewed for 901 s"),
    ],
)
def test_who_may_have_it(
    facts: dict[str, str], idle: float, options: dict[str, Any], acquired: bool, reason: str
) -> None:
    outcome = judged(lock_of(facts, idle=idle), **options)
    assert (outcome.acquired, outcome.reason) == (acquired, reason)
    assert outcome.lock is not None and outcome.lock.run == "bbbb"


@pytest.mark.parametrize(("facts", "ask"), [(SAME, True), (OTHER, False), ({**SAME, "machine": ""}, False)])
def test_only_the_same_controller_can_tell_whether_the_process_lives(facts: dict[str, str], ask: bool) -> None:
    assert judged(lock_of(facts)).ask is ask
    assert judged(lock_of(facts), ended="bbbb", working="compose_up (process 5)").ask is False
    assert _lock.same_controller({**OURS, "machine": ""}, {**OURS, "machine": ""}) is False


def test_a_clock_that_is_set_makes_no_lock_old_and_a_boot_none_free() -> None:
    assert _lock.idle(lock_of(OTHER, idle=30), NOW._replace(wall="2031-01-01T00:00:00.000Z")) == 30
    # Of the boot before: nothing is known but that it is older than this one.
    booted = Clock(NOW.wall, "boot-2", 40.0)
    assert _lock.idle(lock_of(OTHER, idle=4990), booted) == 40
    given: dict[str, Any] = {"working": "", "ended": "", "force": False}
    assert _lock.judge(lock_of(OTHER, idle=4990), OURS, booted, ttl=900, **given).acquired is False
    assert _lock.judge(lock_of(OTHER), OURS, booted._replace(uptime=901.0), ttl=900, **given).acquired is True


def test_what_is_said_names_who_since_when_why_and_the_remedy() -> None:
    lock = lock_of({**OTHER, "job": "42"})
    text = _lock.refusal(lock, judged(lock), "/opt/app", check=False)
    assert text == (
        "/opt/app is locked since 2026-01-01T11:00:00.000Z by bob@office (playbook composeops.hotfix.apply on host "
        "droplet, process 22, run bbbb, job 42 of AWX), renewed 10 s ago; this run has stopped before it changes "
        "anything more: wait until it has ended, or, if you know that run to be dead, run again with "
        "-e deploy_lock_force=true."
    )
    assert "its process lives; this run would stop" in _lock.refusal(
        lock_of(SAME), judged(lock_of(SAME)), "/opt/app", check=True
    )
    working = judged(lock, working="compose_up (process 5)", force=True)
    assert "its step compose_up (process 5) is at work on the host" in _lock.refusal(lock, working, "/", check=False)
    assert "deploy_lock_force" not in _lock.refusal(lock, working, "/", check=False)


# --- the file --------------------------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path) -> tuple[str, str]:
    """A project, and its folder."""
    (tmp_path / "app").mkdir()
    return str(tmp_path / "state" / "app"), str(tmp_path / "app")


def journal(place: tuple[str, str]) -> list[tuple[str, str, str]]:
    return [(entry["action"], entry["run"], entry["result"]) for entry in _journal.entries(place[0])]


def test_taken_renewed_by_each_host_and_let_go(place: tuple[str, str]) -> None:
    assert _lock.take(*place, OURS, check=True).acquired
    assert not os.path.exists(place[0])
    assert _lock.take(*place, OURS) == _lock.Outcome(True)
    first = _lock.read(place[0])
    assert first is not None and first.facts == OURS and first.hosts == ["droplet"]
    assert os.stat(os.path.join(place[0], _journal.LOCK)).st_mode & 0o777 == 0o600

    assert _lock.take(*place, {**OURS, "host": "alias"}).acquired
    second = _lock.read(place[0])
    assert second is not None and second.hosts == ["alias", "droplet"]
    assert (second.since, second.uptime > first.uptime) == (first.since, True)

    refused = _lock.take(*place, SAME)
    assert (refused.acquired, refused.ask) == (False, True)
    assert _lock.release(*place, SAME["run"], "droplet", "ok") is False
    assert _lock.release(*place, OURS["run"], "alias", "ok", check=True) is True
    assert _lock.release(*place, OURS["run"], "alias", "ok") is True
    assert _lock.read(place[0]) is not None
    assert _lock.release(*place, OURS["run"], "droplet", "failed") is True
    assert _lock.read(place[0]) is None
    assert _lock.release(*place, OURS["run"], "droplet", "ok") is False
    assert journal(place) == [("run began", "aaaa", ""), ("run ended", "aaaa", "ok"), ("run ended", "aaaa", "failed")]
    assert _lock.take(*place, SAME) == _lock.Outcome(True)


def test_let_go_of_on_a_full_disk(place: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    _lock.take(*place, OURS)

    def full(*_words: Any, **_more: Any) -> None:
        raise HotfixError("cannot write this file: No space left on device")

    monkeypatch.setattr(_journal, "append", full)
    assert _lock.release(*place, "aaaa", "droplet", "ok") is True
    assert _lock.read(place[0]) is None


def test_a_stale_one_is_taken_over_and_that_is_noted(place: tuple[str, str]) -> None:
    _lock.take(*place, OURS)
    assert not _lock.take(*place, SAME, ended="cccc").acquired
    checked = _lock.take(*place, SAME, ended="aaaa", check=True)
    assert checked.acquired and _journal.current_run(place[0]) == "aaaa"
    taken = _lock.take(*place, SAME, ended="aaaa")
    assert taken.lock is not None and taken.lock.run == "aaaa"
    assert _journal.current_run(place[0]) == "bbbb"
    assert journal(place)[1:] == [("lock taken over", "bbbb", "its process 11 is gone"), ("run began", "bbbb", "")]
    text = _lock.takeover(taken.lock, taken, place[1])
    assert "from ada@laptop (playbook composeops.hotfix.apply on host droplet, process 11, run aaaa)" in text
    # The run that has lost it does not get it back.
    assert not _lock.take(*place, OURS).acquired
    assert _lock.release(*place, "aaaa", "droplet", "ok") is False


def test_renewed_by_the_run_that_has_it_alone(place: tuple[str, str]) -> None:
    _lock.take(*place, OURS)
    before = _lock.read(place[0])
    _lock.renew(place[0], "bbbb")
    assert _lock.read(place[0]) == before
    _lock.renew(place[0], "aaaa")
    after = _lock.read(place[0])
    assert before is not None and after is not None
    assert after.uptime > before.uptime and after._replace(uptime=0, renewed="") == before._replace(
        uptime=0, renewed=""
    )


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"run": "a"}', "not JSON", "null"])
def test_a_damaged_one_is_nobodys(place: tuple[str, str], text: str) -> None:
    _journal.claim(*place)
    path = Path(place[0], _journal.LOCK)
    path.write_text(text)
    if text == "null":
        assert _lock.read(place[0]) is None
        return
    with pytest.raises(HotfixError, match=r"lock\.json: this lock is damaged\. Remove it if no run is at work\."):
        _lock.take(*place, OURS)
    assert path.read_text() == text


def test_where_folders_cannot_be_held_the_file_itself_is_made_once(
    place: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _lock.take(*place, OURS)
    before = Path(place[0], _journal.LOCK).read_bytes()
    monkeypatch.setattr(_lock, "read", lambda folder: None)  # as before the other run had made it
    with pytest.raises(HotfixError, match="another run took this lock at the same moment"):
        _lock.take(*place, SAME)
    assert Path(place[0], _journal.LOCK).read_bytes() == before
    assert sorted(os.listdir(place[0])) == [_journal.JOURNAL, _journal.LOCK, "source"]


RACE = """
import sys, time
from ansible_collections.composeops.hotfix.plugins.module_utils import _lock
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
folder, source, run, start, ended = sys.argv[1:]
facts = {**dict.fromkeys(_lock.FACTS, "x"), "run": run, "host": "droplet"}
time.sleep(max(float(start) - time.time(), 0))
try:
    print(_lock.take(folder, source, facts, ended=ended).acquired)
except HotfixError as error:
    print(error)
"""


@pytest.mark.parametrize("stale", [False, True])
def test_of_many_at_once_one_gets_it(place: tuple[str, str], stale: bool, tmp_path: Path) -> None:
    wins = []
    for _round in range(5):
        if stale:
            facts = {**dict.fromkeys(_lock.FACTS, "x"), "run": "dead", "host": "droplet"}
            _lock.take(*place, facts)
        start = str(time.time() + 1.5)
        words = [sys.executable, "-c", RACE, *place]
        runs = [f"run{number}" for number in range(12)]
        processes = [
            subprocess.Popen(
                [*words, run, start, "dead"], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
            )
            for run in runs
            for path in [os.pathsep.join(sys.path)]
        ]
        said = [process.communicate()[0].strip() for process in processes]
        wins.append(said.count("True"))
        assert _journal.current_run(place[0]) == runs[said.index("True")]
        assert set(said) <= {"True", "False"} or all("another run" in text for text in set(said) - {"True", "False"})
        os.unlink(os.path.join(place[0], _journal.LOCK))
    assert wins == [1] * 5


# --- steps that take long --------------------------------------------------------------------------------------------


@pytest.fixture
def step(place: tuple[str, str], tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A step that is at work in a process of its own, until it is told to end or is killed."""
    program = (
        "import sys\n"
        "from ansible_collections.composeops.hotfix.plugins.module_utils import _lock\n"
        f"with _lock.at_work_on({str(tmp_path / 'state')!r}, {place[1]!r}, 'compose_up') as step:\n"
        "    step.action, step.words['service'] = 'built', 'backend'\n"
        "    print('at work', flush=True)\n"
        "    sys.stdin.readline()\n"
        "    step.result = 'changed'\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "at work\n"
        yield process
        process.kill()


def test_a_step_at_work_is_seen_until_its_process_ends(place: tuple[str, str], step: Any) -> None:
    assert _lock.at_work(place[0]).startswith(f"compose_up (process {step.pid}, since 20")
    step.communicate("\n")
    assert _lock.at_work(place[0]) == ""
    (entry,) = _journal.entries(place[0])
    assert (entry["action"], entry["service"], entry["result"]) == ("built", "backend", "changed")
    assert float(entry["seconds"]) >= 0


def test_a_step_that_was_killed_is_not_at_work(place: tuple[str, str], step: Any) -> None:
    _lock.take(*place, OTHER, check=False)
    assert not _lock.take(*place, OURS, ttl=-1, force=True).acquired
    step.kill()
    step.wait()
    assert _lock.at_work(place[0]) == ""
    assert _lock.take(*place, OURS, ttl=-1).acquired


def test_a_step_that_raises_has_failed_and_one_without_a_folder_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    with (
        pytest.raises(RuntimeError),
        _lock.at_work_on(str(tmp_path / "state"), str(tmp_path / "app"), "compose_up") as step,
    ):
        step.action = "recreated"
        raise RuntimeError
    (entry,) = _journal.entries(str(tmp_path / "state" / "app"))
    assert (entry["action"], entry["result"]) == ("recreated", "failed")
    with _lock.at_work_on(None, str(tmp_path / "app"), "compose_up") as step:
        step.action = "recreated"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["app", "state"]


# --- the journal -----------------------------------------------------------------------------------------------------


def test_lines_belong_to_the_run_that_has_the_lock(place: tuple[str, str]) -> None:
    _journal.claim(*place)
    _journal.append(place[0], "findings kept")
    _lock.take(*place, OURS)
    _journal.append(place[0], "built", result="changed")
    _journal.append(place[0], "findings kept", run="")
    _lock.release(*place, "aaaa", "droplet", "ok")
    _lock.take(*place, SAME)
    _journal.append(place[0], "built", result="unchanged")
    told = _journal.entries(place[0])
    assert [entry.get("run") for entry in told] == [None, "aaaa", "aaaa", None, "aaaa", "bbbb", "bbbb"]
    assert [entry["action"] for entry in _journal.of_run(told)] == ["run began", "built"]
    assert [entry["action"] for entry in _journal.of_run(told, "aaaa")] == ["run began", "built", "run ended"]
    assert _journal.of_run(told, "cccc") == _journal.of_run([]) == []
    Path(place[0], _journal.LOCK).write_text("damaged")
    assert _journal.current_run(place[0]) == ""
    _journal.append(place[0], "built")
    assert "run" not in json.loads(Path(place[0], _journal.JOURNAL).read_text().splitlines()[-1])
