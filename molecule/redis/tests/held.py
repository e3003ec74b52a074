# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside the application's container: start and stop the application, and stay alive at both points."""

import asyncio
import pathlib

from backend.core.dependencies import get_redis_client
from backend.main import app


async def held(point: str) -> None:
    pathlib.Path("/tmp", point).touch()
    while not pathlib.Path("/tmp", f"after-{point}").exists():
        await asyncio.sleep(0.05)


async def main() -> None:
    async with app.router.lifespan_context(app):
        await get_redis_client()
        await held("started")
    await held("stopped")


asyncio.run(main())
