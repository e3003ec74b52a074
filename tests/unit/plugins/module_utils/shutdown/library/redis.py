# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands for redis-py: it is found by its name, outside of the project."""

import pathlib

import record

# Where `redis.asyncio` is found.
__path__ = [str(pathlib.Path(__file__).with_name("redis_modules"))]


class ConnectionPool:
    def disconnect(self):
        record.EVENTS.append("closed")


class Redis:
    def __init__(self, connection_pool=None):
        self.connection_pool = connection_pool or ConnectionPool()
        self._owns_pool = connection_pool is None

    def close(self):
        if self._owns_pool:
            self.connection_pool.disconnect()


def from_url(url):
    return Redis()
