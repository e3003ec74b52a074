# SPDX-License-Identifier: GPL-3.0-or-later
"""One signal after the other, each when the former has taken effect, whatever else happens meanwhile.

The supervisor here is made up and time is counted, for what cannot be had from a real one when it is wanted: workers
that die at the wrong moment, signals that get lost, applications that take minutes to load.
"""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Process
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._processes import Workers
from ansible_collections.composeops.hotfix.plugins.module_utils._scaling import Scaled, Scaling, obstacle
from ansible_collections.composeops.hotfix.plugins.module_utils._supervisor import Look

UP, DOWN = signal.SIGTTIN, signal.SIGTTOU


class Server:
    """A supervisor that acts half a second after a signal, on a clock of its own."""

    def __init__(self, workers: int, *, loading: float = 0, draining: float = 0, visible: bool = True) -> None:
        self.now = 0.0
        self.loading, self.draining, self.visible = loading, draining, visible
        self.ready = {100 + number: 0.0 for number in range(workers)}
        self.gone: dict[int, float] = {}
        self.last = 99 + workers
        self.events: list[tuple[float, Callable[[], None]]] = []
        self.ignored = 0
        self.sent: list[tuple[float, int]] = []
        self.unreaped = False

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        due = [event for event in self.events if event[0] <= self.now]
        self.events = [event for event in self.events if event[0] > self.now]
        for _when, act in due:
            act()
        self.ready = {pid: at for pid, at in self.ready.items() if self.gone.get(pid, self.now + 1) > self.now}

    def look(self) -> Look:
        accepting = [pid for pid, at in self.ready.items() if at <= self.now and pid not in self.gone]
        return Look(tuple(sorted(self.ready)), frozenset(accepting if self.visible else ()), self.unreaped)

    def send(self, number: int) -> None:
        self.sent.append((self.now, number))
        if self.ignored:
            self.ignored -= 1
            return
        self.events.append((self.now + 0.5, self.start if number == UP else self.end))

    def start(self) -> None:
        self.last += 1
        self.ready[self.last] = self.now + self.loading

    def end(self) -> None:
        self.gone[max(pid for pid in self.ready if pid not in self.gone)] = self.now + self.draining

    def die(self, *, dead: float) -> None:
        """A worker dies, and after some seconds another one takes its place."""
        self.ready.pop(min(self.ready))
        self.unreaped = True

        def replace() -> None:
            self.unreaped = False
            self.start()

        self.events.append((self.now + dead, replace))

    def to(self, target: int, timeout: float = 120) -> Scaled:
        scaling = Scaling(self, self.send, target, timeout, clock=lambda: self.now, sleep=self.sleep)
        return scaling.run(scaling.rest())


@pytest.mark.parametrize(
    ("before", "after", "signals"), [(4, 2, [DOWN] * 2), (2, 4, [UP] * 2), (3, 3, []), (4, 1, [DOWN] * 3)]
)
def test_as_many_signals_as_it_takes(before: int, after: int, signals: list[int]) -> None:
    server = Server(before, loading=20, draining=3)
    scaled = server.to(after)
    assert len(scaled.after.pids) == after
    assert scaled.signals == signals
    assert set(scaled.before.pids) <= set(scaled.after.pids) or after < before


def test_the_next_signal_waits_until_a_new_worker_takes_connections() -> None:
    server = Server(1, loading=30)
    server.to(3)
    (first, _up), (second, _again) = server.sent
    assert second - first >= 30


def test_the_next_signal_waits_until_the_old_worker_is_gone() -> None:
    server = Server(4, draining=25)
    server.to(2)
    (first, _down), (second, _again) = server.sent
    assert second - first >= 25


def test_where_it_cannot_be_seen_who_takes_connections_the_processes_count() -> None:
    assert len(Server(2, loading=1000, visible=False).to(3).after.pids) == 3


def test_a_signal_that_is_lost_at_the_end_is_sent_again() -> None:
    """Not within the time that one takes, since a second one might come on top of it."""
    server = Server(4)
    server.ignored = 1
    with pytest.raises(HotfixError, match=r"after 20 s there are 4 workers instead of 2: the supervisor did not act"):
        server.to(2, timeout=20)
    assert len(server.sent) == 1


@pytest.mark.parametrize("delay", [0.1, 0.6, 1.0, 2.5])
@pytest.mark.parametrize(("before", "after"), [(4, 2), (2, 4)])
def test_a_worker_that_dies_meanwhile_does_not_count(before: int, after: int, delay: float) -> None:
    server = Server(before, loading=1, draining=1)
    server.events.append((1.5 + delay, lambda: server.die(dead=0.8)))
    assert len(server.to(after).after.pids) == after
    (first, _signal), (second, _again) = server.sent
    assert second - first >= 0.5
    server.sleep(10)
    assert len(server.look().pids) == after


def test_workers_that_keep_dying_are_left_alone() -> None:
    server = Server(4)

    def again() -> None:
        server.die(dead=0.1)
        server.events.append((server.now + 1, again))

    again()
    with pytest.raises(HotfixError, match=r"the workers do not stay: \d+ of them were seen within 10 s, where"):
        server.to(2)
    assert not server.sent


def test_the_state_is_told_when_the_time_is_over() -> None:
    server = Server(2, loading=500)
    with pytest.raises(
        HotfixError, match=r"after 60 s there are 3 workers instead of 4, of which process 102 has not lo"
    ):
        server.to(4, timeout=60)
    server = Server(4, draining=500)
    with pytest.raises(
        HotfixError, match=r"there are 4 workers instead of 2: process 103 has not finished the requests"
    ):
        server.to(2, timeout=60)
    server = Server(2, loading=500)

    def replace() -> None:
        server.ready = {pid: at for pid, at in server.ready.items() if at <= server.now}
        server.start()
        server.events.append((server.now + 5, replace))

    server.events.append((10, replace))
    with pytest.raises(
        HotfixError, match=r"there are 3 workers instead of 3: new workers end while they load, \d+ so far"
    ):
        server.to(3, timeout=60)


def process(args: str) -> Process:
    return Process(1, 0, args, tuple(args.split()))


WORKED = process("/usr/bin/python /usr/bin/uvicorn app:app --workers 4")
KEEPS = Workers("uvicorn", 1, [8, 9])


def test_what_stands_in_the_way() -> None:
    assert obstacle(KEEPS, WORKED, "0.34.0", catches=True) is None
    assert obstacle(KEEPS, WORKED, None, catches=True) is None
    alone = obstacle(Workers("uvicorn", None, [1]), None, None, catches=False)
    assert alone == "uvicorn runs as one process, without a supervisor that could start or end workers"
    assert (
        obstacle(Workers(None, None, []), None, None, catches=False) == "no uvicorn or gunicorn runs in the container"
    )
    old = obstacle(KEEPS, WORKED, "0.29.0", catches=False)
    assert old == "uvicorn 0.29.0 does not take the signals SIGTTIN and SIGTTOU (uvicorn does from 0.30 on)"
    reload = obstacle(KEEPS, process("uvicorn app:app --reload"), "0.34.0", catches=True)
    assert reload is not None and "--reload" in reload
    gunicorn = process("gunicorn app:app --reload -w 2")
    assert obstacle(Workers("gunicorn", 1, [8]), gunicorn, "27.0.1", catches=True) is None
