# SPDX-License-Identifier: GPL-3.0-or-later
"""Which keys stay, which go, and when a new one comes."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._keys import generate
from ansible_collections.composeops.hotfix.plugins.module_utils._rotation import Age, Plan, Policy, plan_rotation
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import fingerprint
from hypothesis import given
from hypothesis import strategies as st

A, B, C, NEW = (generate() for _number in range(4))
DEV = "dev-key-12345"
DAY = 86400.0


def plan(keys: list[str], new_key: str | None = None, ages: dict[str, Age] | None = None, **policy: Any) -> Plan:
    return plan_rotation(keys, Policy(**policy), new_key=new_key, ages=ages, now=1000 * DAY)


@pytest.mark.parametrize(
    ("keys", "policy", "needed", "kept", "dropped"),
    [
        ([A], {}, False, [A], []),
        ([], {}, True, [], []),
        ([DEV], {}, True, [], [DEV]),
        ([A, DEV, B], {}, True, [A, B], [DEV]),
        ([A, DEV, B], {"overlap": False}, True, [], [A, DEV, B]),
        ([A, B], {"overlap": False}, False, [A, B], []),
        ([A, B], {"regenerate": "always"}, True, [A, B], []),
        ([A, DEV], {"regenerate": "always"}, True, [A], [DEV]),
        ([A, B], {"regenerate": "always", "overlap": False}, True, [], [A, B]),
        ([A, DEV], {"regenerate": "never"}, False, [A, DEV], []),
        ([], {"regenerate": "never"}, False, [], []),
        ([A, B], {"regenerate": "fail"}, False, [A, B], []),
        ([A, B, C], {"retire": "all_but_newest"}, False, [A], [B, C]),
        ([A, B, C], {"retire": [fingerprint(B)]}, False, [A, C], [B]),
        ([A, B, C], {"retire": [fingerprint(A).split()[0]]}, False, [B, C], [A]),
        ([A, B], {"retire": [fingerprint(C)]}, False, [A, B], []),
        ([A, B], {"retire": [fingerprint(A), fingerprint(B)]}, True, [], [A, B]),
        ([DEV, A], {"retire": "all_but_newest"}, True, [], [DEV, A]),
        ([A, DEV], {"retire": "all_but_newest", "regenerate": "never"}, False, [A], [DEV]),
        ([A, B], {"deny_patterns": [f"^{B}$"]}, True, [A], [B]),
    ],
)
def test_decisions(keys: list[str], policy: dict[str, Any], needed: bool, kept: list[str], dropped: list[str]) -> None:
    decided = plan(keys, **policy)
    assert (decided.new_key_needed, list(decided.kept), list(decided.dropped)) == (needed, kept, dropped)
    assert not decided.refused
    assert decided.keys_after(NEW) == ([NEW] if needed else []) + kept


def test_fail_refuses_and_keeps_everything() -> None:
    decided = plan([A, DEV], regenerate="fail", retire=[fingerprint(A)])
    assert decided.refused
    assert decided.keys_after(NEW) == [A, DEV]
    assert any("(dev_key)" in reason and "Key 2 of 2" in reason for reason in decided.reasons)
    assert plan([], regenerate="fail").refused


@pytest.mark.parametrize(
    ("keys", "policy", "after"),
    [
        ([A], {}, [A]),
        ([DEV, A], {}, [NEW, A]),
        ([NEW, DEV], {}, [NEW]),
        ([NEW, A], {"regenerate": "always"}, [NEW, A]),
        ([NEW, A], {"regenerate": "always", "overlap": False}, [NEW]),
        ([A, NEW], {"regenerate": "always"}, [NEW, A]),
        ([A, NEW], {"regenerate": "always", "retire": "all_but_newest"}, [NEW]),
        ([A, NEW], {"regenerate": "always", "overlap": False}, [NEW]),
        ([A], {"regenerate": "never"}, [A]),
    ],
)
def test_given_key(keys: list[str], policy: dict[str, Any], after: list[str]) -> None:
    decided = plan(keys, NEW, **policy)
    assert decided.keys_after(NEW) == after
    assert NEW not in decided.dropped
    again = plan(after, NEW, **policy)
    assert not again.new_key_needed
    assert again.keys_after(NEW) == after


@pytest.mark.parametrize("regenerate", ["never", "fail", "insecure", "always"])
def test_insecure_given_key_is_refused_without_being_shown(regenerate: str) -> None:
    with pytest.raises(HotfixError, match=r"new_key \(sha256:f82f3a6e len=13\).*\(published_key\)") as caught:
        plan([A], DEV, regenerate=regenerate)
    assert DEV not in str(caught.value)


def test_contradictions_are_refused() -> None:
    with pytest.raises(HotfixError, match="named in retire too"):
        plan([A], NEW, retire=[fingerprint(NEW)])
    with pytest.raises(HotfixError, match="no key would be left"):
        plan([A], regenerate="never", retire=[fingerprint(A)])
    with pytest.raises(HotfixError, match="entry 2 of retire is not a fingerprint") as caught:
        plan([A, B], retire=[fingerprint(B), B])
    assert B not in str(caught.value)


def test_newest_key_grows_old() -> None:
    ages = {fingerprint(A): Age(990 * DAY)}
    assert not plan([A], ages=ages, max_age=10 * DAY).new_key_needed
    decided = plan([A], ages=ages, max_age=9 * DAY)
    assert decided.keys_after(NEW) == [NEW, A]
    assert f"The newest key ({fingerprint(A)}) is older than max_age, 9 days." in decided.reasons
    assert plan([A], ages=ages, max_age=9 * DAY, regenerate="fail").refused
    assert not plan([A], ages={}, max_age=0.0).new_key_needed


def test_superseded_keys_go_after_their_time() -> None:
    ages = {
        fingerprint(A): Age(999 * DAY),
        fingerprint(B): Age(0.0, 990 * DAY),
        fingerprint(C): Age(0.0, 980 * DAY),
    }
    decided = plan([A, B, C], ages=ages, max_age=15 * DAY, regenerate="never")
    assert decided.keys_after(NEW) == [A, B]
    assert decided.reasons[-1] == f"The key {fingerprint(C)} is dropped: it was superseded more than 15 days ago."


def test_key_that_became_the_newest_again_stays() -> None:
    decided = plan([B, C], ages={fingerprint(B): Age(0.0, 1.0)}, max_age=DAY, regenerate="never")
    assert decided.keys_after(NEW) == [B, C]


@given(
    st.lists(st.sampled_from([A, B, C, DEV, "changeme"]), unique=True),
    st.sampled_from(["never", "insecure", "always"]),
    st.booleans(),
    st.sampled_from([(), "all_but_newest", [fingerprint(B)]]),
)
def test_every_decision_adds_up_and_insecure_keys_never_survive(
    keys: list[str], regenerate: str, overlap: bool, retire: Any
) -> None:
    try:
        decided = plan(keys, regenerate=regenerate, overlap=overlap, retire=retire)
    except HotfixError:
        assert regenerate == "never"
        return
    assert sorted([*decided.kept, *decided.dropped]) == sorted(keys)
    if regenerate != "never":
        assert decided.keys_after(NEW)
        assert not {DEV, "changeme"}.intersection(decided.kept)
    if regenerate == "insecure":
        again = plan(decided.keys_after(NEW), regenerate=regenerate, overlap=overlap, retire=retire)
        assert (again.new_key_needed, again.dropped) == (False, ())
    assert not any(key in reason for key in keys for reason in decided.reasons)
