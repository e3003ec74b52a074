# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Dockerfile says about the image it builds, each value with the place where it is written.

The rules are those of https://docs.docker.com/reference/dockerfile/.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.composeops.hotfix.plugins.module_utils._command_line import Text, interpolate, split
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError

OPTIONS = re.compile(r"(?:--\S+\s+)*")
HEREDOC = re.compile(r"<<-?\s*(?:\"(\w+)\"|'(\w+)'|(\w+))")
DIRECTIVE = re.compile(r"#\s*(\w+)\s*=\s*(\S+)\s*$")
STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
ESCAPE = re.compile(r"\\u[dD][89abAB]\w\w\\u[dD][c-fC-F]\w\w|\\u[0-9a-fA-F]{4}|\\.|.", re.DOTALL)
FROM = re.compile(r"(?:--\S+\s+)*(?P<base>\S+)(?:\s+[aA][sS]\s+(?P<name>\S+))?")


@dataclass(frozen=True)
class Instruction:
    """One instruction, its arguments without line continuations and comments."""

    keyword: str
    arguments: Text


@dataclass(frozen=True)
class Copy:
    """Files copied from the build context into the image."""

    sources: tuple[str, ...]
    target: str


@dataclass
class Image:
    """What the last stage, or the one asked for, amounts to.

    :ivar base: the image outside of the Dockerfile on which it rests.
    :ivar entrypoint: its argument list, or None when the Dockerfile sets none.
    :ivar command: the argument list of CMD, or None when the Dockerfile sets none.
    :ivar items: the words of exec forms, each an element of a JSON list.
    """

    base: str = ""
    entrypoint: list[Text] | None = None
    command: list[Text] | None = None
    env: dict[str, Text] = field(default_factory=dict)
    arguments: dict[str, Text] = field(default_factory=dict)
    workdir: str = "/"
    copies: list[Copy] = field(default_factory=list)
    shell: list[str] = field(default_factory=lambda: ["/bin/sh", "-c"])

    def variable(self, name: str) -> Text | None:
        """A build argument or environment variable; ENV wins over ARG."""
        return self.env.get(name, self.arguments.get(name))


def instructions(text: str, source: int = 0) -> Iterator[Instruction]:
    """The instructions of a Dockerfile in order; the places are offsets in ``text``."""
    escape, offset = _escape(text), 0
    while offset < len(text):
        logical, offset = _logical_line(text, offset, escape, source)
        match = re.match(r"\s*([A-Za-z]+)(?:\s+|$)", logical.value)
        if not match:
            continue
        arguments = logical.cut(match.end())
        for word in HEREDOC.findall(arguments.value) if match[1].upper() in ("RUN", "COPY", "ADD") else []:
            end = re.compile(rf"^\t*{''.join(word)}[ \t]*\r?$\n?", re.MULTILINE).search(text, offset)
            offset = end.end() if end else len(text)
        yield Instruction(match[1].upper(), arguments)


def _escape(text: str) -> str:
    """The line continuation character; a directive at the top may change it."""
    for line in text.lstrip("\ufeff").splitlines():
        match = DIRECTIVE.match(line.strip())
        if not match:
            break
        if match[1].lower() == "escape" and match[2] in ("\\", "`"):
            return match[2]
    return "\\"


def _logical_line(text: str, offset: int, escape: str, source: int) -> tuple[Text, int]:
    """The line at ``offset`` joined with those it is continued on, and the offset behind them."""
    result, continued = Text("", ()), False
    while offset < len(text):
        end = text.find("\n", offset) + 1 or len(text)
        line = text[offset:end].rstrip("\r\n")
        comment = line.lstrip(" \t\ufeff").startswith("#")
        # Comments and empty lines between continued lines are left out by the builder.
        skipped = comment or (continued and not line.strip())
        stripped = line.rstrip(" \t")
        continues = not skipped and stripped.endswith(escape)
        if not skipped:
            kept = stripped[:-1] if continues else line
            result = result.add(Text.of(kept, source, offset))
        offset = end
        if not continues and not (skipped and continued):
            break
        continued = True
    return result, offset


def exec_form(arguments: Text) -> list[Text] | None:
    """The words of a JSON list, or None when the text is a line for the shell."""
    try:
        words = json.loads(arguments.value)
    except ValueError:
        return None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        return None
    return [_json_string(arguments.cut(match.start(), match.end())) for match in STRING.finditer(arguments.value)]


def _json_string(quoted: Text) -> Text:
    """A JSON string's characters; an escaped one is placed at the last character of its escape."""
    pieces = [(piece.group(), piece.end()) for piece in ESCAPE.finditer(quoted.value[1:-1])]
    value = "".join(json.loads(f'"{piece}"') for piece, _end in pieces)
    source, end = quoted.places[-1]
    places = tuple(quoted.places[end_of_piece] for _piece, end_of_piece in pieces)
    return Text(value, places, (source, end + 1))


def image(
    text: str, path: str, *, target: str = "", arguments: Mapping[str, Text] | None = None, source: int = 0
) -> Image:
    """Read a Dockerfile.

    :param target: the stage to build; by default the last.
    :param arguments: build arguments given by Compose.
    :param source: the number of the Dockerfile among the places.
    :raises HotfixError: when there is no such stage, or no stage at all.
    """
    stages: list[tuple[str, Image]] = []
    wanted: Image | None = None
    shared: dict[str, Text] = {}
    reader: _Stage | None = None
    for instruction in instructions(text, source):
        if instruction.keyword == "FROM":
            if wanted is not None:
                break
            reader = _Stage(_base(instruction, shared, stages), arguments or {}, shared)
            match = FROM.match(instruction.arguments.value)
            name = (match["name"] if match else None) or str(len(stages))
            stages.append((name.lower(), reader.image))
            wanted = reader.image if target and target.lower() in (name.lower(), str(len(stages) - 1)) else None
        elif reader is not None:
            reader.read(instruction)
        elif instruction.keyword == "ARG":
            shared.update(_arguments(instruction, arguments or {}, {}))
    if (target and wanted is None) or not stages:
        raise HotfixError(
            f"there is no stage {target}" if stages else "there is no FROM in it",
            path=path,
            remedy="Check build.target and build.dockerfile of the service",
        )
    return wanted or stages[-1][1]


def _base(instruction: Instruction, shared: Mapping[str, Text], stages: Sequence[tuple[str, Image]]) -> Image:
    """The image that a stage starts from: an earlier stage's, or a new one with the name of the outside image."""
    match = FROM.match(interpolate(instruction.arguments, shared.get).value)
    base = match["base"] if match else ""
    for name, earlier in stages:
        if name == base.lower():
            return Image(
                base=earlier.base,
                entrypoint=earlier.entrypoint,
                command=earlier.command,
                env=dict(earlier.env),
                workdir=earlier.workdir,
                copies=list(earlier.copies),
                shell=earlier.shell,
            )
    return Image(base=base)


def _arguments(
    instruction: Instruction, given: Mapping[str, Text], shared: Mapping[str, Text]
) -> Iterator[tuple[str, Text]]:
    """Names and values of an ARG: what Compose gives, else its default, else that of an ARG before the first FROM."""
    for word in split(instruction.arguments, ""):
        name, sign, _rest = word.value.partition("=")
        value = given.get(name, word.cut(len(name) + 1) if sign else shared.get(name))
        if value is not None:
            yield name, value


class _Stage:
    """Applies the instructions of one stage to its image."""

    def __init__(self, base: Image, given: Mapping[str, Text], shared: Mapping[str, Text]) -> None:
        self.image, self.given, self.shared = base, given, shared
        self.command_is_own = False

    def read(self, instruction: Instruction) -> None:
        """Apply one instruction; those that do not matter here are passed over."""
        arguments = instruction.arguments
        if instruction.keyword == "CMD":
            self.image.command, self.command_is_own = self._argv(arguments), True
        elif instruction.keyword == "ENTRYPOINT":
            self.image.entrypoint = self._argv(arguments)
            if not self.command_is_own:
                # Setting ENTRYPOINT resets a CMD that came from the base image.
                self.image.command = []
        elif instruction.keyword == "ENV":
            self.image.env.update(self._env(arguments))
        elif instruction.keyword == "ARG":
            self.image.arguments.update(_arguments(instruction, self.given, self.shared))
        elif instruction.keyword == "WORKDIR":
            folder = interpolate(arguments, self.image.variable).value.strip()
            self.image.workdir = posixpath.normpath(posixpath.join(self.image.workdir, folder))
        elif instruction.keyword == "SHELL":
            self.image.shell = [word.value for word in exec_form(arguments) or []] or self.image.shell
        elif instruction.keyword in ("COPY", "ADD"):
            self._copy(arguments)

    def _argv(self, arguments: Text) -> list[Text]:
        words = exec_form(arguments)
        if words is not None:
            return words
        return [*(Text(word, ()) for word in self.image.shell), arguments]

    def _env(self, arguments: Text) -> Iterator[tuple[str, Text]]:
        words = split(arguments, "")
        if words and "=" not in words[0].value:
            # The old form: ENV NAME the rest of the line.
            match = re.match(r"\S+\s*", arguments.value)
            start = match.end() if match else 0
            yield words[0].value, interpolate(arguments.cut(start), self.image.variable)
            return
        for word in words:
            name = word.value.partition("=")[0]
            yield name, interpolate(word.cut(len(name) + 1), self.image.variable)

    def _copy(self, arguments: Text) -> None:
        if any(word.startswith("--from=") for word in arguments.value.split()):
            return
        options = OPTIONS.match(arguments.value)
        listed = exec_form(arguments.cut(options.end() if options else 0))
        words = [word.value for word in listed or split(interpolate(arguments, self.image.variable), "")]
        plain = [word for word in words if not word.startswith("--")]
        if len(plain) >= 2:
            self.image.copies.append(Copy(tuple(plain[:-1]), posixpath.join(self.image.workdir, plain[-1])))
