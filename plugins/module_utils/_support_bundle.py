# SPDX-License-Identifier: GPL-3.0-or-later
"""What somebody who helps needs to see of an application and its host, in one archive without a secret.

Each entry is made for itself: what cannot be read is an entry that says why. All of them go through the same mask at
last, with every secret that the project's files and containers hold.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import platform
import re
import shlex
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.composeops.hotfix.plugins.module_utils import (
    _container,
    _dotenv,
    _git,
    _journal,
    _kernel_log,
    _monitor_notify,
    _monitor_store,
    _support_bundle_secrets,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_file import Project
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_run import known
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Docker, run_command
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._files import read_bytes
from ansible_collections.composeops.hotfix.plugins.module_utils._logs import LINE_LENGTH
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import (
    HIDDEN,
    SECRET_NAME,
    SHORTEST_MASKED,
    fingerprint,
    mask,
    redact,
    without_keys,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._shown import printable, shown

# Seconds for one command; `docker stats` takes two.
PATIENCE = 30.0
# Seconds of kernel messages.
KERNEL = 24 * 3600.0
# Bytes of a file that are read from its end.
FILE_END = 1_000_000
# Values of variables that may be shown as they are.
PLAIN = ("true", "false", "production", "development", "staging", "test", "info", "debug", "warning", "error")
HOST_COMMANDS = {
    "host/uptime.txt": "uptime",
    "host/memory.txt": "free -m",
    "host/disk.txt": "df -hT",
    "host/inodes.txt": "df -i",
    "host/kernel.txt": "uname -a",
}
DOCKER_COMMANDS = {
    "docker/version.txt": "version",
    "docker/info.txt": "info",
    "docker/containers.txt": "ps --all",
    "docker/images.txt": "images --all",
    "docker/disk.txt": "system df",
    "docker/stats.txt": "stats --no-stream",
}
READ_ME = """\
Support bundle of {project} on {host}, made {time}.
Values of variables are fingerprints (sha256:<first 8 hex> len=<n>), and what looks like a secret is ***.

host/     uptime, memory, disk, kernel and its messages about killed processes
docker/   versions, containers, images, disk, resources; each container of the project without its values
logs/     the last {tail} lines of each service, both streams in their order
project/  Compose files, environment files with fingerprints, Dockerfiles, what git says
state/    what the collection remembers: journal, findings, lock, monitor; whom that tells only as fingerprints
"""


class Request(NamedTuple):
    """What is asked for: the project, how many lines of each log, and texts that are added as they are."""

    project_src: str
    files: Sequence[str]
    tail: int
    state_dir: str
    notes: Mapping[str, str]


def collect(docker: Docker, request: Request, *, host: str) -> dict[str, str]:
    """The entries of the bundle: name to text.

    :param host: its name in the inventory.
    """
    members = _members(docker, request)
    secrets = _secrets(docker, request, members)
    made: dict[str, str] = {}
    for name, text in _entries(docker, request, members):
        made[name] = _masked(name, text, secrets)
    head = READ_ME.format(project=request.project_src, host=host, time=_journal.now(), tail=request.tail)
    return {"README.txt": head, **made}


def archive(entries: Mapping[str, str], folder: str) -> bytes:
    """A gzipped tar of the entries, below one folder, readable by its owner only.

    :param folder: the name of that folder.
    """
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, text in entries.items():
            data = text.encode("utf-8", "replace")
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size, info.mode, info.mtime = len(data), 0o600, int(time.time())
            tar.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def _members(docker: Docker, request: Request) -> list[dict[str, Any]]:
    """The project's containers; none where the engine does not answer."""
    with contextlib.suppress(HotfixError):
        ids = docker.find(request.project_src, files=request.files)
        return [data for data in map(docker.lookup, ids) if data is not None]
    return []


def _secrets(docker: Docker, request: Request, members: Iterable[Mapping[str, Any]]) -> set[str]:
    """All secrets that are known of the project; the project's own name is none, whatever it was taken from."""
    found = _support_bundle_secrets.of_monitor(_journal.project_folder(request.state_dir, request.project_src))
    found.discard(os.path.basename(os.path.normpath(request.project_src)))
    for data in members:
        found |= _support_bundle_secrets.of_container(data)
    with contextlib.suppress(HotfixError):
        project = Project.load(request.project_src, list(request.files) or None)
        found |= known(docker, project) | _support_bundle_secrets.of_project(project)
    return found


def _entries(docker: Docker, request: Request, members: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    for name, command in HOST_COMMANDS.items():
        yield name, _tried(_printed, command)
    yield "host/os-release.txt", _tried(_end, "/etc/os-release")
    yield "host/python.txt", f"{platform.python_implementation()} {platform.python_version()}\n"
    yield "host/kernel-messages.txt", _tried(_kernel_messages)
    for name, command in DOCKER_COMMANDS.items():
        yield name, _tried(_answered, docker, command)
    yield "docker/compose-version.txt", _tried(docker.compose_version)
    for data in members:
        container = str(data["Name"]).lstrip("/")
        yield f"docker/inspect-{container}.json", _tried(_inspected, data)
        yield f"logs/{container}.log", _tried(_log, docker, str(data["Id"]), request.tail)
    yield from _project(request)
    yield from _state(request)
    yield from request.notes.items()


def _tried(make: Callable[..., str], *arguments: Any) -> str:
    try:
        return make(*arguments)
    except (HotfixError, OSError, subprocess.TimeoutExpired, ValueError) as error:
        reason = str(error) if isinstance(error, HotfixError) else type(error).__name__
        return f"(could not be read: {reason})\n"


def _printed(command: str) -> str:
    done = run_command(shlex.split(command), timeout=PATIENCE)
    return done.stdout + done.stderr


def _answered(docker: Docker, command: str) -> str:
    return docker.run(*shlex.split(command), timeout=PATIENCE).stdout


def _kernel_messages() -> str:
    """What the kernel said of processes that it killed, or that crashed."""
    lines = _kernel_log.read(time.time() - KERNEL)
    if lines is None:
        return "(the kernel's messages are not open to this user)\n"
    told = [
        f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(when))} {text}\n"
        for when, text in lines
        if _kernel_log.OOM.search(text) or _kernel_log.KILLED.search(text) or _kernel_log.CRASH.match(text)
    ]
    return "".join(told) or "(none about killed processes in the last 24 hours)\n"


def _inspected(data: Mapping[str, Any]) -> str:
    """What the engine says of a container, its variables as fingerprints."""
    variables = _container.environment(data)
    shown_values = {
        name: value if value.lower() in PLAIN else fingerprint(value) for name, value in sorted(variables.items())
    }
    labels = {
        name: fingerprint(value) if SECRET_NAME.search(name) or _support_bundle_secrets.is_telling(name) else value
        for name, value in (data["Config"].get("Labels") or {}).items()
    }
    listed = [f"{name}={value}" for name, value in shown_values.items()]
    config = {**data["Config"], "Env": listed, "Labels": labels}
    # Short, as whole ones look like secrets.
    short = {"Id": data["Id"][:12], "Image": str(data["Image"]).partition(":")[2][:12]}
    return json.dumps({**data, **short, "Config": config}, indent=1, ensure_ascii=False) + "\n"


def _log(docker: Docker, container: str, tail: int) -> str:
    """The last lines of both streams, in the order in which the engine received them."""
    done = docker.run("logs", "--timestamps", "--tail", str(tail), container, check=False, timeout=PATIENCE)
    lines = [f"{text[:LINE_LENGTH]}\n" for stream in (done.stdout, done.stderr) for text in stream.splitlines()]
    return "".join(sorted(lines)[-tail:] if tail else []) or "(empty)\n"


def _project(request: Request) -> Iterator[tuple[str, str]]:
    yield "project/git.txt", _tried(_revision, request.project_src)
    try:
        project = Project.load(request.project_src, list(request.files) or None)
    except HotfixError as error:
        yield "project/compose.txt", f"(could not be read: {error})\n"
        return
    for file in [*project.included, *project.files]:
        yield _below(project, file.path), file.redacted()
    # The dialect of each environment file: what it is called does not say that it is one.
    dialects = dict.fromkeys(map(os.path.normpath, project.dotenv_paths()), _dotenv.PORTABLE)
    paths = set()
    for service in project.names():
        with contextlib.suppress(HotfixError):
            for one in project.env_files(service):
                dialects.setdefault(one.path, _dotenv.RAW if one.raw else _dotenv.PORTABLE)
            build = project.resolved(service).get("build") or {}
            if build.get("dockerfile_inline") is None and build:
                folder = os.path.join(project.directory, str(build.get("context") or "."))
                paths.add(os.path.join(folder, str(build.get("dockerfile") or "Dockerfile")))
    for path in sorted({*map(os.path.normpath, paths), *dialects}):
        if os.path.exists(path):
            yield _below(project, path), _tried(_file, path, dialects.get(path, ""))


def _file(path: str, dialect: str) -> str:
    return shown(path, read_bytes(path), dialect)


def _below(project: Project, path: str) -> str:
    """The name of an entry for one of the project's files, which may lie outside of its folder."""
    return "project/" + printable(os.path.relpath(path, project.project_src)).replace("..", "up")


def _revision(project_src: str) -> str:
    top = _git.find_work_tree(project_src)
    if top is None:
        return "(no git work tree)\n"
    with tempfile.TemporaryDirectory(prefix="support-bundle-") as scratch:
        git = _git.Git(top, scratch)
        said = [
            git.maybe("log", "--max-count=5", "--abbrev=12", "--format=%h %cI %s"),
            "",
            git.maybe("status", "--short", "--branch"),
        ]
    return mask(_git.strip_credentials("\n".join(said))) + "\n"


def _state(request: Request) -> Iterator[tuple[str, str]]:
    """The files of the project's state that hold words and no copies of its files."""
    folder = _journal.project_folder(request.state_dir, request.project_src)
    for place, _folders, names in os.walk(folder):
        if os.path.basename(place) == "snapshots":
            _folders.clear()
            yield "state/snapshots.txt", "".join(f"{name}\n" for name in sorted(os.listdir(place)))
            continue
        for name in sorted(names):
            if name.endswith((".json", ".jsonl")):
                path = os.path.join(place, name)
                make = _ways if name == _monitor_store.NOTIFY else _end
                yield f"state/{printable(os.path.relpath(path, folder))}", _tried(make, path)


def _ways(path: str) -> str:
    """Whom the monitor tells, by fingerprint: the address of a web hook is a secret, and a command may hold one."""
    told = _monitor_store.load(os.path.dirname(path), os.path.basename(path)) or {}
    return json.dumps(_monitor_notify.shown({name: str(value or "") for name, value in told.items()})) + "\n"


def _end(path: str) -> str:
    """The end of a text file, from a whole line on."""
    with open(path, "rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(size - FILE_END, 0))
        data = stream.read()
    return (data if size <= FILE_END else data.partition(b"\n")[2]).decode("utf-8", "replace")


def _masked(name: str, text: str, secrets: Iterable[str]) -> str:
    """A text without secrets; JSON stays JSON."""
    text = without_keys(text)
    if name.endswith(".jsonl"):
        return "".join(f"{_masked_json(line, secrets)}\n" for line in text.splitlines())
    if name.endswith(".json"):
        return _masked_json(text, secrets)
    if name.startswith("project/"):
        # These are masked already, each by its own grammar; once more would hide the fingerprints.
        return _without_options(redact(text, secrets), secrets)
    return "".join(mask(line, secrets) for line in text.splitlines(keepends=True))


def _without_options(text: str, secrets: Iterable[str]) -> str:
    """A text without the secrets that are too short to be masked everywhere, where they follow an option."""
    short = "|".join(re.escape(value) for value in sorted(secrets) if 0 < len(value) < SHORTEST_MASKED)
    if not short:
        return text
    before = r"(-[\w-]{1,64}(?:=|[\"']?\s*,?\s*(?:-\s+)?[\"']?))"
    return re.sub(rf"{before}(?:{short})(?=[\s\"',\]]|$)", rf"\1{HIDDEN}", text)


def _masked_json(text: str, secrets: Iterable[str]) -> str:
    try:
        data = json.loads(text)
    except ValueError:
        return mask(text, secrets)
    return json.dumps(_leaves(data, secrets), indent=1 if "\n" in text else None, ensure_ascii=False)


def _leaves(data: Any, secrets: Iterable[str]) -> Any:
    if isinstance(data, dict):
        return {mask(name, secrets): _leaves(value, secrets) for name, value in data.items()}
    if isinstance(data, list):
        # An option and its value are items of their own.
        hidden = _support_bundle_secrets.option_secrets([item if isinstance(item, str) else "" for item in data])
        return [HIDDEN if isinstance(item, str) and item in hidden else _leaves(item, secrets) for item in data]
    return mask(data, secrets) if isinstance(data, str) else data
