# SPDX-License-Identifier: GPL-3.0-or-later
"""Every check can pass, can fail, and never claims what was not observed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils import _checks, _report_table, _report_text
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import fingerprint

NEW_KEY = fingerprint('["kZ3v0Y7qWm1xUu2a9c4Q8rT5yB6nL0pE"]')
ELEMENT = fingerprint("kZ3v0Y7qWm1xUu2a9c4Q8rT5yB6nL0pE")
OLD_KEY = fingerprint("dev-key-12345")
JWT = fingerprint("mZ3v0Y7qWm1xUu2a9c4Q8rT5yB6nL0pEmZ3v0Y7qWm1x")
REQUIRED = {"ENVIRONMENT": "production", "DEBUG": "false"}
LINES = ["✓ Redis connection established"]
STOP_LINES = ["✓ Redis connections closed", "✓ Vector database persisted"]


def said(cause: str, deaths: int = 0) -> dict[str, Any]:
    """What worker_info says."""
    return {
        "diagnosis": {"cause": cause, "causes": [], "confidence": "high", "evidence": ["Evidence."]},
        "deaths": {"count": deaths, "timestamps": []},
        "server": {"max_requests": 500},
        "watched": {"seconds": 300.0},
    }


def good() -> dict[str, Any]:
    """What the role observes on an application where everything is as it should be."""
    container = {
        "exists": True,
        "container": {"id": "abc", "status": "running", "started_at": "2026-11-24T20:10:25Z", "restart_count": 0},
        "environment": {
            "VALID_API_KEYS": NEW_KEY,
            "JWT_SECRET_KEY": JWT,
            **{name: fingerprint(value) for name, value in REQUIRED.items()},
        },
        "environment_list": {"VALID_API_KEYS": [ELEMENT]},
        "workers": {"server": "uvicorn", "count": 2, "pids": [10, 11], "supervisor_pid": 1},
        "memory": {"limit": 512 * 2**20, "usage": 2**28, "peak": 2**28, "oom_kills": 0},
        "restart_policy": {"name": "unless-stopped", "maximum_retry_count": 0, "survives_reboot": True},
        "source": {"mounts": ["/opt/app"], "unread": []},
    }
    return {
        "container": container,
        "container_after": copy.deepcopy(container),
        "others": [{"item": "redis", "exists": True, "restart_policy": {"survives_reboot": True}}],
        "workers": said("none"),
        "log": {
            "lines": 40,
            "matches": [
                {"name": "dev_key_warning", "count": 0, "samples": []},
                {"name": "worker_died", "count": 0, "samples": []},
                {"name": "started", "count": 2, "samples": []},
                {"name": LINES[0], "count": 2, "samples": []},
                {"name": "errors", "count": 0, "samples": [], "expect": "any"},
            ],
        },
        "expected_lines": LINES,
        "expected_stop_lines": STOP_LINES,
        "scale": {"workers": 2, "created_with": 2, "last_change": None},
        "environment": {
            "findings": [],
            "variables": [
                {"name": "VALID_API_KEYS", "fingerprint": NEW_KEY},
                {"name": "JWT_SECRET_KEY", "fingerprint": JWT},
                {"name": "OPENAI_API_KEY", "fingerprint": fingerprint("sk-proj-abc")},
            ],
        },
        "keys_variable": "VALID_API_KEYS",
        "required": REQUIRED,
        "signing_secret": "JWT_SECRET_KEY",
        "dependency_keys": ["OPENAI_API_KEY"],
        "keys": {
            "enforced": True,
            "old_refused": True,
            "current_accepted": True,
            "requests": [
                {"what": "old", "fingerprint": OLD_KEY, "status": 401, "accepted": False},
                {"what": "current", "fingerprint": ELEMENT, "status": 200, "accepted": True},
            ],
        },
        "health": {"healthy": True, "status": 200, "answer": '{"status":"healthy"}'},
        "health_body": {"status": "healthy"},
        "source": {"status": "already_correct"},
        "probe": {
            "observable": True,
            "ok": True,
            "connections_before": 1,
            "connections_after": 0,
            "reason": "",
            "startup": "complete",
            "lines_seen": [*LINES, *STOP_LINES],
        },
    }


def status(observed: dict[str, Any]) -> dict[str, str]:
    return {check["check"]: check["status"] for check in _checks.judge(observed)}


def test_only_the_issues_that_matter_are_judged() -> None:
    issues = ["Restart policy", "API works"]
    checks = _checks.judge(good(), issues)
    assert {check["issue"] for check in checks} == set(issues)
    assert checks == [check for check in _checks.judge(good()) if check["issue"] in issues]


def test_a_container_that_does_not_run_matters_whatever_is_asked_for() -> None:
    observed = good()
    observed["container"]["container"]["status"] = "exited"
    (check,) = _checks.judge(observed, ["Restart policy"])
    assert (check["check"], check["status"]) == ("container", "fail")
    observed = good()
    observed["container_after"] = {"exists": False, "container": None, "restart_policy": None}
    (check,) = _checks.judge(observed)
    assert check["evidence"] == "the container ended while it was looked at: there is none"


def finding(name: str, rule: str = "dev_key", severity: str = "critical") -> dict[str, Any]:
    return {"name": name, "rule": rule, "severity": severity, "message": f"{name} breaks {rule}.", "line": 1}


def match(observed: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(m for m in observed["log"]["matches"] if m["name"] == name)
    return found


def changed_live(observed: dict[str, Any], *, deaths: int = 0, kills: int = 7) -> None:
    """The number of workers was changed in the running server, after the kernel had killed 7 of the old number."""
    observed["scale"]["last_change"] = {"time": "2026-01-01T00:00:00.000Z", "oom_kills": 7}
    observed["container_after"]["memory"].update(oom_kills=kills)
    match(observed, "worker_died").update(count=7)
    observed["workers"] = said("oom" if deaths else "none", deaths)


def test_what_happened_before_the_number_was_changed_in_the_running_server_is_not_held_against_it() -> None:
    observed = good()
    changed_live(observed)
    found = status(observed)
    assert (found["no_died_lines"], found["no_oom_kill"]) == ("pass", "pass")


def test_a_log_level_that_hides_the_start_hides_a_warning_as_well() -> None:
    observed = good()
    match(observed, "started").update(count=0)
    found = status(observed)
    assert (found.pop("start_lines"), found.pop("no_dev_key_warning")) == ("not observable", "not observable")
    assert set(found.values()) == {"pass"}


def test_without_a_shutdown_or_lines_to_look_for_no_line_is_judged() -> None:
    observed = good()
    assert status(observed)["stop_lines"] == "pass"
    skipped, failed, unwanted = good(), good(), good()
    skipped["probe"] = {"skipped": True}
    failed["probe"].update(startup="failed", ok=False, observable=False)
    unwanted["expected_stop_lines"] = []
    assert not [found for found in map(status, (skipped, failed, unwanted)) if "stop_lines" in found]
    del match(observed, "errors")["expect"]
    assert "no_errors" not in status(observed)


@pytest.mark.parametrize(
    ("cause", "deaths", "expected", "words"),
    [
        ("none", 0, "pass", "no worker has died since the container's start (high confidence; 40 log lines, watched"),
        ("oom", 3, "fail", "oom, high confidence: the kernel kills workers because there is not enough memory; 3"),
        ("ping_timeout", 1, "fail", "1 worker died. Evidence."),
        ("unknown", 2, "fail", "2 workers died"),
        ("unknown", 0, "not observable", "unknown, high confidence"),
    ],
)
def test_deaths_are_judged_by_the_diagnosis(cause: str, deaths: int, expected: str, words: str) -> None:
    observed = good()
    observed["workers"] = said(cause, deaths)
    found = {check["check"]: check for check in _checks.judge(observed)}["no_died_lines"]
    assert found["status"] == expected
    assert words in found["evidence"]


def test_workers_that_are_replaced_after_so_many_requests_are_as_they_should_be() -> None:
    observed = good()
    observed["workers"] = said("recycle", 2)
    observed["container_after"]["workers"].update(pids=[20, 21])
    found = {check["check"]: check for check in _checks.judge(observed)}
    assert (found["no_died_lines"]["status"], found["same_workers"]["status"]) == ("pass", "pass")
    assert "2 workers replaced after 500 requests" in found["no_died_lines"]["evidence"]
    # One of them is not back.
    observed["container_after"]["workers"].update(pids=[20], count=1)
    assert status(observed)["same_workers"] == "fail"


def test_without_a_diagnosis_nothing_is_proven_and_lines_of_deaths_still_count() -> None:
    observed = good()
    observed["workers"] = {"failed": False, "msg": "this user may not look at the processes"}
    found = {check["check"]: check for check in _checks.judge(observed)}["no_died_lines"]
    assert (found["status"], found["evidence"]) == ("not observable", "this user may not look at the processes")
    match(observed, "worker_died").update(count=1)
    assert status(observed)["no_died_lines"] == "fail"
    observed["scale"]["last_change"] = {"time": "2026-01-01T00:00:00.000Z", "oom_kills": 0}
    assert status(observed)["no_died_lines"] == "not observable"


def test_everything_passes_where_everything_is_good() -> None:
    assert set(status(good()).values()) == {"pass"}


BREAKS: dict[str, tuple[Callable[[dict[str, Any]], Any], str, str]] = {
    "the container ended meanwhile": (
        lambda o: o["container_after"]["container"].update(started_at="2026-11-24T20:10:50Z", restart_count=1),
        "stays_up",
        "fail",
    ),
    "another container took its place": (
        lambda o: o["container_after"]["container"].update(id="def"),
        "stays_up",
        "fail",
    ),
    "the policy had to start it again": (
        lambda o: [o[look]["container"].update(restart_count=3) for look in ("container", "container_after")],
        "stays_up",
        "action",
    ),
    "a stop line is missing": (lambda o: o["probe"]["lines_seen"].remove(STOP_LINES[1]), "stop_lines", "fail"),
    "the log level hides the stop": (lambda o: o["probe"].update(lines_seen=[]), "stop_lines", "not observable"),
    "the log holds errors": (
        lambda o: match(o, "errors").update(count=2, samples=["ERROR: no route"]),
        "no_errors",
        "action",
    ),
    "the log holds errors and must not": (
        lambda o: match(o, "errors").update(count=1, samples=["ERROR: no route"], expect="absent"),
        "no_errors",
        "fail",
    ),
    "the log is empty": (lambda o: o["log"].update(lines=0), "no_errors", "not observable"),
    "the log warns": (lambda o: match(o, "dev_key_warning").update(count=1), "no_dev_key_warning", "fail"),
    "the container was only restarted": (
        lambda o: o["container"]["environment"].update(VALID_API_KEYS=fingerprint("old")),
        "live_keys",
        "fail",
    ),
    "the variable is gone": (lambda o: o["container"]["environment"].pop("VALID_API_KEYS"), "live_keys", "fail"),
    "the key is weak": (lambda o: o["environment"]["findings"].append(finding("VALID_API_KEYS")), "live_keys", "fail"),
    "the old key is served": (lambda o: o["keys"].update(old_refused=False), "old_key_refused", "fail"),
    "the new key is refused": (lambda o: o["keys"].update(current_accepted=False), "new_key_served", "fail"),
    "any key is served": (lambda o: o["keys"].update(enforced=False), "keys_tried", "not enforced"),
    "no route is known": (lambda o: o.update(keys={"skipped": True}), "keys_tried", "not observable"),
    "the probe fails": (lambda o: o.update(keys={"failed": False, "msg": "refused"}), "keys_tried", "fail"),
    "the source is wrong": (lambda o: o["source"].update(status="patched", seen="x"), "redis_source", "fail"),
    "the process has not read its mounted source": (
        lambda o: o["container_after"]["source"].update(unread=["/opt/app/main.py"]),
        "source_loaded",
        "fail",
    ),
    "there is no shutdown code": (lambda o: o["source"].update(status="not_found"), "redis_source", "not observable"),
    "the source is ambiguous": (
        lambda o: o.update(source={"failed": False, "msg": "x"}),
        "redis_source",
        "not observable",
    ),
    "Redis stays connected": (
        lambda o: o["probe"].update(ok=False, connections_after=1, reason="still open"),
        "redis_closed",
        "fail",
    ),
    "Redis was never connected": (
        lambda o: o["probe"].update(ok=False, observable=False, reason="no connection"),
        "redis_closed",
        "not observable",
    ),
    "the shutdown cannot be tried": (
        lambda o: o.update(probe={"failed": False, "msg": "no image"}),
        "redis_closed",
        "not observable",
    ),
    "the shutdown is not tried": (lambda o: o.update(probe={"skipped": True}), "redis_closed", "not observable"),
    "a worker died": (lambda o: o.update(workers=said("crash", 3)), "no_died_lines", "fail"),
    "the kernel killed": (lambda o: o["container_after"]["memory"].update(oom_kills=2), "no_oom_kill", "fail"),
    "no counter": (lambda o: o["container_after"]["memory"].update(oom_kills=None), "no_oom_kill", "not observable"),
    "as many workers as when the kernel killed some": (
        lambda o: o.update(was={"workers": {"count": 2}, "memory": {"limit": 512 * 2**20, "oom_kills": 7}}),
        "cause_gone",
        "fail",
    ),
    "another number than in the files": (lambda o: o["scale"].update(workers=3), "worker_count", "fail"),
    "the number is out of sight": (
        lambda o: o["scale"].update(workers=None, reason="a script"),
        "worker_count",
        "not observable",
    ),
    "changed while it served": (lambda o: o["scale"].update(created_with=4), "worker_count", "action"),
    "a worker died after the change": (lambda o: changed_live(o, deaths=1), "no_died_lines", "fail"),
    "the kernel killed after the change": (lambda o: changed_live(o, kills=8), "no_oom_kill", "fail"),
    "a worker was replaced": (lambda o: o["container_after"]["workers"].update(pids=[10, 12]), "same_workers", "fail"),
    "stays down": (
        lambda o: o["container_after"]["restart_policy"].update(survives_reboot=False),
        "survives_reboot",
        "fail",
    ),
    "Redis stays down": (
        lambda o: o["others"][0]["restart_policy"].update(survives_reboot=False),
        "survives_reboot",
        "fail",
    ),
    "Redis is not there": (lambda o: o["others"][0].update(exists=False), "survives_reboot", "fail"),
    "debug is on": (
        lambda o: o["container"]["environment"].update(DEBUG=fingerprint("true")),
        "production_settings",
        "fail",
    ),
    "a weak JWT": (lambda o: o["environment"]["findings"].append(finding("JWT_SECRET_KEY")), "signing_secret", "fail"),
    "an old JWT": (
        lambda o: o["container"]["environment"].update(JWT_SECRET_KEY=fingerprint("old")),
        "signing_secret",
        "fail",
    ),
    "a weak password": (
        lambda o: o["environment"]["findings"].append(finding("SMTP_PASSWORD", "low_entropy", "high")),
        "environment_file",
        "action",
    ),
    "a development OpenAI key": (
        lambda o: o["environment"]["findings"].append(finding("OPENAI_API_KEY")),
        "openai_api_key",
        "action",
    ),
    "no OpenAI key": (lambda o: o["environment"]["variables"].pop(), "openai_api_key", "action"),
    "health lies": (lambda o: o["health"].update(healthy=False), "health", "fail"),
    "health is silent": (lambda o: o.update(health={"failed": True, "msg": "refused"}), "health", "fail"),
    "a start line is missing": (lambda o: match(o, LINES[0]).update(count=0), "start_lines", "fail"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_each_fault_is_seen_by_the_check_made_for_it(name: str) -> None:
    fault, check, expected = BREAKS[name]
    observed = good()
    fault(observed)
    states = status(observed)
    assert states[check] == expected
    assert {state for other, state in states.items() if other != check} <= {"pass"}


@pytest.mark.parametrize(
    ("count", "limit", "expected"), [(4, 512, "pass"), (2, 256, "pass"), (3, None, "pass"), (2, None, "fail")]
)
def test_fewer_workers_or_more_memory_than_when_the_kernel_killed_some(
    count: int, limit: int | None, expected: str
) -> None:
    was = {"workers": {"count": count}, "memory": {"limit": limit and limit * 2**20, "oom_kills": 7}}
    assert status({**good(), "was": was})["cause_gone"] == expected
    was["last_change"] = {"oom_kills": was["memory"]["oom_kills"] - 1}
    assert status({**good(), "was": was})["cause_gone"] == expected
    was["last_change"] = {"oom_kills": was["memory"]["oom_kills"]}
    assert "cause_gone" not in status({**good(), "was": was})
    was.update(last_change=None, memory={**was["memory"], "oom_kills": 0})
    assert "cause_gone" not in status({**good(), "was": was})


@pytest.mark.parametrize(("style", "expected"), [("runbook", "action"), ("unless-stopped", "fail")])
def test_the_policy_of_the_runbook_is_no_failure_where_it_was_asked_for(style: str, expected: str) -> None:
    seen = {**good(), "policy_style": style}
    seen["container_after"]["restart_policy"] = {
        "name": "on-failure",
        "maximum_retry_count": 3,
        "survives_reboot": False,
    }
    assert status(seen)["survives_reboot"] == expected


def test_required_values_are_compared_in_the_form_in_which_they_are_written() -> None:
    seen = {**good(), "required": {"ENVIRONMENT": "production", "DEBUG": False, "PORT": 8000, "HOSTS": ["a", "b"]}}
    seen["container"]["environment"] |= {"PORT": fingerprint("8000"), "HOSTS": fingerprint('["a","b"]')}
    checks = {check["check"]: check for check in _checks.judge(seen)}
    assert checks["production_settings"]["status"] == "pass"
    assert "DEBUG=false, PORT=8000" in checks["production_settings"]["evidence"]
    seen["container"]["environment"]["DEBUG"] = fingerprint("true")
    assert status(seen)["production_settings"] == "fail"


@pytest.mark.parametrize(("value", "expected"), [("x", "pass"), ("", "fail"), (None, "fail")])
def test_null_requires_any_value(value: str | None, expected: str) -> None:
    seen = {**good(), "required": {"REGION": None}}
    seen["container"]["environment"] |= {} if value is None else {"REGION": fingerprint(value)}
    assert status(seen)["production_settings"] == expected


@pytest.mark.parametrize(
    "container", [{"exists": False, "container": None}, {"exists": True, "container": {"status": "exited"}}]
)
def test_without_a_running_container_nothing_is_claimed(container: dict[str, Any]) -> None:
    assert status({**good(), "container": container}) == {"container": "fail"}


def test_summary_shows_before_and_after_and_fits_a_terminal() -> None:
    broken = good()
    broken["keys"].update(old_refused=False)
    broken["keys"]["requests"][0].update(status=200, accepted=True)
    broken["environment"]["findings"].append(finding("OPENAI_API_KEY"))
    healed = good()
    healed["environment"]["findings"].append(finding("OPENAI_API_KEY"))
    summary = _checks.summarise(_checks.judge(healed), _checks.judge(broken), "droplet", ["Tell them."])
    rows = {row["issue"]: (row["before"]["status"], row["after"]["status"]) for row in summary["rows"]}
    assert rows["Development API key"] == ("fail", "pass")
    assert rows["Production settings"] == ("action", "action")
    assert summary["fixed"] is True
    assert summary["actions"] == [
        "OPENAI_API_KEY breaks dev_key. Put the production key into the file.",
        "Tell them.",
    ]
    lines = _report_table.summary_table(summary)
    assert max(len(line) for line in lines) <= _report_text.WIDTH
    assert any(OLD_KEY in line for line in lines)
    assert lines[-1] == "Everything is proven."
    lines = _report_table.summary_table(_checks.summarise(_checks.judge(broken), [], "x"))
    assert lines[-1].startswith("NOT everything")


class TestResidue:
    """What lies where no run can take it away is left to do, and fails nothing."""

    @pytest.mark.parametrize(
        ("rule", "severity", "expected"),
        [
            ("image_layer", "high", "action"),
            ("image_layer", "medium", "action"),
            ("tracked_by_git", "high", "action"),
            ("in_git_history", "high", "action"),
            ("open_mode", "high", "action"),
            ("reused", "high", "action"),
            ("not_searched", "low", "not observable"),
            ("open_mode", "medium", None),
            ("reused", "medium", None),
            ("not_ignored_by_git", "low", None),
        ],
    )
    @pytest.mark.parametrize("name", ["", "VALID_API_KEYS", "JWT_SECRET_KEY", "OPENAI_API_KEY"])
    def test_it_is_left_to_do(self, name: str, rule: str, severity: str, expected: str | None) -> None:
        observed = good()
        observed["environment"]["findings"].append(finding(name, rule, severity))
        found = status(observed)
        assert found.pop(rule, None) == expected
        assert set(found.values()) == {"pass"}
        summary = _checks.summarise(_checks.judge(observed), [], "host")
        assert summary["fixed"]
        assert summary["actions"] == ([f"{name} breaks {rule}."] if expected else [])

    def test_many_are_counted(self) -> None:
        observed = good()
        observed["environment"]["findings"] += [finding(f"N{number}", "image_layer", "high") for number in range(9)]
        (check,) = [check for check in _checks.judge(observed) if check["check"] == "image_layer"]
        assert "N4 breaks" in check["evidence"] and "N5" not in check["evidence"]
        assert check["evidence"].endswith("And 4 more; dotenv_info lists them.")

    def test_files_are_listed_after_the_first_sentence(self) -> None:
        observed = good()
        observed["environment"]["findings"] += [
            {**finding(f"N{number}", "image_layer", "high"), "file": f"/f{number}"} for number in range(8)
        ]
        (check,) = [check for check in _checks.judge(observed) if check["check"] == "image_layer"]
        expected = (
            "N0 breaks image_layer. The same is true of /f1, /f2, /f3, /f4, /f5. And 2 more; dotenv_info lists them."
        )
        assert check["evidence"] == expected


COMMITS = [{"revision": f"{number:040x}", "subject": f"Change {number}"} for number in range(7)]
REVISION = {"status": "updated", "before": "a" * 40, "after": "b" * 40, "commits": COMMITS, "carried_over": []}


@pytest.mark.parametrize(
    ("revision", "words"),
    [
        (REVISION, ["from aaaaaaaaaaaa to bbbbbbbbbbbb", "Change 0", "Change 4 and 2 more"]),
        ({**REVISION, "commits": COMMITS[:1], "carried_over": ["a.yml"]}, ["Change 0. Edits", "kept in a.yml"]),
        ({**REVISION, "status": "no_git", "before": ""}, ["no git work tree", "no revision"]),
        ({**REVISION, "status": "up_to_date"}, ["nothing newer; it stays at aaaaaaaaaaaa"]),
    ],
)
def test_the_change_of_revision_is_in_the_report(revision: dict[str, Any], words: list[str]) -> None:
    summary = {**_checks.summarise([], [], "droplet"), "revision": revision}
    lines = _report_table.summary_table(summary)
    text = " ".join(" ".join(lines).split())
    assert [word for word in words if word not in text] == []
    assert max(map(len, lines)) <= _report_text.WIDTH
