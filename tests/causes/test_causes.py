# SPDX-License-Identifier: GPL-3.0-or-later
"""Every cause, made for real, is named right: while it is watched, and afterwards never wrong."""

from __future__ import annotations

import itertools
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

SERVERS = ("uvicorn-oldest", "uvicorn-newest", "gunicorn")
LEVELS = ("info", "warning")
MIB, GIB = 1024**2, 1024**3
# Two workers take 90 MiB; one of them that asks for this much more is too many.
LIMIT = ("--memory", "180m", "--memory-swap", "180m")
TOO_MUCH = "/grow?n=150"
# gunicorn's default is 30 seconds; uvicorn's is 5.
PATIENCE = {"gunicorn": ("--timeout", "4")}
MALFORMED = ("--env", "VALID_API_KEYS=[not-json")


@contextmanager
def during(container: Any, *paths: str, pause: float = 3.0) -> Iterator[None]:
    """Make requests one after the other, beginning when the module has begun to watch."""

    def make() -> None:
        time.sleep(2)
        for path in paths:
            container.get(path)
            time.sleep(pause)

    thread = threading.Thread(target=make)
    thread.start()
    yield
    thread.join()


def cases(*more: tuple[str, ...]) -> pytest.MarkDecorator:
    """Each server with each log level, and with each of some more values."""
    return pytest.mark.parametrize("case", list(itertools.product(SERVERS, LEVELS, *more)), ids="-".join)


class Table:
    """Compares what was made with what was named, while it happened and afterwards, and keeps a line of the table."""

    def __init__(self, figure: Callable[[str], None], what: str) -> None:
        self.figure, self.what = figure, what.replace("/", " ")

    def __call__(self, seen: dict[str, Any], after: dict[str, Any], made: str, *, always: bool) -> None:
        watched, later = seen["diagnosis"], after["diagnosis"]
        cost = seen["watched"]["cpu_seconds"] / max(seen["watched"]["seconds"], 1)
        self.figure(
            f"made {made}: named {watched['cause']} ({watched['confidence']}), afterwards {later['cause']} "
            f"({later['confidence']}); {cost:.1%} of a CPU: {self.what}"
        )
        assert watched["cause"] == made, watched
        assert later["cause"] == made or (not always and later["cause"] == "unknown"), later
        assert later["cause"] != "unknown" or any("What would tell" in line for line in later["evidence"])
        assert watched["evidence"]
        assert cost < 0.02
        assert all(item["action"] and item["reason"] for item in seen["recommendation"]["actions"])


@pytest.fixture
def table(figure: Callable[[str], None], request: pytest.FixtureRequest) -> Table:
    return Table(figure, request.node.name.partition("[")[2].rstrip("]"))


@cases()
def test_oom(start: Any, diagnose: Any, table: Table, case: tuple[str, ...]) -> None:
    server, level = case
    container = start(server, *LIMIT, level=level)
    container.wait()
    with during(container, TOO_MUCH, TOO_MUCH):
        seen = diagnose(container, watch=10)
    table(seen, diagnose(container), "oom", always=True)
    assert seen["deaths"]["count"] == seen["memory"]["oom_kills"] == 2
    assert "fewer workers would not help" not in seen["recommendation"]["workers"]["reason"]
    assert seen["recommendation"]["workers"]["value"] == 1 or seen["recommendation"]["memory"]["value"] > 180 * 1024**2


@cases()
def test_code_that_holds_the_lock_in_a_request(start: Any, diagnose: Any, table: Table, case: tuple[str, ...]) -> None:
    server, level = case
    container = start(server, level=level, more=PATIENCE.get(server, ()))
    container.wait()
    with during(container, "/stick?n=12", pause=0):
        seen = diagnose(container, watch=13)
    table(seen, diagnose(container), "ping_timeout", always=server == "gunicorn")
    actions = str(seen["recommendation"]["actions"])
    wanted = {"uvicorn-oldest": "Upgrade uvicorn", "uvicorn-newest": "Set UVICORN_TIMEOUT_WORKER_HEALTHCHECK"}
    assert wanted.get(server, "--timeout") in actions
    assert "fewer workers would not help" in seen["recommendation"]["workers"]["reason"]


# gunicorn 27 takes no notice of a worker's age before the worker has spoken for the first time.
@pytest.mark.parametrize("server", ["uvicorn-oldest", "uvicorn-newest"])
def test_code_that_holds_the_lock_at_import(start: Any, diagnose: Any, table: Table, server: str) -> None:
    container = start(server, "--env", "STICK_AT_IMPORT=12", level="warning")
    time.sleep(2)
    # Twice as long as one worker lives, whatever else the machine does.
    seen = diagnose(container, watch=26)
    table(seen, diagnose(container), "ping_timeout", always=False)


@cases(("no", "unless-stopped"))
def test_malformed_settings_at_import(start: Any, diagnose: Any, table: Table, case: tuple[str, ...]) -> None:
    server, level, restart = case
    container = start(server, *MALFORMED, "--restart", restart, level=level)
    container.wait_for("SettingsError")
    seen = diagnose(container, watch=6)
    table(seen, diagnose(container), "import_error", always=True)
    assert any("SettingsError" in item["reason"] for item in seen["recommendation"]["actions"])


@cases(("/exit?n=3", "/exit?n=9", "/segfault"))
def test_crash(start: Any, diagnose: Any, table: Table, case: tuple[str, ...]) -> None:
    server, level, path = case
    container = start(server, level=level)
    container.wait()
    with during(container, path, pause=0):
        seen = diagnose(container, watch=6)
    table(seen, diagnose(container), "crash", always=server == "gunicorn")
    assert seen["deaths"]["count"] == 1


@cases()
def test_recycled_workers(start: Any, diagnose: Any, table: Table, case: tuple[str, ...]) -> None:
    server, level = case
    option = "--max-requests" if server == "gunicorn" else "--limit-max-requests"
    container = start(server, level=level, more=(option, "8"))
    container.wait()
    with during(container, *["/health"] * 24, pause=0.2):
        seen = diagnose(container, watch=10)
    table(seen, diagnose(container), "recycle", always=False)


@cases()
def test_healthy_under_load(start: Any, diagnose: Any, table: Table, case: tuple[str, ...]) -> None:
    server, level = case
    container = start(server, *LIMIT, level=level)
    container.wait()
    with during(container, *["/health"] * 200, pause=0.02):
        seen = diagnose(container, watch=8)
    table(seen, diagnose(container), "none", always=True)
    assert seen["deaths"]["count"] == 0
    assert len(seen["workers"]) == seen["server"]["configured"] == 2


@cases()
def test_two_causes_at_once(start: Any, diagnose: Any, table: Table, case: tuple[str, ...]) -> None:
    server, level = case
    container = start(server, *LIMIT, level=level)
    container.wait()
    with during(container, TOO_MUCH, "/segfault", TOO_MUCH):
        seen = diagnose(container, watch=13)
    table(seen, diagnose(container), "oom", always=True)
    found = {item["cause"]: item["count"] for item in seen["diagnosis"]["causes"]}
    assert found == {"oom": 2, "crash": 1}


@pytest.mark.parametrize("path", [TOO_MUCH, "/exit?n=9", "/segfault"])
@pytest.mark.parametrize("server", ["uvicorn-oldest", "uvicorn-newest"])
def test_a_single_process_ends_the_container(start: Any, diagnose: Any, table: Table, server: str, path: str) -> None:
    container = start(server, "--memory", "100m", "--memory-swap", "100m", workers=1)
    container.wait(1)
    with during(container, path, pause=0):
        seen = diagnose(container, watch=5)
    table(seen, diagnose(container), "oom" if path == TOO_MUCH else "crash", always=True)


@pytest.mark.parametrize("server", SERVERS)
def test_a_log_that_nobody_can_read(start: Any, diagnose: Any, table: Table, server: str) -> None:
    container = start(server, *LIMIT, "--log-driver", "none")
    container.wait()
    with during(container, TOO_MUCH, pause=0):
        seen = diagnose(container, watch=6)
    table(seen, diagnose(container), "oom", always=True)
    assert any("log cannot be read" in line for line in seen["diagnosis"]["evidence"])


@cases()
def test_a_kill_by_hand_is_nothing_else(start: Any, diagnose: Any, table: Table, case: tuple[str, ...]) -> None:
    server, level = case
    container = start(server, level=level)
    container.wait()
    victim = diagnose(container)["workers"][0]["pid"]

    def kill() -> None:
        time.sleep(2)
        os.kill(victim, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    seen = diagnose(container, watch=6)
    thread.join()
    table(seen, diagnose(container), "unknown", always=True)


def test_more_workers_than_the_host_has_memory_for(start: Any, diagnose: Any, figure: Callable[[str], None]) -> None:
    """What a bigger droplet takes and gains, by the size of a worker that has loaded all that it loads."""
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
    total, available = (int(lines[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    workers, each = 8, available // 8
    # One of them fits beside the others, which have loaded nothing yet; two do not.
    limit = f"{each * 3 // 2 // MIB + 500}m"
    container = start("uvicorn-newest", "--memory", limit, "--memory-swap", limit, workers=workers)
    container.wait()
    for _attempt in range(6):
        container.get(f"/grow?n={each // MIB}", timeout=60)
        seen = diagnose(container)
        largest = max(worker["uss"] for worker in seen["workers"])
        if seen["memory"]["oom_kills"] and largest >= each:
            break
    assert seen["diagnosis"]["cause"] == "oom"
    step = next(item for item in seen["recommendation"]["actions"] if item["kind"] == "droplet")
    figure(f"{step['action']}. {step['reason']}")
    need = seen["recommendation"]["memory"]["value"]
    # All else that the application takes, twenty percent of headroom, and a bit for what is between two looks.
    assert workers * each / 0.8 < need < (workers * largest + 1024 * MIB) / 0.8
    told = re.search(rf"^{workers} workers need ([0-9.]+) GiB, and this host has ([0-9.]+) GiB beside", step["reason"])
    assert told is not None and float(told[1]) == pytest.approx(need / GIB, abs=0.01)
    others = total - float(told[2]) * GIB
    assert float(told[2]) * GIB == pytest.approx(available, rel=0.1)

    def fit(memory: float) -> int:
        return int((memory - others) * 0.8 / largest)

    gain, now = (int(number) for number in re.findall(r"ha(?:s|ve) room for (?:all )?(\d+)", step["reason"]))
    assert now in (fit(total), fit(total) - 1) and now < gain
    if "8 vCPU and 16 GB" in step["action"]:
        assert gain in (fit(16 * GIB), fit(16 * GIB) - 1)
    else:
        assert gain == workers
        least = int(re.search(r"at least (\d+) GiB", step["action"])[1])
        assert fit(least * GIB) >= workers > fit((least - 2) * GIB)
