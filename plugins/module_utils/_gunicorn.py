# SPDX-License-Identifier: GPL-3.0-or-later
"""The number of workers in a gunicorn configuration file, which is Python source: read with ``ast``, never run."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator

from ansible_collections.composeops.hotfix.plugins.module_utils._command_line import Lookup, Text
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError

ENVIRONMENT = ("os.environ.get", "environ.get", "os.getenv", "getenv")
# What has variables of its own.
SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp)


def decode(data: bytes, path: str) -> tuple[str, str]:
    """A configuration file as text, line ends as they are, and its encoding as Python finds it: by mark or comment.

    :raises HotfixError: when Python could not read it, or the text would not give the same bytes again.
    """
    try:
        encoding = tokenize.detect_encoding(io.BytesIO(data).readline)[0]
        text = data.decode(encoding)
        same = text.encode(encoding) == data
    except (SyntaxError, ValueError) as error:
        raise HotfixError(
            "Python cannot read this: it is not in the encoding that it says, or not in UTF-8 where it says none",
            path=path,
            remedy="Correct it, or say its encoding in the first line, as in: # -*- coding: latin-1 -*-",
        ) from error
    if not same:
        raise HotfixError(f"this cannot be edited in its encoding, {encoding}", path=path, remedy="Write it in UTF-8")
    return text, encoding


def setting(text: str, path: str, *, lookup: Lookup, source: int = 0) -> Text | None:
    """The value that ``workers`` gets, or None when the file does not set it.

    A literal, also as the default of ``os.environ.get("WORKERS", 4)``, is given alone, and a variable that is set leads
    to where it is set. Any other expression is given as a whole. Where no single assignment decides, as under a
    condition, the line is given: see :func:`check`.

    :param lookup: the variables of the container.
    :param source: the number of this file among the places.
    :raises HotfixError: when the file is no Python source.
    """
    module = _parse(text, path)
    last = _last_binding(module)
    if last is None:
        return None
    reader = _Reader(text, lookup, source)
    value = _value(module, last)
    if value is None:
        return reader.line_of(last)
    found = reader.resolve(value)
    return reader.text_of(value) if found is None else found


def check(text: str, path: str) -> None:
    """Refuse a file in which no single assignment decides on ``workers``.

    :raises HotfixError: naming the line.
    """
    module = _parse(text, path)
    last = _last_binding(module)
    if last is not None and _value(module, last) is None:
        raise HotfixError(
            "the number of workers is set here under a condition, in several steps or by another file",
            path=path,
            line=getattr(last, "lineno", None),
            remedy="Set workers once, by an assignment of its own, or use target: override",
        )


def _parse(text: str, path: str) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise HotfixError("this is no Python source", path=path, line=line, remedy="Correct the file") from error


def _last_binding(module: ast.Module) -> ast.stmt | ast.expr | None:
    """The last that sets ``workers`` in the order of the file, in whatever way: an assignment as a whole."""
    return next(reversed(list(_bindings(module))), None)


def _value(module: ast.Module, binding: ast.AST) -> ast.expr | None:
    """What ``workers`` gets, when this binding is an assignment that decides alone."""
    if binding in module.body and isinstance(binding, (ast.Assign, ast.AnnAssign)):
        return binding.value
    return None


def _bindings(module: ast.Module) -> Iterator[ast.stmt | ast.expr]:
    """All that sets ``workers`` in the order of the file; what is inside of functions and classes sets another one."""
    pending: list[ast.AST] = list(reversed(module.body))
    while pending:
        node = pending.pop()
        if isinstance(node, (*SCOPES, ast.GeneratorExp)):
            continue
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Name) and target.id == "workers" for target in targets):
                # A mere annotation sets nothing.
                yield from [node] if node.value is not None else []
                continue
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            # Another file's names may be any.
            names = [alias.asname or alias.name for alias in node.names]
            yield from [node] if "workers" in names or "*" in names else []
        elif isinstance(node, ast.Name) and node.id == "workers" and not isinstance(node.ctx, ast.Load):
            yield node
        pending.extend(reversed(list(ast.iter_child_nodes(node))))


class _Reader:
    """Knows where the nodes of a syntax tree stand in the text."""

    def __init__(self, text: str, lookup: Lookup, source: int) -> None:
        self.text, self.lookup, self.source = text, lookup, source
        self.lines = [0, *(match.end() for match in re.finditer(r"\r\n|\n|\r", text))]

    def text_of(self, node: ast.expr) -> Text:
        """An expression as it is written."""
        start = self._offset(node.lineno, node.col_offset)
        end = self._offset(node.end_lineno or node.lineno, node.end_col_offset or 0)
        return Text.of(self.text[start:end], self.source, start)

    def line_of(self, node: ast.stmt | ast.expr) -> Text:
        """The line on which a node begins."""
        start = self.lines[node.lineno - 1]
        line = re.split(r"[\r\n]", self.text[start:], maxsplit=1)[0]
        return Text.of(line.strip(), self.source, start + len(line) - len(line.lstrip()))

    def resolve(self, node: ast.expr) -> Text | None:
        """The place of the number that an expression comes to, or None when that is to be computed."""
        if isinstance(node, ast.Constant):
            return self._constant(node)
        if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or):
            return next((found for found in map(self.resolve, node.values) if found is not None), None)
        if isinstance(node, ast.Call) and not node.keywords and node.args:
            name = ast.unparse(node.func)
            if name == "int" and len(node.args) == 1:
                return self.resolve(node.args[0])
            if name in ENVIRONMENT:
                return self._variable(node.args[0]) or (self.resolve(node.args[1]) if node.args[1:] else None)
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) in ("os.environ", "environ"):
            return self._variable(node.slice)
        return None

    def _variable(self, name: ast.expr) -> Text | None:
        found = self.lookup(name.value) if isinstance(name, ast.Constant) and isinstance(name.value, str) else None
        return found if found is not None and found.value else None

    def _constant(self, node: ast.Constant) -> Text | None:
        written = self.text_of(node)
        if isinstance(node.value, str) and written.value in (f"'{node.value}'", f'"{node.value}"'):
            written = written.cut(1, len(written.value) - 1)
        return written if written.value.isdigit() else None

    def _offset(self, line: int, column: int) -> int:
        """``ast`` counts bytes of UTF-8."""
        start = self.lines[line - 1]
        return start + len(self.text[start:].split("\n", 1)[0].encode()[:column].decode())
