# SPDX-License-Identifier: GPL-3.0-or-later
"""What an API's answers prove about its keys."""

from __future__ import annotations

from ansible_collections.composeops.hotfix.plugins.module_utils._probe import Answer, Verdict, judge, questions


def test_questions() -> None:
    asked = questions(["a", "dev", "a"], ["dev"], ["a", "b", "dev", "b"], "random")
    assert [(question.what, question.key) for question in asked] == [
        ("none", None),
        ("random", "random"),
        ("current", "a"),
        ("old", "dev"),
        ("old", "b"),
    ]
    assert "random" not in repr(asked).replace("what='random'", "")
    assert all(question.sendable for question in asked)
    assert [question.sendable for question in questions(["a\nb", "ä"], [], [], "r")][2:] == [False, False]


def verdict(*statuses: int, current: tuple[str, ...] = ("new",)) -> Verdict:
    asked = questions(current, ["dev"], [], "random")
    answers = [
        Answer(question, status, accepted=status == 200, refused=status in (0, 401, 403))
        for question, status in zip(asked, statuses)
    ]
    return judge(answers, current)


def test_all_is_well() -> None:
    assert verdict(401, 403, 200, 401) == Verdict("enforced", True, True, ())
    assert verdict(401, 403, 200, 401).ok


def test_api_that_takes_any_key_is_never_called_ok() -> None:
    for statuses in ((200, 200, 200, 200), (401, 200, 200, 401), (200, 401, 200, 401)):
        found = verdict(*statuses)
        assert (found.state, found.ok) == ("not_enforced", False)
        assert any("keys are not enforced" in reason for reason in found.reasons)


def test_other_statuses_prove_nothing() -> None:
    for status in (302, 404, 429, 500):
        assert verdict(status, 401, 200, 401).state == "undetermined"
        assert not verdict(status, 401, 200, 401).ok
        assert not verdict(401, 401, status, 401).current_accepted
        found = verdict(401, 401, 200, status)
        assert not found.old_refused
        assert found.reasons == (f"The old key sha256:ef260e9a len=3 is not refused (status {status}).",)


def test_old_key_still_in_the_file() -> None:
    found = verdict(401, 401, 200, current=("dev",))
    assert not found.current_accepted
    assert not found.old_refused
    assert found.reasons[0] == "There is no key in the file that should be accepted."
    assert found.reasons[1].endswith("is not refused (status 200), and is still in the file.")


def test_current_key_that_cannot_be_sent() -> None:
    found = verdict(401, 401, 0, 401, current=("a\nb",))
    assert not found.ok
    assert found.reasons[0].endswith("is not accepted (it cannot be sent in a header).")
