# SPDX-License-Identifier: GPL-3.0-or-later
"""Command lines and the number of workers that uvicorn 0.54.0 and gunicorn 27.0.1 took from them, run by real shells.

``conf.py`` is a configuration file of gunicorn that says ``workers = 6``.
"""

from __future__ import annotations

import shlex

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils import _command_line as cl
from ansible_collections.composeops.hotfix.plugins.module_utils import _gunicorn
from ansible_collections.composeops.hotfix.plugins.module_utils._command_line import Text
from ansible_collections.composeops.hotfix.plugins.module_utils._worker_setting import given

# The command line, the variables, the number that the server took.
TAKEN: list[tuple[str, dict[str, str], int]] = [
    ("uvicorn a:b", {}, 1),
    ("uvicorn a:b --workers 4", {}, 4),
    ("uvicorn a:b --workers=4", {}, 4),
    ("uvicorn --workers 4 a:b", {}, 4),
    ("uvicorn a:b --workers 4 --workers 3", {}, 3),
    ("uvicorn a:b", {"WEB_CONCURRENCY": "3"}, 3),
    ("uvicorn a:b", {"UVICORN_WORKERS": "5"}, 5),
    ("uvicorn a:b", {"UVICORN_WORKERS": "5", "WEB_CONCURRENCY": "3"}, 5),
    ("uvicorn a:b --workers 2", {"UVICORN_WORKERS": "5", "WEB_CONCURRENCY": "3"}, 2),
    ("uvicorn a:b --workers 04", {}, 4),
    ("uvicorn a:b", {"WEB_CONCURRENCY": " 3 "}, 3),
    ("uvicorn a:b", {"UVICORN_WORKERS": ""}, 1),
    ("uvicorn a:b", {"UVICORN_WORKERS": "", "WEB_CONCURRENCY": "3"}, 3),
    ("uvicorn a:b --proxy-headers --workers 4", {}, 4),
    ("uvicorn a:b --no-access-log --host 0.0.0.0 --workers 4", {}, 4),
    ("uvicorn a:b --limit-max-requests 4", {"WEB_CONCURRENCY": "2"}, 2),
    ("uvicorn a:b --h11-max-incomplete-event-size 4 --workers 3", {}, 3),
    ("python -m uvicorn a:b --workers 4", {}, 4),
    ("python -u -m uvicorn a:b --workers 4", {}, 4),
    ("env WEB_CONCURRENCY=7 uvicorn a:b", {}, 7),
    ("env -u WEB_CONCURRENCY uvicorn a:b", {"WEB_CONCURRENCY": "3"}, 1),
    ("env -i PATH=/usr/bin:/bin uvicorn a:b", {"WEB_CONCURRENCY": "3"}, 1),
    ("tini -- uvicorn a:b --workers 4", {}, 4),
    ("tini -g -- gunicorn a:b -w 4", {}, 4),
    ("dumb-init uvicorn a:b --workers=4", {}, 4),
    ("poetry run uvicorn a:b --workers 4", {}, 4),
    ("entry.sh uvicorn a:b --workers 4", {}, 4),
    ("timeout 100 uvicorn a:b --workers 4", {}, 4),
    ("nice -n 5 uvicorn a:b --workers 4", {}, 4),
    ("nohup uvicorn a:b --workers 4", {}, 4),
    ("stdbuf -oL uvicorn a:b --workers 4", {}, 4),
    ("sh -c 'uvicorn a:b --workers 4'", {}, 4),
    ("sh -c 'exec uvicorn a:b --workers $N'", {"N": "3"}, 3),
    ("sh -c 'exec uvicorn a:b --workers ${N:-4}'", {}, 4),
    ("sh -c 'exec uvicorn a:b --workers ${N:-4}'", {"N": ""}, 4),
    ("sh -c 'exec uvicorn a:b --workers ${N-4}'", {"N": "2"}, 2),
    ("sh -c 'uvicorn a:b --workers ${N:+5}'", {"N": "1"}, 5),
    ("sh -c 'exec uvicorn a:b --workers \"${N:-4}\"'", {}, 4),
    ("sh -c 'exec uvicorn a:b ${OPTS}'", {"OPTS": "--workers 4 --port 1"}, 4),
    ("sh -c 'exec uvicorn a:b $OPTS --port 1'", {"OPTS": "--workers=4"}, 4),
    ("sh -c 'WEB_CONCURRENCY=4 exec uvicorn a:b'", {}, 4),
    ("sh -c 'export WEB_CONCURRENCY=4; uvicorn a:b'", {}, 4),
    ("sh -c 'export WEB_CONCURRENCY=4 && exec uvicorn a:b'", {"WEB_CONCURRENCY": "9"}, 4),
    ("sh -c 'N=4; uvicorn a:b --workers $N'", {}, 4),
    ("sh -c 'N=4 uvicorn a:b --workers $N'", {"N": "2"}, 2),
    ("sh -c 'WEB_CONCURRENCY=4; uvicorn a:b'", {}, 1),
    ("sh -c 'WEB_CONCURRENCY=4; uvicorn a:b'", {"WEB_CONCURRENCY": "2"}, 4),
    ("sh -c 'true && uvicorn a:b --workers 4 2>&1 | cat'", {}, 4),
    ("sh -c 'cd / && cd - >/dev/null; exec uvicorn a:b --workers 4'", {}, 4),
    ("sh -c 'exec \"$@\"' x uvicorn a:b --workers 4", {}, 4),
    ("sh -c 'uvicorn a:b \\\n --workers 4'", {}, 4),
    ("sh -c '# uvicorn a:b --workers 9\nuvicorn a:b --workers 4'", {}, 4),
    ("sh -c 'if true; then uvicorn a:b --workers 4; fi'", {}, 4),
    ("sh -c 'uvicorn a:b --workers ${N:=4}'", {}, 4),
    ("bash -ec 'uvicorn a:b --workers 4'", {}, 4),
    ("sh -e -c 'uvicorn a:b --workers 4'", {}, 4),
    ("bash -o pipefail -c 'uvicorn a:b --workers 4'", {}, 4),
    ("sh -c 'set -e; uvicorn a:b --workers 4'", {}, 4),
    ("sh -c 'trap '\"'\"''\"'\"' HUP; exec uvicorn a:b --workers 4'", {}, 4),
    ("sh -c 'uvicorn a:b --workers 4 &  wait'", {}, 4),
    ("sh -c '{ uvicorn a:b --workers 4; }'", {}, 4),
    ("sh -c '(uvicorn a:b --workers 4)'", {}, 4),
    ("sh -c 'env WEB_CONCURRENCY=3 uvicorn a:b'", {}, 3),
    ("sh -c 'unset WEB_CONCURRENCY; uvicorn a:b'", {"WEB_CONCURRENCY": "3"}, 1),
    ("sh -c 'false || uvicorn a:b --workers 4'", {}, 4),
    ("gunicorn a:b", {}, 1),
    ("gunicorn a:b -w 4", {}, 4),
    ("gunicorn a:b -w4", {}, 4),
    ("gunicorn a:b -w=4", {}, 4),
    ("gunicorn a:b --workers 4", {}, 4),
    ("gunicorn a:b --workers=4", {}, 4),
    ("gunicorn -w 4 a:b", {}, 4),
    ("gunicorn a:b -k sync -w 4", {}, 4),
    ("gunicorn a:b -w 4 -w 3", {}, 3),
    ("gunicorn a:b", {"WEB_CONCURRENCY": "3"}, 3),
    ("gunicorn a:b", {"GUNICORN_CMD_ARGS": "--workers 5"}, 5),
    ("gunicorn a:b", {"GUNICORN_CMD_ARGS": "-w5 --threads 2"}, 5),
    ("gunicorn a:b", {"GUNICORN_CMD_ARGS": "--workers=5", "WEB_CONCURRENCY": "3"}, 5),
    ("gunicorn a:b -w 2", {"GUNICORN_CMD_ARGS": "--workers=5"}, 2),
    ("gunicorn a:b -c conf.py", {}, 6),
    ("gunicorn a:b -c conf.py", {"GUNICORN_CMD_ARGS": "-w 3"}, 3),
    ("gunicorn a:b -cconf.py -w 2", {}, 2),
    ("gunicorn a:b --config=conf.py", {"WEB_CONCURRENCY": "3"}, 6),
    ("gunicorn a:b -c file:conf.py", {}, 6),
    ("gunicorn a:b -c python:conf", {}, 6),
    ("gunicorn a:b", {"GUNICORN_CMD_ARGS": "-c conf.py"}, 6),
    ("gunicorn a:b -D -w 4", {}, 4),
    ("gunicorn a:b -Rw 4", {}, 4),
    ("gunicorn a:b --preload -w 4", {}, 4),
    ("gunicorn a:b --log-level debug --access-logfile - -w 4", {}, 4),
    ("gunicorn a:b -b :1 -w 4 -t 30", {}, 4),
    ("gunicorn a:b --reload -w 4", {}, 4),
    ("sh -c 'gunicorn a:b -w ${W:-4} -b :${PORT:-8000}'", {}, 4),
    ("gunicorn a:b --workers ' 4'", {}, 4),
    ("gunicorn a:b", {"WEB_CONCURRENCY": " 4"}, 4),
    ("gunicorn a:b", {"UVICORN_WORKERS": "4"}, 1),
    ("gunicorn a:b --worker-class uvicorn_worker.UvicornWorker --workers 4", {}, 4),
    ("gunicorn a:b --worker-connections 9 --workers 4", {}, 4),
    ("gunicorn a:b --env WEB_CONCURRENCY=9 -w 4", {}, 4),
    ("gunicorn --env WEB_CONCURRENCY=9 a:b", {}, 1),
]
# These would have to be run.
COMPUTED = [
    "uvicorn a:b --log-level info --workers +4",
    "sh -c 'exec uvicorn a:b --workers \"$1\"' x 4",
    "sh -c 'exec uvicorn a:b --workers $0' 4",
    "sh -c 'uvicorn a:b --workers $((2+2))'",
    "sh -c 'uvicorn a:b --workers $(echo 4)'",
    "sh -c 'uvicorn a:b --workers `echo 4`'",
    "sh -c 'eval uvicorn a:b --workers 4'",
    "sh -c 'exec gunicorn a:b --workers=$(( 2 * 2 ))'",
]


def number(line: str, variables: dict[str, str]) -> int | None:
    """The number that the collection finds; None when it is not plain to see."""
    words = [Text.of(word, index) for index, word in enumerate(shlex.split(line))]
    texts = {name: Text.of(value, 100 + index) for index, (name, value) in enumerate(variables.items())}
    command = cl.parse(words, texts.get)
    assert command.server is not None, command.opaque
    arguments = texts.get("GUNICORN_CMD_ARGS")
    config = command.config or (cl.cmd_args(arguments).config if arguments else None)
    said = _gunicorn.setting("workers = 6\n", "conf.py", lookup=texts.get, source=900) if config else None
    found = next((text for _name, text in given(command, texts, said) if text.value.strip()), None)
    return 1 if found is None else cl.number(found)


@pytest.mark.parametrize(("line", "variables", "taken"), TAKEN)
def test_the_number_is_the_one_that_the_server_took(line: str, variables: dict[str, str], taken: int) -> None:
    assert number(line, variables) == taken


@pytest.mark.parametrize("line", COMPUTED)
def test_what_is_computed_is_not_guessed(line: str) -> None:
    words = [Text.of(word, index) for index, word in enumerate(shlex.split(line))]
    command = cl.parse(words, {}.get)
    assert command.server is None or (command.count is not None and command.workers is None)
