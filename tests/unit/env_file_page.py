# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the table of docs/env-file-dialects.md by running the readers: ``python tests/unit/env_file_page.py``."""

from __future__ import annotations

import re
import sys
from importlib.metadata import version
from pathlib import Path

import dotenv_readers as readers
from compose_binary import BY_VERSION

PAGE = Path(__file__).resolve().parents[2] / "docs" / "env-file-dialects.md"
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"
KEYS = '["k1","k2"]'
# What it is, the lines about the variable K, and the value that whoever wrote them meant; None where nobody can tell.
CASES = (
    ("single quotes", f"K='{KEYS}'", KEYS),
    ("single quotes and a comment", f"K='{KEYS}'  # list", KEYS),
    ("bare JSON", f"K={KEYS}", KEYS),
    ("bare JSON with a space", 'K=["k1", "k2"]', '["k1", "k2"]'),
    ("double quotes, escaped", 'K="[\\"k1\\",\\"k2\\"]"', KEYS),
    ("double quotes, not escaped", f'K="{KEYS}"', KEYS),
    ("a bare word", "K=word", "word"),
    ("bare words", "K=two words", "two words"),
    ("bare and a comment", "K=word # comment", "word"),
    ("bare with #", "K=a#b", "a#b"),
    ("single quotes with #", "K='a #b'", "a #b"),
    ("single quotes with $", "K='pa$word'", "pa$word"),
    ("single quotes with ${}", "K='pa${X}word'", "pa${X}word"),
    ("bare with $", "K=pa$word", "pa$word"),
    ("bare with $$", "K=pa$$word", "pa$word"),
    ("a reference", "B=1\nK=${B}2", "12"),
    ("an apostrophe, bare", "K=it's", "it's"),
    ("an apostrophe, escaped", "K='it\\'s'", "it's"),
    ("an apostrophe in double quotes", 'K="it\'s"', "it's"),
    ("a backslash in single quotes", "K='a\\\\b'", "a\\\\b"),
    ("\\n in double quotes", 'K="a\\nb"', "a\nb"),
    ("over two lines", "K='a\nb'", "a\nb"),
    ("empty", "K=", ""),
    ("a name alone", "K", None),
    ("export", "export K=word", "word"),
    ("spaces around =", "K = word", "word"),
    ("a colon", "K: word", "word"),
    ("text after the quotes", "K='a'b", "ab"),
    ("quotes not closed", "K='a", None),
    ("twice", "K=old\nK=new", "new"),
    ("CRLF", "K=word\r\n", "word"),
    ("a byte order mark", "\ufeffK=word", "word"),
    ("an ampersand", "K=http://h/?a=1&b=2", "http://h/?a=1&b=2"),
)


def table() -> str:
    """The table in Markdown: ``✓`` where a reader gets what was meant, else what it gets."""
    files = [(text if text.endswith("\n") else f"{text}\n").encode() for _what, text, _meant in CASES]
    columns = {f"Compose {number}": readers.compose(files, number) for number in BY_VERSION}
    columns |= {f"Compose {number} raw": readers.compose(files, number, raw=True) for number in BY_VERSION}
    columns[f"python-dotenv {version('python-dotenv')}"] = [readers.python_dotenv(data) for data in files]
    columns["bash"] = [_bash(data) for data in files]
    rows = [["what", "lines", *columns], ["---"] * (len(columns) + 2)]
    for number, (what, text, meant) in enumerate(CASES):
        cells = [_cell(column[number], meant) for column in columns.values()]
        rows.append([_escaped(what), _code(text), *cells])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _bash(data: bytes) -> dict[str, str] | None:
    """What bash reads, its process ID (``$$``) as a word."""
    if not readers.bash_can_read([data])[0]:
        return None
    read = readers.bash([data], ["K"])[0]
    return {name: re.sub(r"\d+", "<PID>", value) if b"$$" in data else value for name, value in read.items()}


def _cell(read: dict[str, str | None] | None, meant: str | None) -> str:
    if read is None:
        return "error"
    if read.get("K") is None:
        return "not set"
    return "✓" if read["K"] == meant else _code(str(read["K"])) if read["K"] else "empty"


def _code(text: str) -> str:
    shown = text.replace("\ufeff", "<BOM>").replace("\r", "<CR>").replace("\n", "⏎")
    return f"`{_escaped(shown)}`"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def page() -> str:
    """The page with the table as it is now."""
    before, _begin, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"Wrote {PAGE}\n")
