# SPDX-License-Identifier: GPL-3.0-or-later
"""Which keys stay, which go, and when a new one comes."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._keys import generate
from ansible_collections.composeops.hotfix.plugins.module_utils._rotation import Age, Plan, Policy, plan_rotation
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import digest, fingerprint
from hypothesis import given
from hypothesis import strategies as st

A, B, C, NEW = (generate() for _number in range(4))
DEV = "dev-key-12345"
DAY = 86400.0
# Found by trying: each pair has the first 8 digits of the SHA-256 in common.
TWINS = ("ZPyukqdTWLuRqI9qkLBmDuqdIwmgrD2Dsy-GWRKdBCH", "T3PhDehraRDNcthKFyAnSvUdwM9RQTd7bSqFEivucPm")
UNEQUAL = ("phwX2_hyxtSpitkQJmOgT-hcyvsZjzPQcxGfSATcCMH", "lrZtmx1fkSy2dEpL-hKbENsJH44G9smGfbux8cvn29Y4")


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
        ([A, B, C], {"retire": [f"sha256:{digest(C)}"]}, False, [A, B], [C]),
        ([A, B, C], {"retire": [f"sha256:{digest(C)[:12]} len={len(C)}"]}, False, [A, B], [C]),
        ([A, B, C], {"retire": [f"sha256:{digest(C)[:12]} len=1"]}, False, [A, B, C], []),
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


def test_a_fingerprint_of_no_key_is_named_in_the_reasons() -> None:
    gone = fingerprint(C).split()[0]
    decided = plan([A, B], retire=[fingerprint(B), gone], regenerate="never")
    assert decided.dropped == (B,)
    assert decided.reasons[-1].startswith(f"There is no key {gone}, which retire names")
    assert not any("There is no key" in reason for reason in plan([A, B], retire=[fingerprint(B)]).reasons)


def test_a_fingerprint_of_several_keys_is_refused_and_more_digits_tell_them_apart() -> None:
    for pair in (TWINS, UNEQUAL):
        assert digest(pair[0])[:8] == digest(pair[1])[:8]
        with pytest.raises(HotfixError, match=r"fingerprint of several keys, numbers 2, 3 of 3. Write more digits"):
            plan([A, *pair], retire=[fingerprint(pair[0]).split()[0]], regenerate="never")
        decided = plan([A, *pair], retire=[f"sha256:{digest(pair[1])[:20]}"], regenerate="never")
        assert decided.dropped == (pair[1],)
    with pytest.raises(HotfixError, match="fingerprint of several keys"):
        plan([A, *TWINS], retire=[fingerprint(TWINS[0])], regenerate="never")
    assert plan([A, *UNEQUAL], retire=[fingerprint(UNEQUAL[0])], regenerate="never").dropped == (UNEQUAL[0],)


@pytest.mark.parametrize("retire", ["all_but_newest", [fingerprint(A)]])
def test_secure_keys_are_not_retired_in_favour_of_an_insecure_one(retire: Any) -> None:
    with pytest.raises(HotfixError, match=r"only insecure keys would be left.*Set regenerate to insecure or always"):
        plan([DEV, A], retire=retire, regenerate="never")
    assert plan([DEV, A], retire=retire).keys_after(NEW) == [NEW]
    assert plan([DEV, "changeme"], retire="all_but_newest", regenerate="never").keys_after(NEW) == [DEV]


def test_own_time_of_superseded_keys() -> None:
    ages = {fingerprint(A): Age(900 * DAY), fingerprint(B): Age(0.0, 990 * DAY), fingerprint(C): Age(0.0, 980 * DAY)}
    decided = plan([A, B, C], ages=ages, retire_after=15 * DAY)
    assert (decided.keys_after(NEW), decided.retired) == ([A, B], (C,))
    decided = plan([A, B, C], ages=ages, retire_after=5 * DAY, max_age=200 * DAY)
    assert decided.keys_after(NEW) == [A]
    decided = plan([A, B, C], ages=ages, retire_after=500 * DAY, max_age=50 * DAY)
    assert decided.keys_after(NEW) == [NEW, A, B, C]
    assert plan([A, B, C], ages=ages, retire_after=20 * DAY).dropped == ()
    assert plan([A, B, C], retire_after=0.0).dropped == ()


def test_dates_in_the_future_count_as_now() -> None:
    ages = {fingerprint(A): Age(4000 * DAY), fingerprint(B): Age(4000 * DAY, 5000 * DAY)}
    decided = plan([A, B], ages=ages, max_age=0.0, regenerate="never")
    assert decided.keys_after(NEW) == [A, B]
    assert not plan([A, B], ages=ages, max_age=DAY).new_key_needed


def test_which_of_the_dropped_keys_were_retired() -> None:
    decided = plan([A, DEV, B, C], retire=[fingerprint(B), fingerprint(DEV)])
    assert (decided.dropped, decided.retired) == ((DEV, B), (B,))
    decided = plan([A, B], retire=[fingerprint(B)], regenerate="always", overlap=False)
    assert (decided.dropped, decided.retired) == ((A, B), (B,))
    assert plan([A, B], retire="all_but_newest", regenerate="always").retired == (A, B)


COMBINATIONS = list(
    itertools.product(
        ([A], [A, B], [A, B, C], [DEV], [DEV, A], [A, DEV, B]),
        ("never", "insecure", "always"),
        (True, False),
        ((), "all_but_newest", [fingerprint(B)], [fingerprint(A)]),
        (None, 0.5 * DAY, 50 * DAY),
        (None, 15 * DAY),
    )
)


@pytest.mark.parametrize("regenerate", ["never", "insecure", "always"])
def test_every_combination(regenerate: str) -> None:
    """What holds whatever is combined with what; A is a day old, B superseded for 10 days, C for 20."""
    ages = {fingerprint(A): Age(999 * DAY), fingerprint(B): Age(0.0, 990 * DAY), fingerprint(C): Age(0.0, 980 * DAY)}
    seen = set()
    for keys, how, overlap, retire, max_age, retire_after in COMBINATIONS:
        if how != regenerate:
            continue
        try:
            decided = plan(keys, None, ages, regenerate=how, overlap=overlap, retire=retire, max_age=max_age,
                           retire_after=retire_after)  # fmt: skip
        except HotfixError as error:
            assert how == "never"
            assert "would be left" in str(error)
            seen.add("refused")
            continue
        after, limit = decided.keys_after(NEW), max_age if retire_after is None else retire_after
        expired = {
            key for key, days in ((B, 10), (C, 20)) if limit is not None and days * DAY > limit and key in keys[1:]
        }
        unwanted = expired | (
            set(keys[1:]) if retire == "all_but_newest" else {k for k in keys if fingerprint(k) in retire}
        )
        insecure = {DEV} if decided.new_key_needed or how == "always" else set()
        replaced = set(keys) if decided.new_key_needed and (not overlap or retire == "all_but_newest") else set()
        assert set(after) - {NEW} == set(keys) - unwanted - insecure - replaced
        assert after
        old = max_age is not None and keys[0] == A and max_age < DAY
        must = DEV in keys or set(keys) <= unwanted or old
        assert decided.new_key_needed == (how == "always" or (how == "insecure" and must))
        seen.add("rotated" if decided.new_key_needed else "kept")
    assert seen >= {"never": {"kept", "refused"}, "insecure": {"kept", "rotated"}, "always": {"rotated"}}[regenerate]


@pytest.mark.parametrize("retire", [(), "all_but_newest"])
@pytest.mark.parametrize(("max_age", "retire_after"), [(None, None), (0.5 * DAY, None), (None, 0.5 * DAY)])
def test_a_single_key_is_never_retired_by_age_alone(retire: Any, max_age: Any, retire_after: Any) -> None:
    ages = {fingerprint(A): Age(0.0, 1.0)}
    decided = plan([A], None, ages, regenerate="never", retire=retire, max_age=max_age, retire_after=retire_after)
    assert decided.keys_after(NEW) == [A]
