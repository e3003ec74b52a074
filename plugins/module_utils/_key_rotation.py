# SPDX-License-Identifier: GPL-3.0-or-later
"""The rotation of the keys in one variable of a ``.env``: read, decide, write, and say what was done."""

from __future__ import annotations

import os
import re
import time
from typing import Any

from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv import Document, parse, redacted
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._files import Edit, read_bytes
from ansible_collections.composeops.hotfix.plugins.module_utils._journal import claim, project_folder
from ansible_collections.composeops.hotfix.plugins.module_utils._key_ages import KeyAges
from ansible_collections.composeops.hotfix.plugins.module_utils._keys import KeyList, generate, in_document, join
from ansible_collections.composeops.hotfix.plugins.module_utils._patterns import parse_duration
from ansible_collections.composeops.hotfix.plugins.module_utils._rotation import (
    ALL_BUT_NEWEST,
    Plan,
    Policy,
    plan_rotation,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import fingerprint, register

GENERATED = "generated at run time"
AGES = "key_ages.json"


class KeyRotation:
    """One run of the module: read, decide, write."""

    def __init__(self, module: Any, edit: Edit) -> None:
        self.module = module
        self.edit = edit
        self.params: dict[str, Any] = module.params
        self.path: str = self.params["path"]
        self.name: str = self.params["name"]
        self.now = time.time()
        self.before = parse(read_bytes(self.path), self.path, self.params["dialect"])
        self.current = in_document(self.before, self.name, self.params["format"])
        register(module, self.current.keys)
        self.policy = policy(self.params, self.current)
        ages = state_file(self.params)
        self.ages = KeyAges(ages) if ages else None

    def run(self) -> dict[str, Any]:
        """Rotate, and say what was done."""
        plan = self._plan()
        new_key = self._new_key()
        keys = plan.keys_after(new_key)
        after = self.before
        if keys != self.current.keys or (keys and self.params["regenerate"] != "never" and self._in_kept_quotes()):
            after = self.before.set({self.name: join(keys, self.current.format)})
        if self.ages:
            self.ages.record(self.path, self.name, keys, self.now)
        hidden = plan.new_key_needed and self.params["new_key"] is None and self.module.check_mode
        newest = GENERATED if hidden else fingerprint(keys[0]) if keys else ""
        result = {
            "changed": after.data != self.before.data or bool(self.ages and self.ages.changed),
            "rotated": plan.new_key_needed,
            "reasons": [*plan.reasons, *self._form(after)],
            "new_fingerprint": newest if plan.new_key_needed else "",
            "newest_fingerprint": newest,
            "kept_fingerprints": [fingerprint(key) for key in plan.kept],
            "dropped_fingerprints": [fingerprint(key) for key in plan.dropped],
            "retired_fingerprints": [fingerprint(key) for key in plan.retired],
            "key_count": len(keys),
            "secure": bool(keys) and not any(self.policy.weaknesses(key) for key in keys),
            "format": self.current.format,
            "line": self.current.line or 0,
            "diff": self._diff(
                after, {fingerprint(new_key), fingerprint(after.get(self.name, ""))} if hidden else set()
            ),
        }
        if self.params["return_key"] and keys and not hidden:
            self.module.no_log_values.discard(keys[0])  # asked for
            result["key"] = keys[0]
        result.update(self._write(after))
        return result

    def _in_kept_quotes(self) -> bool:
        """Whether the value stands in quotes which the service gets as a part of it."""
        entry = self.before.effective(self.name)
        return entry is not None and self.before.meant(entry) != entry

    def _form(self, after: Document) -> list[str]:
        if not self._in_kept_quotes():
            return []
        form = "stands in quotes, which the service gets as a part of the value"
        return [f"{self.name} {form}{'' if after is self.before else '; it is written without'}."]

    def _plan(self) -> Plan:
        known = self.ages.of(self.path, self.name) if self.ages else {}
        plan = plan_rotation(self.current.keys, self.policy, new_key=self.params["new_key"], ages=known, now=self.now)
        if plan.refused:
            raise HotfixError(
                f"{self.name}: {' '.join(plan.reasons)[:-1]}",
                path=self.path,
                line=self.current.line,
                remedy="Rotate with regenerate: insecure",
            )
        return plan

    def _new_key(self) -> str:
        """The key to use if one is needed; generated in check mode too, so that its failures show there."""
        if not 16 <= self.params["nbytes"] <= 1024:
            raise HotfixError(f"nbytes is {self.params['nbytes']}", remedy="Choose a number from 16 to 1024")
        new_key: str | None = self.params["new_key"]
        if new_key is None:
            new_key = generate(self.params["nbytes"], self.policy.deny_patterns, self.policy.min_entropy_bits)
        register(self.module, [new_key])
        return new_key

    def _diff(self, after: Document, invented: set[str]) -> list[dict[str, str]]:
        """Both files before and after, with fingerprints; those in ``invented`` are not the final ones."""
        files = [(self.path, redacted(self.before), redacted(after))]
        if self.ages and self.ages.changed:
            files.append((self.ages.path, self.ages.data_before.decode(), self.ages.data.decode()))
        unknown = re.compile("|".join(map(re.escape, invented)) or r"(?!)")
        return [
            {"before_header": path, "after_header": path, "before": old, "after": unknown.sub(GENERATED, new)}
            for path, old, new in files
        ]

    def _write(self, after: Document) -> dict[str, str]:
        copy = None
        if after.data != self.before.data:
            keep = self.params["backup_keep"] if self.params["backup"] else None
            copy = self.edit.replace(self.path, self.before.data, after.data, keep=keep)
        if self.ages and self.ages.changed:
            if self.params["state_dir"] and not self.edit.check:
                claim(os.path.dirname(self.ages.path), project_src(self.params))
            self.ages.write(self.edit)
        return {"backup_file": copy} if copy else {}


def project_src(params: dict[str, Any]) -> str:
    """The directory of the Compose project."""
    return str(params["project_src"] or os.path.dirname(os.path.abspath(params["path"])))


def state_file(params: dict[str, Any]) -> str | None:
    """The file with the keys' ages, if they are to be kept."""
    if params["state_dir"]:
        return os.path.join(project_folder(params["state_dir"], project_src(params)), AGES)
    return params["state_file"]


def policy(params: dict[str, Any], current: KeyList) -> Policy:
    """The module's options as a policy.

    :raises HotfixError: when they contradict each other or a duration is malformed.
    """
    durations = {}
    for name in ("max_age", "retire_after"):
        if params[name] is not None and not state_file(params):
            raise HotfixError(f"{name} needs to know the keys' ages", remedy="Set state_file or state_dir as well")
        durations[name] = None if params[name] is None else parse_duration(params[name], name)
    retire = params["retire"] or []
    if isinstance(retire, str) and retire != ALL_BUT_NEWEST:
        retire = [retire]
    return Policy(
        regenerate=params["regenerate"],
        overlap=params["overlap"] and current.format != "scalar",
        retire=retire if isinstance(retire, str) else [str(entry) for entry in retire],
        **durations,
        deny_patterns=params["deny_patterns"],
        min_entropy_bits=params["min_entropy_bits"],
    )
