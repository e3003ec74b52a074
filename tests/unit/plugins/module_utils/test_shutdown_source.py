# SPDX-License-Identifier: GPL-3.0-or-later
"""The shutdown block, word for word, in programs that people write; and the programs that are left alone or refused."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._python_program import find_root, pinned_version
from ansible_collections.composeops.hotfix.plugins.module_utils._shutdown_source import repair, split_lines
from hypothesis import given
from hypothesis import strategies as st

DEPENDENCIES = '''
class RedisClient:
    async def disconnect(self):
        """Close the connections."""
        await self._pool.drain()

    def get(self, key): ...

_client = None

async def get_redis_client() -> RedisClient:
    global _client
    if _client is None:
        _client = RedisClient()
    return _client

async def close_redis():
    await (await get_redis_client()).disconnect()

def log_close():
    print("close")
'''
HEAD = """\
import asyncio
import contextlib
import logging
from contextlib import AsyncExitStack, asynccontextmanager
from deps import get_redis_client

logger = logging.getLogger(__name__)

"""
LIFESPAN = """\
@asynccontextmanager
async def lifespan(app):
    redis_client = await get_redis_client()
    yield
"""


def fix(folder: Path, text: str, dependencies: str = DEPENDENCIES):
    (folder / "deps.py").write_text(textwrap.dedent(dependencies))
    (folder / "main.py").write_text(text)
    return repair(str(folder / "main.py"))


def shutdown(text: str) -> str:
    """A program whose lifespan has this code after its ``yield``."""
    return HEAD + LIFESPAN + textwrap.indent(textwrap.dedent(text), "    ")


# What stands after the yield, before and after.
WRITTEN = {
    "in a try with other steps": (
        """\
        try:
            await redis_client.close()
            store.persist()
        except Exception as e:
            logger.error(f"Shutdown error: {e}")
        """,
        """\
        try:
            try:
                await redis_client.disconnect()
                logger.info("✓ Redis connections closed")
            except Exception as error:
                logger.warning(f"Redis cleanup skipped: {error}")
            store.persist()
        except Exception as e:
            logger.error(f"Shutdown error: {e}")
        """,
    ),
    "the runbook's own fix": (
        """\
        try:
            redis_client = get_redis_client()
            if hasattr(redis_client, 'close'):
                redis_client.close()  # ✅ Check if method exists first
            logger.info("✓ Redis connections closed")
        except Exception as redis_err:
            logger.warning(f"Redis cleanup skipped: {redis_err}")
        """,
        """\
        try:
            redis_client = await get_redis_client()
            await redis_client.disconnect()  # ✅ Check if method exists first
            logger.info("✓ Redis connections closed")
        except Exception as redis_err:
            logger.warning(f"Redis cleanup skipped: {redis_err}")
        """,
    ),
    "a try of its own that says nothing": (
        """\
        try:
            await redis_client.close()
        except Exception:
            # whatever
            pass
        store.persist()
        """,
        """\
        try:
            await redis_client.disconnect()
            logger.info("✓ Redis connections closed")
        except Exception as error:
            # whatever
            logger.warning(f"Redis cleanup skipped: {error}")
        store.persist()
        """,
    ),
    "a try that raises again": (
        """\
        try:
            await redis_client.close()
        except Exception:
            raise
        """,
        """\
        try:
            try:
                await redis_client.disconnect()
                logger.info("✓ Redis connections closed")
            except Exception as error:
                logger.warning(f"Redis cleanup skipped: {error}")
        except Exception:
            raise
        """,
    ),
    "success logged later": (
        """\
        await redis_client.close()
        store.persist()
        logger.info("✓ Redis connections closed")
        logger.info("✓ Store persisted")
        """,
        """\
        try:
            await redis_client.disconnect()
            logger.info("✓ Redis connections closed")
        except Exception as error:
            logger.warning(f"Redis cleanup skipped: {error}")
        store.persist()
        logger.info("✓ Store persisted")
        """,
    ),
    "a guard, a reset and comments": (
        """\
        # first of all
        if redis_client:  # it may be off
            # goodbye
            await redis_client.close()  # gone
            redis_client = None
        # then
        store.persist()
        """,
        """\
        # first of all
        if redis_client:  # it may be off
            # goodbye
            try:
                await redis_client.disconnect()  # gone
                logger.info("✓ Redis connections closed")
            except Exception as error:
                logger.warning(f"Redis cleanup skipped: {error}")
            redis_client = None
        # then
        store.persist()
        """,
    ),
    "the getter and a guard": (
        """\
        client = get_redis_client()
        if client is not None:
            client.disconnect()
        """,
        """\
        try:
            client = await get_redis_client()
            if client is not None:
                await client.disconnect()
                logger.info("✓ Redis connections closed")
        except Exception as error:
            logger.warning(f"Redis cleanup skipped: {error}")
        """,
    ),
    "the getter far away": (
        """\
        client = get_redis_client()
        store.persist()
        client.close()
        """,
        """\
        store.persist()
        try:
            client = await get_redis_client()
            await client.disconnect()
            logger.info("✓ Redis connections closed")
        except Exception as error:
            logger.warning(f"Redis cleanup skipped: {error}")
        """,
    ),
    "single quotes": (
        """\
        await redis_client.close()
        store.persist('all')
        """,
        """\
        try:
            await redis_client.disconnect()
            logger.info('✓ Redis connections closed')
        except Exception as error:
            logger.warning(f'Redis cleanup skipped: {error}')
        store.persist('all')
        """,
    ),
    "a time limit": (
        "await asyncio.wait_for(redis_client.close(), timeout=5)\n",
        """\
        try:
            await asyncio.wait_for(redis_client.disconnect(), timeout=5)
            logger.info("✓ Redis connections closed")
        except Exception as error:
            logger.warning(f"Redis cleanup skipped: {error}")
        """,
    ),
    "nobody waits for the task": (
        "asyncio.create_task(redis_client.disconnect())\n",
        """\
        try:
            await redis_client.disconnect()
            logger.info("✓ Redis connections closed")
        except Exception as error:
            logger.warning(f"Redis cleanup skipped: {error}")
        """,
    ),
    "several statements in a line": (
        "redis_client.close(); store.persist()  # both\n",
        """\
        try:
            await redis_client.disconnect()
            logger.info("✓ Redis connections closed")
        except Exception as error:
            logger.warning(f"Redis cleanup skipped: {error}")
        store.persist()  # both
        """,
    ),
    "one line for all": (
        "if redis_client: await redis_client.close()\n",
        """\
        if redis_client:
            try:
                await redis_client.disconnect()
                logger.info("✓ Redis connections closed")
            except Exception as error:
                logger.warning(f"Redis cleanup skipped: {error}")
        """,
    ),
    "the name of the error is taken": (
        """\
        error = None
        await redis_client.close()
        store.persist(error)
        """,
        """\
        error = None
        try:
            await redis_client.disconnect()
            logger.info("✓ Redis connections closed")
        except Exception as redis_error:
            logger.warning(f"Redis cleanup skipped: {redis_error}")
        store.persist(error)
        """,
    ),
    "a second attempt that fails too": (
        """\
        try:
            await redis_client.close()
        except AttributeError:
            redis_client.disconnect()
        """,
        """\
        try:
            await redis_client.disconnect()
            logger.info("✓ Redis connections closed")
        except Exception as error:
            logger.warning(f"Redis cleanup skipped: {error}")
        """,
    ),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_the_block_is_written_so(tmp_path, name):
    before, after = WRITTEN[name]
    result = fix(tmp_path, shutdown(before))
    assert (result.status, result.data.decode()) == ("patched", shutdown(after))
    assert result.close["name"] == "disconnect" and result.close["is_async"]
    again = fix(tmp_path, result.data.decode())
    assert (again.status, again.data) == ("already_correct", result.data)


RIGHT = {
    "awaited": "await redis_client.disconnect()",
    "through the getter": "await (await get_redis_client()).disconnect()",
    "in a gathering": "await asyncio.gather(redis_client.disconnect(), store.stop())",
    "a list of tasks": "tasks = [redis_client.disconnect(), store.stop()]\nawait asyncio.gather(*tasks)",
    "a task that is waited for": "task = asyncio.create_task(redis_client.disconnect())\nawait task",
    "after a failed attempt": (
        "with contextlib.suppress(Exception):\n    await redis_client.close()\nawait redis_client.disconnect()"
    ),
    "in the handler": "try:\n    redis_client.close()\nexcept AttributeError:\n    await redis_client.disconnect()",
    "in another file": "from deps import close_redis\nawait close_redis()",
    "if it has it": "if hasattr(redis_client, 'disconnect'):\n    await redis_client.disconnect()",
    "whatever it has": "close = getattr(redis_client, 'disconnect', None)\nif close:\n    await close()",
}


@pytest.mark.parametrize("name", RIGHT)
def test_whatever_closes_is_left_alone(tmp_path, name):
    text = shutdown(RIGHT[name])
    result = fix(tmp_path, text)
    assert (result.status, result.data.decode()) == ("already_correct", text)


def test_a_callback_of_an_exit_stack_and_a_context_manager_close(tmp_path):
    for line in (
        "stack.push_async_callback(redis_client.disconnect)",
        "app.add_event_handler('shutdown', redis_client.disconnect)",
    ):
        text = HEAD + LIFESPAN.replace("    yield\n", f"    {line}\n    yield\n")
        assert fix(tmp_path, text).status == "already_correct"
    text = HEAD + LIFESPAN.replace("    yield\n", "    async with redis_client:\n        yield\n")
    assert fix(tmp_path, text).status == "already_correct"


LOOK_ALIKES = {
    "nothing at all": "x = 1\n",
    "no shutdown": HEAD + "async def index():\n    return await (await get_redis_client()).get('x')\n",
    "a request that closes wrongly": HEAD
    + "async def index():\n    client = await get_redis_client()\n    await client.close()\n",
    "another client": HEAD + LIFESPAN + "    await database.close()\n",
    "only its name": HEAD + LIFESPAN + "    logger.info('redis_client.close()')\n    # await redis_client.close()\n",
    "a file of that name": HEAD + "def shutdown():\n    redis = open('redis.conf')\n    redis.close()\n",
    "another class": HEAD
    + "class Redisplay:\n    def stop(self): ...\n\ndef shutdown():\n    view = Redisplay()\n    view.close()\n",
    "no such getter": "def shutdown():\n    pool.close()\n    redis_client.close()\n",
    "before the yield": HEAD + LIFESPAN.replace("    yield\n", "    redis_client.close()\n    yield\n"),
    "a getter of a dict": "def get_redis_client():\n    return {}\ndef shutdown():\n    get_redis_client().clear()\n",
    "a nested function": HEAD + LIFESPAN + "    def later():\n        redis_client.close()\n",
    "a subscription": HEAD + "def shutdown():\n    pubsub = redis_manager.pubsub()\n    pubsub.close()\n",
    "a helper that only logs": HEAD + "from deps import log_close\n" + LIFESPAN + "    log_close()\n",
}


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_what_is_none_of_our_business_is_not_found(tmp_path, name):
    result = fix(tmp_path, LOOK_ALIKES[name])
    assert (result.status, result.data.decode()) == ("not_found", LOOK_ALIKES[name])
    assert result.close is None and result.seen


GETTER = "class RedisClient:\n    async def disconnect(self):\n        await self.pool.drain()\n\n"
REFUSED = {
    "another step in the same statement": (
        shutdown("await asyncio.gather(redis_client.close(), store.stop())"),
        DEPENDENCIES,
        ("main.py:13: redis_client.close() raises AttributeError", "holds another step"),
    ),
    "another step under the same condition": (
        shutdown("if hasattr(redis_client, 'close'):\n    redis_client.close()\n    store.persist()"),
        DEPENDENCIES,
        ("main.py:13: redis_client.close() is never called", "holds another step"),
    ),
    "unknown result": (
        shutdown("await redis_client.close()"),
        "import somewhere\n\nasync def get_redis_client():\n    return await somewhere.client()\n",
        ("deps.py:3: cannot tell what get_redis_client() returns", "Annotate its return type"),
    ),
    "nothing to close it with": (
        shutdown("await redis_client.close()"),
        "class RedisClient:\n    def get(self): ...\n"
        "_c = RedisClient()\nasync def get_redis_client():\n    return _c\n",
        ("main.py:13: RedisClient (deps.py:1) has no method that closes it: it has get",),
    ),
    "a new client each time": (
        HEAD + "async def shutdown():\n    client = get_redis_client()\n    await client.disconnect()\n",
        GETTER + "def get_redis_client():\n    return RedisClient()\n",
        ("main.py:11: client is made anew at shutdown", "makes a new client at every call"),
    ),
    "a cached coroutine": (
        HEAD + "async def shutdown():\n    redis_client.close()\n",
        "from functools import lru_cache\n"
        + GETTER
        + "@lru_cache\nasync def get_redis_client():\n    return RedisClient()\n",
        ("main.py:10: redis_client has no value at shutdown", "works only once"),
    ),
    "a plain function that somebody calls": (
        HEAD + "def shutdown():\n    client = get_redis_client()\n    client.close()\n\nshutdown()\n",
        DEPENDENCIES,
        ("main.py:11: client is a coroutine", "shutdown() is a plain function"),
    ),
    "two classes": (
        shutdown("redis_client.close()"),
        "class A:\n    def close(self): run()\nclass B:\n    def stop(self): run()\n"
        "async def get_redis_client():\n    return _a if x else _b\n_a = A()\n_b = B()\n",
        ("main.py:13: redis_client may be A or B, and only some of them have close()",),
    ),
    "a base nobody can read": (
        shutdown("await redis_client.close()"),
        "from vendor import Base\nclass RedisClient(Base): ...\n"
        "_c = RedisClient()\nasync def get_redis_client():\n    return _c\n",
        ("main.py:13: cannot tell whether RedisClient has close(): its base vendor.Base",),
    ),
    "used for something else": (
        shutdown("client = get_redis_client()\nclient.flush()\nstore.persist()\nclient.close()"),
        DEPENDENCIES,
        ("main.py:14: ", "client is used for something else too"),
    ),
    "one attempt keeps the other from being reached": (
        shutdown("await redis_client.close()\nawait redis_client.disconnect()"),
        DEPENDENCIES,
        ("main.py:13: redis_client.close() raises AttributeError", "keeps line 14 from closing it"),
    ),
    "in another file": (
        shutdown("from deps import stop\nawait stop()"),
        DEPENDENCIES + "\nasync def stop():\n    await _client.close()\n",
        ("the shutdown code is in another file", "Name that file as path"),
    ),
    "not Python": ("def shutdown(:\n", DEPENDENCIES, ("main.py:1: this is no Python that",)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_left_open_is_refused_with_what_was_seen(tmp_path, name):
    text, dependencies, parts = REFUSED[name]
    with pytest.raises(HotfixError) as refused:
        fix(tmp_path, text, dependencies)
    for part in parts:
        assert part in str(refused.value)
    assert (tmp_path / "main.py").read_text() == text


LIBRARY = """\
import redis
from redis import asyncio as aredis

{getter}
    return _client

_client = {client}
"""
PINS = {
    # The client, whether it is asynchronous, the version pinned; what is called, and what it becomes.
    "sync": ("redis.Redis()", None, "close", None),
    "sync, before 5.0.1": ("redis.Redis()", "4.6.0", "close", "connection_pool.disconnect"),
    "sync, shared pool": ("redis.Redis(connection_pool=pool)", None, "close", "connection_pool.disconnect"),
    "async": ("aredis.from_url('redis://')", None, "aclose", None),
    "async, deprecated": ("aredis.Redis()", "5.2.1", "close", None),
    "async, before 5.0.1": ("aredis.Redis.from_url('redis://')", "4.6.0", "aclose", "close"),
    "async, shared pool": ("aredis.Redis(connection_pool=pool)", None, "aclose", "connection_pool.disconnect"),
    "async, no such method": ("aredis.StrictRedis()", None, "disconnect", "aclose"),
}


@pytest.mark.parametrize("name", PINS)
def test_redis_pys_own_clients_are_known(tmp_path, name):
    client, version, called, becomes = PINS[name]
    if version:
        (tmp_path / "requirements.txt").write_text(f"fastapi\nredis[hiredis]=={version}\n")
    word = "await " if "aredis" in client else ""
    code = f"def shutdown():\n    client = get_redis_client()\n    {word}client.{called}()\n"
    text = HEAD + ("async " if word else "") + code
    result = fix(tmp_path, text, LIBRARY.format(getter="def get_redis_client():", client=client))
    assert result.status == ("already_correct" if becomes is None else "patched"), result.seen
    assert f"{word}client.{becomes or called}()" in result.data.decode()
    assert result.close["is_async"] is bool(word) and result.close["file"] is None


def test_a_pin_in_a_lock_file_counts(tmp_path):
    (tmp_path / "poetry.lock").write_text('[[package]]\nname = "redis"\nversion = "4.5.5"\n')
    assert pinned_version(str(tmp_path)) == (4, 5, 5)
    assert pinned_version(str(tmp_path / "nowhere")) == (4, 5, 5)


def test_the_report_names_the_getter_and_the_method(tmp_path):
    result = fix(tmp_path, shutdown("redis_client.disconnect()"))
    assert result.getter == {"name": "get_redis_client", "is_async": True, "file": "deps.py", "line": 11}
    assert result.seen == (
        "in lifespan(), line 13, redis_client.disconnect() is a coroutine and is not awaited, "
        "so the connection stays open"
    )
    assert result.close == {
        "name": "disconnect",
        "is_async": True,
        "class": "RedisClient",
        "file": "deps.py",
        "line": 3,
        "place": "lifespan",
        "function": "lifespan",
        "shutdown_line": 14,
    }


def test_a_handler_becomes_async_where_the_framework_allows_it(tmp_path):
    code = '@app.on_event("shutdown")\n{}def stop():\n    {}'
    result = fix(tmp_path, HEAD + code.format("", "get_redis_client().close()\n"))
    assert (
        "async def stop():\n    try:\n        await (await get_redis_client()).disconnect()\n" in result.data.decode()
    )


def test_a_plain_place_takes_a_plain_method(tmp_path):
    dependencies = (
        "class RedisClient:\n    async def aclose(self):\n        await self.p.stop()\n    def disconnect(self):\n"
        "        self.p.kill()\n_c = RedisClient()\ndef get_redis_client():\n    return _c\n"
    )
    result = fix(tmp_path, HEAD + "def shutdown():\n    get_redis_client().close()\nshutdown()\n", dependencies)
    assert "        get_redis_client().disconnect()\n" in result.data.decode()


def test_the_import_is_repeated_where_the_shutdown_does_not_see_it(tmp_path):
    code = "async def start():\n    from deps import get_redis_client as get\n    await get()\n\n"
    result = fix(tmp_path, code + "async def shutdown():\n    await redis_client.close()\n")
    assert (
        "        from deps import get_redis_client as get\n        redis_client = await get()\n" in result.data.decode()
    )
    assert 'print("✓ Redis connections closed")' in result.data.decode()


def test_a_name_imported_while_it_was_none_is_not_taken_for_the_client(tmp_path):
    text = HEAD + "from deps import _client\n\nasync def shutdown():\n    await _client.disconnect()\n"
    result = fix(tmp_path, text)
    assert "imported while it was None" in result.seen
    assert "_client = await get_redis_client()\n        await _client.disconnect()" in result.data.decode()


def test_a_wrapper_that_leaves_its_connection_open_is_not_trusted(tmp_path):
    dependencies = (
        "from redis.asyncio import Redis\nclass RedisClient:\n    def __init__(self):\n        self.redis = Redis()\n"
        "    async def close(self):\n        self.redis.aclose()\n"
        "_c = RedisClient()\nasync def get_redis_client():\n    return _c\n"
    )
    result = fix(tmp_path, shutdown("await redis_client.close()"), dependencies)
    assert "redis_client.close() leaves the connection open (RedisClient)" in result.seen
    assert "await redis_client.redis.aclose()" in result.data.decode()


BROKEN = shutdown("await redis_client.close()\nstore.persist()\n")


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "cp1252"])
@pytest.mark.parametrize("indent", ["    ", "\t", "  "])
@pytest.mark.parametrize("is_ended", [True, False])
def test_bytes_outside_of_the_block_stay(tmp_path, newline, encoding, indent, is_ended):
    cookie = f"# -*- coding: {encoding} -*-\n" if encoding in ("latin-1", "cp1252") else ""
    text = (cookie + "# \x0c caf\u00e9\n" + BROKEN).replace("    ", indent).replace("\n", newline)
    text = text if is_ended else text[: -len(newline)]
    (tmp_path / "deps.py").write_text(DEPENDENCIES)
    (tmp_path / "main.py").write_bytes(text.encode(encoding))
    result = repair(str(tmp_path / "main.py"))
    start, _old, end = text.partition(f"{indent}await redis_client.close()")
    before, after = start.encode(encoding), end.encode(encoding.replace("-sig", ""))
    assert result.status == "patched" and result.data.startswith(before) and result.data.endswith(after)
    written = result.data[len(before) : len(result.data) - len(after)].decode(encoding)
    tick = "✓" if encoding.startswith("utf") else "\\u2713"
    assert written.split(newline) == [
        f"{indent}try:",
        f"{indent}{indent}await redis_client.disconnect()",
        f'{indent}{indent}logger.info("{tick} Redis connections closed")',
        f"{indent}except Exception as error:",
        f'{indent}{indent}logger.warning(f"Redis cleanup skipped: {{error}}")',
    ]


def test_the_root_is_the_closest_parent_that_makes_the_imports_work(tmp_path):
    package = tmp_path / "src" / "shop" / "web"
    package.mkdir(parents=True)
    (tmp_path / "src" / "shop" / "deps.py").write_text(DEPENDENCIES)
    text = shutdown("await redis_client.close()").replace("from deps", "from shop.deps")
    (package / "main.py").write_text(text)
    assert find_root(str(package / "main.py")) == str(tmp_path / "src")
    assert repair(str(package / "main.py")).getter["file"] == "shop/deps.py"
    (package / "main.py").write_text(text.replace("from shop.deps", "from ..deps"))
    assert repair(str(package / "main.py")).status == "patched"


def test_a_directory_named_like_the_library_is_not_the_library(tmp_path):
    (tmp_path / "redis").mkdir()
    (tmp_path / "redis" / "redis.conf").write_text("port 6379\n")
    text = HEAD + "async def shutdown():\n    await get_redis_client().aclose()\n"
    dependencies = LIBRARY.format(getter="def get_redis_client():", client="aredis.Redis()")
    assert fix(tmp_path, text, dependencies).status == "already_correct"


def test_an_expression_that_is_too_deep_is_no_traceback(tmp_path):
    with pytest.raises(HotfixError, match=r"main\.py"):
        fix(tmp_path, shutdown(f"x = {'-' * 5000}1\nredis_client.close()\n"))


@given(st.text(alphabet="a \t\r\n\f\v\x1c\u2028é"))
def test_lines_are_those_that_python_counts(text):
    lines = split_lines(text)
    assert "".join(lines) == text
    assert all(line.count("\n") + line.count("\r") - line.count("\r\n") == 1 for line in lines[:-1])
