# SPDX-License-Identifier: GPL-3.0-or-later
"""What a running server was told, from arguments and variables."""

from __future__ import annotations

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils._diagnosis import Settings
from ansible_collections.composeops.hotfix.plugins.module_utils._server_settings import settings

UVICORN = ["/usr/bin/python3", "/usr/local/bin/uvicorn", "app.main:app"]


@pytest.mark.parametrize(
    ("argv", "variables", "version", "expected"),
    [
        ([*UVICORN, "--workers", "4"], {}, "0.34.0", Settings("uvicorn", 4, 5.0, None)),
        (UVICORN, {}, "0.34.0", Settings("uvicorn", 1, 5.0, None)),
        (UVICORN, {"WEB_CONCURRENCY": "3", "UVICORN_WORKERS": "2"}, None, Settings("uvicorn", 2, 5.0, None)),
        ([*UVICORN, "--limit-max-requests=100"], {}, None, Settings("uvicorn", 1, 5.0, 100)),
        (UVICORN, {"UVICORN_LIMIT_MAX_REQUESTS": "7"}, None, Settings("uvicorn", 1, 5.0, 7)),
        (UVICORN, {"UVICORN_TIMEOUT_WORKER_HEALTHCHECK": "30"}, "0.37.0", Settings("uvicorn", 1, 30.0, None)),
        (UVICORN, {"UVICORN_TIMEOUT_WORKER_HEALTHCHECK": "30"}, "0.36.1", Settings("uvicorn", 1, 5.0, None)),
        ([*UVICORN, "--timeout-worker-healthcheck", "9"], {}, "0.54.0", Settings("uvicorn", 1, 9.0, None)),
        (["gunicorn", "app:app", "-w4"], {}, None, Settings("gunicorn", 4, 5.0, None)),
        (
            ["gunicorn", "app:app"],
            {"GUNICORN_CMD_ARGS": "-w 3 --max-requests 50"},
            None,
            Settings("gunicorn", 3, 5.0, 50),
        ),
        (["gunicorn", "app:app", "--max-requests", "0"], {}, None, Settings("gunicorn", None, 5.0, None)),
        (["gunicorn", "app:app", "--max-requests-jitter", "9"], {}, None, Settings("gunicorn", None, 5.0, None)),
    ],
)
def test_settings(argv: list[str], variables: dict[str, str], version: str | None, expected: Settings) -> None:
    assert settings(argv, [], variables, version, expected.server) == expected
    assert settings([], argv, variables, version, None) == expected


def test_a_server_that_changed_its_arguments() -> None:
    started = ["sh", "-c", "exec gunicorn app:app -w 4 --max-requests=20"]
    assert settings(["gunicorn: master [app:app]"], started, {}, None, "gunicorn") == Settings("gunicorn", 4, 5.0, 20)


def test_a_server_that_nothing_is_known_of() -> None:
    assert settings([], ["python", "main.py"], {}, None, None) == Settings(None, None, 5.0, None)
