# SPDX-License-Identifier: GPL-3.0-or-later
"""Deciding which Compose file has to say what, so that a service ends up as it is wanted."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.composeops.hotfix.plugins.module_utils._compose_file import (
    RESET,
    ComposeFile,
    Project,
    locate_in,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._yaml import Keys, same
from ansible_collections.composeops.hotfix.plugins.module_utils._yaml_edit import dotted, get

POLICY = ("deploy", "restart_policy")
# Compose specification, services.restart; the engine refuses a number of attempts with the others.
RESTART = re.compile(r"no|always|unless-stopped|on-failure(:[0-9]+)?")
# Keys whose own keys may have dots in them.
DOTTED_NAMES = ("environment", "labels", "annotations", "sysctls")
Path = tuple[str, ...]


class Wanted(NamedTuple):
    """What a service is to say: values by path, and paths that must not be there."""

    values: dict[Path, Any]
    absent: list[Path]


def wanted(
    restart: str | None = None,
    deploy_restart_policy: Mapping[str, Any] | None = None,
    command: Any = None,
    environment: Mapping[str, Any] | None = None,
    absent: Sequence[str] | None = None,
) -> Wanted:
    """The module's options as paths in a service.

    :raises HotfixError: for a value that Compose would not take, and for a key both set and absent.
    """
    values: dict[Path, Any] = {}
    if restart is not None:
        # YAML 1.1 reads an unquoted no as false, and Ansible makes that a text.
        restart = "no" if restart in ("False", "false") else restart
        if not RESTART.fullmatch(restart):
            raise HotfixError(
                f"restart is '{restart}'", remedy="Give no, always, unless-stopped, on-failure or on-failure:<number>"
            )
        values["restart",] = restart
    if deploy_restart_policy is not None:
        values[POLICY] = {key: value for key, value in deploy_restart_policy.items() if value is not None}
        if not values[POLICY]:
            raise HotfixError("deploy_restart_policy is empty", remedy="Give a condition")
    if command is not None:
        values["command",] = _command(command)
    for name, value in (environment or {}).items():
        if not re.fullmatch(r"[^=\s\0]+", str(name)):
            raise HotfixError("environment has a name with a blank or an equals sign in it", remedy="Correct the name")
        values["environment", str(name)] = _variable(str(name), value)
    gone = [tuple(path.split(".", 1 if path.split(".")[0] in DOTTED_NAMES else -1)) for path in absent or []]
    for path in gone:
        if not all(path):
            raise HotfixError("absent holds an empty key", remedy="Write it as restart or deploy.restart_policy")
        if any(path[: len(other)] == other or other[: len(path)] == path for other in values):
            raise HotfixError(f"{dotted(path)} is to be set and to be absent", remedy="Decide for one")
    return Wanted(values, gone)


def _command(command: Any) -> str | list[str]:
    if isinstance(command, str) and command.strip():
        return command
    if (
        isinstance(command, list)
        and command
        and not any(isinstance(word, (dict, list)) or word is None for word in command)
    ):
        return [str(word) for word in command]
    raise HotfixError("command is neither a text nor a list of words", remedy="Give one of both")


def _variable(name: str, value: Any) -> str | None:
    if isinstance(value, (dict, list)):
        raise HotfixError(f"the value of {name} in environment is no text", remedy="Give a text or a number")
    return None if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def plan(project: Project, service: str, change: Wanted, *, override: bool = False) -> Project:
    """The project with its files changed so that the service is as wanted; compare the files to see which.

    :param override: change the override file only, which may not be there yet.
    :raises HotfixError: when that cannot be done without touching something else.
    """
    before = project
    project.service(service)
    for path, value in change.values.items():
        project = (_set_in_override if override else _set_in_source)(project, service, path, value)
    for path in change.absent:
        project = (_drop_in_override if override else _drop_in_source)(project, service, path)
    _check(project, service, change)
    _check_rest(before, project, service, change)
    check_others(before, project, service)
    return project


def changed_files(before: Project, after: Project) -> list[tuple[ComposeFile | None, ComposeFile]]:
    """The files that differ, each as it was (``None``: not there) and as it is to be."""
    old = {file.path: file for file in [*before.included, *before.files]}
    pairs = [(old.get(file.path), file) for file in [*after.included, *after.files]]
    return [(was, now) for was, now in pairs if was is None or was.text != now.text]


def _set_in_source(project: Project, service: str, path: Path, value: Any) -> Project:
    """Set a value where it comes from, else in the first file in which it counts: others may say ``!override``."""
    prefix = ("services", service)
    files = project.direct(service)
    holders = [file for file in files if locate_in(file, prefix, path) is not None]
    for file in files[files.index(holders[-1]) if holders else 0 :]:
        changed = project.replace(set_in(file, service, path, value))
        if path == POLICY:
            # What earlier files say besides would be merged in.
            for other in holders[:-1]:
                surplus = [key for key in other.get((*prefix, *path)) or {} if key not in value]
                changed = changed.replace(_without_keys(other, [(*prefix, *path, key) for key in surplus]))
        if _same(get(changed.service(service), path, RESET), value, path):
            break
    return changed


def _without_keys(file: ComposeFile, paths: Sequence[Keys]) -> ComposeFile:
    for path in paths:
        file = file.remove(path)
    return file


def set_in(file: ComposeFile, service: str, path: Path, value: Any) -> ComposeFile:
    """Set a service's value in a file in the form that it has there: a list of ``NAME=value``, a mapping, a number."""
    prefix = ("services", service)
    if path[0] != "environment":
        old = file.get((*prefix, *path))
        if isinstance(old, str) and isinstance(value, str) and path == ("command",):
            # A block text ends with a newline, which means nothing in a command.
            value = old if old.strip() == value.strip() else value + ("\n" if old.endswith("\n") else "")
        return file.set((*prefix, *path), value)
    variables = file.get((*prefix, "environment"))
    where = locate_in(file, prefix, path)
    if isinstance(variables, list):
        text = path[1] if value is None else f"{path[1]}={value}"
        return file.set(where or (*prefix, "environment", len(variables)), text)
    old = file.get(where) if where else None
    if where and old is not None and _variable(path[1], old) == value:
        return file
    if isinstance(old, int) and not isinstance(old, bool) and re.fullmatch(r"0|-?[1-9][0-9]*", str(value)):
        value = int(value)
    return file.set((*prefix, *path), value)


def _drop_in_source(project: Project, service: str, path: Path) -> Project:
    """Take a key out of each file that has it, and with it the mappings that have nothing else."""
    if get(project.service(service), path, RESET) is RESET:
        return project
    for file in reversed(project.direct(service)):
        if get(project.service(service), path, RESET) is not RESET:
            project = project.replace(_drop_in(file, service, path))
    return project


def _drop_in(file: ComposeFile, service: str, path: Path) -> ComposeFile:
    """Take a key out of one file, and the mappings on the way that have nothing else."""
    prefix = ("services", service)
    where = locate_in(file, prefix, path)
    if where is None:
        return file
    # An empty mapping with !override still says something.
    while len(where) > len(prefix) + 1 and len(file.get(where[:-1])) == 1 and where[:-1] not in file.tags():
        where = where[:-1]
    return file.remove(where)


def _override(project: Project) -> ComposeFile:
    path = project.override_path()
    known = [file for file in project.files if file.path == path]
    return known[0] if known else ComposeFile.parse(b"", path, exists=False)


def _below(project: Project, file: ComposeFile, service: str) -> dict[str, Any]:
    """The service as the other files describe it."""
    others = project.without(file)
    return others.service(service) if service in others.names() else {}


def _set_in_override(project: Project, service: str, path: Path, value: Any) -> Project:
    """Set a value in the override file, unless the service has it already."""
    if _same(get(project.service(service), path, RESET), value, path):
        return project
    file = _override(project)
    if path == POLICY:
        below = get(_below(project, file, service), path) or {}
        value = {**value, **{key: RESET for key in below if key not in value}}
    return project.replace(set_in(file, service, path, value))


def _drop_in_override(project: Project, service: str, path: Path) -> Project:
    """Take a key out of the override file, and let the override file take it out of what other files say."""
    if get(project.service(service), path, RESET) is RESET:
        return project
    file = _override(project)
    if file.exists:
        dropped = project.replace(_drop_in(file, service, path))
        if get(dropped.service(service), path, RESET) is RESET:
            return dropped
    if path[0] in DOTTED_NAMES:
        _check_reset(project, file, service, path)
    return project.replace(file.set(("services", service, *path), RESET))


def _check_reset(project: Project, file: ComposeFile, service: str, path: Path) -> None:
    """Compose (2.40, 5.6) applies ``!reset`` to one mapping: it makes a list of several, and takes no item from one."""
    everywhere = project.locations(service, path[:-1])
    places = [place for place in everywhere if place.file.path != file.path]
    lists = [place for place in everywhere if isinstance(place.file.get(place.keys), list)]
    direct = [file.path for file in project.direct(service)]
    if lists or len(places) > 1:
        place = lists[-1] if lists else places[0]
        what = "is a list" if lists else "is put together from several mappings"
        in_source = place.keys[1] == service and place.file.path in direct
        raise HotfixError(
            f"{dotted(path[:-1])} {what}, from which an override file cannot take {path[-1]} away",
            path=place.file.path,
            line=place.file.line(place.keys),
            remedy="Set target to source" if in_source else "Take it away there by hand",
        )


def _same(left: Any, right: Any, path: Path) -> bool:
    if left is RESET:
        return False
    if path[0] == "environment":
        return left == right or (left is not None and _variable(path[-1], left) == right)
    if isinstance(left, str) and isinstance(right, str):
        return left.strip() == right.strip()
    return bool(left == right)


def _check(project: Project, service: str, change: Wanted) -> None:
    """The merged service must be as wanted, whatever other files, ``extends`` or merge keys add."""
    merged = project.service(service)
    for path, value in change.values.items():
        if not _same(get(merged, path, RESET), value, path):
            located = project.locate(service, path)
            raise HotfixError(
                f"{dotted(path)} of service {service} is changed again by another file",
                path=located.file.path if located else project.home(service).path,
                line=located.file.line(located.keys) if located else 1,
                remedy="Name all Compose files with the option files, or edit that file by hand",
            )
    for path in change.absent:
        located = project.locate(service, path)
        if get(merged, path, RESET) is not RESET and located is not None:
            raise HotfixError(
                f"service {service} takes over {dotted(path)} from another service",
                path=located.file.path,
                line=located.file.line(located.keys),
                remedy="Set target to override, or change that service",
            )


def _check_rest(before: Project, after: Project, service: str, change: Wanted) -> None:
    """Everything else that the files together say of the service must be as before."""
    merged = after.service(service)
    expected = before.service(service)
    for path in change.values:
        expected = _put(expected, path, get(merged, path))
    for path in change.absent:
        expected = _put(expected, path, RESET)
    left, right = _without_empty(expected), _without_empty(merged)
    different = sorted(key for key in {**left, **right} if not same(left.get(key), right.get(key)))
    if different:
        file = next((now for _was, now in changed_files(before, after)), after.home(service))
        raise HotfixError(
            f"{' and '.join(different)} of service {service} cannot be changed without changing something else as well",
            path=file.path,
            line=file.line(("services", service)),
            remedy="Edit the file by hand",
        )


def _put(document: Mapping[str, Any], path: Path, value: Any) -> dict[str, Any]:
    """A copy of a mapping with the value at a path set, or taken away if it is :data:`RESET`."""
    data = dict(document)
    if len(path) > 1:
        data[path[0]] = _put(data.get(path[0]) or {}, path[1:], value)
    elif value is RESET:
        data.pop(path[0], None)
    else:
        data[path[0]] = value
    return data


def _without_empty(document: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping without the mappings in it that say nothing, and at its top without empty keys."""
    inner = {key: _nested(value) for key, value in document.items()}
    return {key: value for key, value in inner.items() if value is not None and value != {}}


def _nested(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    inner = {key: _nested(item) for key, item in value.items()}
    return {key: item for key, item in inner.items() if item != {}}


def check_others(before: Project, after: Project, service: str) -> None:
    """Other services, which extend the changed one or are extended by it, must not change with it.

    :raises HotfixError: naming the first one that would.
    """
    for name in before.names() if changed_files(before, after) else ():
        if name != service and not same(before.service(name), after.service(name)):
            place = before.locate(name, "extends") or before.locate(service, "extends")
            raise HotfixError(
                f"service {name} would change too, since one of {name} and {service} extends the other",
                path=place.file.path if place else before.home(name).path,
                line=place.file.line(place.keys) if place else 1,
                remedy="Set target to override, or give each a key of its own first",
            )
