# SPDX-License-Identifier: GPL-3.0-or-later
"""Changing one value of a YAML text so that no other line differs.

Each edit is tried in the few ways that YAML's styles offer. A way is taken only if the new text, read again, means the
old document plus the change; if none does, the edit is refused and nothing has happened.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._yaml import (
    RESET,
    Key,
    Keys,
    Place,
    Reset,
    Span,
    Tree,
    loader_class,
    same,
)

with contextlib.suppress(ImportError):  # said by loader_class(), at the first use
    import yaml

ANCHORED = "it belongs to an anchor that is used in other places too"
REMEDY = "Set target to override, so that the change goes to an override file, or edit the file by hand"
STEP = 2  # columns, where the file shows no indentation of its own
# A text that YAML 1.1 and 1.2 readers alike take as it stands, in block and in flow style.
SAFE_PLAIN = re.compile(r"[^\s\x00-\x1f\x7f-\xa0\ud800-\udfff\u2028\u2029\ufeff\ufffe\uffff](?:.*\S)?")
UNPRINTABLE = re.compile("[\x7f-\x9f\ud800-\udfff\u2028\u2029\ufeff\ufffe\uffff]")
PROPERTIES = re.compile(r"(?:[&!][^\s,\[\]{}]*[ \t]*)+")
BLOCK_HEADER = re.compile(r"[|>][0-9+-]*")


class Edit(NamedTuple):
    """Replace ``text[start:end]``."""

    start: int
    end: int
    new: str


def dotted(keys: Keys) -> str:
    """A path as it is shown to people."""
    return ".".join(str(key) for key in keys)


def get(document: Any, keys: Keys, default: Any = None) -> Any:
    """The value at a path of plain data."""
    for key in keys:
        try:
            document = document[key if isinstance(document, list) else str(key)]
        except (KeyError, IndexError, TypeError):
            return default
    return document


def set_value(tree: Tree, keys: Keys, value: Any) -> Tree:
    """The tree with one value set; mappings on the way are made, mappings and lists are changed item by item.

    :raises HotfixError: when that cannot be done without touching something else.
    """
    keys = tuple(keys)
    _check_path(tree, keys)
    missing = object()
    current = get(tree.document, keys, missing)
    if (
        current is not missing
        and same(current, _plain(value))
        and _tags_inside(tree, keys) == _wanted_tags(keys, value)
    ):
        return tree
    place = tree.find(keys)
    if place is not None and place.alias is None and not place.inherited and current and value:
        if isinstance(current, dict) and isinstance(value, dict):
            return _set_mapping(tree, keys, current, value)
        if isinstance(current, list) and isinstance(value, list):
            return _set_list(tree, keys, current, value)
    return _verified(tree, keys, _assign(tree, keys, value), value)


def remove(tree: Tree, keys: Keys) -> Tree:
    """The tree without one value; a mapping that becomes empty stays, as ``{}``.

    :raises HotfixError: when that cannot be done without touching something else.
    """
    keys = tuple(keys)
    place = tree.find(keys)
    if place is None or place.parent is None:
        return tree
    reason = place.inherited
    if isinstance(place.parent, yaml.MappingNode) and any(
        key.value == keys[-1] for source in tree.merged(place.parent) for key, _value in source.value
    ):
        reason = "a merge key (<<) brings it in as well"
    _refuse_inherited(tree, keys, reason)
    return _verified(tree, keys, _without(tree, keys, place), _REMOVED)


def replace_span(tree: Tree, span: Span, new: str, keys: Keys, value: Any) -> Tree:
    """The tree with ``text[start:end]`` replaced, which must set the value at ``keys`` to ``value`` and nothing else.

    :raises HotfixError: when it does not.
    """
    keys = tuple(keys)
    place = tree.find(keys)
    if place is None:
        raise tree.error(f"{dotted(keys)} is not there")
    _refuse_inherited(tree, keys, place.inherited or (ANCHORED if tree.shared(place.node) else ""))
    return _verified(tree, keys, [_splice(tree.text, [Edit(span[0], span[1], new)])], value)


def scalar_span(tree: Tree, keys: Keys) -> tuple[int, int, str, Any]:
    """Start and end of a scalar's own text, its style (``plain``, ``'``, ``"``, ``|``, ``>``) and its value.

    :raises HotfixError: when there is none, or its text is shared with other places.
    """
    keys = tuple(keys)
    place = tree.find(keys)
    if place is None or not isinstance(place.node, yaml.ScalarNode):
        raise tree.error(f"{dotted(keys)} is no simple value")
    behind = f"it is the alias {tree.text[slice(*place.alias)]}" if place.alias else ""
    shared = ANCHORED if tree.shared(place.node) else ""
    _refuse_inherited(tree, keys, place.inherited or behind or shared)
    start, end = _value_start(tree, place), end_of(tree, place.node)
    return start, end, place.node.style or "plain", get(tree.document, keys)


_REMOVED = object()


def _check_path(tree: Tree, keys: tuple[Key, ...]) -> None:
    """Each step of a path must lead through a mapping, or to an item of a list or the one after its last."""
    for length, key in enumerate(keys):
        holder = get(tree.document, keys[:length])
        fits = key <= len(holder) if isinstance(holder, list) and isinstance(key, int) else isinstance(holder, dict)
        if (holder is not None and not fits) or (isinstance(holder, dict) and isinstance(key, int)):
            kind = "list long enough" if isinstance(key, int) else "mapping"
            message = f"{dotted(keys[:length]) or 'the document'} is no {kind}"
            raise tree.error(message, _line(tree, keys[:length]), "Edit the file by hand")
        if tree.tags.get(keys[:length]) == "!reset":
            message = f"{dotted(keys[:length])} is taken back here with !reset, so that nothing in it counts"
            raise tree.error(message, _line(tree, keys[:length]), "Edit the file by hand")


def _set_mapping(tree: Tree, keys: tuple[Key, ...], current: dict[str, Any], value: dict[str, Any]) -> Tree:
    for key, item in value.items():
        tree = set_value(tree, (*keys, key), item)
    for key in current:
        if key not in value:
            tree = remove(tree, (*keys, key))
    return tree


def _set_list(tree: Tree, keys: tuple[Key, ...], current: list[Any], value: list[Any]) -> Tree:
    for index, item in enumerate(value):
        tree = set_value(tree, (*keys, index), item)
    for index in range(len(current) - 1, len(value) - 1, -1):
        tree = remove(tree, (*keys, index))
    return tree


def _refuse_inherited(tree: Tree, keys: Keys, reason: str) -> None:
    if reason:
        raise tree.error(f"{dotted(keys)} cannot be changed here alone: {reason}", _line(tree, keys), REMEDY)


def _line(tree: Tree, keys: Keys) -> int:
    """The line of a value, or of the nearest one around the place where it would be."""
    place = tree.find(keys)
    while place is None and keys:
        keys = keys[:-1]
        place = tree.find(keys)
    return 1 if place is None else tree.line(place.alias[0] if place.alias else place.node.start_mark.index)


def _verified(tree: Tree, keys: tuple[Key, ...], candidates: Iterable[str], value: Any) -> Tree:
    """The first candidate that means the old document plus the change."""
    wanted = _changed(tree.document, keys, value)
    # Indices move when an item of a list goes, so the tags of the whole list are left out of the comparison.
    scope = keys[:-1] if isinstance(keys[-1], int) and value is _REMOVED else keys
    tags = {**_tags_outside(tree, scope), **_wanted_tags(keys, value)}
    for text in candidates:
        try:
            result = Tree(text, tree.path)
        except HotfixError:
            continue
        kept = _tags_outside(result, scope) if value is _REMOVED else result.tags
        if same(result.document if result.document is not None else {}, wanted) and kept == tags:
            return result
    message = f"{dotted(keys)} cannot be changed without changing something else as well"
    raise tree.error(message, _line(tree, keys), REMEDY)


def _tags_outside(tree: Tree, scope: tuple[Key, ...]) -> dict[tuple[Key, ...], str]:
    return {path: tag for path, tag in tree.tags.items() if path[: len(scope)] != scope}


def _tags_inside(tree: Tree, scope: tuple[Key, ...]) -> dict[tuple[Key, ...], str]:
    return {path: tag for path, tag in tree.tags.items() if path[: len(scope)] == scope}


def _wanted_tags(keys: tuple[Key, ...], value: Any) -> dict[tuple[Key, ...], str]:
    """The tags that a value brings along."""
    if isinstance(value, dict):
        return {path: tag for key, item in value.items() for path, tag in _wanted_tags((*keys, key), item).items()}
    return {keys: "!reset"} if value is RESET else {}


def _plain(value: Any) -> Any:
    """The value as it reads afterwards."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, Reset) else value


def _changed(document: Any, keys: Keys, value: Any) -> Any:
    """A copy of plain data with the value at a path set or removed."""
    if not keys:
        return _plain(value)
    key, rest = keys[0], keys[1:]
    if isinstance(document, list) and isinstance(key, int):
        items = list(document)
        if value is _REMOVED and not rest:
            del items[key]
        else:
            items[key : key + 1] = [_changed(items[key] if key < len(items) else None, rest, value)]
        return items
    data: dict[Any, Any] = dict(document or {})
    if value is _REMOVED and not rest:
        data.pop(key, None)
    else:
        data[key] = _changed(data.get(key), rest, value)
    return data


# --- where things are -------------------------------------------------------------------------------------------------


def _is_block(node: Any) -> bool:
    return isinstance(node, yaml.CollectionNode) and not node.flow_style


def end_of(tree: Tree, node: Any, alias: Span | None = None) -> int:
    """Where a value's own text ends: comments and blank lines after it are not part of it."""
    if alias is not None:
        return alias[1]
    end: int = node.end_mark.index
    if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
        body = tree.text[node.start_mark.index : end]
        header = BLOCK_HEADER.search(body)
        kept = header is not None and "+" in header.group()
        return end - len(_eol_before(tree.text, end) if kept else body[len(body.rstrip()) :])
    if not _is_block(node) or not node.value:
        return end
    last = node.value[-1]
    if isinstance(node, yaml.MappingNode):
        return end_of(tree, last[1], tree.alias(node, last[0]))
    return end_of(tree, last, tree.alias(node, len(node.value) - 1))


def _eol_before(text: str, position: int) -> str:
    return "\r\n" if text.endswith("\r\n", 0, position) else "\n" if text.endswith("\n", 0, position) else ""


def _eol(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _line_start(text: str, position: int) -> int:
    return text.rfind("\n", 0, position) + 1


def _next_line(text: str, position: int) -> int:
    """Where the line after the one that holds ``position`` starts; the end of the text on the last line."""
    newline = text.find("\n", position)
    return len(text) if newline < 0 else newline + 1


def _first_on_line(text: str, position: int) -> bool:
    return not text[_line_start(text, position) : position].strip("\ufeff \t")


def _after_key(tree: Tree, key: Any) -> int:
    """The position after a key's colon."""
    end: int = key.end_mark.index
    colon = re.compile(r"[ \t]*:").match(tree.text, end)
    return colon.end() if colon else end


def _value_start(tree: Tree, place: Place) -> int:
    """Where the value starts, after its anchor or tag if it has one."""
    if place.alias is not None:
        return place.alias[0]
    start: int = place.node.start_mark.index
    properties = PROPERTIES.match(tree.text, start, place.node.end_mark.index)
    return properties.end() if properties else start


def _splice(text: str, edits: Iterable[Edit]) -> str:
    for edit in sorted(edits, reverse=True):
        text = text[: edit.start] + edit.new + text[edit.end :]
    return text


def _step(tree: Tree, keys: Keys) -> int:
    """How far the file indents a mapping within a mapping, as near to the path as it shows one."""
    for length in range(len(keys), -1, -1):
        place = tree.find(keys[:length])
        if (
            place is None
            or place.inherited
            or not isinstance(place.node, yaml.MappingNode)
            or not _is_block(place.node)
        ):
            continue
        for key, value in place.node.value:
            if isinstance(value, yaml.MappingNode) and _is_block(value) and tree.alias(place.node, key) is None:
                step = value.value[0][0].start_mark.column - key.start_mark.column
                if step > 0:
                    return int(step)
    return STEP


# --- how values are written -------------------------------------------------------------------------------------------


def scalar(value: Any, quote: str | None = None) -> str:
    """A scalar on one line: a text in the given quotes, else plain where every reader takes it for that text."""
    if value is RESET:
        return "!reset null"
    if not isinstance(value, str):
        return json.dumps(value)
    if quote != '"' and not UNPRINTABLE.search(value) and not re.search(r"[\x00-\x1f]", value):
        if quote == "'":
            return "'" + value.replace("'", "''") + "'"
        if _reads_plain(value):
            return value
    return json.dumps(value, ensure_ascii=UNPRINTABLE.search(value) is not None)


def _reads_plain(value: str) -> bool:
    if not SAFE_PLAIN.fullmatch(value):
        return False
    try:
        return all(
            yaml.safe_load(text) == loader_class()(text).get_single_data() == [{"k": value}]
            for text in (f"- k: {value}\n", f"[{{k: {value}}}]")
        )
    except (yaml.YAMLError, ValueError):
        return False


def inline(value: Any, quote: str | None = None) -> str:
    """Any value on one line; texts in lists are quoted, as Compose's own examples have commands."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(str(k), quote)}: {inline(v, quote)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(inline(item, quote or '"') for item in value) + "]"
    return scalar(value, quote)


def _block(key: Any, value: Any, indent: str, step: int, quote: str | None) -> list[str]:
    """The lines of a key and its value in block style."""
    name = scalar(str(key), quote)
    if not isinstance(value, dict) or not value:
        return [f"{indent}{name}: {inline(value)}"]
    lines = [f"{indent}{name}:"]
    for inner, item in value.items():
        lines += _block(inner, item, indent + " " * step, step, None)
    return lines


def _key_quote(node: Any) -> str | None:
    """The quotes of a mapping's keys, when all of them have the same."""
    quotes = {key.style for key, _value in node.value}
    return quotes.pop() if len(quotes) == 1 else None


# --- setting ----------------------------------------------------------------------------------------------------------


def _assign(tree: Tree, keys: tuple[Key, ...], value: Any) -> Iterator[str]:
    """The ways to write a value at a path, best first."""
    if tree.document is None:
        yield _with_lines(tree.text, len(tree.text), _nested(keys, value, STEP))
        return
    parent = tree.find(keys[:-1])
    if parent is None or get(tree.document, keys[:-1]) is None:
        yield from _assign(tree, keys[:-1], {keys[-1]: value})
        return
    place = tree.find(keys)
    if place is not None and place.parent is parent.node:
        _refuse_inherited(tree, keys, place.inherited or (ANCHORED if _is_anchor_in_use(tree, place) else ""))
        yield from _replace(tree, keys, place, value)
        return
    reason = parent.inherited or (ANCHORED if parent.alias or tree.shared(parent.node) else "")
    _refuse_inherited(tree, keys[:-1], reason)
    yield from _insert(tree, keys, parent.node, value)


def _is_anchor_in_use(tree: Tree, place: Place) -> bool:
    return place.alias is None and tree.shared(place.node)


def _nested(keys: Keys, value: Any, step: int) -> list[str]:
    for key in reversed(keys[1:]):
        value = {key: value}
    return _block(keys[0], value, "", step, None)


def _with_lines(text: str, position: int, lines: list[str]) -> str:
    """The text with lines put before the line at ``position``; a text without a final newline stays one."""
    eol = _eol(text)
    new = eol.join(lines)
    if position == len(text) and text and not text.endswith("\n"):
        return text + eol + new
    return text[:position] + new + eol + text[position:]


def _cut(text: str, first: int, last: int) -> Edit:
    """Take out whole lines; a text without a final newline stays one."""
    if last == len(text) and not text.endswith("\n"):
        first -= len(_eol_before(text, first))
    return Edit(first, last, "")


def _replace(tree: Tree, keys: tuple[Key, ...], place: Place, value: Any) -> Iterator[str]:
    node, text = place.node, tree.text
    in_block_mapping = isinstance(place.parent, yaml.MappingNode) and _is_block(place.parent)
    keeps_flow = isinstance(node, yaml.CollectionNode) and not _is_block(node) and place.alias is None
    if isinstance(value, dict) and value and in_block_mapping and not keeps_flow:
        yield from _replace_by_lines(tree, keys, place, value)
        return
    start, end = _value_start(tree, place), end_of(tree, node, place.alias)
    quote = node.style if isinstance(node, yaml.ScalarNode) and not place.alias and node.style in ("'", '"') else None
    new = inline(value, quote)
    if place.alias is None and _is_block(node):
        if isinstance(place.key, int):
            yield _splice(text, [Edit(node.start_mark.index, end, new)])
            return
        first = _line_start(text, _first_child(node))
        after = _after_key(tree, place.key)
        properties = _properties_end(tree, place, after)
        lines = _cut(text, first, _next_line(text, end))
        yield _splice(text, [Edit(after, properties, f" {new}"), lines])
        # With the tag, where the rest of the document needs it.
        yield _splice(text, [Edit(properties, properties, f" {new}"), lines])
    elif place.alias is None and getattr(node, "style", None) in ("|", ">"):
        if isinstance(value, str):
            yield from _block_scalar(tree, place, start, end, value)
        header = BLOCK_HEADER.match(text, start)
        edits = [Edit(start, header.end() if header else start, new)]
        if _next_line(text, start) < end:
            edits.append(_cut(text, _next_line(text, start), _next_line(text, end)))
        yield _splice(text, edits)
    else:
        yield _splice(text, [Edit(start, end, _glue(tree, place, start, end) + new)])
        if place.alias is None and start > node.start_mark.index:
            # The tag before the value does not fit the new one.
            yield _splice(text, [Edit(node.start_mark.index, end, new)])


def _glue(tree: Tree, place: Place, start: int, end: int) -> str:
    """What has to stand before a value where there was none."""
    if start != end:
        return ""
    if isinstance(place.key, yaml.Node) and _after_key(tree, place.key) == place.key.end_mark.index:
        return ": "
    return "" if tree.text[start - 1 : start] in (" ", "\t") else " "


def _first_child(node: Any) -> int:
    first = node.value[0]
    return int((first[0] if isinstance(node, yaml.MappingNode) else first).start_mark.index)


def _properties_end(tree: Tree, place: Place, after: int) -> int:
    """The end of an anchor on the key's line, which goes with its block; else ``after``."""
    start = place.node.start_mark.index
    properties = PROPERTIES.match(tree.text, start)
    return max(after, start + len(properties.group().rstrip())) if properties else after


def _replace_by_lines(tree: Tree, keys: tuple[Key, ...], place: Place, value: dict[str, Any]) -> Iterator[str]:
    """Write a mapping in block style below its key."""
    text, key = tree.text, place.key
    step, column = _step(tree, keys), key.start_mark.column
    lines = [line for inner, item in value.items() for line in _block(inner, item, " " * (column + step), step, None)]
    start, end = _value_start(tree, place), end_of(tree, place.node, place.alias)
    if place.alias is None and _is_block(place.node):
        first, last = _line_start(text, _first_child(place.node)), _next_line(text, end)
        without = _splice(text, [_cut(text, first, last)])
        yield _with_lines(without, min(first, len(without)), lines)
        return
    edits, at = [], _next_line(text, end)
    if place.alias is None and getattr(place.node, "style", None) in ("|", ">"):
        header = BLOCK_HEADER.match(text, start)
        at = _next_line(text, start)
        edits.append(_cut(text, at, _next_line(text, end)))
        end = header.end() if header else start
    if start < end:
        blank = start - len(text[:start]) + len(text[:start].rstrip(" \t"))
        edits.append(Edit(blank, end, ""))
    without = _splice(text, edits)
    yield _with_lines(without, at - sum(edit.end - edit.start for edit in edits if edit.start < at), lines)


def _block_scalar(tree: Tree, place: Place, start: int, end: int, value: str) -> Iterator[str]:
    """Write a text in the block style (``|`` or ``>``) that is there already, if it can be."""
    text, style = tree.text, place.node.style
    body, last = value.rstrip("\n"), _next_line(text, end)
    first = _next_line(text, start)
    header = BLOCK_HEADER.match(text, start)
    lines = body.split("\n")
    newlines = len(value) - len(body)
    if header is None or not body or body[0] in " \t" or newlines > 1 or (style == ">" and len(lines) > 1):
        return
    old = next((line for line in text[first:last].splitlines() if line.strip()), "")
    if not old or UNPRINTABLE.search(body) or re.search("[0-9]", header.group()):
        return
    indent, eol = old[: len(old) - len(old.lstrip(" "))], _eol(text)
    new = eol.join(indent + line if line else "" for line in lines) + _eol_before(text, last)
    chomp = "-" if not newlines else "" if header.group() != f"{style}+" else "+"
    yield _splice(text, [Edit(start, header.end(), f"{style}{chomp}"), Edit(first, last, new)])


def _insert(tree: Tree, keys: tuple[Key, ...], node: Any, value: Any) -> Iterator[str]:
    """Add a key to a mapping or an item to a list: at its end, else wherever the document stays what it was."""
    if isinstance(node, yaml.SequenceNode):
        last = node.value[-1] if node.value else None
        quote = last.style if isinstance(last, yaml.ScalarNode) else None
        if not _is_block(node):
            yield from _insert_in_flow(tree, node, inline(value, quote))
        elif last is not None:
            column = _dash(tree, last) - _line_start(tree.text, last.start_mark.index)
            yield _after_pair(tree, node, len(node.value) - 1, [" " * column + "- " + inline(value, quote)])
        return
    quote = _key_quote(node)
    if not _is_block(node):
        yield from _insert_in_flow(tree, node, f"{scalar(str(keys[-1]), quote)}: {inline(value, quote)}")
        return
    step, column = _step(tree, keys[:-1]), node.value[0][0].start_mark.column
    lines = _block(keys[-1], value, " " * column, step, quote)
    for index in range(len(node.value) - 1, -1, -1):
        yield _after_pair(tree, node, index, lines)
    yield _with_lines(tree.text, _line_start(tree.text, node.value[0][0].start_mark.index), lines)


def _dash(tree: Tree, item: Any) -> int:
    """The position of the ``-`` before an item of a block list."""
    return tree.text.rfind("-", 0, item.start_mark.index)


def _after_pair(tree: Tree, node: Any, index: int, lines: list[str]) -> str:
    item = node.value[index]
    key, value = item if isinstance(node, yaml.MappingNode) else (index, item)
    end = end_of(tree, value, tree.alias(node, key))
    return _with_lines(tree.text, _next_line(tree.text, end), lines)


def _insert_in_flow(tree: Tree, node: Any, new: str) -> Iterator[str]:
    text, items = tree.text, _spans(tree, node)
    close = node.end_mark.index - 1
    if not items:
        properties = PROPERTIES.match(text, node.start_mark.index)
        opening = (properties.end() if properties else node.start_mark.index) + 1
        yield _splice(text, [Edit(opening, close, new)])
        return
    start, end = items[-1]
    if _first_on_line(text, start):
        # One item a line: the new line goes before the last one, whose line then needs no comma.
        first = _line_start(text, start)
        yield _with_lines(text, first, [f"{text[first:start]}{new},"])
    yield _splice(text, [Edit(end, end, f", {new}")])


# --- removing ---------------------------------------------------------------------------------------------------------


def _spans(tree: Tree, node: Any) -> list[Span]:
    """Where the items of a collection stand: pairs from key to end of value, items of a block list from their dash."""
    spans = []
    for index, item in enumerate(node.value):
        if isinstance(node, yaml.MappingNode):
            key, value = item
            spans.append((key.start_mark.index, end_of(tree, value, tree.alias(node, key)) or key.end_mark.index))
        else:
            alias = tree.alias(node, index)
            start = alias[0] if alias else item.start_mark.index
            if _is_block(node):
                start = tree.text.rfind("-", 0, start)
            spans.append((start, end_of(tree, item, alias)))
    return spans


def _without(tree: Tree, keys: tuple[Key, ...], place: Place) -> Iterator[str]:
    """The ways to take out an item of a mapping or list, best first."""
    text, parent = tree.text, place.parent
    spans = _spans(tree, parent)
    index = place.key if isinstance(place.key, int) else [key for key, _value in parent.value].index(place.key)
    start, end = spans[index]
    whole_lines = _cut(text, _line_start(text, start), _next_line(text, end))
    if len(spans) == 1 and len(keys) > 1:
        holder = tree.find(keys[:-1])
        if holder is not None:
            yield from _replace(tree, keys[:-1], holder, {} if isinstance(parent, yaml.MappingNode) else [])
        return
    rest = text[end : _next_line(text, end)]
    if _first_on_line(text, start) and (_is_block(parent) or re.fullmatch(r"[ \t]*,?[ \t]*(?:#.*)?\s*", rest)):
        yield _splice(text, [whole_lines])
        yield _splice(text, [whole_lines, *_outdented(text, _next_line(text, end), start - _line_start(text, start))])
    if index + 1 < len(spans):
        after = spans[index + 1][0]
        if "#" in text[end + len(rest) : after]:
            # That comment is about the next item.
            after = end + len(rest.rstrip())
        yield _splice(text, [Edit(start, after, "")])
    elif index > 0:
        before = spans[index - 1][1]
        # A comment stays, and with it the comma before it, which YAML takes before a closing bracket.
        yield _splice(text, [Edit(start if "#" in text[before:start] else before, end, "")])


def _outdented(text: str, position: int, column: int) -> Iterator[Edit]:
    """Put the comments after a position at a column: a block scalar that now ends above would take them as its text."""
    while position < len(text):
        end = _next_line(text, position)
        line = text[position:end]
        bare = line.lstrip(" \t")
        if bare.strip() and not bare.startswith("#"):
            return
        if bare.startswith("#") and len(line) - len(bare) > column:
            yield Edit(position, position + len(line) - len(bare), " " * column)
        position = end
