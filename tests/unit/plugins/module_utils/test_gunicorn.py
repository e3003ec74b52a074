# SPDX-License-Identifier: GPL-3.0-or-later
"""Configuration files of gunicorn: where the number of workers is written in them."""

from __future__ import annotations

import runpy

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils import _gunicorn as gu
from ansible_collections.composeops.hotfix.plugins.module_utils._command_line import Text, nothing, number
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError

FORMS = [
    ("workers = 4\n", "4"),
    ("bind = 'x'\nworkers: int = 12  # many\n", "12"),
    ("workers = 9\nworkers = 4\n", "4"),
    ("é = 'ü'; workers = 4\r\n", "4"),
    ("import os\nworkers = int(os.environ.get('WORKERS', '4'))\n", "4"),
    ("workers = int(os.getenv('WORKERS', 4))\n", "4"),
    ("workers = int(os.environ.get('WORKERS') or 4)\n", "4"),
    ("workers = multiprocessing.cpu_count() * 2 + 1\n", "multiprocessing.cpu_count() * 2 + 1"),
    ("workers = (\n    cpus()\n    * 2\n)\n", "cpus()\n    * 2"),
    ("def post_fork(server, worker):\n    workers = 3\n", None),
    ("threads = 4\n", None),
    ("workers: int\n", None),
    ("sizes = [workers for workers in (1, 2)]\nworkers_per_core = 4\n", None),
    ("from base import *\nif PROD:\n    workers = 9\nworkers = 4\nworkers: int\n", "4"),
]

# Where no single assignment decides: the file, and the line that is shown.
UNCLEAR = [
    ("if PROD:\n    workers = 4\n", 2, "workers = 4"),
    ("workers = 2\nworkers *= 2  # twice\n", 2, "workers *= 2  # twice"),
    ("workers, threads = 4, 2\n", 1, "workers, threads = 4, 2"),
    ("workers = 2\r\nfor workers in (4, 5):\r\n    pass\r\n", 2, "for workers in (4, 5):"),
    ("print(workers := 4)\n", 1, "print(workers := 4)"),
    ("workers = 2\nfrom base import *\n", 2, "from base import *"),
    ("from base import processes as workers\n", 1, "from base import processes as workers"),
    ("with number() as workers:\n    pass\n", 1, "with number() as workers:"),
]


@pytest.mark.parametrize(("text", "written"), FORMS)
def test_where_the_number_is_written(text, written):
    found = gu.setting(text, "gunicorn.conf.py", lookup=nothing)
    assert (found.value if found else None) == written
    if found:
        span = found.span()
        assert text[span.start : span.end] == written


def test_a_variable_leads_to_where_it_is_set():
    variables = {"WORKERS": Text.of("6", source=7)}
    for text in ("workers = int(os.environ.get('WORKERS', '4'))", "workers = int(os.environ['WORKERS'])"):
        assert gu.setting(text, "x", lookup=variables.get).span() == (7, 0, 1)


# Files as Python itself reads them.
ENCODED = [
    ("# -*- coding: latin-1 -*-\nproc_name = 'Börse'\nworkers = 4  # fünf\n", "iso-8859-1", "iso-8859-1"),
    ("#!/bin/x\r\n# vim: set fileencoding=cp1252 :\r\nprice = '5 €'\r\nworkers = 4\r\n", "cp1252", "cp1252"),
    ("\ufeffname = 'ü'\nworkers = 4\n", "utf-8", "utf-8-sig"),
    ("name = 'ü'; workers = 4\n", "utf-8", "utf-8"),
]


@pytest.mark.parametrize(("written", "encoding", "found"), ENCODED)
def test_a_file_is_read_in_the_encoding_that_python_takes_for_it(tmp_path, written, encoding, found):
    data = written.encode(encoding)
    text, taken = gu.decode(data, "x")
    assert taken == found and text.encode(taken) == data
    (tmp_path / "gunicorn.conf.py").write_bytes(data)
    names = runpy.run_path(str(tmp_path / "gunicorn.conf.py"))
    assert gu.setting(text, "x", lookup=nothing).value == str(names["workers"]) == "4"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("name = 'ü'\n".encode("latin-1"), "not in UTF-8 where it says none"),
        (b"# coding: klingon\nworkers = 4\n", "not in the encoding that it says"),
        (b"# coding: utf-7\nname = '+AG4-'\nworkers = 4\n", "cannot be edited in its encoding, utf-7"),
    ],
)
def test_a_file_that_python_cannot_read_or_that_cannot_be_edited(data, words):
    with pytest.raises(HotfixError, match=rf"^gunicorn.conf.py: .*{words}"):
        gu.decode(data, "gunicorn.conf.py")


def test_what_cannot_be_said():
    with pytest.raises(HotfixError, match=r"gunicorn.conf.py:2: this is no Python source"):
        gu.setting("a = 1\nworkers = = 4\n", "gunicorn.conf.py", lookup=nothing)


@pytest.mark.parametrize(("text", "line", "shown"), UNCLEAR)
def test_where_no_single_assignment_decides(text, line, shown):
    found = gu.setting(text, "x", lookup=nothing)
    span = found.span()
    assert found.value == text[span.start : span.end] == shown
    assert number(found) is None
    with pytest.raises(HotfixError, match=rf"^x:{line}: the number of workers is set here .* target: override\.$"):
        gu.check(text, "x")


@pytest.mark.parametrize("text", [text for text, _written in FORMS])
def test_what_may_be_replaced(text):
    gu.check(text, "x")
