# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs programs under uvicorn, beside a Redis, and prints what each did as a line of JSON: python ... FOLDER...

Redis is asked for its clients while a program serves, and again when its shutdown code has run and the process is still
there: the end of a process closes its sockets whatever its code did. Each program has a database of its own, by which
its connections are told from those of the others.
"""

import asyncio
import importlib
import json
import os
import pathlib
import signal
import socket
import sys
import time

import redis
import redis.asyncio
import uvicorn

# Loaded once: a program is a fork of this process.
importlib.import_module("fastapi")

AT_ONCE = 8  # a Redis has 16 databases
SECONDS = 20


class Paused:
    """An application that stays as it is when its shutdown code has run, until it is told to go on."""

    def __init__(self, app, stopped, go_on):
        self.app, self.stopped, self.go_on = app, stopped, go_on

    async def __call__(self, scope, receive, send):
        async def held(message):
            if message["type"].startswith("lifespan.shutdown."):
                await self.hold()
            await send(message)

        await self.app(scope, receive, held if scope["type"] == "lifespan" else send)

    async def hold(self):
        self.stopped.touch()
        until = time.monotonic() + SECONDS
        while not self.go_on.exists() and time.monotonic() < until:
            await asyncio.sleep(0.01)


class Running:
    """One program as a process of its own."""

    def __init__(self, folder, database):
        self.database = str(database)
        files = pathlib.Path(folder, ".run")
        files.mkdir()
        self.socket, self.stopped, self.go_on, self.log = (files / name for name in ("http", "stopped", "go_on", "log"))
        self.status = None
        self.pid = os.fork()
        if self.pid == 0:
            self.serve(folder)

    def serve(self, folder):
        output = os.open(self.log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(folder)
        sys.path.insert(0, folder)
        os.environ.update(REDIS_URL=f"redis://127.0.0.1:6379/{self.database}", SOCKET=str(self.socket))
        # uvicorn sends itself the signal again when it has ended; the first process of a container does not die of it.
        signal.signal(signal.SIGTERM, lambda *_: None)
        program = importlib.import_module("main")
        paused = Paused(program.app, self.stopped, self.go_on)
        if hasattr(program, "main"):
            asyncio.run(self.run_main(program.main, paused))
        else:
            uvicorn.run(paused, uds=str(self.socket), lifespan="on")
        sys.exit()

    @staticmethod
    async def run_main(main, paused):
        await main()
        await paused.hold()

    def has_ended(self):
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = os.waitstatus_to_exitcode(status) if pid else None
        return self.status is not None

    def wait(self, condition):
        """Whether something becomes true before the process ends."""
        until = time.monotonic() + SECONDS
        while not condition():
            if self.has_ended() or time.monotonic() > until:
                return False
            time.sleep(0.02)
        return True

    def get(self):
        """The status line of the answer to one request."""
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(SECONDS)
                client.connect(str(self.socket))
                client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                return client.recv(65536).partition(b"\r\n")[0].decode()
        except OSError:
            return ""

    def connections(self, control):
        return sum(client["db"] == self.database for client in control.client_list())

    def end(self):
        self.go_on.touch()
        if not self.wait(lambda: False) and not self.has_ended():
            os.kill(self.pid, signal.SIGKILL)


def run(folders, control):
    programs = [Running(folder, number + 1) for number, folder in enumerate(folders)]
    results = []
    for program in programs:
        served = program.wait(lambda program=program: program.get() == "HTTP/1.1 200 OK")
        results.append({"served": served, "before": program.connections(control)})
    for program in programs:
        if not program.has_ended():
            os.kill(program.pid, signal.SIGTERM)
    for program, result in zip(programs, results):
        result["stopped"] = program.wait(program.stopped.exists)
        result["after"] = program.connections(control)
    for program, result in zip(programs, results):
        program.end()
        result.update(exit=program.status, left=program.connections(control), log=program.log.read_text())
    return results


def main():
    # The programs are forks, so that what the driver itself is connected to must not be open in them.
    for start in range(1, len(sys.argv), AT_ONCE):
        with redis.Redis() as control:
            for result in run(sys.argv[start : start + AT_ONCE], control):
                print(json.dumps(result))


main()
