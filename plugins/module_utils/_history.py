# SPDX-License-Identifier: GPL-3.0-or-later
"""What a project was before and after its runs, as its journal tells, and hence what its previous state is.

The same state is kept once, however often the project has been in it, so that the times of snapshots do not tell the
order of states; the journal does. A deployment adds a state. A return to a state forgets those that came after it: the
previous state of a project that has returned is the one before that, not the one that it has returned from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.composeops.hotfix.plugins.module_utils._shown import printable

# What the journal calls a return to an earlier state, before its first change and when it is proven.
BEGUN = "rollback begun"
DONE = "rolled back"


class Moment(NamedTuple):
    """When a project was in a state.

    :ivar when: ``before`` or ``after``; ``found by`` a run that went on where another one had not ended.
    :ivar run: the ID of a run; empty where the journal does not say it.
    :ivar playbook: what that run played.
    :ivar result: how it ended; empty when it was killed, or is at work.
    """

    when: str
    run: str
    playbook: str
    time: str
    result: str

    def __str__(self) -> str:
        what = self.playbook or "a run"
        ended = {"ok": "", "": " (not ended)"}.get(self.result, f" ({self.result})")
        return f"{self.when} {what}{ended} at {self.time}"


Entries = Iterable[Mapping[str, Any]]


def states(entries: Entries) -> list[str]:
    """The snapshots of the states that led to the present one, oldest first.

    :param entries: of the journal, oldest first.
    """
    return _told(entries)[0]


def _told(entries: Entries) -> tuple[list[str], set[str]]:
    """As :func:`states`, with all that were a state at some time, those that were returned from included."""
    found: list[str] = []
    known: set[str] = set()
    for entry in entries:
        action, identity = entry.get("action"), str(entry.get("id", ""))
        if action == DONE and identity in found:
            del found[_last(found, identity) :]
        opened = action == "present" and entry.get("result") != "continued"
        if identity and (opened or action in ("committed", "kept")) and found[-1:] != [identity]:
            found.append(identity)
            known.add(identity)
        if action == "found":
            # What a run had left half done is no state that anybody wants to return to unasked.
            known.add(identity)
    return found, known


def _last(found: Sequence[str], identity: str) -> int:
    return len(found) - 1 - list(reversed(found)).index(identity)


def pending(entries: Entries) -> str:
    """The snapshot that a run was returning to when it was killed; empty when none was."""
    target = ""
    for entry in entries:
        if entry.get("action") == BEGUN:
            target = str(entry.get("id", ""))
        elif entry.get("action") in ("committed", "closed"):
            target = ""
    return target


def moments(entries: Entries) -> dict[str, list[Moment]]:
    """For each snapshot before and after which runs the project was in that state, oldest first."""
    listed = list(entries)
    began = {entry.get("run"): str(entry.get("playbook", "")) for entry in listed if entry.get("action") == "run began"}
    ended = {entry.get("run"): str(entry.get("result", "")) for entry in listed if entry.get("action") == "run ended"}
    found: dict[str, list[Moment]] = {}
    for entry in listed:
        action, run = entry.get("action"), str(entry.get("run", ""))
        opened = action == "present" and entry.get("result") != "continued"
        if opened or action in ("committed", "found"):
            # What a run without an ID was and how it ended is not known.
            result = ended.get(run, "") if run else "ok"
            when = "before" if opened else "after" if action == "committed" else "found by"
            moment = Moment(when, run, began.get(run, ""), str(entry.get("time", "")), result)
            found.setdefault(str(entry.get("id", "")), []).append(moment)
    return found


def previous(entries: Sequence[Mapping[str, Any]], kept: Sequence[str], same: Callable[[str], bool]) -> str:
    """The snapshot of the state before the last deployment; empty when none is kept.

    :param kept: the snapshots that there are, oldest first.
    :param same: whether a snapshot is the present state.
    """
    target = pending(entries)
    if target in kept:
        return target  # a return that was killed is gone on with
    told, known = _told(entries)
    # What the journal has forgotten for its size is older than what it tells.
    order = [name for name in kept if name not in known] + [name for name in told if name in kept]
    return next((name for name in reversed(order) if not same(name)), "")


def lines(snapshots: Iterable[Mapping[str, Any]], chosen: str) -> list[str]:
    """What an operator is shown of the states that can be returned to, as ``snapshot_info`` describes them.

    :param chosen: the one that is returned to when none is named.
    """
    shown = []
    for snapshot in snapshots:
        marks = ["what runs now"] if snapshot["current"] else []
        marks += ["the state before the last deployment"] if snapshot["id"] == chosen else []
        shown.append(f"{snapshot['id']}{'  (' + ', '.join(marks) + ')' if marks else ''}")
        if snapshot["problem"]:
            shown.append(f"    cannot be returned to: {snapshot['problem']}")
            continue
        shown += [f"    {moment}" for moment in list(snapshot["moments"])[-3:]]
        image = snapshot["image_id"].replace("sha256:", "")[:12] or "none"
        gone = ", which is gone from this host" if snapshot["image_present"] is False else ""
        revision = snapshot["revision"][:12] or "none"
        shown.append(f"    taken {snapshot['taken']}, image {image}{gone}, git revision {revision}")
        differing = [*map(printable, snapshot["changed_files"])]
        differing += ["image"] if snapshot["image_differs"] else []
        differing += ["git revision"] if snapshot["revision_differs"] else []
        shown.append(f"    holds {', '.join(map(printable, snapshot['files']))}")
        shown.append(f"    differs from now in {', '.join(differing) or 'nothing'}")
    return shown
