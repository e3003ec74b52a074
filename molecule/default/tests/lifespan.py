# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside the application's container: start and stop the application, counting its sockets to Redis."""

import asyncio
import json
import os
import re

from backend.core.dependencies import get_redis_client
from backend.main import app


def sockets() -> int:
    """How many sockets of this process are connected to port 6379."""
    with open("/proc/self/net/tcp") as table:
        rows = [line.split() for line in table][1:]
    to_redis = {row[9] for row in rows if row[2].endswith(f":{6379:04X}") and row[3] == "01"}
    links = [
        os.readlink(f"/proc/self/fd/{fd}")
        for fd in os.listdir("/proc/self/fd")
        if os.path.islink(f"/proc/self/fd/{fd}")
    ]
    return len(to_redis & {match.group(1) for link in links if (match := re.match(r"socket:\[(\d+)\]", link))})


async def main() -> None:
    async with app.router.lifespan_context(app):
        await get_redis_client()
        started = sockets()
    print(json.dumps({"started": started, "stopped": sockets()}))


asyncio.run(main())
