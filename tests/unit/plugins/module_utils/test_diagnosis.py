# SPDX-License-Identifier: GPL-3.0-or-later
"""The cause of deaths, decided from what was recorded when each cause was made for real with uvicorn and gunicorn."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils._diagnosis import (
    Container,
    Diagnosis,
    Observed,
    Settings,
    Worker,
    diagnose,
    judge,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._kernel_log import Event, Exit
from ansible_collections.composeops.hotfix.plugins.module_utils._worker_log import Death, Verdict
from ansible_collections.composeops.hotfix.plugins.module_utils._worker_samples import Ended

NOW = 1795535846.0
UVICORN = Settings("uvicorn", 2, 5.0, None)
GUNICORN = Settings("gunicorn", 2, 5.0, None)
RUNNING = Container("running", 0, False, 0, [])
FRESH = [Worker(8, 1000.1, True), Worker(9, 1000.2, True)]

# Seen with uvicorn 0.30.0 at log level warning, once each.
LEFT = Ended(30948, 7, NOW, 5.9, 768, False, 0.44, 0.0, 39903232)
SEGFAULT = Ended(31874, 11, NOW, 3.0, 11, True, 0.47, 0.0, 40652800)
STUCK = Ended(32071, 13, NOW, 8.0, 9, False, 4.9988, 0.02, 40497152)
KILLED = Ended(30949, 8, NOW, 19.6, 9, True, 0.04, 0.0, 40595456)


def verdicts(*ended: Ended, settings: Settings = UVICORN, oom_kills: int = 0, **options: Any) -> list[str]:
    found = judge(ended, settings, oom_kills=oom_kills, **options)
    return [found[one.inner][1].cause for one in ended]


def observed(**changes: Any) -> Observed:
    """A healthy uvicorn whose log tells of all that it did."""
    seen = Observed(
        settings=UVICORN,
        container=RUNNING,
        supervisor_started=1000.0,
        live=FRESH,
        deaths=[],
        causes=Counter(),
        unexplained=0,
        exception=None,
        log=True,
        speaks=True,
        oom_kills=0,
        spare_kills=0,
        bounded=False,
        watched=0.0,
    )
    return seen._replace(**changes)


def died(cause: str, count: int = 1, sure: int = 3, how: str = "how") -> dict[str, Any]:
    """The fields of :class:`Observed` for some deaths."""
    deaths = [Death(8 + number, NOW + number, Verdict(cause, how, sure)) for number in range(count)]
    return {"deaths": deaths, "causes": Counter({cause: count}), "unexplained": count * (cause == "unknown")}


def together(*parts: dict[str, Any]) -> dict[str, Any]:
    return {
        "deaths": [death for part in parts for death in part["deaths"]],
        "causes": sum((part["causes"] for part in parts), Counter()),
        "unexplained": sum(part["unexplained"] for part in parts),
    }


def counts(found: Diagnosis) -> dict[str, int]:
    return {str(item["cause"]): int(str(item["count"])) for item in found.causes}


def test_each_end_by_its_status() -> None:
    assert verdicts(LEFT, SEGFAULT, STUCK, KILLED) == ["crash", "crash", "ping_timeout", "unknown"]


def test_a_kill_that_the_control_group_counts() -> None:
    assert verdicts(KILLED, oom_kills=1) == ["oom"]
    assert verdicts(KILLED._replace(status=None, lingered=False), oom_kills=1) == ["oom"]


def test_one_kill_counts_for_one_worker_and_not_for_the_one_that_the_supervisor_killed() -> None:
    assert verdicts(STUCK, KILLED, oom_kills=1) == ["ping_timeout", "oom"]
    assert verdicts(KILLED, KILLED._replace(pid=5, inner=5), oom_kills=1) == ["oom", "unknown"]


def test_a_worker_that_died_while_its_ping_was_waited_for() -> None:
    """It stays a zombie all the time, where one that the supervisor kills goes at once."""
    assert verdicts(STUCK._replace(lingered=True), oom_kills=1) == ["oom"]


def test_the_kernel_names_the_process() -> None:
    oom = Event(NOW, "oom", 30949, True, "the kernel killed process 30949")
    assert verdicts(STUCK, KILLED._replace(lingered=False, silence=4.9), oom_kills=1, kernel=[oom]) == [
        "ping_timeout",
        "oom",
    ]
    crash = Event(NOW, "crash", 31874, False, "a segfault in libfoo.so")
    assert "libfoo.so" in judge([SEGFAULT], UVICORN, oom_kills=0, kernel=[crash])[11][1].how


def test_a_longer_patience_takes_longer() -> None:
    assert verdicts(STUCK, settings=UVICORN._replace(ping_timeout=30)) == ["unknown"]


def test_what_the_worker_did_in_the_silence() -> None:
    assert "slept in a call" in judge([STUCK], UVICORN, oom_kills=0)[13][1].how
    assert "was busy in code" in judge([STUCK._replace(busy=4.8)], UVICORN, oom_kills=0)[13][1].how


@pytest.mark.parametrize("number", [15, 2, 3])
def test_a_worker_that_was_told_to_end(number: int) -> None:
    assert verdicts(LEFT._replace(status=number)) == ["stopped"]


def test_a_worker_that_ends_in_good_order() -> None:
    assert verdicts(LEFT._replace(status=0)) == ["unknown"]
    assert verdicts(LEFT._replace(status=0), settings=UVICORN._replace(max_requests=8)) == ["recycle"]


def test_gunicorn_takes_note_of_ends_at_once() -> None:
    gone = LEFT._replace(status=None)
    assert verdicts(gone, settings=GUNICORN) == ["unknown"]
    assert verdicts(gone, settings=GUNICORN._replace(max_requests=8)) == ["recycle"]
    assert verdicts(STUCK, settings=GUNICORN) == ["unknown"]


def test_exit_codes_without_a_log() -> None:
    early = LEFT._replace(status=256, age=0.6)
    assert verdicts(early, log=False) == ["import_error"]
    assert verdicts(early._replace(age=900.0), log=False) == ["crash"]
    assert verdicts(early) == ["crash"]


def test_nothing_died() -> None:
    found = diagnose(observed())
    assert (found.cause, found.causes, found.deaths, found.confidence) == ("none", [], 0, "high")
    assert any("The log tells of no death" in line for line in found.evidence)


def test_silence_is_no_proof_at_a_log_level_that_hides_the_lines() -> None:
    quiet = [worker._replace(accounted=False) for worker in FRESH]
    assert diagnose(observed(speaks=False, live=quiet)).confidence == "medium"
    assert diagnose(observed(speaks=False, live=quiet, watched=120.0)).confidence == "high"


def test_lines_that_only_the_counter_explains() -> None:
    found = diagnose(observed(**died("unknown", 3, 1), oom_kills=3))
    assert (found.cause, found.confidence, counts(found), found.deaths) == ("oom", "high", {"oom": 3}, 3)
    assert found.timestamps[0] == "2026-11-24T15:57:26.000000Z"


def test_more_deaths_than_kills() -> None:
    found = diagnose(observed(**died("unknown", 5, 1), oom_kills=2))
    assert (found.cause, counts(found)) == ("oom", {"oom": 2, "unknown": 3})
    assert found.confidence == "medium"


def test_kills_without_any_line() -> None:
    found = diagnose(observed(speaks=False, oom_kills=2))
    assert (found.cause, counts(found), found.deaths) == ("oom", {"oom": 2}, 2)


def test_a_kill_by_hand_is_not_explained_by_the_counter() -> None:
    """The counter is spent on the one that the kernel killed."""
    by_hand = died("unknown", 1, 2)
    by_hand["unexplained"] = 0
    found = diagnose(observed(**together(died("oom"), by_hand), oom_kills=1))
    assert counts(found) == {"oom": 1, "unknown": 1}


def test_the_counter_says_nothing_of_a_later_instant() -> None:
    assert diagnose(observed(bounded=True, oom_kills=7)).cause == "none"
    found = diagnose(observed(bounded=True, oom_kills=7, spare_kills=1))
    assert (found.cause, counts(found)) == ("oom", {"oom": 1})
    found = diagnose(observed(bounded=True, oom_kills=7, **died("unknown", 1, 1)))
    assert found.cause == "unknown"


def test_a_change_while_it_runs_that_noted_the_counter() -> None:
    """All kills since then count, whether or not the kernel's log gives their times."""
    assert diagnose(observed(bounded=True, noted=True, oom_kills=0)).cause == "none"
    found = diagnose(observed(bounded=True, noted=True, oom_kills=2, **died("unknown", 3, 1)))
    assert (found.cause, counts(found)) == ("oom", {"oom": 2, "unknown": 1})
    assert "2 processes killed for lack of memory since the number of workers was changed" in str(found.evidence)


def test_evidence_that_many_deaths_have_in_common_is_told_once() -> None:
    found = diagnose(observed(**died("crash", 3)))
    assert found.evidence[:2] == [
        "crash: 3 in all.",
        "crash: 2026-11-24T15:57:26.000000Z, worker 8, and 2 more until 2026-11-24T15:57:28.000000Z: how.",
    ]


def test_two_at_once() -> None:
    found = diagnose(observed(**together(died("crash", 1), died("oom", 2), died("recycle", 40)), oom_kills=2))
    assert found.cause == "oom"
    assert [item["cause"] for item in found.causes] == ["oom", "crash", "recycle"]
    assert found.deaths == 43


def test_an_unknown_majority_lowers_confidence_and_does_not_hide_the_cause() -> None:
    found = diagnose(observed(**together(died("crash", 1), died("unknown", 4, 1))))
    assert (found.cause, found.confidence, counts(found)) == ("crash", "medium", {"crash": 1, "unknown": 4})


def test_an_unknown_cause_says_what_would_tell() -> None:
    assert "watch: 120" in diagnose(observed(**died("unknown", 1, 1))).evidence[-1]
    assert "for longer" in diagnose(observed(**died("unknown", 1, 1), watched=60.0)).evidence[-1]
    assert "logging driver" in diagnose(observed(**died("unknown", 1, 1), watched=60.0, log=False)).evidence[-1]


def test_workers_that_were_replaced_without_a_line() -> None:
    young = [Worker(8, 1000.1, False), Worker(14, 1090.0, False)]
    found = diagnose(observed(speaks=False, live=young))
    assert (found.cause, counts(found)) == ("unknown", {"unknown": 1})
    assert any("1 of 2 workers are younger than their supervisor by 90 s" in line for line in found.evidence)
    told = [worker._replace(accounted=True) for worker in young]
    assert diagnose(observed(live=told)).cause == "none"
    assert counts(diagnose(observed(speaks=False, live=young, oom_kills=1))) == {"oom": 1}


def test_workers_that_were_added() -> None:
    more = [Worker(8, 1000.1, False), Worker(9, 1000.2, False), Worker(14, 1090.0, False)]
    assert diagnose(observed(speaks=False, live=more)).cause == "none"


def test_all_workers_replaced_at_once_or_a_supervisor_that_loads_the_application() -> None:
    late = [Worker(18, 1060.1, False), Worker(19, 1060.2, False)]
    assert diagnose(observed(speaks=False, live=late)).cause == "unknown"
    assert diagnose(observed(speaks=False, live=late, watched=60.0)).cause == "none"
    assert diagnose(observed(live=[worker._replace(accounted=True) for worker in late])).cause == "none"


def test_fewer_workers_than_configured() -> None:
    found = diagnose(observed(live=FRESH[:1]))
    assert (found.cause, found.confidence) == ("unknown", "low")
    assert found.evidence[0].startswith("1 of 2 workers run")


@pytest.mark.parametrize(
    ("container", "changes", "cause"),
    [
        (Container("exited", 137, True, 0, []), {}, "oom"),
        (Container("exited", 137, False, 0, []), {}, "unknown"),
        (Container("exited", 139, False, 0, []), {}, "crash"),
        (Container("exited", 9, False, 0, []), {}, "crash"),
        (Container("exited", 1, False, 0, []), {"exception": "ValueError: x", "speaks": False}, "import_error"),
        (Container("exited", 1, False, 0, []), {"exception": "ValueError: x"}, "crash"),
        (Container("exited", 1, False, 0, []), {"speaks": False}, "crash"),
        (Container("exited", 0, False, 0, []), {}, "none"),
        (Container("exited", 143, False, 0, []), {}, "none"),
        (Container("created", 0, False, 0, []), {}, "unknown"),
        (Container("running", 0, False, 2, [Exit(NOW, 0)]), {"settings": Settings("uvicorn", 1, 5.0, 9)}, "recycle"),
    ],
)
def test_a_single_process(container: Container, changes: dict[str, Any], cause: str) -> None:
    live = FRESH[:1] if container.status == "running" else []
    seen = observed(container=container, supervisor_started=None, live=live, oom_kills=None)
    assert diagnose(seen._replace(**changes)).cause == cause


def test_a_restart_loop_counts_each_end() -> None:
    exits = [Exit(NOW, 3), Exit(NOW + 30, 3), Exit(NOW + 60, 3)]
    container = Container("restarting", 3, False, 2, exits)
    found = diagnose(observed(container=container, live=[], speaks=False, exception="ValueError: x"))
    assert (found.cause, found.deaths, len(found.timestamps)) == ("import_error", 3, 3)


def test_a_worker_that_took_the_container_with_it_counts_once() -> None:
    container = Container("exited", 3, False, 0, [Exit(NOW + 1, 3)])
    found = diagnose(observed(container=container, live=[], **died("import_error")))
    assert counts(found) == {"import_error": 1}


@pytest.mark.parametrize(("number", "said"), [(1, "1 worker runs, as many"), (2, "2 workers run, as many")])
def test_how_many_run_is_said_in_plain_words(number: int, said: str) -> None:
    found = diagnose(observed(live=FRESH[:number], settings=Settings("uvicorn", number, 5.0, None), oom_kills=0))
    assert found.cause == "none" and found.evidence[0].startswith(said)
