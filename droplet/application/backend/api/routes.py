# SPDX-License-Identifier: GPL-3.0-or-later
"""The public API, version 1."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from backend.core.config import Settings, get_settings
from backend.core.dependencies import get_llm_client, get_redis_client, get_vector_store, limit_rate
from backend.services.cache.redis_client import RedisClient
from backend.services.llm.client import LLMClient
from backend.services.search.vector_store import VectorStore

router = APIRouter(prefix="/api/v1")
protected = APIRouter(dependencies=[Depends(limit_rate)])


class ChatRequest(BaseModel):
    message: str = Field(min_length=1, max_length=2000)


class ChatAnswer(BaseModel):
    answer: str
    sources: list[str]


@router.get("/health")
async def health() -> dict[str, str]:
    return {"status": "healthy"}


@protected.get("/search")
async def search(
    q: Annotated[str, Query(min_length=1, max_length=500)],
    settings: Annotated[Settings, Depends(get_settings)],
    redis_client: Annotated[RedisClient, Depends(get_redis_client)],
    store: Annotated[VectorStore, Depends(get_vector_store)],
    limit: Annotated[int, Query(ge=1, le=20)] = 5,
) -> dict[str, Any]:
    key = f"search:{limit}:{q}"
    results = await redis_client.get_json(key)
    if results is None:
        # In a thread, since the search is arithmetic and the event loop has other requests to serve.
        results = [asdict(hit) for hit in await asyncio.to_thread(store.search, q, limit)]
        await redis_client.set_json(key, results, settings.cache_ttl_seconds)
    return {"query": q, "results": results}


@protected.post("/chat")
async def chat(
    request: ChatRequest,
    store: Annotated[VectorStore, Depends(get_vector_store)],
    llm_client: Annotated[LLMClient, Depends(get_llm_client)],
) -> ChatAnswer:
    passages = [hit.text for hit in await asyncio.to_thread(store.search, request.message, 3)]
    return ChatAnswer(answer=await llm_client.answer(request.message, passages), sources=passages)


router.include_router(protected)
