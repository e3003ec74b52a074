# SPDX-License-Identifier: GPL-3.0-or-later
"""How much memory workers need, measured, and how many of them fit, with the arithmetic.

``total(n) = shared + n * per_worker``: resident sizes count shared pages once for every worker, so that private pages
(USS) are added up instead, and the pages that the processes share are counted once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Container, Iterable, Mapping
from typing import NamedTuple

from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError

MEBIBYTE = 1024**2
# Docker's units, all of them powers of 1024: https://docs.docker.com/reference/compose-file/extension/#specifying-byte-values
UNITS = {"": 1, "b": 1, "k": 1024, "m": MEBIBYTE, "g": 1024**3, "t": 1024**4}
SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([bkmgt]?)(?:i?b)?\s*", re.IGNORECASE)

# How far the headroom may be off before a number of workers that is there already is changed.
TOLERANCE = 0.05


class Memory(NamedTuple):
    """A process's memory in bytes: resident, proportional (shared pages divided among their users), private."""

    rss: int
    pss: int
    uss: int


class Measured(NamedTuple):
    """What the processes of a container use, in bytes."""

    shared: int
    per_worker: int
    workers: int


class Sizing(NamedTuple):
    """A number of workers, and the arithmetic that leads to it as sentences."""

    workers: int
    reasons: list[str]


def parse_size(text: object, name: str) -> int:
    """Bytes of a size such as ``512m``, ``1.5g``, ``800MiB`` or a plain number of bytes.

    :param name: what the size is, for the error.
    :raises HotfixError: when it is no size.
    """
    match = SIZE.fullmatch(str(text))
    size = int(float(match[1]) * UNITS[match[2].lower()]) if match else 0
    if match is None or (size == 0 and name != "memory_shared"):
        raise HotfixError(f"{name} is '{text}', which is no size of memory", remedy="Write it like 512m or 1.5g")
    return size


def human(size: float) -> str:
    """Bytes as people read them: ``750 MiB``, ``1.50 GiB``."""
    if abs(size) >= 1024 * MEBIBYTE:
        return f"{size / 1024 / MEBIBYTE:.2f} GiB"
    return f"{size / MEBIBYTE:.0f} MiB"


def smaps(pid: int, *, proc: str = "/proc") -> Memory | None:
    """A process's memory from ``smaps_rollup`` (Linux 4.14 or newer); None when the process is gone.

    :raises HotfixError: without the permission to look at it, which takes root.
    """
    path = f"{proc}/{pid}/smaps_rollup"
    try:
        with open(path, encoding="ascii", errors="replace") as stream:
            fields = dict(re.findall(r"^(\w+):\s+(\d+) kB$", stream.read(), re.MULTILINE))
    except (FileNotFoundError, ProcessLookupError):
        return None
    except OSError as error:
        raise HotfixError(
            f"the memory of the container's processes cannot be read: {error.strerror}",
            path=path,
            remedy="Run as root (become: true), or give memory_per_worker and memory_shared",
        ) from error
    if "Rss" not in fields:
        return None
    private = sum(int(fields.get(key, 0)) for key in ("Private_Clean", "Private_Dirty", "Private_Hugetlb"))
    return Memory(int(fields["Rss"]) * 1024, int(fields["Pss"]) * 1024, private * 1024)


def sizes(pids: Iterable[int]) -> dict[int, Memory]:
    """The memory of processes, less those that are gone; as :func:`smaps` else."""
    return {pid: memory for pid, memory in ((pid, smaps(pid)) for pid in pids) if memory is not None}


def measure(sizes: Mapping[int, Memory], workers: Container[int]) -> Measured:
    """The model's two numbers from the processes of a container.

    ``per_worker`` is the largest private size, since a worker that has just been started is smaller than it will be.
    ``shared`` is all that is left: the shared pages of the workers, each counted once, and the other processes.

    :param sizes: all processes of the container.
    :param workers: those of them that serve requests.
    :raises HotfixError: when there is no worker.
    """
    live = [memory for pid, memory in sizes.items() if pid in workers]
    if not live:
        raise HotfixError(
            "no worker process runs in the container, so nothing can be measured",
            remedy="Give memory_per_worker and memory_shared, or a number of workers",
        )
    others = (memory for pid, memory in sizes.items() if pid not in workers)
    shared = sum(memory.pss - memory.uss for memory in live) + sum(memory.pss for memory in others)
    return Measured(max(shared, 0), max(memory.uss for memory in live), len(live))


def total(workers: int, shared: int, per_worker: int) -> int:
    """The memory that a number of workers takes, in bytes."""
    return shared + workers * per_worker


def size(
    memory_limit: int,
    memory_shared: int,
    memory_per_worker: int,
    *,
    headroom: float = 0.2,
    min_workers: int = 1,
    max_workers: int | None = None,
    cpus: float | None = None,
    current: int | None = None,
) -> Sizing:
    """The largest number of workers that fits into the memory limit less the headroom.

    :param memory_limit: bytes that the container may use.
    :param memory_shared: bytes used once, whatever the number of workers.
    :param memory_per_worker: bytes that each worker adds.
    :param headroom: the part of the limit to keep free, for peaks and the page cache.
    :param min_workers: fewer do not do; a limit into which they do not fit is an error, never a smaller number.
    :param max_workers: more are not wanted.
    :param cpus: CPUs that the container may use; see :func:`most_busy`.
    :param current: the present number, when the sizes were measured: they vary a little, so that it stays if it is
        right for a headroom that differs by at most :data:`TOLERANCE`.
    :raises HotfixError: when ``min_workers`` do not fit, or the bounds contradict each other.
    """
    check_bounds(min_workers, max_workers)
    budget = int(memory_limit * (1 - headroom))
    fit = (budget - memory_shared) // memory_per_worker
    model = f"{human(memory_shared)} shared + n * {human(memory_per_worker)} per worker"
    if fit < min_workers:
        need = math.ceil(total(min_workers, memory_shared, memory_per_worker) / (1 - headroom) / MEBIBYTE)
        raise HotfixError(
            f"{min_workers} worker{'s' * (min_workers > 1)} ({model}) do not fit into {human(budget)}, which is the "
            f"limit of {human(memory_limit)} less {headroom:.0%} headroom",
            remedy=f"Raise the memory limit to at least {need} MiB, or make the application smaller",
        )
    reasons = [
        f"The budget is {human(budget)}: the limit of {human(memory_limit)} less {headroom:.0%} headroom.",
        f"total(n) = {model}; total({fit}) = {human(total(fit, memory_shared, memory_per_worker))} fits, "
        f"total({fit + 1}) = {human(total(fit + 1, memory_shared, memory_per_worker))} does not.",
    ]
    workers = fit
    if current is not None and current != fit and current >= min_workers:
        fewer, more = (
            (memory_limit * (1 - headroom + step) - memory_shared) // memory_per_worker
            for step in (-TOLERANCE, TOLERANCE)
        )
        if fewer <= current <= more:
            workers = current
            reasons.append(f"{current} workers stay: they are right for a headroom that differs by {TOLERANCE:.0%}.")
    most = None if cpus is None else max(most_busy(cpus), min_workers)
    if most is not None and workers > most:
        workers = most
        reasons.append(f"{cpus:g} CPUs keep at most {most} workers busy (2 * CPUs + 1), so that {most} are enough.")
    if max_workers is not None and workers > max_workers:
        workers = max_workers
        reasons.append(f"At most {max_workers} are allowed.")
    return Sizing(workers, reasons)


def most_busy(cpus: float) -> int:
    """The most workers that gunicorn's documentation recommends for a number of CPUs.

    https://docs.gunicorn.org/en/latest/design.html#how-many-workers
    """
    return int(2 * cpus) + 1


def check_bounds(min_workers: int, max_workers: int | None, workers: int | None = None) -> None:
    """Refuse bounds that contradict each other or a given number.

    :raises HotfixError: naming the options.
    """
    if min_workers < 1:
        raise HotfixError(f"min_workers is {min_workers}", remedy="Give 1 or more")
    if max_workers is not None and max_workers < min_workers:
        raise HotfixError(f"max_workers ({max_workers}) is less than min_workers ({min_workers})")
    if workers is not None and (workers < min_workers or (max_workers is not None and workers > max_workers)):
        most = "any number" if max_workers is None else max_workers
        raise HotfixError(f"workers is {workers}, but min_workers and max_workers allow {min_workers} to {most}")
