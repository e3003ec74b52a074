# SPDX-License-Identifier: GPL-3.0-or-later
"""Wealth Coach AI: the backend."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from backend.api.routes import router
from backend.core.config import get_settings
from backend.core.dependencies import get_embedding_model, get_redis_client, get_vector_store
from backend.core.logging import configure_logging

settings = get_settings()
configure_logging(settings.log_level)
logger = logging.getLogger(__name__)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    if settings.has_development_keys:
        logger.warning("⚠️  Development API keys detected - do not use in production!")
    redis_client = await get_redis_client()
    logger.info("✓ Redis connection established")
    get_vector_store().load()
    logger.info("✓ Vector database loaded")
    get_embedding_model().warm_up()
    logger.info("✓ Embedding model warmed up")
    logger.info("🚀 Server ready on 0.0.0.0:8000")

    yield

    try:
        await redis_client.close()
        logger.info("✓ Redis connections closed")
        get_vector_store().persist()
        logger.info("✓ Vector database persisted")
    except Exception as e:
        logger.error(f"Shutdown error: {e}")


app = FastAPI(title="Wealth Coach AI", debug=settings.debug, lifespan=lifespan)
app.add_middleware(CORSMiddleware, allow_origins=settings.cors_origins, allow_methods=["*"], allow_headers=["*"])
app.include_router(router)
