# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings, read from the environment."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

DEVELOPMENT_KEY_PREFIX = "dev-"
PRODUCTION_OPENAI_PREFIX = "sk-proj-"


class Settings(BaseSettings):
    """One field per variable; lists are JSON."""

    model_config = SettingsConfigDict(extra="ignore")

    environment: str = "development"
    debug: bool = False
    log_level: str = "INFO"

    valid_api_keys: list[str] = Field(min_length=1)
    jwt_secret_key: str = Field(min_length=1)
    cors_origins: list[str] = []

    rate_limit_enabled: bool = False
    rate_limit_per_minute: int = Field(default=6000, ge=1)

    redis_url: str = "redis://redis:6379/0"
    cache_ttl_seconds: int = Field(default=600, ge=1)

    openai_api_key: str = ""
    openai_base_url: str = "https://api.openai.com/v1"
    openai_model: str = "gpt-4o-mini"

    vector_db_path: Path = Path("/app/data/vector_db.npz")
    # The index, which each worker holds, takes 92 MB at 256 dimensions and grows in proportion.
    embedding_dimensions: int = Field(default=256, ge=16, le=4096)

    @property
    def has_development_keys(self) -> bool:
        return any(key.startswith(DEVELOPMENT_KEY_PREFIX) for key in self.valid_api_keys)

    @property
    def has_production_openai_key(self) -> bool:
        return self.openai_api_key.startswith(PRODUCTION_OPENAI_PREFIX)


@lru_cache
def get_settings() -> Settings:
    return Settings()
