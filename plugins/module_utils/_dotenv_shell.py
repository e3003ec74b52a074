# SPDX-License-Identifier: GPL-3.0-or-later
"""How a shell divides a ``.env`` into commands when it is sourced: enough to know that an edit of some lines leaves the
rest of the file as it was for a shell.

The grammar is what bash 5.2 shows when it is run. What is not modelled here (here-documents, arrays, compound commands,
nested substitutions) is called a doubt, never guessed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# Names that a file cannot give a value: bash refuses to, or gives them another meaning than the text assigned.
OWN_NAMES = frozenset(
    (
        "BASHOPTS", "BASHPID", "BASH_ARGC", "BASH_ARGV", "BASH_ARGV0", "BASH_COMMAND", "BASH_LINENO", "BASH_SOURCE",
        "BASH_SUBSHELL", "BASH_VERSINFO", "COMP_WORDBREAKS", "DIRSTACK", "EPOCHREALTIME", "EPOCHSECONDS", "EUID",
        "FUNCNAME", "GROUPS", "HISTCMD", "LINENO", "OPTIND", "PIPESTATUS", "PPID", "RANDOM", "SECONDS", "SHELLOPTS",
        "SRANDOM", "UID", "_",
    )
)  # fmt: skip

_SIMPLE = r"\$\{[A-Za-z0-9_]*(?::?[-+?=](?:[^'\"\\`${}\n]|\$(?![({'\"]))*)?\}"
_NESTED = rf"\$\{{[A-Za-z0-9_]*(?::?[-+?=](?:[^'\"\\`${{}}\n]|\$(?![({{'\"])|{_SIMPLE})*)?\}}"
_SUBSTITUTED = rf"{_NESTED}|`[^`'\"\\$\n]*`|\$\([^()'\"`\\$<\n]*\)"
_IN_DOUBLE = rf"(?:[^\"\\`$]|\\[\s\S]|\$(?![({{])|{_SUBSTITUTED})*"
_TOKEN = re.compile(
    rf"""(?P<blank>[ \t]+)
    |(?P<newline>\r?\n)
    |(?P<comment>\#[^\n]*)
    |(?P<operator>\|\||&&|\|&|&>>?|;;|<<|<>|>>|>\||[<>]&|[;&|<>()])
    |(?P<word>(?:(?!\r\n)[^ \t\n'"\\`$|&;<>()]|\\(?:\r\n|[\s\S]|\Z)|'[^']*'|\$'(?:[^'\\]|\\[\s\S])*'
        |\$?"{_IN_DOUBLE}"|\$(?![({{'"])|{_SUBSTITUTED})+)""",
    re.VERBOSE,
)
_CONTINUED = re.compile(r"\\\r?\n")
_UNCLOSED_DOUBLE = re.compile(rf'\$?"{_IN_DOUBLE}\Z')
_CLOSERS = {"`": "`", "$(": ")", "${": "}"}
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:\[[^\]]*\])?\+?=")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_REDIRECTIONS = frozenset(("<", ">", "<>", ">>", ">|", "<&", ">&", "&>", "&>>"))
_RESERVED = frozenset(
    (
        "if", "then", "else", "elif", "fi", "do", "done", "case", "esac", "while", "until", "for", "select", "function",
        "time", "coproc", "in", "!", "{", "}", "[[", "]]",
    )
)  # fmt: skip
# Commands that end the reading, or change how the rest is read.
_FLOW = frozenset(
    (
        "exit", "return", "exec", "logout", "eval", "source", ".", "trap", "shopt", "enable", "builtin", "command",
        "suspend", "kill",
    )
)  # fmt: skip
_TOUCHING = frozenset(
    (
        "export", "read", "unset", "printf", "let", "getopts", "mapfile", "readarray", "declare", "typeset", "readonly",
        "local",
    )
)  # fmt: skip


@dataclass(frozen=True)
class Command:
    """What a shell reads in one go, often a line.

    :ivar start: offset of its first character; ``end`` is the offset after its newline.
    :ivar touched: names that it gives a value, or may.
    """

    start: int
    end: int
    touched: frozenset[str]


@dataclass(frozen=True)
class Shell:
    """A file as a shell reads it.

    :ivar commands: in the order of the file, comments and empty lines among them.
    :ivar stop: the offset of the line from which on the shell reads nothing; ``None`` when it reads the whole file.
    :ivar doubt: it may well go on at ``stop``, but not in a way that is known here.
    """

    commands: tuple[Command, ...]
    stop: int | None = None
    doubt: bool = False


class _Stop(Exception):
    """The shell cannot read on (an error in the file), or it is not known how it does (a doubt)."""

    def __init__(self, doubt: bool) -> None:
        super().__init__()
        self.doubt = doubt


def read_as_shell(text: str) -> Shell:
    """Divide a file without BOM into commands; a line that ends in CRLF counts as one that ends in LF."""
    commands: list[Command] = []
    position = 0
    if "\0" in text:  # bash takes such a file for a program, or leaves the character out
        return Shell((), 0)
    while position < len(text):
        try:
            command = _Reader(text, position).command()
        except _Stop as stop:
            return Shell(tuple(commands), position, stop.doubt)
        commands.append(command)
        position = command.end
    return Shell(tuple(commands))


class _Reader:
    """Reads one command. ``words`` are those of the simple command in hand; ``wants`` says what has to follow."""

    def __init__(self, text: str, start: int) -> None:
        self.text, self.start, self.position = text, start, start
        self.words: list[str] = []
        self.wants = ""
        self.redirected = False
        self.touched: set[str] = set()

    def command(self) -> Command:
        """The command up to its newline.

        :raises _Stop: where the shell would not get to its end.
        """
        while self.position < len(self.text):
            match = _TOKEN.match(self.text, self.position)
            if match is None:
                raise _Stop(self._open_ended())
            self.position = match.end()
            if match.lastgroup == "word":
                self._word(_CONTINUED.sub("", match[0]))
            elif match.lastgroup == "operator":
                self._operator(match[0])
            elif match.lastgroup == "newline" and self.wants != "command":
                break
        if self.wants:
            raise _Stop(False)
        self._finish()
        return Command(self.start, self.position, frozenset(self.touched))

    def _open_ended(self) -> bool:
        """Whether what begins here may have an end that is not modelled."""
        text, position = self.text, self.position
        if text.startswith(("'", "$'"), position):
            return False
        if text.startswith(('"', '$"'), position):
            return not _UNCLOSED_DOUBLE.match(text, position)
        opener = next(opener for opener in _CLOSERS if text.startswith(opener, position))
        return text.find(_CLOSERS[opener], position + len(opener)) >= 0

    def _word(self, word: str) -> None:
        if self.wants == "target":
            self.wants, self.redirected = "", True
            return
        self.wants = ""
        if word:
            self.words.append(word)

    def _operator(self, operator: str) -> None:
        if operator == "(":
            raise _Stop(self._parenthesis())
        if operator == "<<":
            raise _Stop(True)
        if operator in (")", ";;") or self.wants == "target":
            raise _Stop(False)
        if operator in _REDIRECTIONS:
            if self.text.startswith("(", self.position):
                raise _Stop(True)
            self.wants = "target"
            return
        if not self.words and not self.redirected:
            raise _Stop(False)
        self._finish()
        self.wants = "" if operator in (";", "&") else "command"

    def _parenthesis(self) -> bool:
        """Whether a parenthesis here may be anything but an error: an array, a subshell or a function."""
        rest = self.text[self.position : self.position + 80].lstrip(" \t")
        return not self.words or self.words[-1].endswith("=") or rest.startswith(")")

    def _finish(self) -> None:
        """Note what the simple command in hand does to variables."""
        words, self.words, self.redirected = self.words, [], False
        for number, word in enumerate(words):
            assignment = _ASSIGNMENT.match(word)
            if assignment:
                self.touched.add(assignment[1])
                continue
            arguments = words[number + 1 :]
            if (number == 0 and word in _RESERVED) or word in _FLOW:
                raise _Stop(True)
            if word == "set" and any(argument[0] in "-+" for argument in arguments):
                raise _Stop(True)
            if word in _TOUCHING:
                self.touched.update(name for argument in arguments for name in _IDENTIFIER.findall(argument)[:1])
            return
