# SPDX-License-Identifier: GPL-3.0-or-later
"""One service from several Compose files: https://docs.docker.com/reference/compose-file/merge/."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Lists and texts that a later file replaces as a whole.
REPLACED = (("command",), ("entrypoint",), ("healthcheck", "test"))
# Keys that may be written as a list of NAME=value or as a mapping.
ASSIGNMENTS = (
    ("environment",),
    ("labels",),
    ("annotations",),
    ("sysctls",),
    ("build", "args"),
    ("build", "labels"),
    ("deploy", "labels"),
)
Path = tuple[str, ...]
Tags = Mapping[tuple[Any, ...], str]


def normalised(service: Mapping[str, Any]) -> dict[str, Any]:
    """A service in its long forms: assignments as mappings, ``build`` as a mapping, ``env_file`` as a list of mappings.

    ``depends_on`` and ``networks`` become mappings too. Values stay as written, variables included.
    """
    data = {key: dict(value) if isinstance(value, Mapping) else value for key, value in service.items()}
    if isinstance(data.get("build"), str):
        data["build"] = {"context": data["build"]}
    for path in ASSIGNMENTS:
        holder = data if len(path) == 1 else data.get(path[0])
        if isinstance(holder, dict) and isinstance(holder.get(path[-1]), list):
            holder[path[-1]] = _assignments(holder[path[-1]])
    if "env_file" in data:
        entries = data["env_file"] if isinstance(data["env_file"], list) else [data["env_file"]]
        data["env_file"] = [
            {"path": entry, "required": True} if isinstance(entry, str) else entry for entry in entries if entry
        ]
    for name, default in (("depends_on", {"condition": "service_started"}), ("networks", None)):
        if isinstance(data.get(name), list):
            data[name] = {str(item): default for item in data[name]}
    return data


def _assignments(entries: list[Any]) -> dict[str, Any]:
    pairs = (str(entry).partition("=") for entry in entries)
    return {name: value if equals else None for name, equals, value in pairs}


def merge_service(base: Mapping[str, Any], over: Mapping[str, Any], tags: Tags) -> dict[str, Any]:
    """A service of a later file, or the one that extends, over an earlier one; both in long forms.

    :param tags: Compose's tags of ``over`` by path: ``!reset`` and ``!override``.
    """
    merged: dict[str, Any] = _merge(base, over, (), tags)
    return merged


def _merge(base: Any, over: Any, path: Path, tags: Tags) -> Any:
    if isinstance(base, Mapping) and isinstance(over, Mapping) and tags.get(path) != "!override":
        data = dict(base)
        for key, value in over.items():
            inner = (*path, key)
            if tags.get(inner) == "!reset":
                data.pop(key, None)
            elif key in data:
                data[key] = _merge(data[key], value, inner, tags)
            else:
                data[key] = value
        return data
    if isinstance(base, list) and isinstance(over, list) and path not in REPLACED and tags.get(path) != "!override":
        return base + [item for item in over if item not in base]
    # An empty key says nothing, except where emptiness is a value.
    return base if over is None and path[:1] != ("environment",) else over
