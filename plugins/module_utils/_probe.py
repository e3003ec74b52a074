# SPDX-License-Identifier: GPL-3.0-or-later
"""Which keys an API is asked with, and what its answers prove."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import fingerprint

ENFORCED, NOT_ENFORCED, UNDETERMINED = "enforced", "not_enforced", "undetermined"


@dataclass(frozen=True)
class Question:
    """One request to send.

    :param what: ``none``, ``random``, ``current`` or ``old``.
    :param key: the key to send, or None to send none.
    """

    what: str
    key: str | None = field(repr=False)

    @property
    def shown(self) -> str:
        """The key's fingerprint; empty without a key."""
        return "" if self.key is None else fingerprint(self.key)

    @property
    def sendable(self) -> bool:
        """Whether the key can stand in an HTTP header (RFC 9110, 5.5: visible characters and spaces)."""
        return self.key is None or (self.key.isascii() and self.key.isprintable())


@dataclass(frozen=True)
class Answer:
    """What came back. A status that says neither yes nor no (429, 500, ...) is neither accepted nor refused.

    :param status: the HTTP status; 0 for a key that cannot be sent.
    """

    question: Question
    status: int
    accepted: bool
    refused: bool


@dataclass(frozen=True)
class Verdict:
    """What the answers prove.

    :param state: ``enforced``, ``not_enforced``, or ``undetermined`` when an answer says neither yes nor no.
    """

    state: str
    current_accepted: bool
    old_refused: bool
    reasons: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether exactly the current keys open the API."""
        return self.state == ENFORCED and self.current_accepted and self.old_refused


def questions(current: Sequence[str], refused: Iterable[str], former: Iterable[str], random_key: str) -> list[Question]:
    """The requests to send.

    :param current: the keys in the ``.env``.
    :param refused: keys that must be refused, even when they are still in the ``.env``.
    :param former: keys of earlier copies; those that are still current count as current.
    :param random_key: a key that was never issued.
    """
    old = dict.fromkeys([*refused, *(key for key in former if key not in current)])
    return [
        Question("none", None),
        Question("random", random_key),
        *(Question("current", key) for key in dict.fromkeys(current) if key not in old),
        *(Question("old", key) for key in old),
    ]


def judge(answers: Sequence[Answer], current: Sequence[str]) -> Verdict:
    """What the answers prove, with a sentence for each thing that is not as it should be.

    :param current: the keys in the ``.env``.
    """
    reasons = []
    strangers = [answer for answer in answers if answer.question.what in ("none", "random")]
    for answer in strangers:
        sender = "a request without a key" if answer.question.key is None else "a key that was never issued"
        if answer.accepted:
            reasons.append(f"The API accepts {sender} (status {answer.status}): keys are not enforced here.")
        elif not answer.refused:
            reasons.append(f"The API neither accepts nor refuses {sender} (status {answer.status}).")
    valid = [answer for answer in answers if answer.question.what == "current"]
    old = [answer for answer in answers if answer.question.what == "old"]
    if not valid:
        reasons.append("There is no key in the file that should be accepted.")
    for answer in (answer for answer in valid if not answer.accepted):
        reasons.append(f"The current key {answer.question.shown} is not accepted ({_status(answer)}).")
    for answer in (answer for answer in old if not answer.refused):
        still = ", and is still in the file" if answer.question.key in current else ""
        reasons.append(f"The old key {answer.question.shown} is not refused ({_status(answer)}){still}.")
    return Verdict(
        state=_state(strangers),
        current_accepted=bool(valid) and all(answer.accepted for answer in valid),
        old_refused=all(answer.refused for answer in old),
        reasons=tuple(reasons),
    )


def _state(strangers: Sequence[Answer]) -> str:
    if any(answer.accepted for answer in strangers):
        return NOT_ENFORCED
    return ENFORCED if strangers and all(answer.refused for answer in strangers) else UNDETERMINED


def _status(answer: Answer) -> str:
    return f"status {answer.status}" if answer.status else "it cannot be sent in a header"
