# SPDX-License-Identifier: GPL-3.0-or-later
"""The number of workers, found and changed where it really comes from, in every place that it can be in."""

from __future__ import annotations

import difflib
from typing import NamedTuple

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils import _worker_setting as ws
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_file import ComposeFile, Project
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._launch import Files, ImageConfig, Launch

IMAGE = ImageConfig("web:1", [], ["uvicorn", "a:b", "--workers", "4"], {"PATH": "/bin"}, "/app")
BUILD = "services:\n  backend:\n    build: .\n"
UVICORN = 'FROM python:3.12\nWORKDIR /app\nCOPY . .\nCMD ["uvicorn", "a:b", "--workers", "4"]\n'
PLAIN = 'FROM python:3.12\nWORKDIR /app\nCOPY . .\nCMD ["uvicorn", "a:b"]\n'
GUNICORN = 'FROM python:3.12\nWORKDIR /app\nCOPY . .\nCMD ["gunicorn", "a:b"]\n'


def compose(*lines):
    return "services:\n  backend:\n    image: web\n" + "".join(f"    {line}\n" for line in lines)


class Case(NamedTuple):
    name: str
    files: dict[str, str]
    kind: str
    where: str  # file:line
    minus: list[str]
    plus: list[str]
    override: str  # what the override file holds below the service


def case(name, *rest):
    return pytest.param(Case(name, *rest), id=name)


CASES = [
    case(
        "compose command as text",
        {"compose.yml": compose("command: uvicorn a:b --workers 4 --port 80  # why")},
        "compose_command",
        "compose.yml:4",
        ["    command: uvicorn a:b --workers 4 --port 80  # why"],
        ["    command: uvicorn a:b --workers 2 --port 80  # why"],
        "    command: uvicorn a:b --workers 2 --port 80\n",
    ),
    case(
        "compose command in quotes with sh -c",
        {"compose.yml": compose('command: "sh -c \'exec uvicorn a:b --workers=\\"4\\" --port 4\'"')},
        "compose_command",
        "compose.yml:4",
        ['    command: "sh -c \'exec uvicorn a:b --workers=\\"4\\" --port 4\'"'],
        ['    command: "sh -c \'exec uvicorn a:b --workers=\\"2\\" --port 4\'"'],
        "    command: sh -c 'exec uvicorn a:b --workers=\"2\" --port 4'\n",
    ),
    case(
        "compose command as folded block",
        {
            "compose.yml": compose(
                "command: >-", "  gunicorn a:b", "  -k uvicorn.workers.UvicornWorker", "  -w4", "  --timeout 44"
            )
        },
        "compose_command",
        "compose.yml:7",
        ["      -w4"],
        ["      -w2"],
        "    command: gunicorn a:b -k uvicorn.workers.UvicornWorker -w2 --timeout 44\n",
    ),
    case(
        "compose command as literal block",
        {"compose.yml": compose("command: |", "  sh -c 'cd /app", "  uvicorn a:b --workers 4'")},
        "compose_command",
        "compose.yml:6",
        ["      uvicorn a:b --workers 4'"],
        ["      uvicorn a:b --workers 2'"],
        "    command: \"sh -c 'cd /app\\nuvicorn a:b --workers 2'\\n\"\n",
    ),
    case(
        "compose command as block list",
        {"compose.yml": compose("command:", "  - uvicorn", "  - a:b", "  - --workers", '  - "4"', "  - --port=4")},
        "compose_command",
        "compose.yml:8",
        ['      - "4"'],
        ['      - "2"'],
        '    command: ["uvicorn", "a:b", "--workers", "2", "--port=4"]\n',
    ),
    case(
        "compose command as flow list with a number",
        {"compose.yml": compose("command: [uvicorn, 'a:b', --workers, 4]")},
        "compose_command",
        "compose.yml:4",
        ["    command: [uvicorn, 'a:b', --workers, 4]"],
        ["    command: [uvicorn, 'a:b', --workers, 2]"],
        '    command: ["uvicorn", "a:b", "--workers", "2"]\n',
    ),
    case(
        "entrypoint and command combined",
        {"compose.yml": compose("entrypoint: [python, -m, uvicorn]", 'command: ["a:b", "--workers=4"]')},
        "compose_command",
        "compose.yml:5",
        ['    command: ["a:b", "--workers=4"]'],
        ['    command: ["a:b", "--workers=2"]'],
        '    command: ["a:b", "--workers=2"]\n',
    ),
    case(
        "default of a variable in the compose command",
        {"compose.yml": compose("command: uvicorn a:b --workers ${WORKERS:-4}")},
        "compose_command",
        "compose.yml:4",
        ["    command: uvicorn a:b --workers ${WORKERS:-4}"],
        ["    command: uvicorn a:b --workers ${WORKERS:-2}"],
        "    command: uvicorn a:b --workers 2\n",
    ),
    case(
        "variable of the compose command in .env",
        {"compose.yml": compose("command: uvicorn a:b --workers ${WORKERS:-9}"), ".env": "A=1\nWORKERS=4\nB='x'\n"},
        "dotenv",
        ".env:2",
        ["WORKERS=4"],
        ["WORKERS=2"],
        "    command: uvicorn a:b --workers 2\n",
    ),
    case(
        "shell variable in the compose command",
        {"compose.yml": compose("command: sh -c 'uvicorn a:b --workers $$N'", "environment:", "  N: 4")},
        "compose_environment",
        "compose.yml:6",
        ["      N: 4"],
        ["      N: 2"],
        '    environment:\n      N: "2"\n',
    ),
    case(
        "WEB_CONCURRENCY in an environment list",
        {"compose.yml": BUILD + "    environment:\n      - A=4\n      - WEB_CONCURRENCY=4\n", "Dockerfile": PLAIN},
        "compose_environment",
        "compose.yml:6",
        ["      - WEB_CONCURRENCY=4"],
        ["      - WEB_CONCURRENCY=2"],
        '    environment:\n      WEB_CONCURRENCY: "2"\n',
    ),
    case(
        "UVICORN_WORKERS beats WEB_CONCURRENCY",
        {
            "compose.yml": BUILD + "    environment: {WEB_CONCURRENCY: 3, UVICORN_WORKERS: '4'}\n",
            "Dockerfile": PLAIN,
        },
        "compose_environment",
        "compose.yml:4",
        ["    environment: {WEB_CONCURRENCY: 3, UVICORN_WORKERS: '4'}"],
        ["    environment: {WEB_CONCURRENCY: 3, UVICORN_WORKERS: '2'}"],
        '    environment:\n      UVICORN_WORKERS: "2"\n',
    ),
    case(
        "environment through .env",
        {
            "compose.yml": BUILD + "    environment:\n      WEB_CONCURRENCY: ${N:-3}\n",
            "Dockerfile": PLAIN,
            ".env": "N=4\n",
        },
        "dotenv",
        ".env:1",
        ["N=4"],
        ["N=2"],
        '    environment:\n      WEB_CONCURRENCY: "2"\n',
    ),
    case(
        "environment passed through from .env",
        {
            "compose.yml": BUILD + "    environment:\n      - WEB_CONCURRENCY\n",
            "Dockerfile": PLAIN,
            ".env": "WEB_CONCURRENCY=4\n",
        },
        "dotenv",
        ".env:1",
        ["WEB_CONCURRENCY=4"],
        ["WEB_CONCURRENCY=2"],
        '    environment:\n      WEB_CONCURRENCY: "2"\n',
    ),
    case(
        "env_file, the last one counts",
        {
            "compose.yml": BUILD
            + "    env_file: [.env, {path: b.env, required: false}, {path: c.env, required: false}]\n",
            "Dockerfile": PLAIN,
            ".env": "WEB_CONCURRENCY=3\n",
            "b.env": "# x\nWEB_CONCURRENCY='4'\n",
        },
        "dotenv",
        "b.env:2",
        ["WEB_CONCURRENCY='4'"],
        ["WEB_CONCURRENCY='2'"],
        '    environment:\n      WEB_CONCURRENCY: "2"\n',
    ),
    case(
        "Dockerfile CMD in exec form",
        {"compose.yml": BUILD, "Dockerfile": UVICORN},
        "dockerfile_cmd",
        "Dockerfile:4",
        ['CMD ["uvicorn", "a:b", "--workers", "4"]'],
        ['CMD ["uvicorn", "a:b", "--workers", "2"]'],
        '    command: ["uvicorn", "a:b", "--workers", "2"]\n',
    ),
    case(
        "Dockerfile CMD in shell form, continued, with a comment",
        {
            "compose.yml": BUILD,
            "Dockerfile": "FROM x\nCMD exec uvicorn a:b \\\n# 4\n  --workers 4 \\\n  --port $PORT\n",
        },
        "dockerfile_cmd",
        "Dockerfile:4",
        ["  --workers 4 \\"],
        ["  --workers 2 \\"],
        '    command: ["/bin/sh", "-c", "exec uvicorn a:b   --workers 2   --port $$PORT"]\n',
    ),
    case(
        "Dockerfile ENV used by CMD",
        {"compose.yml": BUILD, "Dockerfile": "FROM x\nENV A=1 \\\n    N=4\nCMD uvicorn a:b --workers ${N:-1}\n"},
        "dockerfile_env",
        "Dockerfile:3",
        ["    N=4"],
        ["    N=2"],
        '    environment:\n      N: "2"\n',
    ),
    case(
        "Dockerfile ENTRYPOINT with CMD",
        {"compose.yml": BUILD, "Dockerfile": 'FROM x\nENTRYPOINT ["uvicorn", "--workers=4"]\nCMD ["a:b"]\n'},
        "dockerfile_cmd",
        "Dockerfile:2",
        ['ENTRYPOINT ["uvicorn", "--workers=4"]'],
        ['ENTRYPOINT ["uvicorn", "--workers=2"]'],
        '    entrypoint: ["uvicorn", "--workers=2"]\n    command: ["a:b"]\n',
    ),
    case(
        "Dockerfile of the stage asked for, with another name",
        {
            "compose.yml": "services:\n  backend:\n    build: {context: src, dockerfile: D, target: prod}\n",
            "src/D": "FROM x AS prod\nCMD uvicorn a:b --workers 4\nFROM x\nCMD uvicorn a:b --workers 9\n",
        },
        "dockerfile_cmd",
        "src/D:2",
        ["CMD uvicorn a:b --workers 4"],
        ["CMD uvicorn a:b --workers 2"],
        '    command: ["/bin/sh", "-c", "uvicorn a:b --workers 2"]\n',
    ),
    case(
        "build argument",
        {
            "compose.yml": "services:\n  backend:\n    build:\n      context: .\n      args:\n        N: 4\n",
            "Dockerfile": "FROM x\nARG N=1\nENV WEB_CONCURRENCY=$N\nCMD uvicorn a:b\n",
        },
        "compose_build_args",
        "compose.yml:6",
        ["        N: 4"],
        ["        N: 2"],
        '    environment:\n      WEB_CONCURRENCY: "2"\n',
    ),
    case(
        "gunicorn configuration file copied into the image",
        {"compose.yml": BUILD, "Dockerfile": GUNICORN, "gunicorn.conf.py": "bind = ':80'\nworkers = 4\n"},
        "gunicorn_config",
        "gunicorn.conf.py:2",
        ["workers = 4"],
        ["workers = 2"],
        "    environment:\n      GUNICORN_CMD_ARGS: --workers=2\n",
    ),
    case(
        "gunicorn configuration file mounted",
        {
            "compose.yml": BUILD + "    command: gunicorn -c /etc/g.py a:b\n    volumes: ['./conf:/etc:ro']\n",
            "Dockerfile": GUNICORN,
            "conf/g.py": "import os\nworkers = int(os.getenv('N', '4'))\n",
        },
        "gunicorn_config",
        "conf/g.py:2",
        ["workers = int(os.getenv('N', '4'))"],
        ["workers = int(os.getenv('N', '2'))"],
        "    environment:\n      GUNICORN_CMD_ARGS: --workers=2\n",
    ),
    case(
        "GUNICORN_CMD_ARGS",
        {
            "compose.yml": BUILD + '    environment:\n      GUNICORN_CMD_ARGS: "--bind=:80 -w 4"\n',
            "Dockerfile": GUNICORN,
            "gunicorn.conf.py": "workers = 9\n",
        },
        "compose_environment",
        "compose.yml:5",
        ['      GUNICORN_CMD_ARGS: "--bind=:80 -w 4"'],
        ['      GUNICORN_CMD_ARGS: "--bind=:80 -w 2"'],
        "    environment:\n      GUNICORN_CMD_ARGS: --bind=:80 -w 2\n",
    ),
    case(
        "variable set in the command itself",
        {"compose.yml": compose("command: sh -c 'WEB_CONCURRENCY=4 exec uvicorn a:b'")},
        "compose_command",
        "compose.yml:4",
        ["    command: sh -c 'WEB_CONCURRENCY=4 exec uvicorn a:b'"],
        ["    command: sh -c 'WEB_CONCURRENCY=2 exec uvicorn a:b'"],
        "    command: sh -c 'WEB_CONCURRENCY=2 exec uvicorn a:b'\n",
    ),
    case(
        "arguments of a shell command",
        {"compose.yml": compose("""command: [sh, -c, 'exec uvicorn a:b "$$@"', --, --workers, "4"]""")},
        "compose_command",
        "compose.yml:4",
        ["""    command: [sh, -c, 'exec uvicorn a:b "$$@"', --, --workers, "4"]"""],
        ["""    command: [sh, -c, 'exec uvicorn a:b "$$@"', --, --workers, "2"]"""],
        """    command: ["sh", "-c", "exec uvicorn a:b \\"$$@\\"", "--", "--workers", "2"]\n""",
    ),
]


def write(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def launch(folder, image=None):
    return Launch(Project.load(str(folder)), "backend", image, Files())


def apply(change):
    with open(change.path, "wb") as stream:
        stream.write(change.data)


def lines(before, after):
    diff = [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line[0] in "+-"]
    return [line[2:] for line in diff if line[0] == "-"], [line[2:] for line in diff if line[0] == "+"]


@pytest.mark.parametrize("each", CASES)
def test_in_the_source(tmp_path, each):
    write(tmp_path, each.files)
    before = launch(tmp_path)
    setting = ws.find(before)
    place = f"{setting.place.file[len(str(tmp_path)) + 1 :]}:{setting.place.line}"
    assert (setting.number, setting.place.kind, place) == (4, each.kind, each.where)
    change = ws.change(before, setting, 2, override=False)
    name = change.path[len(str(tmp_path)) + 1 :]
    assert name == each.where.rpartition(":")[0]
    assert lines(each.files[name], change.data.decode()) == (each.minus, each.plus)
    assert (change.setting.number, change.setting.place) == (2, setting.place)
    assert ws.change(before, setting, 12, override=False).setting.number == 12
    apply(change)
    assert ws.find(launch(tmp_path)).number == 2


@pytest.mark.parametrize("each", CASES)
def test_in_the_override_file(tmp_path, each):
    write(tmp_path, each.files)
    before = launch(tmp_path)
    change = ws.change(before, ws.find(before), 2, override=True)
    assert change.path == str(tmp_path / "compose.override.yml")
    assert change.data.decode() == f"services:\n  backend:\n{each.override}"
    assert change.setting.number == 2
    apply(change)
    again = launch(tmp_path)
    setting = ws.find(again)
    assert (setting.number, setting.place.file) == (2, change.path)
    assert ws.change(again, setting, 3, override=True).path == change.path
    for name, text in each.files.items():
        assert (tmp_path / name).read_text() == text


UNSET = [
    (PLAIN, BUILD, "Dockerfile", 'CMD ["uvicorn", "a:b", "--workers", "2"]'),
    ("FROM x\nCMD uvicorn 'a:b' --port 1\n", BUILD, "Dockerfile", "CMD uvicorn 'a:b' --workers 2 --port 1"),
    ('FROM x\nCMD ["sh", "-c", "uvicorn a:b"]\n', BUILD, "Dockerfile", 'CMD ["sh", "-c", "uvicorn a:b --workers 2"]'),
    (
        PLAIN,
        BUILD + "    command: uvicorn a:b --port 1\n",
        "compose.yml",
        "    command: uvicorn a:b --workers 2 --port 1",
    ),
    (PLAIN, BUILD + "    command: [uvicorn, a:b]\n", "compose.yml", '    command: [uvicorn, a:b, --workers, "2"]'),
    (
        PLAIN,
        BUILD + "    command: uvicorn ${APP:-a:b} --port 1\n",
        "compose.yml",
        "    command: uvicorn ${APP:-a:b} --workers 2 --port 1",
    ),
]


@pytest.mark.parametrize(("dockerfile", "text", "name", "line"), UNSET)
def test_nothing_sets_it_yet(tmp_path, dockerfile, text, name, line):
    write(tmp_path, {"compose.yml": text, "Dockerfile": dockerfile})
    before = launch(tmp_path)
    setting = ws.find(before)
    assert (setting.number, setting.place) == (1, (None, None, "default"))
    change = ws.change(before, setting, 2, override=False)
    assert change.path.endswith(name)
    assert line in change.data.decode().splitlines()
    assert change.setting.number == 2
    change = ws.change(before, setting, 2, override=True)
    assert change.data.decode() == 'services:\n  backend:\n    environment:\n      WEB_CONCURRENCY: "2"\n'


def test_a_block_list_grows_at_its_end(tmp_path):
    write(tmp_path, {"compose.yml": compose("command:", "  - gunicorn", "  - a:b  # app", "restart: always")})
    change = ws.change(launch(tmp_path), ws.find(launch(tmp_path)), 2, override=False)
    assert lines((tmp_path / "compose.yml").read_text(), change.data.decode())[0] == []
    assert ComposeFile.parse(change.data, "x").get(("services", "backend", "command")) == [
        "gunicorn",
        "a:b",
        "--workers",
        "2",
    ]


def test_an_image_built_elsewhere(tmp_path):
    write(tmp_path, {"compose.yml": compose()})
    before = launch(tmp_path, IMAGE)
    setting = ws.find(before)
    assert (setting.number, setting.place.kind) == (4, "image")
    change = ws.change(before, setting, 2, override=False)
    assert '    command: ["uvicorn", "a:b", "--workers", "2"]\n' in change.data.decode()
    assert "the image web, which is not on this host" in ws.find(launch(tmp_path)).hidden
    silent = launch(tmp_path, IMAGE._replace(command=["uvicorn", "a:b"]))
    change = ws.change(silent, ws.find(silent), 2, override=False)
    assert '      WEB_CONCURRENCY: "2"\n' in change.data.decode()


def test_a_start_script(tmp_path):
    write(tmp_path, {"compose.yml": BUILD, "Dockerfile": 'FROM x\nCMD ["./start.sh"]\n'})
    before = launch(tmp_path)
    setting = ws.find(before)
    assert (setting.server, setting.number) == (None, None)
    assert "start.sh" in setting.hidden
    with pytest.raises(HotfixError, match=r"start\.sh.*target: override"):
        ws.change(before, setting, 2, override=False)
    change = ws.change(before, setting, 2, override=True)
    assert change.setting.place == (str(tmp_path / "compose.override.yml"), 4, "compose_environment")
    assert "not certain" in change.notes[0]
    apply(change)
    again = launch(tmp_path)
    assert ws.change(again, ws.find(again), 2, override=True).data == change.data


def test_variables_without_effect_are_named(tmp_path):
    files = {"compose.yml": BUILD + "    env_file: .env\n", "Dockerfile": UVICORN}
    write(tmp_path, {**files, ".env": "WORKERS=4\nWEB_CONCURRENCY=3\n"})
    weaker = ws.find(launch(tmp_path)).weaker
    assert weaker[0].startswith("WEB_CONCURRENCY in") and "is overruled by --workers" in weaker[0]
    assert weaker[1].startswith("WORKERS in") and "has no effect" in weaker[1]
    assert len(weaker) == 2


def test_a_computed_number_is_replaced_as_a_whole(tmp_path):
    text = "import multiprocessing\nworkers = multiprocessing.cpu_count() * 2 + 1\n"
    write(tmp_path, {"compose.yml": BUILD, "Dockerfile": GUNICORN, "gunicorn.conf.py": text})
    before = launch(tmp_path)
    setting = ws.find(before)
    assert (setting.number, setting.rebuild) == (None, True)
    change = ws.change(before, setting, 2, override=False)
    assert change.data.decode().endswith("\nworkers = 2\n")
    assert "multiprocessing.cpu_count() * 2 + 1 is replaced as a whole" in change.notes[0]


@pytest.mark.parametrize(
    "expression", ["$$(nproc)", "$$(( $$(nproc) * 2 + 1 ))", "`nproc`", "$${N}", "$$(( 2 * $${CPUS:-2} ))"]
)
@pytest.mark.parametrize("written", ["uvicorn a:b --workers {} --port 1", "WEB_CONCURRENCY={} uvicorn a:b"])
@pytest.mark.parametrize("override", [False, True])
def test_a_number_that_the_shell_computes_is_replaced_as_a_whole(tmp_path, override, written, expression):
    """Compose has each dollar sign twice, which is one in the command."""
    quoted = f'"{expression}"' if written.startswith("WEB") else expression
    line = f"    command: sh -c '{written.format(quoted)}'"
    write(tmp_path, {"compose.yml": compose(line[4:])})
    before = launch(tmp_path)
    setting = ws.find(before)
    assert (setting.number, setting.place[1:]) == (None, (4, "compose_command"))
    change = ws.change(before, setting, 2, override=override)
    assert line.replace(expression, "2") in change.data.decode().splitlines()
    if not override:
        assert change.notes == [f"The expression {expression.replace('$$', '$')} is replaced as a whole."]


def test_a_configuration_file_keeps_its_encoding(tmp_path):
    text = "# coding: latin-1\nproc_name = 'Börse'\nworkers = 4\n"
    write(tmp_path, {"compose.yml": BUILD, "Dockerfile": GUNICORN})
    (tmp_path / "gunicorn.conf.py").write_bytes(text.encode("latin-1"))
    before = launch(tmp_path)
    change = ws.change(before, ws.find(before), 2, override=False)
    assert change.data == text.replace("4", "2").encode("latin-1")


def test_what_needs_a_new_image(tmp_path):
    write(tmp_path, {"compose.yml": BUILD, "Dockerfile": GUNICORN, "gunicorn.conf.py": "workers = 4\n"})
    assert ws.find(launch(tmp_path)).rebuild
    write(tmp_path, {"compose.yml": BUILD + "    volumes: [.:/app]\n"})
    assert not ws.find(launch(tmp_path)).rebuild
    write(tmp_path, {"compose.yml": BUILD, "Dockerfile": UVICORN})
    assert ws.find(launch(tmp_path)).rebuild
    write(tmp_path, {"compose.yml": BUILD + "    command: uvicorn a:b --workers 4\n"})
    assert not ws.find(launch(tmp_path)).rebuild


def test_an_anchored_command_is_refused_and_overridden(tmp_path):
    text = (
        "x-command: &command uvicorn a:b --workers 4\n"
        "services:\n  backend:\n    image: x\n    command: *command\n  other:\n    image: x\n    command: *command\n"
    )
    write(tmp_path, {"compose.yml": text})
    before = launch(tmp_path)
    setting = ws.find(before)
    assert setting.number == 4
    with pytest.raises(HotfixError, match="alias"):
        ws.change(before, setting, 2, override=False)
    assert "command: uvicorn a:b --workers 2" in ws.change(before, setting, 2, override=True).data.decode()


def test_a_variable_with_several_options(tmp_path):
    files = {"compose.yml": compose("command: uvicorn a:b ${ARGS}"), ".env": "ARGS='--workers 4 --port 4'\n"}
    write(tmp_path, files)
    before = launch(tmp_path)
    change = ws.change(before, ws.find(before), 2, override=False)
    assert change.data.decode() == "ARGS='--workers 2 --port 4'\n"
    with pytest.raises(HotfixError, match="several options"):
        ws.change(before, ws.find(before), 2, override=True)


def test_an_unset_variable_is_replaced_by_the_number(tmp_path):
    write(tmp_path, {"compose.yml": compose("command: uvicorn a:b --workers ${WORKERS} --port 1")})
    before = launch(tmp_path)
    setting = ws.find(before)
    assert setting.number is None
    assert "--workers 2 --port 1" in ws.change(before, setting, 2, override=False).data.decode()


def test_a_configuration_file_out_of_sight_is_overruled(tmp_path):
    write(tmp_path, {"compose.yml": compose("command: gunicorn a:b -c missing.py")})
    before = launch(tmp_path)
    setting = ws.find(before)
    assert setting.number is None
    assert "missing.py is not among" in setting.weaker[0]
    assert ws.describe(setting) == "What number of workers gunicorn starts cannot be seen."
    assert "gunicorn a:b --workers 2 -c missing.py" in ws.change(before, setting, 2, override=False).data.decode()
    assert "GUNICORN_CMD_ARGS: --workers=2" in ws.change(before, setting, 2, override=True).data.decode()


@pytest.mark.parametrize("text", ["workers = 2\nworkers *= 2\n", "workers, threads = 4, 2\n", "from base import *\n"])
def test_a_configuration_file_that_cannot_be_followed_is_overruled(tmp_path, text):
    """Never taken for the number that it seems to say, nor for one that WEB_CONCURRENCY could set."""
    mounted = "volumes: ['./conf.py:/conf.py']\n    working_dir: /\n    command: gunicorn a:b -c conf.py"
    write(tmp_path, {"compose.yml": compose(mounted), "conf.py": text})
    before = launch(tmp_path)
    setting = ws.find(before)
    assert (setting.number, setting.name, setting.place.kind) == (None, "workers", "gunicorn_config")
    with pytest.raises(HotfixError, match=rf"conf\.py:{text.count(chr(10))}: .*target: override"):
        ws.change(before, setting, 2, override=False)
    change = ws.change(before, setting, 2, override=True)
    assert "GUNICORN_CMD_ARGS: --workers=2" in change.data.decode()
    assert (change.setting.number, change.setting.name) == (2, "GUNICORN_CMD_ARGS")


def test_an_entrypoint_in_compose_makes_the_image_command_void(tmp_path):
    files = {"compose.yml": BUILD + "    entrypoint: uvicorn a:b\n", "Dockerfile": 'FROM x\nCMD ["--workers", "4"]\n'}
    write(tmp_path, files)
    assert ws.find(launch(tmp_path)).number == 1


def test_a_variable_of_an_image_built_elsewhere(tmp_path):
    write(tmp_path, {"compose.yml": compose("environment:", "  - A=1", "command: uvicorn a:b")})
    before = launch(tmp_path, IMAGE._replace(env={"WEB_CONCURRENCY": "4"}))
    setting = ws.find(before)
    assert (setting.number, setting.place) == (4, ("web:1", None, "image"))
    change = ws.change(before, setting, 2, override=False)
    assert lines((tmp_path / "compose.yml").read_text(), change.data.decode()) == ([], ["      - WEB_CONCURRENCY=2"])
    (tmp_path / "compose.yml").write_text(BUILD)
    (tmp_path / "Dockerfile").write_text(PLAIN)
    assert ws.find(launch(tmp_path, IMAGE._replace(env={"WEB_CONCURRENCY": "4"}))).number == 1


def test_a_change_without_effect_is_refused(tmp_path):
    write(tmp_path, {"compose.yml": BUILD + "    environment:\n      WEB_CONCURRENCY: 3\n", "Dockerfile": UVICORN})
    before = launch(tmp_path)
    overruled = ws.find(before)._replace(name="WEB_CONCURRENCY", text=before.variables["WEB_CONCURRENCY"])
    with pytest.raises(HotfixError, match="setting WEB_CONCURRENCY to 2 would have no effect here"):
        ws.change(before, overruled, 2, override=False)


def test_an_override_file_that_is_there_is_edited_in_its_own_style(tmp_path):
    override = (
        "services:\n  backend:\n    # ours\n    command: >-\n      uvicorn a:b\n      --workers 4\n    environment:\n"
        "    - A=1\n"
    )
    write(tmp_path, {"compose.yml": BUILD, "Dockerfile": PLAIN, "compose.override.yml": override})
    before = launch(tmp_path)
    for target in (False, True):
        change = ws.change(before, ws.find(before), 2, override=target)
        assert lines(override, change.data.decode()) == (["      --workers 4"], ["      --workers 2"])
    files = {"compose.override.yml": override.replace("      --workers 4\n", "")}
    write(tmp_path, {**files, "compose.yml": BUILD + "    environment:\n      WEB_CONCURRENCY: 4\n"})
    before = launch(tmp_path)
    change = ws.change(before, ws.find(before), 2, override=True)
    assert lines(files["compose.override.yml"], change.data.decode()) == ([], ["    - WEB_CONCURRENCY=2"])


def test_dollar_signs_stay_what_they_are(tmp_path):
    text = compose("command: gunicorn a:b", "environment:", '  GUNICORN_CMD_ARGS: "-w 4 --name a$$b"')
    write(tmp_path, {"compose.yml": text})
    before = launch(tmp_path)
    change = ws.change(before, ws.find(before), 2, override=True)
    assert "GUNICORN_CMD_ARGS: -w 2 --name a$$b\n" in change.data.decode()


def test_a_variable_that_sets_something_else_too(tmp_path):
    write(tmp_path, {"compose.yml": compose("command: gunicorn a:b -w ${N} --threads ${N}"), ".env": "N=4\n"})
    before = launch(tmp_path)
    with pytest.raises(HotfixError, match=r"\.env:1: .*sets other arguments of gunicorn too"):
        ws.change(before, ws.find(before), 2, override=False)
    assert "-w 2 --threads ${N}" in ws.change(before, ws.find(before), 2, override=True).data.decode()


def test_other_services_that_use_the_variable_are_named(tmp_path):
    text = compose("command: uvicorn a:b --workers ${N}") + "  job:\n    image: x\n    command: run -n ${N:-1}\n"
    write(tmp_path, {"compose.yml": text + "  other:\n    image: ${NAME}\n", ".env": "N=4\nNAME=x\n"})
    before = launch(tmp_path)
    change = ws.change(before, ws.find(before), 2, override=False)
    assert change.notes == ["N is used by job as well, where it changes too."]
    assert not any("used by" in note for note in ws.change(before, ws.find(before), 2, override=True).notes)


def test_a_file_that_is_extended_or_included(tmp_path):
    base = "services:\n  base:\n    image: x\n    command: uvicorn a:b --workers 4\n"
    write(
        tmp_path,
        {"base.txt": base, "compose.yml": "services:\n  backend:\n    extends: {file: base.txt, service: base}\n"},
    )
    before = launch(tmp_path)
    change = ws.change(before, ws.find(before), 2, override=False)
    assert (change.path, change.setting.place.line) == (str(tmp_path / "base.txt"), 4)
    assert lines(base, change.data.decode())[1] == ["    command: uvicorn a:b --workers 2"]
    write(tmp_path, {"base.txt": base.replace("base:", "backend:"), "compose.yml": "include: [base.txt]\n"})
    before = launch(tmp_path)
    assert ws.change(before, ws.find(before), 2, override=False).path == str(tmp_path / "base.txt")
