# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole files made at random, changed at random, and judged by the real readers.

``FUZZ_EXAMPLES=20000`` makes more of them, other ones each time; by default 500, the same ones each time. The real
readers are asked in batches after hypothesis has made the files.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv import DIALECTS, PORTABLE, RAW, parse
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from dotenv_cases import Case, change, disagreements, misread
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "500"))
RUN = settings(
    max_examples=EXAMPLES,
    derandomize=EXAMPLES == 500,
    suppress_health_check=list(HealthCheck),
    database=None,
)
NAMES = ("A", "B", "C", "DB_URL")
# No letter but these, so that no line is a command of a shell by chance.
TEXT = st.text(alphabet="ABxy12 .,:/@%+=-_[]{}()'\"\\$#;&|<>`*?!~^\t\xa0é\u2028😀", max_size=14)
CLEAN = st.text(alphabet="ABxy12.,:/@%+=-", max_size=10)
VALUES = st.one_of(
    CLEAN,
    TEXT,
    st.text(max_size=8),
    st.lists(CLEAN, max_size=2).map(lambda keys: "[" + ",".join(f'"{key}"' for key in keys) + "]"),
    st.sampled_from(["$A", "${A}", "${B:-x}", "a${C}b", "x #y", "it's", "x\ny", "[\n 1\n]", "$$", "\\n", "a'b\"c", ""]),
)
FORMS = (
    "{n}={v}", "{n}={v}", "{n}='{v}'", "{n}='{v}'", '{n}="{v}"', '{n}="{v}"', "export {n}={v}", "export {n}='{v}'",
    "{n}: {v}", "{n} = {v}", "{n}= {v}", "  {n}={v}", "{n}={v} # {w}", "{n}='{v}' # {w}", '{n}="{v}"#{w}',
    "{n}='{v}'{w}", "#{n}={v}", "# {w}", "{n}", "", "{n}={v}\\", "{n}.x={v}", "{n}[1]={v}", "\t#{v}", "{n}={v}\r",
)  # fmt: skip
# Lines that a shell takes for something else than one assignment.
TRAPS = (
    "B=it's", "B=x A=1", "B=x;A=1", "DB_URL=http://h/?x=1&A=2", "B=(x", "B=(x y)", "B=x (y)", "B=x |", "B=x &&",
    "B=x <<E", "E", "B=$(x)", "B=`x`", "B=\"`x\"", "B=x unset A", "B=please read A", "B=x exit", "if", "fi", "exec",
    "return", "export", "B[0]=x", "A+=x", "B=x >y", "B=<x>", "B='x'A=1", "B=\"$(x)\"", "B=$'x", "B=x\\'", "C: ()",
    "B=x ;;", "B=x )", "B={x",
)  # fmt: skip


def lines(traps: bool) -> st.SearchStrategy[str]:
    formed = st.builds(
        lambda form, name, value, word: form.format(n=name, v=value, w=word),
        st.sampled_from(FORMS),
        st.sampled_from(NAMES),
        VALUES,
        TEXT,
    )
    return st.one_of(formed, formed, formed, st.sampled_from(TRAPS)) if traps else formed


def files(traps: bool) -> st.SearchStrategy[bytes]:
    """Files as people might write them, with odd lines among them."""

    def joined(parts: list[str], newline: str, end: bool, bom: str) -> bytes:
        text = "\n".join(parts) + ("\n" if end else "")
        return (bom + text.replace("\n", newline)).encode("utf-8", "surrogatepass")

    return st.builds(
        joined,
        st.lists(lines(traps), max_size=6),
        st.sampled_from(["\n", "\n", "\r\n"]),
        st.booleans(),
        st.sampled_from(["", "", "", "\ufeff"]),
    )


# Any bytes at all, and text of the characters that mean something, with a start that makes some of it readable.
MEANING = st.text(alphabet="AB=:'\"\\$#{}[] \n\r\t\xa0é", max_size=30)
FREE = st.one_of(
    st.binary(max_size=40),
    st.lists(st.tuples(st.sampled_from(["", "A=", "B='", 'A="', "export B", "#"]), MEANING), max_size=3).map(
        lambda parts: "\n".join(start + text for start, text in parts).encode()
    ),
)
WANTED = st.dictionaries(st.sampled_from((*NAMES, "NEW")), st.none() | VALUES, min_size=1, max_size=2)


def gather(
    strategy: st.SearchStrategy[bytes], dialect: str, keep: Callable[[bytes, dict[str, str | None]], None]
) -> None:
    """Hand files and changes over, as many as there are to be."""

    @RUN
    @given(strategy, WANTED)
    def one(data: bytes, wanted: dict[str, str | None]) -> None:
        try:
            document = parse(data, dialect=dialect)
        except HotfixError:
            return
        assert document.data == data
        keep(data, wanted)

    one()


@pytest.mark.parametrize("dialect", DIALECTS)
def test_files_as_people_write_them(dialect: str, record_property: pytest.RecordProperty) -> None:
    cases: list[Case] = []
    read: dict[bytes, None] = {}
    refused = 0

    def keep(data: bytes, wanted: dict[str, str | None]) -> None:
        nonlocal refused
        read[data] = None
        try:
            case = change(data, wanted, dialect)
        except HotfixError:
            refused += 1
            return
        again = change(case.after, wanted, dialect)
        assert again.after == case.after
        cases.append(case)

    gather(files(traps=dialect == PORTABLE), dialect, keep)
    found = [*misread(list(read), dialect), *disagreements(cases)]
    record_property(
        "figure",
        f"{EXAMPLES} random files, dialect {dialect}: {len(read)} read, {len(cases)} changed, {refused} refused, "
        f"{len(found)} disagreements",
    )
    assert found == []


@pytest.mark.parametrize("dialect", [PORTABLE, RAW])
def test_any_bytes_are_read_as_the_reader_does_or_refused(dialect: str, record_property: pytest.RecordProperty) -> None:
    read: dict[bytes, None] = {}
    gather(FREE, dialect, lambda data, _wanted: read.__setitem__(data, None))
    found = misread(list(read), dialect)
    record_property(
        "figure", f"{EXAMPLES} files of any bytes, dialect {dialect}: {len(read)} read, {len(found)} misread"
    )
    assert found == []
