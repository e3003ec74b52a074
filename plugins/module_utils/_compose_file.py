# SPDX-License-Identifier: GPL-3.0-or-later
"""Compose projects: which files Compose loads, what they say together, and changing one value of one of them.

Facts about Compose were established with its versions 2.40.3 and 5.6.1.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.composeops.hotfix.plugins.module_utils import _dotenv, _yaml_edit
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_merge import merge_service, normalised
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_policy import effective_restart_policy
from ansible_collections.composeops.hotfix.plugins.module_utils._container import RestartPolicy
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._files import read_bytes
from ansible_collections.composeops.hotfix.plugins.module_utils._interpolation import interpolate
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import (
    SECRET_NAME,
    fingerprint,
    mask,
    secret_values,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._yaml import RESET, Key, Keys, Span, Tree

__all__ = [
    "RESET",
    "ComposeFile",
    "Located",
    "Project",
    "RestartPolicy",
    "Scalar",
    "discover",
    "effective_restart_policy",
    "interpolate",
]

# compose-go, cli/options.go: DefaultFileNames, DefaultOverrideFileNames. The first that exists of each; any pair fits.
BASE_NAMES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
OVERRIDE_NAMES = (
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
)
# Who has named a project's files.
BY_OPTION = "the option files"


def discover(project_src: str, files: Sequence[str] | None = None) -> list[str]:
    """The Compose files of a project in the order in which Compose merges them, as absolute paths.

    :param files: those the operator names, relative to ``project_src``; else COMPOSE_FILE of the project's ``.env``;
        else the files that Compose looks for, in that directory only.
    :raises HotfixError: naming what was looked for.
    """
    return _discover(project_src, files)[0]


def _discover(project_src: str, files: Sequence[str] | None) -> tuple[list[str], str]:
    """The files, and who named them: ``""`` when Compose's own names were looked for."""
    source = os.path.abspath(project_src)
    if not os.path.isdir(source):
        raise HotfixError("there is no such directory", path=project_src, remedy="Check project_src")
    named, who = (list(files), BY_OPTION) if files else _from_dotenv(source)
    if named:
        paths = [os.path.normpath(os.path.join(source, name)) for name in named]
        for path in paths:
            if not os.path.isfile(path):
                raise HotfixError(
                    f"{who} names this Compose file, which is not there", path=path, remedy=f"Check {who}"
                )
        return paths, who
    found = [path for path in (os.path.join(source, name) for name in BASE_NAMES) if os.path.isfile(path)]
    if not found:
        raise HotfixError(
            f"there is no Compose file; looked for {', '.join(BASE_NAMES)}",
            path=project_src,
            remedy="Check project_src, or name the files with the option files",
        )
    overrides = [path for path in (os.path.join(source, name) for name in OVERRIDE_NAMES) if os.path.isfile(path)]
    return found[:1] + overrides[:1], ""


def _from_dotenv(source: str) -> tuple[list[str], str]:
    path = os.path.join(source, ".env")
    if not os.path.isfile(path):
        return [], ""
    variables = _dotenv.variables(read_bytes(path), path)
    if "COMPOSE_FILE" not in variables:
        return [], ""
    names = variables["COMPOSE_FILE"].split(variables.get("COMPOSE_PATH_SEPARATOR") or ":")
    if not all(names):
        raise HotfixError("COMPOSE_FILE holds an empty name, which Compose refuses", path=path, remedy="Correct it")
    return names, f"COMPOSE_FILE in {path}"


class Scalar(NamedTuple):
    """Where a scalar is written: ``text[start:end]``, style ``plain``, ``'``, ``"``, ``|`` or ``>``, and value."""

    start: int
    end: int
    style: str
    value: Any


class ComposeFile:
    """One Compose file; edits give a new object and leave the file alone.

    :ivar path: the absolute path.
    :ivar text: the content, line endings and byte order mark included.
    :ivar document: the content as plain data, keys as texts.
    :ivar exists: whether there is such a file yet.
    """

    def __init__(self, tree: Tree, *, exists: bool = True) -> None:
        self.path = tree.path
        self.text = tree.text
        self.exists = exists
        self._tree = tree
        self.document: dict[str, Any] = tree.document if tree.document is not None else {}
        if not isinstance(self.document, dict):
            raise tree.error("a Compose file must be a mapping at its top", 1, "Check that it is the file you mean")

    @classmethod
    def load(cls, path: str) -> ComposeFile:
        """Read a file.

        :raises HotfixError: naming file and line, when it is no such YAML as Compose reads.
        """
        return cls.parse(read_bytes(path), path)

    @classmethod
    def parse(cls, data: bytes, path: str, *, exists: bool = True) -> ComposeFile:
        """Read a content; see :meth:`load`."""
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise HotfixError("the file is not UTF-8", path=path, line=line, remedy="Save it as UTF-8") from None
        return cls(Tree(text, path), exists=exists)

    @property
    def data(self) -> bytes:
        """The content as it is written to disk."""
        return self.text.encode("utf-8")

    def get(self, keys: Keys, default: Any = None) -> Any:
        """The value at a path, such as ``("services", "backend", "command")``; list items have their index as key."""
        return _yaml_edit.get(self.document, keys, default)

    def tags(self) -> dict[tuple[Key, ...], str]:
        """Compose's own tags by path: ``!reset`` and ``!override``."""
        return self._tree.tags

    def line(self, keys: Keys) -> int | None:
        """The line, counted from 1, where the value at a path starts; aliases and merge keys are followed."""
        place = self._tree.find(keys)
        if place is None:
            return None
        return self._tree.line(place.alias[0] if place.alias else place.node.start_mark.index)

    def node(self, keys: Keys) -> Scalar:
        """Where the scalar at a path is written, so that a part of it can be replaced with :meth:`replace_span`.

        :raises HotfixError: when there is no scalar, or it is written where other values share it.
        """
        start, end, style, value = _yaml_edit.scalar_span(self._tree, keys)
        return Scalar(start, end, style, value)

    def set(self, keys: Keys, value: Any) -> ComposeFile:
        """Set one value; mappings on the way are made, and only lines of that key differ.

        :param value: text, number, true/false, ``None``, list, mapping, or :data:`RESET`.
        :raises HotfixError: when it cannot be done without touching something else.
        """
        return self._with(_yaml_edit.set_value(self._tree, keys, value))

    def remove(self, keys: Keys) -> ComposeFile:
        """Remove one key or list item; nothing happens when it is not there.

        :raises HotfixError: when it cannot be done without touching something else.
        """
        return self._with(_yaml_edit.remove(self._tree, keys))

    def replace_span(self, start: int, end: int, text: str, *, keys: Keys, value: Any) -> ComposeFile:
        """Replace ``text[start:end]``, after which the value at ``keys`` must be ``value`` and all else as before.

        :raises HotfixError: when it is not.
        """
        return self._with(_yaml_edit.replace_span(self._tree, (start, end), text, keys, value))

    def redacted(self) -> str:
        """The text without secrets: values of secret names as fingerprints, what looks like a secret masked."""
        text = self.text
        for (start, end), value in sorted(self._secrets().items(), reverse=True):
            text = text[:start] + fingerprint(value) + text[end:]
        secrets = self.secrets()
        return "".join(mask(line, secrets) for line in text.splitlines(keepends=True))

    def secrets(self) -> frozenset[str]:
        """The secret values in the file."""
        found = {value for value in self._secrets().values() if value}
        for name, node in self._tree.walk():
            found |= secret_values({name: node.value})
            found |= secret_values(dict([node.value.split("=", 1)])) if "=" in node.value else set()
        return frozenset(value for value in found if "${" not in value)

    def _secrets(self) -> dict[Span, str]:
        """The spans of values whose name sounds secret, as ``NAME: value`` or ``- NAME=value``."""
        spans = {}
        for name, node in self._tree.walk():
            start, end = node.start_mark.index, _yaml_edit.end_of(self._tree, node)
            if (
                name
                and SECRET_NAME.search(name)
                and node.value
                and "$" not in node.value
                and not node.tag.endswith(("bool", "null"))
            ):
                spans[start, end] = node.value
            listed, equals, value = node.value.partition("=")
            if not name and equals and SECRET_NAME.search(listed) and value and "$" not in value:
                at = self.text.find("=", start, end) + 1
                spans[at, end - (node.style in ("'", '"'))] = value
        return {span: value for span, value in spans.items() if span[0] < span[1]}

    def _with(self, tree: Tree) -> ComposeFile:
        return self if tree is self._tree else ComposeFile(tree, exists=self.exists)


class Located(NamedTuple):
    """Where a service's value is written: a file and the path in it, with the index of a list's item if it is one."""

    file: ComposeFile
    keys: tuple[Key, ...]


class EnvFile(NamedTuple):
    """An environment file of a service: its absolute path, read raw or as Compose reads others, and needed or not."""

    path: str
    raw: bool
    required: bool


class Layer(NamedTuple):
    """One place that says something about a service; ``direct``: a file of the project says it of this very service."""

    file: ComposeFile
    service: str
    direct: bool


class Project:
    """A Compose project as its files describe it.

    :ivar project_src: the absolute path of the directory in which Compose is started.
    :ivar directory: that of the first file; relative paths in the files start there.
    :ivar files: the files in the order in which Compose merges them.
    :ivar included: files that those ``include``, which come before them.
    """

    def __init__(
        self,
        project_src: str,
        files: Sequence[ComposeFile],
        named_by: str = "",
        others: Mapping[str, ComposeFile] | None = None,
    ) -> None:
        self.project_src = project_src
        self.files = list(files)
        self.directory = os.path.dirname(self.files[0].path)
        self.included: list[ComposeFile] = []
        self._named_by = named_by
        self._others = dict(others or {})
        for file in self.files:
            self._include(file)

    @classmethod
    def load(cls, project_src: str, files: Sequence[str] | None = None) -> Project:
        """Read a project.

        :param files: as for :func:`discover`.
        :raises HotfixError: for the first file that is missing or not readable.
        """
        paths, named_by = _discover(project_src, files)
        return cls(os.path.abspath(project_src), [ComposeFile.load(path) for path in paths], named_by)

    def replace(self, *files: ComposeFile) -> Project:
        """The project with changed files in the place of those with the same path; a new one comes last."""
        new = {file.path: file for file in files}
        kept = [new.pop(file.path, file) for file in self.files]
        others = {path: new.pop(path, file) for path, file in self._others.items()}
        return Project(self.project_src, kept + list(new.values()), self._named_by, others)

    def without(self, file: ComposeFile) -> Project:
        """The project without one of its files."""
        kept = [other for other in self.files if other.path != file.path]
        return Project(self.project_src, kept, self._named_by, self._others)

    def names(self) -> list[str]:
        """The names of the services."""
        found: dict[str, None] = {}
        for file in [*self.included, *self.files]:
            found.update(dict.fromkeys(_services(file)))
        return list(found)

    def service(self, name: str) -> dict[str, Any]:
        """A service merged as Compose merges it, in long forms (see ``normalised``), variables as written.

        :raises HotfixError: for an unknown service, naming those that exist.
        """
        merged: dict[str, Any] = {}
        for layer in self._layers(name):
            prefix = ("services", layer.service)
            tags = {path[2:]: tag for path, tag in layer.file.tags().items() if path[:2] == prefix}
            merged = merge_service(merged, normalised(layer.file.get(prefix) or {}), tags)
        merged.pop("extends", None)
        return merged

    def resolved(self, name: str) -> dict[str, Any]:
        """The service with the variables of the project's ``.env`` filled in. It may hold secrets."""
        data: dict[str, Any] = interpolate(self.service(name), self.variables())
        return data

    def dependencies(self, name: str) -> list[str]:
        """The services that have to run for ``name`` to run, nearest first; not those that it waits for to complete."""
        found: list[str] = []
        waiting = [name]
        while waiting:
            for other, wait in (self.service(waiting.pop(0)).get("depends_on") or {}).items():
                if wait["condition"] != "service_completed_successfully" and other not in (name, *found):
                    found.append(other)
                    waiting.append(other)
        return found

    def env_files(self, name: str) -> list[EnvFile]:
        """The environment files of a service, weakest first."""
        found = []
        for entry in interpolate(self.service(name).get("env_file") or [], self.variables()):
            path = os.path.normpath(os.path.join(self.directory, str(entry.get("path") or "")))
            required = str(entry.get("required", True)).lower() != "false"
            found.append(EnvFile(path, entry.get("format") == "raw", required))
        return found

    def env_dialects(self) -> dict[str, str]:
        """The dialect (see ``_dotenv.DIALECTS``) in which to write the project's ``.env`` and each environment file.

        It is what all services that read the file understand; Compose itself reads the project's ``.env``.
        """
        uses = [(path, False) for path in self.dotenv_paths()]
        uses += [(file.path, file.raw) for name in self.names() for file in self.env_files(name)]
        readers: dict[str, set[bool]] = {}
        for path, raw in uses:
            readers.setdefault(os.path.realpath(path), set()).add(raw)
        dialects = {(False,): _dotenv.PORTABLE, (True,): _dotenv.RAW, (False, True): _dotenv.BARE}
        return {path: dialects[tuple(sorted(readers[os.path.realpath(path)]))] for path, _raw in uses}

    def variables(self) -> dict[str, str]:
        """What the project's environment files set; nothing when there are none."""
        found: dict[str, str] = {}
        for path in self.dotenv_paths():
            found.update(_dotenv.variables(read_bytes(path), path) if os.path.isfile(path) else {})
        return found

    def dotenv_paths(self) -> list[str]:
        """Where Compose (2.40, 5.6) looks for variables, weakest first; these files need not exist.

        It takes the ``.env`` beside the first Compose file, and before that the one in the directory where it is
        started, except when the Compose files are named by options.
        """
        paths = [self.directory] if self._named_by == BY_OPTION else [self.directory, self.project_src]
        return [os.path.join(path, ".env") for path in dict.fromkeys(paths)]

    def locate(self, service: str, key: str | Sequence[str]) -> Located | None:
        """Where the effective value of a service's key is written; ``None`` when nothing sets it.

        :param key: such as ``"command"`` or ``("environment", "WEB_CONCURRENCY")``.
        """
        found = self.locations(service, (key,) if isinstance(key, str) else key)
        return found[-1] if found else None

    def locations(self, service: str, keys: Sequence[str]) -> list[Located]:
        """Every place that says something about a service's key, weakest first; those it takes over count too."""
        layers = self._layers(service)
        found = ((layer.file, locate_in(layer.file, ("services", layer.service), keys)) for layer in layers)
        return [Located(file, where) for file, where in found if where is not None]

    def where(self, service: str, key: str | Sequence[str]) -> ComposeFile | None:
        """The file that the effective value of a key comes from; see :meth:`locate`."""
        found = self.locate(service, key)
        return found.file if found else None

    def home(self, service: str) -> ComposeFile:
        """The first file of the project that describes the service: where a new key of it belongs."""
        return self.direct(service)[0]

    def direct(self, service: str) -> list[ComposeFile]:
        """The files that describe this very service, weakest first; those it only extends are left out."""
        return [layer.file for layer in self._layers(service) if layer.direct]

    def override_path(self) -> str:
        """The override file that Compose loads, or would load if it were there.

        :raises HotfixError: when Compose would not load one, because its files are named one by one.
        """
        if not self._named_by:
            if len(self.files) > 1:
                return self.files[-1].path
            stem, extension = os.path.splitext(self.files[0].path)
            return f"{stem}.override{extension}"
        for file in reversed(self.files[1:]):
            if ".override." in os.path.basename(file.path):
                return file.path
        raise HotfixError(
            f"Compose would not load an override file, since {self._named_by} names its files and none is called "
            "*.override.*",
            path=self.project_src,
            remedy="Add one to that list, or set target to source",
        )

    def _layers(self, name: str) -> list[Layer]:
        files = [file for file in [*self.included, *self.files] if name in _services(file)]
        if not files:
            exist = ", ".join(self.names()) or "none"
            where = ", ".join(os.path.basename(file.path) for file in self.files)
            raise HotfixError(
                f"there is no service {name} in {where}; there is {exist}",
                path=self.project_src,
                remedy="Check the option service",
            )
        return [layer for file in files for layer in self._with_bases(file, name, True, ())]

    def _with_bases(
        self, file: ComposeFile, name: str, direct: bool, seen: tuple[tuple[str, str], ...]
    ) -> Iterator[Layer]:
        """What a service extends, weakest first, then the service itself, as one file describes it."""
        if (file.path, name) in seen:
            raise HotfixError(f"service {name} extends itself", path=file.path, remedy="Break the circle")
        extends = file.get(("services", name, "extends"))
        if isinstance(extends, str):
            extends = {"service": extends}
        if isinstance(extends, Mapping) and extends.get("service"):
            base = str(extends["service"])
            other = self._other(file, extends["file"]) if extends.get("file") else file
            if base not in _services(other):
                line = file.line(("services", name, "extends"))
                raise HotfixError(
                    f"service {name} extends {base}, which is not in {os.path.basename(other.path)}",
                    path=file.path,
                    line=line,
                    remedy="Correct the key extends",
                )
            yield from self._with_bases(other, base, False, (*seen, (file.path, name)))
        yield Layer(file, name, direct)

    def _other(self, file: ComposeFile, name: Any) -> ComposeFile:
        """A file named in another one, read once."""
        path = os.path.normpath(os.path.join(os.path.dirname(file.path), str(interpolate(name, self.variables()))))
        known = {item.path: item for item in self.files}
        if path not in known and path not in self._others:
            self._others[path] = ComposeFile.load(path)
        return known.get(path) or self._others[path]

    def _include(self, file: ComposeFile) -> None:
        for entry in file.document.get("include") or []:
            paths = entry.get("path") if isinstance(entry, Mapping) else entry
            for name in paths if isinstance(paths, list) else [paths]:
                # Compose also takes remote ones (git, oci); they cannot be edited and are left to it.
                if not isinstance(name, str) or re.match(r"[a-z]+:|[^/]+@|https?://", name):
                    continue
                other = self._other(file, name)
                if other not in self.included and other not in self.files:
                    self._include(other)
                    self.included.append(other)


def _services(file: ComposeFile) -> dict[str, Any]:
    services = file.document.get("services")
    if services is None:
        return {}
    if not isinstance(services, dict):
        raise HotfixError("services is no mapping", path=file.path, line=file.line(("services",)))
    for name, body in services.items():
        if body is not None and not isinstance(body, dict):
            raise HotfixError(f"service {name} is no mapping", path=file.path, line=file.line(("services", name)))
    return services


def locate_in(file: ComposeFile, prefix: Sequence[Key], keys: Sequence[str]) -> tuple[Key, ...] | None:
    """The path of a key below a prefix, looked up in mappings and in lists of ``NAME=value``; ``None`` if not there."""
    path = tuple(prefix)
    for key in keys:
        holder = file.get(path)
        if isinstance(holder, dict) and key in holder:
            path = (*path, key)
            continue
        names = [str(item).partition("=")[0] for item in holder] if isinstance(holder, list) else []
        if key not in names:
            return None
        path = (*path, len(names) - 1 - names[::-1].index(key))
    return path
