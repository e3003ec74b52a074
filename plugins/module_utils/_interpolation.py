# SPDX-License-Identifier: GPL-3.0-or-later
"""Compose's ``${VARIABLE:-default}``: https://docs.docker.com/reference/compose-file/interpolation/."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError

NAME = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")
OPERATOR = re.compile(r":?[-?+]")


def interpolate(value: Any, env: Mapping[str, str]) -> Any:
    """The value with its variables replaced; texts in lists and mappings too, keys not.

    :param env: the variables, those of ``.env`` for example; one that is not there is empty.
    :raises HotfixError: for a malformed ``${``, or a variable that ``${NAME:?}`` requires and that is missing.
    """
    if isinstance(value, str):
        return _text(value, env)
    if isinstance(value, Mapping):
        return {key: interpolate(item, env) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [interpolate(item, env) for item in value]
    return value


def _text(text: str, env: Mapping[str, str]) -> str:
    parts: list[str] = []
    position = 0
    while True:
        dollar = text.find("$", position)
        if dollar < 0:
            return "".join([*parts, text[position:]])
        parts.append(text[position:dollar])
        name = NAME.match(text, dollar + 1)
        if text.startswith("$$", dollar):
            parts.append("$")
            position = dollar + 2
        elif name:
            parts.append(env.get(name.group(), ""))
            position = name.end()
        elif text.startswith("${", dollar):
            position = _closing(text, dollar + 2)
            parts.append(_braced(text[dollar + 2 : position], env))
            position += 1
        else:
            raise HotfixError(
                "a dollar sign is not followed by a variable's name, which Compose refuses",
                remedy="Write $$ for a dollar sign",
            )


def _closing(text: str, position: int) -> int:
    """The ``}`` that closes the ``${`` before a position; variables may be nested in defaults."""
    depth = 1
    for match in re.compile(r"\$\{|\}").finditer(text, position):
        depth += 1 if match.group() == "${" else -1
        if depth == 0:
            return match.start()
    raise HotfixError("a ${ is not closed", remedy="Write the missing } or $$ for a dollar sign")


def _braced(inner: str, env: Mapping[str, str]) -> str:
    name = NAME.match(inner)
    operator = OPERATOR.match(inner, name.end()) if name else None
    if name is None or (operator is None and name.end() != len(inner)):
        raise HotfixError("a ${...} holds no valid variable", remedy="Write it as ${NAME} or ${NAME:-default}")
    value = env.get(name.group())
    if operator is None:
        return value or ""
    given = bool(value) if operator.group().startswith(":") else value is not None
    kind, rest = operator.group()[-1], inner[operator.end() :]
    if kind == "+":
        return _text(rest, env) if given else ""
    if given:
        return value or ""
    if kind == "?":
        raise HotfixError(f"the variable {name.group()} is required and has no value", remedy="Set it in .env")
    return _text(rest, env)
