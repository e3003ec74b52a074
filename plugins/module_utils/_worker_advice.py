# SPDX-License-Identifier: GPL-3.0-or-later
"""What to do about workers that die: a number of workers, an amount of memory, and steps, each with its reason."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from ansible_collections.composeops.hotfix.plugins.module_utils._diagnosis import Diagnosis, Settings
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._server_settings import HEALTHCHECK, HEALTHCHECK_SINCE
from ansible_collections.composeops.hotfix.plugins.module_utils._server_version import at_least
from ansible_collections.composeops.hotfix.plugins.module_utils._workers import (
    MEBIBYTE,
    Measured,
    human,
    most_busy,
    size,
    total,
)

HEADROOM = 0.2
# The droplet that the runbook takes for production with AI: 8 vCPU, 16 GB.
BIGGER_MEMORY, BIGGER_CPUS = 16 * 1024 * MEBIBYTE, 8
# Seconds to wait for an answer to a ping, where five were too few: longer than a model takes to load.
PATIENCE = 30
# The part of its periods for which a container waits for its CPU quota from which on that is worth a word.
THROTTLED = 0.25
NOT_MEMORY = "The cause is not memory, so that fewer workers would not help."


class Room(NamedTuple):
    """What there is to work with.

    :ivar measured: sizes of the processes; None when there is nothing to measure.
    :ivar limit: the container's memory limit in bytes; None without one.
    :ivar usage: what the container uses now.
    :ivar host_total, host_available: the host's memory in bytes.
    :ivar cpus: CPUs that the container may use.
    :ivar throttled_part: the part of the quota's periods in which it had to wait.
    """

    measured: Measured | None
    limit: int | None
    usage: int
    host_total: int
    host_available: int
    cpus: float
    throttled_part: float | None

    @property
    def others(self) -> int:
        """Memory of the host that is used by all else."""
        return max(self.host_total - self.host_available - self.usage, 0)


def sizing(settings: Settings, room: Room) -> dict[str, Any] | None:
    """What the configured workers take and what there is for them, in bytes; None when nothing could be measured."""
    if room.measured is None:
        return None
    workers = settings.workers or room.measured.workers
    limit = _limit(room)
    return {
        "workers": workers,
        "shared": room.measured.shared,
        "per_worker": room.measured.per_worker,
        "total": total(workers, room.measured.shared, room.measured.per_worker),
        "limit": limit,
        "budget": int(limit * (1 - HEADROOM)),
        "cpus": room.cpus,
        "busy": most_busy(room.cpus),
    }


class _Advice:
    def __init__(self) -> None:
        self.workers: dict[str, Any] = {"value": None, "reason": ""}
        self.memory: dict[str, Any] = {"value": None, "reason": ""}
        self.actions: list[dict[str, str]] = []

    def act(self, kind: str, action: str, reason: str) -> None:
        self.actions.append({"kind": kind, "action": action, "reason": reason})


def recommend(
    diagnosis: Diagnosis,
    settings: Settings,
    room: Room,
    *,
    version: str | None,
    restart_policy: str,
    exception: str | None,
    started: bool = True,
) -> dict[str, Any]:
    """Workers, memory and actions for a diagnosis.

    :param started: whether the container has ever run.
    """
    advice = _Advice()
    if not started:
        advice.workers["reason"] = advice.memory["reason"] = "No worker has run yet."
        advice.act(
            "start", "Start the container: docker compose up -d, or role deploy", "It was made and never started."
        )
        return {"workers": advice.workers, "memory": advice.memory, "actions": advice.actions}
    found = [str(item["cause"]) for item in diagnosis.causes]
    advice.workers = {"value": settings.workers, "reason": NOT_MEMORY if found else "Nothing asks for a change."}
    advice.memory = {"value": room.limit, "reason": NOT_MEMORY if found else "Nothing asks for a change."}
    for cause in found:
        if cause == "oom":
            _memory(advice, settings, room)
        elif cause == "ping_timeout":
            _patience(advice, settings, version, room)
        elif cause == "import_error":
            _exception(advice, exception)
        elif cause == "crash":
            _crash(advice, diagnosis, settings, restart_policy)
        elif cause == "recycle":
            _recycle(advice, settings)
    if "unknown" in found or diagnosis.cause == "unknown":
        if "oom" not in found:
            of_some = "" if diagnosis.cause == "unknown" else " of some deaths"
            advice.workers["reason"] = advice.memory["reason"] = f"The cause{of_some} is not known yet."
        advice.act(
            "again",
            "Run the diagnosis again with watch: 120 (role diagnose: diagnose_watch=120) while the application is used",
            "A worker that ends while it is watched shows its exit status, whatever the log says.",
        )
    return {"workers": advice.workers, "memory": advice.memory, "actions": advice.actions}


def _limit(room: Room) -> int:
    return room.limit or room.host_total - room.others


def _memory(advice: _Advice, settings: Settings, room: Room) -> None:
    limit = _limit(room)
    what = "the container's limit" if room.limit else "what the host has beside all else"
    if room.measured is None:
        advice.workers = advice.memory = {"value": None, "reason": "No worker runs that could be measured."}
        advice.act(
            "again", "Start the container, let it serve, and run the diagnosis again", "The sizes have to be measured."
        )
        return
    shared, per_worker = room.measured.shared, room.measured.per_worker
    wanted = settings.workers or room.measured.workers
    try:
        fit = size(limit, shared, per_worker, headroom=HEADROOM, max_workers=max(wanted - 1, 1), cpus=room.cpus)
        advice.workers = {"value": fit.workers, "reason": " ".join(fit.reasons)}
        advice.act(
            "workers",
            f"Run {fit.workers} worker{'s' * (fit.workers > 1)}",
            f"So many fit into {what} of {human(limit)} less {HEADROOM:.0%} headroom; {wanted} do not.",
        )
    except HotfixError as error:
        advice.workers = {"value": None, "reason": str(error)}
    need = _needed(wanted, shared, per_worker)
    arithmetic = (
        f"{wanted} workers take {human(shared)} + {wanted} * {human(per_worker)} = "
        f"{human(total(wanted, shared, per_worker))}; with {HEADROOM:.0%} headroom that is {human(need)}."
    )
    advice.memory = {"value": need, "reason": arithmetic}
    if need <= room.host_total - room.others:
        if room.limit and need > room.limit:
            advice.act("memory", f"Or raise the memory limit to {math.ceil(need / MEBIBYTE)} MiB", arithmetic)
        elif room.limit:
            advice.act(
                "again",
                "Let the workers serve for some minutes and run the diagnosis again",
                "Those that run now are smaller than the ones that were killed: what they load, they load later.",
            )
        return
    _bigger(advice, wanted, need, room, room.measured)


def _needed(workers: int, shared: int, per_worker: int) -> int:
    return math.ceil(total(workers, shared, per_worker) / (1 - HEADROOM) / MEBIBYTE) * MEBIBYTE


def _bigger(advice: _Advice, wanted: int, need: int, room: Room, measured: Measured) -> None:
    """The runbook's second option: what it takes, and what it gains."""
    here = room.host_total - room.others
    reason = f"{wanted} workers need {human(need)}, and this host has {human(here)} beside what all else uses."
    now, then = _room_for(here, measured, room.cpus), _room_for(BIGGER_MEMORY - room.others, measured, BIGGER_CPUS)
    droplet = "8 vCPU and 16 GB"
    if then > now:
        reason += f" {droplet} have room for {then}, where this host has room for {now or 'none'}."
    else:
        reason += f" {droplet} would not do either."
        droplet = f"at least {math.ceil((need + room.others) / 1024 / MEBIBYTE)} GiB of memory"
        reason += f" So much has room for all {wanted}, where this host has room for {now or 'none'}."
    advice.act("droplet", f"{'Or take' if advice.actions else 'Take'} a bigger droplet: {droplet}", reason)


def _room_for(memory: int, measured: Measured, cpus: float) -> int:
    """The workers that fit into so much memory."""
    try:
        return size(memory, measured.shared, measured.per_worker, headroom=HEADROOM, cpus=cpus).workers
    except HotfixError:
        return 0


def _patience(advice: _Advice, settings: Settings, version: str | None, room: Room) -> None:
    running = f"uvicorn {version}" if version else "uvicorn of unknown version"
    since = ".".join(map(str, HEALTHCHECK_SINCE))
    if settings.server == "gunicorn":
        advice.act(
            "patience",
            "Raise gunicorn's --timeout, to 60 for example",
            "A worker did not tell the master in time that it lives, so that the master killed it.",
        )
    elif at_least(version, *HEALTHCHECK_SINCE):
        advice.act(
            "patience",
            f"Set {HEALTHCHECK}={max(PATIENCE, int(settings.ping_timeout) * 2)} in the service's environment",
            f"{running} kills a worker that does not answer for {settings.ping_timeout:g} s, which the variable sets.",
        )
    else:
        advice.act(
            "patience",
            f"Upgrade uvicorn to {since} or newer, then set {HEALTHCHECK}={PATIENCE}",
            f"{running} kills a worker that does not answer for 5 s; before {since} the variable is ignored, and the "
            "option --timeout-worker-healthcheck stops the program.",
        )
    advice.act(
        "program",
        "Do what holds the interpreter's lock for so long in a process of its own",
        "Code in C that does not release the lock keeps the whole worker from answering, its users included.",
    )
    if room.throttled_part is not None and room.throttled_part >= THROTTLED:
        advice.act(
            "cpu",
            "Raise the CPU quota",
            f"In {room.throttled_part:.0%} of its periods the container used it up; a worker that waits answers late.",
        )


def _exception(advice: _Advice, exception: str | None) -> None:
    shown = f"The log says: {exception}" if exception else "The application cannot be imported or started; see its log."
    advice.act("program", "Correct what the exception says, then recreate the container", shown)
    if exception and any(word in exception for word in ("SettingsError", "ValidationError", "JSON")):
        advice.act(
            "settings",
            "Check the variables that the settings read; a list is JSON, such as VALID_API_KEYS='[\"...\"]'",
            "Settings that cannot be read end every worker at import, however many there are.",
        )


def _crash(advice: _Advice, diagnosis: Diagnosis, settings: Settings, restart_policy: str) -> None:
    advice.act(
        "program",
        "Set PYTHONFAULTHANDLER=1 in the service's environment and look at the log after the next crash",
        "Python then prints which line ran when a library in C crashed; the evidence names signal or exit code.",
    )
    by_three = any("exit code 3" in line for line in diagnosis.evidence)
    if settings.server == "uvicorn" and by_three and restart_policy not in ("always", "unless-stopped"):
        advice.act(
            "restart_policy",
            "Use restart: unless-stopped",
            "Newer versions of uvicorn stop the whole server, with exit code 0, when a worker ends with exit code 3.",
        )


def _recycle(advice: _Advice, settings: Settings) -> None:
    limit = f" after {settings.max_requests} requests" if settings.max_requests else ""
    advice.act(
        "none",
        "Nothing; or raise the limit of requests if workers are replaced too often",
        f"The server was told to replace each worker{limit}, so that these deaths are wanted and harmless.",
    )
