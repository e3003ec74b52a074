# SPDX-License-Identifier: GPL-3.0-or-later
"""Telling somebody that the application failed: once, to a web hook and by a command such as ``mail``."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.composeops.hotfix.plugins.module_utils._container import Completed, run_command
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._health import post
from ansible_collections.composeops.hotfix.plugins.module_utils._logs import shorten
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import fingerprint, mask

WEBHOOK, COMMAND = "webhook", "command"
# Samples in which it is tried, where the first failure is that nothing outside can be reached.
TRIES = 5
# Seconds.
HOOK_TIMEOUT, COMMAND_TIMEOUT = 10.0, 30.0
MOST_EVENTS = 10


def check(notify: Mapping[str, str]) -> None:
    """Make sure that both could be used.

    :raises HotfixError: naming the option, never its value.
    """
    hook = notify.get(WEBHOOK) or ""
    if hook and (not hook.lower().startswith(("http://", "https://")) or any(letter.isspace() for letter in hook)):
        raise HotfixError("webhook is no address of http or https", remedy="Write it like https://example.org/hook")
    words(notify.get(COMMAND) or "")


def words(command: str) -> list[str]:
    """The words of a command, as a shell would see them.

    :raises HotfixError: when its quotes do not match.
    """
    try:
        return shlex.split(command)
    except ValueError as error:
        raise HotfixError("command has quotes that do not match", remedy="Write it as for a shell") from error


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


def send(
    notify: Mapping[str, str],
    done: Mapping[str, int],
    about: Mapping[str, Any],
    reasons: Sequence[str],
    events: Sequence[Mapping[str, str]],
    *,
    run: Callable[..., Completed] = run_command,
) -> tuple[dict[str, int], list[str]]:
    """Tell each way that has not been told yet.

    :param done: how often each way was tried without success; -1 when it was told.
    :returns: the same afterwards, and why a way could not be used.
    """
    text, after, problems = message(about, reasons, events), dict(done), []
    for name, value in sorted(notify.items()):
        tried = after.get(name, 0)
        if not value or tried < 0 or tried >= TRIES:
            continue
        problem = _post(value, about, reasons, text) if name == WEBHOOK else _run(value, text, run)
        after[name] = tried + 1 if problem else -1
        if problem:
            problems.append(f"{name}: {problem}")
    return after, problems


def pending(notify: Mapping[str, str], done: Mapping[str, int]) -> bool:
    """Whether there is a way that is still to be told."""
    return any(value and 0 <= done.get(name, 0) < TRIES for name, value in notify.items())


def _post(url: str, about: Mapping[str, Any], reasons: Sequence[str], text: str) -> str:
    """Post it; why that failed, else empty. Chat services show ``text``."""
    body = {"text": text, **about, "verdict": "failed", "reasons": list(reasons)}
    return post(url, json.dumps(body).encode(), timeout=HOOK_TIMEOUT, content_type="application/json")


def _run(command: str, text: str, run: Callable[..., Completed]) -> str:
    """Give it to a command; why that failed, else empty."""
    argv = words(command)
    try:
        done = run(argv, timeout=COMMAND_TIMEOUT, stdin=text + "\n")
    except subprocess.TimeoutExpired:
        return f"{argv[0]} did not end within {COMMAND_TIMEOUT:g} seconds"
    except OSError as error:
        return f"{argv[0]} cannot be run: {error.strerror}"
    if not done.returncode:
        return ""
    last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    return f"{argv[0]} ended with {done.returncode}: {shorten(mask(last, argv[1:]))}"
