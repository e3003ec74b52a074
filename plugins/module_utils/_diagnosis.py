# SPDX-License-Identifier: GPL-3.0-or-later
"""Why workers die: one cause from what processes, control group, kernel, engine and log have shown, with evidence.

Everything here decides from plain data. What each program does when a worker ends was established with uvicorn 0.30.0
and 0.54.0 and gunicorn 27, each cause made for real; ``tests/causes`` does it again.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from typing import NamedTuple

from ansible_collections.composeops.hotfix.plugins.module_utils._kernel_log import Event, Exit
from ansible_collections.composeops.hotfix.plugins.module_utils._worker_log import FAILED, STOPPING, Death, Verdict
from ansible_collections.composeops.hotfix.plugins.module_utils._worker_samples import Ended

# Each cause in plain words, for who has never heard of it; docs/workers.md says more.
CAUSES = {
    "import_error": "the application cannot be imported or started, so that every new worker ends at once",
    "oom": "the kernel kills workers because there is not enough memory",
    "crash": "workers crash: a signal such as SIGSEGV, or an exit of their own",
    "ping_timeout": "the server kills workers that do not answer it in time",
    "recycle": "the server replaces workers after so many requests, as it was told to; harmless",
    "unknown": "what can be seen now does not show why",
    "none": "no worker has died",
}
# Of causes with as many deaths, the first: it stands in the way of the others, or does the most harm.
ORDER = ("import_error", "oom", "crash", "ping_timeout", "unknown", "recycle")
CONFIDENCE = {1: "low", 2: "medium", 3: "high"}
# Lines of evidence for each cause.
LINES = 3
# Seconds. Workers that all start within such a time were started together: neither server waits between two of them.
TOGETHER = 2.0
# Seconds that a supervisor may take to start its first workers. One that loads the application itself takes longer.
SLOW_START = 5.0
# A supervisor that was silent for this part of the ping's timeout waited for an answer: looks are a moment apart.
NEARLY = 0.9
# Seconds between a line about a worker and the end of the whole container which that worker brought about.
ENDS_TOO = 15.0


class Settings(NamedTuple):
    """What the running server was told.

    :ivar workers: None when it is not known.
    :ivar ping_timeout: seconds until uvicorn kills a worker that does not answer; gunicorn's own timeout is in its log.
    :ivar max_requests: requests after which a worker is replaced; None for never.
    """

    server: str | None
    workers: int | None
    ping_timeout: float
    max_requests: int | None


class Worker(NamedTuple):
    """A live worker: its process ID in the container, and seconds since boot when it was started.

    :ivar accounted: whether a line of the log tells of its start, or that is earlier than what is asked for.
    """

    inner: int
    started: float
    accounted: bool


class Container(NamedTuple):
    """The container itself: RFC 3339 times are not needed here.

    :ivar exits: ends of the container that the engine remembers.
    """

    status: str
    exit_code: int
    oom_killed: bool
    restart_count: int
    exits: list[Exit]


class Observed(NamedTuple):
    """All that is known.

    :ivar supervisor_started: seconds since boot; None for a single process.
    :ivar deaths: with their causes as far as the log, the kernel and the watching tell; the last ones only.
    :ivar causes: the number of all of them.
    :ivar unexplained: how many are unknown because nothing but a line of the log is known of them.
    :ivar exception: the last line of the last traceback in the log.
    :ivar log: whether the log could be read; ``speaks``: whether it has the server's lines of level INFO.
    :ivar oom_kills: the control group's counter since the container's start.
    :ivar spare_kills: kills for lack of memory with a time that no death was explained by.
    :ivar bounded: whether an instant later than the container's start bounds what is asked for.
    :ivar watched: seconds.
    :ivar noted: whether the counter's value at that instant is known, so that ``oom_kills`` counts from there.
    """

    settings: Settings
    container: Container
    supervisor_started: float | None
    live: list[Worker]
    deaths: Sequence[Death]
    causes: Counter[str]
    unexplained: int
    exception: str | None
    log: bool
    speaks: bool
    oom_kills: int | None
    spare_kills: int
    bounded: bool
    watched: float
    noted: bool = False


class Diagnosis(NamedTuple):
    """The cause, all causes with counts (strongest first), evidence, confidence, and the deaths: number and times."""

    cause: str
    causes: list[dict[str, object]]
    evidence: list[str]
    confidence: str
    deaths: int
    timestamps: list[str]


def judge(
    ended: Iterable[Ended], settings: Settings, *, oom_kills: int, kernel: Sequence[Event] = (), log: bool = True
) -> dict[int, tuple[float, Verdict]]:
    """Why each worker ended that was watched when it did, by its process ID in the container, with the time.

    :param oom_kills: by how much the control group's counter has risen meanwhile.
    :param kernel: what the kernel's log tells.
    :param log: whether the container's log can be read; tracebacks in it tell errors at import from other ends.
    """
    verdicts: dict[int, tuple[float, Verdict]] = {}
    by_pid = {event.pid: event for event in kernel if event.pid is not None}
    killed = []
    for one in ended:
        event = by_pid.get(one.pid)
        verdict = _by_status(one, settings, log)
        if event is not None and event.cause == "oom":
            verdict, oom_kills = Verdict("oom", event.text, 3), oom_kills - 1
        elif event is not None and verdict is not None and verdict.cause == "crash":
            verdict = verdict._replace(how=f"{verdict.how}; {event.text}")
        if verdict is None:
            killed.append(one)
        else:
            verdicts[one.inner] = (one.time, verdict)
    for one in killed:
        verdict = _of_killed(one, settings, oom_kills > 0)
        oom_kills -= verdict.cause == "oom"
        verdicts[one.inner] = (one.time, verdict)
    return verdicts


def _by_status(one: Ended, settings: Settings, log: bool) -> Verdict | None:
    """The cause that a wait status tells; None for SIGKILL, and for an end that nobody saw."""
    if one.status is None or one.status & 0x7F == signal.SIGKILL:
        return None
    name = _signal_name(one.status & 0x7F)
    if name in STOPPING:
        return Verdict("stopped", f"it was told to end by {name}", 3)
    if one.status & 0x7F:
        return Verdict("crash", f"it died of {name} after {one.age:.0f} s", 3)
    return _by_code(one, one.status >> 8, settings, log)


def _by_code(one: Ended, code: int, settings: Settings, log: bool) -> Verdict:
    """The cause that an exit code tells."""
    if code == 0:
        if settings.max_requests:
            return Verdict("recycle", f"exit code 0, and it has a limit of {settings.max_requests} requests", 3, 0)
        return Verdict("unknown", "it ended by itself with exit code 0, and no limit of requests is set", 2, 0)
    if code in FAILED and not log:
        how = f"exit code {code} after {one.age:.0f} s, as after an exception; the log that would show it is unreadable"
        return Verdict("import_error" if one.age < 30 else "crash", how, 2, code)
    return Verdict("crash", f"it ended with exit code {code} after {one.age:.0f} s", 3, code)


def _by_supervisor(one: Ended, settings: Settings) -> bool:
    patient = settings.server != "gunicorn" and one.silence >= NEARLY * settings.ping_timeout
    return patient and not one.lingered


def _of_killed(one: Ended, settings: Settings, by_kernel: bool) -> Verdict:
    if _by_supervisor(one, settings):
        did = "was busy in code" if one.busy > one.silence / 2 else "slept in a call"
        how = (
            f"its supervisor waited {one.silence:.1f} s for an answer to its ping and killed it; meanwhile the worker "
            f"used {one.busy:.1f} s of CPU, so that it {did} that holds the interpreter's lock"
        )
        return Verdict("ping_timeout", how, 3)
    if by_kernel:
        how = f"it ended as the control group counted a kill for lack of memory; it held {one.rss // 1024**2} MiB"
        return Verdict("oom", how, 3)
    if one.status is None and settings.server == "gunicorn" and settings.max_requests:
        how = (
            "it was gone before its exit status could be read; gunicorn, which tells of any other end, is silent "
            f"and has a limit of {settings.max_requests} requests"
        )
        return Verdict("recycle", how, 2)
    if one.status is None:
        return Verdict("unknown", "it was gone before its exit status could be read", 1)
    return Verdict("unknown", "somebody sent it SIGKILL: neither the kernel for lack of memory nor its supervisor", 2)


def diagnose(seen: Observed) -> Diagnosis:
    """Name the cause."""
    causes, notes = Counter(seen.causes), []
    del causes["stopped"]
    sure = {
        cause: max((d.verdict.sure for d in seen.deaths if d.verdict.cause == cause), default=1) for cause in causes
    }
    notes += _count_kills(seen, causes, sure)
    notes += _count_hidden(seen, causes, sure)
    ends = _container_ends(seen)
    for cause, _how in ends:
        causes[cause] += 1
        sure[cause] = max(sure.get(cause, 1), 1 if cause == "unknown" else 3)
    notes += [f"{cause}: {how}" for cause, how in dict.fromkeys(ends)]
    times = sorted([d.time for d in seen.deaths] + [e.time for e in seen.container.exits][-len(ends) :] * bool(ends))
    found = {cause: count for cause, count in causes.items() if count > 0}
    ranked = sorted(
        found, key=lambda name: (name in ("unknown", "recycle"), name == "recycle", -found[name], ORDER.index(name))
    )
    evidence = [line for cause in ranked for line in _lines(cause, found[cause], seen)] + notes
    listed: list[dict[str, object]] = [
        {"cause": cause, "count": found[cause], "confidence": CONFIDENCE[sure.get(cause, 1)]} for cause in ranked
    ]
    if not ranked:
        return _quiet(seen)
    cause = ranked[0]
    doubt = sum(count for name, count in found.items() if name == "unknown") >= found[cause]
    confidence = 1 if cause == "unknown" else max(sure.get(cause, 1) - doubt, 1)
    if cause == "unknown":
        evidence.append(_what_would_tell(seen))
    stamps = [_rfc3339(when) for when in times]
    return Diagnosis(cause, listed, evidence, CONFIDENCE[confidence], sum(found.values()), stamps)


def _count_kills(seen: Observed, causes: Counter[str], sure: dict[str, int]) -> list[str]:
    """Explain what only a line of the log tells of by kills for lack of memory; count those without any line."""
    kills = seen.oom_kills or 0
    spare = max(kills - causes["oom"], 0)
    since = "the number of workers was changed" if seen.noted else "the container's start"
    counted = f"The control group counts {kills} process{'es' * (kills != 1)} killed for lack of memory since {since}."
    if seen.bounded and not seen.noted:
        # The counter began with the container, so that only kills with a time belong to the time that is asked for.
        causes["oom"] += seen.spare_kills
        sure["oom"] = max(sure.get("oom", 1), 3 if seen.spare_kills else 1)
        return [counted] if kills else []
    explained = min(spare, seen.unexplained)
    causes["unknown"] -= explained
    causes["oom"] = max(causes["oom"], kills)
    if not kills:
        return []
    sure["oom"] = 3
    return [counted]


def _count_hidden(seen: Observed, causes: Counter[str], sure: dict[str, int]) -> list[str]:
    """Workers that are younger than they would be if none had died, of whose start no line tells."""
    if seen.supervisor_started is None or not seen.live:
        return []
    first, last = min(w.started for w in seen.live), max(w.started for w in seen.live)
    begin = first if last - first <= TOGETHER else seen.supervisor_started
    replaced = [worker for worker in seen.live if worker.started - begin > TOGETHER and not worker.accounted]
    added = max(len(seen.live) - seen.settings.workers, 0) if seen.settings.workers else 0
    hidden = len(replaced) - added - sum(causes.values())
    if hidden <= 0:
        return []
    causes["unknown"] += hidden
    sure["unknown"] = 1
    return [
        f"{len(replaced)} of {len(seen.live)} workers are younger than their supervisor by "
        f"{max(w.started - begin for w in replaced):.0f} s at most: the ones before them ended, and no line says so."
    ]


def _container_ends(seen: Observed) -> list[tuple[str, str]]:
    """Ends of the whole container that no death of a worker explains: a cause and words for each."""
    container = seen.container
    down = container.status not in ("running", "paused", "created")
    number = max(container.restart_count + down, 0)
    if not number or (seen.bounded and not container.exits):
        return []
    exits = container.exits[-number:] or [Exit(0.0, container.exit_code)] * number
    explained = [death.time for death in seen.deaths]
    found = []
    for one in exits:
        if any(-1 <= one.time - when <= ENDS_TOO for when in explained) or (one.time == 0 and explained):
            continue
        end = _of_exit(one.code, seen)
        if end is not None:
            found.append(end)
    return found


def _of_exit(code: int, seen: Observed) -> tuple[str, str] | None:
    """The cause of one end of the container, by its first process's exit code."""
    text = f"the container ended with exit code {code}"
    if code == 0:
        recycled = bool(seen.settings.max_requests) and seen.container.restart_count > 0
        return ("recycle", f"{text}, and it has a limit of requests") if recycled else None
    if code > 128:
        return _of_signal(_signal_name(code - 128), text, seen)
    if code in FAILED and seen.exception and not seen.speaks:
        return "import_error", f"{text} before it served anything, and the log ends in an exception"
    return "crash", text


def _of_signal(name: str, text: str, seen: Observed) -> tuple[str, str] | None:
    if name == "SIGKILL" and seen.container.oom_killed:
        return "oom", f"{text}, and the engine says that it was killed for lack of memory"
    if name == "SIGKILL":
        return "unknown", f"{text}: somebody sent SIGKILL, such as docker kill or docker stop after its patience"
    return None if name in STOPPING else ("crash", f"{text}: its first process died of {name}")


def _lines(cause: str, count: int, seen: Observed) -> list[str]:
    """What shows a cause, each thing once."""
    told: dict[str, list[Death]] = {}
    for death in seen.deaths:
        if death.verdict.cause == cause:
            told.setdefault(death.verdict.how, []).append(death)
    lines = [f"{cause}: {_who(deaths)}: {how}." for how, deaths in told.items()][-LINES:]
    if cause == "import_error" and seen.exception:
        lines.append(f"{cause}: the last exception in the log is: {seen.exception}")
    if cause == "ping_timeout" and seen.settings.server != "gunicorn":
        lines.append(f"{cause}: the supervisor's patience is {seen.settings.ping_timeout:g} s.")
    return [f"{cause}: {count} in all.", *lines]


def _who(deaths: Sequence[Death]) -> str:
    """Which worker it was and when, and how many more of them there were."""
    first, more = deaths[0], len(deaths) - 1
    who = f"worker {first.pid}" if first.pid is not None else "a worker"
    return f"{_rfc3339(first.time)}, {who}" + (f", and {more} more until {_rfc3339(deaths[-1].time)}" if more else "")


def _quiet(seen: Observed) -> Diagnosis:
    """No sign of a death: either there was none, or nothing would show it."""
    wanted, there = seen.settings.workers, len(seen.live)
    container = seen.container
    if container.status == "created":
        return Diagnosis("unknown", [], ["The container was never started."], "low", 0, [])
    if container.status not in ("running", "paused"):
        line = f"The container does not run; it ended with exit code {container.exit_code}, and nothing shows a death."
        return Diagnosis("none", [], [line], "medium" if seen.log else "low", 0, [])
    if not there or (wanted and there < wanted):
        line = f"{there} of {wanted or 'an unknown number of'} workers run, and nothing shows why the others do not."
        return Diagnosis("unknown", [], [line, _what_would_tell(seen)], "low", 0, [])
    late = min(w.started for w in seen.live) - (seen.supervisor_started or float("inf"))
    if late > SLOW_START and not seen.watched and not all(worker.accounted for worker in seen.live):
        line = (
            f"The workers are all younger than their supervisor by {late:.0f} s: either it takes so long to load the "
            "application, or all of them were replaced; the log has no line that says so."
        )
        return Diagnosis("unknown", [], [line, _what_would_tell(seen)], "low", 0, [])
    lines = [f"{there} worker{'s run' if there > 1 else ' runs'}, as many as are configured."] if wanted else []
    if seen.supervisor_started is not None:
        lines.append("No worker is younger than its fellows without a line in the log that tells of its start.")
    if seen.watched:
        lines.append(f"No worker ended in the {seen.watched:.0f} s for which they were watched.")
    if seen.log:
        lines.append("The log tells of no death since then." if seen.bounded else "The log tells of no death.")
    if seen.oom_kills == 0:
        lines.append("The control group counts no process killed for lack of memory.")
    sure = 3 if seen.supervisor_started is None or seen.speaks or seen.watched else 2
    return Diagnosis("none", [], lines, CONFIDENCE[sure if seen.log or seen.watched else 2], 0, [])


def _what_would_tell(seen: Observed) -> str:
    if not seen.watched:
        return (
            "What would tell: run again with watch: 120 while the application is used, so that the end itself is seen."
        )
    if not seen.log:
        return "What would tell: a logging driver that can be read, such as json-file, and watch while the API is used."
    return "What would tell: watch for longer, while the requests are made after which workers die."


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _rfc3339(when: float) -> str:
    return datetime.fromtimestamp(when, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
