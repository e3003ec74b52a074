# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock of a project: one run at a time changes it, and each other one is told who, since when, and why.

The lock is ``lock.json`` in the project's folder. It belongs to a run on a controller, not to a process on the host:
a run is many modules, with nothing of it on the host between two of them. Hence a run that was killed leaves its lock,
and the next one has to find out whether it is stale:

* A step that takes long, such as a build, holds ``working`` (flock) as long as its process lives. While one does, the
  lock is never taken over, not even by force: what outlives a killed run or a cut connection still changes containers.
* On the same controller (name, boot and namespace of processes) its process answers: one that is gone, or whose number
  another one has got, makes the lock stale at once.
* Of another controller, or another boot of the same, nothing can be asked. The lock is then stale when it was not
  renewed for some time. A run renews it with each step that it notes in the journal. The time is counted by the
  host's clock since its boot, so that a wall clock that is set makes no lock old or young.
* A boot of the host ends each ``working``, since the kernel forgets a flock, but not the lock: ansible-playbook may
  live through the boot, and go on when the host is back. It was then not renewed for the time since the boot at least.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ansible_collections.composeops.hotfix.plugins.module_utils import _journal
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._files import lock as flock
from ansible_collections.composeops.hotfix.plugins.module_utils._files import problem, read_bytes, write_atomic

BOOT_ID = "/proc/sys/kernel/random/boot_id"
WORKING = "working"
TTL = 900
# What a run says of itself; see _controller.holder.
FACTS = ("run", "user", "controller", "machine", "pid", "started", "playbook", "host", "job")


class Lock(NamedTuple):
    """A lock as it stands in its file."""

    facts: dict[str, str]
    hosts: list[str]
    since: str
    renewed: str
    boot: str
    uptime: float

    @property
    def run(self) -> str:
        """The ID of the run that holds it."""
        return self.facts["run"]


class Clock(NamedTuple):
    """The host's time: of the wall, of the boot, and since that."""

    wall: str
    boot: str
    uptime: float


class Outcome(NamedTuple):
    """What came of an attempt to take a lock.

    :ivar acquired: whether this run has it now, or in check mode would have.
    :ivar lock: the lock of another run that it was refused for, or that it was taken from; else None.
    :ivar reason: why it was taken from that run; empty when it was not.
    :ivar idle: seconds for which that lock was not renewed, at least.
    :ivar working: the step of that run which is at work at this moment; empty when there is none.
    :ivar ask: whether the controller can say if that run still lives.
    """

    acquired: bool
    lock: Lock | None = None
    reason: str = ""
    idle: float = 0.0
    working: str = ""
    ask: bool = False


def clock() -> Clock:
    """The time now; the boot's goes on while the host sleeps."""
    boot = ""
    with contextlib.suppress(OSError), open(BOOT_ID, encoding="ascii") as stream:
        boot = stream.read().strip()
    return Clock(_journal.now(), boot, time.clock_gettime(time.CLOCK_BOOTTIME))


# --- deciding --------------------------------------------------------------------------------------------------------


def idle(lock: Lock, now: Clock) -> float:
    """For how many seconds a lock was not renewed, at least."""
    return max(now.uptime - lock.uptime, 0.0) if lock.boot == now.boot else now.uptime


def same_controller(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether two runs are processes that one system can see; never where a controller does not know its boot."""
    return bool(one["machine"]) and all(one[name] == other[name] for name in ("controller", "machine"))


def judge(
    lock: Lock | None, facts: Mapping[str, str], now: Clock, *, working: str, ttl: float, ended: str, force: bool
) -> Outcome:
    """Whether a run may have the lock.

    :param lock: as it is; None when nobody has it.
    :param facts: of the run that wants it.
    :param working: the step that is at work at this moment; empty when there is none.
    :param ttl: seconds after which a lock of another controller is stale if it was not renewed.
    :param ended: the run of which the controller knows that its process is gone.
    :param force: take it from a run that nobody can know to be dead.
    """
    if lock is None or lock.run == facts["run"]:
        return Outcome(True)
    known, age = same_controller(lock.facts, facts), idle(lock, now)
    reason = ""
    if lock.run == ended:
        reason = f"its process {lock.facts['pid']} is gone"
    elif not known and age > ttl:
        reason = f"it was not renewed for {age:.0f} s"
    elif force:
        reason = "deploy_lock_force is set"
    if working or not reason:
        return Outcome(False, lock, "", age, working, ask=known and not ended)
    return Outcome(True, lock, reason, age)


def described(lock: Lock) -> str:
    """The run that holds a lock, in words."""
    facts = lock.facts
    job = f", job {facts['job']} of AWX" if facts["job"] else ""
    return (
        f"{facts['user']}@{facts['controller']} (playbook {facts['playbook'] or 'unknown'} on host {facts['host']}, "
        f"process {facts['pid']}, run {facts['run']}{job})"
    )


def refusal(lock: Lock, outcome: Outcome, project_src: str, *, check: bool) -> str:
    """One sentence for the operator whose run cannot have the lock, or in check mode could not."""
    seen = "its process lives" if outcome.ask else f"renewed {outcome.idle:.0f} s ago"
    remedy = (
        "wait until it has ended, or, if you know that run to be dead, run again with -e deploy_lock_force=true"
        if not outcome.working
        else f"its step {outcome.working} is at work on the host at this moment: wait until that has ended, or end it"
    )
    return (
        f"{project_src} is locked since {lock.since} by {described(lock)}, {seen}; this run "
        f"{'would stop' if check else 'has stopped'} before it changes anything more: {remedy}."
    )


def takeover(lock: Lock, outcome: Outcome, project_src: str) -> str:
    """What is said when a lock was taken from another run."""
    return (
        f"Took over the lock of {project_src} from {described(lock)}, which had it since {lock.since}: "
        f"{outcome.reason}. What that run left half done is completed or put back by this one."
    )


# --- the file --------------------------------------------------------------------------------------------------------


def read(folder: str) -> Lock | None:
    """The lock of a project; None when nobody has it.

    :raises HotfixError: when it cannot be read.
    """
    path = os.path.join(folder, _journal.LOCK)
    try:
        data = json.loads(read_bytes(path)) if os.path.exists(path) else None
        if data is None:
            return None
        facts = {name: str(data.get(name, "")) for name in FACTS}
        return Lock(
            {**facts, "run": str(data["run"])},
            [str(name) for name in data["hosts"]],
            str(data["since"]),
            str(data["renewed"]),
            str(data["boot"]),
            float(data["uptime"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise HotfixError("this lock is damaged", path=path, remedy="Remove it if no run is at work") from error


def take(
    folder: str,
    project_src: str,
    facts: Mapping[str, str],
    *,
    ttl: float = TTL,
    ended: str = "",
    force: bool = False,
    check: bool = False,
) -> Outcome:
    """Take the lock, or renew it when this run has it already. Options as for :func:`judge`.

    :param check: only find out.
    :raises HotfixError: when the folder cannot be used.
    """

    def look() -> Outcome:
        return judge(read(folder), facts, clock(), working=at_work(folder), ttl=ttl, ended=ended, force=force)

    outcome = look()  # first without the folder's lock, which a step of that run may hold for long
    if check or not outcome.acquired:
        return outcome
    with _journal.held(folder, project_src):
        outcome, before = look(), read(folder)
        if not outcome.acquired:
            return outcome
        ours = before if before is not None and before.run == facts["run"] else None
        _write(folder, facts, ours, new=before is None)
        if outcome.lock is not None:
            _journal.append(
                folder, "lock taken over", run=facts["run"], result=outcome.reason, **{"from": outcome.lock.run}
            )
        if ours is None:
            who = {"user": f"{facts['user']}@{facts['controller']}", "playbook": facts["playbook"], "job": facts["job"]}
            _journal.append(folder, "run began", run=facts["run"], **{name: text for name, text in who.items() if text})
    return outcome


def _write(folder: str, facts: Mapping[str, str], ours: Lock | None, *, new: bool) -> None:
    now = clock()
    hosts = sorted({*(ours.hosts if ours else []), facts["host"]})
    data = {
        **{name: facts[name] for name in FACTS},
        "hosts": hosts,
        "since": ours.since if ours else now.wall,
        "renewed": now.wall,
        "boot": now.boot,
        "uptime": now.uptime,
    }
    content = json.dumps(data, indent=1).encode() + b"\n"
    path = os.path.join(folder, _journal.LOCK)
    if not new:
        write_atomic(path, content, mode=0o600)
        return
    # Beside the folder's lock: a link is made by one process alone on a file system that has no flock as well.
    descriptor, beside = tempfile.mkstemp(prefix=f".{_journal.LOCK}.", suffix=".tmp", dir=folder)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.link(beside, path)
    except FileExistsError as error:
        raise HotfixError("another run took this lock at the same moment", path=path, remedy="Run again") from error
    except OSError as error:
        raise problem(error, path, "write") from error
    finally:
        os.unlink(beside)


def release(folder: str, project_src: str, run: str, host: str, result: str, *, check: bool = False) -> bool:
    """Let go of the lock for one host of a run, and note how the run ended there; the lock of another run stays.

    :param result: for the journal.
    :returns: whether this run had it.
    """
    lock = read(folder)
    if lock is None or lock.run != run or check:
        return lock is not None and lock.run == run
    with _journal.held(folder, project_src):
        lock = read(folder)
        if lock is None or lock.run != run:
            return False
        with contextlib.suppress(HotfixError):  # a full disk must not keep the lock
            _journal.append(folder, "run ended", run=run, result=result)
        left = [name for name in lock.hosts if name != host]
        path = os.path.join(folder, _journal.LOCK)
        if left:
            # Two names of the inventory for one host: the other one is not through yet.
            data = {**json.loads(read_bytes(path)), "hosts": left}
            write_atomic(path, json.dumps(data, indent=1).encode() + b"\n", mode=0o600)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
    return True


def renew(folder: str, run: str) -> None:
    """Say that a run is alive, if it has the lock. The caller holds the folder."""
    lock = read(folder)
    if lock is not None and lock.run == run:
        _write(folder, {**lock.facts, "host": [*lock.hosts, lock.facts["host"]][0]}, lock, new=False)


# --- steps that take long --------------------------------------------------------------------------------------------


@dataclass
class Step:
    """A step that takes long, as the journal gets to know it.

    :ivar action: what the journal calls it; empty: it is told nothing.
    :ivar result: how it ended. A step that says nothing has failed.
    """

    action: str = ""
    result: str = "failed"
    words: dict[str, str] = field(default_factory=dict)


@contextlib.contextmanager
def at_work_on(state_dir: str | None, project_src: str, what: str) -> Iterator[Step]:
    """Let other runs know that a step of this one is at work, as long as this process lives, and note how it ended.

    It holds nobody up but who would take the lock from a run that looks dead. Nothing is noted without a folder.

    :param state_dir: the option of that name; None: the module was not told where the state lies.
    :param what: the name of the module.
    """
    step, begun = Step(), time.monotonic()
    if not state_dir:
        yield step
        return
    folder = _journal.project_folder(state_dir, project_src)
    _journal.claim(folder, project_src)
    path = os.path.join(folder, WORKING)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise problem(error, path, "write") from error
    try:
        with contextlib.suppress(OSError):  # a file system without flock has no such protection
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        note = json.dumps({"step": what, "pid": os.getpid(), "since": _journal.now()}).encode() + b"\n"
        with contextlib.suppress(OSError):  # for the message alone; a full disk must not stop a way back
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, note, 0)
        yield step
    finally:
        if step.action:
            seconds = f"{time.monotonic() - begun:.1f}"
            with contextlib.suppress(HotfixError):  # what is done is done, whether it can be written down or not
                _journal.append(folder, step.action, result=step.result, seconds=seconds, **step.words)
        os.close(descriptor)


def at_work(folder: str) -> str:
    """The step that is at work at this moment, in words; empty when there is none."""
    try:
        descriptor = os.open(os.path.join(folder, WORKING), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        flock(descriptor, 0)
        return ""
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            return ""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            note = json.loads(os.pread(descriptor, 4096, 0))
            return f"{re.sub(r'[^a-z_ ]', '', str(note['step']))} (process {int(note['pid'])}, since {note['since']})"
        return "of an unknown name"
    finally:
        os.close(descriptor)
