# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes one sample of the application on the managed host, where there is no Ansible; systemd starts it each time.

The module ``monitor`` puts this file and all that it imports beside the watch's data, so that nothing is written twice.
It costs little: two calls of docker, one request, the kernel's small files, and of the log what is new.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import socket
import sys
import time
from collections.abc import Mapping
from functools import partial
from typing import Any, Callable

from ansible_collections.composeops.hotfix.plugins.module_utils import (
    _cgroup,
    _container,
    _health,
    _journal,
    _kernel_log,
    _lock,
    _monitor_notify,
    _processes,
    _server_settings,
)
from ansible_collections.composeops.hotfix.plugins.module_utils import _monitor as mon
from ansible_collections.composeops.hotfix.plugins.module_utils import _monitor_store as store
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Docker, Process
from ansible_collections.composeops.hotfix.plugins.module_utils._container_log import read_log
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._kernel_files import kernel_text, stat
from ansible_collections.composeops.hotfix.plugins.module_utils._logs import (
    Line,
    Scan,
    compile_patterns,
    epoch,
    life_start,
    shorten,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._monitor_units import Systemd, unit_name
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import hidden_values, mask
from ansible_collections.composeops.hotfix.plugins.module_utils._worker_log import COLOURS, Story
from ansible_collections.composeops.hotfix.plugins.module_utils._worker_samples import inner_pid
from ansible_collections.composeops.hotfix.plugins.module_utils._workers import sizes

# Seconds after which the engine counts as hung.
PATIENCE = 20.0
# Lines of the log that are read from its end; the second only where the first were all new. The engine would otherwise
# go through all of the log, however large it is, to find those that are.
TAILS = (2000, 50_000)
ENGINE_PID = "/run/docker.pid"
# uvicorn's and gunicorn's words for a worker that ends in good order.
FINISHED = re.compile(r"Finished server process \[(\d+)\]|Worker exiting \(pid: (\d+)\)")


def clock() -> mon.Clock:
    """The time now. A container that plays a host boots with its first process, not with its kernel."""
    boot, first = kernel_text(_lock.BOOT_ID).strip(), stat(1)
    started = first.started if first is not None else 0.0
    return mon.Clock(time.time(), f"{boot}:{started:g}", time.clock_gettime(time.CLOCK_BOOTTIME) - started)


class Reader(Scan):
    """Counts the patterns, and has the story of the workers told by the same lines."""

    def __init__(self, patterns: list[Any], story: Story, secrets: set[str]) -> None:
        super().__init__(patterns, secrets=secrets, samples=1)
        self.story = story
        self.finished: set[int] = set()

    def feed(self, line: Line) -> None:
        """Look at one more line."""
        super().feed(line)
        self.story.feed(line)
        match = FINISHED.search(COLOURS.sub("", line.text))
        if match:
            self.finished.add(int(match[1] or match[2]))


class Look:
    """One look at the application.

    :param settings: of the watch.
    :param state: what is remembered; what only the next look needs, such as how far the log is read, is noted in it.
    :param folder: the project's folder.
    """

    def __init__(self, settings: Mapping[str, Any], state: dict[str, Any], folder: str, docker: Docker) -> None:
        self.settings, self.state, self.folder, self.docker = settings, state, folder, docker
        self.begun = time.time()

    def seen(self) -> mon.Seen:
        """All that is seen now; a fault of the engine is a part of it."""
        health, disk = self._health(), self._disk()
        try:
            inspect = self._inspect()
        except HotfixError as error:
            return mon.Seen(engine=shorten(error.message), run=self._run(), health=health, disk_percent=disk)
        start = _engine_start()
        if inspect is None:
            return mon.Seen(engine_start=start, run=self._run(), health=health, disk_percent=disk)
        if health is not None:
            health = health._replace(answer=mask(health.answer, hidden_values(_container.environment(inspect))))
        figures = self._figures(inspect)
        log = self._log(inspect, figures)
        # Asked last: a run may begin and end while we look.
        return mon.Seen("", start, self._run(), _box(inspect), health, figures, log, disk)

    def _health(self) -> mon.Health | None:
        options = self.settings
        if not options["url"]:
            return None
        begun = time.monotonic()
        status, text = _health.ask(options["url"], timeout=options["timeout"], validate_certs=options["validate_certs"])
        milliseconds = (time.monotonic() - begun) * 1000
        return mon.Health(
            _health.is_healthy(status, text, options["body"]), status, milliseconds, shorten(mask(text[:4096]))
        )

    def _disk(self) -> float | None:
        """The fullest of the file systems that matter, as df reckons it."""
        found = []
        for path in self.settings["disks"]:
            with contextlib.suppress(OSError):
                space = os.statvfs(path)
                used = space.f_blocks - space.f_bfree
                if used + space.f_bavail:
                    found.append(round(100 * used / (used + space.f_bavail), 1))
        return max(found, default=None)

    def _inspect(self) -> dict[str, Any] | None:
        """The container that serves: the one of the last look as long as it runs, else looked for anew."""
        options, life = self.settings, self.state["life"]
        known = self.docker.lookup(container=life["id"]) if life is not None else None
        if known is not None and known["State"]["Running"] and not _leaving(known):
            return known
        try:
            return self.docker.lookup(
                project_src=options["project_src"], service=options["service"], files=options["files"] or ()
            )
        except HotfixError:
            self.docker.version()  # raises when it is the engine that does not answer
            return known

    def _run(self) -> str:
        """The run of this collection that is at work, or was since the last sample; empty when there was none."""
        working = _lock.at_work(self.folder)
        with contextlib.suppress(HotfixError):
            held = _lock.read(self.folder)
            # One that was killed leaves its lock; it must not excuse everything for the rest of the day.
            if held is not None and (working or _lock.idle(held, _lock.clock()) < _lock.TTL):
                return held.run
        if working:
            return working
        last = self.state["clock"]["wall"] if self.state["clock"] else self.begun
        with contextlib.suppress(OSError, HotfixError):
            if os.path.getmtime(os.path.join(self.folder, _journal.JOURNAL)) >= last - 1:
                entries = [one for one in _journal.entries(self.folder) if isinstance(one, dict) and one.get("run")]
                recent = [one for one in entries if _epoch(one.get("time")) >= last - 1]
                return str(recent[-1]["run"]) if recent else ""
        return ""

    def _figures(self, inspect: Mapping[str, Any]) -> mon.Figures | None:
        pid, identity = int(inspect["State"].get("Pid") or 0), inspect["Id"]
        if not pid or not inspect["State"]["Running"]:
            return None
        processes = _running(pid, identity) or self._asked(identity)
        found = _processes.workers(processes)
        self._remember(inspect, processes, found)
        # After the workers: who is gone by then has been counted by the kernel.
        memory = _cgroup.memory(pid, identity)
        workers = {one: inner_pid(one) for one in found.pids}
        known = {}
        with contextlib.suppress(HotfixError):
            known = {workers[one]: size.pss for one, size in sizes(found.pids).items()}
        usage = memory.usage - min(_droppable(pid, identity), memory.usage) if memory.usage is not None else None
        return mon.Figures(workers, known, usage, memory.limit, memory.oom_kills)

    def _asked(self, identity: str) -> list[Process]:
        """The processes as the engine tells them, where the control group's file does not."""
        with contextlib.suppress(HotfixError):
            return self.docker.processes(identity)
        return []

    def _remember(self, inspect: Mapping[str, Any], processes: list[Process], found: _processes.Workers) -> None:
        """Note once in a container's life after how many requests its workers are replaced, which is no death."""
        life = [inspect["Id"], inspect["State"].get("StartedAt")]
        if self.state.get("limit_of") == life or not found.pids:
            return
        limit = None
        with contextlib.suppress(HotfixError):
            limit = _server_settings.settings_of(inspect, processes, found).max_requests
        self.state.update(limit_of=life, max_requests=limit)

    def _log(self, inspect: Mapping[str, Any], figures: mon.Figures | None) -> mon.Log:
        since = self._since(inspect)
        driver = inspect["HostConfig"].get("LogConfig", {}).get("Type", "")
        if driver == "none":
            return mon.Log(problem="its logging driver is none")
        secrets = hidden_values(_container.environment(inspect))
        for tail in TAILS:
            reader = Reader(
                compile_patterns(self.settings["patterns"]), self._story(inspect, figures, secrets), secrets
            )
            options = ["--timestamps", "--since", since, "--tail", str(tail)]
            try:
                read_log(self.docker, inspect, options, reader, None)
            except HotfixError as error:
                return mon.Log(problem=shorten(error.message))
            if reader.lines < tail:
                break
        reader.story.end()
        self.state["log"] = {"id": inspect["Id"], "since": _after(reader.last) if reader.last else since}
        return mon.Log(
            deaths=tuple(mon.Told(one.pid, one.verdict.cause, one.verdict.how) for one in reader.story.deaths),
            finished=frozenset(reader.finished),
            found={
                match.pattern.name: mon.Found(match.count, " ".join(match.samples), match.pattern.expect == "any")
                for match in reader.matches
            },
            cut=reader.lines >= TAILS[-1],
        )

    def _since(self, inspect: Mapping[str, Any]) -> str:
        """From when on lines are new."""
        known, began = self.state.get("log"), self.state["began"]
        if known is not None and known["id"] == inspect["Id"] and epoch(known["since"]) <= self.begun + 1:
            return str(known["since"])
        state = _container.state(inspect)
        if known is not None and known["id"] == inspect["Id"]:
            # The clock was set back: what is new cannot be told from the times of lines.
            return _rfc3339(self.begun - self.settings["interval"])
        if state.started_at is not None and epoch(state.started_at) > began:
            return life_start(state.started_at, state.finished_at)
        return _rfc3339(began)

    def _story(self, inspect: Mapping[str, Any], figures: mon.Figures | None, secrets: set[str]) -> Story:
        """Who puts the lines together; the kernel's log is asked only when its counter says that there is something."""
        before, events = self.state["oom_kills"], []
        if figures is not None and before is not None and (figures.oom_kills or 0) > before:
            last = self.state["clock"]["wall"] if self.state["clock"] else self.begun
            events = _kernel_log.events(_kernel_log.read(last - 1) or [], inspect["Id"])
        return Story(events=events, max_requests=self.state.get("max_requests"), secrets=secrets)


def _box(inspect: Mapping[str, Any]) -> mon.Box:
    state, policy = _container.state(inspect), _container.restart_policy(inspect)
    name = f"{policy.name}:{policy.maximum_retry_count}" if policy.maximum_retry_count else policy.name
    return mon.Box(
        inspect["Id"],
        state.started_at or "",
        state.status,
        state.exit_code,
        state.restart_count,
        name,
        policy.survives_reboot,
    )


def _leaving(inspect: Mapping[str, Any]) -> bool:
    """Whether another container takes over from this one at the moment."""
    return str(inspect["Name"]).endswith((_container.INCOMING, _container.OUTGOING))


def _engine_start() -> str:
    """Which process the engine is; empty where it leaves no file that says so."""
    number = kernel_text(ENGINE_PID).strip()
    process = stat(int(number)) if number.isdigit() else None
    return f"{number}:{process.started:g}" if process is not None else ""


def _running(pid: int, identity: str) -> list[Process]:
    """The container's processes by its control group, without asking the engine."""
    group = _cgroup.find_group(pid, "memory", identity)
    found = []
    for number in kernel_text(f"{group.path}/cgroup.procs").split() if group is not None else ():
        state = stat(int(number))
        if state is not None and not state.ended:
            words = tuple(kernel_text(f"/proc/{number}/cmdline").rstrip("\0").split("\0"))
            found.append(Process(int(number), state.ppid, " ".join(words), words))
    # A container whose own service manager made groups of its own has its processes further down.
    return found if any(process.pid == pid for process in found) else []


def _droppable(pid: int, identity: str) -> int:
    """Bytes of page cache that the kernel could drop at once, which ``docker stats`` does not count either."""
    group = _cgroup.find_group(pid, "memory", identity)
    text = kernel_text(f"{group.path}/memory.stat") if group is not None else ""
    fields = dict(re.findall(r"^(\w+) (\d+)$", text, re.MULTILINE))
    return int(fields.get("total_inactive_file") or fields.get("inactive_file") or 0)


def _after(instant: str) -> str:
    """The nanosecond after an instant that the engine gave."""
    whole, _dot, rest = instant.partition(".")
    digits, zone = rest[:9], rest[9:]
    if not digits.isdigit():
        return instant
    number = int(digits) + 1
    return f"{whole}.{number:09d}{zone}" if number < 10**9 else instant


def _rfc3339(wall: float) -> str:
    return f"{mon.instant(wall)[:-1]}.{int(wall % 1 * 1e6):06d}Z"


def _epoch(text: Any) -> float:
    try:
        return epoch(str(text))
    except HotfixError:
        return 0.0


def sample(
    home: str, *, docker: Docker | None = None, systemd: Systemd | None = None, now: Callable[[], mon.Clock] = clock
) -> None:
    """Take a sample, and end the watch when its time is over. The caller holds the folder.

    :raises HotfixError: when the files of the watch cannot be used; where they cannot be written, at the end.
    """
    settings, folder = store.load(home, store.SETTINGS), os.path.dirname(home)
    if settings is None:
        raise HotfixError("there is no watch here", path=home, remedy="Run playbook monitor with monitor_action=start")
    systemd = systemd or Systemd(settings["unit_dir"])
    state = store.recall(home) or mon.fresh(time.time())
    if state.get("ended") or state.get("stopped"):
        clean_up(home, folder, systemd)
        return
    torn = bool(state.get("open"))
    problem = _tried(partial(store.remember, home, {**state, "open": True}))
    if torn and state.get("log"):
        # A sample was ended before it was through, perhaps by the log that it could not cope with.
        state["log"] = {**state["log"], "since": _rfc3339(time.time() - settings["interval"])}
    look = Look(settings, state, folder, docker or Docker(timeout=PATIENCE))
    seen = look.seen()._replace(unkept=problem.message if problem is not None else "")
    judged = mon.judge(settings, state, seen, now())
    state, events = judged.state, judged.events
    if torn:
        events.insert(0, _event("gap", "A sample was ended before it was through."))
    state["verdict"], state["reasons"] = mon.verdict(settings, state)
    events += _notify(home, settings, state, events)
    cost = _cost()
    state["tally"]["cpu"] += cost["cpu"]
    state["tally"]["rss"] = max(state["tally"]["rss"], cost["rss"])
    if not mon.left(settings, state):
        state["ended"] = mon.instant(time.time())
    state["open"] = False
    after = _tried(
        partial(store.remember, home, state),
        partial(store.append, home, store.SAMPLES, [{**judged.sample, "cost": cost}]),
        partial(store.append, home, store.EVENTS, events),
    )
    if state.get("ended"):
        with contextlib.suppress(HotfixError):
            _journal.append(folder, "monitor ended", result=state["verdict"], run="")
        clean_up(home, folder, systemd)
    # What could not be written must not keep anybody from being told.
    for error in (problem, after):
        if error is not None:
            raise error


def _tried(*writes: Callable[[], None]) -> HotfixError | None:
    """Do each of these; what went wrong first, None when nothing did."""
    problems = []
    for write in writes:
        try:
            write()
        except HotfixError as error:
            problems.append(error)
    return problems[0] if problems else None


def clean_up(home: str, folder: str, systemd: Systemd) -> None:
    """Remove the units, the program and the addresses; the data stays.

    :raises HotfixError: naming what could not be removed.
    """
    systemd.remove(unit_name(folder))
    store.remove(home, store.NOTIFY, store.CODE)


def _notify(
    home: str, settings: Mapping[str, Any], state: dict[str, Any], events: list[dict[str, str]]
) -> list[dict[str, str]]:
    """Tell of the first failure, and what there is to say of that."""
    notify = store.load_quietly(home, store.NOTIFY) or {}
    done, again = state.get("notified", {}), state.get("tell_at", {})
    # Once more with the last sample, however long the distance has become.
    elapsed = state["elapsed"] if mon.left(settings, state) else float("inf")
    ways = _monitor_notify.due(notify, done, again, elapsed)
    if state["verdict"] != mon.FAILED or not ways:
        return []
    about = {
        "host": socket.gethostname(),
        "project_src": settings["project_src"],
        "service": settings["service"],
        "time": mon.instant(time.time()),
    }
    recent = [*store.lines(home, store.EVENTS), *events]
    state["notified"], problems = _monitor_notify.send(ways, done, about, state["reasons"], recent)
    state["tell_at"] = {
        **again,
        **{name: state["elapsed"] + _monitor_notify.wait(state["notified"][name]) for name in ways},
    }
    return [_event("error", f"The failure could not be told by {problem.rstrip('.')}.") for problem in problems]


def _event(kind: str, text: str) -> dict[str, str]:
    return {"time": mon.instant(time.time()), "kind": kind, "text": text}


def _cost() -> dict[str, Any]:
    """What this sample has taken: seconds of CPU, and the bytes that we and the largest child held at most."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(one.ru_utime + one.ru_stime for one in used)
    return {"cpu": round(cpu, 3), "rss": sum(one.ru_maxrss for one in used) * 1024}


def main() -> str | None:
    """Entry point: the folder of the watch is the only argument. What went wrong is returned, for the exit status."""
    home = sys.argv[1]
    try:
        with store.alone(home):
            sample(home)
    except HotfixError as error:
        return f"composeops.hotfix monitor: {error}"
    return None
