# SPDX-License-Identifier: GPL-3.0-or-later
"""What uvicorn, gunicorn, Python and the C library write when a worker ends, put together to one cause for each death.

uvicorn (0.30 to 0.54) says only that a child died, in lines of level INFO; what its supervisor prints is on stderr.
gunicorn (20 to 27) says how, from level WARNING on, and takes any SIGKILL for lack of memory. An exception that ends a
worker is printed by Python itself, whatever the log level. Lines that tell why come just before the line that tells
of the death, or alone where that one is hidden.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ansible_collections.composeops.hotfix.plugins.module_utils._kernel_log import Event
from ansible_collections.composeops.hotfix.plugins.module_utils._logs import Line, Scan, epoch, shorten
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import mask

# Deaths of which all is kept; a worker that cannot start dies four times a second.
KEPT = 200
# Exit codes after an exception: Python's; uvicorn's STARTUP_FAILURE and gunicorn's WORKER_BOOT_ERROR; APP_LOAD_ERROR.
FAILED = (1, 3, 4)
# Process IDs that are remembered for a while.
REMEMBERED = 5000
# Seconds between a reason and the line that tells of the death: uvicorn may wait out a ping of five seconds first.
BEFORE = 8.0
AFTER = 0.5
JUST_BEFORE = 1.0
# Lines behind "Traceback" among which its last one is looked for.
TRACEBACK_LINES = 400

MARKS = re.compile(
    r"Child process \[(?P<died>\d+)\] died"
    r"|Child process \[(?P<failed>\d+)\] failed to start"
    r"|Started server process \[(?P<started>\d+)\]"
    r"|Finished server process \[(?P<finished>\d+)\]"
    r"|(?P<recycle>Maximum request limit of \d+ exceeded|Autorestarting worker after current request)"
    r"|(?<!DIRTY )WORKER TIMEOUT \(pid:(?P<timeout>\d+)\)"
    r"|Worker (?:\(pid:|with pid )(?P<worker>\d+)\)? "
    r"(?:was sent (?P<signal>SIG\w+|signal \d+)|was terminated due to signal (?P<number>\d+)"
    r"|exited with code (?P<code>-?\d+))"
    r"|(?P<exception>^Process SpawnProcess-\d+:|Exception in worker process|Error loading ASGI app"
    r"|Application startup failed|Error importing ASGI app)"
    r"|(?P<fatal>Fatal Python error: |double free or corruption|free\(\): invalid|malloc\(\): |munmap_chunk\(\)"
    r"|corrupted (?:size|double)|terminate called |stack smashing detected|Segmentation fault|Bus error)"
    r"|(?P<traceback>Traceback \(most recent call last\))"
)
COLOURS = re.compile(r"\x1b\[[\d;]*m")
# The last line of a traceback, which names the exception: not indented, and so no line of the code.
EXCEPTION = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Za-z_]*[A-Z]\w*(?:Error|Exception|Configured|Exit|NotFound|Failure)\b.*")
NUMBERS = {4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL", 11: "SIGSEGV", 15: "SIGTERM"}
# Sent to workers that are to end.
STOPPING = ("SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGWINCH")


class Verdict(NamedTuple):
    """Why a worker ended.

    :ivar cause: ``oom``, ``ping_timeout``, ``import_error``, ``crash``, ``recycle``, ``unknown``, or ``stopped`` for
        one that was told to end.
    :ivar how: what shows it, in words.
    :ivar sure: 3: known; 2: likely; 1: a guess.
    :ivar code: the exit code of one that ended by itself, where it was seen.
    """

    cause: str
    how: str
    sure: int
    code: int | None = None


class Death(NamedTuple):
    """A worker that died: its process ID in the container where that is known, and Unix time."""

    pid: int | None
    time: float
    verdict: Verdict


class _Clue(NamedTuple):
    """A line that tells why some worker is about to end."""

    time: float
    cause: str
    how: str


class Story(Scan):
    """Reads the log and finds the deaths in it.

    :param known: what watching the processes has shown, by process ID in the container, with the time.
    :param events: what kernel and engine know, with times.
    :param max_requests: after how many requests the server replaces a worker, if it was told to.
    :param secrets: values to mask.
    """

    def __init__(
        self,
        *,
        known: Mapping[int, tuple[float, Verdict]] | None = None,
        events: Sequence[Event] = (),
        max_requests: int | None = None,
        secrets: Iterable[str] = (),
    ) -> None:
        super().__init__([], secrets=secrets)
        self.max_requests = max_requests
        self.secrets = list(secrets)
        self.known = dict(known or {})
        self.events = list(events)
        # Kills of the container's processes, for what no line of a death explains.
        self.kills = sum(event.cause == "oom" and event.ours for event in self.events)
        self.causes: Counter[str] = Counter()
        self.unexplained = 0
        self.deaths: deque[Death] = deque(maxlen=KEPT)
        self.exception: str | None = None
        self.speaks = False
        self._clues: list[_Clue] = []
        self._started: deque[int] = deque(maxlen=REMEMBERED)
        self._finished: deque[int] = deque(maxlen=REMEMBERED)
        self._timed_out: deque[int] = deque(maxlen=REMEMBERED)
        self._told: deque[int] = deque(maxlen=REMEMBERED)
        self._traceback = 0
        self._now = 0.0

    def feed(self, line: Line) -> None:
        """Look at one more line."""
        super().feed(line)
        text = COLOURS.sub("", line.text)
        match = MARKS.search(text)
        if self._traceback and not match:
            self._in_traceback(text)
            return
        if match is None:
            return
        self._now = epoch(line.time) if line.time else self._now
        self._expire(self._now - BEFORE)
        self._mark(str(match.lastgroup), match, text)

    def end(self) -> None:
        """To be called behind the last line: what no line of the log told of is added."""
        self._expire(float("inf"))
        for pid, (when, verdict) in list(self.known.items()):
            if verdict.cause != "stopped":
                self._add(Death(pid, when, verdict))
        self.known.clear()

    def started(self, pid: int) -> bool:
        """Whether the log tells of the start of a worker, by its process ID in the container."""
        return pid in self._started

    def _mark(self, kind: str, match: re.Match[str], text: str) -> None:
        if kind in ("died", "failed"):
            self.speaks = True
            self._died(int(match[kind]), failed=kind == "failed")
        elif kind in ("signal", "number", "code"):
            self._gunicorn(int(match["worker"]), match)
        elif kind == "timeout":
            pid = int(match[kind])
            self._timed_out.append(pid)
            self.known.pop(pid, None)
            self._add(Death(pid, self._now, Verdict("ping_timeout", f"gunicorn: WORKER TIMEOUT (pid:{pid})", 3)))
        elif kind == "started":
            self.speaks = True
            self._started.append(int(match[kind]))
        elif kind == "finished":
            self._finished.append(int(match[kind]))
        elif kind == "recycle":
            self._clues.append(_Clue(self._now, "recycle", f"the server's own line: {shorten(match[kind])}"))
        elif kind == "exception":
            self._clues.append(_Clue(self._now, "import_error", f"the log says: {match[kind].rstrip(':')}"))
            self._traceback = TRACEBACK_LINES
        elif kind == "fatal":
            self._clues.append(_Clue(self._now, "crash", f"the log says: {self._shown(text[match.start() :])}"))
        elif kind == "traceback":
            self._traceback = TRACEBACK_LINES

    def _in_traceback(self, text: str) -> None:
        self._traceback -= 1
        # gunicorn's and JSON logs may put something before it, a traceback's own lines are indented.
        if EXCEPTION.match(text):
            self.exception = self._shown(text)
            self._traceback = 0

    def _shown(self, text: str) -> str:
        return shorten(mask(text.strip(), self.secrets))

    def _died(self, pid: int, *, failed: bool) -> None:
        """uvicorn's supervisor tells of a death."""
        when, verdict = self.known.pop(pid, (0.0, None))
        if verdict is not None and abs(when - self._now) > BEFORE:
            self.known[pid], verdict = (when, verdict), None
        if pid in self._told:
            return
        self._told.append(pid)
        verdict = self._explained(pid, verdict, failed)
        if verdict.cause != "stopped":
            self._add(Death(pid, self._now, verdict))

    def _explained(self, pid: int, seen: Verdict | None, failed: bool) -> Verdict:
        """One cause from all that is known, the surest first."""
        if seen is not None and seen.cause in ("oom", "ping_timeout", "stopped"):
            return seen
        exception = self._exception_of(pid) if seen is None or seen.code in (None, *FAILED) else None
        clue = exception or self._take(("recycle",) if seen is None or seen.code in (None, 0) else ())
        if clue is None and (seen is None or seen.cause == "crash"):
            clue = self._take(("crash",))
        if clue is not None:
            return Verdict(clue.cause, clue.how, 3)
        if seen is not None and seen.cause != "unknown":
            return seen
        return self._silent(pid, seen, failed)

    def _silent(self, pid: int, seen: Verdict | None, failed: bool) -> Verdict:
        """The cause of a death for which no line of the log gives a reason."""
        in_order = seen is None and pid in self._finished
        if in_order and self.max_requests:
            # uvicorn tells of the limit only in later versions than 0.30.
            how = f"it shut down in good order, and it has a limit of {self.max_requests} requests"
            return Verdict("recycle", how, 3)
        if in_order:
            return Verdict("unknown", "it shut down in good order, as after SIGTERM, and no line says why", 1)
        event = self._event()
        if event is not None:
            return Verdict(event.cause, event.text, 3 if event.ours else 2)
        if failed:
            how = (
                "it ended with exit code 3 and no exception, as by os._exit(3), which uvicorn takes for a failed start"
            )
            return Verdict("crash", how, 2)
        return seen or Verdict("unknown", "uvicorn's line tells no cause", 1)

    def _exception_of(self, pid: int) -> _Clue | None:
        """An exception that ended a worker: of one that was serving already it can only be that of its startup."""
        served = pid in self._started
        for clue in self._clues:
            if clue.cause == "import_error" and (not served or "startup failed" in clue.how):
                self._clues.remove(clue)
                return clue
        return None

    def _gunicorn(self, pid: int, match: re.Match[str]) -> None:
        """gunicorn's master tells how a worker ended."""
        verdict = self.known.pop(pid, (0.0, None))[1]
        if pid in self._timed_out or pid in self._told:
            return
        self._told.append(pid)
        name = match["signal"] or NUMBERS.get(int(match["number"] or 0), f"signal {match['number']}")
        if match["code"] is None and name in STOPPING:
            return
        said = f"gunicorn: worker {pid} {'exited with code ' + match['code'] if match['code'] else 'was sent ' + name}"
        self._add(Death(pid, self._now, self._told_by_gunicorn(said, name, match["code"], verdict)))

    def _told_by_gunicorn(self, said: str, name: str, code: str | None, seen: Verdict | None) -> Verdict:
        if code is not None:
            clue = self._take(("import_error",))
            return Verdict("import_error", clue.how, 3) if clue else Verdict("crash", said, 3)
        event = self._event()
        if name != "SIGKILL":
            return Verdict("crash", said if event is None else f"{said}; {event.text}", 3)
        if seen is not None and seen.cause == "oom":
            return seen
        if event is not None and event.cause == "oom":
            return Verdict("oom", event.text, 3)
        return Verdict("unknown", said, 1 if seen is None else seen.sure)

    def _take(self, causes: Iterable[str]) -> _Clue | None:
        """The oldest line that tells why, taken once."""
        clue = next((clue for clue in self._clues if clue.cause in causes), None)
        if clue is not None:
            self._clues.remove(clue)
        return clue

    def _event(self) -> Event | None:
        """What happened just before by the kernel's or the engine's clock, taken once.

        A crash may be that of another container's process: only one just before counts.
        """
        near = [
            event
            for event in self.events
            if -(BEFORE if event.ours else JUST_BEFORE) <= event.time - self._now <= AFTER
        ]
        if not near:
            return None
        self.events.remove(near[-1])
        return near[-1]

    def _expire(self, before: float) -> None:
        """A line that tells why, and that no line of a death follows, stands for a death itself."""
        while self._clues and self._clues[0].time < before:
            clue = self._clues.pop(0)
            pid = self._seen_near(clue)
            if pid is not None:
                del self.known[pid]
                self._told.append(pid)
            self._add(Death(pid, clue.time, Verdict(clue.cause, clue.how, 3)))

    def _seen_near(self, clue: _Clue) -> int | None:
        """The worker that was seen to end soon after such a line, in a way that fits it."""
        codes = {"recycle": (None, 0), "import_error": (None, *FAILED)}.get(clue.cause, (None,))
        for pid, (when, verdict) in self.known.items():
            fits = verdict.cause in ("unknown", clue.cause) or (verdict.cause == "crash" and verdict.code is not None)
            if fits and verdict.code in codes and -AFTER <= when - clue.time <= BEFORE:
                return pid
        return None

    def _add(self, death: Death) -> None:
        self.causes[death.verdict.cause] += 1
        self.unexplained += death.verdict.cause == "unknown" and death.verdict.sure == 1
        self.deaths.append(death)
