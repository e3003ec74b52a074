# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts and stops an ASGI application in this process, and counts its Redis connections in between and afterwards.

Where that is all that is wanted, it is only imported.

The text of this file is handed to the Python of the application's own image (3.8 or newer), where nothing else of the
collection is: it needs the standard library only. The end of a process closes its sockets whatever its code does, so
what is open after the shutdown is counted while the process still lives.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import logging.config
import os
import re
import signal
import sys
import time
from typing import Any

# Seconds that a connection may take to go after the shutdown: asyncio closes a transport a step later.
GRACE = 1.0
LISTENING = "0A"


def redis_connections(port: int, root: str = "/proc/self") -> int:
    """How many sockets of this process are connected to a port, whatever the state of the connection."""
    inodes = set()
    for name in os.listdir(root + "/fd"):
        with contextlib.suppress(OSError):
            match = re.match(r"socket:\[(\d+)\]", os.readlink(root + "/fd/" + name))
            if match:
                inodes.add(match.group(1))
    # By inode: the kernel lists a socket twice when others come and go while the table is read.
    connected = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError), open(root + "/net/" + table) as stream:
            for line in stream.readlines()[1:]:
                fields = line.split()
                is_to_port = int(fields[2].rpartition(":")[2], 16) == port
                if is_to_port and fields[3] != LISTENING:
                    connected.add(fields[9])
    return len(connected & inodes)


def load(application: str, is_factory: bool) -> Any:
    """The application of an import string such as ``backend.main:app``."""
    module, _colon, path = application.partition(":")
    found: Any = importlib.import_module(module)
    for name in (path or "app").split("."):
        found = getattr(found, name)
    return found() if is_factory else found


class Lifespan:
    """The server's side of the lifespan protocol (https://asgi.readthedocs.io/en/latest/specs/lifespan.html)."""

    def __init__(self, application: Any) -> None:
        self.application = application
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.outgoing: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.state: dict[str, Any] = {}
        self.error: str | None = None
        self.task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        try:
            await self.application(scope, self.incoming.get, self.outgoing.put)
        except Exception as error:
            self.error = type(error).__name__
        finally:
            await self.outgoing.put({"type": "ended"})

    async def step(self, name: str) -> str:
        """Send ``startup`` or ``shutdown``; ``complete``, ``failed``, or ``unsupported`` without any answer."""
        await self.incoming.put({"type": "lifespan." + name})
        answer = (await self.outgoing.get())["type"]
        if answer == "ended":
            return "unsupported" if name == "startup" else "failed"
        return str(answer).rpartition(".")[2]


async def request(lifespan: Lifespan, path: str) -> None:
    """One GET inside of the process, for an application that connects when it is first used."""
    target, _mark, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": target,
        "raw_path": target.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "state": dict(lifespan.state),
    }
    answered = asyncio.Event()
    sent: list[dict[str, Any]] = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, Any]:
        if sent:
            return sent.pop()
        await answered.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body"):
            answered.set()

    with contextlib.suppress(Exception):
        await lifespan.application(scope, receive, send)


async def probe(options: dict[str, Any], result: dict[str, Any]) -> None:
    """Start, count, stop, count again; ``result`` is filled on the way, so that a timeout shows how far it came."""
    application = load(options["application"], options["factory"])
    result["imported"] = True
    if options.get("only_import"):
        return
    lifespan = Lifespan(application)
    result["startup"] = await lifespan.step("startup")
    result["error"] = lifespan.error
    if result["startup"] != "complete":
        return
    if options["request_path"]:
        await request(lifespan, options["request_path"])
    result["connections_before"] = redis_connections(options["redis_port"])
    result["shutdown"] = await lifespan.step("shutdown")
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(asyncio.shield(lifespan.task), GRACE)
    result["error"] = lifespan.error
    end = time.monotonic() + GRACE
    while True:
        result["connections_after"] = redis_connections(options["redis_port"])
        if not result["connections_after"] or time.monotonic() > end:
            return
        await asyncio.sleep(0.05)


def main() -> None:
    """Entry point: the first argument is a JSON object with the options."""
    options = json.loads(sys.argv[1])
    os.dup2(1, 2)
    result: dict[str, Any] = {
        "startup": None,
        "shutdown": None,
        "connections_before": 0,
        "connections_after": None,
        "error": None,
        "imported": False,
        "from_system": False,
    }

    def finish(*_signal: object) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        if _signal:
            result["error"] = "timeout"
        os.write(1, ("\n" + options["mark"] + " " + json.dumps(result) + "\n").encode())
        os._exit(0)

    signal.signal(signal.SIGALRM, finish)
    signal.alarm(options["timeout"])
    for folder in reversed(options["folders"]):
        sys.path.insert(0, folder)
    with contextlib.suppress(Exception):
        # An application may log through the server's loggers.
        logging.config.dictConfig(importlib.import_module("uvicorn.config").LOGGING_CONFIG)
    try:
        asyncio.run(probe(options, result))
    except BaseException as error:
        result["error"] = type(error).__name__
        result["from_system"] = isinstance(error, OSError)
    finish()


if __name__ == "__main__":
    main()
