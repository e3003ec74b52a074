# SPDX-License-Identifier: GPL-3.0-or-later
"""Repairs the code that closes Redis when a program stops: the smallest block that is right for that program."""

from __future__ import annotations

import ast
import io
import os
import re
import tokenize
from typing import Any, NamedTuple

from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._files import read_bytes
from ansible_collections.composeops.hotfix.plugins.module_utils._python_program import (
    Class,
    External,
    FunctionDefinition,
    Method,
    Program,
    Source,
    decode,
    find_root,
    own_nodes,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._shutdown_judge import (
    ALSO_CLOSING,
    CLOSING,
    INSPECTIONS,
    Findings,
    Judge,
    Place,
    Site,
    class_name,
    find_getter,
    find_places,
    find_registrations,
    first,
    is_inspection,
    library_attributes,
    position,
    swallows,
)

CLOSED = "Redis connections closed"
SKIPPED = "Redis cleanup skipped"
BY_HAND = "Correct the shutdown code by hand"
LEVELS = ("debug", "info", "warning", "warn", "error", "exception", "critical", "success")
# Calls that a coroutine may be wrapped in without another step being part of the same statement.
WRAPPERS = ("create_task", "ensure_future", "run", "run_until_complete", "getattr")
KEPT_WRAPPERS = ("wait_for", "shield")
ERROR_NAMES = ("error", "redis_error", "redis_cleanup_error")
CLIENT_NAMES = ("redis_client", "redis_to_close", "shutdown_redis_client")
# Each repair is followed by a new reading of the file; no program has more places than this.
PASSES = 20


class Repair(NamedTuple):
    """The result: ``data`` is the file's new content, the same as before unless ``status`` is ``patched``."""

    status: str
    data: bytes
    seen: str
    getter: dict[str, Any] | None
    close: dict[str, Any] | None


class Choice(NamedTuple):
    """How the client is to be closed: ``path`` is what follows it, such as ``disconnect`` or ``redis.aclose``."""

    path: str
    method: Method
    owner: Class | External


def repair(path: str, *, project_root: str | None = None, getter: str = "get_redis_client") -> Repair:
    """Read a program and put its shutdown code right.

    :param path: the file with the shutdown code.
    :param project_root: the directory absolute imports start from; by default the closest parent that makes them work.
    :param getter: the name of the function that gives the Redis client.
    :raises HotfixError: when a file can't be read, or the program leaves open what would be right.
    """
    try:
        return _repair(path, project_root or find_root(path), getter)
    except RecursionError as error:
        raise HotfixError("its expressions are nested too deeply to be read", path=path, remedy=BY_HAND) from error


def _repair(path: str, root: str, getter: str) -> Repair:
    data = read_bytes(path)
    before = Examination(path, root, data, getter)
    if not before.broken:
        return before.report("already_correct" if before.right else "not_found", before.seen(), data)
    after = before
    for _pass in range(PASSES):
        text, encoding = decode(path, after.data)
        new = unfold(after) or Rewriter(after, *after.broken[0]).text()
        if new == text:
            break
        after = Examination(path, root, new.encode(encoding), getter)
        if not after.broken:
            break
    if after.broken or not after.right:
        raise HotfixError(
            f"no block is known that would close Redis here: {before.seen()}",
            path=path,
            line=first(before.broken[0][1].broken).line,
            remedy=BY_HAND,
        )
    compile(after.data, path, "exec", dont_inherit=True)
    return after.report("patched", before.seen(), after.data)


class Examination:
    """A program's shutdown code as it is."""

    def __init__(self, path: str, root: str, data: bytes, getter: str) -> None:
        if not os.path.isdir(root):
            raise HotfixError("there is no such directory", path=root, remedy="Check project_root")
        self.path = path
        self.data = data
        self.program = Program(root, {os.path.realpath(path): data})
        self.source: Source = self.program.load(path)
        self.getter = find_getter(self.program, self.source, getter)
        self.judge = Judge(self.program, self.getter)
        self.places = [(place, self.judge.findings(place)) for place in find_places(self.program, self.source)]
        registered = [(place, self.judge.findings(place)) for place in find_registrations(self.source)]
        self.right: list[Site] = [site for _place, found in registered for site in found.right]
        self.broken: list[tuple[Place, Findings]] = []
        for place, found in self.places:
            self._sort(place, found)
        self.places += registered
        for _place, found in registered:
            for site in found.broken:
                raise HotfixError(site.seen, path=path, line=site.line, remedy=BY_HAND)

    def _sort(self, place: Place, found: Findings) -> None:
        effective = self.judge.effective(place, found)
        self.right += effective
        if effective:
            return
        if found.right:
            site = first(found.broken)
            raise HotfixError(
                f"{site.seen}, which keeps line {first(found.right).line} from closing it",
                path=self.path,
                line=site.line,
                remedy="Remove one of the two",
            )
        if found.broken:
            self._refuse_unknown()
            self.broken.append((place, found))
            return
        for function, site in found.elsewhere:
            if function.source is not self.source:
                raise HotfixError(
                    f"the shutdown code is in another file: {site.seen}",
                    path=self.program.shown(function.source.path),
                    line=site.line,
                    remedy="Name that file as path",
                )

    def _refuse_unknown(self) -> None:
        """A getter whose result can't be told is no ground to write anything on."""
        if self.getter is None or self.getter.classes:
            return
        function = self.getter.function
        raise HotfixError(
            f"cannot tell what {self.getter.name}() returns, so neither how to close it",
            path=self.program.shown(function.source.path),
            line=function.node.lineno,
            remedy="Annotate its return type with the class of the client",
        )

    def seen(self) -> str:
        """What the code does, in one sentence without a full stop."""
        if self.broken:
            place, found = self.broken[0]
            site = first(found.broken)
            return f"in {place.name}(), line {site.line}, {site.seen}"
        if self.right:
            site = self.right[0]
            return f"line {site.line} closes Redis: {ast.unparse(site.node)}()"
        return "no code that runs at shutdown tries to close Redis in this file"

    def report(self, status: str, seen: str, data: bytes) -> Repair:
        """The examination in the module's terms."""
        getter = close = None
        if self.getter is not None:
            function = self.getter.function
            getter = {
                "name": self.getter.name,
                "is_async": self.getter.is_async,
                "file": self.program.shown(function.source.path),
                "line": function.node.lineno,
            }
        if self.right:
            close = self._close(self.right[0])
        return Repair(status, data, seen, getter, close)

    def _close(self, site: Site) -> dict[str, Any]:
        place = next((p for p, found in self.places if site in found.right), None)
        method = site.method
        function = method.function if method else None
        return {
            "name": method.name if method else site.name,
            "is_async": bool(method and method.is_async),
            "class": method.owner if method else None,
            "file": self.program.shown(function.source.path) if function else None,
            "line": function.node.lineno if function else None,
            "place": place.kind if place else None,
            "function": place.name if place else None,
            "shutdown_line": site.line,
        }


class Rewriter:
    """Writes the block for one place of a program that is examined and found broken."""

    def __init__(self, examination: Examination, place: Place, found: Findings) -> None:
        function = place.function
        if function is None:
            raise HotfixError(first(found.broken).seen, path=examination.path, remedy=BY_HAND)
        self.judge = examination.judge
        self.program = examination.program
        self.getter = examination.getter
        self.path = examination.path
        self.place = place
        self.function = function
        self.source = place.source
        self.sites = found.broken
        self.site = first(found.broken)
        self.lines = split_lines(self.source.text)
        self.comments = _comments(self.source.text)
        self.newline = _newline(self.source.text)
        self.encoding = decode(self.path, examination.data)[1]
        self.bind, self.bind_text = self._binding()
        self.new_bind: list[str] = []
        self.is_detached = False
        self._action_text = ""

    def refuse(self, message: str, line: int | None = None, remedy: str = BY_HAND) -> HotfixError:
        """The program leaves open what would be right."""
        return HotfixError(message, path=self.path, line=line or self.site.line, remedy=remedy)

    def text(self) -> str:
        """The file with this place put right."""
        action = self._action_text = self._action()
        run, is_own = self._run()
        edits = self._other_edits(run)
        body = self._body(run, action)
        indent, unit = self._indent(run[0]), self._unit()
        if is_own is None:
            body = self._wrapped(body, indent, unit)
        elif is_own:
            edits.append(is_own)
        start, end = run[0].lineno - 1, _end(run[-1])
        edits.append((start, end, body))
        for first_line, last_line, new in sorted(edits, reverse=True, key=lambda edit: edit[0]):
            self.lines[first_line:last_line] = new
        return "".join(self.lines)

    # -- what is closed, and how -----------------------------------------------------------------------------------

    def _binding(self) -> tuple[ast.stmt | None, str | None]:
        """The assignment in the shutdown code that gives the client, and its right form if it is wrong."""
        statement, expression = self.judge.origin(self.place, self.site.receiver)
        if statement is None or expression is None:
            return None, None
        target = statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
        if not isinstance(target, ast.Name):
            raise self.refuse("the client is taken from an assignment to several names", statement.lineno)
        right = None
        if self.site.verdict == "coroutine":
            right = f"await {self._one_line(expression)}"
        elif self.site.verdict == "awaited_getter":
            right = self._one_line(expression.value)
        elif self.site.verdict in ("new", "unbound"):
            right = self._getter_call()
        return statement, None if right is None else f"{target.id} = {right}"

    def _getter_call(self) -> str:
        """The right call of the getter."""
        getter = self.getter
        where = f"{self.site.seen}, and"
        if getter is None:
            raise self.refuse(f"{where} there is no getter to take the client from", remedy="Name it with getter")
        if getter.is_new:
            raise self.refuse(f"{where} {getter.name}() makes a new client at every call")
        if getter.keeps_coroutine:
            raise self.refuse(f"{where} {getter.name}() is a coroutine function under lru_cache: it works only once")
        arguments = getter.function.node.args
        if len(arguments.posonlyargs + arguments.args) > len(arguments.defaults):
            raise self.refuse(f"{where} {getter.name}() needs arguments that are not known here")
        return f"{'await ' if getter.is_async else ''}{getter.text}()"

    def _client(self) -> str:
        """The expression for the client, after any binding."""
        receiver, verdict = self.site.receiver, self.site.verdict
        if self.bind is not None:
            return self._one_line(receiver)
        _statement, made = self.judge.origin(self.place, receiver)
        if made is not None and verdict in ("coroutine", "awaited_getter", "new"):
            if made is not receiver:
                raise self.refuse(self.site.seen)
            text = self._one_line(made)
            inner = {
                "coroutine": f"(await {text})",
                "awaited_getter": self._one_line(getattr(made, "value", made)),
                "new": f"({self._getter_call()})" if verdict == "new" else "",
            }
            return inner[verdict]
        if verdict in ("coroutine", "unbound"):
            name = self._new_name()
            self.new_bind = [*self._missing_import(), f"{name} = {self._getter_call()}"]
            return name
        text = self._one_line(receiver)
        return f"({text})" if isinstance(receiver, ast.Await) else text

    def _missing_import(self) -> list[str]:
        """The getter's import, when the file has it only where the shutdown code does not see it."""
        if self.getter is None:
            return []
        root = self.getter.text.split(".")[0]
        probe = ast.copy_location(ast.Name(root, ast.Load()), self.site.node)
        self.source.parents[probe] = self.source.parents[self.site.node]
        _scope, bindings = self.program.lookup(self.source, probe, root)
        if any(not _is_for_typing_only(self.source, binding.node) for binding in bindings):
            return []
        statement = self.getter.imported_by
        if isinstance(statement, ast.ImportFrom):
            module = "." * statement.level + (statement.module or "")
            renamed = "" if root == self.getter.name else f" as {root}"
            return [f"from {module} import {self.getter.name}{renamed}"]
        raise self.refuse(f"{self.getter.text} is not known in {self.function.name}()")

    def _new_name(self) -> str:
        """A name for the client that takes nothing else's place in the function."""
        receiver = self.site.receiver
        own = [receiver.id] if isinstance(receiver, ast.Name) else []
        function = self.function
        local = set(self.program.bindings(self.source, function))
        inside = {n for site in self.sites for n in ast.walk(self.source.statement(site.node))}
        read = {n.id for n in own_nodes(function) if isinstance(n, ast.Name) and n not in inside}
        is_global = {name for n in own_nodes(function) if isinstance(n, ast.Global) for name in n.names}
        for name in (*own, *CLIENT_NAMES):
            if name in is_global or name not in read or (name in local and name in own):
                return name
        raise self.refuse("no name is left for the client")

    def _classes(self) -> list[Class | External]:
        classes = self.judge.clients(self.source, self.site.receiver)[0]
        if not classes and self.getter is not None:
            classes = self.getter.classes
        return classes

    def _choice(self) -> Choice:
        """The method that closes what the client really is."""
        classes = self._classes()
        names = [*CLOSING, *ALSO_CLOSING]
        if not self.place.is_async:
            names.sort(key=lambda name: bool((found := self.judge.method(classes[0], name)) and found.is_async))
        if self.site.name in names and self.site.verdict in ("coroutine", "unawaited", "awaited_sync", "uncalled"):
            names.insert(0, self.site.name)
        for name in names:
            methods = [self.judge.method(cls, name) for cls in classes]
            usable = [m for m in methods if m is not None and m.closes and _needs_nothing(m)]
            if len(usable) == len(classes) and len({m.is_async for m in usable}) == 1:
                return Choice(name, usable[0], classes[0])
        return self._through_attribute(classes)

    def _through_attribute(self, classes: list[Class | External]) -> Choice:
        """A wrapper that has no closing method, or a pool of its own: close what it holds."""
        cls = classes[0]
        held = library_attributes(self.program, cls) if isinstance(cls, Class) else {}
        if isinstance(cls, External) or (not held and self.judge.method(cls, "close")):
            is_async = "asyncio" in self._library_name(cls)
            path = "connection_pool.disconnect"
            return Choice(path, Method(path, is_async, True, class_name(cls), None), cls)
        if len(classes) == 1 and len(held) == 1:
            attribute, library = next(iter(held.items()))
            for name in CLOSING:
                found = self.judge.method(library, name)
                if found is not None and found.closes:
                    return Choice(f"{attribute}.{name}", found._replace(name=f"{attribute}.{name}"), library)
            inner = self._through_attribute([library])
            return inner._replace(path=f"{attribute}.{inner.path}")
        names = " or ".join(map(class_name, classes))
        has = sorted(name for name in _method_names(cls) if not name.startswith("_"))
        where = f"{self.program.shown(cls.source.path)}:{cls.node.lineno}" if isinstance(cls, Class) else ""
        raise self.refuse(
            f"{names} ({where}) has no method that closes it: it has {', '.join(has) or 'none'}",
            remedy="Give the class a method close that closes its connection",
        )

    def _library_name(self, cls: Class | External) -> str:
        bases = self.program.ancestors(cls) if isinstance(cls, Class) else [cls]
        return " ".join(base.name for base in bases if isinstance(base, External))

    def _action(self) -> str:
        """The statement that closes."""
        if self.site.verdict == "unawaited_call":
            self._need_await()
            return f"await {self._one_line(self.site.node)}"
        client = self._client()
        choice = self._choice()
        call = f"{client}.{choice.path}()"
        outer = self.source.parents[self.site.node]
        if isinstance(outer, ast.Call) and outer.func is self.site.node and choice.path == self.site.name:
            arguments = [self._one_line(part) for part in [*outer.args, *outer.keywords]]
            call = f"{client}.{choice.path}({', '.join(arguments)})"
        if choice.method.is_async:
            call = f"await {self._kept_wrapper(call)}"
        if any("await " in text for text in (call, self.bind_text or "", *self.new_bind)):
            self._need_await()
        return call

    def _kept_wrapper(self, call: str) -> str:
        """``asyncio.wait_for(..., timeout=5)`` stays around the call."""
        node: ast.AST = self.site.node
        for outer in self.source.above(node):
            if isinstance(outer, ast.stmt):
                return call
            if isinstance(outer, ast.Call) and _last_name(outer) in KEPT_WRAPPERS and node in outer.args:
                rest = [self._one_line(part) for part in [*outer.args[1:], *outer.keywords]]
                return f"{self._one_line(outer.func)}({', '.join([call, *rest])})"
            node = outer
        return call

    def _need_await(self) -> None:
        """Something has to be awaited: the function must be ``async``, or be free to become so."""
        function = self.function
        if isinstance(function, ast.AsyncFunctionDef) or self._may_become_async():
            return
        raise self.refuse(
            f"{self.site.seen}; closing it takes an await, and {function.name}() is a plain function",
            remedy=f"Make {function.name}() a coroutine function and await it where it is called",
        )

    def _may_become_async(self) -> bool:
        function = self.function
        calls = [n for n in ast.walk(self.source.tree) if isinstance(n, ast.Call)]
        is_called = any(isinstance(n.func, ast.Name) and n.func.id == function.name for n in calls)
        at_exit = any(ast.unparse(n) == f"atexit.register({function.name})" for n in calls)
        return self.place.kind == "event" and not is_called and not at_exit

    def _one_line(self, node: ast.AST) -> str:
        text = self.source.segment(node)
        return ast.unparse(node) if "\n" in text or "\r" in text else text

    # -- where it is written ---------------------------------------------------------------------------------------

    def _run(self) -> tuple[list[ast.stmt], Any]:
        """The statements to replace, and what happens to a ``try`` of their own.

        The second is ``None`` when there is no such ``try``, ``()`` when it stays, else the edit of its handler.
        """
        tops = [self._top(site) for site in self.sites]
        block = self._block(tops[0])
        if any(self._block(top) is not block for top in tops):
            tops = [self._common(tops)]
            block = self._block(tops[0])
        start, end = block.index(min(tops, key=_line)), block.index(max(tops, key=_line))
        while start > 0 and self._is_binding(block[start - 1]):
            start -= 1
        for number in range(end + 1, len(block)):
            if self._is_success(block[number]) or self._uses_attempt(block[number]):
                end = number
            elif not self._is_reset(block[number]):
                break
        if not all(self.is_redis_only(statement) for statement in block[start : end + 1]):
            other = next(s for s in block[start : end + 1] if not self.is_redis_only(s))
            raise self.refuse(f"{self.site.seen}; the same statement holds another step", other.lineno)
        own = self._own_try(block)
        if own is not None:
            self._place_binding(block)
            return block, own
        run = block[start : end + 1]
        self._place_binding(run)
        return run, None

    def _block(self, statement: ast.stmt) -> list[ast.stmt]:
        parent = self.source.parents[statement]
        for name in ("body", "orelse", "finalbody"):
            block = getattr(parent, name, None)
            if isinstance(block, list) and statement in block:
                return block
        raise self.refuse(f"{self.site.seen} in a form that is not understood", statement.lineno)

    def _top(self, site: Site) -> ast.stmt:
        """The statement to replace for one attempt: the conditions go that only ask what the client has."""
        top: ast.stmt = self.source.statement(site.node)
        is_rebound = self.bind is not None or site.verdict in ("unbound", "coroutine")
        while True:
            parent = self.source.parents[top]
            if not isinstance(parent, ast.If) or not self.place.holds(parent):
                return top
            if not is_inspection(parent.test) and not (is_rebound and self._root() in _names(parent.test)):
                return top
            top = parent

    def _common(self, tops: list[ast.stmt]) -> ast.stmt:
        """The smallest statement around several attempts."""
        chains = [[top, *self.source.above(top)] for top in tops]
        for node in chains[0]:
            if isinstance(node, ast.stmt) and all(node in chain for chain in chains[1:]) and self.place.holds(node):
                if not self.is_redis_only(node):
                    break
                return node
        lines = " and ".join(str(top.lineno) for top in tops)
        raise self.refuse(f"{self.site.seen}, and there are several attempts: lines {lines}", remedy="Keep one of them")

    def _root(self) -> str:
        node = self.site.receiver
        while isinstance(node, ast.Attribute):
            node = node.value
        return node.id if isinstance(node, ast.Name) else ""

    def _is_binding(self, statement: ast.stmt) -> bool:
        return statement is self.bind or self._is_getter_import(statement)

    def _is_getter_import(self, statement: ast.stmt) -> bool:
        return (
            isinstance(statement, ast.ImportFrom)
            and self.getter is not None
            and [alias.name for alias in statement.names] == [self.getter.name]
        )

    def _is_success(self, statement: ast.stmt) -> bool:
        return _is_log(statement) and bool(
            re.search(r"redis.*(clos|disconnect|shut|clean)|clos\w* .*redis", ast.unparse(statement), re.IGNORECASE)
        )

    def is_redis_only(self, node: ast.stmt) -> bool:
        """Whether a statement is about the client alone, so that nothing else is lost with it."""
        if self._is_binding(node) or isinstance(node, (ast.Pass, ast.Delete)):
            return True
        if _is_log(node):
            return "redis" in ast.unparse(node).lower()
        if isinstance(node, ast.If):
            allowed = {
                *self._made(),
                self._root(),
                *INSPECTIONS,
                "inspect",
                "asyncio",
                *(self.getter.text.split(".") if self.getter else ()),
            }
            return _names(node.test) <= allowed and all(map(self.is_redis_only, [*node.body, *node.orelse]))
        if isinstance(node, ast.Try):
            handled = [s for handler in node.handlers for s in handler.body]
            parts = [*node.body, *node.orelse, *node.finalbody]
            return all(map(self.is_redis_only, parts)) and all(_is_log(s) or self.is_redis_only(s) for s in handled)
        if isinstance(node, (ast.With, ast.AsyncWith)):
            return swallows(node) and all(map(self.is_redis_only, node.body))
        return self._is_attempt(node)

    def _is_attempt(self, node: ast.stmt) -> bool:
        """A simple statement that closes the client, sets its name to ``None``, or looks for its method."""
        if self._is_reset(node):
            return True
        if not isinstance(node, (ast.Expr, ast.Assign, ast.Return)):
            return False
        if not any(site.node in set(ast.walk(node)) for site in self.sites):
            return self._uses_attempt(node)
        own = {id(n) for site in self.sites for n in ast.walk(site.node)}
        for call in (n for n in ast.walk(node) if isinstance(n, ast.Call) and id(n) not in own):
            if any(call.func is site.node for site in self.sites) or _last_name(call) in (*WRAPPERS, *KEPT_WRAPPERS):
                continue
            return False
        return not isinstance(node, ast.Return) or node is self.function.body[-1]

    def _is_reset(self, node: ast.stmt) -> bool:
        """``redis_client = None``."""
        return (
            isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Constant)
            and node.value.value is None
            and ast.unparse(node.targets[0]) == self._one_line(self.site.receiver)
        )

    def _made(self) -> set[str]:
        """Names that are made from an attempt: ``closer = getattr(client, "close")``, ``result = closer()``."""
        made: set[str] = set()
        for statement in self.place.nodes():
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                is_attempt = any(site.node in set(ast.walk(statement)) for site in self.sites)
                if is_attempt or (made and made & _names(statement.value)):
                    made.add(statement.targets[0].id)
        return made

    def _uses_attempt(self, node: ast.stmt) -> bool:
        """Whether a statement goes on with what an attempt gave, and does nothing else."""
        made = self._made()
        if isinstance(node, ast.If):
            return bool(made & _names(node.test)) and all(map(self.is_redis_only, [*node.body, *node.orelse]))
        value = node.value if isinstance(node, (ast.Expr, ast.Assign)) else None
        return value is not None and bool(made & _names(value)) and _names(value) <= made

    def _own_try(self, block: list[ast.stmt]) -> Any:
        parent = self.source.parents[block[0]]
        if not isinstance(parent, ast.Try) or parent.body is not block or not all(map(self.is_redis_only, block)):
            return None
        wide = [h for h in parent.handlers if h.type is None or ast.unparse(h.type) in ("Exception", "BaseException")]
        if not wide or any(isinstance(node, ast.Raise) for node in own_nodes(wide[0])):
            return None
        handler = wide[0]
        text = " ".join(ast.unparse(statement) for statement in handler.body)
        if re.search(r"redis", re.sub(r"redis_\w+", "", text), re.IGNORECASE):
            return ()
        if not all(_is_log(s) or isinstance(s, ast.Pass) for s in handler.body):
            return None
        indent, unit = self._indent(parent), self._unit()
        kept = [
            line for n, line in enumerate(self.lines[handler.lineno : _end(handler)]) if line.strip().startswith("#")
        ]
        return (
            handler.lineno - 1,
            _end(handler),
            [*self._handler(indent, unit)[:1], *kept, *self._handler(indent, unit)[1:]],
        )

    def _place_binding(self, run: list[ast.stmt]) -> None:
        """A wrong assignment that stands apart from the attempt is moved to it."""
        if self.bind is None or self.bind_text is None or self.bind in run:
            return
        name = self.bind_text.split(" = ")[0]
        inside = {n for statement in run for n in ast.walk(statement)}
        others = [
            node
            for statement in self.place.statements
            for node in ast.walk(statement)
            if isinstance(node, ast.Name) and node.id == name and node not in inside and isinstance(node.ctx, ast.Load)
        ]
        if others or len(self._block(self.bind)) == 1:
            raise self.refuse(
                f"{self.site.seen}; {name} is used for something else too",
                others[0].lineno if others else self.bind.lineno,
            )
        self.new_bind = [self.bind_text]
        self.is_detached = True

    def _other_edits(self, run: list[ast.stmt]) -> list[tuple[int, int, list[str]]]:
        """Changes outside of the block: a moved assignment, a success logged too late, ``def`` to ``async def``."""
        edits: list[tuple[int, int, list[str]]] = []
        if self.is_detached and self.bind is not None:
            kept = [self._indent(self.bind) + c + self.newline for c in self._comments_in(self.bind)]
            edits.append((self.bind.lineno - 1, _end(self.bind), kept))
        for node in self.place.nodes():
            is_log = isinstance(node, ast.stmt) and _is_log(node) and CLOSED in ast.unparse(node)
            if is_log and not any(statement.lineno <= position(node)[0] <= _end(statement) for statement in run):
                edits.append(self._without(node))
        function = self.function
        if isinstance(function, ast.FunctionDef) and self._awaits:
            line = self.lines[function.lineno - 1]
            edits.append((function.lineno - 1, function.lineno, [re.sub(r"^(\s*)def\b", r"\1async def", line)]))
        return edits

    def _without(self, log: ast.stmt) -> tuple[int, int, list[str]]:
        if len(self._block(log)) == 1:
            raise self.refuse(f"{self.site.seen}; success is logged in another place", log.lineno)
        return log.lineno - 1, _end(log), []

    @property
    def _awaits(self) -> bool:
        texts = (self._action_text, self.bind_text or "", *self.new_bind)
        return any("await " in text for text in texts)

    # -- the text --------------------------------------------------------------------------------------------------

    def _body(self, run: list[ast.stmt], action: str) -> list[str]:
        """The lines of the block inside its ``try``, in the indentation of the run."""
        tops = [self._top(site) for site in self.sites]
        if any(top not in run for top in tops):
            inside = [s for s in run if any(top in set(ast.walk(s)) for top in tops)]
            tops = inside
        indent = self._indent(run[0])
        lines = [f"{indent}{text}{self.newline}" for text in self.new_bind]
        is_done = False
        for number, statement in enumerate(run):
            if number:
                lines += self.lines[_end(run[number - 1]) : statement.lineno - 1]
            if statement is self.bind and self.bind_text is not None:
                lines += self._with_comments(statement, indent, self.bind_text)
            elif statement in tops:
                new = self._attempt(statement, indent, action, run[number + 1 :])
                lines += new if not is_done else []
                is_done = True
            elif not self._uses_attempt(statement):
                lines += self._own_lines(statement)
        return lines

    def _attempt(self, top: ast.stmt, indent: str, action: str, later: list[ast.stmt]) -> list[str]:
        """The closing call with its log line, under the conditions that stay."""
        logged = any(CLOSED in ast.unparse(statement) for statement in later)
        if isinstance(top, ast.If) and not is_inspection(top.test) and not top.orelse:
            inner = self._indent(top.body[0])
            header = self.lines[top.lineno - 1 : top.body[0].lineno - 1]
            logged = logged or any(_is_log(s) and CLOSED in ast.unparse(s) for s in top.body)
            kept = [line for s in top.body if _is_log(s) for line in self._own_lines(s)]
            lines = self._call_lines(top.body[0], inner, action, logged)
            return [*header, *lines, *kept]
        return self._call_lines(top, indent, action, logged)

    def _call_lines(self, statement: ast.stmt, indent: str, action: str, logged: bool) -> list[str]:
        lines = self._with_comments(statement, indent, action)
        if not logged:
            lines.append(f"{indent}{self._log('info', CLOSED)}{self.newline}")
        return lines

    def _with_comments(self, old: ast.stmt, indent: str, new: str) -> list[str]:
        """A new statement with the comments of the old one: the last trailing one beside it, the others above."""
        comments = self._comments_in(old)
        beside = ""
        trailing = [n for n in range(old.lineno, _end(old) + 1) if n in self.comments and not self._is_comment_line(n)]
        if trailing:
            beside = f"  {self.comments[trailing[-1]]}"
            comments.remove(self.comments[trailing[-1]])
        return [*(f"{indent}{comment}{self.newline}" for comment in comments), f"{indent}{new}{beside}{self.newline}"]

    def _comments_in(self, statement: ast.stmt) -> list[str]:
        return [self.comments[n] for n in range(statement.lineno, _end(statement) + 1) if n in self.comments]

    def _is_comment_line(self, number: int) -> bool:
        return self.lines[number - 1].strip().startswith("#")

    def _own_lines(self, statement: ast.stmt) -> list[str]:
        lines = self.lines[statement.lineno - 1 : _end(statement)]
        if lines and not lines[-1].endswith(("\n", "\r")):
            lines[-1] += self.newline
        return lines

    def _wrapped(self, body: list[str], indent: str, unit: str) -> list[str]:
        deeper = [unit + line if line.strip() else line for line in body]
        return [f"{indent}try:{self.newline}", *deeper, *self._handler(indent, unit)]

    def _handler(self, indent: str, unit: str) -> list[str]:
        function = self.function
        used = {n.id for n in ast.walk(function) if isinstance(n, ast.Name)}
        name = next(name for name in (*ERROR_NAMES, "_redis_cleanup_error") if name not in used)
        log = self._log("warning", SKIPPED, name)
        return [f"{indent}except Exception as {name}:{self.newline}", f"{indent}{unit}{log}{self.newline}"]

    def _log(self, level: str, message: str, error: str = "") -> str:
        """A log statement with what the file logs with: its logger, the logging module, or print."""
        quote = self._quote()
        tick = "✓ "
        try:
            tick.encode(self.encoding)
        except UnicodeEncodeError:
            tick = "\\u2713 "
        text = f"f{quote}{message}: {{{error}}}{quote}" if error else f"{quote}{tick}{message}{quote}"
        logger = find_logger(self.source, self.place)
        return f"{logger}.{level}({text})" if logger else f"print({text})"

    def _quote(self) -> str:
        text = " ".join(self.source.segment(s) for s in self.place.statements)
        local = re.findall(r"['\"]", re.sub(r"(\"\"\"|''')", "", text))
        everywhere = re.findall(r"['\"]", re.sub(r"(\"\"\"|''')", "", self.source.text))
        found = local or everywhere
        return "'" if found.count("'") > found.count('"') else '"'

    def _indent(self, statement: ast.stmt) -> str:
        line = self.lines[statement.lineno - 1]
        return line[: len(line) - len(line.lstrip())]

    def _unit(self) -> str:
        """One step of indentation, as the function has it."""
        function = self.function
        outer, inner = self._indent(function), self._indent(function.body[0])
        return inner[len(outer) :] if inner.startswith(outer) and inner != outer else "    "


def find_logger(source: Source, place: Place) -> str | None:
    """What the shutdown code can log with: the logger it uses, else the file's, else the module ``logging``."""
    found: list[str] = []
    scopes = [list(place.nodes()), list(own_nodes(place.function)), list(ast.walk(source.tree))]
    for nodes in scopes[:2]:
        for node in nodes:
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS:
                base = ast.unparse(node.func.value)
                if re.search(r"log", base, re.IGNORECASE) and "(" not in base:
                    found.append(base)
    if found:
        return max(found, key=found.count)
    for statement in source.tree.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Call):
            name = statement.targets[0]
            if isinstance(name, ast.Name) and re.search(r"[gG]et_?[lL]ogger", ast.unparse(statement.value.func)):
                return name.id
        if isinstance(statement, ast.ImportFrom):
            names = [alias.asname or alias.name for alias in statement.names]
            found += [name for name in names if name.lower() in ("logger", "log", "_logger")]
    for statement in source.tree.body:
        if isinstance(statement, ast.Import):
            found += [a.asname or a.name for a in statement.names if a.name == "logging"]
    return found[0] if found else None


def unfold(examination: Examination) -> str | None:
    """The file with the statements that are to be replaced on lines of their own, or ``None`` if they are already."""
    place, found = examination.broken[0]
    source = place.source
    lines = split_lines(source.text)
    binding, _expression = examination.judge.origin(place, first(found.broken).receiver)
    wanted = [source.statement(site.node) for site in found.broken] + ([binding] if binding is not None else [])
    for statement in wanted:
        block = next(
            b
            for name in ("body", "orelse", "finalbody")
            if statement in (b := getattr(source.parents[statement], name, []))
        )
        parent = source.parents[statement]
        before = _column(lines[block[0].lineno - 1], block[0].col_offset)
        is_suite = bool(before.strip())
        is_row = any(one.lineno == other.lineno for one in block for other in block if one is not other)
        if not is_suite and not is_row:
            continue
        line = lines[block[0].lineno - 1]
        indent = line[: len(line) - len(line.lstrip())]
        newline = _newline(source.text)
        if is_suite and isinstance(parent, (ast.Try, ast.If, ast.With, ast.AsyncWith, *FunctionDefinition)):
            indent += _unit_of(source, lines, place)
        comment = _comments(source.text).get(_end(block[-1]), "")
        texts = [source.segment(s) for s in block]
        new = [before.rstrip() + newline] if is_suite else []
        new += [f"{indent}{text}{newline}" for text in texts]
        if comment:
            new[-1] = f"{indent}{texts[-1]}  {comment}{newline}"
        lines[block[0].lineno - 1 : _end(block[-1])] = new
        return "".join(lines)
    return None


def split_lines(text: str) -> list[str]:
    """A text's lines with their ends, as Python counts them: form feeds and the like end none."""
    return re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", text)


def _unit_of(source: Source, lines: list[str], place: Place) -> str:
    outer = lines[place.function.lineno - 1]
    inner = lines[place.function.body[0].lineno - 1]
    difference = (len(inner) - len(inner.lstrip())) - (len(outer) - len(outer.lstrip()))
    return inner[: len(inner) - len(inner.lstrip())][-difference:] if difference > 0 else "    "


def _column(line: str, offset: int) -> str:
    """The part of a line before a node; ``ast`` counts bytes of UTF-8."""
    return line.encode("utf-8")[:offset].decode("utf-8")


def _comments(text: str) -> dict[int, str]:
    found = {}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            found[token.start[0]] = token.string
    return found


def _newline(text: str) -> str:
    counts = {end: len(re.findall(pattern, text)) for end, pattern in (("\n", r"(?<!\r)\n"), ("\r\n", r"\r\n"))}
    return max(counts, key=lambda end: counts[end])


def _end(node: ast.stmt | ast.ExceptHandler) -> int:
    """The last line of a statement; ``ast.parse`` always tells."""
    return node.end_lineno or node.lineno


def _line(node: ast.stmt) -> int:
    return node.lineno


def _names(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def _last_name(call: ast.Call) -> str:
    return ast.unparse(call.func).rpartition(".")[2]


def _is_log(statement: ast.stmt) -> bool:
    if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Call):
        return False
    function = statement.value.func
    is_method = isinstance(function, ast.Attribute) and function.attr in LEVELS
    return is_method or ast.unparse(function) == "print"


def _is_for_typing_only(source: Source, node: ast.AST) -> bool:
    return any(isinstance(n, ast.If) and "TYPE_CHECKING" in ast.unparse(n.test) for n in source.above(node))


def _needs_nothing(method: Method) -> bool:
    """Whether a method can be called without arguments."""
    if method.function is None:
        return True
    arguments = method.function.node.args
    needed = len(arguments.posonlyargs + arguments.args) - len(arguments.defaults)
    return needed <= 1 and not any(default is None for default in arguments.kw_defaults)


def _method_names(cls: Class | External) -> list[str]:
    return [n.name for n in cls.node.body if isinstance(n, FunctionDefinition)] if isinstance(cls, Class) else []
