# SPDX-License-Identifier: GPL-3.0-or-later
"""A server's supervisor and its workers as the host's ``/proc`` shows them, without asking the container.

The files are described in https://man7.org/linux/man-pages/man5/proc.5.html.
"""

from __future__ import annotations

import contextlib
import os
import re
from typing import NamedTuple

from ansible_collections.composeops.hotfix.plugins.module_utils._container import Process
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._kernel_files import kernel_text, stat
from ansible_collections.composeops.hotfix.plugins.module_utils._processes import workers

LISTENING = "0A"  # TCP_LISTEN, include/net/tcp_states.h
ACCEPTING = 0x10000  # __SO_ACCEPTCON, include/uapi/linux/net.h


class Look(NamedTuple):
    """The workers at one moment.

    :ivar pids: live workers, in the order in which they were started.
    :ivar accepting: those that wait for connections.
    :ivar unreaped: whether a child has ended that the supervisor has not taken note of yet.
    """

    pids: tuple[int, ...]
    accepting: frozenset[int]
    unreaped: bool


class Supervisor:
    """A process that keeps workers.

    :param pid: as the host numbers it.
    :param proc: the mount point of procfs.
    :raises HotfixError: when there is no such process here.
    """

    def __init__(self, pid: int, *, proc: str = "/proc") -> None:
        self.pid, self.proc = pid, proc
        self.started = self._started()

    def catches(self, *signals: int) -> bool:
        """Whether the process has handlers of its own for signals; their default may be to stop it."""
        found = re.search(r"^SigCgt:\s*([0-9a-f]+)$", kernel_text(f"{self.proc}/{self.pid}/status"), re.MULTILINE)
        mask = int(found[1], 16) if found else 0
        return all(mask >> (number - 1) & 1 for number in signals)

    def signal(self, number: int) -> None:
        """Send a signal to it; 0 only tries whether it could be sent.

        :raises HotfixError: when this user may not, or the supervisor is gone.
        """
        try:
            os.kill(self.pid, number)
        except PermissionError as error:
            raise HotfixError(
                "this user may not send signals to the supervisor", remedy="Run as root (become: true)"
            ) from error
        except ProcessLookupError as error:
            raise self._ended() from error

    def look(self) -> Look:
        """The workers now.

        :raises HotfixError: when the supervisor is gone.
        """
        if self._started() != self.started:
            raise self._ended()
        children = sorted(self._children(), key=lambda child: child[1])
        live = [process for process, _started, ended in children if not ended]
        pids = tuple(workers([self._process(self.pid, 0), *live]).pids)
        return Look(pids, frozenset(self._accepting(pids)), any(ended for _process, _started, ended in children))

    def _started(self) -> float:
        state = stat(self.pid, proc=self.proc)
        if state is None or state.ended:
            raise self._ended()
        return state.started

    def _ended(self) -> HotfixError:
        return HotfixError(f"the supervisor, process {self.pid}, has ended", remedy="See its log: docker logs")

    def _children(self) -> list[tuple[Process, float, bool]]:
        """Each child, when it was started, and whether it has ended."""
        found = []
        for name in os.listdir(self.proc):
            state = stat(int(name), proc=self.proc) if name.isdigit() else None
            if state is not None and state.ppid == self.pid:
                found.append((self._process(int(name), self.pid), state.started, state.ended))
        return found

    def _process(self, pid: int, ppid: int) -> Process:
        words = tuple(kernel_text(f"{self.proc}/{pid}/cmdline").rstrip("\0").split("\0"))
        return Process(pid, ppid, " ".join(words), words)

    def _accepting(self, pids: tuple[int, ...]) -> list[int]:
        """Those that watch a listening socket with epoll, as asyncio, uvloop and gunicorn's threads do.

        A worker does so only once the application is loaded and started; until then, and again while it finishes its
        last requests, the others serve.
        """
        listening = _listening(f"{self.proc}/{self.pid}/net")
        found = []
        for pid in pids:
            sockets, watched = set(), set()
            for descriptor, target in _descriptors(f"{self.proc}/{pid}/fd"):
                if target in listening:
                    sockets.add(descriptor)
                elif target == "anon_inode:[eventpoll]":
                    text = kernel_text(f"{self.proc}/{pid}/fdinfo/{descriptor}")
                    watched.update(re.findall(r"^tfd:\s*(\d+)", text, re.MULTILINE))
            if sockets & watched:
                found.append(pid)
        return found


def _listening(folder: str) -> set[str]:
    """The sockets of a network namespace that take connections, as the links of descriptors name them."""
    inodes = []
    for name in ("tcp", "tcp6"):
        rows = [line.split() for line in kernel_text(f"{folder}/{name}").splitlines()[1:]]
        inodes += [row[9] for row in rows if len(row) > 9 and row[3] == LISTENING]
    rows = [line.split() for line in kernel_text(f"{folder}/unix").splitlines()[1:]]
    inodes += [row[6] for row in rows if len(row) > 6 and int(row[3], 16) & ACCEPTING]
    return {f"socket:[{inode}]" for inode in inodes}


def _descriptors(folder: str) -> list[tuple[str, str]]:
    found = []
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            with contextlib.suppress(OSError):
                found.append((name, os.readlink(f"{folder}/{name}")))
    return found
