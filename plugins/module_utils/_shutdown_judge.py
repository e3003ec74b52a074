# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a program shuts down, and whether what it does there really closes its Redis connections."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._python_program import (
    CACHES,
    CONTEXT_MANAGERS,
    UNKNOWN,
    Class,
    External,
    Function,
    FunctionDefinition,
    Instance,
    Managed,
    Method,
    Pending,
    Program,
    Source,
    Value,
    decorators,
    is_redis_library,
    own_nodes,
)

# In the order in which they are preferred; the second row only where a class has none of the first.
CLOSING = ("aclose", "close", "disconnect")
ALSO_CLOSING = ("close_connections", "close_connection", "close_pool", "shutdown", "cleanup", "teardown", "stop")
# Calls that run a coroutine to its end.
RUNNERS = ("run", "run_until_complete", "run_coroutine_threadsafe")
# Calls that only look at what they are given.
INSPECTIONS = ("hasattr", "getattr", "callable", "iscoroutinefunction", "iscoroutine", "isawaitable", "isinstance")
# Calls that keep a function and call it at the end: whether they await it (None: they find out).
REGISTRARS = {
    "push_async_callback": True,
    "callback": False,
    "add_event_handler": None,
    "append": None,
    "register": False,
    "to_thread": False,
    "run_in_threadpool": False,
    "run_in_executor": False,
}
MAIN = ("main", "amain", "run", "serve")
CLIENT_NAME = re.compile(r"_?(redis|cache)(_(client|conn|connection))?(_instance)?", re.IGNORECASE)
# How many calls are followed from the shutdown code to the function that closes.
DEPTH = 4


@dataclass(frozen=True, eq=False)
class Place:
    """Code that runs at shutdown.

    :ivar function: missing for statements of the module itself.
    :ivar kind: ``lifespan``, ``event``, ``function`` or ``finally``; ``inner`` for a function that is called there,
        ``registered`` for a statement that hands a method over.
    """

    source: Source
    function: ast.FunctionDef | ast.AsyncFunctionDef | None
    statements: list[ast.stmt]
    kind: str

    @property
    def name(self) -> str:
        """The function's name."""
        return self.function.name if self.function is not None else "the module"

    @property
    def is_async(self) -> bool:
        """Whether something can be awaited there."""
        return isinstance(self.function, ast.AsyncFunctionDef)

    def use_of(self, node: ast.AST) -> str:
        """As :func:`use_of`; what a plain function returns is for its caller to await."""
        use = use_of(self.source, node)
        if use == "returned":
            return "awaited" if self.kind == "inner" and not self.is_async else "plain"
        return use

    def nodes(self) -> Iterator[ast.AST]:
        """Everything that runs there, in the order of the file."""
        for statement in self.statements:
            yield statement
            if not isinstance(statement, (*FunctionDefinition, ast.ClassDef)):
                yield from own_nodes(statement)

    def holds(self, node: ast.AST) -> bool:
        """Whether a node is part of that code."""
        around = {node, *self.source.above(node)}
        return any(statement in around for statement in self.statements)


class Site(NamedTuple):
    """One attempt to close. ``verdict`` is ``right`` or what is wrong; ``raises``: it ends the steps around it."""

    node: ast.expr
    receiver: ast.expr
    name: str
    verdict: str
    raises: bool
    seen: str
    method: Method | None = None

    @property
    def line(self) -> int:
        """The line in the file, counted from 1."""
        return self.node.lineno


@dataclass(frozen=True)
class Getter:
    """The function that gives the program's client. ``text`` is how this file calls it."""

    name: str
    text: str
    node: ast.expr
    function: Function
    is_async: bool
    is_new: bool
    keeps_coroutine: bool
    imported_by: ast.ImportFrom | ast.Import | None
    values: list[Value]
    classes: list[Class | External]


@dataclass
class Findings:
    """What the code of one place does to the client."""

    right: list[Site] = field(default_factory=list)
    broken: list[Site] = field(default_factory=list)
    # Project functions that try to close and do not, with the call that leads there.
    elsewhere: list[tuple[Function, Site]] = field(default_factory=list)


def find_places(program: Program, source: Source) -> list[Place]:
    """Every piece of a file that runs at shutdown."""
    names = _registered(source)
    found: dict[ast.AST, Place] = {}
    for node in ast.walk(source.tree):
        if isinstance(node, FunctionDefinition):
            place = _place(source, node, names)
            if place is not None:
                found[node] = place
    waiting = list(found.values())
    while waiting:
        for function in _called_functions(program, waiting.pop(0)):
            node = function.node
            if function.source is source and isinstance(node, FunctionDefinition) and node not in found:
                found[node] = Place(source, node, node.body, "function")
                waiting.append(found[node])
    return sorted(
        found.values(), key=lambda place: position(place.statements[0] if place.statements else place.source.tree)
    )


def _place(source: Source, node: ast.FunctionDef | ast.AsyncFunctionDef, names: dict[str, str]) -> Place | None:
    yields = [child for child in own_nodes(node) if isinstance(child, ast.Yield)]
    kind = names.get(node.name, "")
    if yields and (kind == "lifespan" or "lifespan" in node.name or decorators(node) & set(CONTEXT_MANAGERS)):
        return Place(source, node, _after(source, node, yields), "lifespan")
    if any(_is_shutdown_decorator(decorator) for decorator in node.decorator_list) or kind == "event":
        return Place(source, node, node.body, "event")
    if "shutdown" in node.name.lower() and not yields:
        return Place(source, node, node.body, "function")
    if node.name in MAIN:
        last = [s for child in own_nodes(node) if isinstance(child, ast.Try) for s in child.finalbody]
        return Place(source, node, last, "finally") if last else None
    return None


def _is_shutdown_decorator(node: ast.expr) -> bool:
    text = ast.unparse(node)
    return bool(re.search(r"\bon_event\(['\"]shutdown['\"]\)|\.(after_serving|on_shutdown)\b", text))


def _registered(source: Source) -> dict[str, str]:
    """Functions that are handed over as lifespan or as shutdown handler, by name."""
    found = {}
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Call):
            continue
        for keyword in node.keywords:
            if keyword.arg == "lifespan" and isinstance(keyword.value, ast.Name):
                found[keyword.value.id] = "lifespan"
            elif keyword.arg == "on_shutdown":
                found.update({name.id: "event" for name in ast.walk(keyword.value) if isinstance(name, ast.Name)})
        text = ast.unparse(node.func)
        handler = (
            (text.endswith("add_event_handler") and len(node.args) == 2 and "'shutdown'" in ast.unparse(node.args[0]))
            or text.endswith(("on_shutdown.append", "on_cleanup.append"))
            or text == "atexit.register"
        )
        if handler and node.args and isinstance(node.args[-1], ast.Name):
            found[node.args[-1].id] = "event"
    return found


def find_registrations(source: Source) -> list[Place]:
    """Statements that hand a method over to be called at shutdown: ``stack.push_async_callback(client.aclose)``."""
    found = []
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Call):
            continue
        text = ast.unparse(node.func)
        name = text.rpartition(".")[2]
        is_registrar = name in ("push_async_callback", "callback") or text.endswith(
            ("on_shutdown.append", "atexit.register")
        )
        at_shutdown = name == "add_event_handler" and "'shutdown'" in ast.unparse(node)
        by_keyword = any(keyword.arg == "on_shutdown" for keyword in node.keywords)
        if is_registrar or at_shutdown or by_keyword:
            found.append(Place(source, source.function(node), [source.statement(node)], "registered"))
    return found


def _after(source: Source, function: ast.AST, yields: list[ast.Yield]) -> list[ast.stmt]:
    """The statements that run once a generator goes on after its ``yield``."""
    found: list[ast.stmt] = []
    for child in yields:
        node: ast.AST = source.statement(child)
        while node is not function:
            parent = source.parents[node]
            for name in ("body", "orelse", "finalbody", "handlers"):
                block = getattr(parent, name, None)
                if isinstance(block, list) and node in block:
                    found += block[block.index(node) + 1 :] if name != "handlers" else []
                    if isinstance(parent, ast.Try) and name == "body":
                        found += [*parent.orelse, *parent.finalbody]
            node = parent
    return sorted(dict.fromkeys(found), key=lambda statement: statement.lineno)


def _called_functions(program: Program, place: Place) -> Iterator[Function]:
    for node in place.nodes():
        if isinstance(node, ast.Call):
            for value in program.values(place.source, node.func):
                if isinstance(value, Function):
                    yield value


def find_getter(program: Program, source: Source, name: str) -> Getter | None:
    """The getter as a file knows it: defined there, imported under whatever name, or an attribute of something."""
    found: list[tuple[ast.expr, ast.ImportFrom | ast.Import | None]] = []
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if alias.name == name:
                    found.append((_expression(source, node, alias.asname or name), node))
        elif isinstance(node, FunctionDefinition) and node.name == name and not source.is_method(node):
            found.append((_expression(source, node, name), None))
        elif name in (getattr(node, "id", None), getattr(node, "attr", None)) and isinstance(node, ast.expr):
            found.append((node, None))
    for expression, statement in found:
        function = next((v for v in program.values(source, expression) if isinstance(v, Function)), None)
        if function is not None:
            return _getter(program, name, expression, function, statement)
    return None


def _expression(source: Source, node: ast.AST, name: str) -> ast.expr:
    """A name as it would be read right after a statement."""
    expression = ast.copy_location(ast.Name(name, ast.Load()), node)
    source.parents[expression] = source.parents[node]
    # Read below everything, so that the statement itself counts.
    expression.lineno = (getattr(node, "end_lineno", None) or 0) + 1
    return expression


def _getter(
    program: Program,
    name: str,
    expression: ast.expr,
    function: Function,
    statement: ast.ImportFrom | ast.Import | None,
) -> Getter:
    values = program.returned(function)
    is_async = any(isinstance(value, Pending) for value in values)
    plain = [value.of if isinstance(value, Pending) else value for value in values]
    return Getter(
        name,
        ast.unparse(expression),
        expression,
        function,
        is_async,
        makes_new(program, function),
        is_async and bool(decorators(function.node) & {"lru_cache", "cache"}),
        statement,
        plain,
        program.most_special(v.of for v in plain if isinstance(v, Instance) and program.is_known(v)),
    )


def makes_new(program: Program, function: Function) -> bool:
    """Whether each call of a function makes another object, so that the one in use can't be had from it."""
    node = function.node
    if isinstance(node, ast.Lambda) or decorators(node) & set(CACHES):
        return False
    results = [n.value for n in own_nodes(node) if isinstance(n, ast.Return) and n.value is not None]
    return bool(results) and all(is_new(program, function.source, result) for result in results)


def is_new(program: Program, source: Source, expression: ast.expr, depth: int = 0) -> bool:
    """Whether an expression makes a new object each time it is reached."""
    if isinstance(expression, ast.Await):
        return is_new(program, source, expression.value, depth)
    if isinstance(expression, ast.Name) and depth < DEPTH:
        scope, bindings = program.lookup(source, expression, expression.id)
        made = [b.expression for b in bindings if b.kind == "value" and b.expression is not None]
        is_local = scope is source.function(expression) and scope is not None
        return is_local and bool(made) and all(is_new(program, source, value, depth + 1) for value in made)
    if not isinstance(expression, ast.Call):
        return False
    makers = program.values(source, expression.func)
    return bool(makers) and all(_is_maker(program, maker) for maker in makers)


def _is_maker(program: Program, value: Value) -> bool:
    if isinstance(value, Class):
        # __new__ or a metaclass may give the same object again.
        return not program.bindings(value.source, value.node).get("__new__") and not value.node.keywords
    return makes_new(program, value) if isinstance(value, Function) else isinstance(value, External)


class Judge:
    """Says of code what it does to a client.

    :param getter: gives the client that is looked for; without one, any Redis client is.
    """

    def __init__(self, program: Program, getter: Getter | None) -> None:
        self.program = program
        self.getter = getter
        self._busy: set[ast.AST] = set()

    # -- clients ---------------------------------------------------------------------------------------------------

    def is_client(self, cls: Class | External) -> bool:
        """Whether objects of a class are what is to be closed."""
        if self.getter is not None and self.getter.classes:
            return any(self._related(cls, wanted) for wanted in self.getter.classes)
        return is_redis_client(self.program, cls)

    def _related(self, one: Class | External, other: Class | External) -> bool:
        if isinstance(one, Class) and isinstance(other, Class):
            return other in self.program.ancestors(one) or one in self.program.ancestors(other)
        return one == other

    def clients(self, source: Source, expression: ast.expr) -> tuple[list[Class | External], bool]:
        """The classes of the client that an expression stands for, and whether it is a coroutine instead."""
        values = self.program.values(source, expression)
        is_pending = any(isinstance(value, Pending) for value in values)
        classes = [v.of for v in values if isinstance(v, Instance)]
        classes += [v.of.of for v in values if isinstance(v, Pending) and isinstance(v.of, Instance)]
        found = [cls for cls in classes if self.is_client(cls)]
        # redis_client.redis.aclose(), redis_client.connection_pool.disconnect(): through the wrapper.
        if not found and isinstance(expression, ast.Attribute) and any(is_redis_library(cls) for cls in classes):
            found = classes if self.clients(source, expression.value)[0] else found
        return self.program.most_special(found), is_pending

    # -- places ----------------------------------------------------------------------------------------------------

    def findings(self, place: Place, depth: int = 0) -> Findings:
        """What the code of a place does."""
        result = Findings()
        for node in place.nodes():
            site = self._site(place, node) if isinstance(node, (ast.Attribute, ast.Call)) else None
            if site is not None:
                (result.right if site.verdict == "right" else result.broken).append(site)
            elif isinstance(node, ast.Call) and depth < DEPTH:
                self._follow(place, node, depth, result)
        result.right += self._managed(place)
        return result

    def effective(self, place: Place, found: Findings) -> list[Site]:
        """The right attempts that are reached although earlier ones raise."""
        raising = [site for site in found.broken if site.raises]
        return [r for r in found.right if not any(_blocks(place, b.node, r.node) for b in raising)]

    def assess(self, function: Function, depth: int = 0) -> tuple[str, Findings]:
        """Whether a function closes the client: ``right``, ``broken`` or ``none`` (it does not try to)."""
        node = function.node
        if isinstance(node, ast.Lambda) or node in self._busy:
            return "none", Findings()
        self._busy.add(node)
        try:
            place = Place(function.source, node, node.body, "inner")
            found = self.findings(place, depth)
            verdict = (
                "right" if self.effective(place, found) else "broken" if found.broken or found.elsewhere else "none"
            )
            return verdict, found
        finally:
            self._busy.discard(node)

    def _follow(self, place: Place, call: ast.Call, depth: int, result: Findings) -> None:
        """Judge a call of a project function by what that function does."""
        parts = _closing_reference(call.func) if isinstance(call.func, ast.Attribute) else None
        if parts is not None and self.clients(place.source, parts[0])[0]:
            return
        for value in self.program.values(place.source, call.func):
            if not isinstance(value, Function) or (self.getter and value == self.getter.function):
                continue
            verdict, inner = self.assess(value, depth + 1)
            if verdict == "none":
                continue
            name = ast.unparse(call.func)
            is_async = any(isinstance(result, Pending) for result in self.program.returned(value))
            use = place.use_of(call)
            if is_async and use == "plain":
                text = f"{name}() is a coroutine function and is not awaited, so nothing is closed"
                result.broken.append(Site(call, call.func, name, "unawaited_call", False, text))
            elif verdict == "right":
                result.right.append(Site(call, call.func, name, "right", False, "", inner.right[0].method))
            else:
                first = (inner.broken or [site for _function, site in inner.elsewhere])[0]
                result.elsewhere.append((value, first))

    def _managed(self, place: Place) -> Iterator[Site]:
        """``async with client: yield`` closes when the block ends."""
        if place.kind != "lifespan" or place.function is None:
            return
        for node in own_nodes(place.function):
            if not isinstance(node, (ast.With, ast.AsyncWith)) or not any(
                isinstance(n, ast.Yield) for n in own_nodes(node)
            ):
                continue
            for item in node.items:
                values = self.program.values(place.source, item.context_expr)
                plain = [value.of if isinstance(value, Managed) else value for value in values]
                if any(isinstance(value, Instance) and self.is_client(value.of) for value in plain):
                    yield Site(item.context_expr, item.context_expr, "with", "right", False, "")

    # -- one attempt -----------------------------------------------------------------------------------------------

    def _site(self, place: Place, node: ast.Attribute | ast.Call) -> Site | None:
        parts = _closing_reference(node)
        if parts is None:
            return None
        receiver, name, has_default = parts
        call, use = _use_of_reference(place, node)
        if use == "inspected":
            return None
        classes, is_pending = self.clients(place.source, receiver)
        if not classes:
            return self._unbound(place, node, receiver, name)
        text = ast.unparse(receiver)
        if is_pending:
            seen = f"{text} is a coroutine that was never awaited, so {name}() does not close the connection"
            return Site(node, receiver, name, "coroutine", not _is_guarded(place.source, node), seen)
        skipped = has_default or _is_guarded(place.source, node)
        methods = [self.method(cls, name) for cls in classes]
        if any(method is None for method in methods):
            self._refuse_unreadable(place, classes, name, node)
            if any(methods):
                raise HotfixError(
                    f"{text} may be {' or '.join(map(class_name, classes))}, and only some of them have {name}()",
                    path=place.source.path,
                    line=node.lineno,
                    remedy="Correct the shutdown code by hand",
                )
            what = "is never called: " if skipped else "raises AttributeError: "
            seen = f"{text}.{name}() {what}{class_name(classes[0])} has no {name}()"
            return Site(node, receiver, name, "missing", not skipped, seen)
        return self._at_its_origin(place, self._called(node, receiver, methods, call, use))

    def _at_its_origin(self, place: Place, site: Site) -> Site:
        """The verdict when the object itself is not the one in use, or is never had."""
        text = ast.unparse(site.receiver)
        _statement, expression = self.origin(place, site.receiver)
        if self._is_stale(place.source, site.receiver):
            seen = f"{text} was imported while it was None, and stays None here"
            return site._replace(verdict="unbound", raises=True, seen=seen)
        if isinstance(expression, ast.Await) and self._is_bad_await(place.source, expression):
            seen = f"{ast.unparse(expression.value)} is not a coroutine: awaiting it raises TypeError"
            return site._replace(verdict="awaited_getter", raises=True, seen=seen)
        if expression is not None and is_new(self.program, place.source, expression):
            seen = f"{text} is made anew at shutdown, so the client in use stays open"
            return site._replace(verdict="new", seen=seen)
        return site

    def method(self, cls: Class | External, name: str) -> Method | None:
        """A class's method; ``closes`` is false when its body is seen to leave the connection open."""
        found = self.program.find_method(cls, name)
        if found is None or found.function is None or not found.closes:
            return found
        verdict, _inner = Judge(self.program, None)._assess_inside(found.function, self._busy)
        return found._replace(closes=False) if verdict == "broken" else found

    def _assess_inside(self, function: Function, busy: set[ast.AST]) -> tuple[str, Findings]:
        self._busy = busy
        return self.assess(function, 1)

    def _called(
        self, node: ast.expr, receiver: ast.expr, methods: list[Method | None], call: ast.Call | None, use: str
    ) -> Site:
        """The verdict on a call of a method that exists."""
        method = next(method for method in methods if method is not None)
        text = f"{ast.unparse(receiver)}.{method.name}()"
        site = Site(node, receiver, method.name, "right", False, "", method)
        if not method.closes:
            return site._replace(verdict="idle", seen=f"{text} leaves the connection open ({method.owner})")
        if use == "either":
            return site
        if use == "uncalled":
            return site._replace(verdict="uncalled", seen=f"{text[:-2]} is named but never called")
        if method.is_async and use == "plain":
            seen = f"{text} is a coroutine and is not awaited, so the connection stays open"
            return site._replace(verdict="unawaited", seen=seen)
        if not method.is_async and use == "awaited":
            is_raising = call is not None
            seen = f"{text} is not a coroutine: awaiting its result raises TypeError"
            return site._replace(verdict="awaited_sync", raises=is_raising, seen=seen)
        return site

    def _unbound(self, place: Place, node: ast.expr, receiver: ast.expr, name: str) -> Site | None:
        """A name that looks like the client and is bound to nothing that can be told."""
        if self.getter is not None and not self.getter.classes and self._is_from_getter(place, receiver):
            return Site(node, receiver, name, "unknown", True, f"nobody can tell what {self.getter.name}() returns")
        if self.getter is None or not isinstance(receiver, ast.Name) or not CLIENT_NAME.fullmatch(receiver.id):
            return None
        scope, bindings = self.program.lookup(place.source, receiver, receiver.id)
        values = self.program.values(place.source, receiver)
        if values and not all(value == UNKNOWN for value in values):
            return None
        if scope is not None and any(b.expression is None or _is_something(b.expression) for b in bindings):
            raise HotfixError(
                f"cannot tell what {receiver.id} is, so neither how to close it",
                path=place.source.path,
                line=receiver.lineno,
                remedy=f"Annotate it, or take it from {self.getter.text}() in the shutdown code",
            )
        seen = f"{receiver.id} has no value at shutdown, so {receiver.id}.{name}() raises"
        return Site(node, receiver, name, "unbound", True, seen)

    def _is_from_getter(self, place: Place, receiver: ast.expr) -> bool:
        """Whether an expression comes from a getter whose result is unknown."""
        if self.getter is None:
            return False
        expressions = [receiver]
        if isinstance(receiver, ast.Name):
            _scope, bindings = self.program.lookup(place.source, receiver, receiver.id)
            expressions += [binding.expression for binding in bindings if binding.expression is not None]
        found = {v for v in self.program.values(place.source, receiver) if v not in (UNKNOWN, Instance(UNKNOWN))}
        is_called = any(f"{self.getter.text}(" in ast.unparse(expression) for expression in expressions)
        return is_called or bool(found & set(self.getter.values))

    def _refuse_unreadable(self, place: Place, classes: list[Class | External], name: str, node: ast.expr) -> None:
        for cls in classes:
            base = self.program.unreadable_base(cls) if isinstance(cls, Class) else None
            if base is not None:
                raise HotfixError(
                    f"cannot tell whether {class_name(cls)} has {name}(): its base {base} is outside of the project",
                    path=place.source.path,
                    line=node.lineno,
                    remedy="Give the class a closing method of its own, or name its project_root",
                )

    def origin(self, place: Place, receiver: ast.expr) -> tuple[ast.stmt | None, ast.expr | None]:
        """Where the shutdown code itself gets the client from: the assignment, if there is one, and the expression."""
        root = receiver
        while isinstance(root, ast.Attribute):
            root = root.value
        if not isinstance(root, ast.Name):
            return None, root
        _scope, bindings = self.program.lookup(place.source, root, root.id)
        above = [b for b in bindings if b.kind == "value" and getattr(b.node, "lineno", 0) <= root.lineno]
        if above and place.holds(above[-1].node) and isinstance(above[-1].node, (ast.Assign, ast.AnnAssign)):
            return above[-1].node, above[-1].expression
        return None, None

    def _is_bad_await(self, source: Source, expression: ast.Await) -> bool:
        """Whether ``await`` is given something that is known to be no awaitable."""
        values = [value for value in self.program.values(source, expression.value) if self.program.is_known(value)]
        return bool(values) and not any(self._is_awaitable(value) for value in values)

    def _is_awaitable(self, value: Value) -> bool:
        if not isinstance(value, Instance):
            return True
        lines = self.program.ancestors(value.of) if isinstance(value.of, Class) else [value.of]
        # redis-py's asynchronous clients can be awaited, and give themselves.
        return any(
            "asyncio" in cls.name or cls.name.startswith("aioredis")
            if isinstance(cls, External)
            else "__await__" in self.program.bindings(cls.source, cls.node)
            for cls in lines
        )

    def _is_stale(self, source: Source, receiver: ast.expr) -> bool:
        """Whether a name was imported while it was still ``None``: what is assigned later is not seen through it."""
        if not isinstance(receiver, ast.Name):
            return False
        _scope, bindings = self.program.lookup(source, receiver, receiver.id)
        if len(bindings) != 1 or not isinstance(bindings[0].node, ast.ImportFrom):
            return False
        home, name = self.program.home(source, bindings[0])
        if home is None:
            return False
        found = [b for b in self.program.bindings(home, home.tree).get(name, []) if b.kind == "value"]
        at_import = [b for b in found if home.function(b.node) is None]
        return bool(at_import) and not any(b.expression and _is_something(b.expression) for b in at_import)


def is_redis_client(program: Program, cls: Class | External) -> bool:
    """Whether a class is a client of redis-py, inherits from one, holds one, or is named after Redis."""
    if is_redis_library(cls):
        return True
    if not isinstance(cls, Class):
        return False
    if "redis" in cls.node.name.lower() or any(is_redis_library(base) for base in program.ancestors(cls)):
        return True
    return bool(library_attributes(program, cls))


def library_attributes(program: Program, cls: Class) -> dict[str, External]:
    """The attributes in which a class keeps redis-py's own clients."""
    found: dict[str, External] = {}
    for owner in program.ancestors(cls):
        for node in ast.walk(owner.node) if isinstance(owner, Class) else ():
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.ctx, ast.Store)
                and ast.unparse(node.value) == "self"
            ):
                for value in program.attribute(Instance(cls), node.attr):
                    if isinstance(value, Instance) and isinstance(value.of, External) and is_redis_library(value.of):
                        found[node.attr] = value.of
    return found


def class_name(cls: Class | External) -> str:
    """A class's name as it is shown."""
    return cls.node.name if isinstance(cls, Class) else cls.name


def use_of(source: Source, node: ast.AST) -> str:
    """What becomes of a call's value: ``awaited``, ``returned``, ``plain``, or ``either`` (awaited if it has to be)."""
    parent = source.parents[node]
    if isinstance(parent, (ast.Await, ast.Return)):
        return "awaited" if isinstance(parent, ast.Await) else "returned"
    if isinstance(parent, ast.Call) and node is not parent.func:
        name = ast.unparse(parent.func).rpartition(".")[2]
        return "plain" if name in INSPECTIONS else "awaited" if name in RUNNERS else use_of(source, parent)
    if isinstance(parent, (ast.Assign, ast.AnnAssign, ast.NamedExpr)):
        target = parent.targets[0] if isinstance(parent, ast.Assign) else parent.target
        return _use_of_name(source, parent, target.id) if isinstance(target, ast.Name) else "plain"
    transparent = (ast.List, ast.Tuple, ast.Set, ast.Starred, ast.IfExp, ast.BoolOp, ast.keyword, ast.ListComp)
    if isinstance(parent, (*transparent, ast.GeneratorExp)):
        return use_of(source, parent)
    return "plain"


def _use_of_name(source: Source, assignment: ast.AST, name: str) -> str:
    uses = {
        use_of(source, node) if not _is_guarded(source, node) else "either"
        for node in _later_reads(source, assignment, name)
        if isinstance(source.parents[node], (ast.Await, ast.Call, ast.Starred, ast.List, ast.Tuple))
        and use_of(source, node) == "awaited"
    }
    return "either" if "either" in uses else "awaited" if uses else "plain"


def _later_reads(source: Source, assignment: ast.AST, name: str) -> Iterator[ast.Name]:
    scope = source.function(assignment) or source.tree
    for node in own_nodes(scope):
        is_read = isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load)
        if is_read and position(node) > position(assignment):
            yield node


def position(node: ast.AST) -> tuple[int, int]:
    """Where a node starts, for comparing."""
    return getattr(node, "lineno", 0), getattr(node, "col_offset", 0)


def _closing_reference(node: ast.Attribute | ast.Call) -> tuple[ast.expr, str, bool] | None:
    """``x.close`` or ``getattr(x, "close", None)``: the object, the name, and whether its absence is provided for."""
    if isinstance(node, ast.Attribute):
        return (node.value, node.attr, False) if node.attr in (*CLOSING, *ALSO_CLOSING) else None
    if ast.unparse(node.func) == "getattr" and len(node.args) in (2, 3) and isinstance(node.args[1], ast.Constant):
        name = node.args[1].value
        return (node.args[0], name, len(node.args) == 3) if name in (*CLOSING, *ALSO_CLOSING) else None
    return None


def _use_of_reference(place: Place, node: ast.expr) -> tuple[ast.Call | None, str]:
    """The call that a reference to a method ends in, and what becomes of its value."""
    parent = place.source.parents[node]
    if isinstance(parent, ast.Call):
        return (parent, place.use_of(parent)) if parent.func is node else (None, _use_as_argument(parent))
    if isinstance(parent, (ast.BoolOp, ast.IfExp, ast.List)):
        return _use_of_reference(place, parent)
    if isinstance(parent, ast.Assign) and isinstance(parent.targets[0], ast.Name):
        reads = _later_reads(place.source, parent, parent.targets[0].id)
        calls = [place.source.parents[read] for read in reads]
        call = next((c for c in calls if isinstance(c, ast.Call) and isinstance(c.func, ast.Name)), None)
        return (call, place.use_of(call)) if call else (None, "uncalled")
    if isinstance(parent, ast.keyword):
        return None, "either"
    return None, "inspected" if isinstance(parent, (ast.If, ast.Compare, ast.UnaryOp)) else "uncalled"


def _use_as_argument(call: ast.Call) -> str:
    """What becomes of a method that is handed over to a call."""
    name = ast.unparse(call.func).rpartition(".")[2]
    if name in REGISTRARS:
        awaits = REGISTRARS[name]
        return "either" if awaits is None else "awaited" if awaits else "plain"
    return "inspected" if name in INSPECTIONS else "uncalled"


def is_inspection(test: ast.expr) -> bool:
    """Whether a condition asks what an object has or is."""
    return any(
        isinstance(n, ast.Call) and ast.unparse(n.func).rpartition(".")[2] in INSPECTIONS for n in ast.walk(test)
    )


def _is_guarded(source: Source, node: ast.AST) -> bool:
    """Whether a node is reached only if a condition such as ``hasattr(client, "close")`` holds."""
    for outer in source.above(node):
        if isinstance(outer, FunctionDefinition):
            return False
        if isinstance(outer, (ast.If, ast.IfExp)) and is_inspection(outer.test):
            return True
    return False


def _is_something(expression: ast.expr) -> bool:
    return not (isinstance(expression, ast.Constant) and expression.value is None)


def swallows(node: ast.AST) -> bool:
    """Whether a ``try`` or ``with suppress`` lets the steps after it run whatever its own raise."""
    if isinstance(node, ast.Try):
        return any(_catches_all(handler) for handler in node.handlers)
    if isinstance(node, (ast.With, ast.AsyncWith)):
        texts = [ast.unparse(item.context_expr) for item in node.items]
        return any(re.search(r"\bsuppress\((Base)?Exception\)", text) for text in texts)
    return False


def _catches_all(handler: ast.ExceptHandler) -> bool:
    names = "" if handler.type is None else ast.unparse(handler.type)
    is_wide = handler.type is None or bool(re.search(r"\b(Base)?Exception\b|\bAttributeError\b", names))
    return is_wide and not any(isinstance(node, ast.Raise) for node in own_nodes(handler))


def _blocks(place: Place, broken: ast.expr, right: ast.expr) -> bool:
    """Whether an exception at ``broken`` keeps ``right`` from being reached."""
    if position(broken) > position(right):
        return False
    around = set(place.source.above(right))
    inner: ast.AST = broken
    for outer in place.source.above(broken):
        if isinstance(outer, ast.Try) and inner in outer.body:
            passed_on = [*outer.handlers, *outer.finalbody]
            if any(block in around or block is right for block in passed_on):
                return False
        is_body = inner in getattr(outer, "body", [])
        if is_body and swallows(outer) and not any(statement in around for statement in outer.body):
            return False
        if isinstance(outer, FunctionDefinition):
            break
        inner = outer
    return True


def first(items: Iterable[Site]) -> Site:
    """The attempt that matters: the first one in the file that is not merely skipped."""
    return min(items, key=lambda site: (site.verdict == "missing" and not site.raises, position(site.node)))
