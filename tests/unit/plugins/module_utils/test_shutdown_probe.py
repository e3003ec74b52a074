# SPDX-License-Identifier: GPL-3.0-or-later
"""The probe's script runs for real here, with small applications and a listener in place of Redis.

Its host side runs with a docker command line that starts the script on this machine.
"""

from __future__ import annotations

import inspect
import json
import os
import socket
import subprocess
import sys
import textwrap
import time

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils import _lifespan_script
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Completed, Docker
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._shutdown_probe import (
    LABEL,
    NOTHING,
    Probe,
    application,
    read_result,
    verdict,
    volumes,
)

# An application with two connections, which does at shutdown what the variable says.
APPLICATION = """\
import asyncio, os, socket, sys

held = []

async def app(scope, receive, send):
    if scope["type"] == "http":
        held.append(socket.create_connection(("127.0.0.1", int(os.environ["PORT"]))))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        return
    assert scope["type"] == "lifespan"
    await receive()
    await start()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await stop()
    await send({"type": "lifespan.shutdown.complete"})

async def start():
    connect(2)

async def stop():
    close(2)
    print("✓ Redis connections closed")

def connect(number):
    for _ in range(number):
        held.append(socket.create_connection(("127.0.0.1", int(os.environ["PORT"]))))

def close(number):
    for _ in range(number):
        held.pop().close()
"""
CASES = {
    # What the application does instead; ok, observable, before, after, startup, shutdown, part of the reason.
    "closes": ("", (True, True, 2, 0, "complete", "complete", "(2) were closed")),
    "closes one": (
        "async def stop(): close(1)",
        (False, True, 2, 1, "complete", "complete", "1 of 2 connections to Redis were still open"),
    ),
    "closes nothing": (
        "async def stop(): print('✓ Redis connections closed')",
        (False, True, 2, 2, "complete", "complete", "2 of 2 connections"),
    ),
    "closes a little later": (
        "async def stop(): asyncio.get_event_loop().call_later(0.2, close, 2)",
        (True, True, 2, 0, "complete", "complete", "closed"),
    ),
    "fails at the end": (
        "async def stop(): close(2); raise OSError('secret-4711')",
        (False, True, 2, 0, "complete", "failed", "the shutdown did not complete (OSError)"),
    ),
    "fails at the start": (
        "async def start(): raise ValueError('secret-4711')",
        (False, False, 0, 0, "unsupported", "failed", "does not take part in the lifespan protocol (ValueError)"),
    ),
    "says that it failed": (
        "async def app(s, r, send): await send({'type': 'lifespan.startup.failed', 'message': 'secret-4711'})",
        (False, False, 0, 0, "failed", "failed", "not observable: the application did not start"),
    ),
    "does not connect": (
        "async def start(): pass\nasync def stop(): pass",
        (False, False, 0, 0, "complete", "complete", "not observable: no connection to port"),
    ),
    "cannot be imported": (
        "import nothing_of_that_name",
        (False, False, 0, 0, "failed", "failed", "(ModuleNotFoundError)"),
    ),
    "exits": ("sys.exit(3)", (False, False, 0, 0, "failed", "failed", "did not start (SystemExit)")),
    "hangs at the end": (
        "async def stop(): await asyncio.sleep(60)",
        (False, True, 2, 2, "complete", "failed", "the shutdown did not complete (timeout)"),
    ),
    "blocks at the end": (
        "import time\nasync def stop(): time.sleep(60)",
        (False, True, 2, 2, "complete", "failed", "the shutdown did not complete (timeout)"),
    ),
    "is killed": ("os.kill(os.getpid(), 9)", (False, False, 0, 0, "failed", "failed", "ended before it could report")),
}


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def options(port, **more):
    base = {"application": "main:app", "factory": False, "folders": ["."], "redis_port": port, "request_path": ""}
    return json.dumps({**base, "timeout": 20, "mark": "mark", **more})


def run(folder, text, arguments, port):
    (folder / "main.py").write_text(textwrap.dedent(text))
    source = inspect.getsource(_lifespan_script)
    command = [sys.executable, "-W", "always", "-c", source, arguments]
    environment = {**os.environ, "PORT": str(port), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize("name", CASES)
def test_what_an_application_does_is_what_is_reported(tmp_path, port, name):
    more, expected = CASES[name]
    output = run(tmp_path, APPLICATION + more + "\n", options(port, timeout=1 if "at the end" in name else 20), port)
    found = verdict(read_result(output, "mark"), output, port)
    keys = ("ok", "observable", "connections_before", "connections_after", "startup", "shutdown")
    assert tuple(found[key] for key in keys) == expected[:-1], (found, output)
    assert expected[-1] in found["reason"] and "4711" not in str(found)


def test_what_is_printed_is_reported_as_flags_only(tmp_path, port):
    more = "async def stop():\n    print('Shutdown error: x'); asyncio.sleep(0); print('key=secret-4711')\n"
    output = run(tmp_path, APPLICATION + more, options(port), port)
    log = verdict(read_result(output, "mark"), output, port)["log"]
    assert log == {"closed_line": False, "cleanup_skipped": False, "shutdown_error": True, "never_awaited": True}
    assert "secret-4711" in output


def test_a_lazy_application_is_asked_once(tmp_path, port):
    lazy = APPLICATION + "async def start(): pass\nasync def stop(): pass\n"
    output = run(tmp_path, lazy, options(port, request_path="/health?full=1"), port)
    assert read_result(output, "mark")["connections_before"] == 1


def test_a_factory_is_called(tmp_path, port):
    output = run(
        tmp_path, APPLICATION + "def make(): return app\n", options(port, application="main:make", factory=True), port
    )
    assert read_result(output, "mark")["shutdown"] == "complete"


def test_a_socket_that_the_kernel_lists_twice_counts_once(tmp_path):
    """It does so when others come and go while the table is read, which cannot be made on purpose: hence a copy."""
    (tmp_path / "fd").mkdir()
    (tmp_path / "net").mkdir()
    for number, inode in enumerate((71, 72)):
        os.symlink(f"socket:[{inode}]", tmp_path / "fd" / str(number))
    row = "0: 0100007F:C350 0100007F:18EB 01 00000000:00000000 00:00000000 00000000 0 0 {} 1"
    rows = [row.format(inode) for inode in (71, 72, 71, 73)]
    (tmp_path / "net" / "tcp").write_text("\n".join(["  sl  local_address ...", *rows]))
    assert _lifespan_script.redis_connections(0x18EB, str(tmp_path)) == 2


def test_connections_of_others_and_to_other_ports_do_not_count(port):
    count = _lifespan_script.redis_connections
    with socket.create_connection(("127.0.0.1", port)) as one:
        assert (count(port), count(one.getsockname()[1])) == (1, 0)
        head = inspect.getsource(_lifespan_script).split("def main", maxsplit=1)[0]
        child = [sys.executable, "-c", f"{head}\nprint(redis_connections({port}))"]
        assert subprocess.run(child, capture_output=True, text=True, check=True).stdout == "0\n"
    assert count(port) == 0


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["uvicorn", "backend.main:app", "--workers", "4"], ("backend.main:app", False, ["."], "python3")),
        (["sh", "-c", "exec uvicorn --factory --app-dir src shop:make"], ("shop:make", True, ["src"], "python3")),
        (["/app/.venv/bin/uvicorn", "a:b"], ("a:b", False, ["."], "/app/.venv/bin/python3")),
        (["/venv/bin/python3.12", "-m", "uvicorn", "a:b"], ("a:b", False, ["."], "/venv/bin/python3.12")),
        (["gunicorn", "-k", "uvicorn.workers.UvicornWorker", "a.b:c"], ("a.b:c", False, ["."], "python3")),
    ],
)
def test_the_application_is_that_of_the_command_line(argv, expected):
    assert tuple(application(argv)) == expected


@pytest.mark.parametrize("argv", [["redis-server"], [], ["sh", "-c", "uvicorn $APP"], ["./start.sh"]])
def test_a_command_that_names_none_needs_the_option(argv):
    with pytest.raises(HotfixError, match="option application"):
        application(argv)
    assert application(argv, "a:b").name == "a:b"


CONFIG = {"name": "shop", "services": {"backend": {"command": None, "entrypoint": None}, "redis": {"image": "redis"}}}


class CommandLine:
    """A docker command line that runs ``compose run`` on this machine, and remembers all that it was asked."""

    def __init__(self, folder, port, *, running=True, image=True, hang=False, leftovers="", says=""):
        self.folder, self.port, self.running, self.image, self.hang = folder, port, running, image, hang
        self.leftovers, self.says = leftovers, says
        self.asked = []

    def __call__(self, argv, *, cwd=None, env=None, timeout=60, stdin=None):
        words = argv[1:]
        self.asked.append(words)
        if "run" in words:
            return self.start(argv, timeout)
        if "inspect" in words:
            return self.inspect(words)
        if words[0] == "ps":
            return Completed(0, self.leftovers if any(LABEL in word for word in words) else "c1\n" * self.running, "")
        texts = {"version": "2.26.1\n", "config": json.dumps(CONFIG)}
        return Completed(0, "".join(text for name, text in texts.items() if name in words), "")

    def start(self, argv, timeout):
        if self.hang:
            raise subprocess.TimeoutExpired(argv, timeout)
        if self.says:
            return Completed(1, "", self.says)
        arguments = [sys.executable, *argv[argv.index("-W") :]]
        environment = {**os.environ, "PORT": str(self.port)}
        done = subprocess.run(arguments, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        return Completed(done.returncode, done.stdout, done.stderr)

    def inspect(self, words):
        if words[0] == "image":
            config = {"Cmd": ["uvicorn", "main:app"], "Entrypoint": None}
            return Completed(0, json.dumps([{"Config": config}]), "") if self.image else Completed(1, "", "no such")
        labels = {"com.docker.compose.project.working_dir": str(self.folder), "com.docker.compose.service": "backend"}
        return Completed(
            0, json.dumps([{"Id": "c1", "Name": "/c1", "Config": {"Labels": labels}, "State": {"Running": True}}]), ""
        )

    @property
    def removed(self):
        return [words[-1] for words in self.asked if words[:2] == ["rm", "--force"]]


@pytest.fixture
def docker_on_path(tmp_path, monkeypatch):
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


def probe(folder, command_line, **more):
    wanted = {"override": None, "redis_port": command_line.port, "request_path": None, **more}
    one = Probe(Docker(command_line), str(folder), (), "backend", 20)
    return one, (lambda: one.run(**wanted))


@pytest.mark.usefixtures("docker_on_path")
def test_a_container_is_started_as_the_service_and_removed(tmp_path, port):
    (tmp_path / "main.py").write_text(APPLICATION)
    command_line = CommandLine(tmp_path, port)
    one, start = probe(tmp_path, command_line, lines=["✓ Redis connections closed", "✓ Vector database persisted"])
    result = start()
    assert result["ok"] and result["application"] == "main:app" and result["log"]["closed_line"]
    assert result["lines_seen"] == ["✓ Redis connections closed"]
    (words,) = [words for words in command_line.asked if "run" in words]
    assert words[:6] == ["compose", "run", "--rm", "--no-deps", "-T", "--name"] and words[6] == one.name
    assert words[words.index("--entrypoint") + 1 :][:2] == ["python3", "backend"] and "--service-ports" not in words
    assert command_line.removed == [one.name]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (APPLICATION, (True, False, None)),
        ("import nothing_of_that_name\n", (False, True, "ModuleNotFoundError")),
        ("app = int('[not a number]')\n", (False, True, "ValueError")),
        ("import sys; sys.exit(3)\n", (False, True, "SystemExit")),
        # The service itself may be given what this container is not.
        ("open('/nowhere/at/all')\n", (False, False, "FileNotFoundError")),
        ("import time; time.sleep(60)\n", (False, False, "timeout")),
    ],
)
@pytest.mark.usefixtures("docker_on_path")
def test_only_what_is_proven_counts_against_an_import(tmp_path, port, text, expected):
    (tmp_path / "main.py").write_text(text)
    command_line = CommandLine(tmp_path, port)
    one = Probe(Docker(command_line), str(tmp_path), (), "backend", 2, isolated=False)
    found = one.imports(None)
    assert (found["imported"], found["refuted"], found["error"]) == expected
    assert command_line.removed == [one.name]


EXEC = "OCI runtime create failed: exec: {0}: stat {0}: no such file or directory: unknown"


@pytest.mark.parametrize(
    ("says", "expected"),
    [
        (f"Error response from daemon: {EXEC.format(NOTHING)}", ""),
        (f"[FATAL tini (8)] exec {NOTHING} failed: No such file or directory", ""),
        ("Error response from daemon: Address already in use", ""),
        ("Error response from daemon: driver failed: Bind for 0.0.0.0:80 failed: port is already allocated", ""),
        ("yaml: line 20: no such thing", ""),
        ("Error response from daemon: unable to find user app: no matching entries", "unable to find user app"),
        ("Error response from daemon: unknown or invalid runtime name: none", "invalid runtime name"),
    ],
)
@pytest.mark.usefixtures("docker_on_path")
def test_only_what_the_engine_would_refuse_the_service_too_is_a_refusal(tmp_path, port, says, expected):
    command_line = CommandLine(tmp_path, port, says=says)
    one = Probe(Docker(command_line), str(tmp_path), (), "backend", 20, isolated=False)
    found = one.refusal()
    assert expected in found and bool(found) is bool(expected)
    assert command_line.removed == [one.name]


MOUNTS = [
    {"type": "volume", "source": "data", "target": "/app/data"},
    {"type": "bind", "source": "/srv/shop/uploads", "target": "/app/uploads"},
    {"type": "tmpfs", "target": "/tmp"},
]


def test_a_copy_writes_into_nothing_that_the_service_has():
    assert volumes({"volumes": MOUNTS}) == ["/app/data", "/srv/shop/uploads:/app/uploads:ro"]
    assert volumes({}) == []


@pytest.mark.parametrize(("isolated", "expected"), [(True, ["--volume=/app/data"]), (False, [])])
@pytest.mark.usefixtures("docker_on_path")
def test_volumes_are_covered_unless_they_are_to_be_shared(tmp_path, port, monkeypatch, isolated, expected):
    monkeypatch.setitem(CONFIG["services"]["backend"], "volumes", MOUNTS[:1])
    (tmp_path / "main.py").write_text(APPLICATION)
    command_line = CommandLine(tmp_path, port)
    one, start = probe(tmp_path, command_line)
    one.isolated = isolated
    start()
    (words,) = [words for words in command_line.asked if "run" in words]
    assert [word for word in words if word.startswith("--volume")] == expected


@pytest.mark.usefixtures("docker_on_path")
def test_the_container_is_removed_when_it_hangs(tmp_path, port):
    command_line = CommandLine(tmp_path, port, hang=True)
    one, start = probe(tmp_path, command_line)
    with pytest.raises(HotfixError, match="did not end within"):
        start()
    assert command_line.removed == [one.name]


@pytest.mark.usefixtures("docker_on_path")
def test_leftovers_go_and_probes_that_run_stay(tmp_path, port):
    (tmp_path / "main.py").write_text(APPLICATION)
    later, dead = int(time.time()) + 999, 2**22 + 1
    leftovers = f"alive {os.getpid()}.{later}\nkilled {dead}.{later}\nexpired {os.getpid()}.1\nodd x\n"
    command_line = CommandLine(tmp_path, port, leftovers=leftovers)
    one, start = probe(tmp_path, command_line)
    start()
    assert command_line.removed == ["killed", "expired", "odd", one.name]


@pytest.mark.parametrize(
    ("more", "service", "message"),
    [
        ({"running": False}, "backend", "has no container of service backend"),
        ({"image": False}, "backend", "the image shop-backend is not on this host. Build it"),
        ({}, "web", "there is no service web; there is backend, redis. Check the option service"),
    ],
)
@pytest.mark.usefixtures("docker_on_path")
def test_nothing_is_started_when_something_is_missing(tmp_path, port, more, service, message):
    command_line = CommandLine(tmp_path, port, **more)
    one, _start = probe(tmp_path, command_line)
    one.service = service
    with pytest.raises(HotfixError) as refused:
        one.run(None, port, None)
    assert message in str(refused.value)
    assert not [words for words in command_line.asked if "run" in words]
