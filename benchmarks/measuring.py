# SPDX-License-Identifier: GPL-3.0-or-later
"""What the benchmarks of the two file editors share: the collection's path, measuring side by side, a table."""

from __future__ import annotations

import difflib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(CHECKOUT / ".ansible" / "collections"))

# In memory where there is such a place: the collection waits for the disk (fsync), which the baselines do not.
MEMORY = Path("/dev/shm")  # noqa: S108  (memory, so that no disk is measured)
BUDGET = 2.0  # seconds for one comparison


class Result(NamedTuple):
    """Medians of processor time in seconds, and how many lines each edit changed."""

    ours: float
    theirs: float
    our_lines: int
    their_lines: int


def compare(before: bytes, ours: Callable[[str], object], theirs: Callable[[str], object], name: str) -> Result:
    """Let both edit a file again and again, in turn, each time as it was.

    :param name: the file's name.
    """
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        path = Path(folder, name)

        # Processor time: other programs hardly change it.
        def once(edit: Callable[[str], object]) -> float:
            path.write_bytes(before)
            start = time.process_time()
            edit(str(path))
            return time.process_time() - start

        once(ours)
        our_lines = changed_lines(before, path.read_bytes())
        once(theirs)
        their_lines = changed_lines(before, path.read_bytes())
        times: list[tuple[float, float]] = []
        end = time.perf_counter() + BUDGET
        while len(times) < 5 or (time.perf_counter() < end and len(times) < 200):
            times.append((once(ours), once(theirs)))
    return Result(
        statistics.median(pair[0] for pair in times),
        statistics.median(pair[1] for pair in times),
        our_lines,
        their_lines,
    )


def changed_lines(before: bytes, after: bytes) -> int:
    """How many lines are new, gone or different."""
    matcher = difflib.SequenceMatcher(None, before.splitlines(True), after.splitlines(True), autojunk=False)
    return sum(
        max(old_end - old, new_end - new)
        for kind, old, old_end, new, new_end in matcher.get_opcodes()
        if kind != "equal"
    )


def show(what: str, baseline: str, rows: Sequence[tuple[str, Result]]) -> None:
    """Print the rows as a table."""
    width = max(len(name) for name, _result in rows)
    heads = ("ours", baseline, "time ratio", "our lines", "their lines", "lines ratio")
    print(f"{what}\n\n{'':{width}}  " + "  ".join(f"{head:>12}" for head in heads))
    for name, result in rows:
        cells = (
            f"{result.ours * 1000:.2f} ms",
            f"{result.theirs * 1000:.2f} ms",
            f"{result.ours / result.theirs:.2f}",
            str(result.our_lines),
            str(result.their_lines),
            f"{result.our_lines / result.their_lines:.4g}" if result.their_lines else "-",
        )
        print(f"{name:{width}}  " + "  ".join(f"{cell:>12}" for cell in cells))
    print()
