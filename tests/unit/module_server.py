# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs modules as Ansible does, each in a process of its own, which begins with what modules import.

To import that takes longer than most modules do; hence a process that has done it, and forks for each module.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import pkgutil
import runpy
import shutil
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import traceback

from ansible.module_utils import basic

PLUGINS = "ansible_collections.composeops.hotfix.plugins"
# What Python reads when it starts, or the C library: a fork has that of the process that it was forked from.
READ_AT_START = ("PYTHON", "LC_", "LANG", "TZ", "LD_")


def main(name: str, arguments: bytes) -> None:
    """Run a module in this process, the same way for every supported ansible-core."""
    basic._ANSIBLE_ARGS = arguments
    # Older ones have none.
    if hasattr(basic, "_ANSIBLE_PROFILE"):
        basic._ANSIBLE_PROFILE = "legacy"
    sys.argv = [name]
    runpy.run_module(f"{PLUGINS}.modules.{name}", run_name="__main__")


def import_shared_code() -> None:
    """Import all of ``module_utils``, so that no fork has to."""
    package = importlib.import_module(f"{PLUGINS}.module_utils")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")


class Job(socketserver.StreamRequestHandler):
    """One module: its arguments come over the connection, and what it prints goes back over it."""

    def handle(self) -> None:
        """Run it in this fork."""
        job = json.loads(self.rfile.readline())
        os.chdir(job["folder"])
        os.umask(job["umask"])
        os.environ.clear()
        os.environ.update(job["environment"])
        for stream in (sys.stdout, sys.stderr):
            os.dup2(self.connection.fileno(), stream.fileno())
        try:
            main(job["name"], job["arguments"].encode())
        except SystemExit:
            pass
        except BaseException:
            traceback.print_exc()
        # Where a module removes its temporary files, and a fork ends without it.
        atexit._run_exitfuncs()
        sys.stdout.flush()


class Server(socketserver.ForkingMixIn, socketserver.UnixStreamServer):
    """A fork for each connection, as long as the process of the tests lives."""

    request_queue_size = 64
    tests = os.getppid()

    def service_actions(self) -> None:
        """Called twice a second: end with the tests, which may have been killed."""
        super().service_actions()
        if os.getppid() != self.tests:
            shutil.rmtree(os.path.dirname(str(self.server_address)))
            sys.exit()


class Modules:
    """The side of the tests: starts the server, and asks it."""

    def __init__(self, collections: str) -> None:
        self.collections = collections
        self.folder = tempfile.mkdtemp(prefix="modules-")
        self.environment = self._environment({})
        self.lock = threading.Lock()
        self.server = subprocess.Popen(
            [sys.executable, __file__, self._address()], env=self.environment, stdout=subprocess.PIPE, text=True
        )
        atexit.register(self._stop)
        assert self.server.stdout is not None and self.server.stdout.readline() == "ready\n"

    def run(self, name: str, arguments: str, environment: dict[str, str]) -> str:
        """Run a module; what it prints.

        :param arguments: as Ansible hands them to it, as JSON.
        :param environment: variables beside those of this process.
        """
        wanted = self._environment(environment)
        if _read_at_start(wanted) != _read_at_start(self.environment):
            command = [sys.executable, __file__, "--once", name]
            done = subprocess.run(command, input=arguments, env=wanted, capture_output=True, text=True, check=False)
            return done.stderr + done.stdout
        job = {"name": name, "arguments": arguments, "environment": wanted, "folder": os.getcwd()}
        with self.lock:
            job["umask"] = os.umask(0)
            os.umask(job["umask"])
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self._address())
            connection.sendall(json.dumps(job).encode() + b"\n")
            with connection.makefile(encoding="utf-8") as answer:
                return answer.read()

    def _address(self) -> str:
        return os.path.join(self.folder, "socket")

    def _environment(self, more: dict[str, str]) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": self.collections, **more}

    def _stop(self) -> None:
        self.server.kill()
        self.server.communicate()
        shutil.rmtree(self.folder)


def _read_at_start(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(READ_AT_START)}


if __name__ == "__main__":
    if sys.argv[1] == "--once":
        main(sys.argv[2], sys.stdin.buffer.read())
    else:
        import_shared_code()
        with Server(sys.argv[1], Job) as server:
            print("ready", flush=True)
            server.serve_forever()
