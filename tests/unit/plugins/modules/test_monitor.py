# SPDX-License-Identifier: GPL-3.0-or-later
"""monitor as Ansible runs it, and the program that it leaves on the host, run as systemd does."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from monitored_host import API_KEY, DOWN, TOKEN, Hook, Host


def test_starting_takes_the_first_sample_and_the_same_again_changes_nothing(host: Host) -> None:
    absent = host.info()
    assert (absent["status"], absent["verdict"], absent["samples"], absent["series"]) == ("absent", "unknown", 0, [])
    first = host.checked()
    assert (first["changed"], first["new"], first["status"]) == (True, True, "running")
    assert [Path(item["after_header"]).name for item in first["diff"]] == [
        "settings.json",
        "composeops-monitor-shop.service",
        "composeops-monitor-shop.timer",
    ]
    found = host.info()
    assert (found["status"], found["verdict"], found["reasons"], found["samples"]) == ("running", "healthy", [], 1)
    assert found["latest"]["up"] is True
    assert found["summary"]["availability_percent"] == 100
    assert (found["interval"], found["duration"]) == (60, 3600)
    before = host.files()
    again = host.checked()
    assert (again["changed"], again["new"], again["diff"]) == (False, False, [])
    assert host.files() == before


def test_all_that_it_writes_is_for_root_alone(host: Host) -> None:
    old = os.umask(0)
    try:
        host.start()
        host.run(state="stopped")
        host.start(webhook=f"http://127.0.0.1:{host.port}/{TOKEN}")
        host.sample()
    finally:
        os.umask(old)
    for path in host.home.rglob("*"):
        if "__pycache__" not in path.parts:
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert stat.S_IMODE(host.home.stat().st_mode) == 0o700


def test_the_units_are_bounded_and_count_by_the_interval(host: Host) -> None:
    host.start(interval="5m", duration="24h")
    service = (host.units / "composeops-monitor-shop.service").read_text()
    timer = (host.units / "composeops-monitor-shop.timer").read_text()
    for line in ("Type=oneshot", "MemoryMax=64M", "TimeoutStartSec=90", "StartLimitIntervalSec=0", "Nice=10"):
        assert f"\n{line}\n" in service
    for line in ("OnUnitActiveSec=300s", "OnBootSec=30s", "WantedBy=timers.target"):
        assert f"\n{line}\n" in timer
    calls = (host.bin / "systemctl-calls").read_text().splitlines()
    assert calls.index("daemon-reload") < calls.index("enable composeops-monitor-shop.timer")


def test_other_settings_change_the_watch_that_runs(host: Host) -> None:
    started = host.start() and host.info()["started_at"]
    host.sample()
    changed = host.checked(interval="2m", duration="2h")
    assert (changed["changed"], changed["new"]) == (True, False)
    text = "".join(item["before"] + item["after"] for item in changed["diff"])
    assert "OnUnitActiveSec=60s" in text and "OnUnitActiveSec=120s" in text
    found = host.info()
    assert (found["started_at"], found["samples"], found["duration"]) == (started, 2, 7200)
    assert host.start(interval="2m", duration="2h")["changed"] is False


def test_a_shorter_interval_makes_no_samples_missed_ones(host: Host) -> None:
    host.start(interval="5m")
    clock = host.state()["clock"]
    host.state(clock={**clock, "wall": clock["wall"] - 290, "uptime": clock["uptime"] - 290})
    host.start(interval="10s")
    assert (host.info()["verdict"], host.info()["reasons"]) == ("healthy", [])
    host.sample()
    host.sample()
    found = host.info()
    assert (found["verdict"], found["missed"], found["events"]) == ("healthy", 0, [])


def test_a_timer_that_somebody_took_away_is_brought_back_and_the_watch_goes_on(host: Host) -> None:
    host.start()
    host.sample()
    (host.units / "composeops-monitor-shop.timer").unlink()
    (host.bin / "active-composeops-monitor-shop.timer").unlink()
    assert host.info()["status"] == "stopped"
    again = host.start()
    assert (again["changed"], again["new"]) == (True, False)
    assert (host.info()["status"], host.info()["samples"]) == ("running", 2)


def test_stopping_keeps_the_data_and_a_later_start_begins_anew(host: Host) -> None:
    assert host.run(state="stopped")["changed"] is False
    host.start(webhook=f"http://127.0.0.1:{host.port}/{TOKEN}")
    host.sample()
    checked = host.run(state="stopped", check=True)
    assert (checked["changed"], len(checked["diff"])) == (True, 2)
    assert host.info()["status"] == "running"
    stopped = host.run(state="stopped")
    assert (stopped["changed"], stopped["status"], stopped["diff"]) == (True, "stopped", checked["diff"])
    assert list(host.units.iterdir()) == []
    assert host.run(state="stopped")["changed"] is False
    found = host.info()
    assert (found["status"], found["samples"]) == ("stopped", 2)
    for path in host.home.rglob("*"):
        assert not path.is_file() or TOKEN not in path.read_text()
    time.sleep(1.1)  # the name of what is put aside is the second in which it began
    again = host.start()
    assert (again["new"], host.info()["samples"], len(host.info()["before"])) == (True, 1, 1)
    (aside,) = (host.home / "before").iterdir()
    assert len((aside / "samples.jsonl").read_text().splitlines()) == 2


def test_at_the_end_it_removes_itself_and_keeps_the_verdict(host: Host) -> None:
    host.start()
    host.state(elapsed=3600.0)
    host.sample()
    assert list(host.units.iterdir()) == []
    assert not (host.home / "code").exists()
    assert not (host.home / "notify.json").exists()
    found = host.info()
    assert (found["status"], found["verdict"], found["samples"]) == ("ended", "healthy", 2)
    assert found["until"] == host.state()["ended"]
    journal = [json.loads(line) for line in (host.home.parent / "journal.jsonl").read_text().splitlines()]
    assert [one["action"] for one in journal] == ["monitor started", "monitor ended"]


def test_what_a_new_watch_puts_aside_is_limited(host: Host) -> None:
    host.start()
    for number in range(5):
        (host.home / "before" / f"2025010{number}T000000Z").mkdir(parents=True)
    host.run(state="stopped")
    host.start()
    assert len(host.info()["before"]) == 3


def test_an_engine_that_is_down_is_a_sample_and_the_application_may_serve_on(host: Host) -> None:
    host.start()
    host.engine(inspect=DOWN, ps=DOWN, version=DOWN, logs=DOWN)
    host.sample()
    host.sample()
    found = host.info()
    assert [event["kind"] for event in found["events"]] == ["engine_down"]
    assert (found["latest"]["engine"], found["latest"]["up"], found["latest"]["container"]) == ("down", True, "unknown")
    assert found["verdict"] == "degraded"
    assert found["reasons"] == ["The Docker engine did not answer in 2 samples."]


def test_an_answer_is_masked_also_where_nobody_can_say_what_is_secret(host: Host) -> None:
    host.start()
    host.engine(inspect=DOWN, ps=DOWN, version=DOWN, logs=DOWN)
    Hook.healthy = False
    Hook.answer = b'{"error": "cannot reach redis://:s3cret-pw@redis:6379"}'
    host.sample()
    (event,) = [one for one in host.info()["events"] if one["kind"] == "unhealthy"]
    assert "redis://:***@redis:6379" in event["text"]
    assert "s3cret-pw" not in (host.home / "events.jsonl").read_text()


def test_an_unhealthy_application_fails_after_a_while_and_somebody_is_told_once(host: Host) -> None:
    mail = host.bin / "mail"
    mail.write_text(f'#!/bin/sh\n{{ echo "$@"; cat; }} >> {host.folder}/mails\n')
    mail.chmod(0o755)
    hook = f"http://127.0.0.1:{host.port}/{TOKEN}"
    host.start(outage=1, webhook=hook, command=f"{mail} -s 'It failed' ops@example.org")
    Hook.healthy = False
    host.sample()
    assert (host.info()["verdict"], Hook.posted) == ("degraded", [])
    time.sleep(1.05)
    host.sample()
    host.sample()
    found = host.info()
    assert (found["verdict"], found["notified"]) == ("failed", ["command", "webhook"])
    assert "It is not healthy since" in found["reasons"][0]
    assert "HTTP 503" in found["events"][0]["text"]
    (posted,) = Hook.posted
    assert (posted["path"], posted["service"], posted["verdict"]) == (f"/{TOKEN}", "web", "failed")
    assert posted["reasons"] == found["reasons"] or posted["reasons"][0].startswith("It is not healthy since")
    mails = (host.folder / "mails").read_text()
    assert mails.startswith("-s It failed ops@example.org\n") and mails.count("failed at") == 1
    for text in (mails, json.dumps(posted)):
        assert API_KEY not in text
    Hook.healthy = True
    host.sample()
    assert host.kinds() == ["unhealthy", "healthy"]


def test_a_notification_that_fails_is_an_event_tried_again_and_stops_nothing(host: Host) -> None:
    Hook.status = 500
    program = host.bin / "tell"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    host.start(outage=0, webhook=f"http://127.0.0.1:{host.port}/{TOKEN}", command=f"{program} ops@example.org")
    program.unlink()
    Hook.healthy = False
    for _sample in range(3):
        host.sample()
    assert len(Hook.posted) == 1
    for later in (60.0, 3000.0):
        host.state(elapsed=host.state()["elapsed"] + later)
        host.sample()
    found = host.info()
    texts = [event["text"] for event in found["events"] if event["kind"] == "error"]
    assert len(Hook.posted) == 3 and len(texts) == 6
    assert "The failure could not be told by webhook: HTTP 500." in texts
    assert f"The failure could not be told by command: {program} cannot be run: No such file or directory." in texts
    assert (found["notified"], found["samples"]) == ([], 6)
    for path in host.home.rglob("*"):
        if path.is_file() and path.name != "notify.json" and path.suffix != ".pyc":
            assert TOKEN not in path.read_text()
    # The last sample tries once more, whenever it would be its time.
    host.state(elapsed=3600.0, tell_at={"webhook": 9999.0, "command": 9999.0})
    host.sample()
    assert (len(Hook.posted), host.info()["status"]) == (4, "ended")


def test_an_address_that_was_corrected_is_told_at_once_and_the_other_way_is_not_told_again(host: Host) -> None:
    Hook.status = 500
    program, told = host.bin / "tell", host.folder / "told"
    program.write_text(f"#!/bin/sh\necho once >> {told}\n")
    program.chmod(0o755)
    host.start(outage=0, webhook=f"http://127.0.0.1:{host.port}/{TOKEN}", command=str(program))
    Hook.healthy = False
    host.sample()
    Hook.status = 200
    again = host.start(outage=0, webhook=f"http://127.0.0.1:{host.port}/{TOKEN}-2", command=str(program))
    assert (again["changed"], again["new"]) == (True, False)
    host.sample()
    assert [one["path"] for one in Hook.posted] == [f"/{TOKEN}", f"/{TOKEN}-2"]
    assert (host.info()["notified"], told.read_text()) == (["command", "webhook"], "once\n")


def test_the_address_of_the_hook_is_in_one_private_file_only(host: Host) -> None:
    hook = f"http://127.0.0.1:{host.port}/{TOKEN}"
    done = host.checked(webhook=hook)
    assert f"len={len(hook)}" in json.dumps(done["diff"])
    holding = [path for path, data in host.files().items() if TOKEN.encode() in data]
    assert holding == [str(host.home / "notify.json")]
    for calls in ("systemctl-calls", "docker-calls"):
        assert TOKEN not in (host.bin / calls).read_text()
    assert host.start(webhook=hook)["changed"] is False
    (host.home / "notify.json").unlink()
    assert host.start(webhook=hook)["changed"] is True
    assert host.start(webhook=hook + "x")["changed"] is True


def test_deaths_in_the_log_are_counted_once_and_masked(host: Host) -> None:
    host.start()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() - 1))
    host.engine(
        logs={
            "out": f"{stamp}.000000001Z ERROR no answer with {API_KEY}\n",
            "err": f"{stamp}.000000002Z INFO:     Child process [9] died\n",
        }
    )
    host.sample()
    # The same lines again, as an engine would give them that is asked from too early on.
    host.engine(logs={"err": f"{stamp}.000000002Z INFO:     Child process [9] died\n"})
    host.sample()
    found = host.info()
    assert (found["verdict"], found["summary"]["deaths"], found["summary"]["errors"]) == ("failed", 1, {"errors": 1})
    assert [event["kind"] for event in found["events"]] == ["death", "error"]
    assert "sha256:f82f3a6e len=13" in found["events"][1]["text"]
    calls = [line for line in (host.bin / "docker-calls").read_text().splitlines() if line.startswith("logs")]
    assert f"--since {stamp}.000000003Z --tail 2000" in calls[-1]


def test_a_sample_asks_the_engine_twice(host: Host) -> None:
    host.start()
    (host.bin / "docker-calls").unlink()
    host.sample()
    calls = [line.split()[0] for line in (host.bin / "docker-calls").read_text().splitlines()]
    assert calls == ["inspect", "logs"]


def test_a_container_that_was_replaced_is_followed_and_a_run_of_ours_is_no_fault(host: Host) -> None:
    host.start()
    lock = {"run": "0123456789abcdef", "hosts": ["h"], "since": "", "renewed": "", "boot": "", "uptime": 0}
    lock.update(boot=Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    lock.update(uptime=time.clock_gettime(time.CLOCK_BOOTTIME))
    (host.home.parent / "lock.json").write_text(json.dumps(lock))
    Hook.healthy = False
    host.inspect["State"].update(Running=False, Status="exited")
    host.engine()
    host.sample()
    host.inspect["Id"] = "f" * 64
    host.inspect["State"].update(Running=True, Status="running", StartedAt="2026-11-25T00:00:00.5Z")
    host.engine()
    host.sample()
    found = host.info()
    assert [(event["kind"], "0123456789abcdef" in event["text"]) for event in found["events"]] == [("restart", True)]
    assert (found["verdict"], found["summary"]["restarts"], host.state()["tally"]["planned"]) == ("healthy", 0, 2)
    (host.home.parent / "lock.json").unlink()
    Hook.healthy = True
    host.sample()
    host.inspect["Id"] = "e" * 64
    host.engine()
    host.sample()
    found = host.info()
    assert (found["verdict"], found["summary"]["restarts"]) == ("degraded", 1)
    assert found["events"][-1]["text"] == "The container was replaced by eeeeeeeeeeee, by no run of this collection."


def test_a_run_that_came_and_went_between_two_samples_shows_by_the_journal(host: Host) -> None:
    host.start()
    entry = {"time": time.strftime("%Y-%m-%dT%H:%M:%S.5Z", time.gmtime()), "action": "recreated", "run": "abc"}
    with open(host.home.parent / "journal.jsonl", "a") as journal:
        journal.write(json.dumps(entry) + "\n")
    host.inspect["Id"] = "f" * 64
    host.engine()
    host.sample()
    assert host.info()["summary"]["restarts"] == 0
    assert host.info()["latest"]["run"] == "abc"


def test_a_sample_that_was_ended_before_it_was_through_is_told(host: Host) -> None:
    host.start()
    host.state(open=True)
    host.sample()
    assert [event["text"] for event in host.info()["events"]] == ["A sample was ended before it was through."]


def test_a_damaged_file_fails_the_sample_with_a_sentence_and_a_new_start_heals_it(host: Host) -> None:
    host.start()
    (host.home / "settings.json").write_text('{"half')
    said = host.sample(expected=1)
    assert said == (
        f"composeops.hotfix monitor: {host.home}/settings.json: this file of the monitor is damaged. "
        "Stop the monitor and start it anew.\n"
    )
    assert host.start()["new"] is True
    assert host.sample() == ""
    assert (host.info()["samples"], len(host.info()["series"]), len(host.info()["before"])) == (2, 2, 1)


def test_without_systemd_there_is_one_clear_message_and_nothing_is_written(host: Host) -> None:
    (host.bin / "no-systemd").touch()
    result = host.run(expect_failure=True)
    assert result["msg"].startswith("this host is not run by systemd, so that there is no timer")
    assert not host.home.exists() and list(host.units.iterdir()) == []


def test_a_first_sample_that_fails_leaves_no_units(host: Host) -> None:
    (host.bin / "systemctl").write_text(
        (host.bin / "systemctl").read_text().replace("sys.exit(subprocess.run(command).returncode)", "sys.exit('no')")
    )
    result = host.run(expect_failure=True)
    assert "start composeops-monitor-shop.service failed: no" in result["msg"]
    assert list(host.units.iterdir()) == []
    assert host.info()["status"] == "stopped"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"interval": "soon"}, "interval is not a duration"),
        ({"interval": "0"}, "interval is 0"),
        ({"interval": "2h"}, "interval is longer than duration"),
        ({"duration": "800d"}, "duration is 800d"),
        ({"url": "ftp://x"}, "url is no address"),
        ({"timeout": 60}, "timeout is 60"),
        ({"webhook": f"x:{TOKEN}"}, "webhook is no address of http or https"),
        ({"command": f"mail 'x {TOKEN}"}, "command has quotes that do not match"),
        ({"command": "''"}, "command names no program"),
        ({"command": f"no-such-mail {TOKEN}"}, "command begins with a program that this host does not have"),
        ({"patterns": [{"name": "a", "regex": "("}]}, "regex of pattern a"),
        ({"state": "paused"}, "state"),
    ],
)
def test_wrong_options(host: Host, options: dict[str, Any], message: str) -> None:
    result = host.run(expect_failure=True, **options)
    assert message in result["msg"]
    assert not host.home.exists()


def test_a_service_that_is_not_there_is_an_error_at_once(host: Host) -> None:
    host.engine(ps={"out": ""})
    assert "the project has no container of service web" in host.run(expect_failure=True)["msg"]
    assert not host.home.exists()


def test_the_program_stands_alone(host: Host) -> None:
    """It runs with nothing but Python's own library, and with the oldest Python that is supported."""
    host.start()
    for python in (sys.executable, "python3.9", "python3.13"):
        program = shutil.which(python)
        if program is None or subprocess.run([program, "-c", ""], check=False, capture_output=True).returncode:
            continue
        command = [program, "-I", "-S", str(host.home / "code" / "sample.py"), str(host.home)]
        done = subprocess.run(command, env={**os.environ, **host.env}, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
