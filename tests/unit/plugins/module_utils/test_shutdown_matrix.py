# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs in all combinations of getter, client, place and attempt: what is said of each is what running it shows.

Nothing here says which program is right: each is run before and after, in a process of its own, and the client's class
notes whether it was really closed.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

from ansible_collections.composeops.hotfix.plugins.module_utils._shutdown_source import repair

# One in so many of the 6480 combinations is run, which takes some ten seconds; STEP=1 runs all.
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
GETTERS = {
    "async global": """\
        _client = None

        async def get_redis_client():
            global _client
            if _client is None:
                _client = RedisClient()
            return _client
        """,
    "sync annotated": """\
        from typing import Optional

        _client: Optional[RedisClient] = None

        def get_redis_client() -> "RedisClient":
            global _client
            if _client is None:
                _client = RedisClient()
            return _client
        """,
    "lru_cache": """\
        import functools

        @functools.lru_cache(maxsize=None)
        def get_redis_client():
            return RedisClient()
        """,
    "module instance": "redis_client = RedisClient()\n\ndef get_redis_client():\n    return redis_client\n",
    "manager": """\
        class Manager:
            def __init__(self):
                self._client = None

            async def get(self) -> RedisClient:
                if self._client is None:
                    self._client = RedisClient()
                return self._client

        manager = Manager()

        async def get_redis_client():
            return await manager.get()
        """,
}
IMPORTS = {
    "direct": ("from core.dependencies import get_redis_client", "get_redis_client"),
    "re-exported": ("from core import get_redis_client", "get_redis_client"),
    "renamed": ("from core.dependencies import get_redis_client as get_redis", "get_redis"),
    "module": ("from core import dependencies", "dependencies.get_redis_client"),
}
ATTEMPTS = {
    "await close": "await redis_client.close()",
    "close": "redis_client.close()",
    "await disconnect": "await redis_client.disconnect()",
    "disconnect": "redis_client.disconnect()",
    "await aclose": "await redis_client.aclose()",
    "false fix": """\
        client = GET()
        if hasattr(client, 'close'):
            client.close()  # check first
        logger.info("✓ Redis connections closed")
        """,
    "awaited getter": """\
        client = await GET()
        if hasattr(client, "disconnect"):
            await client.disconnect()
        """,
    "either": """\
        import inspect
        closer = getattr(redis_client, "disconnect", None) or getattr(redis_client, "close", None)
        if closer is not None:
            result = closer()
            if inspect.isawaitable(result):
                await result
        """,
    "branches": """\
        if hasattr(redis_client, "aclose"):
            await redis_client.aclose()
        elif hasattr(redis_client, "close"):
            await redis_client.close()
        """,
}
PLACES = {
    "lifespan": """\
        @asynccontextmanager
        async def lifespan(app):
            redis_client = STARTUP
            yield
            try:
                ATTEMPT
                store.persist()
            except Exception as e:
                logger.error(f"Shutdown error: {e}")

        app = App(lifespan=lifespan)
        """,
    "finally": """\
        @asynccontextmanager
        async def lifespan(app):
            redis_client = STARTUP
            try:
                yield
            finally:
                # stop everything
                try:
                    ATTEMPT
                except Exception as error:
                    logger.error("Shutdown error: %s", error)
                store.persist()

        app = App(lifespan=lifespan)
        """,
    "event": """\
        app = App()
        redis_client = None

        @app.on_event("startup")
        async def start():
            global redis_client
            redis_client = STARTUP

        @app.on_event("shutdown")
        async def stop():
            try:
                ATTEMPT
                store.persist()
            except Exception as e:
                logger.error(f"Shutdown error: {e}")
        """,
    "function": """\
        class Clients:
            redis_client = None

        clients = Clients()

        async def shutdown_everything():
            redis_client = clients.redis_client
            try:
                ATTEMPT
                store.persist()
            except Exception as e:
                logger.error(f"Shutdown error: {e}")

        @asynccontextmanager
        async def lifespan(app):
            clients.redis_client = STARTUP
            yield
            await shutdown_everything()

        app = App(lifespan=lifespan)
        """,
}
MAIN = """\
import logging
from contextlib import asynccontextmanager

from record import store
from web import App

{0}

logger = logging.getLogger(__name__)


{1}"""


def write(folder: Path, case: tuple[str, ...]) -> None:
    client, getter, imported, place, attempt = case
    statement, name = IMPORTS[imported]
    code = textwrap.dedent(PLACES[place])
    line = next(line for line in code.splitlines() if "ATTEMPT" in line)
    indent = line[: len(line) - len(line.lstrip())]
    attempted = (
        textwrap.indent(textwrap.dedent(ATTEMPTS[attempt]).strip(), indent).strip().replace("GET()", f"{name}()")
    )
    is_async = "async def get_redis_client" in textwrap.dedent(GETTERS[getter])
    code = code.replace("STARTUP", f"await {name}()" if is_async else f"{name}()").replace("ATTEMPT", attempted)
    (folder / "core").mkdir(parents=True)
    (folder / "core" / "__init__.py").write_text("from .dependencies import get_redis_client\n")
    (folder / "core" / "client.py").write_text("from record import EVENTS\n\n" + textwrap.dedent(CLIENTS[client]))
    (folder / "core" / "dependencies.py").write_text(
        "from .client import RedisClient\n\n" + textwrap.dedent(GETTERS[getter])
    )
    (folder / "main.py").write_text(MAIN.format(statement, code))


def run_all(folders: list[Path]) -> list[dict]:
    done = subprocess.run(
        [sys.executable, str(HERE / "runner.py"), *map(str, folders)], capture_output=True, text=True, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def combinations(step: int) -> list[tuple[str, ...]]:
    """Each ``step``-th of all combinations, shifted in each row so that every pair occurs."""
    every = itertools.product(CLIENTS, GETTERS, IMPORTS, PLACES, ATTEMPTS)
    return [item for number, item in enumerate(every) if number % step == number // step % step]


def is_closed(ran: dict) -> bool:
    """Whether the client was really closed, at the end only, and nothing went wrong on the way."""
    is_quiet = not ran["error"] and not any("Shutdown error" in line for line in ran["lines"])
    return "closed" in ran["events"] and "closed" not in ran["at_startup"] and is_quiet and not ran["never_awaited"]


def test_what_is_said_of_a_program_is_what_happens_when_it_runs(tmp_path):
    cases = combinations(STEP)
    folders = [tmp_path / f"p{number}" for number in range(len(cases))]
    for folder, case in zip(folders, cases):
        write(folder, case)
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
    folders = [tmp_path / f"p{number}" for number in range(len(cases))]
    for folder, case in zip(folders, cases):
        write(folder, case)
        (folder / "main.py").write_bytes(repair(str(folder / "main.py")).data)
        client = folder / "core" / "client.py"
        client.write_text(client.read_text().replace("EVENTS.append('closed')", "raise OSError('gone')"))
    for case, ran in zip(cases, run_all(folders)):
        assert ran["events"] == ["persisted"] and not ran["error"], (case, ran)
        assert ran["lines"] == ["Redis cleanup skipped: gone"], (case, ran)
