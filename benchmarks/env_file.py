#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets one variable of an environment file, as the module dotenv does and as python-dotenv's ``set_key`` does.

python benchmarks/env_file.py
"""

from __future__ import annotations

from dotenv import set_key
from measuring import Result, compare, show

# isort: split
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv import parse
from ansible_collections.composeops.hotfix.plugins.module_utils._files import Edit, read_bytes

LINES = (
    "# settings of part {n}\n",
    "NAME_{n}=value-{n}\n",
    "export QUOTED_{n}='a value, {n}'  # said why\n",
    'URL_{n}="postgres://user:word@db:5432/part_{n}?sslmode=require"\n',
    "\n",
    "#OLD_{n}=an example\n",
    'LIST_{n}=\'["a","b{n}"]\'\n',
    "FLAG_{n}=true\n",
    "EMPTY_{n}=\n",
    "NUMBER_{n}={n}\n",
)


def content(lines: int, ending: str) -> bytes:
    """A file with comments, quotes, ``export`` and blank lines."""
    return "".join(LINES[n % len(LINES)].format(n=n) for n in range(lines)).replace("\n", ending).encode()


def ours(name: str, path: str) -> None:
    """All that the module does: lock, read, set, prove by reading again, replace the file, wait for the disk."""
    with Edit(path) as edit:
        before = parse(read_bytes(path), path)
        edit.replace(path, before.data, before.set({name: "new-value"}).data)


def measure(lines: int, ending: str) -> Result:
    name = f"NAME_{(lines // 2) // 10 * 10 + 1}"
    return compare(
        content(lines, ending),
        lambda path: ours(name, path),
        lambda path: set_key(path, name, "new-value", quote_mode="never"),
        ".env",
    )


def main() -> None:
    rows = [
        (f"{lines:,} lines, {kind}", measure(lines, ending))
        for kind, ending in (("LF", "\n"), ("CRLF", "\r\n"))
        for lines in (10, 100, 1_000, 10_000)
    ]
    show("Setting one variable of an environment file", "set_key", rows)


if __name__ == "__main__":
    main()
