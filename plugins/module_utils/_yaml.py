# SPDX-License-Identifier: GPL-3.0-or-later
"""A YAML text with the place of every value in it, read as Compose reads it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple, Union

from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError

try:
    import yaml

    HAS_YAML = True
except ImportError:  # said by loader_class(), at the first use
    HAS_YAML = False

Key = Union[str, int]
Keys = Sequence[Key]
Span = tuple[int, int]

PREFIX = "tag:yaml.org,2002:"
MERGE = PREFIX + "merge"
# What plain scalars mean to Compose's reader (go.yaml.in/yaml/v3, resolve.go): unlike PyYAML it takes `no` and `on` for
# words, and knows no base 60. Dates stay text, since nothing here needs them.
PLAIN = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("merge", r"<<", "<"),
    ("int", r"[-+]?(?:0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*)", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
     "-+.0123456789"),
)  # fmt: skip
# What PyYAML quotes of a text that it takes for a name.
NAMED = re.compile(r"\b(alias|anchor|tag handle) (?:'[^']*'|\"[^\"]*\")")
# A file whose aliases expand to more values than this is an attack or a mistake; Compose refuses such files as well.
MOST_VALUES = 1_000_000


class Reset:
    """The value that is written ``!reset null``: Compose then forgets what earlier files said."""


RESET = Reset()


class Place(NamedTuple):
    """Where a value is written.

    ``node``, ``parent`` and ``key`` are PyYAML's (a sequence has indices for keys); ``alias`` is the span of ``*name``
    when that is what stands there; ``inherited`` says why an edit inside would change more than this value, if it does.
    """

    node: Any
    parent: Any
    key: Any
    alias: Any
    inherited: str


@cache
def loader_class() -> Any:
    """PyYAML's loader with Compose's rules, which also remembers where aliases are.

    :raises HotfixError: when PyYAML is missing.
    """
    if not HAS_YAML:
        raise HotfixError(
            "the Python library PyYAML is missing on this host", remedy="Install it: apt-get install python3-yaml"
        )

    class Loader(yaml.SafeLoader):
        def __init__(self, stream: str) -> None:
            super().__init__(stream)
            self.aliases: dict[tuple[int, int], Span] = {}
            self.uses: Counter[int] = Counter()

        def scan_to_next_token(self) -> None:
            # PyYAML takes no tab between tokens; YAML and Compose do, except in indentation.
            super().scan_to_next_token()
            while self.peek() == "\t" and (self.flow_level or not self.allow_simple_key):
                while self.peek() in (" ", "\t"):
                    self.forward()
                super().scan_to_next_token()

        def scan_block_scalar_ignored_line(self, start_mark: Any) -> None:
            # As above: after the | or > of a block.
            while self.peek() in (" ", "\t"):
                self.forward()
            super().scan_block_scalar_ignored_line(start_mark)

        def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
            event = self.peek_event()
            node = super().compose_node(parent, index)
            if isinstance(event, yaml.AliasEvent) and event.start_mark and event.end_mark:
                place = (id(parent), index if isinstance(index, int) else id(index))
                self.aliases[place] = (event.start_mark.index, event.end_mark.index)
                self.uses[id(node)] += 1
            return node

    # None of PyYAML's own rules.
    Loader.yaml_implicit_resolvers = {}
    for name, pattern, first in PLAIN:
        initials = ["" if letter == "\0" else letter for letter in first]
        Loader.add_implicit_resolver(PREFIX + name, re.compile(f"^(?:{pattern})$"), initials)
    return Loader


class Tree:
    """One YAML document: its text, its meaning, and the place of each value.

    :ivar document: the plain data; keys are texts; ``None`` for a text without content.
    :ivar tags: Compose's own tags by path, such as ``!reset`` and ``!override``.
    """

    def __init__(self, text: str, path: str) -> None:
        """Read a text.

        :raises HotfixError: naming the line, when it is no YAML, or such YAML as Compose refuses.
        """
        self.text = text
        self.path = path
        self.tags: dict[tuple[Key, ...], str] = {}
        self._budget = MOST_VALUES
        self._open: set[int] = set()
        loader_type = loader_class()
        try:
            loader = loader_type(text)
            self.root: yaml.Node | None = loader.get_single_node()
            self._aliases: dict[tuple[int, int], Span] = loader.aliases
            self._uses: Counter[int] = loader.uses
            self.document: Any = None if self.root is None else self._build(self.root, ())
        except yaml.YAMLError as error:
            raise self._syntax_error(error) from None
        except RecursionError:
            raise self.error("the YAML is nested too deeply", 1) from None

    def error(self, message: str, line: int | None = None, remedy: str | None = None) -> HotfixError:
        """An error about this file."""
        return HotfixError(message, path=self.path, line=line, remedy=remedy)

    def find(self, keys: Keys) -> Place | None:
        """Where the value at a path is written, aliases and merge keys followed; ``None`` when there is none."""
        if self.root is None:
            return None
        place = Place(self.root, None, None, None, "")
        for key in keys:
            step = self._child(place, key)
            if step is None:
                return None
            place = step
        return place

    def alias(self, parent: yaml.Node, key: yaml.Node | int) -> Span | None:
        """The span of ``*name``, when that is what is written at a place."""
        return self._aliases.get((id(parent), key if isinstance(key, int) else id(key)))

    def shared(self, node: yaml.Node) -> bool:
        """Whether aliases elsewhere mean this very node."""
        return self._uses[id(node)] > 0

    def line(self, position: int) -> int:
        """The line of a position in the text, counted from 1."""
        return self.text.count("\n", 0, position) + 1

    def walk(self) -> Iterator[tuple[str, yaml.ScalarNode]]:
        """All scalar values with the name of their key (an empty one in sequences), in the order of the text."""
        seen: set[int] = set()
        stack: list[tuple[str, yaml.Node]] = [] if self.root is None else [("", self.root)]
        while stack:
            name, node = stack.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            if isinstance(node, yaml.ScalarNode):
                yield name, node
            elif isinstance(node, yaml.SequenceNode):
                stack.extend(("", item) for item in reversed(node.value))
            else:
                stack.extend((str(key.value), value) for key, value in reversed(node.value))

    def _child(self, place: Place, key: Key) -> Place | None:
        inherited = place.inherited
        if not inherited and place.alias is not None:
            inherited = f"it stands behind the alias {self.text[slice(*place.alias)]}"
        elif not inherited and self.shared(place.node):
            inherited = "it belongs to an anchor that is used in other places too"
        node = place.node
        if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and 0 <= key < len(node.value):
            return Place(node.value[key], node, key, self.alias(node, key), inherited)
        if not isinstance(node, yaml.MappingNode):
            return None
        for key_node, value in node.value:
            if key_node.tag != MERGE and key_node.value == key:
                return Place(value, node, key_node, self.alias(node, key_node), inherited)
        for source in self.merged(node):
            found = self._child(Place(source, None, None, None, ""), key)
            if found is not None:
                return found._replace(inherited="it comes from a merge key (<<)")
        return None

    def merged(self, node: yaml.MappingNode) -> list[yaml.MappingNode]:
        """The mappings that ``<<`` brings into a mapping, strongest first."""
        sources: list[yaml.MappingNode] = []
        for key_node, value in node.value:
            if key_node.tag == MERGE:
                sources += value.value if isinstance(value, yaml.SequenceNode) else [value]
        for source in sources:
            if not isinstance(source, yaml.MappingNode):
                raise self.error("the merge key << needs a mapping", self.line(source.start_mark.index))
        return sources

    def _build(self, node: Any, path: tuple[Key, ...]) -> Any:
        self._budget -= 1
        line = node.start_mark.line + 1
        if self._budget < 0:
            raise self.error("the aliases expand to more values than Compose would accept", line)
        if id(node) in self._open:
            raise self.error("an anchor contains itself", line)
        if node.tag.startswith("!"):
            self.tags[path] = node.tag
        if node.tag == "!reset":
            return None
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        self._open.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            data: Any = [self._build(item, (*path, index)) for index, item in enumerate(node.value)]
        else:
            data = self._mapping(node, path)
        self._open.discard(id(node))
        return data

    def _mapping(self, node: Any, path: tuple[Key, ...]) -> dict[str, Any]:
        own: dict[str, Any] = {}
        for key_node, value in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise self.error("a key must be a simple text", line)
            key = str(key_node.value)
            if key in own:
                raise self.error(f"the key {key} is there twice in one mapping, which Compose refuses", line)
            own[key] = None if key_node.tag == MERGE else self._build(value, (*path, key))
        if any(key_node.tag == MERGE for key_node, _value in node.value):
            del own["<<"]
            for source in self.merged(node):
                for key, data in self._build(source, (*path, "<<")).items():
                    own.setdefault(key, data)
        return own

    def _syntax_error(self, error: Any) -> HotfixError:
        """PyYAML's messages quote a value only where they take it for the name of an anchor: ``PASSWORD: *x9K``."""
        remedy = "Correct the YAML"
        mark = getattr(error, "problem_mark", None)
        if mark is None:
            position = getattr(error, "position", 0)
            return self.error("not readable as YAML: it holds a control character", self.line(position), remedy)
        if "single document" in str(getattr(error, "context", "")):
            return self.error(
                "the file holds several YAML documents", mark.line + 1, "Split it into one Compose file for each"
            )
        problem = NAMED.sub(r"\1", error.problem)
        if problem != error.problem:
            remedy = "Correct the name, or put a value that begins with *, & or ! in quotes"
        return self.error(f"not readable as YAML: {problem}", mark.line + 1, remedy)


def _scalar(node: yaml.ScalarNode) -> Any:
    kind, text = node.tag[len(PREFIX) :] if node.tag.startswith(PREFIX) else "str", node.value
    try:
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        if kind == "int":
            return _integer(text.replace("_", ""))
        if kind == "float":
            return float(text.lower().replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:
        pass
    return text


def _integer(text: str) -> int:
    octal = re.fullmatch(r"([-+]?)0o?([0-7]+)", text)
    return int(octal.group(1) + octal.group(2), 8) if octal else int(text, 0)


def same(left: Any, right: Any) -> bool:
    """Whether two documents mean the same; unlike ``==`` it tells ``1``, ``1.0`` and ``true`` apart."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(value, right[key]) for key, value in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and (left == right or repr(left) == repr(right))  # NaN differs from itself
