# SPDX-License-Identifier: GPL-3.0-or-later
"""A small ASGI application whose workers die on request, each way for real. It goes into the images of this folder."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

from pydantic_settings import BaseSettings


class Settings(BaseSettings):
    """Read at import, as the runbook's application does."""

    valid_api_keys: list[str] = []
    stick_at_import: int = 0


SETTINGS = Settings()
HELD: list[bytearray] = []


def grow(mebibytes: int) -> None:
    """Take memory and keep it, page by page as a model does that is loaded."""
    block = bytearray(mebibytes * 1024**2)
    block[::4096] = b"x" * len(block[::4096])
    HELD.append(block)


def stick(seconds: int) -> None:
    """C code that does not let go of the interpreter's lock: ``PyDLL`` keeps it, where ``CDLL`` would release it."""
    ctypes.PyDLL(None).sleep(seconds)


# As a model does that is loaded in C code.
stick(SETTINGS.stick_at_import)

ACTIONS: dict[str, Callable[[int], Any]] = {
    "/health": lambda _number: None,
    "/grow": grow,
    "/stick": stick,
    "/exit": os._exit,
    "/segfault": lambda _number: ctypes.string_at(0),
}


Send = Callable[[dict[str, Any]], Awaitable[None]]


async def app(scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Send) -> None:
    """Do what the path says with the number in the query."""
    if scope["type"] != "http":
        return
    number = int(parse_qs(scope["query_string"].decode()).get("n", ["0"])[0])
    ACTIONS[scope["path"]](number)
    headers = [(b"content-type", b"text/plain"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": f"{os.getpid()}".encode()})
