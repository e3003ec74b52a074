# SPDX-License-Identifier: GPL-3.0-or-later
"""A small file that remembers since when each key is known: fingerprints with dates, no values."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._files import Edit, problem, read_bytes
from ansible_collections.composeops.hotfix.plugins.module_utils._rotation import Age
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import fingerprint

_TIME = "%Y-%m-%dT%H:%M:%SZ"


class KeyAges:
    """The file's content; one entry for each variable of each file.

    :param path: the state file, which need not exist yet.
    :raises HotfixError: when it exists and is not such a file.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._before = read_bytes(path) if os.path.lexists(path) else None
        self._content: dict[str, Any] = (
            {"version": 1, "files": {}} if self._before is None else _load(self._before, path)
        )

    def of(self, env_path: str, name: str) -> dict[str, Age]:
        """Fingerprint to age of the keys in the variable ``name`` of the file ``env_path``.

        :raises HotfixError: when a date in the file is none.
        """
        entries = self._content["files"].get(os.path.abspath(env_path), {}).get(name, {})
        try:
            return {
                key: Age(_seconds(dates["first_seen"]), _seconds(dates["superseded"]) if dates["superseded"] else None)
                for key, dates in entries.items()
            }
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise _damaged(self.path) from error

    def record(self, env_path: str, name: str, keys: Sequence[str], now: float) -> None:
        """Remember that the variable holds these keys now, newest first; the others are forgotten."""
        ages = updated(self.of(env_path, name), keys, now)
        self._content["files"].setdefault(os.path.abspath(env_path), {})[name] = {
            key: {
                "first_seen": _text(age.first_seen),
                "superseded": None if age.superseded is None else _text(age.superseded),
            }
            for key, age in ages.items()
        }

    @property
    def data(self) -> bytes:
        """The file's content as it should be."""
        return (json.dumps(self._content, indent=2, sort_keys=True) + "\n").encode()

    @property
    def data_before(self) -> bytes:
        """The file's content as it is; empty when there is no file."""
        return self._before or b""

    @property
    def changed(self) -> bool:
        """Whether the file has to be written."""
        return self.data != self._before

    def write(self, edit: Edit) -> None:
        """Write the file, readable by its owner only, in a folder that is made likewise; nothing in check mode.

        :raises HotfixError: naming the file, the reason and the remedy.
        """
        folder = os.path.dirname(os.path.abspath(self.path))
        if edit.check and not os.path.lexists(folder):
            return
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
        except OSError as error:
            raise problem(error, self.path, "write") from error
        edit.replace(self.path, self._before, self.data, mode=0o600)


def updated(ages: Mapping[str, Age], keys: Sequence[str], now: float) -> dict[str, Age]:
    """The ages after a variable was found or made to hold ``keys``, newest first.

    :param now: seconds since the epoch; the date of what was not known before, and of what is dated in the future: a
        clock that was wrong then must not keep a key young for years.
    """
    result = {}
    for position, key in enumerate(keys):
        known = ages.get(fingerprint(key), Age(now))
        superseded = None if position == 0 else now if known.superseded is None else min(known.superseded, now)
        result[fingerprint(key)] = Age(min(known.first_seen, now), superseded)
    return result


def _load(data: bytes, path: str) -> dict[str, Any]:
    try:
        content = json.loads(data)
        if content["version"] != 1 or not all(isinstance(names, dict) for names in content["files"].values()):
            raise ValueError
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise _damaged(path) from error
    return dict(content)


def _damaged(path: str) -> HotfixError:
    return HotfixError("this is not a file of key ages", path=path, remedy="Move it away; the ages then count from now")


def _seconds(text: str) -> float:
    return datetime.strptime(text, _TIME).replace(tzinfo=timezone.utc).timestamp()


def _text(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime(_TIME)
