# SPDX-License-Identifier: GPL-3.0-or-later
"""Command lines of uvicorn and gunicorn in every form that people write them."""

from __future__ import annotations

import shlex

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils import _command_line as cl
from hypothesis import given
from hypothesis import strategies as st

# script, server, application, number, the text that would be replaced
FORMS = [
    ("uvicorn backend.main:app --host 0.0.0.0 --workers 4", "uvicorn", "backend.main:app", 4, "4"),
    ("uvicorn a:b --workers=4", "uvicorn", "a:b", 4, "4"),
    ('uvicorn a:b --workers "4" --port 8000', "uvicorn", "a:b", 4, "4"),
    ("uvicorn --port 8000 --workers '4' a:b", "uvicorn", "a:b", 4, "4"),
    ("uvicorn --factory --reload a:b", "uvicorn", "a:b", None, None),
    ("uvicorn a:b --workers 4 --workers 3", "uvicorn", "a:b", 3, "3"),
    ("/usr/local/bin/uvicorn a:b --workers 4", "uvicorn", "a:b", 4, "4"),
    ("exec uvicorn a:b --workers 4", "uvicorn", "a:b", 4, "4"),
    ("python -m uvicorn a:b --workers 4", "uvicorn", "a:b", 4, "4"),
    ("python3 -u -X dev -m gunicorn a:b -w 4", "gunicorn", "a:b", 4, "4"),
    ("/usr/bin/python3.11 /usr/local/bin/uvicorn a:b --workers 4", "uvicorn", "a:b", 4, "4"),
    ("gunicorn -w 4 a:b", "gunicorn", "a:b", 4, "4"),
    ("gunicorn -w4 -k uvicorn.workers.UvicornWorker a:b", "gunicorn", "a:b", 4, "4"),
    ("gunicorn -w=4 a:b", "gunicorn", "a:b", 4, "4"),
    ("gunicorn a:b --workers 9 -w 4", "gunicorn", "a:b", 4, "4"),
    ("gunicorn --preload -D -R a:b -t 30", "gunicorn", "a:b", None, None),
    ("FOO=1 BAR='2 3' uvicorn a:b --workers 4", "uvicorn", "a:b", 4, "4"),
    ("env -u X FOO=1 uvicorn a:b --workers 4", "uvicorn", "a:b", 4, "4"),
    ('sh -c "uvicorn a:b --workers 4"', "uvicorn", "a:b", 4, "4"),
    ('sh -c "uvicorn a:b --workers \\"4\\" --port 1"', "uvicorn", "a:b", 4, "4"),
    ("bash -lc 'alembic upgrade head && exec uvicorn a:b --workers 4'", "uvicorn", "a:b", 4, "4"),
    ("bash -o pipefail -ec 'uvicorn a:b --workers 4 2>&1 | tee /tmp/log'", "uvicorn", "a:b", 4, "4"),
    ("poetry run uvicorn a:b --workers 4", "uvicorn", "a:b", 4, "4"),
    ("pipenv run gunicorn a:b -w 4", "gunicorn", "a:b", 4, "4"),
    ("uv run --no-sync python -m uvicorn a:b --workers 4", "uvicorn", "a:b", 4, "4"),
    ("tini -g -- gosu app uvicorn a:b --workers 4", "uvicorn", "a:b", 4, "4"),
    ("/docker-entrypoint.sh uvicorn a:b --workers 4", "uvicorn", "a:b", 4, "4"),
    ("coverage run -m uvicorn a:b --workers 4", "uvicorn", "a:b", 4, "4"),
    ("fastapi run app/main.py --workers 4", "uvicorn", None, 4, "4"),
    ("cd /app; export X=1\nuvicorn a:b \\\n  --workers 4 # --workers 9\n", "uvicorn", "a:b", 4, "4"),
    ("if true; then uvicorn a:b --workers 4; fi", "uvicorn", "a:b", 4, "4"),
    ("uvicorn a:b --workers ${WORKERS:-4}", "uvicorn", "a:b", 4, "4"),
    ("uvicorn a:b --workers ${WORKERS:-${OTHER:-4}}", "uvicorn", "a:b", 4, "4"),
    ("WORKERS=4; uvicorn a:b --workers $WORKERS", "uvicorn", "a:b", 4, "4"),
    ("uvicorn a:b --workers $WEB_CONCURRENCY", "uvicorn", "a:b", None, "$WEB_CONCURRENCY"),
    ("uvicorn a:b --workers $(( $(nproc) * 2 )) --port 1", "uvicorn", "a:b", None, "$(( $(nproc) * 2 ))"),
    ("uvicorn a:b --workers `nproc --all` --port 1", "uvicorn", "a:b", None, "`nproc --all`"),
]


@pytest.mark.parametrize(("script", "server", "application", "workers", "written"), FORMS, ids=[f[0] for f in FORMS])
def test_shell_forms(script, server, application, workers, written):
    command = cl.parse_shell(script)
    assert (command.server, command.application, command.workers, command.opaque) == (
        server,
        application,
        workers,
        None,
    )
    span = command.count.span() if command.count else None
    assert (script[span.start : span.end] if span else None) == written


HIDDEN = [
    ("./start.sh", "./start.sh"),
    ("bash /app/start.sh --fast", "/app/start.sh"),
    ("python main.py", "main.py"),
    ("supervisord -c /etc/supervisord.conf", "supervisord"),
    ("pip install uvicorn", "pip"),
    ("uvicorn a:b & uvicorn c:d", "2 places"),
    ("", "no command"),
]


@pytest.mark.parametrize(("script", "said"), HIDDEN)
def test_what_cannot_be_seen_through_is_named(script, said):
    command = cl.parse_shell(script)
    assert command.server is None
    assert said in command.opaque


def test_exec_form_tells_the_item():
    command = cl.parse_argv(["python", "-m", "uvicorn", "backend.main:app", "--workers", "4"])
    assert command.count.span() == (5, 0, 1)
    assert command.anchor.end == (3, len("backend.main:app"))
    joined = cl.parse_argv(["gunicorn", "a:b", "--workers=12"])
    assert joined.count.span() == (2, len("--workers="), len("--workers=12"))


def test_arguments_of_a_script():
    command = cl.parse_argv(["sh", "-c", 'exec "$@"', "name", "uvicorn", "a:b", "--workers", "3"])
    assert (command.workers, command.count.span()) == (3, (7, 0, 1))


def test_other_options():
    command = cl.parse_argv(["uvicorn", "--app-dir", "src", "--factory", "a:create", "--reload"])
    assert (command.app_dir, command.factory, command.reload, command.application) == ("src", True, True, "a:create")
    command = cl.parse_argv(["gunicorn", "-c", "python:conf.gunicorn", "--chdir=/srv", "a:b"])
    assert (command.config, command.app_dir) == ("python:conf.gunicorn", "/srv")
    assert cl.parse_argv(["gunicorn:", "master", "[a:b]"]).application == "a:b"


def test_variables_set_in_the_command():
    command = cl.parse_shell("export WEB_CONCURRENCY=3 && exec uvicorn a:b")
    assert command.assignments["WEB_CONCURRENCY"].value == "3"
    command = cl.parse_shell("env UVICORN_WORKERS=5 uvicorn a:b")
    assert command.assignments["UVICORN_WORKERS"].span() == (0, 20, 21)


def test_a_variable_leads_to_where_it_is_set():
    env = {"WORKERS": cl.Text.of("6", source=9)}
    words = [cl.Text.of("sh", 0), cl.Text.of("-c", 1), cl.Text.of("uvicorn a:b --workers ${WORKERS:-4}", 2)]
    assert cl.parse(words, env.get).count.span() == (9, 0, 1)
    assert cl.parse(words).count.span() == (2, 33, 34)
    assert cl.parse(words, cl.raw).count.value == "${WORKERS:-4}"


def test_a_variable_with_several_options():
    env = {"ARGS": cl.Text.of("--workers 6 --port 1", source=9)}
    command = cl.parse([cl.Text.of("sh"), cl.Text.of("-c", 1), cl.Text.of("uvicorn $ARGS a:b", 2)], env.get)
    assert (command.count.span(), command.application) == ((9, 10, 11), "a:b")


def test_compose_interpolation_and_splitting():
    env = {"N": cl.Text.of("6", source=1), "EMPTY": cl.Text.of("", source=2)}
    for text, result in [
        ("${N}", "6"),
        ("$N", "6"),
        ("$$N", "$N"),
        ("${X:-a b}", "a b"),
        ("${EMPTY:-4}", "4"),
        ("${EMPTY-4}", ""),
        ("${N:+yes}${X:+no}", "yes"),
        ("${X}", "${X}"),
        ("${N:?needed}", "6"),
    ]:
        assert cl.interpolate(cl.Text.of(text), env.get).value == result, text
    words = cl.split(cl.Text.of("uvicorn 'a:b' --log-config ${X:-a b} --header \"x: y\" && ignored"))
    assert [word.value for word in words] == ["uvicorn", "a:b", "--log-config", "${X:-a b}", "--header", "x: y"]
    assert words[1].end == (0, len("uvicorn 'a:b'"))


# What `docker compose config --format json` of Compose 2.26.1 makes of a command.
COMPOSE_SPLITS = [
    ("cd /app && uvicorn a:b", ["cd", "/app"]),
    ("uvicorn a:b ; echo x", ["uvicorn", "a:b"]),
    ("uvicorn 'a b' --x=${X:-p q} $$HOME # c", ["uvicorn", "a b", "--x=p", "q", "$HOME", "#", "c"]),
    ("uvicorn a>b", ["uvicorn", "a"]),
    ('uvicorn "a\\n\'b" c\\ d', ["uvicorn", "an'b", "c d"]),
    ("uvicorn `nproc` x", ["uvicorn", "`nproc`", "x"]),
    ("uvicorn $$(nproc --all) y", ["uvicorn", "$(nproc --all)", "y"]),
    ("uvicorn 'a;b' \"c&d\"", ["uvicorn", "a;b", "c&d"]),
    ("uvicorn a\nb\tc", ["uvicorn", "a", "b", "c"]),
    ("uvicorn a|b c", ["uvicorn", "a"]),
    ('uvicorn "a\\$$b\\`"', ["uvicorn", "a$b`"]),
    ("uvicorn 'it''s'", ["uvicorn", "its"]),
    ("uvicorn a\\\nb", ["uvicorn", "a\nb"]),
    ("uvicorn a:b --header x:'y z'", ["uvicorn", "a:b", "--header", "x:y z"]),
    ('uvicorn "$${X}" $${Y}', ["uvicorn", "${X}", "${Y}"]),
]


@pytest.mark.parametrize(("text", "words"), COMPOSE_SPLITS)
def test_words_are_what_compose_makes_of_a_command(text, words):
    assert [word.value for word in cl.split(cl.interpolate(cl.Text.of(text), cl.nothing))] == words


def test_gunicorn_cmd_args():
    command = cl.cmd_args(cl.Text.of("--bind=0.0.0.0 -w 3 -c conf.py"))
    assert (command.workers, command.count.span(), command.config) == (3, (0, 18, 19), "conf.py")


def test_a_number_in_pieces_has_no_place():
    assert cl.parse_shell('uvicorn a:b --workers 1"2"').count.span() is None


@given(st.lists(st.text(min_size=1), min_size=1))
def test_words_are_what_a_posix_shell_reads(words):
    script = " ".join(shlex.quote(word) for word in words)
    read = cl.split(cl.Text.of(script))
    assert [word.value for word in read] == words
    for word in read:
        assert all(script[offset] == character for character, (_source, offset) in zip(word.value, word.places))


@given(st.text())
def test_any_text_is_read_without_an_exception(text):
    command = cl.parse_shell(text)
    assert command.server or command.opaque
    cl.parse_shell(f"uvicorn {text}")
    cl.interpolate(cl.Text.of(text), cl.nothing)


@given(st.text(alphabet="uvicorn a:b--workers4 $(){}`'\"\\;&|<>\n=w", max_size=60), st.integers(0, 99))
def test_the_place_of_the_count_is_where_its_text_stands(text, number):
    script = f"uvicorn {text} --workers {number}"
    command = cl.parse_shell(script)
    span = command.count.span() if command.count else None
    if span:
        assert script[span.start : span.end] == command.count.value
