# SPDX-License-Identifier: GPL-3.0-or-later
"""What an image keeps of an environment file: in its layers' files, deleted ones too, and in its history.

Whoever gets the image, or reads the engine's storage, gets these as well. Findings name layer, instruction and path,
never a value.
"""

from __future__ import annotations

import contextlib
import json
import os
import posixpath
import re
import shutil
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple, cast

from ansible_collections.composeops.hotfix.plugins.module_utils._container import Docker
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv import parse
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv_audit import (
    Finding,
    Secret,
    held_secrets,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._keys import entropy_bits, weaknesses
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import mask

# Shorter values, and those that everybody knows, turn up in programs by chance.
SHORTEST = 12
FEWEST_BITS = 24.0
# Each value takes a pass over the image.
MOST_VALUES = 200
# Paths named one by one in a layer; a key built into a web page may be in a thousand files.
MOST_PATHS = 20
CHUNK = 2**20
SPARE = 500 * 10**6  # bytes that must stay free on the engine's file system
SAVE_SECONDS = 600.0
LARGEST_JSON = 4 * 2**20
LARGEST_ENV_FILE = 2**20
ENV_FILE = re.compile(r".*\.env(?:rc|[._~-].*)?", re.IGNORECASE)
TEMPLATE = re.compile(r"example|sample|template|dist|default|\.(?:py|js|ts|go|rb|sh)$", re.IGNORECASE)
ZSTANDARD = b"\x28\xb5\x2f\xfd"
GZIP = b"\x1f\x8b"
WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"
INSTRUCTION = re.compile(r"(?:/bin/sh -c #\(nop\)\s+)?([A-Z]+)\s+(.*)", re.DOTALL)
ASSIGNMENT = re.compile(r"(?:^|\s)([A-Za-z_]\w*)=(\S*)")
ARGUMENTS = re.compile(r"(?:RUN )?\|\d+ (.*?) (?:/bin/|/usr/bin/|/busybox/|\")", re.DOTALL)


class Hit(NamedTuple):
    """A file in a layer that holds secrets.

    :ivar path: its path in the image.
    :ivar present: variables whose present value it holds.
    :ivar others: variables of an environment file that hold secrets of other times.
    """

    path: str
    present: tuple[str, ...]
    others: tuple[str, ...]


@dataclass
class Layer:
    """What was found in a layer; ``gone`` are the paths of lower layers that it deletes."""

    hits: list[Hit] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)


class Placed(NamedTuple):
    """A layer at its place in an image: the digest of its content, and the instruction that made it."""

    digest: str
    instruction: str
    layer: Layer


@dataclass(frozen=True)
class Wanted:
    """The present secrets, by value, with the variables that hold them.

    :ivar exact: all of them; what a variable of an image or of a file in it is compared with.
    :ivar anywhere: those that do not turn up in other files by chance; what files and instructions are searched for.
    :ivar left_out: how many more of these there are than are searched for.
    """

    exact: Mapping[str, tuple[str, ...]] = field(repr=False)
    anywhere: Mapping[bytes, tuple[str, ...]] = field(repr=False)
    left_out: int = 0

    def in_data(self, data: bytes) -> tuple[str, ...]:
        """The variables whose values these bytes hold."""
        return _unique(name for value, names in self.anywhere.items() if value in data for name in names)


def wanted(secrets: Iterable[Secret]) -> Wanted:
    """What to look for. Short values, words, and those that everybody knows are looked for in variables only."""
    exact: dict[str, tuple[str, ...]] = {}
    for secret in secrets:
        exact[secret.value] = _unique([*exact.get(secret.value, ()), secret.name])
    telling = [
        value
        for value in exact
        if len(value) >= SHORTEST
        and entropy_bits(value) >= FEWEST_BITS
        and not any(weakness.severity == "critical" for weakness in weaknesses(value))
    ]
    anywhere = {value.encode("utf-8", "surrogateescape"): exact[value] for value in telling[:MOST_VALUES]}
    return Wanted(exact, anywhere, len(telling[MOST_VALUES:]))


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


# --- the files -------------------------------------------------------------------------------------------------------


class Archive:
    """An image as ``docker save`` writes it, read once from its beginning to its end in constant memory.

    :param limit: bytes of files to read at most.
    """

    def __init__(self, sought: Wanted, limit: int) -> None:
        self._sought = sought
        self._left = limit
        self._layers: dict[str, Layer] = {}
        self._links: dict[str, str] = {}
        self._configurations: dict[str, dict[str, Any]] = {}
        self._manifest: list[dict[str, Any]] = []

    def read(self, stream: BinaryIO) -> None:
        """Read the archive.

        :raises HotfixError: when it, or a layer of it, cannot be read, or holds more than ``limit`` bytes.
        """
        try:
            with _Archive.open(fileobj=stream, mode="r|") as tar:
                for member in tar.each():
                    if member.issym() or member.islnk():
                        folder = posixpath.dirname(member.name) if member.issym() else ""
                        self._links[member.name] = posixpath.normpath(posixpath.join(folder, member.linkname))
                    elif member.isreg():
                        self._member(member, _Peeked(tar.extractfile(member)))
        except (tarfile.TarError, EOFError, OSError, ValueError) as error:
            raise HotfixError(f"the archive of the image cannot be read ({type(error).__name__})") from error

    def layers(self) -> list[Placed]:
        """The layers, the lowest first. Both layouts (before and since engine 25) list them in ``manifest.json``.

        :raises HotfixError: when the archive names layers that it does not hold.
        """
        placed: dict[str, Placed] = {}
        for entry in self._manifest:
            configuration = self._configurations.get(str(entry.get("Config")), {})
            digests = [str(digest) for digest in configuration.get("rootfs", {}).get("diff_ids", [])]
            history = [step for step in configuration.get("history", []) if not step.get("empty_layer")]
            for index, name in enumerate(entry.get("Layers") or []):
                layer = self._layers.get(self._links.get(name, name))
                if layer is None:
                    raise HotfixError("the archive lacks a layer of the image")
                digest = digests[index] if index < len(digests) else str(name)
                made_by = str(history[index].get("created_by", "")) if index < len(history) else ""
                placed.setdefault(f"{index} {digest}", Placed(digest, instruction(made_by), layer))
        if not placed:
            raise HotfixError("the archive of the image lists no layers")
        return list(placed.values())

    def _member(self, member: tarfile.TarInfo, content: _Peeked) -> None:
        start = content.peek()
        if start[:4] == ZSTANDARD:
            raise HotfixError("its layers are compressed with zstd, which Python cannot read")
        if start[:2] == GZIP or start[257:262] == b"ustar" or (len(start) == 512 and not start.strip(b"\0")):
            self._layers[member.name] = self._layer(content)
        elif start[:1] in (b"{", b"[") and member.size <= LARGEST_JSON:
            self._keep(member.name, json.loads(content.read(member.size)))

    def _keep(self, name: str, data: Any) -> None:
        if name == "manifest.json":
            self._manifest = data
        elif isinstance(data, dict) and "rootfs" in data:
            self._configurations[name] = data

    def _layer(self, content: _Peeked) -> Layer:
        layer = Layer()
        stream: Any = content  # of the file interface tarfile takes no more than read()
        with _Archive.open(fileobj=stream, mode="r|*") as tar:
            for member in tar.each():
                path = posixpath.normpath("/" + member.name)
                folder, name = posixpath.split(path)
                if name == OPAQUE:
                    layer.gone.add(folder.rstrip("/") + "/")
                elif name.startswith(WHITEOUT):
                    layer.gone.add(posixpath.join(folder, name[len(WHITEOUT) :]))
                elif member.isreg() and member.size:
                    self._left -= member.size
                    if self._left < 0:
                        raise HotfixError("its files are larger than the limit")
                    hit = self._look(path, member.size, tar.extractfile(member))
                    layer.hits += [hit] if hit else []
        return layer

    def _look(self, path: str, size: int, content: Any) -> Hit | None:
        name = posixpath.basename(path)
        if size <= LARGEST_ENV_FILE and ENV_FILE.fullmatch(name):
            data = content.read()
            present, others = compare(data, self._sought)
            hit = Hit(path, _unique([*present, *self._sought.in_data(data)]), () if TEMPLATE.search(name) else others)
        else:
            hit = Hit(path, self._search(content), ())
        return hit if hit.present or hit.others else None

    def _search(self, content: Any) -> tuple[str, ...]:
        kept = max(map(len, self._sought.anywhere), default=1) - 1
        found: list[str] = []
        before = b""
        for chunk in iter(lambda: content.read(CHUNK), b""):
            data = before + chunk
            found += self._sought.in_data(data)
            before = data[-kept:] if kept else b""
        return _unique(found)


class _Peeked:
    """A stream of which the first block can be looked at before it is read."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._first = stream.read(512)

    def peek(self) -> bytes:
        return bytes(self._first)

    def read(self, size: int) -> bytes:
        start, self._first = self._first[:size], self._first[size:]
        return bytes(start + self._stream.read(size - len(start))) if len(start) < size else bytes(start)


class _Archive(tarfile.TarFile):
    """A tar stream that is read once, whatever its size."""

    members: list[tarfile.TarInfo]

    def each(self) -> Iterator[tarfile.TarInfo]:
        """Its members; the class itself would keep each of them until the end."""
        while True:
            member = self.next()
            if member is None:
                return
            yield member
            self.members = []


def compare(data: bytes, sought: Wanted) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The variables of an environment file with a present secret, and those with another one; placeholders are none."""
    try:
        held = held_secrets(parse(data))
    except HotfixError:
        return (), ()
    present = [name for secret in held for name in sought.exact.get(secret.value, ())]
    others = [
        secret.name
        for secret in held
        if secret.value not in sought.exact
        and not any(weakness.rule == "placeholder" for weakness in weaknesses(secret.value))
    ]
    return _unique(present), _unique(others)


def judge_layers(image: str, layers: Sequence[Placed]) -> list[Finding]:
    """A finding for each file with secrets: ``high`` for one in use, ``medium`` for one of other times."""
    found = []
    for index, (digest, made_by, layer) in enumerate(layers):
        where = f"Layer {digest.rpartition(':')[2][:12]} of image {image}" + (
            f", made by {made_by}," if made_by else ""
        )
        gone = {path for _digest, _made_by, later in layers[index + 1 :] for path in later.gone}
        for hit in layer.hits[:MOST_PATHS]:
            kept = ", which a later layer only hides" if _hidden(hit.path, gone) else ""
            found.append(_judged(f"{where} holds {hit.path}{kept}", hit))
        rest = layer.hits[MOST_PATHS:]
        if rest:
            names = _unique(name for hit in rest for name in hit.present)
            others = _unique(name for hit in rest for name in hit.others)
            found.append(_judged(f"{where} holds {len(rest)} more such files", Hit("", names, others)))
    return found


def _judged(start: str, hit: Hit) -> Finding:
    remedy = "keep it out with a .dockerignore (a line **/.env*), build the image again, remove the old one"
    if hit.present:
        message = f"{start}, with the value of {', '.join(hit.present)}; {remedy}, and rotate what it holds."
        return Finding("image_layer", hit.present[0], 0, "high", message, hit.path)
    message = (
        f"{start}, with a value of {', '.join(hit.others)} that the environment file does not hold now; {remedy}, and "
        "see to it that this value is of no use any more."
    )
    return Finding("image_layer", hit.others[0], 0, "medium", message, hit.path)


def _hidden(path: str, gone: set[str]) -> bool:
    parents = [path]
    while parents[-1] not in ("/", ""):
        parents.append(posixpath.dirname(parents[-1]))
    return any(parent in gone for parent in parents) or any(f"{parent.rstrip('/')}/" in gone for parent in parents[1:])


# --- the history -----------------------------------------------------------------------------------------------------


def instruction(created_by: str) -> str:
    """The instruction of a history entry in a form fit to be shown: ``COPY . .``, ``ENV NAME``, ``RUN``."""
    if not created_by:
        return ""
    match = INSTRUCTION.match(created_by)
    verb, rest = (match[1], match[2]) if match else ("RUN", "")
    if verb in ("ENV", "ARG", "LABEL"):
        names = [name for name, _value in ASSIGNMENT.findall(rest)] or rest.split()[:1]
        return f"{verb} {' '.join(names)}"
    if verb in ("COPY", "ADD", "WORKDIR"):
        words = [word for word in rest.replace("# buildkit", "").split() if not re.match(r"(?:dir|file|multi):", word)]
        return f"{verb} {mask(' '.join(words))[:80]}"
    return verb


def judge_history(image: str, history: Sequence[str], environment: Iterable[str], sought: Wanted) -> list[Finding]:
    """A finding for each step, and for each variable of the image itself, with a secret.

    :param history: what made each layer (``CreatedBy`` of ``docker history``), the oldest first.
    :param environment: the image's own variables, as ``NAME=value``.
    """
    places: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    told: set[str] = set()
    for number, step in enumerate(history, 1):
        assigned = ASSIGNMENT.findall(_assignments(step))
        held = _held(assigned, step, sought)
        places.setdefault(held, []).append(f"step {number} of its history ({instruction(step)})")
        told |= {name for name, _value in assigned}
    for entry in environment:
        name, _equals, value = entry.partition("=")
        if name not in told:
            places.setdefault(_held([(name, value)], value, sought), []).append(f"its own variable {name}")
    return [_shown(f"Image {image} shows", " and ".join(where), *held) for held, where in places.items() if any(held)]


def _shown(start: str, where: str, present: Sequence[str], others: Sequence[str]) -> Finding:
    remedy = "give it to the container, or to the build as a secret, instead, build the image again, remove the old one"
    if present:
        message = f"{start} the value of {', '.join(present)} in {where}; {remedy}, and rotate it."
        return Finding("image_layer", present[0], 0, "high", message)
    message = f"{start} a value of {', '.join(others)}, though not that of the environment file, in {where}; {remedy}."
    return Finding("image_layer", others[0], 0, "medium", message)


def _assignments(step: str) -> str:
    """The text in which a step sets variables: by ENV, by ARG, by the build's arguments that RUN repeats."""
    match = INSTRUCTION.match(step)
    if match and match[1] in ("ENV", "ARG"):
        return match[2]
    arguments = ARGUMENTS.match(step)
    return arguments[1] if arguments else ""


def _held(assigned: Iterable[tuple[str, str]], text: str, sought: Wanted) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The variables whose present value is assigned or in ``text``, and those that are assigned another secret."""
    lines = [f"{name}='{value}'\n" for name, value in assigned if "'" not in value and not os.path.isabs(value)]
    present, others = compare("".join(lines).encode("utf-8", "surrogateescape"), sought)
    return _unique([*present, *sought.in_data(text.encode("utf-8", "surrogateescape"))]), others


# --- the engine ------------------------------------------------------------------------------------------------------


def search_image(docker: Docker, reference: str, name: str, secrets: Iterable[Secret], limit: int) -> list[Finding]:
    """Search an image: its history and its own variables always, its files when they are no larger than ``limit``.

    :param reference: its name or ID.
    :param name: how to call it in findings.
    :param limit: bytes; 0 for no files at all.
    :returns: the findings; what could not be searched is one as well (``not_searched``).
    :raises HotfixError: when there is no such image, or the engine does not answer.
    """
    sought = wanted(secrets)
    inspected = docker.run("image", "inspect", "--", reference, check=False)
    if inspected.returncode != 0:
        raise HotfixError(f"there is no image {name} on this host", remedy="Check the option image")
    data = json.loads(inspected.stdout)[0]
    lines = docker.run("history", "--no-trunc", "--format", "{{json .CreatedBy}}", data["Id"]).stdout.splitlines()
    history = [str(json.loads(line)) for line in reversed(lines)]
    found = judge_history(name, history, data["Config"].get("Env") or [], sought)
    try:
        found += judge_layers(name, _saved(docker, data, sought, limit)) if limit else []
    except HotfixError as error:
        found.append(not_searched(f"The files of image {name} were not searched: {error.message}."))
    if sought.left_out:
        found.append(not_searched(f"Image {name} was not searched for {sought.left_out} of the secrets: too many."))
    return found


def not_searched(message: str) -> Finding:
    """What nothing is known about."""
    return Finding("not_searched", "", 0, "low", message)


def _saved(docker: Docker, image: Mapping[str, Any], sought: Wanted, limit: int) -> list[Placed]:
    """The layers of an image.

    :raises HotfixError: when they cannot be read: why.
    """
    size = int(image.get("Size") or 0)
    if size > limit:
        raise HotfixError(f"they take {size // 10**6} MB, and the limit is {limit // 10**6} MB")
    # Before it sends anything the engine writes all layers into a temporary folder of its own.
    root = docker.run("info", "--format", "{{.DockerRootDir}}").stdout.strip()
    with contextlib.suppress(OSError):
        free = shutil.disk_usage(root).free
        if free < size + SPARE:
            raise HotfixError(
                f"the engine needs {(size + SPARE) // 10**6} MB for it, and {root} has {free // 10**6} MB"
            )
    archive = Archive(sought, limit)
    with (
        tempfile.TemporaryFile() as complaint,
        subprocess.Popen(
            docker.command("save", str(image["Id"])),
            env=docker.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaint,
            start_new_session=True,
        ) as process,
    ):
        timer = threading.Timer(SAVE_SECONDS, process.kill)
        timer.start()
        try:
            archive.read(cast(BinaryIO, process.stdout))
        except HotfixError as error:
            problem: HotfixError | None = error
        else:
            problem = None
        finally:
            late = not timer.is_alive()
            timer.cancel()
            process.kill()
        process.wait()
        complaint.seek(0)
        said = complaint.read(4096).decode("utf-8", "replace").strip()
    if late:
        raise HotfixError(f"docker save did not end within {SAVE_SECONDS:g} seconds")
    if problem is not None:
        raise HotfixError(mask(said.splitlines()[-1]) if said else problem.message) from problem
    return archive.layers()
