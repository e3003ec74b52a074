# SPDX-License-Identifier: GPL-3.0-or-later
"""What to do about each cause."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils._diagnosis import Diagnosis, Settings
from ansible_collections.composeops.hotfix.plugins.module_utils._worker_advice import Room, recommend, sizing
from ansible_collections.composeops.hotfix.plugins.module_utils._workers import Measured

MIB = 1024**2
SETTINGS = Settings("uvicorn", 4, 5.0, None)
# The runbook's droplet: 4 vCPU, 8 GB; the container of the stand-in: 512 MiB.
ROOM = Room(Measured(90 * MIB, 92 * MIB, 4), 512 * MIB, 400 * MIB, 8192 * MIB, 6000 * MIB, 4.0, None)


def advice(cause: str, *, settings: Settings = SETTINGS, room: Room = ROOM, **changes: Any) -> dict[str, Any]:
    causes = [] if cause == "none" else [{"cause": name, "count": 1} for name in cause.split("+")]
    evidence = changes.pop("evidence", [])
    found = Diagnosis(cause.partition("+")[0], causes, evidence, "high", 1, [])
    options = {"version": "0.34.0", "restart_policy": "unless-stopped", "exception": None, **changes}
    return recommend(found, settings, room, **options)


def actions(result: dict[str, Any]) -> str:
    return " | ".join(item["action"] for item in result["actions"])


def test_memory_by_arithmetic() -> None:
    result = advice("oom")
    assert result["workers"]["value"] == 3
    assert "total(n) = 90 MiB shared + n * 92 MiB per worker" in result["workers"]["reason"]
    assert result["memory"]["value"] == 573 * MIB
    assert "90 MiB + 4 * 92 MiB = 458 MiB" in result["memory"]["reason"]
    assert actions(result) == "Run 3 workers | Or raise the memory limit to 573 MiB"


def test_as_many_as_were_killed_are_never_advised() -> None:
    small = ROOM._replace(measured=Measured(10 * MIB, 50 * MIB, 4))
    result = advice("oom", room=small)
    assert result["workers"]["value"] == 3
    assert "smaller than the ones that were killed" in result["actions"][1]["reason"]


def test_a_droplet_that_is_too_small() -> None:
    big = Room(Measured(500 * MIB, 2500 * MIB, 4), 7000 * MIB, 6000 * MIB, 8192 * MIB, 1500 * MIB, 4.0, None)
    result = advice("oom", room=big)
    assert result["workers"]["value"] == 2
    assert "Or take a bigger droplet: 8 vCPU and 16 GB" in actions(result)
    reason = result["actions"][-1]["reason"]
    assert "4 workers need 12.82 GiB" in reason
    assert "8 vCPU and 16 GB have room for 4, where this host has room for 2." in reason


def test_not_even_one_fits() -> None:
    huge = ROOM._replace(measured=Measured(500 * MIB, 14000 * MIB, 1))
    result = advice("oom", room=huge)
    assert result["workers"]["value"] is None and "do not fit" in result["workers"]["reason"]
    assert actions(result) == "Take a bigger droplet: at least 71 GiB of memory"
    reason = result["actions"][-1]["reason"]
    assert reason.endswith("would not do either. So much has room for all 4, where this host has room for none.")


def test_a_host_of_the_size_of_the_bigger_droplet_needs_a_bigger_one_than_that() -> None:
    """Here 8 vCPU and 16 GB would be no gain."""
    host = Room(Measured(500 * MIB, 2500 * MIB, 8), 7000 * MIB, 6000 * MIB, 23 * 1024 * MIB, 14000 * MIB, 4.0, None)
    result = advice("oom", settings=SETTINGS._replace(workers=8), room=host)
    assert actions(result).endswith("Or take a bigger droplet: at least 29 GiB of memory")
    assert "So much has room for all 8, where this host has room for 6." in result["actions"][-1]["reason"]


def test_what_the_configured_workers_take_and_what_there_is() -> None:
    figures = sizing(SETTINGS, ROOM)
    assert figures is not None
    assert (figures["workers"], figures["total"], figures["limit"]) == (4, 458 * MIB, 512 * MIB)
    assert (figures["budget"], figures["busy"]) == (int(512 * MIB * 0.8), 9)
    unlimited = sizing(SETTINGS._replace(workers=None), ROOM._replace(limit=None))
    assert unlimited is not None
    # All that the host has, less what is used beside the container.
    assert (unlimited["workers"], unlimited["limit"]) == (4, (8192 - (8192 - 6000 - 400)) * MIB)
    assert sizing(SETTINGS, ROOM._replace(measured=None)) is None


def test_without_a_limit_the_host_is_the_limit() -> None:
    result = advice("oom", room=ROOM._replace(limit=None))
    assert "what the host has beside all else of 6.25 GiB" in result["actions"][0]["reason"]


def test_nothing_to_measure() -> None:
    result = advice("oom", room=ROOM._replace(measured=None))
    assert result["workers"]["value"] is None and "Start the container" in actions(result)


@pytest.mark.parametrize("cause", ["ping_timeout", "import_error", "crash", "recycle"])
def test_fewer_workers_would_not_help(cause: str) -> None:
    result = advice(cause)
    assert result["workers"] == {"value": 4, "reason": "The cause is not memory, so that fewer workers would not help."}


@pytest.mark.parametrize(
    ("version", "wanted"),
    [
        ("0.36.1", "Upgrade uvicorn to 0.37 or newer, then set UVICORN_TIMEOUT_WORKER_HEALTHCHECK=30"),
        (None, "Upgrade uvicorn to 0.37 or newer"),
        ("0.37.0", "Set UVICORN_TIMEOUT_WORKER_HEALTHCHECK=30 in"),
    ],
)
def test_patience_by_version(version: str | None, wanted: str) -> None:
    assert wanted in actions(advice("ping_timeout", version=version))


def test_patience_of_gunicorn_and_of_a_starved_container() -> None:
    assert "Raise gunicorn's --timeout" in actions(
        advice("ping_timeout", settings=SETTINGS._replace(server="gunicorn"))
    )
    assert "Raise the CPU quota" in actions(advice("ping_timeout", room=ROOM._replace(throttled_part=0.4)))
    assert "CPU quota" not in actions(advice("ping_timeout", room=ROOM._replace(throttled_part=0.1)))
    more = advice("ping_timeout", version="0.54.0", settings=SETTINGS._replace(ping_timeout=20.0))
    assert "HEALTHCHECK=40" in actions(more)


def test_an_exception() -> None:
    result = advice("import_error", exception="pydantic_settings.sources.SettingsError: error parsing")
    assert "SettingsError" in result["actions"][0]["reason"]
    assert "VALID_API_KEYS" in result["actions"][1]["action"]
    assert len(advice("import_error", exception="ModuleNotFoundError: no")["actions"]) == 1


def test_exit_code_3_stops_newer_versions() -> None:
    evidence = ["crash: it ended with exit code 3 after 6 s."]
    assert "Use restart: unless-stopped" in actions(advice("crash", evidence=evidence, restart_policy="no"))
    assert "unless-stopped" not in actions(advice("crash", evidence=evidence))
    assert "unless-stopped" not in actions(advice("crash", restart_policy="no"))


def test_two_causes_have_both_their_steps() -> None:
    result = advice("oom+recycle", settings=SETTINGS._replace(max_requests=100))
    assert actions(result).startswith("Run 3 workers") and "Nothing; or raise" in actions(result)
    assert "after 100 requests" in result["actions"][-1]["reason"]


def test_an_unknown_cause_is_watched() -> None:
    result = advice("unknown")
    assert result["workers"]["reason"] == "The cause is not known yet."
    assert "watch: 120" in actions(result)


def test_one_death_of_unknown_cause_beside_a_known_one() -> None:
    result = advice("crash+unknown")
    assert result["workers"]["reason"] == "The cause of some deaths is not known yet."
    assert [item["kind"] for item in result["actions"]] == ["program", "again"]


def test_nothing_to_do() -> None:
    result = advice("none")
    assert result["actions"] == [] and result["workers"]["value"] == 4
