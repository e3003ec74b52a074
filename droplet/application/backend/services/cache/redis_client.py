# SPDX-License-Identifier: GPL-3.0-or-later
"""The application's view of Redis: a cache of JSON values and a counter of calls."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError, TimeoutError


class RedisClient:
    def __init__(self, url: str) -> None:
        # Compose starts Redis and the workers at the same moment, so the first try may come too early.
        self._redis = Redis.from_url(
            url,
            decode_responses=True,
            socket_connect_timeout=5,
            client_name="wealth-coach",
            retry=Retry(ExponentialBackoff(cap=1, base=0.1), retries=6),
            retry_on_error=[ConnectionError, TimeoutError],
        )

    async def connect(self) -> None:
        await self._redis.ping()

    async def disconnect(self) -> None:
        await self._redis.aclose()

    async def get_json(self, key: str) -> Any | None:
        value = await self._redis.get(key)
        return None if value is None else json.loads(value)

    async def set_json(self, key: str, value: Any, ttl: int) -> None:
        await self._redis.set(key, json.dumps(value), ex=ttl)

    async def count(self, caller: str, window: int) -> int:
        """Add one call of a caller in a window and return how many it has made there."""
        key = f"calls:{hashlib.sha256(caller.encode()).hexdigest()[:16]}:{window}"
        async with self._redis.pipeline(transaction=True) as pipe:
            calls, _ = await pipe.incr(key).expire(key, 120).execute()
        return int(calls)
