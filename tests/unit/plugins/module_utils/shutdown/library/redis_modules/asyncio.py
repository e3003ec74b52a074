# SPDX-License-Identifier: GPL-3.0-or-later
"""The asynchronous half of what stands for redis-py."""

import record


class ConnectionPool:
    async def disconnect(self):
        record.EVENTS.append("closed")


class Redis:
    def __init__(self, connection_pool=None):
        self.connection_pool = connection_pool or ConnectionPool()
        self._owns_pool = connection_pool is None

    async def aclose(self):
        if self._owns_pool:
            await self.connection_pool.disconnect()

    async def close(self):
        await self.aclose()

    def __await__(self):
        yield from ()
        return self


def from_url(url):
    return Redis()
