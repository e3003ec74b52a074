# SPDX-License-Identifier: GPL-3.0-or-later
"""Which lines of a Compose file belong to a key: the judge of edits, by another YAML reader than the one under test."""

from __future__ import annotations

import copy
import difflib
from functools import cache
from typing import Any

import yaml


class Reader(yaml.SafeLoader):
    """Another reader than the one under test; an alias is a value of its own, at its own place."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        node = super().compose_node(parent, index)
        if isinstance(event, yaml.AliasEvent):
            node = copy.copy(node)
            node.start_mark, node.end_mark, node.flow_style = event.start_mark, event.end_mark, True
        return node


@cache
def root_of(text: str) -> Any:
    """The nodes; PyYAML takes no tab before a comment, and a blank instead keeps each line and column."""
    return yaml.compose(text.replace("\t", " "), Reader)


def last_line(node: Any) -> int:
    """The last line of a value's own text, counted from 0, without the comments and blank lines behind."""
    if isinstance(node, yaml.ScalarNode):
        if node.style in ("|", ">"):
            body = node.end_mark.buffer[node.start_mark.pointer : node.end_mark.pointer]
            kept = "+" in body.partition("\n")[0]
            return int(node.start_mark.line) + (body[:-1] if kept else body.rstrip()).count("\n")
        return int(node.end_mark.line)
    if node.flow_style or not node.value:
        return int(node.end_mark.line)
    last = node.value[-1]
    return last_line(last[1] if isinstance(node, yaml.MappingNode) else last)


def child(node: Any, key: str) -> tuple[int, int] | None:
    """The index of a key in a mapping or of a ``NAME=value`` in a list, and the line on which its text starts."""
    for index, item in enumerate(node.value if isinstance(node, yaml.CollectionNode) else ()):
        start = item[0] if isinstance(node, yaml.MappingNode) else item
        if start.value == key or (isinstance(node, yaml.SequenceNode) and str(start.value).partition("=")[0] == key):
            return index, start.start_mark.line
    return None


def value_at(node: Any, index: int) -> Any:
    return node.value[index][1] if isinstance(node, yaml.MappingNode) else node.value[index]


def own_lines(text: str, path: tuple[str, ...]) -> set[int]:
    """The lines that belong to a path, counted from 0: those of its key and value, and in flow style the commas around.

    Where there is no such key, the lines that have to change to make place for it: the empty value or the flow
    collection that it would be in.
    """
    node, start = root_of(text), 0
    for depth, key in enumerate(path):
        found = child(node, key) if node is not None else None
        if found is None:
            in_block = node is None or (isinstance(node, yaml.CollectionNode) and node.value and not node.flow_style)
            return set() if in_block else set(range(start, last_line(node) + 1))
        index, start = found
        value = value_at(node, index)
        if isinstance(node, yaml.SequenceNode) and not node.flow_style:
            start = text.count("\n", 0, text.rfind("-", 0, node.value[index].start_mark.index))
        if depth == len(path) - 1:
            end = last_line(value)
            if node.flow_style:
                start = last_line(value_at(node, index - 1)) if index else node.start_mark.line
                end = first_line(node, index + 1) if index + 1 < len(node.value) else node.end_mark.line
            return set(range(start, end + 1))
        node = value
    return set()


def common(path: tuple[str, ...], text: str) -> tuple[str, ...]:
    """The path up to the first of its keys that a text does not have: mappings on the way come and go with the key."""
    node = root_of(text)
    for depth, key in enumerate(path):
        found = child(node, key)
        if found is None:
            return path[: depth + 1]
        node = value_at(node, found[0])
    return path


def emptied(text: str, other: str, path: tuple[str, ...]) -> set[int]:
    """The lines of the keys on the way to a path of which one of the texts says that they are empty, ``{}``."""
    nodes, lines = [root_of(text), root_of(other)], set()
    for key in path:
        found = [child(node, key) for node in nodes]
        if None in found or None in nodes:
            break
        nodes = [value_at(node, place[0]) for node, place in zip(nodes, found) if place]
        if any(isinstance(node, yaml.MappingNode) and not node.value for node in nodes):
            lines.add(found[0][1])
    return lines


def first_line(node: Any, index: int) -> int:
    item = node.value[index]
    return int((item[0] if isinstance(node, yaml.MappingNode) else item).start_mark.line)


def outdented(old: list[str], new: list[str], own: set[int]) -> int:
    """How many comments at the end of both differ in their indentation only, below a line of our own."""
    count = 0
    for was, now in zip(reversed(old), reversed(new)):
        if not was.lstrip().startswith("#") or was.lstrip() != now.lstrip():
            break
        count += 1
    above = [number for number, line in enumerate(old) if line.strip() and not line.lstrip().startswith("#")]
    return count if above and above[-1] in own else 0


def foreign_lines(before: str, after: str, paths: list[tuple[str, ...]]) -> list[str]:
    """The lines of the difference that belong to none of the paths; an end of line that the file lacks is no line.

    Neither is a comment that is put less far in where a line before it goes.
    """
    ours = [
        set().union(*(own_lines(text, common(path, other)) | emptied(text, other, path) for path in paths))
        for text, other in ((before, after), (after, before))
    ]
    end = "\r\n" if "\r\n" in before else "\n"
    old, new = (
        (text if not text or text.endswith("\n") else text + end).splitlines(keepends=True) for text in (before, after)
    )
    found = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind != "equal":
            moved = outdented(old[:b], new[c:d], ours[0])
            found += [f"-{old[line]}" for line in range(a, b - moved) if line not in ours[0]]
            found += [f"+{new[line]}" for line in range(c, d - moved) if line not in ours[1]]
    return found
