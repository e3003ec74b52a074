# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that close Redis rightly, wrongly or not at all, run before and after the repair: uvicorn, redis-py, Redis.

Nothing here says which program is right. What the repair says of one has to be what Redis shows when it is run: its
connections when the shutdown code has run, with the log and the exit code beside them.
"""

from __future__ import annotations

import io
import json
import os
import random
import secrets
import tarfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils._shutdown_source import repair
from shutdown_programs import ATTEMPTS, GETTERS, IMPORTS, PLACES, write
from tiny_image import LABEL, docker

# Each client with each attempt; getter, import and place are drawn. Another SEED makes other programs.
SEED = int(os.environ.get("SEED", "1"))
DRIVER = Path(__file__).with_name("uvicorn_driver.py")
HEAD = "import os\n\nimport redis\nfrom redis import asyncio as aioredis\n\nURL = os.environ['REDIS_URL']\n\n\n"
CLIENTS = {
    "async disconnect": """\
        class RedisClient:
            def __init__(self):
                self._redis = aioredis.from_url(URL, decode_responses=True)

            async def ping(self):
                return await self._redis.ping()

            async def disconnect(self):
                await self._redis.aclose()
        """,
    "async close": """\
        class RedisClient:
            def __init__(self):
                self._redis = aioredis.Redis.from_url(URL)

            async def ping(self):
                return await self._redis.ping()

            async def close(self):
                await self._redis.close()
        """,
    "async aclose and disconnect": """\
        class RedisClient:
            def __init__(self):
                self.pool = aioredis.ConnectionPool.from_url(URL)
                self._redis = aioredis.Redis(connection_pool=self.pool)

            async def ping(self):
                return await self._redis.ping()

            async def aclose(self):
                await self.pool.disconnect()

            async def disconnect(self):
                await self.aclose()
        """,
    "sync close": """\
        class RedisClient:
            def __init__(self):
                self.client = redis.Redis.from_url(URL)

            def ping(self):
                return self.client.ping()

            def close(self):
                self.client.close()
        """,
    "sync disconnect": """\
        class RedisClient:
            def __init__(self):
                self.client = redis.from_url(URL)

            def ping(self):
                return self.client.ping()

            def disconnect(self):
                self.client.connection_pool.disconnect()
        """,
    "own and inherited": """\
        class Connected:
            def __init__(self):
                self.connection = aioredis.from_url(URL)

            async def disconnect(self) -> None:
                await self.connection.aclose()

        class RedisClient(Connected):
            async def ping(self):
                return await self.connection.ping()
        """,
    "redis-py's asynchronous one": """\
        class RedisClient(aioredis.Redis):
            def __init__(self):
                host, _colon, rest = URL.partition("://")[2].partition(":")
                super().__init__(host=host, port=int(rest.split("/")[0]), db=int(rest.split("/")[1]))
        """,
    "redis-py's synchronous one": """\
        class RedisClient(redis.Redis):
            def __init__(self):
                host, _colon, rest = URL.partition("://")[2].partition(":")
                super().__init__(host=host, port=int(rest.split("/")[0]), db=int(rest.split("/")[1]))
        """,
    "an asynchronous attribute": """\
        class RedisClient:
            def __init__(self):
                self._redis = aioredis.from_url(URL)

            async def ping(self):
                return await self._redis.ping()
        """,
    "a synchronous attribute": """\
        class RedisClient:
            def __init__(self):
                self.client = redis.Redis.from_url(URL)

            def ping(self):
                return self.client.ping()
        """,
    "a plain method that gives a coroutine": """\
        class RedisClient:
            def __init__(self):
                self._redis = aioredis.from_url(URL)

            def ping(self):
                return self._redis.ping()

            def close(self):
                return self._redis.aclose()
        """,
    "a close that leaves the pool open": """\
        class RedisClient:
            def __init__(self):
                self.redis = aioredis.Redis(connection_pool=aioredis.ConnectionPool.from_url(URL))

            async def ping(self):
                return await self.redis.ping()

            async def close(self):
                await self.redis.aclose()
        """,
    "a close that forgets to await": """\
        class RedisClient:
            def __init__(self):
                self.redis = aioredis.from_url(URL)

            async def ping(self):
                return await self.redis.ping()

            async def close(self):
                self.redis.aclose()
        """,
}
PROGRAM_PLACES = {
    **PLACES,
    "main": """\
        app = App()

        async def main():
            redis_client = STARTUP
            server = uvicorn.Server(uvicorn.Config(app, uds=os.environ["SOCKET"]))
            try:
                await server.serve()
            finally:
                try:
                    ATTEMPT
                except Exception as e:
                    logger.error(f"Shutdown error: {e}")
                store.persist()
        """,
}
MAIN = """\
import inspect
import logging
import os
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI as App

IMPORT
from core.store import store

logging.basicConfig(level="INFO", format="%(message)s")
logging.captureWarnings(True)
logger = logging.getLogger(__name__)


CODE

@app.get("/")
async def index():
    answer = (STARTUP).ping()
    return {"pong": await answer if inspect.isawaitable(answer) else answer}
"""
STORE = """\
import logging


class Store:
    def persist(self):
        logging.info("✓ Vector database persisted")


store = Store()
"""
CLOSED, PERSISTED = "✓ Redis connections closed", "✓ Vector database persisted"


class Host:
    """Containers with Redis and with uvicorn, which share a network that leads nowhere else."""

    def __init__(self) -> None:
        redis, application = image("redis"), image("application-base")
        name = f"hotfix-programs-{os.getpid()}-{secrets.token_hex(4)}"
        self.containers = [
            docker("run", "--detach", "--label", LABEL, "--name", f"{name}-redis", "--network", "none", redis)
        ]
        options = ["--network", f"container:{self.containers[0]}", "--workdir", "/"]
        sleep = ["sleep", "infinity"]
        self.containers.append(
            docker("run", "--detach", "--init", "--label", LABEL, "--name", name, *options, application, *sleep)
        )

    def run(self, folders: list[Path], base: Path, name: str) -> list[dict[str, Any]]:
        """Run the programs in folders below ``base``; what the driver says of each."""
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as tar:
            tar.add(DRIVER, "driver.py")
            tar.add(base, name)
        docker("cp", "-", f"{self.containers[1]}:/", data=stream.getvalue())
        paths = [f"/{name}/{folder.relative_to(base)}" for folder in folders]
        command = ["python3", "-W", "always::RuntimeWarning", "/driver.py", *paths]
        output = docker("exec", "--env", "PYTHONDONTWRITEBYTECODE=1", self.containers[1], *command)
        results = [json.loads(line) for line in output.splitlines()]
        assert len(results) == len(folders)
        return results

    def remove(self) -> None:
        docker("rm", "--force", "--volumes", *self.containers)


def image(kind: str) -> str:
    found = docker("images", "--filter", f"label={LABEL}", "--filter", f"reference=*/{kind}", "--format", "{{.ID}}")
    if not found:
        pytest.fail(f"the image {kind} of the stand-in droplet is missing: run 'make images'")
    return found.split()[0]


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    made = Host()
    try:
        yield made
    finally:
        made.remove()


def is_closed(ran: dict[str, Any]) -> bool:
    """Whether Redis shows no connection when the shutdown code has run, and nothing went wrong on the way."""
    assert ran["served"] and ran["stopped"] and ran["before"] > 0, ran
    return ran["after"] == 0 and not noise(ran)


def noise(ran: dict[str, Any]) -> list[str]:
    """What a good shutdown does not log."""
    return [text for text in ("Shutdown error", "never awaited", "Traceback", "cleanup skipped") if text in ran["log"]]


def is_good(ran: dict[str, Any]) -> bool:
    """What a repaired program has to do: close, say so once, do the other step, and end as it should."""
    said = [ran["log"].count(text) for text in (CLOSED, PERSISTED)]
    return is_closed(ran) and said == [1, 1] and ran["exit"] == 0 and ran["left"] == 0


def test_what_is_said_of_a_program_is_what_redis_shows(
    host: Host, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    draw = random.Random(SEED)
    others = [list(names) for names in (GETTERS, IMPORTS, PROGRAM_PLACES)]
    cases = [(client, *map(draw.choice, others), attempt) for client in CLIENTS for attempt in ATTEMPTS]
    base = tmp_path / "programs"
    folders = [base / f"p{number}" for number in range(len(cases))]
    clients = {name: HEAD + textwrap.dedent(text) for name, text in CLIENTS.items()}
    for folder, case in zip(folders, cases):
        write(folder, case, clients=clients, main=MAIN, places=PROGRAM_PLACES, support={"core/store.py": STORE})
    wrong: list[Any] = []
    repaired: list[tuple[Path, tuple[str, ...]]] = []
    for folder, case, ran in zip(folders, cases, host.run(folders, base, "before")):
        before = (folder / "main.py").read_bytes()
        result = repair(str(folder / "main.py"))
        if result.status != ("already_correct" if is_closed(ran) else "patched"):
            wrong.append((case, result.status, result.seen, ran))
        elif result.status == "patched":
            (folder / "main.py").write_bytes(result.data)
            repaired.append((folder, case))
            again = repair(str(folder / "main.py"))
            assert (again.status, again.data) == ("already_correct", result.data), case
        else:
            assert result.data == before
    results = host.run([folder for folder, _case in repaired], base, "after")
    wrong += [(case, "after the repair", ran) for (_folder, case), ran in zip(repaired, results) if not is_good(ran)]
    right = len(cases) - len(wrong)
    figure(f"redis programs: {right} of {len(cases)} right, {len(repaired)} of them repaired")
    assert wrong == []
    assert len(repaired) >= 24 and len(cases) - len(repaired) >= 12
