# SPDX-License-Identifier: GPL-3.0-or-later
"""The secrets that a project's files, its containers and its monitor hold, so that nothing in a bundle shows them."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from ansible_collections.composeops.hotfix.plugins.module_utils import _container, _monitor_store
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_file import Project, interpolate
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import (
    HIDING_OPTION,
    hidden_values,
    url_passwords,
)

# Names whose values are secrets though they do not sound so: an address that anybody may post to, users of a proxy.
TELLING_NAME = re.compile(r"web_?hook(?:s?$|_?ur[il]s?$)|(?:basic|digest)[_-]?auth(?!\w*file)", re.IGNORECASE)
# Options that are followed by a secret with these programs only.
OPTIONS_OF = (
    (re.compile(r"redis-cli"), ("-a",)),
    (re.compile(r"curl"), ("-u", "--user", "--proxy-user")),
    (re.compile(r"mongo[a-z]*|sshpass"), ("-p",)),
)
# Programs that take the password in the same word: -pPASSWORD.
ATTACHED = re.compile(r"mysql[a-z]*|mariadb[a-z-]*|sshpass")
_OPTION = re.compile(HIDING_OPTION, re.IGNORECASE)
REFERENCE = re.compile(r"\$\$?(?:\{\w+\}|[A-Z_][A-Z0-9_]*)")


def of_project(project: Project) -> set[str]:
    """What the command lines, labels and telling variables of a project's services hold."""
    found: set[str] = set()
    for name in project.names():
        with contextlib.suppress(HotfixError):
            found |= of_service(project.resolved(name))
        with contextlib.suppress(HotfixError):
            # A default that a variable hides now is still written in the file.
            found |= of_service(interpolate(project.service(name), {}))
    return found


def of_service(service: Mapping[str, Any]) -> set[str]:
    """The same for one service, as Compose describes it."""
    health, build = _pairs(service.get("healthcheck")), _pairs(service.get("build"))
    found = _of_commands(service.get("command"), service.get("entrypoint"), health.get("test"))
    for mapping in (service.get("environment"), service.get("labels"), build.get("args"), build.get("labels")):
        found |= telling_values(_pairs(mapping))
    return found


def of_container(data: Mapping[str, Any]) -> set[str]:
    """The secrets of a container, as the engine describes it."""
    config, environment = data.get("Config") or {}, _container.environment(data)
    health = config.get("Healthcheck") or {}
    found = hidden_values(environment) | telling_values(environment) | telling_values(config.get("Labels") or {})
    return found | _of_commands(
        config.get("Cmd"), config.get("Entrypoint"), health.get("Test"), [data.get("Path"), *(data.get("Args") or [])]
    )


def of_monitor(folder: str) -> set[str]:
    """Whom a project's monitor tells, and how.

    :param folder: where the project's state lies.
    """
    home = os.path.join(folder, _monitor_store.FOLDER)
    found: set[str] = set()
    for value in (_monitor_store.load_quietly(home, _monitor_store.NOTIFY) or {}).values():
        found |= _of_way(value) if isinstance(value, str) else set()
    return found


def option_secrets(words: Sequence[str]) -> set[str]:
    """The secrets in a command line: what follows the options that take one."""
    found: set[str] = set()
    program = ""
    for word, following in zip(words, [*words[1:], ""]):
        if any(letter.isspace() for letter in word):
            found |= option_secrets(split(word))
            continue
        name, equals, value = word.partition("=")
        base = os.path.basename(word)
        program = base if _options(base) or ATTACHED.fullmatch(base) else program
        if _OPTION.fullmatch(name) or name in _options(program):
            found.add(value if equals else following if not following.startswith("-") else "")
        elif word.startswith("-p") and ATTACHED.fullmatch(program):
            found.add(word[2:])
    return {value for value in found if value and not REFERENCE.fullmatch(value)}


def split(command: str) -> list[str]:
    """The words of a command line; as well as it can be where its quotes do not match."""
    try:
        return shlex.split(command, comments=False)
    except ValueError:
        return command.split()


def is_telling(name: str) -> bool:
    """True for the name of a variable or label whose value is a secret though it does not sound so."""
    return TELLING_NAME.search(name) is not None


def telling_values(variables: Mapping[str, Any]) -> set[str]:
    """What the values of telling names hold: of an address what follows the host, of users each password."""
    found: set[str] = set()
    for name, value in variables.items():
        if isinstance(value, str) and is_telling(name):
            found |= address_secrets(value) if "://" in value else set(_of_users(value))
    return found


def address_secrets(address: str) -> set[str]:
    """What is secret of an address that is a secret as a whole; its host stays to be seen."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return {address}
    found = url_passwords(address) | {parts.path.strip("/"), parts.query}
    return {value for value in found | {unquote(value) for value in found} if value}


def _of_commands(*commands: Any) -> set[str]:
    found: set[str] = set()
    for command in commands:
        words = split(command) if isinstance(command, str) else command
        found |= option_secrets([str(word) for word in words] if isinstance(words, list) else [])
    # Who logs in is no secret, but the password is one without the name before it as well.
    return found | {value.partition(":")[2] for value in found if ":" in value}


def _of_way(way: str) -> set[str]:
    """What is secret of a web hook, or of a command: each of its words that is no option and no file."""
    if "://" in way and not any(letter.isspace() for letter in way):
        return address_secrets(way)
    words = split(way)
    found = _of_commands(words)
    for word in words[1:]:
        text = word.partition("=")[2] if word.startswith("-") else word
        # Of a sentence, such as a subject, only what a header says; what stands before a colon is a name.
        plain = any(letter.isspace() for letter in text) or text.startswith("/")
        found |= address_secrets(text) if "://" in text and not plain else set() if plain else {text}
        found.add(text.partition(":")[2].strip() if "://" not in text else "")
    return {value for value in found if value}


def _of_users(value: str) -> Iterator[str]:
    """The passwords, or their hashes, in ``name:password,name:password``; Compose doubles the dollar signs."""
    for user in value.split(","):
        password = user.partition(":")[2].strip()
        yield from {password, password.replace("$$", "$")} - {""}


def _pairs(mapping: Any) -> dict[str, Any]:
    """Variables or labels as a mapping, however they are written; nothing for what is neither."""
    if isinstance(mapping, Mapping):
        return dict(mapping)
    return dict(str(item).partition("=")[::2] for item in (mapping if isinstance(mapping, list) else ()))


def _options(program: str) -> Iterable[str]:
    return next((options for pattern, options in OPTIONS_OF if pattern.fullmatch(program)), ())
