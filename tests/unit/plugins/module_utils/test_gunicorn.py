# SPDX-License-Identifier: GPL-3.0-or-later
"""Configuration files of gunicorn: where the number of workers is written in them."""

from __future__ import annotations

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils import _gunicorn as gu
from ansible_collections.composeops.hotfix.plugins.module_utils._command_line import Text, nothing
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


def test_what_cannot_be_said():
    with pytest.raises(HotfixError, match=r"gunicorn.conf.py:2: this is no Python source"):
        gu.setting("a = 1\nworkers = = 4\n", "gunicorn.conf.py", lookup=nothing)
    with pytest.raises(HotfixError, match=r"x:2: the number of workers is set here under a condition"):
        gu.setting("if PROD:\n    workers = 4\n", "x", lookup=nothing)
