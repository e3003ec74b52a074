# SPDX-License-Identifier: GPL-3.0-or-later
"""What the expressions of a Python program stand for, found by reading its files and never by importing them.

Only as much as the question "which object is closed here, and how" needs: classes, their instances, functions,
modules, and values that have to be awaited, followed through imports, re-exports, globals and attributes.
"""

from __future__ import annotations

import ast
import builtins
import io
import os
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Union

from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._files import read_bytes
from ansible_collections.composeops.hotfix.plugins.module_utils._redis_library import called, method

FunctionDefinition = (ast.FunctionDef, ast.AsyncFunctionDef)
ScopeNodes = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef, ast.Module)
CONTEXT_MANAGERS = ("contextmanager", "asynccontextmanager")
PROPERTIES = {"property", "cached_property"}
CACHES = ("lru_cache", "cache", "cached", "alru_cache")
# They make a coroutine function of a plain one, or the reverse.
TURNERS = ("async_to_sync", "sync_to_async")
# No base of these gives a class a method that closes something.
PLAIN_BASES = re.compile(r"(builtins|abc|typing|typing_extensions|enum|collections|pydantic|dataclasses)\.")
# How far above a file its project's root is looked for.
LEVELS = 10


@dataclass(frozen=True, eq=False)
class Source:
    """One Python file: its text and tree, and each node's parent."""

    path: str
    text: str
    tree: ast.Module
    parents: dict[ast.AST, ast.AST]

    def above(self, node: ast.AST) -> Iterator[ast.AST]:
        """The nodes around a node, innermost first."""
        while node in self.parents:
            node = self.parents[node]
            yield node

    def scope(self, node: ast.AST) -> ast.AST:
        """The function, class or module whose names an expression sees first."""
        return next((outer for outer in self.above(node) if isinstance(outer, ScopeNodes)), self.tree)

    def function(self, node: ast.AST) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
        """The function that a node belongs to."""
        return next((outer for outer in self.above(node) if isinstance(outer, FunctionDefinition)), None)

    def statement(self, node: ast.AST) -> ast.stmt:
        """The smallest statement that a node belongs to."""
        found = node if isinstance(node, ast.stmt) else next(n for n in self.above(node) if isinstance(n, ast.stmt))
        return found

    def is_method(self, node: ast.AST) -> bool:
        """Whether a function stands directly in a class."""
        return isinstance(self.parents.get(node), ast.ClassDef)

    def segment(self, node: ast.AST) -> str:
        """A node as it is written."""
        return ast.get_source_segment(self.text, node) or ast.unparse(node)


@dataclass(frozen=True)
class Module:
    """A module or package of the project; ``source`` is missing for a package without ``__init__.py``."""

    folder: str
    source: Source | None


@dataclass(frozen=True)
class External:
    """Something outside of the project, by its dotted name: ``redis.asyncio.from_url``, ``builtins.open``."""

    name: str


@dataclass(frozen=True)
class Class:
    """A class of the project."""

    source: Source
    node: ast.ClassDef


@dataclass(frozen=True)
class Function:
    """A function of the project; ``owner`` is the class of a method."""

    source: Source
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    owner: Class | None = None


@dataclass(frozen=True)
class Instance:
    """An object of a class."""

    of: Class | External


@dataclass(frozen=True)
class Pending:
    """A coroutine or another awaitable: it has to be awaited to become its value."""

    of: Value


@dataclass(frozen=True)
class Managed:
    """A context manager, and what ``with ... as`` binds."""

    of: Value


Value = Union[Module, External, Class, Function, Instance, Pending, Managed]
UNKNOWN = External("?")


class Binding(NamedTuple):
    """One place where a name gets a value. ``part`` is the element of a tuple or the import of a statement."""

    kind: str
    node: ast.AST
    expression: ast.expr | None = None
    part: int = 0


class Method(NamedTuple):
    """A method as a caller sees it. ``closes`` is false for one that is known to leave the connection open."""

    name: str
    is_async: bool
    closes: bool
    owner: str
    function: Function | None


class Program:
    """The files of a program, read when they are needed.

    :param root: the directory its absolute imports start from.
    :param texts: contents that take the place of files, by real path.
    """

    def __init__(self, root: str, texts: dict[str, bytes] | None = None) -> None:
        self.root = os.path.realpath(root)
        self._texts = texts or {}
        self._sources: dict[str, Source] = {}
        self._bindings: dict[ast.AST, dict[str, list[Binding]]] = {}
        self._busy: set[object] = set()
        self.redis_version = pinned_version(self.root)

    # -- files -----------------------------------------------------------------------------------------------------

    def load(self, path: str) -> Source:
        """A file of the program.

        :raises HotfixError: when it cannot be read or is no Python that this interpreter understands.
        """
        real = os.path.realpath(path)
        if real not in self._sources:
            data = self._texts.get(real)
            self._sources[real] = parse(path, read_bytes(real) if data is None else data)
        return self._sources[real]

    def shown(self, path: str) -> str:
        """A file's path relative to the root, or whole when it is elsewhere."""
        relative = os.path.relpath(os.path.realpath(path), self.root)
        return path if relative.startswith("..") else relative

    def module(self, dotted: str, folder: str) -> Module | None:
        """The project's module of a dotted name below a directory."""
        base = os.path.join(folder, *dotted.split(".")) if dotted else folder
        for path in (os.path.join(base, "__init__.py"), f"{base}.py"):
            if os.path.isfile(path):
                return Module(base, self.load(path))
        return Module(base, None) if os.path.isdir(base) and dotted.count(".") < LEVELS else None

    def _imported(self, source: Source, statement: ast.ImportFrom | ast.Import, dotted: str) -> Module | External:
        level = getattr(statement, "level", 0)
        if level:
            folder = os.path.dirname(os.path.realpath(source.path))
            for _step in range(level - 1):
                folder = os.path.dirname(folder)
            return self.module(dotted, folder) or UNKNOWN
        found = self.module(dotted, self.root)
        # A mere directory beside the program, such as redis/ with a configuration, is not the library of that name.
        if found is not None and (found.source is not None or _holds_python(found.folder)):
            return found
        return External(dotted)

    # -- names -----------------------------------------------------------------------------------------------------

    def bindings(self, source: Source, scope: ast.AST) -> dict[str, list[Binding]]:
        """Where each name of a scope gets its values, in the order of the file."""
        if scope not in self._bindings:
            table: dict[str, list[Binding]] = {}
            own = _Bindings(table)
            own.scope(scope)
            if isinstance(scope, ast.Module):
                for function in ast.walk(scope):
                    if isinstance(function, FunctionDefinition):
                        _Bindings(table, _globals(function)).scope(function)
            else:
                for name in _globals(scope):
                    table.pop(name, None)
            self._bindings[scope] = table
        return self._bindings[scope]

    def lookup(self, source: Source, node: ast.AST, name: str) -> tuple[ast.AST | None, list[Binding]]:
        """The scope that a name read at ``node`` belongs to, and what it is bound to there."""
        scope = source.scope(node)
        inner = True
        while True:
            # The body of a class is no scope for the methods in it.
            if inner or not isinstance(scope, ast.ClassDef):
                found = self.bindings(source, scope).get(name)
                if found:
                    return scope, found
            if isinstance(scope, ast.Module):
                return None, []
            inner = False
            scope = source.scope(scope)

    def _name(self, source: Source, node: ast.Name) -> list[Value]:
        scope, found = self.lookup(source, node, node.id)
        if scope is None:
            starred = self._starred(source, node.id)
            if starred:
                return starred
            return [External(f"builtins.{node.id}")] if hasattr(builtins, node.id) else []
        if not isinstance(scope, ast.Module):
            return next((v for v in (self._bound(source, b) for b in _nearest(found, node)) if v), [])
        return _unique(value for binding in found for value in self._bound(source, binding))

    def _starred(self, source: Source, name: str) -> list[Value]:
        for statement in source.tree.body:
            if isinstance(statement, ast.ImportFrom) and statement.names[0].name == "*":
                module = self._imported(source, statement, statement.module or "")
                if isinstance(module, Module) and module.source is not None and not name.startswith("_"):
                    found = self._member(module, name)
                    if found and found != [UNKNOWN]:
                        return found
        return []

    def _bound(self, source: Source, binding: Binding) -> list[Value]:
        node, expression = binding.node, binding.expression
        if isinstance(node, FunctionDefinition):
            return [Function(source, node, self._owner(source, node))]
        if isinstance(node, ast.ClassDef):
            return [Class(source, node)]
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            return self._import_value(source, node, binding.part)
        if isinstance(node, ast.arg):
            return self._parameter(source, node)
        return [UNKNOWN] if expression is None else self._bound_expression(source, binding, expression)

    def _bound_expression(self, source: Source, binding: Binding, expression: ast.expr) -> list[Value]:
        if binding.kind == "annotation":
            return self.annotated(source, expression)
        if binding.kind == "with":
            return _unique(v.of if isinstance(v, Managed) else v for v in self.values(source, expression))
        if binding.kind == "element":
            return self._element(source, expression, binding.part)
        return self.values(source, expression)

    def home(self, source: Source, binding: Binding) -> tuple[Source | None, str]:
        """The project's file that an imported name comes from, and its name there."""
        node = binding.node
        if not isinstance(node, ast.ImportFrom):
            return None, ""
        module = self._imported(source, node, node.module or "")
        return module.source if isinstance(module, Module) else None, node.names[binding.part].name

    def _import_value(self, source: Source, node: ast.Import | ast.ImportFrom, index: int) -> list[Value]:
        alias = node.names[index]
        if isinstance(node, ast.Import):
            # "import a.b" binds a, "import a.b as c" binds a.b.
            return [self._imported(source, node, alias.name if alias.asname else alias.name.split(".")[0])]
        return self._member(self._imported(source, node, node.module or ""), alias.name)

    def _member(self, value: Module | External, name: str) -> list[Value]:
        """An attribute of a module."""
        if isinstance(value, External):
            return [External(f"{value.name}.{name}") if value != UNKNOWN else UNKNOWN]
        if value.source is not None:
            found = self.bindings(value.source, value.source.tree).get(name)
            if found:
                return _unique(v for binding in found for v in self._bound(value.source, binding))
            starred = self._starred(value.source, name)
            if starred:
                return starred
        return [self.module(name, value.folder) or UNKNOWN]

    def _parameter(self, source: Source, node: ast.arg) -> list[Value]:
        function = next(outer for outer in source.above(node) if isinstance(outer, (*FunctionDefinition, ast.Lambda)))
        owner = self._owner(source, function)
        first = (function.args.posonlyargs + function.args.args)[:1] == [node]
        if owner is not None and first and "staticmethod" not in decorators(function):
            return [owner if "classmethod" in decorators(function) else Instance(owner)]
        return self.annotated(source, node.annotation) if node.annotation is not None else []

    def _element(self, source: Source, expression: ast.expr, index: int) -> list[Value]:
        """One element of ``a, b = await asyncio.gather(x, y)``; of anything else nothing is known."""
        call = expression.value if isinstance(expression, ast.Await) else expression
        if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("gather") and index < len(call.args):
            return _unique(_awaited(v) for v in self.values(source, call.args[index]))
        return [UNKNOWN]

    def _owner(self, source: Source, node: ast.AST) -> Class | None:
        parent = source.parents.get(node)
        return Class(source, parent) if isinstance(parent, ast.ClassDef) else None

    # -- expressions -----------------------------------------------------------------------------------------------

    def values(self, source: Source, node: ast.expr) -> list[Value]:
        """What an expression may stand for; empty when nothing is known. ``None`` is left out."""
        if node in self._busy:
            return []
        self._busy.add(node)
        try:
            reader = getattr(self, f"_read_{type(node).__name__.lower()}", None)
            result: list[Value] = reader(source, node) if reader else [UNKNOWN]
            return result
        finally:
            self._busy.discard(node)

    def _read_name(self, source: Source, node: ast.Name) -> list[Value]:
        return self._name(source, node)

    def _read_constant(self, _source: Source, node: ast.Constant) -> list[Value]:
        return [] if node.value is None else [UNKNOWN]

    def _read_await(self, source: Source, node: ast.Await) -> list[Value]:
        return _unique(_awaited(value) for value in self.values(source, node.value))

    def _read_ifexp(self, source: Source, node: ast.IfExp) -> list[Value]:
        return _unique([*self.values(source, node.body), *self.values(source, node.orelse)])

    def _read_boolop(self, source: Source, node: ast.BoolOp) -> list[Value]:
        return _unique(value for part in node.values for value in self.values(source, part))

    def _read_namedexpr(self, source: Source, node: ast.NamedExpr) -> list[Value]:
        return self.values(source, node.value)

    def _read_lambda(self, source: Source, node: ast.Lambda) -> list[Value]:
        return [Function(source, node)]

    def _read_call(self, source: Source, node: ast.Call) -> list[Value]:
        if ast.unparse(node.func) in ("cast", "typing.cast") and len(node.args) == 2:
            return self.annotated(source, node.args[0])
        keywords = {keyword.arg for keyword in node.keywords if keyword.arg}
        return _unique(v for f in self.values(source, node.func) for v in self._result(f, keywords))

    def _result(self, function: Value, keywords: set[str]) -> list[Value]:
        if isinstance(function, Class):
            return [Instance(function)]
        if isinstance(function, Function):
            return self.returned(function)
        if isinstance(function, External) and function != UNKNOWN:
            made, is_awaitable = called(function.name, keywords)
            instance = Instance(External(made))
            return [Pending(instance) if is_awaitable else instance]
        return [UNKNOWN]

    def _read_attribute(self, source: Source, node: ast.Attribute) -> list[Value]:
        found = _unique(v for base in self.values(source, node.value) for v in self.attribute(base, node.attr))
        known = [value for value in found if value != UNKNOWN]
        return known or self._assigned_elsewhere(source, node) or found

    def _assigned_elsewhere(self, source: Source, node: ast.Attribute) -> list[Value]:
        """``app.state.redis``: whatever the same file assigns to an attribute that is written the same."""
        text = ast.unparse(node)
        found: list[Value] = []
        for statement in ast.walk(source.tree):
            for target, value in _attribute_assignments(statement):
                if target is not node and ast.unparse(target) == text:
                    found += self.values(source, value)
        return _unique(found)

    def attribute(self, base: Value, name: str) -> list[Value]:
        """What ``base.name`` stands for."""
        if isinstance(base, (Module, External)):
            return self._member(base, name)
        if isinstance(base, (Class, Instance)):
            owner = base if isinstance(base, Class) else base.of
            if isinstance(owner, External):
                return self._library_attribute(owner, name)
            return self._class_attribute(owner, name, is_instance=isinstance(base, Instance))
        return [UNKNOWN]

    def _library_attribute(self, owner: External, name: str) -> list[Value]:
        if name == "connection_pool":
            kind = "redis.asyncio.ConnectionPool" if "asyncio" in owner.name else "redis.ConnectionPool"
            return [Instance(External(kind))]
        return [External(f"{owner.name}.{name}") if owner != UNKNOWN else UNKNOWN]

    def _class_attribute(self, owner: Class, name: str, *, is_instance: bool) -> list[Value]:
        found: list[Value] = []
        for cls in self.ancestors(owner):
            if isinstance(cls, External):
                found += self._library_attribute(cls, name) if name == "connection_pool" else []
                continue
            found += self._own_attribute(cls, name, is_instance)
            if found:
                break
        return _unique(found) or [value for d in self.delegates(owner) for value in self.attribute(d, name)]

    def _own_attribute(self, owner: Class, name: str, is_instance: bool) -> list[Value]:
        found: list[Value] = []
        for binding in self.bindings(owner.source, owner.node).get(name, []):
            for value in self._bound(owner.source, binding):
                if is_instance and isinstance(value, Function) and decorators(value.node) & PROPERTIES:
                    found += self.returned(value)
                else:
                    found.append(value)
        for statement in ast.walk(owner.node):
            for target, assigned in _attribute_assignments(statement):
                if target.attr == name and ast.unparse(target.value) in ("self", "cls", owner.node.name):
                    found += self.values(owner.source, assigned)
            if isinstance(statement, ast.AnnAssign) and ast.unparse(statement.target) == f"self.{name}":
                found += self.annotated(owner.source, statement.annotation)
        known = [value for value in _unique(found) if value != UNKNOWN]
        return known or _unique(found)

    # -- functions and classes -------------------------------------------------------------------------------------

    def returned(self, function: Function) -> list[Value]:
        """What a call of a function gives: its return statements, else its annotation."""
        key = ("returned", function.node)
        if key in self._busy:
            return []
        self._busy.add(key)
        try:
            return self._returned(function)
        finally:
            self._busy.discard(key)

    def _returned(self, function: Function) -> list[Value]:
        node, source = function.node, function.source
        if isinstance(node, ast.Lambda):
            return self.values(source, node.body)
        marks = decorators(node)
        if marks & set(TURNERS) or any(self._is_project(source, mark) for mark in node.decorator_list):
            return [UNKNOWN]
        is_generator, results = _results(node)
        found = _unique(value for result in results for value in self.values(source, result))
        if is_generator:
            return [Managed(value) for value in found] if marks & set(CONTEXT_MANAGERS) else [UNKNOWN]
        promised = self.annotated(source, node.returns) if node.returns is not None else []
        chosen = [v for v in found if self.is_known(v)] or promised or found
        if isinstance(node, ast.AsyncFunctionDef):
            return [Pending(value) for value in chosen or [UNKNOWN]]
        return chosen

    def _is_project(self, source: Source, decorator: ast.expr) -> bool:
        target = decorator.func if isinstance(decorator, ast.Call) else decorator
        return any(isinstance(value, (Function, Class)) for value in self.values(source, target))

    def is_known(self, value: Value) -> bool:
        """Whether a value is an object of a class that can be read, or of redis-py."""
        if isinstance(value, (Pending, Managed)):
            return self.is_known(value.of)
        return isinstance(value, Instance) and (isinstance(value.of, Class) or is_redis_library(value.of))

    def annotated(self, source: Source, node: ast.expr) -> list[Value]:
        """The values that an annotation promises; those of ``None`` are left out."""
        if isinstance(node, ast.Constant):
            return self._quoted(source, node)
        if isinstance(node, ast.BinOp):
            return _unique([*self.annotated(source, node.left), *self.annotated(source, node.right)])
        if isinstance(node, ast.Subscript):
            return self._generic(source, node)
        found: list[Value] = []
        for value in self.values(source, node):
            if isinstance(value, Class) or (isinstance(value, External) and value.name != "typing.Any"):
                made = called(value.name, set())[0] if isinstance(value, External) else ""
                found.append(Instance(value if isinstance(value, Class) else External(made)))
        return found

    def _quoted(self, source: Source, node: ast.Constant) -> list[Value]:
        if not isinstance(node.value, str):
            return []
        try:
            inner = ast.parse(node.value, mode="eval").body
        except SyntaxError:
            return []
        for child in ast.walk(inner):
            ast.copy_location(child, node)
            source.parents.setdefault(child, node)
        return self.annotated(source, inner)

    def _generic(self, source: Source, node: ast.Subscript) -> list[Value]:
        name = ast.unparse(node.value).rpartition(".")[2]
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if name in ("Optional", "Union"):
            return _unique(value for part in inner for value in self.annotated(source, part))
        if name in ("Annotated", "ClassVar", "Final"):
            return self.annotated(source, inner[0])
        if name in ("Awaitable", "Coroutine", "Task", "Future"):
            return [Pending(value) for value in self.annotated(source, inner[-1]) or [UNKNOWN]]
        # redis.Redis[bytes] is a redis.Redis; list[RedisClient] is a list.
        return [value for value in self.annotated(source, node.value) if self.is_known(value)] or [UNKNOWN]

    def ancestors(self, cls: Class) -> list[Class | External]:
        """A class and its bases, itself first."""
        found: list[Class | External] = []
        waiting: list[Class | External] = [cls]
        while waiting:
            current = waiting.pop(0)
            if current in found:
                continue
            found.append(current)
            if isinstance(current, Class):
                for base in current.node.bases:
                    plain = base.value if isinstance(base, ast.Subscript) else base
                    values = [v for v in self.values(current.source, plain) if isinstance(v, (Class, External))]
                    waiting += values or [UNKNOWN]
        return found

    def most_special(self, classes: Iterable[Class | External]) -> list[Class | External]:
        """Without the bases of others among them, and without protocols that others fulfil."""
        found = list(dict.fromkeys(classes))
        lines = {cls: self.ancestors(cls) if isinstance(cls, Class) else [cls] for cls in found}
        bases = {base for cls in found for base in lines[cls] if base != cls}
        concrete = [cls for cls in found if cls not in bases and External("typing.Protocol") not in lines[cls]]
        return concrete or found

    def unreadable_base(self, cls: Class) -> str | None:
        """The name of a base whose methods nobody here can know."""
        for base in self.ancestors(cls):
            if isinstance(base, External) and not is_redis_library(base) and not PLAIN_BASES.match(base.name):
                return base.name
        return None

    def delegates(self, cls: Class) -> list[Value]:
        """The object that ``__getattr__`` passes unknown names on to: ``return getattr(self._client, name)``."""
        for binding in self.bindings(cls.source, cls.node).get("__getattr__", []):
            for node in ast.walk(binding.node):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr" and node.args:
                    return [v for v in self.values(cls.source, node.args[0]) if isinstance(v, Instance)]
        return []

    def find_method(self, cls: Class | External, name: str) -> Method | None:
        """A method of a class, its own or inherited; of redis-py's classes those that close."""
        for owner in self.ancestors(cls) if isinstance(cls, Class) else [cls]:
            if isinstance(owner, External):
                known = method(owner.name, name, self.redis_version)
                if known is not None:
                    return Method(name, known.is_async, known.closes, owner.name, None)
                continue
            for binding in self.bindings(owner.source, owner.node).get(name, [])[-1:]:
                found = self._as_method(owner, name, binding)
                if found is not None:
                    return found
        return self._delegated_method(cls, name) if isinstance(cls, Class) else None

    def _delegated_method(self, cls: Class, name: str) -> Method | None:
        key = ("delegated", cls, name)
        if key in self._busy:
            return None
        self._busy.add(key)
        try:
            targets = [value.of for value in self.delegates(cls) if isinstance(value, Instance)]
            return next((found for found in (self.find_method(of, name) for of in targets) if found), None)
        finally:
            self._busy.discard(key)

    def _as_method(self, owner: Class, name: str, binding: Binding) -> Method | None:
        for value in self._bound(owner.source, binding):
            if isinstance(value, Function) and not isinstance(value.node, ast.Lambda):
                is_async = isinstance(value.node, ast.AsyncFunctionDef) or any(
                    isinstance(result, Pending) for result in self.returned(value)
                )
                return Method(
                    name, is_async, not is_empty(value.node), owner.node.name, Function(owner.source, value.node, owner)
                )
        return None


def parse(path: str, data: bytes) -> Source:
    """Read a Python file.

    :raises HotfixError: naming the line that is not understood.
    """
    try:
        text = decode(path, data)[0]
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise HotfixError(
            f"this is no Python that the host's python3 ({sys.version_info[0]}.{sys.version_info[1]}) can read: "
            f"{getattr(error, 'msg', None) or error}",
            path=path,
            line=getattr(error, "lineno", None),
            remedy="Correct the file, or run the module with the Python version of the application",
        ) from error
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    return Source(path, text, tree, parents)


def decode(path: str, data: bytes) -> tuple[str, str]:
    """The text of a Python file and the encoding that its cookie or byte order mark names (PEP 263)."""
    try:
        encoding = tokenize.detect_encoding(io.BytesIO(data).readline)[0]
        return data.decode(encoding), encoding
    except (SyntaxError, UnicodeDecodeError) as error:
        raise HotfixError("the bytes of this file do not fit its encoding", path=path) from error


def decorators(node: ast.AST) -> set[str]:
    """The last names of a function's decorators: ``lru_cache`` for ``@functools.lru_cache(maxsize=1)``."""
    found = set()
    for decorator in getattr(node, "decorator_list", []):
        target = decorator.func if isinstance(decorator, ast.Call) else decorator
        found.add(ast.unparse(target).rpartition(".")[2])
    return found


def own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a scope or statement in the order of the file, without those of functions and classes in it."""
    waiting = [*ast.iter_child_nodes(node)][::-1]
    while waiting:
        child = waiting.pop()
        yield child
        if not isinstance(child, (*FunctionDefinition, ast.Lambda, ast.ClassDef)):
            waiting += [*ast.iter_child_nodes(child)][::-1]


def is_empty(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a function does nothing: it holds no more than constants and errors that it raises."""
    return all(
        isinstance(statement, (ast.Pass, ast.Raise))
        or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
        or (
            isinstance(statement, ast.Return) and (statement.value is None or isinstance(statement.value, ast.Constant))
        )
        for statement in node.body
    )


def is_redis_library(value: Class | External) -> bool:
    """Whether a class is one of redis-py's own clients or pools."""
    return isinstance(value, External) and any(method(value.name, name, None) for name in ("close", "disconnect"))


def find_root(path: str) -> str:
    """The closest parent of a file from which most of its absolute imports are found."""
    source = parse(path, read_bytes(path))
    folder = os.path.dirname(os.path.realpath(path))
    names = set()
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    best, best_count, candidate = "", 0, folder
    for _level in range(LEVELS):
        count = sum(_is_module(candidate, name) for name in names)
        if count > best_count:
            best, best_count = candidate, count
        candidate = os.path.dirname(candidate)
    while not best and os.path.isfile(os.path.join(folder, "__init__.py")):
        folder = os.path.dirname(folder)
    return best or folder


def pinned_version(root: str) -> tuple[int, ...] | None:
    """The version of redis-py that the project asks for exactly, in a requirements or lock file beside it."""
    patterns = (r"^redis(?:\[[^\]]*\])?\s*==\s*([\d.]+)", r'^name = "redis"\nversion = "([\d.]+)"')
    for folder in (root, os.path.dirname(root)):
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            continue
        for name in names:
            if re.fullmatch(r"requirements.*\.txt|poetry\.lock|uv\.lock", name):
                with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as stream:
                    text = stream.read()
                match = re.search("|".join(patterns), text, re.MULTILINE | re.IGNORECASE)
                if match:
                    return tuple(int(part) for part in (match[1] or match[2]).split(".") if part)
    return None


class _Bindings:
    """Collects what the names of one scope are bound to; with ``only``, just those names."""

    def __init__(self, table: dict[str, list[Binding]], only: set[str] | None = None) -> None:
        self.table = table
        self.only = only

    def add(self, name: str, binding: Binding) -> None:
        if self.only is None or name in self.only:
            self.table.setdefault(name, []).append(binding)

    def scope(self, scope: ast.AST) -> None:
        if isinstance(scope, (*FunctionDefinition, ast.Lambda)):
            arguments = scope.args
            for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]:
                self.add(argument.arg, Binding("parameter", argument))
        body = getattr(scope, "body", None)
        for statement in body if isinstance(body, list) else []:
            for node in [statement, *(() if isinstance(statement, ScopeNodes) else own_nodes(statement))]:
                self.node(node)

    def node(self, node: ast.AST) -> None:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                self.target(target, node, node.value)
        elif isinstance(node, ast.AnnAssign):
            if isinstance(node.target, ast.Name):
                if node.value is not None:
                    self.target(node.target, node, node.value)
                self.add(node.target.id, Binding("annotation", node, node.annotation))
        elif isinstance(node, ast.NamedExpr):
            self.target(node.target, node, node.value)
        elif isinstance(node, FunctionDefinition):
            self.add(node.name, Binding("function", node))
        elif isinstance(node, ast.ClassDef):
            self.add(node.name, Binding("class", node))
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            for index, alias in enumerate(node.names):
                plain = alias.name.split(".")[0] if isinstance(node, ast.Import) else alias.name
                self.add(alias.asname or plain, Binding("import", node, None, index))
        else:
            self.other(node)

    def other(self, node: ast.AST) -> None:
        if isinstance(node, (ast.With, ast.AsyncWith)):
            for item in node.items:
                if isinstance(item.optional_vars, ast.Name):
                    self.add(item.optional_vars.id, Binding("with", node, item.context_expr))
        elif isinstance(node, (ast.For, ast.AsyncFor)):
            for name in ast.walk(node.target):
                if isinstance(name, ast.Name):
                    self.add(name.id, Binding("other", node))
        elif isinstance(node, ast.ExceptHandler) and node.name:
            self.add(node.name, Binding("other", node))

    def target(self, target: ast.expr, node: ast.AST, value: ast.expr) -> None:
        if isinstance(target, ast.Name):
            self.add(target.id, Binding("value", node, value))
        elif isinstance(target, (ast.Tuple, ast.List)):
            parts = value.elts if isinstance(value, (ast.Tuple, ast.List)) else []
            for index, element in enumerate(target.elts):
                if len(parts) == len(target.elts):
                    self.target(element, node, parts[index])
                elif isinstance(element, ast.Name):
                    self.add(element.id, Binding("element", node, value, index))


def _nearest(bindings: list[Binding], node: ast.AST) -> list[Binding]:
    """A function's bindings of a name, the last one above a place first: it is the one that counts there."""
    line = getattr(node, "lineno", 0)
    return sorted(
        bindings, key=lambda binding: (getattr(binding.node, "lineno", 0) >= line, -getattr(binding.node, "lineno", 0))
    )


def _globals(scope: ast.AST) -> set[str]:
    return {name for node in own_nodes(scope) if isinstance(node, (ast.Global, ast.Nonlocal)) for name in node.names}


def _attribute_assignments(node: ast.AST) -> Iterator[tuple[ast.Attribute, ast.expr]]:
    targets: list[ast.expr] = node.targets if isinstance(node, ast.Assign) else []
    if isinstance(node, ast.AnnAssign):
        targets = [node.target]
    for target in targets:
        value = getattr(node, "value", None)
        if isinstance(target, ast.Attribute) and value is not None:
            yield target, value


def _results(node: ast.FunctionDef | ast.AsyncFunctionDef) -> tuple[bool, list[ast.expr]]:
    """Whether a function is a generator, and the expressions that it yields or returns."""
    nodes = list(own_nodes(node))
    is_generator = any(isinstance(child, (ast.Yield, ast.YieldFrom)) for child in nodes)
    kind = ast.Yield if is_generator else ast.Return
    return is_generator, [child.value for child in nodes if isinstance(child, kind) and child.value is not None]


def _awaited(value: Value) -> Value:
    # redis-py's asynchronous clients can be awaited, and give themselves.
    return value.of if isinstance(value, Pending) else value


def _unique(values: Iterable[Value]) -> list[Value]:
    return list(dict.fromkeys(values))


def _is_module(folder: str, dotted: str) -> bool:
    base = os.path.join(folder, *dotted.split("."))
    return os.path.isfile(f"{base}.py") or os.path.isfile(os.path.join(base, "__init__.py")) or _holds_python(base)


def _holds_python(folder: str) -> bool:
    try:
        return any(name.endswith(".py") for name in os.listdir(folder))
    except OSError:
        return False
