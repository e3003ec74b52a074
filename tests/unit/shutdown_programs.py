# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs in all combinations of a client, a getter, an import, a place and an attempt to close the client.

What a client is, and what the program runs under, is for the tests to say. An attempt may be right or wrong, which
depends on client and getter; that is found out by running the program.
"""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path

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
    "state": """\
        @asynccontextmanager
        async def lifespan(app):
            app.state.redis_client = STARTUP
            yield
            # Whatever happens, the store is persisted.
            try:
                ATTEMPT on app.state
            except Exception:
                logger.exception("Shutdown error")
            finally:
                store.persist()

        app = App(lifespan=lifespan)
        """,
}


def combinations(step: int, *choices: Iterable[str]) -> list[tuple[str, ...]]:
    """Each ``step``-th of all combinations, shifted in each row so that every pair occurs."""
    every = itertools.product(*choices)
    return [item for number, item in enumerate(every) if number % step == number // step % step]


def write(
    folder: Path,
    case: tuple[str, ...],
    *,
    clients: Mapping[str, str],
    main: str,
    places: Mapping[str, str] | None = None,
    support: Mapping[str, str] | None = None,
) -> None:
    """Write the program of a combination.

    :param clients: the modules that define ``RedisClient``.
    :param main: ``main.py``, in which ``IMPORT``, ``CODE`` and ``STARTUP`` are filled in.
    :param places: what stands for ``CODE``; by default :data:`PLACES`.
    :param support: more files of the program.
    """
    client, getter, imported, place, attempt = case
    statement, name = IMPORTS[imported]
    code = textwrap.dedent((places or PLACES)[place])
    line = next(line for line in code.splitlines() if "ATTEMPT" in line)
    indent = line[: len(line) - len(line.lstrip())]
    attempted = textwrap.indent(textwrap.dedent(ATTEMPTS[attempt]).strip(), indent).strip()
    attempted = attempted.replace("GET()", f"{name}()")
    if "ATTEMPT on app.state" in code:
        attempted = re.sub(r"\bredis_client\b", "app.state.redis_client", attempted)
    is_async = "async def get_redis_client" in textwrap.dedent(GETTERS[getter])
    startup = f"await {name}()" if is_async else f"{name}()"
    code = re.sub(r"ATTEMPT( on app\.state)?", lambda _match: attempted, code)
    files = {
        "core/__init__.py": "from .dependencies import get_redis_client\n",
        "core/client.py": textwrap.dedent(clients[client]),
        "core/dependencies.py": "from .client import RedisClient\n\n" + textwrap.dedent(GETTERS[getter]),
        "main.py": main.replace("IMPORT", statement).replace("CODE", code).replace("STARTUP", startup),
        **(support or {}),
    }
    (folder / "core").mkdir(parents=True)
    for path, text in files.items():
        (folder / path).write_text(text, encoding="utf-8")
