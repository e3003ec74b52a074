# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rotation does to a list of keys. The newest key is the first one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._keys import MIN_ENTROPY_BITS, Weakness, weaknesses
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import fingerprint

REGENERATE = ("never", "fail", "insecure", "always")
ALL_BUT_NEWEST = "all_but_newest"
_FINGERPRINT = re.compile(r"sha256:[0-9a-f]{8}(?: len=\d+)?")


@dataclass(frozen=True)
class Age:
    """Since when a key is known.

    :param first_seen: seconds since the epoch.
    :param superseded: since when another key is newer, or None for the newest one.
    """

    first_seen: float
    superseded: float | None = None


@dataclass(frozen=True)
class Policy:
    """When keys come and go.

    :param regenerate: one of :data:`REGENERATE`.
    :param overlap: secure old keys stay beside a new one.
    :param retire: fingerprints of keys to drop, or :data:`ALL_BUT_NEWEST`.
    :param max_age: seconds after which the newest key is replaced, and a superseded one dropped.
    :param deny_patterns: see :func:`_keys.weaknesses`.
    :param min_entropy_bits: see :func:`_keys.weaknesses`.
    """

    regenerate: str = "insecure"
    overlap: bool = True
    retire: Sequence[str] | str = ()
    max_age: float | None = None
    deny_patterns: Sequence[str] = ()
    min_entropy_bits: float = MIN_ENTROPY_BITS

    def weaknesses(self, key: str) -> list[Weakness]:
        """Why this policy calls a key insecure."""
        return weaknesses(key, self.deny_patterns, self.min_entropy_bits)


@dataclass(frozen=True)
class Plan:
    """The decision.

    :param new_key_needed: whether a new key goes first in the list.
    :param kept: the keys that stay, newest first.
    :param dropped: the keys that go.
    :param reasons: sentences for the operator, with fingerprints instead of keys.
    :param refused: whether the policy wants a failure instead (``regenerate: fail``).
    """

    new_key_needed: bool
    kept: tuple[str, ...]
    dropped: tuple[str, ...]
    reasons: tuple[str, ...]
    refused: bool = False

    def keys_after(self, new_key: str) -> list[str]:
        """The list afterwards, newest first; ``new_key`` is left out where none is needed."""
        return [new_key, *self.kept] if self.new_key_needed else list(self.kept)


def plan_rotation(
    keys: Sequence[str],
    policy: Policy,
    *,
    new_key: str | None = None,
    ages: Mapping[str, Age] | None = None,
    now: float = 0.0,
) -> Plan:
    """Decide which of these keys (newest first) stay, and whether a new one is needed.

    :param new_key: the key that will be used when one is needed; None when one will be made.
    :param ages: fingerprint to age; a key that is missing counts as seen, or superseded, just now.
    :param now: seconds since the epoch.
    :raises HotfixError: when ``new_key`` is insecure, ``retire`` malformed, or no key would be left.
    """
    return _Rotation(list(keys), policy, new_key, ages or {}, now).plan()


def parse_fingerprints(entries: Sequence[str]) -> list[str]:
    """The entries of ``retire``, checked.

    :raises HotfixError: naming the number of the entry that is no fingerprint (it might be a key: it is not shown).
    """
    for number, entry in enumerate(entries, 1):
        if not _FINGERPRINT.fullmatch(entry):
            raise HotfixError(
                f"entry {number} of retire is not a fingerprint",
                remedy=f"Write sha256:<8 hexadecimal digits>, or {ALL_BUT_NEWEST} instead of the list",
            )
    return list(entries)


@dataclass
class _Rotation:
    """One decision in the making: ``gone`` says for each unwanted key why it goes."""

    keys: list[str]
    policy: Policy
    new_key: str | None
    ages: Mapping[str, Age]
    now: float
    gone: dict[str, str] = field(default_factory=dict)

    def plan(self) -> Plan:
        policy = self.policy
        self._check_new_key()
        self._retire()
        due = self._insecure() or self._due()
        if policy.regenerate == "fail" and due:
            return Plan(False, tuple(self.keys), (), tuple(due), refused=True)
        rotate = policy.regenerate == "always" or (policy.regenerate == "insecure" and bool(due))
        already = self.new_key is not None and self.keys[:1] == [self.new_key]
        needed = rotate and not already
        if rotate:
            self._drop_old()
        if needed and self.new_key in self.gone:  # it comes back to the front
            del self.gone[self.new_key]
        kept = tuple(key for key in self.keys if key not in self.gone and not (needed and key == self.new_key))
        if self.keys and not kept and not needed:
            raise HotfixError(
                "no key would be left after retiring these", remedy="Set regenerate to insecure or always as well"
            )
        dropped = tuple(key for key in self.keys if key in self.gone)
        return Plan(needed, kept, dropped, (*due, *self._outcome(rotate, needed, bool(due)), *self._fates(dropped)))

    def _check_new_key(self) -> None:
        if self.new_key is None:
            return
        for weakness in self.policy.weaknesses(self.new_key):
            raise HotfixError(
                f"the key given as new_key ({fingerprint(self.new_key)}) {weakness.message} ({weakness.rule})",
                remedy="Give a random one, or leave new_key out so that one is made",
            )
        if self._is_named(self.new_key):
            raise HotfixError("the key given as new_key is named in retire too", remedy="Take it out of one of them")

    def _is_named(self, key: str) -> bool:
        """Whether ``retire`` names this key by its fingerprint, with or without the length."""
        retire = () if isinstance(self.policy.retire, str) else parse_fingerprints(self.policy.retire)
        return any(f"{fingerprint(key)} ".startswith(f"{entry} ") for entry in retire)

    def _retire(self) -> None:
        """Keys to drop whatever else happens; a fingerprint that is not in the list is of a key that is gone."""
        for position, key in enumerate(self.keys):
            age = self.ages.get(fingerprint(key))
            limit = self.policy.max_age
            if self._is_named(key) or (position and self.policy.retire == ALL_BUT_NEWEST):
                self.gone[key] = "it is retired"
            elif position and limit is not None and age and self.now - (age.superseded or self.now) > limit:
                self.gone[key] = f"it was superseded more than {_days(limit)} ago"

    def _insecure(self) -> list[str]:
        return [
            f"Key {number} of {len(self.keys)} ({fingerprint(key)}) {weakness.message} ({weakness.rule})."
            for number, key in enumerate(self.keys, 1)
            for weakness in self.policy.weaknesses(key)
        ]

    def _due(self) -> list[str]:
        """Why a new key is needed although none is insecure."""
        if not self.keys:
            return ["There is no key."]
        if all(key in self.gone for key in self.keys):
            return ["Every key is to be retired."]
        age = self.ages.get(fingerprint(self.keys[0]))
        limit = self.policy.max_age
        if limit is not None and age and self.now - age.first_seen > limit:
            return [f"The newest key ({fingerprint(self.keys[0])}) is older than max_age, {_days(limit)}."]
        return []

    def _drop_old(self) -> None:
        """In a rotation insecure keys go at once, and the others too unless they may overlap."""
        for key in self.keys:
            if key == self.new_key:
                continue
            if self.policy.weaknesses(key):
                self.gone[key] = "it is insecure"
            elif self.policy.retire == ALL_BUT_NEWEST:
                self.gone[key] = "it is retired"
            elif not self.policy.overlap:
                self.gone.setdefault(key, "it is replaced")

    def _outcome(self, rotate: bool, needed: bool, due: bool) -> list[str]:
        if needed:
            return (
                ["A new key becomes the newest."]
                if due
                else ["A new key becomes the newest, because regenerate is always."]
            )
        if rotate:
            return ["The key given as new_key is the newest already."]
        if due:
            return ["No new key is made, because regenerate is never."]
        return ["No key is insecure, so no new one is made."]

    def _fates(self, dropped: Sequence[str]) -> list[str]:
        return [f"The key {fingerprint(key)} is dropped: {self.gone[key]}." for key in dropped]


def _days(seconds: float) -> str:
    return f"{seconds / 86400:g} days"
