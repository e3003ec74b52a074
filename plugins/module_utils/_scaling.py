# SPDX-License-Identifier: GPL-3.0-or-later
"""Changing the number of workers of a running server, by SIGTTIN and SIGTTOU to its supervisor.

What the programs do with them (uvicorn 0.30 to 0.54, gunicorn 20 to 27): SIGTTIN adds a worker. SIGTTOU makes uvicorn
end the newest worker and wait for it, gunicorn the oldest; a worker that is told to end takes no new connection and
finishes those that it has. With one worker left SIGTTOU does nothing.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from ansible_collections.composeops.hotfix.plugins.module_utils._command_line import parse_argv
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Process
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._processes import Workers
from ansible_collections.composeops.hotfix.plugins.module_utils._supervisor import Look

# Seconds. uvicorn looks after its workers twice a second, gunicorn once.
STEADY = 1.5
PAUSE = 0.1
# Seconds that workers may take to come to rest before anything is sent: as long as a few of them need to be replaced.
REST = 10.0


class Looking(Protocol):
    """What shows the workers: :class:`_supervisor.Supervisor`."""

    def look(self) -> Look:
        """The workers now."""


class Scaled(NamedTuple):
    """What was done.

    :ivar signals: those that were sent, in order.
    :ivar seconds: until the last worker that was wanted took connections, or the last that was not was gone.
    """

    before: Look
    after: Look
    signals: list[int]
    seconds: float


def obstacle(found: Workers, main: Process | None, version: str | None, *, catches: bool) -> str | None:
    """Why the number cannot be changed while the server runs; None when it can.

    :param main: the process that keeps the workers, or that serves alone.
    :param version: of the server, when it is known.
    :param catches: whether that process has handlers for both signals. Without one, the kernel would stop it.
    """
    if main is None or found.supervisor_pid is None:
        if found.server is None:
            return "no uvicorn or gunicorn runs in the container"
        return f"{found.server} runs as one process, without a supervisor that could start or end workers"
    if parse_argv(main.argv).reload and found.server == "uvicorn":
        return "uvicorn runs with --reload, which keeps one worker whatever the number"
    if not catches:
        name = f"{found.server or 'the server'}{' ' + version if version else ''}"
        since = " (uvicorn does from 0.30 on)" if found.server == "uvicorn" else ""
        return f"{name} does not take the signals SIGTTIN and SIGTTOU{since}"
    return None


class Scaling:
    """One change of the number.

    :param send: sends a signal to the supervisor.
    :param timeout: seconds for the whole change.
    """

    def __init__(
        self,
        supervisor: Looking,
        send: Callable[[int], None],
        target: int,
        timeout: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.supervisor, self.send, self.target, self.timeout = supervisor, send, target, timeout
        self.clock, self.sleep = clock, sleep
        self.deadline = clock() + timeout
        self.seen: set[int] = set()
        self.known: frozenset[int] = frozenset()
        self.loaded: set[int] = set()
        self.signals: list[int] = []

    def rest(self) -> Look:
        """The workers, as soon as no one comes or goes for a while.

        :raises HotfixError: when they do not come to rest.
        """
        until = self.clock() + REST
        look, since = self._look(), self.clock()
        while look.unreaped or self.clock() - since < STEADY:
            if self.clock() > until:
                raise HotfixError(
                    f"the workers do not stay: {len(self.seen)} of them were seen within {REST:g} s, where "
                    f"{len(look.pids)} run at a time",
                    remedy="See why they end: docker logs",
                )
            self.sleep(PAUSE)
            now = self._look()
            if now.pids != look.pids:
                since = self.clock()
            look = now
        return look

    def run(self, before: Look) -> Scaled:
        """Send one signal after the other, each when the former has taken effect, until the number is right and stays.

        :param before: what :meth:`rest` said.
        :raises HotfixError: saying in what state the workers are, when the time is over or the supervisor ends.
        """
        self.known, look = frozenset(before.pids), before
        began = done = self.clock()
        while len(look.pids) != self.target:
            while len(look.pids) != self.target:
                number = signal.SIGTTIN if len(look.pids) < self.target else signal.SIGTTOU
                self.send(number)
                self.signals.append(number)
                look = self._reached(len(look.pids) + (1 if number == signal.SIGTTIN else -1), bool(before.accepting))
            done = self.clock()
            look = self.rest()
        return Scaled(before, look, self.signals, round(done - began, 1))

    def _reached(self, wanted: int, visible: bool) -> Look:
        """Wait for a number of workers, the new ones of them ready.

        :param visible: whether it can be seen which workers take connections.
        """
        while True:
            look = self._look()
            loading = [pid for pid in look.pids if pid not in self.known | self.loaded] if visible else []
            # The number may be right without this signal, when somebody else sends some too.
            if len(look.pids) in (wanted, self.target) and not look.unreaped and not loading:
                return look
            if self.clock() > self.deadline:
                raise HotfixError(self._stuck(look, wanted, loading), remedy="See the log: docker logs")
            self.sleep(PAUSE)

    def _look(self) -> Look:
        look = self.supervisor.look()
        self.seen |= set(look.pids)
        self.loaded |= look.accepting
        return look

    def _stuck(self, look: Look, wanted: int, loading: list[int]) -> str:
        """The state when the time is over."""
        state = f"after {self.timeout:g} s there are {len(look.pids)} workers instead of {self.target}"
        leaving = [pid for pid in look.pids if pid in self.loaded and pid not in look.accepting]
        gone = len(self.seen) - len(self.known | set(look.pids))
        if loading and gone > 0:
            return f"{state}: new workers end while they load, {gone} so far"
        if loading:
            return f"{state}, of which {_processes(loading)} not loaded the application yet"
        if len(look.pids) > wanted and leaving:
            return f"{state}: {_processes(leaving)} not finished the requests under way, and will end after them"
        return f"{state}: the supervisor did not act on the last of {len(self.signals)} signals"


def _processes(pids: list[int]) -> str:
    named = ", ".join(map(str, pids))
    return f"process {named} has" if len(pids) == 1 else f"processes {named} have"
