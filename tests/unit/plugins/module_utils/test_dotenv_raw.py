# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are read raw: recognised as Compose recognises them, and given values without quotes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import dotenv_readers as readers
import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_file import Project
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv import BARE, RAW, parse, redacted, variables
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv_audit import audit
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv_raw import LONGEST_LINE
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._keys import in_document
from compose_binary import BY_VERSION

KEYS = '["k1","k2"]'


class TestReading:
    @pytest.mark.parametrize(
        ("data", "line", "reason"),
        [
            (b"A=1\nexport B=s3cret\n", 2, "a variable name with a space in it"),
            (b"B: s3cret\n", 1, "a variable name with a space in it"),
            (b"A=1\n\n=s3cret\n", 3, "without a variable name"),
            (b"A=1\nB=s3cret\xff\n", 2, "not UTF-8"),
            (b"A=s3cret" + b"x" * 70_000 + b"\n", 1, "the line is 70008 bytes long"),
        ],
    )
    def test_what_compose_cannot_read_is_named_without_the_value(self, data: bytes, line: int, reason: str) -> None:
        with pytest.raises(HotfixError) as caught:
            parse(data, "/srv/.env", RAW)
        assert str(caught.value).startswith(f"/srv/.env:{line}: ")
        assert reason in str(caught.value)
        assert "s3cret" not in str(caught.value)
        for version in BY_VERSION:
            assert readers.compose([data], version, raw=True) == [None]

    @pytest.mark.parametrize("version", BY_VERSION)
    def test_the_longest_line(self, version: str) -> None:
        data = b"\xef\xbb\xbfA=" + b"x" * (LONGEST_LINE - 2) + b"\nB=1"
        assert readers.compose([data], version, raw=True) == [variables(data, dialect=RAW)]
        assert readers.compose([data.replace(b"=x", b"=xx")], version, raw=True) == [None]


class TestWriting:
    @pytest.mark.parametrize("dialect", [RAW, BARE])
    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ("A='[\"old\"]'  # list\n# A=example\nB=1\n", f"A={KEYS}\n# A=example\nB=1\n"),
            ("A=1\r\nB=2\r\n", f"A={KEYS}\r\nB=2\r\n"),
            ("\ufeffA=1\nA=old\nB=2\n", f"\ufeffA={KEYS}\nB=2\n"),
            ("B=2", f"B=2\nA={KEYS}\n"),
            (f"A={KEYS}\n", f"A={KEYS}\n"),
        ],
    )
    def test_form(self, before: str, after: str, dialect: str) -> None:
        document = parse(before.encode(), dialect=dialect)
        changed = document.set({"A": KEYS})
        assert changed.data.decode() == after
        assert changed.set({"A": KEYS}) is changed

    def test_a_raw_reader_alone_gets_anything_on_one_line(self) -> None:
        value = "'it''s' \"$x\" # \\n "
        assert parse(b"", dialect=RAW).set({"A": value}).data == f"A={value}\n".encode()

    @pytest.mark.parametrize(
        ("dialect", "value", "reason"),
        [
            (RAW, "a\ns3cret", "a line break, and this file is read raw."),
            (BARE, "pa$s3cret", "a dollar sign, which readers replace that are not raw"),
            (BARE, "'s3cret'", "a quote or a hash at its start"),
            (BARE, "s3cret #x", "and this file is read raw as well as otherwise"),
        ],
    )
    def test_refusal(self, dialect: str, value: str, reason: str) -> None:
        with pytest.raises(HotfixError) as caught:
            parse(b"A=1\n", "/srv/.env", dialect).set({"A": value})
        assert reason in str(caught.value)
        assert "s3cret" not in str(caught.value)

    def test_a_file_that_compose_itself_could_not_load_is_refused(self) -> None:
        data = b'A=1\nB="x"y"\n'
        assert parse(data, dialect=RAW).set({"A": "2"}).get("A") == "2"
        with pytest.raises(HotfixError, match="not NAME=value"):
            parse(data, dialect=BARE).set({"A": "2"})


class TestQuotes:
    """Quotes that a raw reader keeps: the keys within are found, and what is wrong is said."""

    DATA = b"VALID_API_KEYS='[\"dev-key-12345\"]'  # list\n"

    def test_keys_are_found_within(self) -> None:
        keys = in_document(parse(self.DATA, dialect=BARE), "VALID_API_KEYS")
        assert (keys.keys, keys.format) == (["dev-key-12345"], "json_list")

    def test_they_are_a_finding(self) -> None:
        found = audit(parse(self.DATA, dialect=BARE), {})
        rules = {(finding.rule, finding.severity) for finding in found}
        assert {("dev_key", "critical"), ("unportable_value", "high")} <= rules

    def test_nothing_is_shown(self) -> None:
        assert "dev-key" not in redacted(parse(self.DATA, dialect=BARE))


class TestRecognising:
    FILES = """
services:
  plain:
    image: x
    env_file: [.env, ./sub/../both.env]
  raw:
    image: x
    env_file:
      - {path: "${NAME}.env", format: raw}
      - {path: both.env, format: raw, required: false}
      - {path: other.env}
"""

    @pytest.fixture
    def project(self, tmp_path: Path) -> Path:
        (tmp_path / "sub").mkdir()
        (tmp_path / "compose.yaml").write_text(self.FILES)
        (tmp_path / ".env").write_text("NAME=raw\n")
        for name in ("raw", "both", "other"):
            (tmp_path / f"{name}.env").write_text(f"{name.upper()}='x'\n")
        return tmp_path

    def test_formats_and_dialects(self, project: Path) -> None:
        loaded = Project.load(str(project))
        found = [(Path(file.path).name, file.raw, file.required) for file in loaded.env_files("raw")]
        assert found == [("raw.env", True, True), ("both.env", True, False), ("other.env", False, True)]
        dialects = {Path(path).name: dialect for path, dialect in loaded.env_dialects().items()}
        assert dialects == {".env": "portable", "raw.env": "raw", "both.env": "bare", "other.env": "portable"}

    def test_a_link_to_the_same_file_counts(self, project: Path) -> None:
        (project / "raw.env").unlink()
        (project / "raw.env").symlink_to(".env")
        dialects = Project.load(str(project)).env_dialects()
        assert dialects[str(project / ".env")] == dialects[str(project / "raw.env")] == "bare"

    @pytest.mark.parametrize("version", BY_VERSION)
    def test_compose_reads_them_so(self, project: Path, version: str) -> None:
        done = subprocess.run(
            [BY_VERSION[version], "config", "--format", "json"], cwd=project, capture_output=True, check=True, env={}
        )
        environments = {name: service["environment"] for name, service in json.loads(done.stdout)["services"].items()}
        assert environments["plain"] == {"NAME": "raw", "BOTH": "x"}
        assert environments["raw"] == {"RAW": "'x'", "BOTH": "'x'", "OTHER": "x"}
