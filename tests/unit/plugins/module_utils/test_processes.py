# SPDX-License-Identifier: GPL-3.0-or-later
"""Supervisors and workers, in process lists that uvicorn 0.54.0 and gunicorn 27.0.1 really had."""

from __future__ import annotations

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Process
from ansible_collections.composeops.hotfix.plugins.module_utils._processes import program, workers

TRACKER = "/opt/venv/bin/python -c from multiprocessing.resource_tracker import main;main(6)"
SPAWNED = (
    "/opt/venv/bin/python -B -c from multiprocessing.spawn import spawn_main; spawn_main(tracker_fd=7, pipe_handle=9)"
    " --multiprocessing-fork"
)
UVICORN = "/opt/venv/bin/python /opt/venv/bin/uvicorn backend.main:app --host 0.0.0.0 --port 8000"
GUNICORN = "/opt/venv/bin/python3 /opt/venv/bin/gunicorn -w 2 -b 0.0.0.0:8000 app:app"


def listed(*rows: tuple[int, int, str]) -> list[Process]:
    return [Process(pid, ppid, args, tuple(args.split())) for pid, ppid, args in rows]


def test_uvicorn_with_workers() -> None:
    found = workers(
        listed((540, 517, f"{UVICORN} --workers 2"), (575, 540, TRACKER), (576, 540, SPAWNED), (577, 540, SPAWNED))
    )
    assert found == ("uvicorn", 540, [576, 577])


def test_uvicorn_alone() -> None:
    assert workers(listed((1, 0, UVICORN))) == ("uvicorn", None, [1])
    assert workers(listed((1, 0, f"{UVICORN} --workers 1"))) == ("uvicorn", None, [1])


def test_a_supervisor_without_a_living_worker_is_no_worker() -> None:
    dead = "[python] <defunct>"
    assert workers(listed((1, 0, UVICORN), (8, 1, TRACKER), (9, 1, dead))) == ("uvicorn", 1, [])
    assert workers(listed((1, 0, f"{UVICORN} --workers=4"), (9, 1, dead))) == ("uvicorn", 1, [])


def test_uvicorn_with_reload() -> None:
    found = workers(listed((1, 0, "v/bin/python -u -m uvicorn app:app --reload"), (2, 1, TRACKER), (3, 1, SPAWNED)))
    assert found == ("uvicorn", 1, [3])


def test_children_of_workers_are_no_workers() -> None:
    found = workers(
        listed((1, 0, f"{UVICORN} --workers 1"), (2, 1, TRACKER), (3, 1, SPAWNED), (4, 3, SPAWNED), (5, 3, "sh -c x"))
    )
    assert found == ("uvicorn", 1, [3])


@pytest.mark.parametrize("wrapper", ["/sbin/docker-init -- uvicorn app:app", "sh -c uvicorn app:app --workers 2 | cat"])
def test_what_starts_the_server_is_not_the_server(wrapper: str) -> None:
    found = workers(listed((1, 0, wrapper), (7, 1, f"{UVICORN} --workers 2"), (8, 7, SPAWNED), (9, 7, SPAWNED)))
    assert found == ("uvicorn", 7, [8, 9])


def test_fastapi_run_is_uvicorn() -> None:
    rows = listed((1, 0, "/usr/bin/python3 /usr/bin/fastapi run main.py --workers 2"), (2, 1, SPAWNED), (3, 1, SPAWNED))
    assert workers(rows) == ("uvicorn", 1, [2, 3])


def test_gunicorn() -> None:
    assert workers(listed((1, 0, GUNICORN), (8, 1, GUNICORN), (9, 1, GUNICORN))) == ("gunicorn", 1, [8, 9])
    assert workers(listed((1, 0, GUNICORN), (9, 1, "[gunicorn] <defunct>"))) == ("gunicorn", 1, [])


def test_the_order_of_the_list_does_not_matter() -> None:
    """Process IDs start again from low numbers."""
    assert workers(listed((8, 900, GUNICORN), (9, 900, GUNICORN), (900, 0, GUNICORN))) == ("gunicorn", 900, [8, 9])


def test_gunicorn_with_process_titles() -> None:
    rows = listed(
        (1, 0, "gunicorn: master [app:app]"),
        (8, 1, "gunicorn: worker [app:app]"),
        (9, 1, "gunicorn: worker [app:app]"),
        (10, 9, TRACKER),
    )
    assert workers(rows) == ("gunicorn", 1, [8, 9])


def test_a_program_of_its_own_name_with_spawned_children() -> None:
    rows = listed((1, 0, "python -m backend.main"), (2, 1, TRACKER), (3, 1, SPAWNED), (4, 1, SPAWNED))
    assert workers(rows) == (None, 1, [3, 4])


def test_no_server() -> None:
    assert workers(listed((1, 0, "redis-server *:6379"))) == (None, None, [])
    assert workers([]) == (None, None, [])


@pytest.mark.parametrize(
    ("args", "name"),
    [
        ("/usr/bin/python3.11 -X dev -W error -m uvicorn app:app", "uvicorn"),
        ("python -c import uvicorn", ""),
        ("python -m", ""),
        ("python", "python"),
        ("/usr/local/bin/uvicorn app:app", "uvicorn"),
        ("", ""),
    ],
)
def test_program(args: str, name: str) -> None:
    assert program(args.split()) == name
