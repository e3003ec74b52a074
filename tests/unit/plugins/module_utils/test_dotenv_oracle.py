# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes of environment files judged by the real readers: Compose of two versions, python-dotenv and bash."""

from __future__ import annotations

from collections.abc import Iterator

import env_file_page
import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv import BARE, DIALECTS, PORTABLE, RAW, parse
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from dotenv_cases import Case, change, disagreements, misread

# One statement each, about the variable K.
STATEMENTS = (
    "K=abc", "K=", "K", "K=a b c", "K= abc", "K =abc", "K = abc", "  K=abc", "\tK=abc  ", "K=\u00a0abc\u00a0",
    "K=a\u2003b", "K: abc", "K: 'abc'", "K : abc", "K:", "export K=abc", "export  K='a b'", "export\tK=abc",
    "export K", "export K: abc", "K='abc'", "K='a b'", "K=''", "K='a\"b'", "K='it\\'s'", "K='a\\\\b'", "K='a\\nb'",
    "K='$X ${X} $$'", "K='#'", "K='a' ", "K='a' # c", "K='a'# c", "K='a'\t# it's", "K='a\nb'", "K='a\n# b\nc'",
    "K='\n'", "K='[\n \"k\"\n]'", "K='x'y", 'K="abc"', 'K="a b"', 'K=""', 'K="a\'b"', 'K="a\\"b"', 'K="a\\\\b"',
    'K="a\\nb\\tc"', 'K="a\\$b"', 'K="a$X"', 'K="a${X}b"', 'K="a${X:-b}"', 'K="a$$b"', 'K="#"', 'K="a" # "c"',
    'K="a\nb"', 'K="a\\\nb"', 'K="\\x41\\101\\0101"', 'K="`x`"', "K=a#b", "K=a #b", "K=a\t#b", "K=#b", "K= #b",
    "K= # b", "K=a # b # c", "K=a'b'", "K=a\"b\"", "K=it's", "K=a\\b", "K=a\\", "K=$X", "K=${X}", "K=${X:-d e}",
    "K=${X-}", "K=${X:+y}", "K=a$", "K=$$", "K=a$$X", "K=\\$X", "K=~/x", "K=*", "K={a,b}", 'K=["a","b"]',
    'K=["a", "b"]', "K='[\"a\",\"b\"]'", 'K="[\\"a\\",\\"b\\"]"', 'K={"a": 1}', "K=a,b,c", "K=a=b==", "K==",
    "K=http://h/?x=1&y=2#z", "K=a;b", "K=a|b", "K=a&&b", "K=(a)", "K=a (b)", "K=<a>", "K=a>b", "K=`x`", "K=$(x)",
    "K=a!b", "K=é", "K='é ü'", "K=日本", "K='😀'", "K=a\u0085b", "K='\u2028'", "K=a\x0bb", "K=\x0ca", "K=a\rb",
    "K='a\rb'", "K=a\x01b", "K=1\nK=2", "K='1'\n# K=old\nK=\"2\"", "K=1\nexport K=2", "K\nK=1", "K=1\nK",
    "K=old-secret\nK='new'\nK: newest", "# K=1\nK=2", "#K=1", "K='1' # K=old", "K=1\n\n\nK=2", "K=a\n  # c\n\t\nK=b",
    "K=a\nX2=$K\nK=b", "K=a\nX2=$K", "K=a\nX2='${K}'", "X2=a K=b\nK=c", "X2=http://h/?x=1&K=2\nK=c",
    "X2=it's\nK=1\nX3=it's", "X2=it's\nK=1", "X2=a\\\nK=1", "X2=(a\nK=1", "X2=a |\nK=1", "X2=a <<E\nK=1\nE",
    "X2: 'a\nK=1\n'", "X2=\"a\nK=1\nX3=\"", "K[0]=1\nK=2", "K.b=1\nK=2", "K-b=1\nK=2", "if\nK=1\nfi",
    "X2=b exit\nK=1",
)  # fmt: skip
CONTEXTS = ("{}\n", "{}", '# it\'s a file\n\nHEAD="1"\n{}\n\nTAIL=z')
VALUES = (
    "v", "", "x y", '["k1","k2"]', "it's", 'say "hi"', "pa$word", "pa$$word", "a#b", "a #b", " lead", "trail ", "~/x",
    "a;b&c|d", "$(id)", "`id`", "*?[a]", "a\tb", "é ü", "postgres://u:p%40@db:5432/x?y=z#f",
    "eyJhbGciOi.JIUzI1.NiJ9_-", "a=b==", "!x", "{a,b}",
)  # fmt: skip
UNWRITABLE = ("a\nb", "a\rb", "a\\b", "${X}", "a'b\"c", "a'b$c", "a'b`c", "\x00", "\x1b", "\x7f", "a\ud800")
REFUSED = {
    PORTABLE: UNWRITABLE,
    RAW: ("a\nb", "\x00", "a\ud800"),
    BARE: (
        "a\nb", "a\rb", "\x00", "a\ud800", "pa$word", "pa$$word", "a #b", " lead", "trail ", "${X}", "a'b$c",
    ),
}  # fmt: skip
OPERATIONS = (
    *({"K": value} for value in ("v", "x y", '["k1","k2"]', "it's")),
    {"K": None}, {"TAIL": "new"}, {"NEW": "new one"}, {"HEAD": None}, {"K": "1", "TAIL": None, "NEW": ""},
)  # fmt: skip


def files() -> Iterator[bytes]:
    """Each statement in each context, and in one of them with CRLF and with a byte order mark."""
    for statement in STATEMENTS:
        texts = [context.replace("{}", statement) for context in CONTEXTS]
        yield from (text.encode() for text in texts)
        yield texts[-1].replace("\n", "\r\n").encode()
        yield f"\ufeff{texts[-1]}".encode()


def readable(dialect: str) -> list[bytes]:
    """The files that we accept."""
    accepted = []
    for data in dict.fromkeys(files()):
        try:
            parse(data, dialect=dialect)
        except HotfixError:
            continue
        accepted.append(data)
    return accepted


@pytest.mark.parametrize("dialect", DIALECTS)
class TestCorpus:
    def test_our_reading_is_the_readers_own(self, dialect: str) -> None:
        assert misread(readable(dialect), dialect) == []

    def test_every_reader_agrees_about_every_change(self, dialect: str, record_property: pytest.RecordProperty) -> None:
        cases: list[Case] = []
        refused = 0
        for data in readable(dialect):
            for wanted in OPERATIONS:
                try:
                    cases.append(change(data, wanted, dialect))
                except HotfixError:
                    refused += 1
        found = disagreements(cases)
        record_property(
            "figure", f"dialect {dialect}: {len(cases)} changes, {refused} refused, {len(found)} disagreements"
        )
        assert found == []


class TestValues:
    @pytest.mark.parametrize("dialect", DIALECTS)
    def test_what_is_written_is_read_by_all_readers(self, dialect: str, record_property: pytest.RecordProperty) -> None:
        cases, refused = [], []
        for value in VALUES + UNWRITABLE:
            for data in (b"", b"A=1\n", b"A='1' # c\nB=2\n", b'A="1"\r\nB=2\r\n', b"A=x\nB=2"):
                try:
                    cases.append(change(data, {"A": value}, dialect))
                except HotfixError:
                    refused.append(value)
        found = disagreements(cases)
        record_property("figure", f"dialect {dialect}: {len(cases)} values written, {len(found)} disagreements")
        assert found == []
        assert set(refused) == set(REFUSED[dialect])


class TestRefusals:
    """Where a reader would see something else than the others, the change is refused and says so."""

    @pytest.mark.parametrize(
        ("data", "wanted", "words"),
        [
            (b"X=it's\nA=1\nY=it's\n", {"A": "2"}, ":1: a shell may take A on line 2 for a part"),
            (b"X=a\\\nA=1\n", {"A": "2"}, ":1: a shell may take A on line 2"),
            (b"X=a |\nA=1\n", {"A": "2"}, ":1: a shell may take A on line 2"),
            (b"B=1\nX=a <<E\nA=1\nE\n", {"A": "2"}, ":2: a shell may take A on line 3"),
            (b"X=(a\nA=1\n", {"A": None}, ":1: a shell may take A on line 2"),
            (b"X=b exit\nA=1\n", {"A": "2"}, ":1: a shell may take A on line 2"),
            (b"A=1\nX=http://h/?x=1&A=2\n", {"A": "3"}, ":2: a shell takes text on this line for an assignment to A"),
            (b"A=1\nX=please read A\n", {"A": "3"}, ":2: a shell takes text on this line"),
            (b"X=1\nA=x X=2\n", {"A": "3"}, ":2: a shell takes text on this line for an assignment to X"),
            (b"A=x;B=2\nX=$B\n", {"A": "3"}, ":1: a shell takes text on this line for an assignment to B"),
            (b"A=1\nX=$A\nA=2\n", {"A": "3"}, ":2: X refers to A, which would not stand above it"),
            (b"A=1\nX='${A}'\n", {"A": None}, ":2: X refers to A"),
            (b"X: 'a\nA=1\n'\n", {"A": None}, "python-dotenv would not read"),
            (b"", {"UID": "1000"}, "UID is a variable that a shell gives its own value"),
        ],
    )
    def test_with_the_reason(self, data: bytes, wanted: dict[str, str | None], words: str) -> None:
        with pytest.raises(HotfixError) as caught:
            change(data, wanted)
        assert words in str(caught.value)

    @pytest.mark.parametrize(
        ("data", "wanted"),
        [
            (b"TITLE=Bob's\nA=1\n", {"A": "2"}),  # a shell stops at the first line, before and after
            (b"TITLE=Coach (prod)\nA=1\n", {"A": "2", "NEW": "x"}),
            (b"A=1\nURL=redis://:$A@redis\n", {"A": "2"}),  # follows the new value
            (b"A=it's\nB=1\n", {"A": "2"}),
            (b"URL=http://h/?x=1&y=2\nA=`date`\n", {"URL": "x", "A": "2"}),
            (b"TITLE=set A to 2\nA=1\n", {"A": "2"}),
        ],
    )
    def test_but_not_without_need(self, data: bytes, wanted: dict[str, str | None]) -> None:
        assert disagreements([change(data, wanted)]) == []


def test_the_page_says_what_the_readers_do() -> None:
    """``python tests/unit/env_file_page.py`` writes the page anew."""
    assert env_file_page.page() == env_file_page.PAGE.read_text(encoding="utf-8")
