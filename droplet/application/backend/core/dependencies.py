# SPDX-License-Identifier: GPL-3.0-or-later
"""What the routes are given: the key check, the rate limiter and the one client of everything outside."""

from __future__ import annotations

import hashlib
import logging
import secrets
import time
from functools import lru_cache
from typing import Annotated

from fastapi import Depends, Header, HTTPException, Request, status

from backend.core.config import Settings, get_settings
from backend.services.cache.redis_client import RedisClient
from backend.services.llm.client import LLMClient
from backend.services.search.embedding import EmbeddingModel
from backend.services.search.vector_store import VectorStore

logger = logging.getLogger(__name__)
_redis_clients: dict[str, RedisClient] = {}


async def get_redis_client() -> RedisClient:
    """The process's Redis client, connected at its first use."""
    url = get_settings().redis_url
    if url not in _redis_clients:
        client = RedisClient(url)
        await client.connect()
        _redis_clients[url] = client
    return _redis_clients[url]


@lru_cache
def get_embedding_model() -> EmbeddingModel:
    return EmbeddingModel(get_settings().embedding_dimensions)


@lru_cache
def get_vector_store() -> VectorStore:
    return VectorStore(get_settings().vector_db_path, get_embedding_model())


async def get_llm_client() -> LLMClient:
    return LLMClient(cache_client=await get_redis_client())


async def require_api_key(
    request: Request,
    settings: Annotated[Settings, Depends(get_settings)],
    x_api_key: Annotated[str | None, Header()] = None,
) -> str:
    """The caller's key, or 401."""
    if x_api_key is not None:
        given = x_api_key.encode()
        if any(secrets.compare_digest(given, key.encode()) for key in settings.valid_api_keys):
            log_call(request, x_api_key)
            return x_api_key
    raise HTTPException(status.HTTP_401_UNAUTHORIZED, "Invalid or missing API key")


def log_call(request: Request, api_key: str) -> None:
    """Who called what, as a line of the log; the key as a part of its hash only."""
    logger.info(
        "API call",
        extra={
            "method": request.method,
            "path": request.url.path,
            "key_id": f"sha256:{hashlib.sha256(api_key.encode()).hexdigest()[:16]}",
            "user_agent": request.headers.get("user-agent", ""),
        },
    )


async def limit_rate(
    settings: Annotated[Settings, Depends(get_settings)],
    api_key: Annotated[str, Depends(require_api_key)],
    redis_client: Annotated[RedisClient, Depends(get_redis_client)],
) -> None:
    """At most so many calls a minute for each key, counted in Redis for all workers together."""
    if not settings.rate_limit_enabled:
        return
    calls = await redis_client.count(api_key, window=int(time.time() // 60))
    if calls > settings.rate_limit_per_minute:
        raise HTTPException(status.HTTP_429_TOO_MANY_REQUESTS, "Rate limit exceeded")
