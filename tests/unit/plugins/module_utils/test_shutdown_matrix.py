# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs in all combinations of getter, client, place and attempt: what is said of each is what running it shows.

Nothing here says which program is right: each is run before and after, in a process of its own, and the client's class
notes whether it was really closed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

from ansible_collections.composeops.hotfix.plugins.module_utils._shutdown_source import repair
from shutdown_programs import ATTEMPTS, GETTERS, IMPORTS, PLACES, combinations, write

# One in so many of the 8100 combinations is run, which takes some ten seconds; STEP=1 runs all.
STEP = int(os.environ.get("STEP", "29"))
HERE = Path(__file__).parent / "shutdown"

# One method each, or several; "closed" is noted only when the body really runs.
CLIENTS = {
    "async disconnect": "class RedisClient:\n    async def disconnect(self):\n        EVENTS.append('closed')\n",
    "sync disconnect": "class RedisClient:\n    def disconnect(self):\n        EVENTS.append('closed')\n",
    "async close": "class RedisClient:\n    async def close(self):\n        EVENTS.append('closed')\n",
    "sync close": "class RedisClient:\n    def close(self):\n        EVENTS.append('closed')\n",
    "inherited": """\
        class Base:
            async def disconnect(self) -> None:
                EVENTS.append("closed")

        class RedisClient(Base):
            def get(self, key): ...
        """,
    "aclose of redis-py": """\
        import redis.asyncio as redis

        class RedisClient(redis.Redis):
            pass
        """,
    "attribute only": """\
        from redis import asyncio as aioredis

        class RedisClient:
            def __init__(self):
                self._redis = aioredis.from_url("redis://redis")
        """,
    "sync redis-py": """\
        import redis

        class RedisClient:
            def __init__(self):
                self.client = redis.Redis()
        """,
    "returned coroutine": """\
        from redis.asyncio import Redis

        class RedisClient:
            def __init__(self):
                self._redis = Redis()

            def close(self):
                return self._redis.aclose()
        """,
}
MAIN = """\
import logging
from contextlib import asynccontextmanager

from record import store
from web import App

IMPORT

logger = logging.getLogger(__name__)


CODE"""


def write_all(folder: Path, cases: list[tuple[str, ...]]) -> list[Path]:
    """Write the programs of combinations; their folders."""
    folders = [folder / f"p{number}" for number in range(len(cases))]
    clients = {name: "from record import EVENTS\n\n" + textwrap.dedent(text) for name, text in CLIENTS.items()}
    for program, case in zip(folders, cases):
        write(program, case, clients=clients, main=MAIN)
    return folders


def run_all(folders: list[Path]) -> list[dict]:
    done = subprocess.run(
        [sys.executable, str(HERE / "runner.py"), *map(str, folders)], capture_output=True, text=True, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def is_closed(ran: dict) -> bool:
    """Whether the client was really closed, at the end only, and nothing went wrong on the way."""
    is_quiet = not ran["error"] and not any("Shutdown error" in line for line in ran["lines"])
    return "closed" in ran["events"] and "closed" not in ran["at_startup"] and is_quiet and not ran["never_awaited"]


def test_what_is_said_of_a_program_is_what_happens_when_it_runs(tmp_path):
    cases = combinations(STEP, CLIENTS, GETTERS, IMPORTS, PLACES, ATTEMPTS)
    folders = write_all(tmp_path, cases)
    repaired = []
    for folder, case, ran in zip(folders, cases, run_all(folders)):
        before = (folder / "main.py").read_bytes()
        result = repair(str(folder / "main.py"))
        assert result.status == ("already_correct" if is_closed(ran) else "patched"), (case, result.seen, ran)
        assert (result.data == before) is (result.status == "already_correct")
        if result.status == "patched":
            (folder / "main.py").write_bytes(result.data)
            repaired.append((folder, case))
            again = repair(str(folder / "main.py"))
            assert (again.status, again.data) == ("already_correct", result.data), case
    for (_folder, case), ran in zip(repaired, run_all([folder for folder, _case in repaired])):
        assert ran["events"] == ["closed", "persisted"], (case, ran)
        assert ran["lines"] == ["✓ Redis connections closed"], (case, ran)
        assert is_closed(ran), (case, ran)
    assert len(repaired) > 24 and len(cases) - len(repaired) > 24


def test_the_other_steps_run_when_closing_fails(tmp_path):
    broken = ("await close", "disconnect", "false fix", "await aclose")
    cases = [("async disconnect", "async global", "direct", place, attempt) for place in PLACES for attempt in broken]
    folders = write_all(tmp_path, cases)
    for folder in folders:
        (folder / "main.py").write_bytes(repair(str(folder / "main.py")).data)
        client = folder / "core" / "client.py"
        client.write_text(client.read_text().replace("EVENTS.append('closed')", "raise OSError('gone')"))
    for case, ran in zip(cases, run_all(folders)):
        assert ran["events"] == ["persisted"] and not ran["error"], (case, ran)
        assert ran["lines"] == ["Redis cleanup skipped: gone"], (case, ran)
