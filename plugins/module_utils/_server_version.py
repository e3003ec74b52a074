# SPDX-License-Identifier: GPL-3.0-or-later
"""Which version of a package a running process uses, read from the outside in the container's own file system."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence

# As many links as the kernel follows: https://man7.org/linux/man-pages/man7/path_resolution.7.html
LINKS = 40
INTERPRETER = re.compile(r"python(\d+\.\d+)")


def package_version(pid: int, package: str, argv: Sequence[str] = (), *, proc: str = "/proc") -> str | None:
    """The version of a Python package as the process ``pid`` would import it; None where it cannot be found.

    The folder of the package's metadata has it in its name:
    https://packaging.python.org/en/latest/specifications/recording-installed-packages/.

    :param argv: the process's arguments, which name its virtual environment.
    :param proc: the mount point of procfs; reading another user's process takes root.
    """
    root = f"{proc}/{pid}/root"
    wanted = re.compile(rf"{re.sub('[-_.]+', '[-_.]+', package)}-(\d[^-]*)\.(?:dist|egg)-info", re.IGNORECASE)
    for folder in _folders(pid, argv, proc):
        for name in _names(inside(root, folder)):
            found = wanted.fullmatch(name)
            if found:
                return found[1]
    return None


def at_least(version: str | None, *wanted: int) -> bool:
    """Whether a version is known and not older than, say, ``0, 37``."""
    numbers = [int(part) for part in re.findall(r"\d+", version or "")[: len(wanted)]]
    return bool(numbers) and numbers >= list(wanted)[: len(numbers)]


def inside(root: str, path: str) -> str:
    """A path below another root directory, links followed as a process with that root would."""
    parts, done, hops = path.split("/"), "", 0
    while parts:
        part = parts.pop(0)
        if part in ("", "."):
            continue
        if part == "..":
            done = os.path.dirname(done)
            continue
        try:
            link = os.readlink(f"{root}{done}/{part}")
        except OSError:
            done = f"{done}/{part}"
            continue
        hops += 1
        if hops > LINKS:
            return f"{root}{done}/{part}"
        done = "" if link.startswith("/") else done
        parts = link.split("/") + parts
    return f"{root}{done}"


def _folders(pid: int, argv: Sequence[str], proc: str) -> Iterator[str]:
    """Where the process's interpreter looks for packages, in its order."""
    variables = _environment(f"{proc}/{pid}/environ")
    yield from (path for path in variables.get("PYTHONPATH", "").split(":") if path.startswith("/"))
    try:
        interpreter = INTERPRETER.search(os.path.basename(os.readlink(f"{proc}/{pid}/exe")))
    except OSError:
        interpreter = None
    programs = [os.path.dirname(word) for word in argv[:2] if word.startswith("/")]
    searched = [path for path in variables.get("PATH", "").split(":") if path.startswith("/")]
    prefixes = [os.path.dirname(path) for path in [*programs, *searched]]
    home = variables.get("HOME", "/root")
    for prefix in dict.fromkeys([*prefixes, "/usr/local", "/usr", f"{home}/.local"]):
        if interpreter:
            yield from (f"{prefix}/{lib}/python{interpreter[1]}/site-packages" for lib in ("lib", "lib64"))
        yield f"{prefix}/lib/python3/dist-packages"


def _environment(path: str) -> dict[str, str]:
    """A process's variables. They hold secrets: only the paths in them are used."""
    try:
        with open(path, "rb") as stream:
            entries = stream.read().decode("utf-8", "replace").split("\0")
    except OSError:
        return {}
    return {name: value for name, _equals, value in (entry.partition("=") for entry in entries)}


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []
