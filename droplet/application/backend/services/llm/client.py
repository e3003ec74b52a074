# SPDX-License-Identifier: GPL-3.0-or-later
"""The language model behind the chat."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator

import httpx

from backend.core.config import get_settings
from backend.services.cache.redis_client import RedisClient

logger = logging.getLogger(__name__)

Message = dict[str, str]


class LLMClient:
    def __init__(self, cache_client: RedisClient) -> None:
        self._cache = cache_client
        self._settings = get_settings()

    async def chat_stream(self, messages: list[Message]) -> AsyncIterator[str]:
        """The model's answer, piece by piece, as OpenAI streams it."""
        request = {"model": self._settings.openai_model, "messages": messages, "stream": True}
        headers = {"Authorization": f"Bearer {self._settings.openai_api_key}"}
        async with (
            httpx.AsyncClient(base_url=self._settings.openai_base_url, headers=headers, timeout=30) as client,
            client.stream("POST", "/chat/completions", json=request) as response,
        ):
            response.raise_for_status()
            async for line in response.aiter_lines():
                data = line.removeprefix("data: ")
                if data not in (line, "[DONE]"):
                    yield json.loads(data)["choices"][0]["delta"].get("content") or ""

    async def answer(self, question: str, passages: list[str]) -> str:
        """An answer out of the passages: by the model where there is a production key, else the passages themselves."""
        if not self._settings.has_production_openai_key:
            return " ".join(passages)
        key = f"chat:{question}"
        if (cached := await self._cache.get_json(key)) is not None:
            return str(cached)
        prompt = "Answer as a careful wealth coach, only from these notes:\n" + "\n".join(passages)
        messages = [{"role": "system", "content": prompt}, {"role": "user", "content": question}]
        try:
            text = "".join([piece async for piece in self.chat_stream(messages)])
        except httpx.HTTPError as error:
            logger.warning("OpenAI request failed: %s", error)
            return " ".join(passages)
        await self._cache.set_json(key, text, self._settings.cache_ttl_seconds)
        return text
