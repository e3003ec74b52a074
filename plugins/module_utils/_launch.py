# SPDX-License-Identifier: GPL-3.0-or-later
"""What Compose would run for a service, each word and variable with the place where it is written.

Put together from the Compose files, environment files and the Dockerfile, as Compose and Docker do it.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.composeops.hotfix.plugins.module_utils import _command_line as cl
from ansible_collections.composeops.hotfix.plugins.module_utils import _dockerfile, _dotenv
from ansible_collections.composeops.hotfix.plugins.module_utils._command_line import Text
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_file import ComposeFile, Project
from ansible_collections.composeops.hotfix.plugins.module_utils._files import read_bytes
from ansible_collections.composeops.hotfix.plugins.module_utils._sources import (
    BuiltImage,
    ComposeScalar,
    DotenvValue,
    PlainFile,
    Source,
)


class ImageConfig(NamedTuple):
    """What ``docker image inspect`` says an image runs."""

    name: str
    entrypoint: list[str]
    command: list[str]
    env: dict[str, str]
    workdir: str


class ConfigFile(NamedTuple):
    """A file of the container, found on the host."""

    path: str
    copied: bool


class Part(NamedTuple):
    """The entrypoint or the command.

    :ivar words: with the variables of Compose replaced.
    :ivar raw: as written.
    :ivar scalar: the number of the source, when Compose has it as one text.
    """

    words: list[Text]
    raw: list[Text]
    in_compose: bool
    scalar: int | None = None


NO_PART = Part([], [], False)


class Files:
    """Files as they are, or as they would be after a change.

    :ivar seen: what the files held that were read, by path.
    """

    def __init__(self, changed: Mapping[str, bytes] | None = None) -> None:
        self.changed = dict(changed or {})
        self.seen: dict[str, bytes] = {}

    def read(self, path: str) -> bytes:
        """The content of a file; see :func:`read_bytes`."""
        if path not in self.changed:
            self.seen[path] = read_bytes(path)
        return self.changed[path] if path in self.changed else self.seen[path]

    def text(self, path: str) -> str:
        """The content of a file as text from which the bytes can be made again."""
        return self.read(path).decode("utf-8", "surrogateescape")


class Launch:
    """What is run for a service.

    :ivar argv: the argument list, variables of Compose replaced.
    :ivar raw: the argument list as written.
    :ivar variables: the container's environment.
    :ivar command: what the argument list says.
    :ivar sources: what the source numbers of the places mean.
    """

    def __init__(self, project: Project, service: str, image: ImageConfig | None, files: Files) -> None:
        self.project, self.service, self.files = project, service, files
        self.data: dict[str, Any] = project.service(service)
        self.sources: list[Source] = []
        self.dotenv = {name: text for path in project.dotenv_paths() for name, text in self._dotenv(path).items()}
        self.built = self._image()
        self.config = image
        self.variables = self._variables()
        self.entrypoint = self._part("entrypoint")
        self.arguments = self._part("command")
        self.argv = self.entrypoint.words + self.arguments.words
        self.raw = self.entrypoint.raw + self.arguments.raw
        self.command = cl.parse(self.argv, self.variables.get)

    @property
    def workdir(self) -> str:
        """The container's working directory."""
        default = self.built.workdir if self.built else self.config.workdir if self.config else "/"
        return str(self._plain(self.data.get("working_dir")) or default or "/")

    def content(self, path: str) -> bytes | None:
        """What one of the files held when it was read; ``None``: there was no such file."""
        scalars = [source.file for source in self.sources if isinstance(source, ComposeScalar)]
        for file in [*self.project.files, *scalars]:
            if file.path == path:
                return file.data if file.exists else None
        return self.files.seen.get(path)

    def source_of(self, text: Text) -> Source | None:
        """What a text is written in, when it is written in one piece."""
        span = text.span()
        return self.sources[span.source] if span and span.source >= 0 else None

    def host_file(self, path: str) -> ConfigFile | None:
        """Where on the host a file of the container is: mounted, or copied into the image by the Dockerfile."""
        path = posixpath.normpath(posixpath.join(self.workdir, path))
        for source, target in self._mounts():
            inside = _inside(path, target)
            if inside is not None:
                host = os.path.normpath(os.path.join(self.project.directory, source, inside))
                return ConfigFile(host, False) if self._exists(host) else None
        for copy in reversed(self.built.copies if self.built else []):
            for source in copy.sources:
                origin = self._copied_from(path, source, copy)
                if origin and self._exists(origin):
                    return ConfigFile(origin, True)
        return None

    def add(self, source: Source) -> int:
        """Register a source and return its number."""
        self.sources.append(source)
        return len(self.sources) - 1

    def interpolated(self, text: Text) -> Text:
        """A text of a Compose file with its variables replaced, from ``.env`` or their defaults."""
        return cl.interpolate(text, self.dotenv.get)

    def _plain(self, value: object) -> str | None:
        """A value of a Compose file whose place does not matter."""
        return None if value is None else self.interpolated(Text.of(str(value), -1)).value

    def _exists(self, path: str) -> bool:
        return path in self.files.changed or os.path.isfile(path)

    def _dotenv(self, path: str, *, required: bool = False, raw: bool = False) -> dict[str, Text]:
        """The variables of an environment file."""
        if not required and not self._exists(path):
            return {}
        dialect = self.project.env_dialects().get(path, _dotenv.RAW) if raw else _dotenv.PORTABLE
        document = _dotenv.parse(self.files.read(path), path, dialect)
        return {
            name: Text.of(value, self.add(DotenvValue(document, name))) for name, value in document.variables.items()
        }

    def _scalar(self, kind: str, file: ComposeFile, keys: Sequence[Any], *, rebuild: bool = False) -> Text:
        source = ComposeScalar(kind, file, tuple(keys), rebuild)
        return Text.of(source.value, self.add(source))

    def _assignments(self, kind: str, path: tuple[str, ...], merged: object) -> dict[str, Text]:
        """Variables that Compose files set, in a mapping or a list; one without a value is taken from ``.env``."""
        found: dict[str, Text] = {}
        for name, value in merged.items() if isinstance(merged, Mapping) else ():
            located = self.project.locate(self.service, (*path, name))
            if located is None:
                continue
            text = self._scalar(kind, located.file, located.keys, rebuild=path[0] == "build")
            listed = isinstance(located.keys[-1], int)
            if value is None:
                inherited = self.dotenv.get(name)
                found.update({name: inherited} if inherited is not None else {})
            else:
                found[name] = self.interpolated(text.cut(len(name) + 1) if listed else text)
        return found

    def _variables(self) -> dict[str, Text]:
        """The container's environment: the image's, then environment files, then ``environment``."""
        found: dict[str, Text] = {}
        if self.config and self.built is None:
            image = self.config.name
            found.update({name: Text.of(value, self.add(BuiltImage(image))) for name, value in self.config.env.items()})
        found.update(self.built.env if self.built else {})
        for file in self.project.env_files(self.service):
            found.update(self._dotenv(file.path, required=file.required, raw=file.raw))
        found.update(self._assignments("compose_environment", ("environment",), self.data.get("environment")))
        return found

    def _image(self) -> _dockerfile.Image | None:
        build = self.data.get("build")
        if not isinstance(build, Mapping):
            return None
        arguments = self._assignments("compose_build_args", ("build", "args"), build.get("args"))
        target = self._plain(build.get("target")) or ""
        inline = self.project.locate(self.service, ("build", "dockerfile_inline"))
        if inline is not None:
            text = self._scalar("dockerfile_cmd", inline.file, inline.keys, rebuild=True)
            return _dockerfile.image(
                text.value, inline.file.path, target=target, arguments=arguments, source=len(self.sources) - 1
            )
        path = os.path.join(self.context, self._plain(build.get("dockerfile")) or "Dockerfile")
        if "://" in self.context or self.context.startswith("git@"):
            return None
        path = os.path.normpath(path)
        content = self.files.text(path)
        source = self.add(PlainFile("dockerfile_cmd", path, content, True))
        return _dockerfile.image(content, path, target=target, arguments=arguments, source=source)

    @property
    def context(self) -> str:
        """The build context: a directory, or the address of one."""
        build = self.data.get("build") or {}
        context = self._plain(build.get("context")) or "."
        return context if "://" in context else os.path.normpath(os.path.join(self.project.directory, context))

    def _part(self, key: str) -> Part:
        """The entrypoint or command: of Compose, else of the Dockerfile, else of the image."""
        value = self.data.get(key)
        located = self.project.locate(self.service, key) if value is not None else None
        if located is not None and isinstance(value, list):
            raw = [self._scalar("compose_command", located.file, (*located.keys, index)) for index in range(len(value))]
            return Part([self.interpolated(word) for word in raw], raw, True)
        if located is not None:
            text = self._scalar("compose_command", located.file, located.keys)
            source = len(self.sources) - 1
            return Part(cl.split(self.interpolated(text)), cl.split(text), True, source)
        if key == "command" and self.data.get("entrypoint") is not None:
            # An entrypoint in Compose makes the image's command void.
            return NO_PART
        own = (self.built.entrypoint if key == "entrypoint" else self.built.command) if self.built else None
        if own is not None:
            return Part(own, own, False)
        listed = (self.config.entrypoint if key == "entrypoint" else self.config.command) if self.config else []
        name = self.config.name if self.config else ""
        words = [Text.of(word, self.add(BuiltImage(name))) for word in listed]
        return Part(words, words, False)

    def _mounts(self) -> list[tuple[str, str]]:
        """Files and directories of the host in the container, longest target first."""
        found = []
        for volume in self.data.get("volumes") or []:
            if isinstance(volume, Mapping):
                pair = (self._plain(volume.get("source")) or "", self._plain(volume.get("target")) or "")
                kind = volume.get("type", "bind")
            else:
                fields = [*str(self._plain(volume)).split(":"), ""]
                pair, kind = (fields[0], fields[1]), "bind" if fields[0].startswith((".", "/", "~")) else "volume"
            if kind == "bind" and pair[1]:
                found.append((os.path.expanduser(pair[0]), posixpath.normpath(pair[1])))
        return sorted(found, key=lambda pair: -len(pair[1]))

    def _copied_from(self, path: str, source: str, copy: _dockerfile.Copy) -> str | None:
        """The file in the build context that a COPY puts at ``path`` in the image."""
        host = os.path.normpath(os.path.join(self.context, source.lstrip("/")))
        target = posixpath.normpath(copy.target)
        if os.path.isdir(host):
            inside = _inside(path, target)
            return os.path.join(host, inside) if inside else None
        into = copy.target.endswith(("/", "/.")) or len(copy.sources) > 1
        final = posixpath.join(target, posixpath.basename(source)) if into else target
        return host if path in (final, posixpath.join(target, posixpath.basename(source))) else None


def _inside(path: str, folder: str) -> str | None:
    """A path relative to a folder, empty for the folder itself; None when it is not inside."""
    if path == folder:
        return ""
    prefix = folder.rstrip("/") + "/"
    return path[len(prefix) :] if path.startswith(prefix) else None
