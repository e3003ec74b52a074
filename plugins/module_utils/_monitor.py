# SPDX-License-Identifier: GPL-3.0-or-later
"""Watching over an application for a day: from what is seen at a moment to a sample, events, counts and a verdict.

Nothing here looks at anything: :mod:`_monitor_sampler` does, on the managed host, every minute or so. What it sees is
compared with what it saw the last time, so that a worker that died and came back in between shows all the same: by its
process ID, by the kernel's counter, by a line in the log. What a run of this collection does meanwhile is no fault.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, NamedTuple

from ansible_collections.composeops.hotfix.plugins.module_utils._workers import human

HEALTHY, DEGRADED, FAILED, UNKNOWN = "healthy", "degraded", "failed", "unknown"
# A clock that is set by more than so many seconds is worth an event; NTP slews or steps less than that.
JUMP = 60.0
# Events that one sample tells of deaths, and of each pattern one; a worker that cannot start dies four times a second.
MOST_DEATHS = 5
# Seconds for which a dead worker's process ID is remembered: the log may tell of it in a later sample.
REMEMBERED = 900.0
# Ends of a worker that are none of its faults.
ORDERLY = ("recycle", "stopped")
# The part of the samples, in percent, that may be missed before that is worth a word.
MISSED = 1.0
CAUSES = {
    "oom": "the kernel killed it for lack of memory",
    "ping_timeout": "it did not answer its supervisor in time",
    "import_error": "it could not import or start the application",
    "crash": "it crashed",
    "unknown": "nothing says why",
}


class Clock(NamedTuple):
    """The host's time: Unix time, which boot it is, and seconds since that."""

    wall: float
    boot: str
    uptime: float


class Step(NamedTuple):
    """From one sample to the next: seconds, samples that were missed, and what became of the clock."""

    seconds: float
    missed: int
    rebooted: bool
    jump: float


class Box(NamedTuple):
    """The container as the engine sees it."""

    id: str
    started_at: str
    status: str
    exit_code: int
    restart_count: int
    policy: str
    survives_reboot: bool


class Health(NamedTuple):
    """What became of one request: whether the answer was a healthy one, its status, how long it took, its text."""

    healthy: bool
    status: int
    milliseconds: float
    answer: str


class Figures(NamedTuple):
    """The container's processes and memory, in bytes.

    :ivar workers: for each live worker its process ID as the host and as the container numbers it.
    :ivar sizes: for each live worker, by its process ID in the container, its part of the memory.
    :ivar usage: without the page cache that the kernel could drop at once.
    """

    workers: dict[int, int]
    sizes: dict[int, int]
    usage: int | None = None
    limit: int | None = None
    oom_kills: int | None = None


class Told(NamedTuple):
    """A death that the log tells of: the process ID in the container where that is known, its cause, how it shows."""

    pid: int | None
    cause: str
    how: str


class Found(NamedTuple):
    """Lines of a pattern: how many, one of them, masked, and whether they are no fault."""

    number: int
    sample: str
    expected: bool = False


class Log(NamedTuple):
    """What the container's log says since the last sample.

    :ivar finished: workers that shut down in good order.
    :ivar cut: whether there was more of it than is read.
    :ivar problem: why it cannot be read.
    """

    deaths: tuple[Told, ...] = ()
    finished: frozenset[int] = frozenset()
    found: Mapping[str, Found] = {}
    cut: bool = False
    problem: str = ""


class Seen(NamedTuple):
    """All that is seen at a moment.

    :ivar engine: why the engine does not answer; empty when it does.
    :ivar engine_start: which process the engine is; empty where that is not known.
    :ivar run: the run of this collection that was at work since the last sample; empty when there was none.
    :ivar container: None when there is none, or the engine does not answer.
    :ivar health: None when no address was given.
    :ivar unkept: why what is seen cannot be kept; empty when it can.
    """

    engine: str = ""
    engine_start: str = ""
    run: str = ""
    container: Box | None = None
    health: Health | None = None
    figures: Figures | None = None
    log: Log = Log()
    disk_percent: float | None = None
    unkept: str = ""


class Judged(NamedTuple):
    """One more sample: its line, the lines of its events, and what is remembered until the next one."""

    sample: dict[str, Any]
    events: list[dict[str, str]]
    state: dict[str, Any]


def instant(wall: float) -> str:
    """Unix time as RFC 3339 in UTC."""
    return datetime.fromtimestamp(wall, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def span(seconds: float) -> str:
    """A time as people say it."""
    number = round(seconds)
    if number < 120:
        return f"{number} s"
    minutes = round(number / 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"


def clean(text: str) -> str:
    """A text on one line, without what a terminal would take for an order."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def plural(number: int, one: str, many: str = "") -> str:
    """A number with its noun."""
    return f"{number} {one if number == 1 else many or one + 's'}"


# --- time ------------------------------------------------------------------------------------------------------------


def advance(before: Clock | None, now: Clock, interval: float) -> Step:
    """How far it is from one sample to the next.

    Within a boot the kernel's own clock counts, whatever the wall clock is set to. Over a reboot only the wall clock
    can tell, if it did not go back; the time since the boot has passed in any case.

    :param interval: seconds that it should be.
    """
    if before is None:
        return Step(0.0, 0, False, 0.0)
    if before.boot == now.boot:
        seconds = max(now.uptime - before.uptime, 0.0)
        return Step(seconds, _missed(seconds, interval), False, now.wall - before.wall - seconds)
    seconds = max(now.wall - before.wall, now.uptime, 0.0)
    return Step(seconds, _missed(seconds, interval), True, 0.0)


def _missed(seconds: float, interval: float) -> int:
    return max(round(seconds / interval) - 1, 0)


def left(settings: Mapping[str, Any], state: Mapping[str, Any]) -> float:
    """Seconds until the watch ends; 0 when it is over."""
    return max(float(settings["duration"]) - float(state["elapsed"]), 0.0)


def until(settings: Mapping[str, Any], state: Mapping[str, Any]) -> float:
    """Unix time at which the watch ends, by the clock as the last sample saw it."""
    last = state["clock"]
    return (last["wall"] if last else state["began"]) + left(settings, state)


# --- from sample to sample -------------------------------------------------------------------------------------------


def fresh(began: float) -> dict[str, Any]:
    """What is remembered before the first sample.

    :param began: Unix time.
    """
    return {
        "began": began,
        "clock": None,
        "interval": None,
        "elapsed": 0.0,
        "engine_up": True,
        "engine_start": "",
        "excused": False,
        "settling": False,
        "life": None,
        "policy": None,
        "workers": {},
        "oom_kills": None,
        "counted": {},
        "credit": {"died": 0, "recycled": 0},
        "bad": None,
        "high": [],
        "log_problem": "",
        "unkept": "",
        "tally": {
            "samples": 0,
            "missed": 0,
            "planned": 0,
            "judged": 0,
            "up": 0,
            "longest": None,
            "engine_down": 0,
            "reboots": 0,
            "deaths": 0,
            "causes": {},
            "last_death": "",
            "oom_kills": 0,
            "restarts": 0,
            "errors": {},
            "unexpected": {},
            "policies": 0,
            "memory": {"peak": None, "limit": None, "percent": None},
            "disk_percent": None,
            "unkept": {"samples": 0, "why": ""},
            "cpu": 0.0,
            "rss": 0,
        },
    }


def judge(settings: Mapping[str, Any], state: Mapping[str, Any], seen: Seen, now: Clock) -> Judged:
    """What a look at the application tells, compared with the one before.

    :param settings: ``interval``, ``memory_percent``, ``disk_percent``.
    :param state: as :func:`fresh` or the last call made it.
    """
    return _Sample(settings, state, seen, now).judged()


class _Sample:
    def __init__(self, settings: Mapping[str, Any], state: Mapping[str, Any], seen: Seen, now: Clock) -> None:
        self.settings, self.seen, self.now = settings, seen, now
        self.state: dict[str, Any] = copy.deepcopy(dict(state))
        self.tally = self.state["tally"]
        self.events: list[dict[str, str]] = []
        before = state["clock"]
        interval = settings["interval"]
        last = state.get("interval") or interval
        if self.state.pop("timer_anew", False) or last != interval:
            # It has counted by the one and then by the other.
            interval += last
        self.step = advance(Clock(**before) if before else None, now, interval)
        self.planned = bool(seen.run)
        self.same_life = False
        self.new = {"deaths": 0, "oom_kills": 0, "restarts": 0}

    def judged(self) -> Judged:
        self._time()
        self._engine()
        if not self.seen.engine:
            self._container()
        self._workers()
        self._memory()
        self._health()
        self._log()
        self._disk()
        self._keeping()
        return Judged(self._line(), self.events, self.state)

    def _tell(self, kind: str, text: str) -> None:
        self.events.append({"time": instant(self.now.wall), "kind": kind, "text": clean(text)})

    def _time(self) -> None:
        state, step = self.state, self.step
        state.update(clock=self.now._asdict(), interval=self.settings["interval"])
        state["elapsed"] += step.seconds
        self.tally["samples"] += 1
        self.tally["missed"] += step.missed
        if step.rebooted:
            self.tally["reboots"] += 1
            self._tell("reboot", f"The host was booted again; the last sample is {span(step.seconds)} old.")
        elif step.missed:
            self._tell("gap", f"No sample for {span(step.seconds)}: {plural(step.missed, 'sample')} missed.")
        if abs(step.jump) > JUMP:
            way = "forward" if step.jump > 0 else "back"
            self._tell("gap", f"The host's clock was set {way} by {span(abs(step.jump))}.")

    def _engine(self) -> None:
        state, seen = self.state, self.seen
        if seen.engine:
            self.tally["engine_down"] += 1
            if state["engine_up"]:
                self._tell("engine_down", f"The Docker engine does not answer: {seen.engine.rstrip('.')}.")
            state.update(engine_up=False, excused=True)
            return
        other = bool(state["engine_start"] and seen.engine_start and state["engine_start"] != seen.engine_start)
        if not state["engine_up"]:
            self._tell("engine_down", "The Docker engine answers again.")
        elif other and not self.step.rebooted:
            self._tell("engine_down", "The Docker engine was restarted between two samples.")
        state.update(
            engine_up=True,
            engine_start=seen.engine_start or state["engine_start"],
            # Containers that end with the host or the engine are started again with them.
            excused=state["excused"] or other or self.step.rebooted,
        )

    def _container(self) -> None:
        state, box = self.state, self.seen.container
        before = state["life"]
        if box is None:
            return
        life = {"id": box.id, "started_at": box.started_at, "restart_count": box.restart_count}
        self.same_life = before is not None and (before["id"], before["started_at"]) == (box.id, box.started_at)
        if before is not None and not self.same_life:
            self._restarted(before, box)
        if box.status == "running":
            state["excused"] = False
        state["life"] = life
        if state["policy"] not in (None, box.policy):
            after = "comes back" if box.survives_reboot else "STAYS DOWN"
            text = (
                f"The restart policy was {state['policy']} and is {box.policy}: after a reboot the container {after}."
            )
            self._tell("policy", text)
            self.tally["policies"] += not self.planned
        state["policy"], state["survives_reboot"] = box.policy, box.survives_reboot

    def _restarted(self, before: Mapping[str, Any], box: Box) -> None:
        number, text = 1, "The container was restarted, by no run of this collection."
        if self.planned:
            number, text = 0, f"A run of this collection replaced or restarted the container ({self.seen.run})."
        elif self.state["excused"]:
            number, text = 0, "The container was started again with the host or the engine."
            self.state["settling"] = True
        elif before["id"] != box.id:
            text = f"The container was replaced by {box.id[:12]}, by no run of this collection."
        elif box.restart_count > before["restart_count"]:
            number = box.restart_count - before["restart_count"]
            text = f"The container ended by itself and was started again, {plural(number, 'time')}."
        self._tell("restart", text)
        self.new["restarts"] = number
        self.tally["restarts"] += number

    def _workers(self) -> None:
        state, figures = self.state, self.seen.figures
        before = {int(pid): inner for pid, inner in state["workers"].items()}
        now = figures.workers if figures is not None else {}
        if self.seen.engine or (self.seen.container is not None and self.same_life and figures is None):
            now = before  # nothing is known of them
        vanished = [inner for pid, inner in before.items() if pid not in now] if self.same_life else []
        state["workers"] = {str(pid): inner for pid, inner in now.items()}
        kills = self._kills()
        recent = {pid: at for pid, at in state["counted"].items() if state["elapsed"] - at < REMEMBERED}
        # Each life of a container numbers its processes anew.
        state["counted"] = recent if self.same_life or self.seen.container is None else {}
        if self.planned:
            state["counted"].update((str(pid), state["elapsed"]) for pid in vanished)
            state["credit"] = {"died": 0, "recycled": 0}
            return
        deaths = self._settled(merge(self.seen.log, vanished, kills, state))
        self.new.update(deaths=len(deaths), oom_kills=kills)
        self.tally["oom_kills"] += kills
        for death in deaths:
            self.tally["causes"][death.cause] = self.tally["causes"].get(death.cause, 0) + 1
        if deaths:
            self.tally["deaths"] += len(deaths)
            self.tally["last_death"] = instant(self.now.wall)
        for death in deaths[:MOST_DEATHS]:
            self._tell("death", _death(death))
        if len(deaths) > MOST_DEATHS:
            self._tell("death", f"{len(deaths) - MOST_DEATHS} more workers died since the last sample.")
        if kills > sum(death.cause == "oom" for death in deaths):
            number = plural(kills, "process", "processes")
            self._tell("oom", f"The kernel killed {number} of the container for lack of memory.")

    def _settled(self, deaths: list[Told]) -> list[Told]:
        """Without the workers that could not start because what they depend on came back later than they did."""
        early = [death for death in deaths if self.state["settling"] and death.cause == "import_error"]
        if early:
            number, how = plural(len(early), "worker"), early[0].how.rstrip(".")
            self._tell("error", f"{number} could not start while host or engine came back, which is no death ({how}).")
        return [death for death in deaths if death not in early]

    def _kills(self) -> int:
        """Kills for lack of memory since the last sample; the counter begins anew with each life of a container."""
        figures, before = self.seen.figures, self.state["oom_kills"]
        now = figures.oom_kills if figures is not None else None
        if now is None:
            return 0
        self.state["oom_kills"] = now
        if self.tally["samples"] == 1 or self.planned:
            return 0
        return max(now - (before or 0), 0) if self.same_life else now

    def _memory(self) -> None:
        figures, memory = self.seen.figures, self.tally["memory"]
        if figures is None or figures.usage is None:
            return
        memory["peak"] = max(memory["peak"] or 0, figures.usage)
        memory["limit"] = figures.limit
        if figures.limit:
            percent = round(100 * figures.usage / figures.limit, 1)
            memory["percent"] = max(memory["percent"] or 0.0, percent)
            said = f"The container uses {human(figures.usage)} of {human(figures.limit)} of memory"
            self._high("memory", "error", percent, self.settings["memory_percent"], said)

    def _high(self, name: str, kind: str, percent: float, most: float, said: str) -> None:
        """Tell once that a figure is above its mark, and again when it was below in between."""
        high = self.state["high"]
        if percent >= most and name not in high:
            self._tell(kind, f"{said} ({percent:g} %).")
            high.append(name)
        elif percent < most and name in high:
            high.remove(name)

    @property
    def up(self) -> bool | None:
        """Whether the application serves; without an address whether its container runs."""
        if self.seen.health is not None:
            return self.seen.health.healthy
        if self.seen.engine:
            return None
        return self.seen.container is not None and self.seen.container.status == "running"

    def _health(self) -> None:
        state, tally, up = self.state, self.tally, self.up
        if self.planned:
            # How long a run may take to make it healthy is for that run to say.
            tally["planned"] += 1
            state["bad"] = None
            return
        if up is None:
            return
        tally["judged"] += 1
        tally["up"] += up
        state["settling"] = state["settling"] and not up
        bad = state["bad"]
        if bad is None and not up:
            bad = state["bad"] = {"elapsed": state["elapsed"], "time": instant(self.now.wall)}
            self._tell("unhealthy", f"Not healthy: {self._why()}.")
        if bad is None:
            return
        seconds = state["elapsed"] - bad["elapsed"]
        if up:
            self._tell("healthy", f"Healthy again, after {span(seconds)}.")
            state["bad"] = None
        # Up to the last bad one: of the time from there to the good one nothing is known.
        elif tally["longest"] is None or seconds >= tally["longest"]["seconds"]:
            tally["longest"] = {"seconds": seconds, "since": bad["time"]}

    def _why(self) -> str:
        """Why the application is not healthy, in words."""
        seen, words = self.seen, []
        if not seen.engine and seen.container is None:
            words.append("there is no container")
        elif seen.container is not None and seen.container.status != "running":
            words.append(f"the container is {seen.container.status}, exit code {seen.container.exit_code}")
        if seen.health is not None:
            answer = clean(seen.health.answer) or "an empty answer"
            words.append(f"HTTP {seen.health.status}: {answer}" if seen.health.status else answer)
        return "; ".join(words).rstrip(".")

    def _log(self) -> None:
        log, state = self.seen.log, self.state
        if log.problem and log.problem != state["log_problem"]:
            self._tell("error", f"The container's log cannot be read: {log.problem.rstrip('.')}.")
        state["log_problem"] = log.problem
        if self.planned:
            return
        if log.cut:
            self._tell("gap", "There was more of the log since the last sample than is searched.")
        for name, found in log.found.items():
            self.tally["errors"][name] = self.tally["errors"].get(name, 0) + found.number
            if found.number and not found.expected:
                self.tally["unexpected"][name] = self.tally["unexpected"].get(name, 0) + found.number
                number = plural(found.number, "line")
                self._tell("error", f"{name}: {number} in the log, such as: {found.sample.rstrip('.')}.")

    def _disk(self) -> None:
        percent = self.seen.disk_percent
        if percent is not None:
            self.tally["disk_percent"] = max(self.tally["disk_percent"] or 0.0, percent)
            self._high("disk", "disk", percent, self.settings["disk_percent"], "The disk is filling up")

    def _keeping(self) -> None:
        why, unkept = self.seen.unkept, self.tally.setdefault("unkept", {"samples": 0, "why": ""})
        if why:
            unkept.update(samples=unkept["samples"] + 1, why=why)
            if why != self.state.get("unkept"):
                self._tell("error", f"What is seen cannot be kept: {why.rstrip('.')}.")
        elif self.state.get("unkept"):
            self._tell("error", "What is seen can be kept again.")
        self.state["unkept"] = why

    def _line(self) -> dict[str, Any]:
        seen, figures, box = self.seen, self.seen.figures, self.seen.container
        errors = {} if self.planned else {name: found.number for name, found in seen.log.found.items() if found.number}
        return {
            "time": instant(self.now.wall),
            "elapsed": round(self.state["elapsed"], 1),
            "missed": self.step.missed,
            "run": seen.run,
            "engine": "down" if seen.engine else "up",
            "container": "unknown" if seen.engine else box.status if box is not None else "absent",
            "policy": box.policy if box is not None else None,
            "up": self.up,
            "status": seen.health.status if seen.health is not None else None,
            "latency_ms": round(seen.health.milliseconds, 1)
            if seen.health is not None and seen.health.healthy
            else None,
            "workers": len(figures.workers) if figures is not None else None,
            "worker_memory": {str(pid): size for pid, size in figures.sizes.items()} if figures is not None else {},
            "memory": figures.usage if figures is not None else None,
            "limit": figures.limit if figures is not None else None,
            **self.new,
            "errors": errors,
            "disk_percent": seen.disk_percent,
        }


def merge(log: Log, vanished: Iterable[int], kills: int, state: dict[str, Any]) -> list[Told]:
    """The deaths since the last sample, each one counted once, whoever tells of it.

    A worker that is gone, the line about it and the reason in the log may come in two samples one after the other, and
    a line with the reason names no process.

    :param vanished: workers of the sample before that are gone, as the container numbers them.
    :param kills: how many processes the kernel has killed for lack of memory.
    :param state: ``elapsed``; ``counted``, the processes that are through already; and ``credit``, how many the last
        sample knew of without their number. The latter two are brought up to date.
    """
    unnamed = [told for told in log.deaths if told.pid is None]
    deaths = [told for told in unnamed if told.cause not in ORDERLY]
    spare, credit = {"died": len(deaths), "recycled": len(unnamed) - len(deaths)}, dict(state["credit"])
    for told in log.deaths:
        first = told.pid is not None and _first(told.pid, state)
        if first and told.cause not in ORDERLY and not (told.cause == "unknown" and _take(credit)):
            deaths.append(told)
    for pid in vanished:
        if _first(pid, state) and pid not in log.finished and not _take(spare) and not _take(credit):
            deaths.append(Told(pid, "unknown", "its process is gone"))
    state["credit"] = spare
    return _blamed(deaths, kills)


def _first(pid: int, state: dict[str, Any]) -> bool:
    """Whether it is the first time that somebody tells of the end of a process."""
    if str(pid) in state["counted"]:
        return False
    state["counted"][str(pid)] = state["elapsed"]
    return True


def _take(account: dict[str, int]) -> bool:
    kind = next((kind for kind, left_over in account.items() if left_over), "")
    if kind:
        account[kind] -= 1
    return bool(kind)


def _blamed(deaths: list[Told], kills: int) -> list[Told]:
    """Deaths that nothing explains are the kernel's, as far as its counter goes."""
    left_over = kills - sum(told.cause == "oom" for told in deaths)
    blamed = []
    for told in deaths:
        ours = told.cause == "unknown" and left_over > 0
        blamed.append(Told(told.pid, "oom", "the kernel's counter says so") if ours else told)
        left_over -= ours
    return blamed


def _death(death: Told) -> str:
    who = f"Worker {death.pid}" if death.pid is not None else "A worker"
    how = death.how.rstrip(".")
    return f"{who} died: {CAUSES.get(death.cause, death.cause)}" + (f" ({how})." if how else ".")


# --- the whole watch -------------------------------------------------------------------------------------------------


def verdict(settings: Mapping[str, Any], state: Mapping[str, Any]) -> tuple[str, list[str]]:
    """``healthy``, ``degraded``, ``failed`` or ``unknown``, and why it is not healthy; the worst reasons first.

    :param settings: ``interval``, ``outage``, ``memory_percent``, ``disk_percent``.
    """
    if not state["tally"]["samples"]:
        return UNKNOWN, ["No sample was taken yet."]
    failed, degraded = _failures(settings, state), _doubts(settings, state)
    return (FAILED if failed else DEGRADED if degraded else HEALTHY), [*failed, *degraded]


def _failures(settings: Mapping[str, Any], state: Mapping[str, Any]) -> list[str]:
    tally, reasons = state["tally"], []
    if tally["deaths"]:
        causes = ", ".join(f"{cause} {number}" for cause, number in sorted(tally["causes"].items()))
        number = plural(tally["deaths"], "worker")
        reasons.append(f"{number} died ({causes}), the last one by {tally['last_death']}.")
    if tally["oom_kills"] > tally["causes"].get("oom", 0):
        number = plural(tally["oom_kills"], "process", "processes")
        reasons.append(f"The kernel killed {number} of the container for lack of memory.")
    longest = tally["longest"]
    if longest is not None and longest["seconds"] >= settings["outage"]:
        now = state["bad"] is not None and state["bad"]["time"] == longest["since"]
        text = (
            f"It is not healthy since {longest['since']}" if now else f"It was not healthy from {longest['since']} on"
        )
        reasons.append(f"{text}, for {span(longest['seconds'])}.")
    return reasons


def _doubts(settings: Mapping[str, Any], state: Mapping[str, Any]) -> list[str]:
    tally, reasons = state["tally"], []
    bad = tally["judged"] - tally["up"]
    if bad:
        was = "was" if bad == 1 else "were"
        reasons.append(f"{bad} of {plural(tally['judged'], 'sample')} {was} not healthy.")
    if tally["restarts"]:
        reasons.append(
            f"The container was restarted {plural(tally['restarts'], 'time')}, by no run of this collection."
        )
    if tally["engine_down"]:
        reasons.append(f"The Docker engine did not answer in {plural(tally['engine_down'], 'sample')}.")
    for name, number in sorted(tally["unexpected"].items()):
        reasons.append(f"{name}: {plural(number, 'line')}.")
    if tally["policies"]:
        reasons.append("The restart policy was changed, by no run of this collection.")
    if state.get("survives_reboot") is False:
        reasons.append(f"After a reboot the container stays down: its restart policy is {state['policy']}.")
    percent = tally["memory"]["percent"]
    if percent is not None and percent >= settings["memory_percent"]:
        reasons.append(f"Memory rose to {percent:g} % of the container's limit.")
    percent = tally["disk_percent"]
    if percent is not None and percent >= settings["disk_percent"]:
        reasons.append(f"The disk was {percent:g} % full.")
    if state["log_problem"]:
        reasons.append(f"The container's log cannot be read: {state['log_problem'].rstrip('.')}.")
    unkept = tally.get("unkept")
    if unkept and unkept["samples"]:
        number = plural(unkept["samples"], "sample")
        reasons.append(f"What was seen in {number} could not be kept: {unkept['why'].rstrip('.')}.")
    due = tally["samples"] + tally["missed"]
    if tally["missed"] > 1 and 100 * tally["missed"] > MISSED * due:
        reasons.append(f"{tally['missed']} of {plural(due, 'sample')} were missed: host or timer was down.")
    return reasons


def summary(state: Mapping[str, Any], samples: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures of the whole watch.

    :param samples: those that are kept; the counts are of all that were taken.
    """
    tally = state["tally"]
    latencies = sorted(float(one["latency_ms"]) for one in samples if finite(one.get("latency_ms")) is not None)
    return {
        "availability_percent": round(100 * tally["up"] / tally["judged"], 2) if tally["judged"] else None,
        "latency_ms": {
            "median": _quantile(latencies, 0.5),
            "p95": _quantile(latencies, 0.95),
            "max": latencies[-1] if latencies else None,
        },
        "memory": {
            "limit": tally["memory"]["limit"],
            "peak": tally["memory"]["peak"],
            "peak_percent": tally["memory"]["percent"],
        },
        **{name: tally[name] for name in ("deaths", "oom_kills", "restarts")},
        "errors": dict(tally["errors"]),
    }


def _quantile(ordered: Sequence[float], part: float) -> float | None:
    return ordered[min(int(part * len(ordered)), len(ordered) - 1)] if ordered else None


def finite(value: Any) -> float | None:
    """A finite number of a line that may be damaged; None for anything else."""
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < float("inf")
    return value if good else None


def series(samples: Sequence[Mapping[str, Any]], points: int) -> list[dict[str, Any]]:
    """The samples as so many points at most, oldest first, each the worst of its stretch."""
    count = min(len(samples), points)
    bounds = [len(samples) * index // count for index in range(count + 1)] if count else []
    return [_worst(samples[start:end]) for start, end in zip(bounds, bounds[1:])]


def _worst(stretch: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    def every(name: str) -> list[float]:
        return [value for value in (finite(one.get(name)) for one in stretch) if value is not None]

    ups = [one.get("up") for one in stretch]
    fullest = max(stretch, key=lambda one: finite(one.get("memory")) or 0)
    sizes = fullest.get("worker_memory")
    limits = every("limit")
    return {
        "time": str(stretch[0].get("time", "")),
        "up": False if False in ups else True if True in ups else None,
        "latency_ms": max(every("latency_ms"), default=None),
        "workers": min(every("workers"), default=None),
        "memory": max(every("memory"), default=None),
        "limit": limits[-1] if limits else None,
        "worker_memory": sizes if isinstance(sizes, dict) else {},
        **{name: int(sum(every(name))) for name in ("deaths", "oom_kills", "restarts")},
        "errors": int(sum(sum(_numbers(one.get("errors"))) for one in stretch)),
        "disk_percent": max(every("disk_percent"), default=None),
    }


def _numbers(found: Any) -> list[float]:
    values = found.values() if isinstance(found, dict) else ()
    return [value for value in map(finite, values) if value is not None]
