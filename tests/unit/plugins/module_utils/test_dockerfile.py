# SPDX-License-Identifier: GPL-3.0-or-later
"""Dockerfiles: stages, continued lines, exec and shell form, variables, and where each value is written."""

from __future__ import annotations

import contextlib
import json

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils import _dockerfile as df
from ansible_collections.composeops.hotfix.plugins.module_utils._command_line import Text, parse
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from hypothesis import given
from hypothesis import strategies as st

EXEC = """\
# syntax=docker/dockerfile:1
ARG PYTHON=3.12
FROM python:${PYTHON}-slim AS base
WORKDIR /app
ENV PYTHONUNBUFFERED=1 \\
    # the number of workers
    WORKERS=5 \\

    PORT=8000
COPY requirements.txt .
RUN <<EOF
pip install -r requirements.txt
CMD ["not", "this"]
EOF
FROM base AS dev
CMD uvicorn a:b --reload
FROM base
COPY --chown=app:app . .
CMD ["uvicorn", "backend.main:app", "--host", "0.0.0.0", \\
# not 9
     "--workers", "4"]
"""


def words(argv):
    return [word.value for word in argv]


def test_the_last_stage_with_what_it_inherits():
    image = df.image(EXEC, "Dockerfile")
    assert words(image.command) == ["uvicorn", "backend.main:app", "--host", "0.0.0.0", "--workers", "4"]
    assert (image.base, image.workdir, image.entrypoint) == ("python:3.12-slim", "/app", None)
    assert {name: text.value for name, text in image.env.items()} == {
        "PYTHONUNBUFFERED": "1",
        "WORKERS": "5",
        "PORT": "8000",
    }
    assert image.copies[-1] == df.Copy((".",), "/app/.")
    span = parse(image.command).count.span()
    assert EXEC[span.start - 1 : span.end + 1] == '"4"'
    assert EXEC[image.command[1].end[1] - 1 :].startswith('", "--host"')


def test_the_stage_asked_for():
    image = df.image(EXEC, "Dockerfile", target="dev")
    assert words(image.command) == ["/bin/sh", "-c", "uvicorn a:b --reload"]
    assert parse(image.command).reload
    with pytest.raises(HotfixError, match="there is no stage prod"):
        df.image(EXEC, "Dockerfile", target="prod")
    with pytest.raises(HotfixError, match="there is no FROM"):
        df.image("RUN x\n", "Dockerfile")


def test_shell_form_over_several_lines():
    text = (
        "FROM x\nENV WORKERS 4\nCMD exec uvicorn a:b \\\n    --host 0 \\\n  # why\n    --workers 12 \\\n    --port 1\n"
    )
    image = df.image(text, "Dockerfile")
    command = parse(image.command, image.variable)
    span = command.count.span()
    assert (command.workers, text[span.start : span.end], image.env["WORKERS"].value) == (12, "12", "4")
    assert text[: command.anchor.end[1]].endswith("uvicorn a:b")


def test_variables_are_followed_to_where_they_are_set():
    text = "FROM x\nARG N=4\nENV WORKERS=$N\nCMD uvicorn a:b --workers ${WORKERS}\n"
    image = df.image(text, "Dockerfile", source=3)
    span = parse(image.command, image.variable).count.span()
    assert (span.source, text[span.start - 2 : span.end]) == (3, "N=4")
    given_ = {"N": Text.of("6", source=8)}
    image = df.image(text, "Dockerfile", arguments=given_)
    assert parse(image.command, image.variable).count.span() == (8, 0, 1)


def test_an_entrypoint_resets_an_inherited_command_only():
    image = df.image('FROM x AS a\nCMD ["c"]\nFROM a\nENTRYPOINT ["e"]\n', "Dockerfile")
    assert (words(image.entrypoint), image.command) == (["e"], [])
    image = df.image('FROM x\nCMD ["c"]\nENTRYPOINT ["e"]\n', "Dockerfile")
    assert (words(image.entrypoint), words(image.command)) == (["e"], ["c"])


def test_escapes_in_exec_form():
    text = 'FROM x\nCMD ["sh", "-c", "uvicorn \\"a:b\\" --workers \\"4\\""]\n'
    image = df.image(text, "Dockerfile")
    command = parse(image.command)
    span = command.count.span()
    assert text[span.start - 2 : span.end + 2] == '\\"4\\"'
    assert text[: command.anchor.end[1]].endswith('\\"a:b\\"')


def test_directives_and_line_ends():
    text = '\ufeff# escape=`\r\nFROM x\r\nSHELL ["powershell"]\r\nCMD uvicorn a:b `\r\n  --workers 4\r\n'
    image = df.image(text, "Dockerfile")
    assert words(image.command)[0] == "powershell"
    assert image.command[-1].value == "uvicorn a:b   --workers 4"


@given(st.text())
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(HotfixError):
        df.image("FROM x\n" + text, "Dockerfile")


@given(st.lists(st.text(min_size=1), min_size=1))
def test_exec_form_is_json(strings):
    text = json.dumps(strings)
    assert words(df.exec_form(Text.of(text))) == strings
