# SPDX-License-Identifier: GPL-3.0-or-later
"""How the clients of redis-py, and those made after them, are closed.

Read in the sources of redis-py 4.5.5, 4.6.0, 5.0.0, 5.0.1, 5.2.1 and 8.1.0, aioredis 1.3 and 2.0:

* ``redis.Redis.close()`` closes the connections from 5.0.1 on; before, it gives one back to the pool, open.
* ``redis.asyncio.Redis`` has ``aclose()`` from 5.0.1 on, ``close()`` always (deprecated since), both coroutines.
* A client that was given a ``connection_pool`` leaves that pool open in every version.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

SYNC = "redis.Redis"
ASYNC = "redis.asyncio.Redis"
OLD = "aioredis.Redis"
# A client whose pool belongs to the caller.
SHARED = " with a pool of its own"
ACLOSE_SINCE = (5, 0, 1)

CLASSES = [
    (r"redis(\.client)?\.(Strict)?Redis|fakeredis\.Fake(Strict)?Redis", SYNC),
    (r"redis\.asyncio(\.client)?\.(Strict)?Redis|fakeredis\.(aioredis\.Fake(Strict)?Redis|FakeAsyncRedis)", ASYNC),
    (r"redis(\.cluster)?\.RedisCluster", "redis.RedisCluster"),
    (r"redis\.asyncio(\.cluster)?\.RedisCluster", "redis.asyncio.RedisCluster"),
    (r"redis(\.connection)?\.(Blocking)?ConnectionPool", "redis.ConnectionPool"),
    (r"redis\.asyncio(\.connection)?\.(Blocking)?ConnectionPool", "redis.asyncio.ConnectionPool"),
    (r"aioredis(\.client)?\.(Strict)?Redis", OLD),
]
FACTORIES = [
    (r"redis(\.utils)?\.from_url|redis(\.sentinel)?\.Sentinel\.(master|slave)_for", SYNC),
    (r"redis\.asyncio(\.utils)?\.from_url|redis\.asyncio(\.sentinel)?\.Sentinel\.(master|slave)_for", ASYNC),
    (r"aioredis\.from_url", OLD),
]


class ClosingMethod(NamedTuple):
    """Whether a method must be awaited, and whether it really closes the connections."""

    is_async: bool
    closes: bool


METHODS = {
    SYNC: {"close": ClosingMethod(False, True)},
    SYNC + SHARED: {"close": ClosingMethod(False, False)},
    ASYNC: {"aclose": ClosingMethod(True, True), "close": ClosingMethod(True, True)},
    ASYNC + SHARED: {"aclose": ClosingMethod(True, False), "close": ClosingMethod(True, False)},
    "redis.RedisCluster": {"close": ClosingMethod(False, True)},
    "redis.asyncio.RedisCluster": {"aclose": ClosingMethod(True, True), "close": ClosingMethod(True, True)},
    "redis.ConnectionPool": {"disconnect": ClosingMethod(False, True), "close": ClosingMethod(False, True)},
    "redis.asyncio.ConnectionPool": {"disconnect": ClosingMethod(True, True), "aclose": ClosingMethod(True, True)},
    OLD: {"close": ClosingMethod(True, True)},
    "aioredis 1": {"close": ClosingMethod(False, True)},
}


def called(name: str, keywords: Collection[str]) -> tuple[str, bool]:
    """What a call of something outside of the project makes: the class's name, and whether it must be awaited.

    :param name: the dotted name that is called; an unknown one is taken for a class.
    :param keywords: the names of the arguments.
    """
    if re.fullmatch(r"aioredis\.create_redis(_pool)?", name):
        return "aioredis 1", True
    owner, _dot, attribute = name.rpartition(".")
    known = METHODS.get(called(owner, ())[0], {}).get(attribute) if owner else None
    if known is not None:
        return "builtins.None", known.is_async
    plain = re.sub(r"\.from_(url|pool)$", "", name)
    for pattern, made in (*CLASSES, *FACTORIES):
        if re.fullmatch(pattern, name) or (plain != name and re.fullmatch(pattern, plain)):
            return (made + SHARED if "connection_pool" in keywords and made + SHARED in METHODS else made), False
    return name, False


def method(owner: str, name: str, version: tuple[int, ...] | None) -> ClosingMethod | None:
    """A closing method of a class of the library.

    :param owner: a class's dotted name, or one that :func:`called` gave.
    :param version: the version of redis-py that the project pins; the newest when it pins none.
    """
    found = METHODS.get(called(owner, ())[0], {}).get(name)
    if found is None or version is None or version >= ACLOSE_SINCE:
        return found
    if name == "aclose" or (owner.endswith("ConnectionPool") and name == "close"):
        return None
    if called(owner, ())[0] == SYNC:
        return ClosingMethod(False, False)
    return found
