# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings: each suspect can pass, fail and be unobservable, and the screen says it in plain words."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils import _findings
from ansible_collections.composeops.hotfix.plugins.module_utils._diagnosis import CAUSES, ORDER
from hypothesis import given
from hypothesis import strategies as st

MIB = 1024**2
PAGE = Path(__file__).resolve().parents[4] / "docs" / "workers.md"


def observed() -> dict[str, Any]:
    """What was gathered on the stand-in droplet after 20 s of load, shortened."""
    return {
        "host": "droplet",
        "service": "backend",
        "time": "2026-11-24T20:14:01Z",
        "minimum_free": "10",
        "asked": ["Redis", "OpenAI"],
        "workers": {
            "container": {
                "id": "89" * 32,
                "name": "backend",
                "status": "running",
                "exit_code": 0,
                "started_at": "2026-11-24T20:10:25Z",
            },
            "server": {
                "name": "uvicorn",
                "version": "0.34.0",
                "configured": 4,
                "max_requests": None,
                "source": {"reason": "uvicorn takes the number of workers, 4, from --workers in Dockerfile, line 7."},
            },
            "workers": [{"pid": pid} for pid in (628, 658, 665, 685)],
            "memory": {"limit": 512 * MIB, "usage": 496 * MIB, "peak": 512 * MIB, "oom_kills": 8},
            "cpu": {"quota": None, "throttled_part": None},
            "host": {
                "memory": {"total": 8192 * MIB, "available": 6000 * MIB, "swap_total": 0, "swap_free": 0},
                "cpus": 4,
                "load": [3.0, 1.5, 1.0],
                "disk": {"path": "/var/lib/docker", "total": 80000 * MIB, "available": 50000 * MIB},
            },
            "sizing": {
                "workers": 4,
                "shared": 43 * MIB,
                "per_worker": 140 * MIB,
                "total": 603 * MIB,
                "limit": 512 * MIB,
                "budget": 409 * MIB,
                "cpus": 4.0,
                "busy": 9,
            },
            "deaths": {"count": 8, "timestamps": ["2026-11-24T20:12:57.980312Z"]},
            "diagnosis": {
                "cause": "oom",
                "causes": [{"cause": "oom", "count": 8, "confidence": "high"}],
                "confidence": "high",
                "evidence": [
                    "oom: 8 in all.",
                    "oom: 2026-11-24T20:12:38.636217Z, worker 8, and 7 more until 2026-11-24T20:12:57.980312Z: killed.",
                    "The control group counts 8 processes killed for lack of memory since the container's start.",
                ],
            },
            "recommendation": {
                "workers": {"value": 2, "reason": "The budget is 410 MiB; total(3) = 464 MiB does not fit."},
                "memory": {"value": 756 * MIB, "reason": "4 workers take 604 MiB."},
                "actions": [
                    {"kind": "workers", "action": "Run 2 workers", "reason": "So many fit."},
                    {"kind": "memory", "action": "Or raise the memory limit to 756 MiB", "reason": "All 4 fit then."},
                ],
            },
            "last_change": None,
            "since": "2026-11-24T20:10:24.910063Z",
            "watched": {"seconds": 0.0, "cpu_seconds": 0.0},
        },
        "log": {
            "since": "2026-11-24T20:10:24.910063Z",
            "lines": 915,
            "matches": [{"name": "errors in the log", "ok": True, "count": 0, "last": None, "samples": []}],
        },
        "dependencies": {
            "dependencies": [
                {"name": "Redis", "ok": True, "asked": True, "reason": "Redis answered PONG", "milliseconds": 2},
                {"name": "OpenAI", "ok": True, "asked": True, "reason": "the answer is HTTP 200", "milliseconds": 310},
            ]
        },
    }


def healthy() -> dict[str, Any]:
    seen = observed()
    seen["workers"]["memory"].update(oom_kills=0)
    seen["workers"]["sizing"].update(total=300 * MIB)
    seen["workers"]["deaths"] = {"count": 0, "timestamps": []}
    seen["workers"]["diagnosis"] = {"cause": "none", "causes": [], "confidence": "high", "evidence": ["All run."]}
    seen["workers"]["recommendation"].update(actions=[])
    return seen


def statuses(seen: dict[str, Any]) -> dict[str, str]:
    return {check["check"]: check["status"] for check in _findings.findings(seen)["checks"]}


def test_a_healthy_application_has_no_failing_check() -> None:
    found = _findings.findings(healthy())
    assert set(statuses(healthy()).values()) == {"pass"}
    assert found["ok"] and found["problem"] == ""
    assert found["host"] == "droplet" and found["resources"]["cpus"] == 4


@pytest.mark.parametrize("cause", ["oom", "unknown", "crash"])
def test_a_cause_alone_is_not_well(cause: str) -> None:
    seen = healthy()
    seen["workers"]["diagnosis"]["cause"] = cause
    assert not _findings.findings(seen)["ok"]
    seen["workers"]["diagnosis"]["cause"] = "recycle"
    assert _findings.findings(seen)["ok"]


def matched(seen: dict[str, Any]) -> None:
    found = {"ok": False, "count": 2, "last": "2026-11-24T20:12:00.1Z", "samples": ["ERROR one", "ERROR two"]}
    seen["log"]["matches"][0].update(found)


BREAKS: dict[str, tuple[Callable[[dict[str, Any]], Any], str, str, str]] = {
    "a worker is missing": (lambda o: o["workers"]["workers"].pop(), "workers", "fail", "3 of 4 uvicorn workers run"),
    "no worker runs": (lambda o: o["workers"].update(workers=[]), "workers", "fail", "0 of 4"),
    "no server is seen": (
        lambda o: o["workers"].update(workers=[], server={**o["workers"]["server"], "name": None, "configured": None}),
        "workers",
        "fail",
        "no uvicorn or gunicorn is seen to run",
    ),
    "the only worker takes too much": (
        lambda o: o["workers"]["sizing"].update(workers=1, total=603 * MIB),
        "number of workers",
        "fail",
        "1 worker takes 43 MiB + 1 * 140 MiB",
    ),
    "no container runs": (
        lambda o: o["workers"].update(workers=[], container={"status": "exited", "exit_code": 3}),
        "workers",
        "fail",
        "the container does not run: exited",
    ),
    "the kernel killed": (
        lambda o: o["workers"]["memory"].update(oom_kills=3),
        "container memory",
        "fail",
        "3 processes killed for lack of it; 496 MiB of 512 MiB now, 512 MiB at most",
    ),
    "no counters": (
        lambda o: o["workers"]["memory"].update(oom_kills=None),
        "container memory",
        "not observable",
        "cannot be read",
    ),
    "too many for the memory": (
        lambda o: o["workers"]["sizing"].update(total=603 * MIB),
        "number of workers",
        "fail",
        "4 workers take 43 MiB + 4 * 140 MiB = 603 MiB, with room for 409 MiB",
    ),
    "too many for the CPUs": (
        lambda o: o["workers"]["sizing"].update(busy=3, cpus=1.0),
        "number of workers",
        "fail",
        "1 CPUs keep up to 3 busy",
    ),
    "nothing to measure": (
        lambda o: o["workers"].update(sizing=None),
        "number of workers",
        "not observable",
        "no worker runs",
    ),
    "an overloaded host": (
        lambda o: o["workers"]["host"].update(load=[9, 4.2, 1]),
        "CPU",
        "fail",
        "4.2 over 5 minutes",
    ),
    "a starved container": (
        lambda o: o["workers"]["cpu"].update(quota=0.5, throttled_part=0.6),
        "CPU",
        "fail",
        "waits for its quota of 0.5 in 60% of its periods",
    ),
    "a full host": (
        lambda o: o["workers"]["host"]["memory"].update(available=800 * MIB),
        "host memory",
        "fail",
        "800 MiB of 8.00 GiB free (10%), no swap",
    ),
    "a full disk": (lambda o: o["workers"]["host"]["disk"].update(available=MIB), "disk", "fail", "in /var/lib/docker"),
    "an unreadable disk": (
        lambda o: o["workers"]["host"]["disk"].update(available=None, total=None),
        "disk",
        "not observable",
        "cannot be read",
    ),
    "errors in the log": (matched, "errors in the log", "fail", "2 in the log's 915 lines since"),
    "no log": (lambda o: o.update(log={"failed": False, "msg": "no driver"}), "log", "not observable", "no driver"),
    "Redis is away": (
        lambda o: o["dependencies"]["dependencies"][0].update(ok=False, reason="connection refused"),
        "Redis reachable",
        "fail",
        "connection refused",
    ),
    "no key for OpenAI": (
        lambda o: o["dependencies"]["dependencies"][1].update(ok=False, asked=False, reason="KEY is not set"),
        "OpenAI reachable",
        "not observable",
        "KEY is not set",
    ),
    "nothing to ask with": (
        lambda o: o.update(dependencies={"msg": "container backend has no python3"}),
        "Redis reachable",
        "not observable",
        "no python3",
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_each_suspect_can_fail(name: str) -> None:
    change, check, status, words = BREAKS[name]
    seen = healthy()
    change(seen)
    found = {item["check"]: item for item in _findings.findings(seen)["checks"]}
    assert found[check]["status"] == status
    assert words in found[check]["evidence"]
    assert _findings.findings(seen)["ok"] is (status != "fail")
    others = {item["status"] for item in found.values() if item["check"].split()[-1] != check.split()[-1]}
    assert others <= {"pass"}


def test_the_screen_names_the_cause_and_its_evidence_in_plain_words() -> None:
    shown = _findings.lines(_findings.findings(observed()))
    text = "\n".join(shown)
    assert all(len(line) <= 80 for line in shown)
    assert "OOM: the kernel kills workers because there is not enough memory." in text
    assert "8 workers died since 20:10:24 UTC, the last one at 20:12:57 UTC. Confidence:" in text
    assert "  - 20:12:38 UTC, worker 8, and 7 more until 20:12:57 UTC: killed." in shown
    assert "  1. Run 2 workers. So many fit." in shown
    assert "  FAIL  container memory   8 processes killed for lack of it;" in text
    assert "8 in all" not in text


@pytest.mark.parametrize("before", range(60, 80))
def test_a_figure_and_its_unit_stay_together(before: int) -> None:
    seen = observed()
    seen["workers"]["diagnosis"]["evidence"] = [f"{'x' * (before - 5)} {'y' * 4} 512 MiB"]
    assert [line for line in _findings.lines(_findings.findings(seen)) if line.endswith("512 MiB")]


def test_several_causes_are_told_apart() -> None:
    seen = observed()
    diagnosis = seen["workers"]["diagnosis"]
    diagnosis["causes"].append({"cause": "crash", "count": 1, "confidence": "high"})
    diagnosis["evidence"].append("crash: 1 in all.")
    text = "\n".join(_findings.lines(_findings.findings(seen)))
    assert "Also: crash (1)." in text
    assert "  - oom: 8 in all." in text and "  - crash: 1 in all." in text


def test_a_healthy_application_takes_no_arithmetic_and_no_action() -> None:
    text = "\n".join(_findings.lines(_findings.findings(healthy())))
    assert "NONE: no worker has died." in text and "  - All run." in text
    assert "What to do" not in text and "The number of workers" not in text


def test_nothing_is_known_of_the_workers() -> None:
    seen = {**observed(), "workers": {"failed": False, "msg": "there is no container of service backend"}}
    found = _findings.findings(seen)
    assert found["problem"] == "there is no container of service backend" and not found["ok"]
    assert _findings.cause(found) == "unknown"
    assert "No diagnosis: there is no container of service backend" in _findings.lines(found)
    seen |= {"log": seen["workers"], "dependencies": seen["workers"]}
    assert len(_findings.lines(_findings.findings(seen))) == 3


def test_a_container_that_does_not_run_is_said_first() -> None:
    seen = healthy()
    assert "NOT RUNNING" not in "\n".join(_findings.lines(_findings.findings(seen)))
    seen["workers"].update(workers=[], container={"status": "exited", "exit_code": 3})
    assert _findings.lines(_findings.findings(seen))[2] == "NOT RUNNING: the container is exited, with exit code 3."


NAMES = st.text(alphabet=st.characters(categories=["L", "N", "Z", "P"]), min_size=1, max_size=60)


@given(st.text(max_size=300), NAMES, NAMES, NAMES)
def test_any_text_fits_on_the_screen(evidence: str, service: str, host: str, name: str) -> None:
    seen = observed()
    seen["workers"]["diagnosis"]["evidence"] = [evidence]
    seen |= {"service": service, "host": host}
    found = _findings.findings(seen)
    found["checks"].append({"check": name, "status": "fail", "evidence": f"EVIDENCE {evidence}"})
    shown = _findings.lines(found)
    assert all(len(line) <= 80 for line in shown)
    [line] = [line for line in shown if "EVIDENCE" in line]
    assert line.partition("EVIDENCE")[0].endswith(" ")


def test_a_date_is_told_where_it_is_another_one() -> None:
    seen = observed()
    seen["workers"]["since"] = "2026-11-23T01:02:03.5Z"
    assert "since 2026-11-23 01:02:03 UTC" in "\n".join(_findings.lines(_findings.findings(seen)))


def left(seen: dict[str, Any], **after: Any) -> str:
    return " | ".join(_findings.left(_findings.findings(seen), {"workers": 2, "cause": "none", **after}))


def advised(cause: str, *actions: tuple[str, str]) -> dict[str, Any]:
    seen = observed()
    seen["workers"]["diagnosis"] |= {"cause": cause, "causes": [{"cause": cause, "count": 1, "confidence": "high"}]}
    reason = "The cause is not memory, so that fewer workers would not help."
    listed = [{"kind": kind, "action": action, "reason": "R."} for kind, action in actions]
    seen["workers"]["recommendation"] |= {"workers": {"value": 4, "reason": reason}, "actions": listed}
    return seen


def test_as_many_workers_as_fit_leave_nothing_to_do() -> None:
    assert left(observed()) == ""
    assert (
        left(observed(), workers=3)
        == "Run 2 workers. So many fit. | Or raise the memory limit to 756 MiB. All 4 fit then."
    )
    assert "Run 2 workers" in left(observed(), workers=None)


def test_a_droplet_that_is_too_small_stays_too_small() -> None:
    seen = observed()
    droplet = {
        "kind": "droplet",
        "action": "Or take a bigger droplet: 8 vCPU and 16 GB",
        "reason": "It has room for 4.",
    }
    seen["workers"]["recommendation"]["actions"][1] = droplet
    assert left(seen) == "Or take a bigger droplet: 8 vCPU and 16 GB. It has room for 4."


def test_a_cause_that_is_not_memory_is_left_with_its_advice() -> None:
    seen = advised("ping_timeout", ("patience", "Set it"), ("program", "Move it"))
    assert left(seen) == (
        "Workers died of ping_timeout before the run. The cause is not memory, so that fewer workers would not help. | "
        "Set it. R. | Move it. R."
    )
    assert left(seen, patience=True).endswith("help. | Move it. R.")


def test_an_import_that_works_now_leaves_nothing_and_one_that_does_not_leaves_all() -> None:
    seen = advised("import_error", ("program", "Correct it"), ("settings", "Check it"))
    assert left(seen) == ""
    assert left(seen, cause="import_error").endswith("Correct it. R. | Check it. R.")


def test_an_unknown_cause_is_to_be_looked_at_again() -> None:
    assert left(advised("unknown", ("again", "Watch it"))) == "Watch it. R."
    assert left(advised("recycle", ("none", "Nothing"))) == ""
    assert left(advised("none")) == ""
    assert _findings.left({}, {}) == []


def test_a_diagnosis_in_one_paragraph() -> None:
    seen = copy.deepcopy(observed()["workers"])
    text = _findings.quoted(seen["diagnosis"], seen["deaths"])
    assert text.startswith(
        "oom, high confidence: the kernel kills workers because there is not enough memory; 8 workers died."
    )
    assert text.endswith("since the container's start.")
    assert "2026-11-24 20:12:38 UTC, worker 8" in text
    assert "in all" not in text


def test_each_cause_has_its_plain_words_and_its_heading_on_the_page() -> None:
    headings = [line.strip("# `") for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("## `")]
    assert set(CAUSES) == {*ORDER, "none"}
    assert sorted(headings) == sorted(CAUSES)


@pytest.mark.parametrize("cause", CAUSES)
def test_the_page_says_of_each_cause_what_an_operator_wants_to_know(cause: str) -> None:
    section = PAGE.read_text(encoding="utf-8").partition(f"## `{cause}`\n")[2].partition("\n## ")[0]
    for question in ("What it is:", "How one sees it:", "What the collection does:", "What is left:"):
        assert section.count(f"* **{question}**") == 1, question


def test_it_says_what_runs_and_what_is_worst_of_each_other_issue() -> None:
    seen = observed()
    seen["application"] = {
        "container": {
            "name": "wealth_coach_backend",
            "project": "wealth-coach-ai",
            "service": "backend",
            "working_dir": "/opt/wealth-coach-ai",
            "config_files": ["/opt/wealth-coach-ai/docker-compose.yml"],
            "image": "wealth-coach-ai-backend",
            "status": "running",
            "started_at": "2026-11-24T20:10:25Z",
            "restart_count": 3,
            "ports": [{"host_ip": "0.0.0.0", "host_port": 8000}, {"host_ip": "::", "host_port": 8000}],
        },
        "restart_policy": {"name": "on-failure", "maximum_retry_count": 3},
    }
    checks = [
        {"issue": "Development API key", "check": "a", "status": "pass", "evidence": "fine"},
        {"issue": "Development API key", "check": "b", "status": "fail", "evidence": "an old key is served"},
        {"issue": "Development API key", "check": "c", "status": "fail", "evidence": "and so is another"},
        {"issue": "Workers dying", "check": "d", "status": "fail", "evidence": "told of already"},
        {"issue": "Restart policy", "check": "e", "status": "pass", "evidence": "fine"},
        {"issue": "Production settings", "check": "f", "status": "action", "evidence": "OPENAI_API_KEY is missing"},
    ]
    lines = _findings.lines(_findings.findings(seen), checks)
    text = " ".join(" ".join(lines).split())
    assert "wealth_coach_backend: service backend of /opt/wealth-coach-ai (docker-compose.yml)" in text
    assert "restarted 3 times, restart policy on-failure:3, published at 0.0.0.0:8000" in text
    assert "FAIL API key an old key is served (and 1 more)" in text
    assert "ok Restart policy 1 of 1 checks pass" in text
    assert "to do settings OPENAI_API_KEY is missing" in text
    assert "told of already" not in text
    assert max(map(len, lines)) <= 80
