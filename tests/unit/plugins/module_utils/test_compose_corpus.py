# SPDX-License-Identifier: GPL-3.0-or-later
"""Compose projects as people write them, edited in every way: only the key's lines differ, and Compose sees only that.

The judges are another YAML reader for the lines and Compose itself for the meaning. The versions of Compose take turns;
with FUZZ_EXAMPLES in the environment each judges every edit.
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils import _worker_setting as ws
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_change import changed_files
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_file import Project
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._launch import Files, Launch
from compose_judge import (
    EDITS,
    SERVICE,
    TARGETS,
    Judge,
    Sample,
    changed_paths,
    edited,
    expected,
    judges,
    load,
    unclear,
    with_compose,
)
from compose_lines import foreign_lines

SIGNS = {"␍": "\r", "␉": "\t", "␠": " ", "␛": "\ufeff", "␃\n": ""}


def read_samples() -> list[Sample]:
    text = (Path(__file__).parent / "compose_corpus.txt").read_text(encoding="utf-8")
    samples = []
    for block in re.split(r"^#### ", text, flags=re.MULTILINE)[1:]:
        head, *rest = re.split(r"^~~~~ (.*)\n", block.rstrip("\n") + "\n", flags=re.MULTILINE)
        name, *options = head.splitlines()
        words: dict[str, list[str]] = {}
        for line in filter(None, options):
            words.setdefault(line.split()[0], []).extend(line.split()[1:])
        for sign, meaning in SIGNS.items():
            rest = [part.replace(sign, meaning) for part in rest]
        files = dict(zip(rest[::2], rest[1::2]))
        refused = {"source": set(words.get("refused", [])), "override": set(words.get("refused-override", []))}
        samples.append(Sample(name, files, words.get("files", []), refused))
    return samples


SAMPLES = {sample.name: sample for sample in read_samples()}


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_no_other_line_differs(sample: Sample, tmp_path: Path) -> None:
    """What is not refused changes the lines of its keys; a second time it changes nothing."""
    project = load(tmp_path, sample)
    for edit, target in itertools.product(EDITS, TARGETS):
        after, case = edited(project, edit, target), f"{edit}, {target}"
        assert isinstance(after, HotfixError) == (edit in sample.refused[target]), f"{case}: {after}"
        if isinstance(after, HotfixError):
            assert not unclear(after, tmp_path), case
            continue
        paths = [("services", SERVICE, *path) for path in changed_paths(EDITS[edit])]
        for was, now in changed_files(project, after):
            before = was.text if was else ""
            assert not foreign_lines(before, now.text, paths), case
            assert ("\r\n" in before) == ("\r\n" in now.text), case
            assert not before or before.endswith("\n") == now.text.endswith("\n"), case
        again = edited(after, edit, target)
        assert not isinstance(again, HotfixError) and not changed_files(after, again), case


@with_compose
@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_compose_sees_the_change_and_nothing_else(sample: Sample, tmp_path: Path) -> None:
    judge = Judge(tmp_path, sample)
    for edit, target in itertools.product(EDITS, TARGETS):
        after = edited(judge.project, edit, target)
        if not isinstance(after, HotfixError):
            changes = {now.path: now.data for _was, now in changed_files(judge.project, after)}
            for version in judges(sample.name, edit, target):
                before = judge.config(version, {})
                assert judge.config(version, changes) == expected(before, EDITS[edit]), f"{edit}, {target}, {version}"


# --- the number of workers --------------------------------------------------------------------------------------------

COMMANDS = ("command", "entrypoint", "environment")
SERVERS = {name: sample for name, sample in SAMPLES.items() if re.search("uvicorn|gunicorn", str(sample.files))}


@with_compose
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("sample", SERVERS.values(), ids=SERVERS)
def test_number_of_workers(sample: Sample, target: str, tmp_path: Path) -> None:
    """Only lines of these keys differ, and for Compose the number and nothing else; then the number is right."""
    judge = Judge(tmp_path, sample)
    launch = Launch(judge.project, SERVICE, None, Files())
    setting = ws.find(launch)
    try:
        change = ws.change(launch, setting, 2, override=target == "override")
    except HotfixError as error:
        assert "workers" in sample.refused[target], error
        assert re.search(r"\. (?:Set target to|Use target:) override", str(error))
        return
    assert "workers" not in sample.refused[target]
    before = Path(change.path).read_bytes().decode() if Path(change.path).exists() else ""
    after = change.data.decode()
    if change.file is not None:
        # The service that it extends may have the command.
        names = change.file.get(("services",))
        assert not foreign_lines(before, after, [("services", name, key) for name in names for key in COMMANDS])
    if target == "source" and setting.text is not None:
        assert len(before.splitlines()) == len(after.splitlines())
    for version in judges(sample.name, target):
        old, new = (judge.config(version, changes) for changes in ({}, {change.path: change.data}))
        if target == "source" and setting.text is not None:
            assert one_number_less(words_of(old), words_of(new), str(setting.number)), (words_of(old), words_of(new))
        for document in (old, new):
            document["services"][SERVICE] = {
                key: value for key, value in document["services"][SERVICE].items() if key not in COMMANDS
            }
        assert old == new
    Path(change.path).write_bytes(change.data)
    again = Launch(Project.load(str(tmp_path), sample.named or None), SERVICE, None, Files())
    if setting.hidden is None:
        assert ws.find(again).number == 2


def words_of(document: Any) -> list[str]:
    body = document["services"][SERVICE]
    environment = body.get("environment", {})
    return [
        *(body.get("entrypoint") or []),
        *(body.get("command") or []),
        *(f"{k}={environment[k]}" for k in environment),
    ]


def one_number_less(old: list[str], new: list[str], number: str) -> bool:
    """Whether exactly one word differs, and in it the number."""
    pairs = [pair for pair in zip(old, new) if pair[0] != pair[1]]
    if len(old) != len(new) or len(pairs) != 1:
        return False
    before, after = pairs[0]
    places = [match.start() for match in re.finditer(number, before)]
    return any(f"{before[:place]}2{before[place + len(number) :]}" == after for place in places)
