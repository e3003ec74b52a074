# SPDX-License-Identifier: GPL-3.0-or-later
"""Which state was before the present one, whatever runs, returns and kills the journal tells of."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils import _history

Entry = dict[str, Any]


def story(text: str) -> list[Entry]:
    """A journal in short: ``A>B`` deploys, ``A<B`` returns from A to B, ``A?`` and ``A<?B`` are killed on the way."""
    entries: list[Entry] = []

    def note(action: str, identity: str, result: str = "changed") -> None:
        entries.append({"action": action, "id": identity, "result": result, "run": "r", "time": "t"})

    for word in text.split():
        note("present", word[0])
        if word[1] == "<":
            note(_history.BEGUN, word[-1])
        if "?" in word:
            continue
        note("present", word[0], "continued")
        if word[1] == "<":
            note(_history.DONE, word[-1])
        note("committed", word[-1], "unchanged")
    return entries


@pytest.mark.parametrize(
    ("text", "states", "previous"),
    [
        ("", "", ""),
        ("A>B", "AB", "A"),
        ("A>B B>C", "ABC", "B"),
        # A second run that changed nothing.
        ("A>B B>B", "AB", "A"),
        ("A>B B<A", "A", ""),
        ("A>B B>C C<B", "AB", "A"),
        ("A>B B>C C<B B<A", "A", ""),
        # A return from a return adds a state again.
        ("A>B B>C C<B B<C", "ABC", "B"),
        # The same state as one before, by a deployment.
        ("A>B B>A", "ABA", "B"),
        ("A>B B>C C<A", "A", ""),
        # Somebody edited files between two runs.
        ("A>B D>C", "ABDC", "D"),
        ("A>B D<B", "AB", "A"),
        # Killed: the run before the transaction, or what a return was on its way to.
        ("A>B B?", "AB", "A"),
        ("A>B B>C C<?B", "ABC", "B"),
        ("A>B B>C C<?A", "ABC", "A"),
        ("A>B B>C C<?A C>D", "ABCD", "C"),
    ],
)
def test_states_and_the_previous_one(text: str, states: str, previous: str) -> None:
    entries = story(text)
    assert "".join(_history.states(entries)) == states
    present = states[-1:]
    assert _history.previous(entries, sorted(set(states)), lambda name: name == present) == previous


def test_a_state_that_was_left_half_done_is_returned_from() -> None:
    # Nothing that is kept is the present state.
    assert _history.previous(story("A>B B?"), ["A", "B"], lambda name: False) == "B"


def test_a_return_that_was_killed_ends_when_somebody_has_deployed_since() -> None:
    begun = [*story("A>B B>C"), {"action": "rollback begun", "id": "A"}]
    assert _history.previous(begun, ["A", "B", "C"], lambda name: False) == "A"
    since = [*begun, {"action": "closed", "id": "C"}, {"action": "present", "id": "D", "result": "changed"}]
    assert _history.previous(since, ["A", "B", "C", "D"], lambda name: name == "D") == "C"


def test_a_state_that_was_kept_beside_an_open_transaction_comes_after_it() -> None:
    entries = [*story("A>B B?"), {"action": "kept", "id": "K"}, {"action": "present", "id": "B", "result": "continued"}]
    assert _history.states(entries) == ["A", "B", "K"]


def test_what_a_run_had_left_half_done_is_not_returned_to_unasked() -> None:
    found = {"action": "found", "run": "7", "id": "F", "time": "t1"}
    entries = [*story("A>B B?"), found, {"action": "committed", "id": "C"}]
    assert _history.states(entries) == ["A", "B", "C"]
    assert _history.previous(entries, ["A", "B", "F", "C"], lambda name: name == "C") == "B"
    assert [str(moment) for moment in _history.moments(entries)["F"]] == ["found by a run (not ended) at t1"]


def test_keys_that_stay_make_another_state_of_the_one_that_was_returned_to() -> None:
    entries = story("A>B B>C C<B")
    entries[-1]["id"] = "b"
    assert _history.states(entries) == ["A", "b"]
    assert _history.previous(entries, ["A", "B", "C", "b"], lambda name: name == "b") == "A"


def test_states_that_were_pruned_or_forgotten() -> None:
    entries = story("A>B B>C")
    assert _history.previous(entries, ["A", "C"], lambda name: name == "C") == "A"
    assert _history.previous(entries, ["C"], lambda name: name == "C") == ""
    # The journal was cut: what it does not tell of is older.
    assert _history.previous(entries[4:], ["A", "B", "C"], lambda name: name == "C") == "B"
    assert _history.previous(entries[5:], ["A", "B", "C"], lambda name: name == "C") == "B"
    assert _history.previous([], ["A", "B", "C"], lambda name: name == "C") == "B"
    # What was returned from is known, so that it does not count as forgotten.
    assert _history.previous(story("A>B B<A"), ["A", "B"], lambda name: name == "A") == ""


def test_when_a_project_was_in_a_state() -> None:
    entries = [
        {"action": "run began", "run": "1", "playbook": "site.yml"},
        {"action": "present", "run": "1", "id": "A", "result": "changed", "time": "t1"},
        {"action": "committed", "run": "1", "id": "B", "result": "changed", "time": "t2"},
        {"action": "run ended", "run": "1", "result": "failed"},
        {"action": "present", "id": "B", "result": "unchanged", "time": "t3"},
        {"action": "run began", "run": "2", "playbook": "other.yml"},
        {"action": "present", "run": "2", "id": "B", "result": "unchanged", "time": "t4"},
        {"action": "present", "run": "2", "id": "B", "result": "continued", "time": "t5"},
    ]
    found = {name: [str(moment) for moment in each] for name, each in _history.moments(entries).items()}
    assert found == {
        "A": ["before site.yml (failed) at t1"],
        "B": ["after site.yml (failed) at t2", "before a run at t3", "before other.yml (not ended) at t4"],
    }


def test_what_an_operator_is_shown() -> None:
    common = {"taken": "T", "image_present": True, "image_differs": True, "revision_differs": False, "problem": ""}
    snapshots = [
        {
            **common,
            "id": "B",
            "current": True,
            "moments": ["after site.yml at t2"],
            "files": [".env"],
            "changed_files": [],
            "image_id": "sha256:" + "b" * 64,
            "revision": "",
            "image_differs": False,
        },
        {
            **common,
            "id": "A",
            "current": False,
            "moments": ["before site.yml at t1"],
            "files": [".env", "b\udcff"],
            "changed_files": ["b\udcff"],
            "image_id": "sha256:" + "a" * 64,
            "image_present": False,
            "revision": "c" * 40,
            "revision_differs": True,
        },
        {**common, "id": "X", "current": False, "moments": [], "problem": "this manifest is damaged."},
    ]
    assert _history.lines(snapshots, "A") == [
        "B  (what runs now)",
        "    after site.yml at t2",
        "    taken T, image bbbbbbbbbbbb, git revision none",
        "    holds .env",
        "    differs from now in nothing",
        "A  (the state before the last deployment)",
        "    before site.yml at t1",
        "    taken T, image aaaaaaaaaaaa, which is gone from this host, git revision cccccccccccc",
        "    holds .env, b\ufffd",
        "    differs from now in b\ufffd, image, git revision",
        "X",
        "    cannot be returned to: this manifest is damaged.",
    ]
