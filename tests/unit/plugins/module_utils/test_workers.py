# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory sizes, measuring real processes, and the number of workers that fits."""

from __future__ import annotations

import mmap
import os

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils import _workers as wk
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from hypothesis import assume, given
from hypothesis import strategies as st

MIB = wk.MEBIBYTE


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512m", 512 * MIB),
        ("1.5g", 1536 * MIB),
        ("1.5 GiB", 1536 * MIB),
        ("800MB", 800 * MIB),
        ("2048", 2048),
        ("4kb", 4096),
    ],
)
def test_sizes(text, size):
    assert wk.parse_size(text, "memory_limit") == size


@pytest.mark.parametrize("text", ["", "m", "-1g", "1 x", "0", "1.g", "many"])
def test_what_is_no_size(text):
    with pytest.raises(HotfixError, match="memory_limit is"):
        wk.parse_size(text, "memory_limit")


def test_the_arithmetic_is_in_the_reasons():
    sizing = wk.size(1024 * MIB, 100 * MIB, 300 * MIB)
    assert sizing.workers == 2
    assert "819 MiB" in sizing.reasons[0]
    assert "total(2) = 700 MiB fits, total(3) = 1000 MiB does not" in sizing.reasons[1]


def test_bounds():
    assert wk.size(8192 * MIB, 0, 100 * MIB, max_workers=4).workers == 4
    assert wk.size(8192 * MIB, 0, 100 * MIB, cpus=2).workers == 5
    assert wk.size(8192 * MIB, 0, 100 * MIB, cpus=0.5, max_workers=3).workers == 2
    assert wk.size(1024 * MIB, 100 * MIB, 300 * MIB, cpus=8, max_workers=9).workers == 2


def test_a_measured_number_does_not_flap():
    """3 fit exactly; a few MiB more or less per worker in the next run change nothing."""
    for per_worker in (265, 273, 281):
        sizing = wk.size(1024 * MIB, 0, per_worker * MIB, current=3)
        assert sizing.workers == 3
    assert wk.size(1024 * MIB, 0, 281 * MIB).workers == 2
    assert wk.size(1024 * MIB, 0, 281 * MIB, current=4).workers == 2
    assert wk.size(1024 * MIB, 0, 281 * MIB, current=3, max_workers=1).workers == 1
    assert wk.size(1024 * MIB, 0, 180 * MIB, current=3).workers == 4


def test_what_does_not_fit_is_an_error_that_says_what_would():
    with pytest.raises(HotfixError, match=r"1 worker .* do not fit into 410 MiB.*at least 625 MiB"):
        wk.size(512 * MIB, 100 * MIB, 400 * MIB)
    assert wk.size(625 * MIB, 100 * MIB, 400 * MIB).workers == 1
    with pytest.raises(HotfixError, match="3 workers"):
        wk.size(1024 * MIB, 100 * MIB, 300 * MIB, min_workers=3)
    with pytest.raises(HotfixError, match="max_workers"):
        wk.size(1024 * MIB, 0, MIB, min_workers=3, max_workers=2)
    with pytest.raises(HotfixError, match="workers is 5"):
        wk.check_bounds(1, 4, 5)


@given(
    st.integers(MIB, 2**45),
    st.integers(0, 2**44),
    st.integers(1, 2**42),
    st.floats(0, 0.9),
    st.none() | st.integers(1, 99),
)
def test_what_is_chosen_fits_and_one_more_does_not(limit, shared, per_worker, headroom, most):
    budget = int(limit * (1 - headroom))
    assume(shared + per_worker <= budget)
    workers = wk.size(limit, shared, per_worker, headroom=headroom, max_workers=most).workers
    assert wk.total(workers, shared, per_worker) <= budget
    assert workers == most or wk.total(workers + 1, shared, per_worker) > budget


def test_private_memory_of_a_real_process():
    before = wk.smaps(os.getpid())
    with mmap.mmap(-1, 32 * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as block:
        block.write(b"x" * len(block))
        after = wk.smaps(os.getpid())
    assert 31 * MIB < after.uss - before.uss < 40 * MIB
    assert after.uss <= after.pss <= after.rss
    assert wk.smaps(2**22 + 1) is None
    assert list(wk.sizes([os.getpid(), 2**22 + 1])) == [os.getpid()]


def test_shared_pages_are_counted_once():
    """Four forks of a process share what it had: their private sizes and the rest add up to the sum of PSS."""
    supervisor = {1: wk.Memory(120 * MIB, 45 * MIB, 20 * MIB)}
    workers = {pid: wk.Memory(300 * MIB, 225 * MIB, 200 * MIB) for pid in (2, 3, 4)}
    sizes = {**supervisor, **workers, 5: wk.Memory(150 * MIB, 75 * MIB, 50 * MIB)}
    measured = wk.measure(sizes, [2, 3, 4, 5])
    assert measured == (145 * MIB, 200 * MIB, 4)
    assert sum(m.pss for m in sizes.values()) <= wk.total(4, measured.shared, measured.per_worker)
    with pytest.raises(HotfixError, match="no worker process"):
        wk.measure(supervisor, [6])
