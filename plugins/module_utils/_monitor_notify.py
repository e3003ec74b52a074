# SPDX-License-Identifier: GPL-3.0-or-later
"""Telling somebody that the application failed: once, to a web hook and by a command such as ``mail``."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.composeops.hotfix.plugins.module_utils._container import Completed, run_command
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._health import post
from ansible_collections.composeops.hotfix.plugins.module_utils._logs import shorten
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import fingerprint, mask

WEBHOOK, COMMAND = "webhook", "command"
# Seconds of the watch after which it is tried again, each time twice as many: what fails may be all that leads outside.
FIRST_WAIT, LONGEST_WAIT = 30.0, 3600.0
# Seconds.
HOOK_TIMEOUT, COMMAND_TIMEOUT = 10.0, 30.0
MOST_EVENTS = 10


def check(notify: Mapping[str, str], path: str) -> None:
    """Make sure that both could be used.

    :param path: where the watch looks for programs, as the variable ``PATH`` says it.
    :raises HotfixError: naming the option, never its value.
    """
    hook, command = notify.get(WEBHOOK) or "", notify.get(COMMAND) or ""
    if hook and not _is_address(hook):
        raise HotfixError("webhook is no address of http or https", remedy="Write it like https://example.org/hook")
    if command and not _program(words(command)[0], path):
        raise HotfixError(
            "command begins with a program that this host does not have",
            remedy="Install it (mail comes with Ubuntu's package mailutils), or give another one by its full path",
        )


def _is_address(text: str) -> bool:
    """Whether a request could be sent to it; what is not plain ASCII has to be encoded in it."""
    try:
        parts = urlsplit(text)
        return bool(
            parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and text.isascii()
        ) and not any(letter.isspace() or not letter.isprintable() for letter in text)
    except ValueError:
        return False


def _program(name: str, path: str) -> str | None:
    """The file of a program as a unit finds it, whose working directory is the root; None when there is none."""
    return shutil.which(os.path.join("/", name) if "/" in name else name, path=path)


def words(command: str) -> list[str]:
    """The words of a command, as a shell would see them; at least one.

    :raises HotfixError: when its quotes do not match, or there is none.
    """
    try:
        found = shlex.split(command)
    except ValueError as error:
        raise HotfixError("command has quotes that do not match", remedy="Write it as for a shell") from error
    if not found or not found[0]:
        raise HotfixError("command names no program", remedy="Begin it with one, or leave it out")
    return found


def shown(notify: Mapping[str, str]) -> dict[str, str]:
    """Which ways there are, by fingerprint."""
    return {name: fingerprint(value) for name, value in sorted(notify.items()) if value}


def message(about: Mapping[str, Any], reasons: Sequence[str], events: Sequence[Mapping[str, str]]) -> str:
    """What is told, as text.

    :param about: ``host``, ``project_src``, ``service``, ``time``.
    """
    lines = [f"{about['service']} of {about['project_src']} on {about['host']} failed at {about['time']}.", ""]
    lines += [f"- {reason}" for reason in reasons]
    if events:
        lines += ["", "The last events:", *(f"{one.get('time')} {one.get('text')}" for one in events[-MOST_EVENTS:])]
    return "\n".join(
        [*lines, "", "The watch goes on. More: ansible-playbook composeops.hotfix.monitor -e monitor_action=status"]
    )


def due(
    notify: Mapping[str, str], done: Mapping[str, int], again: Mapping[str, float], elapsed: float
) -> dict[str, str]:
    """The ways that are to be told now.

    :param done: how often each way was tried without success; -1 when it was told.
    :param again: when each way is tried again, in seconds since the start of the watch, as is ``elapsed``.
    """
    return {
        name: value
        for name, value in sorted(notify.items())
        if value and done.get(name, 0) >= 0 and elapsed >= again.get(name, 0.0)
    }


def wait(tries: int) -> float:
    """Seconds until a way is tried again that was tried so often."""
    return min(FIRST_WAIT * 2.0 ** min(tries - 1, 20), LONGEST_WAIT)


def send(
    ways: Mapping[str, str],
    done: Mapping[str, int],
    about: Mapping[str, Any],
    reasons: Sequence[str],
    events: Sequence[Mapping[str, str]],
    *,
    run: Callable[..., Completed] = run_command,
) -> tuple[dict[str, int], list[str]]:
    """Tell each of these ways.

    :param done: how often each way was tried without success; -1 when it was told.
    :returns: the same afterwards, and why a way could not be used.
    """
    text, after, problems = message(about, reasons, events), dict(done), []
    for name, value in ways.items():
        problem = _post(value, about, reasons, text) if name == WEBHOOK else _run(value, text, run)
        after[name] = after.get(name, 0) + 1 if problem else -1
        if problem:
            problems.append(f"{name}: {problem}")
    return after, problems


def forget(state: Mapping[str, Any], before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, Any]:
    """What a watch remembers, without what became of the ways that are other ones now.

    :param before: the ways by fingerprint, as :func:`shown` has them; ``after`` likewise.
    """
    kept = {
        part: {name: value for name, value in state.get(part, {}).items() if before.get(name) == after.get(name)}
        for part in ("notified", "tell_at")
    }
    return {**state, **kept}


def _post(url: str, about: Mapping[str, Any], reasons: Sequence[str], text: str) -> str:
    """Post it; why that failed, else empty. Chat services show ``text``."""
    body = {"text": text, **about, "verdict": "failed", "reasons": list(reasons)}
    return post(url, json.dumps(body).encode(), timeout=HOOK_TIMEOUT, content_type="application/json")


def _run(command: str, text: str, run: Callable[..., Completed]) -> str:
    """Give it to a command; why that failed, else empty."""
    try:
        argv = words(command)
    except HotfixError as error:
        return error.message
    try:
        done = run(argv, timeout=COMMAND_TIMEOUT, stdin=text + "\n")
    except subprocess.TimeoutExpired:
        return f"{argv[0]} did not end within {COMMAND_TIMEOUT:g} seconds"
    except (OSError, ValueError) as error:
        return f"{argv[0]} cannot be run: {getattr(error, 'strerror', None) or error}"
    if not done.returncode:
        return ""
    last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    return f"{argv[0]} ended with {done.returncode}: {shorten(mask(last, argv[1:]))}"
