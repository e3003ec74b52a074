# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rotation does to a list of keys. The newest key is the first one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._keys import MIN_ENTROPY_BITS, Weakness, weaknesses
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import digest, fingerprint

REGENERATE = ("never", "fail", "insecure", "always")
ALL_BUT_NEWEST = "all_but_newest"
_FINGERPRINT = re.compile(r"sha256:([0-9a-f]{8,64})(?: len=(\d+))?")


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
    :param max_age: seconds after which the newest key is replaced, and a superseded one dropped unless ``retire_after``
        says when.
    :param retire_after: seconds after which a superseded key is dropped.
    :param deny_patterns: see :func:`_keys.weaknesses`.
    :param min_entropy_bits: see :func:`_keys.weaknesses`.
    """

    regenerate: str = "insecure"
    overlap: bool = True
    retire: Sequence[str] | str = ()
    max_age: float | None = None
    retire_after: float | None = None
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
    :param retired: those of the dropped keys that were asked to go or had their time, not those that are replaced.
    """

    new_key_needed: bool
    kept: tuple[str, ...]
    dropped: tuple[str, ...]
    reasons: tuple[str, ...]
    refused: bool = False
    retired: tuple[str, ...] = ()

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
    :raises HotfixError: when ``new_key`` is insecure, ``retire`` malformed or ambiguous, or no key, or no secure one
        where there is one, would be left.
    """
    return _Rotation(list(keys), policy, new_key, ages or {}, now).plan()


def fits(entry: str, key: str) -> bool:
    """Whether a fingerprint, as :func:`parse_fingerprints` accepts it, is that of a key."""
    match = _FINGERPRINT.fullmatch(entry)
    return bool(match and digest(key).startswith(match[1]) and match[2] in (None, str(len(key))))


def parse_fingerprints(entries: Sequence[str], keys: Sequence[str]) -> list[str]:
    """The entries of ``retire``, checked: 8 to 64 digits of a key's SHA-256, with or without its length.

    :param keys: the keys that they may mean.
    :raises HotfixError: naming the number of the entry that is no fingerprint (it might be a key: it is not shown), or
        the entry that fits several keys.
    """
    for number, entry in enumerate(entries, 1):
        if not _FINGERPRINT.fullmatch(entry):
            raise HotfixError(
                f"entry {number} of retire is not a fingerprint",
                remedy=f"Write sha256:<8 hexadecimal digits or more>, or {ALL_BUT_NEWEST} instead of the list",
            )
        places = [str(place) for place, key in enumerate(keys, 1) if fits(entry, key)]
        if len(places) > 1:
            raise HotfixError(
                f"{entry} in retire is the fingerprint of several keys, numbers {', '.join(places)} of {len(keys)}",
                remedy="Write more digits of the SHA-256 of the key that is meant",
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
    retired: set[str] = field(default_factory=set)

    def plan(self) -> Plan:
        policy = self.policy
        named = () if isinstance(policy.retire, str) else parse_fingerprints(policy.retire, self.keys)
        self._check_new_key(named)
        self._retire(named)
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
        if not needed:
            self._require_secure(kept)
        dropped = tuple(key for key in self.keys if key in self.gone)
        reasons = (*due, *self._outcome(rotate, needed, bool(due)), *self._fates(dropped), *self._unknown(named))
        return Plan(needed, kept, dropped, reasons, retired=tuple(key for key in dropped if key in self.retired))

    def _require_secure(self, kept: Sequence[str]) -> None:
        """Without a new key, what stays has to open the API, and not only to those who can guess a key."""
        if self.keys and not kept:
            raise HotfixError(
                "no key would be left after retiring these", remedy="Set regenerate to insecure or always as well"
            )
        weak = [bool(self.policy.weaknesses(key)) for key in self.keys]
        if not all(weak) and all(self.policy.weaknesses(key) for key in kept):
            raise HotfixError(
                "only insecure keys would be left after retiring these",
                remedy="Set regenerate to insecure or always as well",
            )

    def _check_new_key(self, named: Sequence[str]) -> None:
        if self.new_key is None:
            return
        for weakness in self.policy.weaknesses(self.new_key):
            raise HotfixError(
                f"the key given as new_key ({fingerprint(self.new_key)}) {weakness.message} ({weakness.rule})",
                remedy="Give a random one, or leave new_key out so that one is made",
            )
        if any(fits(entry, self.new_key) for entry in named):
            raise HotfixError("the key given as new_key is named in retire too", remedy="Take it out of one of them")

    def _retire(self, named: Sequence[str]) -> None:
        """Keys to drop whatever else happens."""
        limit = self.policy.max_age if self.policy.retire_after is None else self.policy.retire_after
        for position, key in enumerate(self.keys):
            superseded = self._since(key, "superseded")
            if any(fits(entry, key) for entry in named) or (position and self.policy.retire == ALL_BUT_NEWEST):
                self.gone[key] = "it is retired"
            elif position and limit is not None and self.now - superseded > limit:
                self.gone[key] = f"it was superseded more than {_days(limit)} ago"
        self.retired.update(self.gone)

    def _since(self, key: str, event: str) -> float:
        """When a key was ``first_seen`` or ``superseded``, in seconds since the epoch; now, when that is not known."""
        when = getattr(self.ages.get(fingerprint(key)), event, None)
        return self.now if when is None else float(when)

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
        limit = self.policy.max_age
        if limit is not None and self.now - self._since(self.keys[0], "first_seen") > limit:
            return [f"The newest key ({fingerprint(self.keys[0])}) is older than max_age, {_days(limit)}."]
        return []

    def _drop_old(self) -> None:
        """In a rotation insecure keys go at once, and the others too unless they may overlap."""
        for key in self.keys:
            if key == self.new_key:
                continue
            if self.policy.weaknesses(key):
                self.gone[key] = "it is insecure"
                self.retired.discard(key)
            elif self.policy.retire == ALL_BUT_NEWEST:
                self.gone[key] = "it is retired"
                self.retired.add(key)
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

    def _unknown(self, named: Sequence[str]) -> list[str]:
        absent = [entry for entry in named if not any(fits(entry, key) for key in self.keys)]
        return [
            f"There is no key {entry}, which retire names: it is retired already, or never was here."
            for entry in absent
        ]


def _days(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds and seconds % length == 0:
            return f"{seconds / length:g} {unit}"
    return f"{seconds:g} seconds"
