# SPDX-License-Identifier: GPL-3.0-or-later
"""The reader against what Compose, python-dotenv and bash themselves make of a file; the writer against all of them."""

from __future__ import annotations

import io
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv import (
    DIALECTS,
    Document,
    encode,
    parse,
    redacted,
    shown_name,
    variables,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv_readers import read_as_python_dotenv
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import fingerprint
from hypothesis import given, settings
from hypothesis import strategies as st

RECORDED = json.loads((Path(__file__).parent / "recorded" / "dotenv_compose.json").read_text(encoding="utf-8"))
RUNBOOK = b"""# Wealth Coach
ENVIRONMENT=development
DEBUG=true   # never in production

VALID_API_KEYS='["dev-key-12345"]'  # Comma-separated list
#VALID_API_KEYS='["example"]'
JWT_SECRET_KEY="change-me"
export REDIS_URL=redis://redis:6379/0
"""
NAMES = ("A", "B", "C")
# Lines as people write them; bash can read a file of these, whatever their order.
LINES = (
    "{0}=abc", "{0}='x y'", '{0}="q r" # c', "export {0}='[\"k\"]'", "# it's a comment", "", "#{0}=old", "  {0}=1",
    "{0}=", "{0}=''", "{0}='m\nn'", "{0}=a # c", "{0} = 'x'", "{0}: v", '{0}=["a"]', "{0}=a$b", '{0}="a\\"b"',
    "{0}='a'#c", "{0}= # c", "{0}=x\t# c", "{0}",
)  # fmt: skip


VALUES = (
    st.text(max_size=12)
    | st.text(alphabet="ab1 #'\"$`!~*;&|<>(){}[],:=@/%+.-_é\t", max_size=12)
    | st.sampled_from(
        ['["k1","k2"]', "false", "pa$$word", "$(id)", "it's", "postgres://u:p@db:5432/x?y=z#f", "", " x "]
    )
)


@st.composite
def files(draw: st.DrawFn) -> bytes:
    lines = draw(st.lists(st.builds(str.format, st.sampled_from(LINES), st.sampled_from(NAMES)), max_size=7))
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    text = "\n".join(lines) + draw(st.sampled_from(["", "\n"]) if lines else st.just(""))
    return (draw(st.sampled_from(["", "", "\ufeff"])) + text.replace("\n", newline)).encode()


def python_dotenv(data: bytes) -> dict[str, str | None]:
    parser = pytest.importorskip("dotenv.parser")
    stream = io.StringIO(data.decode("utf-8", "surrogateescape"), newline=None)
    return {binding.key: binding.value for binding in parser.parse_stream(stream) if binding.key is not None}


def bash(data: bytes, names: tuple[str, ...], folder: Path) -> dict[str, str]:
    """What ``source`` makes of a file, its CRLF turned into LF, which no shell reads as a line end."""
    (folder / "file").write_bytes(data.replace(b"\r\n", b"\n"))
    show = 'for n in "$@"; do [ -z "${!n+x}" ] || printf "%s=%s\\0" "$n" "${!n}"; done'
    script = f'unset "$@"; . ./file >/dev/null 2>&1; {show}'
    done = subprocess.run(
        ["bash", "--norc", "-c", script, "bash", *names],
        cwd=folder,
        capture_output=True,
        check=False,
        env={"PATH": os.defpath},
    )
    parts = done.stdout.decode("utf-8", "surrogateescape").split("\0")
    return dict(part.split("=", 1) for part in parts if part)


class TestReading:
    @pytest.mark.parametrize("case", RECORDED["cases"], ids=lambda case: repr(case["text"])[:60])
    def test_as_compose(self, case: dict[str, Any]) -> None:
        data = case["text"].encode()
        if case["read"] == "error":
            with pytest.raises(HotfixError):
                parse(data)
            return
        if case["read"] == "required" or "" in case["read"]:
            return  # depends on the environment, or is a value without a name: refused, see below
        document = parse(data)
        assert document.data == data
        literal = {entry.name for entry in document.entries if entry.interpolated}
        expected = {name: value for name, value in case["read"].items() if name not in literal}
        assert {name: value for name, value in document.variables.items() if name not in literal} == expected

    @pytest.mark.parametrize("case", RECORDED["cases"], ids=lambda case: repr(case["text"])[:60])
    def test_as_python_dotenv(self, case: dict[str, Any]) -> None:
        assert read_as_python_dotenv(case["text"].removeprefix("\ufeff")) == python_dotenv(case["text"].encode())

    def test_entries(self) -> None:
        data = b'#A=0\nA=1 # one\r\nexport B=\'x\ny\'\nC: "q\\"$D"\n\nA'
        entries = parse(data).entries
        assert [(e.name, e.value, e.line, e.end_line, e.exported, e.quote, e.interpolated) for e in entries] == [
            ("A", "1", 2, 2, False, "", False),
            ("B", "x\ny", 3, 4, True, "'", False),
            ("C", 'q"$D', 5, 5, False, '"', True),
            ("A", None, 7, 7, False, "", False),
        ]

    def test_effective_value_is_the_last_one_that_is_given(self) -> None:
        document = parse(b"A=1\nA=2\nA\nB\n")
        assert (document.get("A"), document.get("B"), document.get("B", "x"), document.get("C")) == (
            "2",
            None,
            "x",
            None,
        )
        assert variables(b"A=1\nA=2\nB\n") == {"A": "2"}
        assert [entry.line for entry in document.occurrences("A")] == [1, 2, 3]

    @pytest.mark.parametrize(
        ("data", "line", "reason"),
        [
            (b"A=1\nB='s3cret\n", 2, "never closed"),
            (b'A="["s3cret"]"\n', 1, "not NAME=value"),
            (b"A=1\n\nS3CRET WORD=x\n", 3, "space"),
            (b"=s3cret\n", 1, "without a variable name"),
            (b"A=s3cret${\n", 1, "refers to a variable"),
            (b"A=1\nexport ", 2, "export of nothing"),
        ],
    )
    def test_what_compose_cannot_read_is_named_without_the_value(self, data: bytes, line: int, reason: str) -> None:
        with pytest.raises(HotfixError) as caught:
            parse(data, "/srv/.env")
        assert str(caught.value).startswith(f"/srv/.env:{line}: ")
        assert reason in str(caught.value)
        assert "s3cret" not in str(caught.value).lower()

    def test_nothing_printed_about_a_document_holds_a_value(self) -> None:
        assert "s3cret" not in repr(parse(b"A=s3cret\n"))

    @given(st.binary(max_size=60) | st.text(alphabet="AB=:'\"\\$#{} \n\r\t\xa0é", max_size=40).map(str.encode))
    @settings(max_examples=500)
    def test_any_bytes_are_kept_or_refused(self, data: bytes) -> None:
        try:
            document = parse(data)
        except HotfixError:
            return
        assert document.data == data
        assert document.set({}).data == data
        assert document.remove(["NOT_THERE"]).data == data


class TestSetting:
    def test_touches_only_its_line(self) -> None:
        new = parse(RUNBOOK).set({"VALID_API_KEYS": '["k1","k2"]', "DEBUG": "false", "REDIS_URL": "redis://r:1/2"})
        assert new.data == (
            RUNBOOK.replace(b'["dev-key-12345"]', b'["k1","k2"]')
            .replace(b"DEBUG=true", b"DEBUG=false")
            .replace(b"redis://redis:6379/0", b"redis://r:1/2")
        )

    @pytest.mark.parametrize(
        ("before", "value", "after"),
        [
            ("A=1\n", "x y", "A='x y'\n"),
            ('A="1"\n', "x y", 'A="x y"\n'),
            ('A="1"\n', "a$b", "A='a$b'\n"),
            ("A='1'\n", "it's", 'A="it\'s"\n'),
            ("A='1'#old\n", "2", "A='2' #old\n"),
            ("  export  A=1\r\nB=2\r\n", "3", "  export  A=3\r\nB=2\r\n"),
            ("A : '1'  # c\n", "2", "A='2'  # c\n"),
            ("\tA = 1\r\n", "2", "\tA=2\r\n"),
            ("A=\r\n", "1", "A=1\r\n"),
            ("A=1 # c\r\n", "", "A='' # c\r\n"),
            ("A= # c\r\n", "", "A=\r\n"),
            ("A='x\ny' # c\nB=1\n", "z", "A='z' # c\nB=1\n"),
            ('A=["a"]\n', '["a"]', "A='[\"a\"]'\n"),
            ("A=${B}\n", "${B", None),
            ("A=1\nB=2\n#A=3\nA=4\nA\n", "5", "B=2\n#A=3\nA=5\n"),
            ("A\n", "1", "A=1\n"),
            ("export A", "1", "export A=1"),
            ("", "1", "A=1\n"),
            ("# c", "1", "# c\nA=1\n"),
            ("B=1\r\n\r\nC=2", "1", "B=1\r\n\r\nC=2\r\nA=1\r\n"),
            ("\ufeffB=1\n", "1", "\ufeffB=1\nA=1\n"),
            ("\ufeff", "1", "\ufeffA=1\n"),
        ],
    )
    def test_forms(self, before: str, value: str, after: str | None) -> None:
        document = parse(before.encode())
        if after is None:
            with pytest.raises(HotfixError):
                document.set({"A": value})
            return
        new = document.set({"A": value})
        assert new.data.decode() == after
        assert new.get("A") == value
        assert new.set({"A": value}) is new

    def test_a_portable_equal_value_changes_nothing(self) -> None:
        document = parse(RUNBOOK)
        assert document.set(document.variables) is document

    @pytest.mark.parametrize(
        ("value", "reason"),
        [
            ("s3cret\n", "a line break"),
            ("s3cret\x00", "a control character"),
            ("s3cret\\n", "a backslash"),
            ("s3cret${X}", "${"),
            ("s3cret'\"", "a single quote together with"),
            ("s3cret\udcff", "not UTF-8"),
        ],
    )
    def test_a_value_without_a_portable_form_is_refused(self, value: str, reason: str) -> None:
        with pytest.raises(HotfixError) as caught:
            parse(b"A=1\n", "/srv/.env").set({"A": value})
        assert reason in str(caught.value)
        assert str(caught.value).startswith("/srv/.env: A: ")
        assert "s3cret" not in str(caught.value)

    @pytest.mark.parametrize("name", ["", "1A", "A-B", "a.b", "A B", "É", "A\n", "A=B"])
    def test_a_name_that_a_shell_does_not_accept_is_refused(self, name: str) -> None:
        with pytest.raises(HotfixError, match="not a variable name"):
            parse(b"").set({name: "x"})

    @pytest.mark.parametrize("data", [b"A='1' B=2\n", b"B='2'A=1\n", b"A='x\ny' B=2\n", b"A='1'rest\n"])
    def test_a_line_that_is_shared_is_refused(self, data: bytes) -> None:
        for change in (lambda document: document.set({"A": "3"}), lambda document: document.remove(["A"])):
            with pytest.raises(HotfixError, match="shares its line"):
                change(parse(data))

    def test_what_python_dotenv_would_misread_is_refused(self) -> None:
        # For Compose the second line is a value of K; python-dotenv takes it for an assignment to A.
        data = b"K: 'x\nA=1\n'\nB=2\n"
        assert parse(data).get("A") is None
        with pytest.raises(HotfixError, match="python-dotenv would not read"):
            parse(data).remove(["K"])

    @given(files(), st.dictionaries(st.sampled_from((*NAMES, "NEW")), VALUES, min_size=1, max_size=2))
    @settings(max_examples=300)
    def test_what_is_written_is_read_alike(
        self, tmp_path_factory: pytest.TempPathFactory, data: bytes, values: dict[str, str]
    ) -> None:
        before = parse(data)
        try:
            after = before.set(values)
        except HotfixError:
            with pytest.raises(HotfixError):
                [encode(value) for value in values.values()]
            return
        others = set(NAMES) - set(values)
        assert {name: after.get(name) for name in values} == values
        assert {name: after.get(name) for name in others} == {name: before.get(name) for name in others}
        assert all(len(after.occurrences(name)) == 1 for name in values)
        assert after.set(values) is after
        assert_read_alike_by_python_dotenv(data, after, values)
        if shutil.which("bash"):
            assert_read_alike_by_bash(data, after, values, tmp_path_factory.mktemp("bash"))
        assert untouched(after, values) == untouched(before, values)


def untouched(document: Document, names: Iterable[str]) -> str:
    """The lines that hold none of these variables; the file's last line end, which a change may add, left out."""
    touched = {number for name in names for e in document.occurrences(name) for number in range(e.line, e.end_line + 1)}
    lines = document.text.split("\n")
    kept = [line for number, line in enumerate(lines, 1) if number not in touched]
    return "\n".join(line for line in kept if line).removesuffix("\r")


def assert_read_alike_by_python_dotenv(data: bytes, after: Document, values: dict[str, str]) -> None:
    old, new = python_dotenv(data), python_dotenv(after.data)
    assert {name: new[name] for name in values} == values
    for name in (set(old) | set(new)) - set(values):
        assert new.get(name) == old.get(name)


def assert_read_alike_by_bash(data: bytes, after: Document, values: dict[str, str], folder: Path) -> None:
    names = (*NAMES, "NEW")
    # A shell takes a byte order mark for the first letter of a name.
    old, new = (bash(content.removeprefix(b"\xef\xbb\xbf"), names, folder) for content in (data, after.data))
    assert {name: new.get(name) for name in values} == values
    for name in set(names) - set(values):
        assert new.get(name) == old.get(name)


class TestRemoving:
    def test_every_occurrence_goes_and_the_rest_stays(self) -> None:
        data = b"A=1\n#A=2\n\nB=2\r\nA='x\ny' # c\nexport A\nC=3\nA=4"
        assert parse(data).remove(["A", "X"]).data == b"#A=2\n\nB=2\r\nC=3\n"

    def test_the_only_line(self) -> None:
        assert parse(b"\xef\xbb\xbfA=1").remove(["A"]).data == b"\xef\xbb\xbf"


class TestProblems:
    @pytest.mark.parametrize(
        ("line", "words"),
        [
            ("A=abc # c", ""), ("export A='x y'", ""), ('A="x"', ""), ("A=", ""), ("A='a'\r", ""), ("A=a+b/c==", ""),
            ("A", "no value"), ("A: b", "colon"), ("A = b", "spaces around"), ("A= b", "spaces around"),
            ("a.b=1", "a name that a shell"), ("A=${B}", "refers to another"), ("A=$B", "refers to another"),
            ("A=[\"a\"]", "differently"), ("A=a b", "differently"), ("A='a\\b'", "differently"),
            ('A="a\\nb"', "differently"), ("A=~/x", "differently"), ("A='x'#c", "directly after"),
            ("A='x'y", "directly after"), ("A= # c", "spaces around"), ("A='a\nb'", "differently"),
        ],
    )  # fmt: skip
    def test_problem(self, line: str, words: str) -> None:
        document = parse(f"{line}\nB=1\n".encode())
        found = document.problem(document.entries[0])
        assert (words in found) if words else found == ""


class TestRedacting:
    def test_every_value_and_commented_assignment_becomes_a_fingerprint(self) -> None:
        secret = "Zm9vYmFyYmF6cXV4MTIzNDU2Nzg5"
        text = redacted(
            parse(
                f"# use {secret} here\nA_KEY='{secret}' # was OLD=hunter2 x\n#B=hunter2\n# export B: hunter2\r\n"
                'B="hunter2"\n'
                f"# plain words stay, see https://docs.example.com\nC=\n{secret}\nD".encode()
            )
        )
        assert secret not in text
        assert "hunter2" not in text
        shown = fingerprint(secret)
        assert text == (
            f"# use {shown} here\nA_KEY='{shown}' # was OLD={fingerprint('hunter2 x')}\n#B={fingerprint('hunter2')}\n"
            f'# export B: {fingerprint("hunter2")}\r\nB="{fingerprint("hunter2")}"\n'
            f"# plain words stay, see https://docs.example.com\nC=\n{shown}\nD"
        )

    def test_a_bare_word_that_may_be_part_of_a_secret_is_not_shown(self) -> None:
        document = parse(b"PRIVATE_KEY=x\nMIIEvQIBADANBgkqhkiG9w0\nHOME\n")
        names = [shown_name(entry) for entry in document.entries]
        assert names == ["PRIVATE_KEY", fingerprint("MIIEvQIBADANBgkqhkiG9w0"), "HOME"]

    @pytest.mark.parametrize(
        ("data", "text"),
        [
            # What "openssl rand -base64 64" prints stands on two lines.
            ("A_KEY=abc\nk3JqQwErTyUiOpAsDf==\n", "A_KEY={abc}\n{k3JqQwErTyUiOpAsDf}={=}\n"),
            ("A_KEY=abc\nexport k3JqQwErTyUiOpAsDf=\n", "A_KEY={abc}\nexport {k3JqQwErTyUiOpAsDf}=\n"),
            ("A_KEY='hunter'two\nB='it's\r\n", "A_KEY='{hunter}'{two}\nB='{it}'{s}\r\n"),
            (
                "A_KEY=correcthorse # not correcthorse2, correcthorse\n",
                "A_KEY={correcthorse} # not correcthorse2, {correcthorse}\n",
            ),
            ("# postgres://app:hunterpass@db/app\nB=1", "# {postgres://app:hunterpass@db/app}\nB={1}"),
            ("EMPTY=\nempty=\nexport export = x\ne: 'x'\n", "EMPTY=\nempty=\nexport export = {x}\ne: '{x}'\n"),
        ],
    )
    def test_the_rest_of_a_broken_secret_is_not_shown(self, data: str, text: str) -> None:
        assert redacted(parse(data.encode())) == re.sub(r"\{(.*?)\}", lambda match: fingerprint(match[1]), text)

    @given(files(), st.text(alphabet="abcdefghijklmnop0123456789", min_size=9, max_size=30))
    @settings(max_examples=200)
    def test_no_value_is_left(self, data: bytes, secret: str) -> None:
        document = parse(data).set({"A": secret, "NEW_KEY": f'["{secret}"]'})
        assert secret not in redacted(document)


def calls(action: Callable[[], object]) -> int:
    """How many functions are called, the interpreter's own included: a busy machine does not change that."""
    count = 0

    def profile(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        action()
    finally:
        sys.setprofile(None)
    return count


class TestSize:
    @staticmethod
    def work(lines: int, dialect: str) -> int:
        """The calls for many changes of a file of that many lines, half of them comments, some references and twins."""
        rng = random.Random(7)
        shapes = ("# c {0}\nKEY_{0}={1}", "# c {0}\nKEY_{0}={1}\nKEY_{0}={1}", "REF_{0}=$KEY_{0}", "KEY_{0}={1}")
        made = [shapes[number % 4].format(number, rng.random()) for number in range(lines)]
        data = "\n".join("\n".join(made).split("\n")[:lines]).encode()
        count = lines // 2
        values = {f"KEY_{number}": f"new-{number}" for number in range(0, count, 4)} | {"ADDED": "1"}
        absent = [f"KEY_{number}" for number in range(1, count, 4)]
        return calls(lambda: redacted(parse(data, dialect=dialect).change(values, absent)))

    @pytest.mark.parametrize("dialect", DIALECTS)
    def test_ten_times_the_lines_are_ten_times_the_work(
        self, dialect: str, record_property: Callable[..., None]
    ) -> None:
        small, large = self.work(1_000, dialect), self.work(10_000, dialect)
        record_property("figure", f"dialect {dialect}: {small} calls for 1,000 lines, {large} for 10,000")
        assert large < small * 11

    def test_ten_thousand_lines_are_read_once_for_each_change(self) -> None:
        """With work that grows with the square of the file this would take many minutes."""
        rng = random.Random(7)
        text = "".join(f"# comment {number}\nKEY_{number}='{rng.random()}' # c\n" for number in range(5_000))
        changes = {f"KEY_{number}": f"new-{number}" for number in range(0, 5_000, 2)} | {"ADDED": "1"}
        after = parse(text.encode()).set(changes).remove([f"KEY_{number}" for number in range(1, 5_000, 4)])
        assert len(after.entries) == 5_001 - 1_250
        assert after.get("KEY_4998") == "new-4998"
        assert redacted(after).count("sha256:") == len(after.entries)
