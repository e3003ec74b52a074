# SPDX-License-Identifier: GPL-3.0-or-later
"""Ages of keys are remembered by fingerprint, in a file that nobody else can read."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._files import Edit
from ansible_collections.composeops.hotfix.plugins.module_utils._key_ages import KeyAges, updated
from ansible_collections.composeops.hotfix.plugins.module_utils._rotation import Age
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import fingerprint


def test_dates_of_coming_and_of_being_superseded() -> None:
    first = updated({}, ["a"], 10.0)
    assert first == {fingerprint("a"): Age(10.0)}
    second = updated(first, ["b", "a"], 20.0)
    assert second == {fingerprint("b"): Age(20.0), fingerprint("a"): Age(10.0, 20.0)}
    third = updated(second, ["c", "b", "a"], 30.0)
    assert third[fingerprint("a")] == Age(10.0, 20.0)
    assert updated(third, ["a"], 40.0) == {fingerprint("a"): Age(10.0)}


def test_file_is_private_and_holds_no_key(tmp_path: Path) -> None:
    path = tmp_path / "state" / "ages.json"
    ages = KeyAges(str(path))
    ages.record("/srv/.env", "KEYS", ["the-key"], 1760753700.4)
    assert ages.changed
    assert not path.exists()
    ages.write(Edit())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert "the-key" not in path.read_text()
    again = KeyAges(str(path))
    assert again.of("/srv/.env", "KEYS") == {fingerprint("the-key"): Age(1760753700.0)}
    assert again.of("/srv/.env", "OTHER") == {}
    again.record("/srv/.env", "KEYS", ["the-key"], 1760760000.0)
    assert not again.changed
    again.record("/srv/other.env", "KEYS", ["other-key"], 1760760000.0)
    assert again.changed
    assert set(again.of("/srv/.env", "KEYS")) == {fingerprint("the-key")}


@pytest.mark.parametrize(
    "content", ["", "x", "[]", "{}", '{"version":2,"files":{}}', '{"version":1,"files":{"/":1}}', "[" * 200000, "\0"]
)
def test_other_files_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "ages.json"
    path.write_text(content)
    with pytest.raises(HotfixError, match=r"ages.json: this is not a file of key ages. Move it away; the ages then"):
        KeyAges(str(path))


@pytest.mark.parametrize(
    "dates", ["1", "{}", '{"first_seen":"x","superseded":null}', '{"first_seen":1,"superseded":2}']
)
def test_damaged_dates_are_refused(tmp_path: Path, dates: str) -> None:
    path = tmp_path / "ages.json"
    path.write_text('{"version":1,"files":{"/.env":{"K":{"sha256:00000000 len=1":' + dates + "}}}}")
    with pytest.raises(HotfixError, match="this is not a file of key ages"):
        KeyAges(str(path)).of("/.env", "K")


def test_dates_in_the_future_count_as_now() -> None:
    """A clock that was wrong when the dates were written must not keep a key young for years."""
    wrong = {fingerprint("a"): Age(5000.0), fingerprint("b"): Age(10.0, 6000.0)}
    assert updated(wrong, ["a", "b"], 100.0) == {fingerprint("a"): Age(100.0), fingerprint("b"): Age(10.0, 100.0)}


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(HotfixError, match=r"Name a file, not a directory|this is not a file") as caught:
        KeyAges(str(tmp_path))
    assert str(caught.value).startswith(f"{tmp_path}: ")
