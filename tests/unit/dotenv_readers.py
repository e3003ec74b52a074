# SPDX-License-Identifier: GPL-3.0-or-later
"""The real readers of environment files, asked about many files at once: Compose, python-dotenv, bash.

Each gives what it makes of a file as a dictionary, or ``None`` when it cannot read the file.
"""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest import mock

import dotenv
from compose_binary import BY_VERSION

Read = "dict[str, str] | None"
# What the readers find in their own environment: nothing that a file refers to.
# Below a folder that does not exist, so that a redirection to ~ makes nothing.
ENVIRONMENT = {"PATH": "/nowhere/bin", "HOME": "/nowhere/home"}
_BATCH = 400
logging.getLogger("dotenv").setLevel(logging.ERROR)  # it warns of each line that it cannot read
_NAMED = re.compile(r"/(\d+)\.env\b")
_SHOW = r"""
# The names are given as arguments. No program is found through PATH; what a redirection writes goes into a folder, and
# into no file of the machine that a pattern happens to name.
show() { for n in "${names[@]}"; do [ -z "${!n+x}" ] || printf '%s=%s\0' "$n" "${!n}"; done; printf 'END\0'; } >&3
names=("$@")
exec 3>&1
while IFS= read -r file; do
  printf 'FILE\0'
  ( set -f; trap show EXIT; unset "$@"; set --; . "../$file" >/dev/null 2>&1 </dev/null )
  printf 'AFTER\0'
done < ../list
"""


def compose(files: Sequence[bytes], version: str, *, raw: bool = False) -> list[dict[str, str] | None]:
    """What a Compose gives the services whose ``env_file`` these are.

    Characters that are not UTF-8 come back as U+FFFD.
    """
    found: list[dict[str, str] | None] = [None] * len(files)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, data in enumerate(files):
            (folder / f"{number}.env").write_bytes(data)
        for start in range(0, len(files), _BATCH):
            numbers = range(start, min(start + _BATCH, len(files)))
            for number, read in _services(folder, list(numbers), BY_VERSION[version], raw):
                found[number] = read
    return found


def _services(folder: Path, numbers: list[int], program: str, raw: bool) -> Iterator[tuple[int, dict[str, str]]]:
    """The environment of one service for each file that can be read; one bad file spoils a whole answer."""
    while numbers:
        entry = {"format": "raw"} if raw else {}
        services = {f"s{n}": {"image": "x", "env_file": [{"path": f"{n}.env", **entry}]} for n in numbers}
        (folder / "compose.json").write_text(json.dumps({"services": services}))
        command = [program, "-p", "x", "-f", "compose.json", "config", "--format", "json"]
        done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, check=False)
        if done.returncode == 0 and done.stdout:
            answer = json.loads(done.stdout)["services"]
            for n in numbers:
                read = answer[f"s{n}"].get("environment") or {}
                # config doubles each dollar sign, so that its answer is a Compose file again.
                # A name at the very end of a file, without a newline, comes out as the value of no name.
                yield n, {key.replace("$$", "$"): value.replace("$$", "$") for key, value in read.items() if key}
            return
        bad = {int(n) for n in _NAMED.findall(done.stderr.decode("utf-8", "replace"))} & set(numbers)
        if not bad and len(numbers) > 1:  # an answer that names no file, or none at all
            half = len(numbers) // 2
            yield from _services(folder, numbers[:half], program, raw)
            numbers = numbers[half:]
        else:
            numbers = [n for n in numbers if n not in bad] if bad else []


def python_dotenv(data: bytes, *, interpolate: bool = True) -> dict[str, str | None]:
    """What python-dotenv makes of a file; a name without a value has ``None``."""
    stream = io.StringIO(data.decode("utf-8", "surrogateescape"), newline=None)
    with mock.patch.dict(os.environ, ENVIRONMENT, clear=True):
        return dict(dotenv.dotenv_values(stream=stream, interpolate=interpolate))


def bash(files: Sequence[bytes], names: Sequence[str]) -> list[dict[str, str]]:
    """What ``source`` sets of these names; all that it set before it stopped, where it could not read on."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        listed = []
        for number, data in enumerate(files):
            (folder / f"f{number}").write_bytes(data)
            listed.append(f"f{number}\n")
        (folder / "list").write_text("".join(listed))
        (folder / "scratch").mkdir()
        done = subprocess.run(
            ["/bin/bash", "--norc", "-c", _SHOW, "bash", *names],
            cwd=folder / "scratch",
            capture_output=True,
            check=True,
            env={**ENVIRONMENT, "LC_ALL": "C.UTF-8"},
        )
    answers = done.stdout.decode("utf-8", "surrogateescape").split("FILE\0")[1:]
    assert len(answers) == len(files)
    return [
        dict(part.split("=", 1) for part in answer.partition("END\0")[0].split("\0") if "=" in part)
        for answer in answers
    ]


def bash_can_read(files: Sequence[bytes]) -> list[bool]:
    """Whether ``bash -n`` finds no error in these files."""
    script = 'while read -r f; do e=$(/bin/bash --norc -n "$f" 2>&1) && [ -z "$e" ]; printf %d $((!$?)); done < ./list'
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, data in enumerate(files):
            (folder / f"f{number}").write_bytes(data)
        (folder / "list").write_text("".join(f"./f{number}\n" for number in range(len(files))))
        done = subprocess.run(
            ["/bin/bash", "--norc", "-c", script], cwd=folder, capture_output=True, check=True, env=ENVIRONMENT
        )
    assert len(done.stdout) == len(files)
    return [answer == "1" for answer in done.stdout.decode()]


def for_a_shell(data: bytes) -> bytes:
    """A file without what no shell reads: CR before a line's end, and a byte order mark."""
    return data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").removesuffix(b"\r")
