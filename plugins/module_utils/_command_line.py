# SPDX-License-Identifier: GPL-3.0-or-later
"""What the command line of a web server says: server, application, number of workers, and where that is written.

Every character keeps the place that it was read from, through quotes, variables, defaults and ``sh -c``, so that the
number of workers can be replaced alone and all else stays as its author wrote it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


SERVERS = ("uvicorn", "gunicorn")
SHELLS = ("sh", "bash", "dash", "ash", "zsh", "su")
PYTHON = re.compile(r"(?:python|pypy)[\d.]*")

# Programs that run the rest of their arguments as a program.
WRAPPERS = _names(
    "exec env command nohup nice ionice time timeout stdbuf setsid tini dumb-init catatonit s6-setuidgid gosu su-exec "
    "setpriv runuser chpst poetry pipenv pdm uv hatch rye conda micromamba mamba ddtrace-run newrelic-admin "
    "opentelemetry-instrument coverage dockerize chamber doppler infisical"
)
# What sets the number of workers in the environment.
COUNTING = ("UVICORN_WORKERS", "WEB_CONCURRENCY", "GUNICORN_CMD_ARGS")
RESERVED = _names("if then elif else while until do { ( ! time")

# Options without a value, from `uvicorn --help` (0.54) and `gunicorn --help` (27); every other option takes one.
FLAGS = {
    "uvicorn": _names(
        "--reload --debug --use-colors --no-use-colors --proxy-headers --no-proxy-headers --server-header "
        "--no-server-header --date-header --no-date-header --access-log --no-access-log --factory --http2 "
        "--reset-contextvars --version --help"
    ),
    "gunicorn": _names(
        "--reload --daemon -D --preload --no-sendfile --reuse-port --spew --check-config --print-config --initgroups "
        "--capture-output --disable-redirect-access-to-syslog --log-syslog --enable-stdio-inheritance -R "
        "--do-handshake-on-connect --suppress-ragged-eofs --strip-header-spaces --permit-obsolete-folding "
        "--permit-unconventional-http-method --permit-unconventional-http-version --casefold-http-method "
        "--enable-backlog-metric --no-control-socket --version -v --help -h"
    ),
}
SHORT = {"-w": "--workers", "-c": "--config"}
ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
REFERENCE = re.compile(r"\$(?:(?P<bare>[A-Za-z_]\w*)|\{(?P<name>[A-Za-z_]\w*)(?P<operator>:?[-=?+]|(?=\})))")

# Where compose-go stops reading a command: it is no shell and has none of these.
COMPOSE_OPERATORS = ";&|<>"


class Span(NamedTuple):
    """A stretch of one source: the number the caller gave that source, and character offsets in it."""

    source: int
    start: int
    end: int


@dataclass(frozen=True)
class Text:
    """Characters, each with the (source, offset) that it was read from.

    :ivar end: the place just behind the word as written, closing quote included; None when it is not one piece.
    """

    value: str
    places: tuple[tuple[int, int], ...]
    end: tuple[int, int] | None = None

    @classmethod
    def of(cls, value: str, source: int = 0, start: int = 0) -> Text:
        """A text that is written in one piece in ``source`` from offset ``start`` on."""
        places = tuple((source, start + number) for number in range(len(value)))
        return cls(value, places, (source, start + len(value)))

    def cut(self, start: int, end: int | None = None) -> Text:
        """The part from ``start`` to ``end``; it ends where the whole ends if it reaches that far."""
        last = self.end if end is None or end >= len(self.value) else None
        return Text(self.value[start:end], self.places[start:end], last)

    def add(self, other: Text) -> Text:
        """Both, one behind the other."""
        return Text(self.value + other.value, self.places + other.places)

    def span(self) -> Span | None:
        """Where this text is written, or None when it is empty or put together from several pieces."""
        if not self.places:
            return None
        source, start = self.places[0]
        if any(place != (source, start + number) for number, place in enumerate(self.places)):
            return None
        return Span(source, start, start + len(self.places))


EMPTY = Text("", ())
Lookup = Callable[[str], "Text | None"]


def nothing(name: str) -> Text | None:
    """A lookup that knows no variable: references stay as they are written."""
    return None


@dataclass(frozen=True)
class ServerCommand:
    """What a command line says about the server that it starts.

    :ivar server: ``uvicorn``, ``gunicorn`` or None.
    :ivar program: what starts it: as ``server``, or ``fastapi``, whose ``run`` starts uvicorn.
    :ivar application: the import string, such as ``backend.main:app``.
    :ivar workers: the number given on the command line; None when there is none or it is an expression.
    :ivar config: gunicorn's ``--config``, as written.
    :ivar app_dir: uvicorn's ``--app-dir`` or gunicorn's ``--chdir``.
    :ivar factory: whether the application is a factory.
    :ivar reload: whether ``--reload`` is given; uvicorn then ignores the number of workers.
    :ivar count: the value of the last ``--workers``, with its place.
    :ivar anchor: the word behind which an option can be added: the application, else the program.
    :ivar assignments: variables that the command line itself sets for the server, with the place of their values.
    :ivar opaque: why nothing can be said about the number, when that is so.
    """

    server: str | None = None
    program: str | None = None
    application: str | None = None
    workers: int | None = None
    config: str | None = None
    app_dir: str | None = None
    factory: bool = False
    reload: bool = False
    count: Text | None = None
    anchor: Text | None = None
    assignments: dict[str, Text] = field(default_factory=dict)
    opaque: str | None = None


def parse_argv(argv: Sequence[str]) -> ServerCommand:
    """Read an argument list, such as that of a running process; item ``n`` is source ``n`` of the places."""
    return parse([Text.of(word, number) for number, word in enumerate(argv)])


def parse_shell(script: str) -> ServerCommand:
    """Read a command line written for a shell; the places are offsets in ``script``, source 0."""
    return _script(Text.of(script), nothing, [])


def parse(words: Sequence[Text], lookup: Lookup = nothing) -> ServerCommand:
    """Read an argument list.

    :param lookup: the variables of the container, for what a shell in the command line would expand.
    """
    return _command(list(words), lookup, {})


def raw(name: str) -> Text | None:
    """The lookup that makes every reference stay as it is written, even one with a default."""
    return None


def number(text: Text | None) -> int | None:
    """The number of workers that a text says, or None when it is no plain number."""
    return int(text.value) if text is not None and re.fullmatch(r"\s*[0-9]{1,6}\s*", text.value) else None


def cmd_args(text: Text) -> ServerCommand:
    """Read the value of ``GUNICORN_CMD_ARGS``: options of gunicorn without the program."""
    return _server("gunicorn", None, split(text), {})


def interpolate(text: Text, lookup: Lookup) -> Text:
    """Replace variables as Compose does: ``$NAME``, ``${NAME:-default}``, ``$$`` for a dollar sign.

    A variable that is not known and has no default stays as it is written.
    """
    result, index = EMPTY, 0
    while index < len(text.value):
        if text.value.startswith("$$", index):
            result, index = result.add(text.cut(index + 1, index + 2)), index + 2
            continue
        piece, index = _expand(text, index, lookup, interpolate)
        result = result.add(piece)
    return Text(result.value, result.places, text.end)


def split(text: Text, operators: str = COMPOSE_OPERATORS) -> list[Text]:
    """Words of a string as Compose splits a ``command``: quotes count, variables do not.

    :param operators: characters at which reading stops when they are not quoted; by default those of Compose.
    """
    return next(iter(_Lexer(text, None, operators)), [])


def _closing(value: str, index: int, opening: str, closing: str) -> int:
    """The index behind the bracket that closes the one before ``index``; the end when nothing does."""
    depth = 1
    while index < len(value) and depth:
        depth += {opening: 1, closing: -1}.get(value[index], 0)
        index += 1
    return index


def _expand(text: Text, index: int, lookup: Lookup, default: Callable[[Text, Lookup], Text]) -> tuple[Text, int]:
    """What stands for the reference at ``index`` and the index behind it; one character when there is no reference."""
    match = REFERENCE.match(text.value, index)
    if not match:
        return text.cut(index, index + 1), index + 1
    if match["bare"]:
        found = lookup(match["bare"])
        return text.cut(index, match.end()) if found is None else found, match.end()
    end = _closing(text.value, match.end(), "{", "}")
    if lookup is raw:
        return text.cut(index, end), end
    found, operator = lookup(match["name"]), match["operator"]
    usable = found if found is not None and (found.value or not operator.startswith(":")) else None
    other = text.cut(match.end(), end - 1)
    if operator[-1:] == "+":
        return (EMPTY if usable is None else default(other, lookup)), end
    if usable is not None:
        return usable, end
    return (default(other, lookup) if operator[-1:] in ("-", "=") and operator else text.cut(index, end)), end


class _Lexer:
    """Splits a script into simple commands, one list of words each.

    :param lookup: the variables that a shell would know; None when no shell reads the text.
    :param operators: the characters that end a command.
    """

    def __init__(self, text: Text, lookup: Lookup | None, operators: str = ";&|()\n") -> None:
        self.text, self.value, self.lookup, self.operators = text, text.value, lookup, operators
        # In double quotes a shell takes a backslash for itself before most characters, compose-go never does.
        self.escaped = None if operators == COMPOSE_OPERATORS else ('"', "\\", "$", "`")
        self.index = 0
        self.words: list[Text] = []
        self.word: Text | None = None
        self.skip = False

    def __iter__(self) -> Iterator[list[Text]]:
        while self.index < len(self.value):
            character = self.value[self.index]
            if character in self.operators:
                yield from self._command()
                self.index += 1
            elif character.isspace():
                self._end_word()
                self.index += 1
            elif character in "<>" and self.lookup is not None:
                self._redirect()
            elif character == "#" and self.word is None and self.lookup is not None:
                self.index = (self.value + "\n").index("\n", self.index)
            else:
                self._character(character)
        yield from self._command()

    def _command(self) -> Iterator[list[Text]]:
        self._end_word()
        words, self.words, self.skip = self.words, [], False
        if words:
            yield words

    def _append(self, piece: Text) -> None:
        self.word = piece if self.word is None else self.word.add(piece)

    def _end_word(self) -> None:
        if self.word is not None and not self.skip:
            source, offset = self.text.places[min(self.index, len(self.value)) - 1]
            self.words.append(Text(self.word.value, self.word.places, (source, offset + 1)))
        if self.word is not None:
            self.word, self.skip = None, False

    def _redirect(self) -> None:
        """Leave out ``2>&1``, ``> file`` and the like."""
        if self.word is not None and self.word.value.isdigit():
            self.word = None
        self._end_word()
        while self.index < len(self.value) and self.value[self.index] in "<>&|":
            self.index += 1
        self.skip = True

    def _character(self, character: str) -> None:
        if character == "'":
            end = (self.value + "'").index("'", self.index + 1)
            self._append(self.text.cut(self.index + 1, end))
            self.index = end + 1
        elif character == '"':
            self._double_quoted()
        elif character == "\\":
            if self.escaped is None or not self.value.startswith("\\\n", self.index):
                self._append(self.text.cut(self.index + 1, self.index + 2))
            self.index += 2
        elif character in "$`":
            self._dollar(quoted=False)
        else:
            self._append(self.text.cut(self.index, self.index + 1))
            self.index += 1

    def _double_quoted(self) -> None:
        self._append(EMPTY)
        self.index += 1
        while self.index < len(self.value) and self.value[self.index] != '"':
            following = self.value[self.index + 1 : self.index + 2]
            if self.value[self.index] == "\\" and (self.escaped is None or following in self.escaped):
                self._append(self.text.cut(self.index + 1, self.index + 2))
                self.index += 2
            elif self.value[self.index] in "$`":
                self._dollar(quoted=True)
            else:
                self._append(self.text.cut(self.index, self.index + 1))
                self.index += 1
        self.index += 1

    def _dollar(self, *, quoted: bool) -> None:
        """A variable is replaced, a command substitution kept as written."""
        start = self.index
        if self.value[start] == "`":
            self.index = (self.value + "`").index("`", start + 1) + 1
            piece = self.text.cut(start, self.index)
        elif self.value.startswith("$(", start):
            self.index = _closing(self.value, start + 2, "(", ")")
            piece = self.text.cut(start, self.index)
        elif self.lookup is None:
            match = REFERENCE.match(self.value, start)
            braced = match is not None and not match["bare"]
            end = _closing(self.value, start + 2, "{", "}") if braced else start + 1
            piece, self.index = self.text.cut(start, end), end
        else:
            piece, self.index = _expand(self.text, start, self.lookup, lambda other, _: _unquote(other, self.lookup))
        expanded = piece.value != self.value[start : self.index]
        if quoted or not expanded or not re.search(r"\s", piece.value):
            self._append(piece)
        else:
            self._words_of(piece)

    def _words_of(self, piece: Text) -> None:
        """An unquoted variable with blanks in it becomes several words."""
        for match in re.finditer(r"\s+|\S+", piece.value):
            if match.group().isspace():
                self._end_word()
            else:
                self._append(piece.cut(match.start(), match.end()))


def _unquote(text: Text, lookup: Lookup | None) -> Text:
    """The default inside ``${NAME:-default}`` as a shell reads it."""
    result = EMPTY
    for position, word in enumerate(word for command in _Lexer(text, lookup) for word in command):
        result = result.add(Text.of(" ", -1)).add(word) if position else result.add(word)
    return result


def _command(words: list[Text], lookup: Lookup, assignments: dict[str, Text]) -> ServerCommand:
    """Read one simple command: assignments, then a program with its arguments."""
    assignments = dict(assignments)
    while words and (ASSIGNMENT.match(words[0].value) or words[0].value in RESERVED):
        _assign(words.pop(0), assignments)
    if not words:
        return ServerCommand(assignments=assignments, opaque="there is no command")
    program = os.path.basename(words[0].value)
    if program in SERVERS:
        return _server(program, words[0], words[1:], assignments)
    if program in SHELLS:
        return _shell(words, lookup, assignments)
    if PYTHON.fullmatch(program):
        return _python(words, assignments)
    if program in WRAPPERS or "/" in words[0].value or program.endswith(".sh"):
        return _wrapped(words, lookup, assignments)
    return _special(program, words, assignments)


def _special(program: str, words: list[Text], assignments: dict[str, Text]) -> ServerCommand:
    """Programs that start a server under another name."""
    if program == "fastapi" and len(words) > 1 and words[1].value == "run":
        # `fastapi run backend/main.py`: the argument is a path, and UVICORN_WORKERS is not read.
        return replace(_server("uvicorn", words[1], words[2:], assignments), program="fastapi", application=None)
    if program.startswith("gunicorn:"):
        # setproctitle makes the process read "gunicorn: master [backend.main:app]".
        title = re.search(r"\[([^\]]*)\]", " ".join(word.value for word in words))
        return ServerCommand("gunicorn", "gunicorn", title[1] if title else None, assignments=assignments)
    return ServerCommand(assignments=assignments, opaque=_hidden(words[0]))


def _hidden(program: Text) -> str:
    return f"the command runs '{program.value}', which starts the server out of sight"


def _assign(word: Text, assignments: dict[str, Text]) -> None:
    name, sign, _rest = word.value.partition("=")
    if sign and ASSIGNMENT.match(word.value):
        assignments[name] = word.cut(len(name) + 1)


def _wrapped(words: list[Text], lookup: Lookup, assignments: dict[str, Text]) -> ServerCommand:
    """Find the server behind a wrapper such as ``poetry run`` or an entrypoint script that runs its arguments."""
    assignments = dict(assignments)
    if os.path.basename(words[0].value) == "env":
        assignments.update({name: EMPTY for name in _taken_away(words[1:])})
    for position, word in enumerate(words[1:], 1):
        name = os.path.basename(word.value)
        if name in SERVERS and words[position - 1].value == "-m":
            return _server(name, word, words[position + 1 :], assignments)
        if name in (*SERVERS, *SHELLS, "fastapi") or name in WRAPPERS or PYTHON.fullmatch(name):
            return _command(words[position:], lookup, assignments)
        _assign(word, assignments)
    last = next((word for word in words[1:] if word.value.endswith(".sh") or "/" in word.value), words[0])
    return ServerCommand(assignments=assignments, opaque=_hidden(last))


def _taken_away(words: Sequence[Text]) -> Iterator[str]:
    """Variables that ``env`` takes away before it runs its program: https://man7.org/linux/man-pages/man1/env.1.html."""
    for word, following in zip(words, [*words[1:], EMPTY]):
        name, _sign, value = word.value.partition("=")
        if name in ("-i", "-", "--ignore-environment"):
            yield from COUNTING
        elif name in ("-u", "--unset"):
            yield value or following.value


def _python(words: list[Text], assignments: dict[str, Text]) -> ServerCommand:
    """``python -m uvicorn ...`` and ``python /usr/local/bin/uvicorn ...``, the form that a process list shows."""
    position = 1
    while position < len(words) and words[position].value.startswith("-"):
        if words[position].value == "-m":
            break
        position += 2 if words[position].value in ("-X", "-W") else 1
    if position < len(words) and words[position].value == "-m":
        position += 1
    if position < len(words) and os.path.basename(words[position].value) in SERVERS:
        name = os.path.basename(words[position].value)
        return _server(name, words[position], words[position + 1 :], assignments)
    return ServerCommand(assignments=assignments, opaque=_hidden(words[min(position, len(words) - 1)]))


def _shell(words: list[Text], lookup: Lookup, assignments: dict[str, Text]) -> ServerCommand:
    """``sh -c "..."`` is read; ``sh start.sh`` is looked through only when the server follows as an argument."""
    position = 1
    while position < len(words):
        value = words[position].value
        if re.fullmatch(r"-[a-zA-Z]*c[a-zA-Z]*", value) and position + 1 < len(words):
            return _script(words[position + 1], lookup, words[position + 3 :], assignments)
        if not value.startswith(("-", "+")) and os.path.basename(words[0].value) != "su":
            break
        position += 2 if value in ("-o", "+o", "-O", "+O") else 1
    return _wrapped(words, lookup, assignments)


def _script(
    script: Text, lookup: Lookup, arguments: Sequence[Text], assignments: dict[str, Text] | None = None
) -> ServerCommand:
    """Read a shell script; exactly one of its commands has to start a server."""
    # What the script itself uses, and of that what the programs that it starts get.
    known, exported = dict(assignments or {}), dict(assignments or {})
    found: list[ServerCommand] = []
    unseen: ServerCommand | None = None
    variables = raw if lookup is raw else lambda name: known[name] if name in known else lookup(name)
    for words in _Lexer(script, variables):
        command = _command(list(_with_arguments(words, arguments, written=lookup is raw)), lookup, exported)
        if command.server:
            found.append(command)
        elif words[0].value in ("export", "unset") or all(ASSIGNMENT.match(word.value) for word in words):
            for word in words:
                name = word.value.partition("=")[0]
                _assign(word, known)
                if words[0].value == "unset":
                    known[name] = exported[name] = EMPTY
                elif name in known and (words[0].value == "export" or variables is raw or lookup(name) is not None):
                    exported[name] = known[name]
        else:
            unseen = command
    if len(found) > 1:
        return ServerCommand(assignments=known, opaque=f"the command starts a server in {len(found)} places")
    return found[0] if found else unseen or ServerCommand(assignments=known, opaque="there is no command")


def _with_arguments(words: Iterable[Text], arguments: Sequence[Text], *, written: bool) -> Iterator[Text]:
    """Put the arguments of ``sh -c script name arguments`` where the script says ``"$@"``.

    :param written: whether the script is as Compose files have it, where the dollar sign is doubled.
    """
    for word in words:
        if word.value in ("$@", "$*") or (written and word.value in ("$$@", "$$*")):
            yield from arguments
        else:
            yield word


def _server(name: str, program: Text | None, words: Sequence[Text], assignments: dict[str, Text]) -> ServerCommand:
    """Read the server's own arguments; of an option that is given several times the last one counts."""
    options: dict[str, Text] = {}
    application: Text | None = None
    flags: set[str] = set()
    waiting: str | None = None
    for word in words:
        if waiting is not None:
            options[waiting], waiting = word, None
        elif word.value.startswith("-") and len(word.value) > 1 and word.value != "--":
            option, value = _option(name, word)
            if option in FLAGS[name]:
                flags.add(option)
            elif value is None:
                waiting = option
            else:
                options[option] = value
        elif word.value != "--" and application is None:
            application = word
    count = options.get("--workers")
    return ServerCommand(
        server=name,
        program=name,
        application=application.value if application else None,
        workers=number(count),
        config=_value(options.get("--config")) if name == "gunicorn" else None,
        app_dir=_value(options.get("--app-dir") or options.get("--chdir")),
        factory="--factory" in flags,
        reload="--reload" in flags,
        count=count,
        anchor=application or program,
        assignments=assignments,
    )


def _value(text: Text | None) -> str | None:
    return text.value if text is not None else None


def _option(server: str, word: Text) -> tuple[str, Text | None]:
    """The long name of an option and its value if that is in the same word: ``--workers=4``, ``-w4``, ``-w=4``."""
    name, sign, _rest = word.value.partition("=")
    if word.value.startswith("--"):
        return name, word.cut(len(name) + 1) if sign else None
    position = 1
    # Of several in one word, as in -Rw4, only the last one can take a value.
    while position + 1 < len(word.value) and f"-{word.value[position]}" in FLAGS[server]:
        position += 1
    short, rest = f"-{word.value[position]}", word.value[position + 1 :]
    option = SHORT.get(short, short) if server == "gunicorn" else short
    return option, word.cut(position + (2 if rest.startswith("=") else 1)) if rest else None
