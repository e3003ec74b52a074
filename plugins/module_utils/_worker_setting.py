# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a service's number of workers really comes from, and changing it there.

Strongest first, as the programs do it (uvicorn 0.54, gunicorn 27):
uvicorn: ``--workers``, ``UVICORN_WORKERS``, ``WEB_CONCURRENCY``, 1;
gunicorn: ``--workers``, ``GUNICORN_CMD_ARGS``, configuration file, ``WEB_CONCURRENCY``, 1.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from ansible_collections.composeops.hotfix.plugins.module_utils import _command_line as cl
from ansible_collections.composeops.hotfix.plugins.module_utils import _gunicorn
from ansible_collections.composeops.hotfix.plugins.module_utils._command_line import Text
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_change import check_others
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_file import ComposeFile, Project, locate_in
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._launch import ConfigFile, Files, Launch, Part
from ansible_collections.composeops.hotfix.plugins.module_utils._sources import (
    BuiltImage,
    ComposeScalar,
    DotenvValue,
    PlainFile,
)

CMD_ARGS = "GUNICORN_CMD_ARGS"
CONCURRENCY = "WEB_CONCURRENCY"
DEFAULT_CONFIG = "./gunicorn.conf.py"
# Variables that people set in the belief that something reads them.
WORKERS_NAME = re.compile(r"(?:^|_)WORKERS?(?:_|$)|^WEB_CONCURRENCY$", re.IGNORECASE)
REMEDY = "Use target: override, which sets WEB_CONCURRENCY, or edit what it starts by hand"


class Place(NamedTuple):
    """Where something is written; ``default`` for a number that nothing sets."""

    file: str | None
    line: int | None
    kind: str


class Setting(NamedTuple):
    """The number of workers, and what sets it.

    :ivar number: None when it is computed, or out of sight.
    :ivar name: ``--workers``, a variable, or ``workers`` of a configuration file; empty when nothing sets it.
    :ivar text: the number as written; None when nothing sets it.
    :ivar hidden: why nothing can be said, when that is so.
    :ivar weaker: other places that set a number to no effect.
    """

    server: str | None
    number: int | None
    name: str
    text: Text | None
    place: Place
    rebuild: bool
    hidden: str | None
    weaker: list[str]


class Change(NamedTuple):
    """The content of the one file that has to be written, and the state after that.

    :ivar file: the same, when it is a Compose file.
    :ivar project: the project after the change.
    """

    path: str
    data: bytes
    file: ComposeFile | None
    project: Project
    setting: Setting
    notes: list[str]


def find(launch: Launch) -> Setting:
    """What sets the number of workers of a service.

    :raises HotfixError: for a gunicorn configuration file that cannot be understood.
    """
    command = launch.command
    if command.server is None:
        return Setting(None, None, "", None, Place(None, None, "default"), False, _hidden(launch), [])
    found = [(name, text) for name, text in _candidates(launch) if text.value.strip()]
    weaker = [
        f"{name} {_written(locate(launch, text))} is overruled by {found[0][0]}."
        for name, text in found[1:]
        if text.places != found[0][1].places
    ]
    if command.reload and command.server == "uvicorn":
        weaker.append("uvicorn ignores the number of workers as long as --reload is given.")
    if not found:
        unseen = _config_name(launch) not in (None, DEFAULT_CONFIG) and _config_file(launch) is None
        number = None if unseen else 1
        if unseen:
            weaker.append(f"The configuration file {_config_name(launch)} is not among the project's files.")
        return Setting(command.server, number, "", None, Place(None, None, "default"), False, None, weaker)
    name, text = found[0]
    written = _as_written(launch, text)
    source = launch.source_of(written)
    rebuild = source is not None and source.rebuild
    place = locate(launch, written)
    return Setting(command.server, cl.number(text), name, text, place, rebuild, None, weaker + _inert(launch, text))


def _hidden(launch: Launch) -> str:
    if launch.argv:
        return launch.command.opaque or "no server is started"
    image = launch.built.base if launch.built else launch.data.get("image", "")
    return f"the command comes from the image {image}, which is not on this host to look at"


def _candidates(launch: Launch) -> Iterator[tuple[str, Text]]:
    """All that sets the number, strongest first."""
    config = _config_file(launch)
    return given(launch.command, launch.variables, _config_setting(launch, config) if config else None)


def given(
    command: cl.ServerCommand, variables: Mapping[str, Text], config: Text | None = None
) -> Iterator[tuple[str, Text]]:
    """All that sets the number for a command in an environment, strongest first.

    :param config: what gunicorn's configuration file sets, if there is one to look at.
    """
    variables = {**variables, **command.assignments}
    if command.count is not None:
        yield "--workers", command.count
    if command.server == "gunicorn":
        count = cl.cmd_args(variables[CMD_ARGS]).count if CMD_ARGS in variables else None
        if count is not None:
            yield CMD_ARGS, count
        if config is not None:
            yield "workers", config
    for name in ("UVICORN_WORKERS", CONCURRENCY) if command.program == "uvicorn" else (CONCURRENCY,):
        if name in variables:
            yield name, variables[name]


def first(candidates: Iterable[tuple[str, Text]]) -> Text | None:
    """The strongest of those that :func:`given` says; an empty variable sets nothing."""
    return next((text for _name, text in candidates if text.value.strip()), None)


def _variable(launch: Launch, name: str) -> Text | None:
    return launch.command.assignments.get(name, launch.variables.get(name))


def _config_name(launch: Launch) -> str | None:
    """The configuration file that gunicorn reads, as its path in the container."""
    if launch.command.server != "gunicorn":
        return None
    arguments = _variable(launch, CMD_ARGS)
    name = launch.command.config or (cl.cmd_args(arguments).config if arguments else None) or DEFAULT_CONFIG
    if name.startswith("python:"):
        return name[len("python:") :].replace(".", "/") + ".py"
    return name[len("file:") :] if name.startswith("file:") else name


def _config_file(launch: Launch) -> ConfigFile | None:
    name = _config_name(launch)
    return launch.host_file(name) if name else None


def _config_setting(launch: Launch, config: ConfigFile) -> Text | None:
    text, encoding = _gunicorn.decode(launch.files.read(config.path), config.path)
    source = launch.add(PlainFile("gunicorn_config", config.path, text, config.copied, encoding))
    return _gunicorn.setting(text, config.path, lookup=launch.variables.get, source=source)


def locate(launch: Launch, text: Text) -> Place:
    """File, line and kind of the place where a text is written."""
    source = launch.source_of(text)
    span = text.span()
    if source is None or span is None:
        return Place(None, None, "default")
    kind = source.kind
    if kind == "dockerfile_cmd" and launch.built and _among(text, [*launch.built.env.values(), *_arguments(launch)]):
        kind = "dockerfile_env"
    return Place(source.path or None, source.line(span.start, span.end), kind)


def _as_written(launch: Launch, text: Text) -> Text:
    """A text with the dollar signs that a Compose file doubles: what a shell computes is replaced as a whole."""
    numbers = {source for source, _offset in text.places}
    source = launch.sources[min(numbers)] if len(numbers) == 1 and min(numbers) >= 0 else None
    if not isinstance(source, ComposeScalar):
        return text
    start, end = text.places[0][1], text.places[-1][1] + 1
    start -= source.value[max(start - 1, 0) : start + 1] == "$$"
    stretch = source.value[start:end]
    return Text.of(stretch, min(numbers), start) if stretch.replace("$$", "$") == text.value else text


def _arguments(launch: Launch) -> list[Text]:
    return list(launch.built.arguments.values()) if launch.built else []


def _among(text: Text, values: list[Text]) -> bool:
    return any(set(text.places) <= set(value.places) for value in values)


def _written(place: Place) -> str:
    return f"in {place.file}:{place.line}" if place.file and place.line else f"in {place.file or 'the image'}"


def _inert(launch: Launch, text: Text | None) -> list[str]:
    """Variables in ``.env`` that look as if they set the number, and do not."""
    read = {name for name, _value in _candidates(launch)}
    return [
        f"{name} {_written(locate(launch, value))} has no effect: nothing takes the number of workers from it."
        for name, value in launch.dotenv.items()
        if WORKERS_NAME.search(name)
        and value.value
        and not (text is not None and _among(text, [value]))
        and not (name in read and name in launch.variables)
    ]


def change(launch: Launch, setting: Setting, workers: int, *, override: bool) -> Change:
    """Set the number of workers, and prove by reading everything again that it is what will count.

    :param override: write to the override file instead of where the number comes from.
    :raises HotfixError: when it cannot be done, or would have no effect.
    """
    editor = _Editor(launch, setting, workers)
    path, data = editor.in_override() if override else editor.in_source()
    project, file = launch.project, None
    known = {file.path for file in project.files} | {s.path for s in launch.sources if isinstance(s, ComposeScalar)}
    if path in known or editor.made == path:
        file = ComposeFile.parse(data, path, exists=path in known)
        project = project.replace(file)
        check_others(launch.project, project, launch.service)
    after = Launch(project, launch.service, launch.config, Files({**launch.files.changed, path: data}))
    result = find(after)
    if setting.hidden:
        place = locate(after, after.variables[CONCURRENCY])
        return Change(path, data, file, project, result._replace(place=place), editor.notes)
    if result.number != workers:
        raise HotfixError(
            f"setting {setting.name or '--workers'} to {workers} would have no effect here",
            path=path,
            remedy="Use target: override, or edit the file by hand",
        )
    if not override:
        _check_alone(launch, after, setting)
    return Change(path, data, file, project, result, editor.notes + ([] if override else _others(launch, setting)))


def _check_alone(before: Launch, after: Launch, setting: Setting) -> None:
    """Refuse a change that changes another argument of the command as well, through a variable that both use."""
    pairs = zip(before.argv, after.argv) if len(before.argv) == len(after.argv) else ()
    changed = [old.value for old, new in pairs if old.value != new.value]
    if len(changed) > 1:
        raise HotfixError(
            f"the variable that holds the number of workers sets other arguments of {setting.server} too",
            path=setting.place.file,
            line=setting.place.line,
            remedy="Use target: override, or give the other arguments a variable of their own",
        )


def _others(launch: Launch, setting: Setting) -> list[str]:
    """Other services that use the variable of ``.env`` which is changed."""
    source = launch.source_of(setting.text) if setting.text is not None else None
    if not isinstance(source, DotenvValue) or source.name not in launch.dotenv:
        return []
    used = re.compile(rf"\$\{{?{re.escape(source.name)}(?!\w)")
    names = [name for name in launch.project.names() if name != launch.service]
    users = [name for name in names if used.search(json.dumps(launch.project.service(name), default=str))]
    return [f"{source.name} is used by {', '.join(users)} as well, where it changes too."] if users else []


class _Editor:
    """Writes a number; each method returns the path and the new content of one file.

    :ivar made: the path of an override file that was not there.
    """

    def __init__(self, launch: Launch, setting: Setting, workers: int) -> None:
        self.launch, self.setting, self.number = launch, setting, str(workers)
        self.notes: list[str] = []
        self.made: str | None = None

    def in_source(self) -> tuple[str, bytes]:
        """Change the number where it comes from, or add it where it belongs."""
        if self.setting.hidden:
            raise HotfixError(f"the number of workers cannot be seen: {self.setting.hidden}", remedy=REMEDY)
        text = self.setting.text
        if text is None:
            return self._added()
        written = _as_written(self.launch, text)
        source, span = self.launch.source_of(written), written.span()
        if isinstance(source, BuiltImage):
            self.notes.append("The number is in the image, so that the Compose file has to say otherwise.")
            return self._say_otherwise(self.launch.project.home(self.launch.service))
        if source is None or span is None:
            raise HotfixError(
                f"the number of workers is put together from several pieces ({text.value})",
                remedy="Write the number itself there, or use target: override",
            )
        if isinstance(source, PlainFile) and source.kind == "gunicorn_config":
            _gunicorn.check(source.text, source.path)
        if self.setting.number is None:
            self.notes.append(f"The expression {text.value} is replaced as a whole.")
        return source.replace(span.start, span.end, self.number)

    def in_override(self) -> tuple[str, bytes]:
        """Say in the override file what overrules the place where the number comes from."""
        path = self.launch.project.override_path()
        if self.setting.place.file == path:
            return self.in_source()
        known = [file for file in self.launch.project.files if file.path == path]
        self.made = None if known else path
        file = known[0] if known else ComposeFile.parse(b"", path, exists=False)
        if self.setting.hidden:
            self.notes.append(
                f"It is not certain that this takes effect: {self.setting.hidden}. WEB_CONCURRENCY counts unless what "
                "it starts gives --workers itself."
            )
        return self._say_otherwise(file)

    def _say_otherwise(self, file: ComposeFile) -> tuple[str, bytes]:
        """Set the variable that the number comes from, or else carry the whole command with the new number."""
        text, name = self.setting.text, self.setting.name
        by_config = name == "workers" or (text is None and self.launch.command.server == "gunicorn")
        if text is None and not (by_config and self.setting.number is None):
            return self._environment(file, CONCURRENCY, self.number)
        named = [key for key, value in self.launch.variables.items() if text is not None and _among(text, [value])]
        if named and text is not None and name not in self.launch.command.assignments:
            value = self.launch.variables[named[0]]
            start = value.places.index(text.places[0])
            new = value.value[:start] + self.number + value.value[start + len(text.value) :]
            return self._environment(file, named[0], new)
        if by_config:
            options = self.launch.variables[CMD_ARGS].value + " " if CMD_ARGS in self.launch.variables else ""
            return self._environment(file, CMD_ARGS, f"{options}--workers={self.number}")
        return self._command(file)

    def _environment(self, file: ComposeFile, name: str, value: str) -> tuple[str, bytes]:
        value = value.replace("$", "$$")
        prefix = ("services", self.launch.service, "environment")
        keys = locate_in(file, prefix[:2], ("environment", name))
        listed = file.get(prefix)
        if isinstance(listed, list):
            file = file.set(keys or (*prefix, len(listed)), f"{name}={value}")
        else:
            file = file.set((*prefix, name), value)
        return file.path, file.data

    def _command(self, file: ComposeFile) -> tuple[str, bytes]:
        """The whole command with only the number replaced; what Compose would not take over is carried along."""
        count = cl.parse(self.launch.raw, cl.raw).count
        if self.setting.name != "--workers":
            count = cl.parse(self.launch.raw, cl.raw).assignments.get(self.setting.name)
        if count is None:
            raise HotfixError(
                "the number of workers comes from a variable that holds several options",
                path=self.setting.place.file,
                line=self.setting.place.line,
                remedy="Use target: source",
            )
        service = ("services", self.launch.service)
        entrypoint, arguments = self.launch.entrypoint, self.launch.arguments
        if any(_holds(word, count) for word in entrypoint.raw):
            file = file.set((*service, "entrypoint"), self._carried(entrypoint, count))
            if not arguments.in_compose and arguments.raw:
                # An entrypoint in Compose makes the image's command void.
                file = file.set((*service, "command"), self._carried(arguments, count))
        else:
            file = file.set((*service, "command"), self._carried(arguments, count))
        self.notes.append(
            f"{os.path.basename(file.path)} carries the whole command now: a later change of the original has to "
            "be made there too."
        )
        return file.path, file.data

    def _carried(self, part: Part, count: Text) -> str | list[str]:
        """A part of the command as Compose has to write it."""
        if part.scalar is not None:
            scalar = self.launch.sources[part.scalar]
            span = count.span()
            value = scalar.value if isinstance(scalar, ComposeScalar) else ""
            inside = span is not None and span.source == part.scalar
            return value[: span.start] + self.number + value[span.end :] if span and inside else value
        words = []
        for word in part.raw:
            value = word.value
            if _holds(word, count):
                start, end = word.places.index(count.places[0]), word.places.index(count.places[-1]) + 1
                value = value[:start] + self.number + value[end:]
            words.append(value if part.in_compose else value.replace("$", "$$"))
        return words

    def _added(self) -> tuple[str, bytes]:
        """Add the option behind the application, or the variable where the command is in an image."""
        anchor = cl.parse(self.launch.raw, cl.raw).anchor
        place = anchor.end if anchor else None
        source = self.launch.sources[place[0]] if place and place[0] >= 0 else None
        if anchor is None or place is None or source is None or isinstance(source, BuiltImage):
            return self._say_otherwise(self.launch.project.home(self.launch.service))
        unset = "Nothing sets the number yet: the" if self.setting.number is not None else "The"
        self.notes.append(f"{unset} option --workers is added.")
        for part in (self.launch.entrypoint, self.launch.arguments):
            whole = part.scalar is None and any(word is anchor for word in part.raw)
            if whole and isinstance(source, ComposeScalar):
                keys = source.keys[:-1]
                file = source.file.set((*keys, len(part.raw)), "--workers")
                file = file.set((*keys, len(part.raw) + 1), self.number)
                return file.path, file.data
            if whole:
                return source.replace(place[1], place[1], f', "--workers", "{self.number}"')
        return source.replace(place[1], place[1], f" --workers {self.number}")


def _holds(word: Text, part: Text) -> bool:
    return bool(part.places) and set(part.places) <= set(word.places)


def describe(setting: Setting) -> str:
    """Where the number comes from, as a sentence."""
    if setting.hidden:
        return f"The number of workers cannot be seen: {setting.hidden}."
    if setting.text is None and setting.number is None:
        return f"What number of workers {setting.server} starts cannot be seen."
    if setting.text is None:
        return f"Nothing sets the number of workers, so that {setting.server} starts one."
    what = f"{setting.number}" if setting.number is not None else f"{setting.text.value} (computed)"
    where = os.path.basename(setting.place.file) if setting.place.file else "the image"
    line = f", line {setting.place.line}" if setting.place.line else ""
    return f"{setting.server} takes the number of workers, {what}, from {setting.name} in {where}{line}."
