# SPDX-License-Identifier: GPL-3.0-or-later
"""Compose projects: which files, what they say together, which restart policy comes of it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_file import (
    ComposeFile,
    Project,
    discover,
    effective_restart_policy,
    interpolate,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from compose_binary import BY_VERSION

each_compose = pytest.mark.parametrize("program", BY_VERSION.values(), ids=BY_VERSION)
RECORDED = Path(__file__).parent / "recorded"


def write(folder: Path, **files: str) -> Path:
    """Write files; two underscores in a name stand for a dot."""
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def config(program: str, folder: Path) -> dict[str, Any]:
    """What Compose itself makes of a project."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    command = [program, "--profile", "*", "config", "--format", "json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    data: dict[str, Any] = json.loads(done.stdout)
    return data


# --- which files ------------------------------------------------------------------------------------------------------

DISCOVERED = [
    ("one", ["docker-compose.yml"], ["docker-compose.yml"]),
    ("precedence", ["docker-compose.yaml", "docker-compose.yml", "compose.yml", "compose.yaml"], ["compose.yaml"]),
    ("yml_before_yaml", ["docker-compose.yaml", "docker-compose.yml"], ["docker-compose.yml"]),
    ("override", ["docker-compose.yml", "docker-compose.override.yml"], None),
    ("any_pair_fits", ["compose.yaml", "docker-compose.override.yml"], None),
    (
        "override_precedence",
        ["docker-compose.yml", "docker-compose.override.yaml", "compose.override.yaml", "compose.override.yml"],
        ["docker-compose.yml", "compose.override.yml"],
    ),
]


@pytest.mark.parametrize(("names", "expected"), [case[1:] for case in DISCOVERED], ids=[case[0] for case in DISCOVERED])
def test_discover(tmp_path: Path, names: list[str], expected: list[str] | None):
    for name in names:
        (tmp_path / name).write_text("services: {}\n")
    assert discover(str(tmp_path)) == [str(tmp_path / name) for name in expected or names]


@each_compose
@pytest.mark.parametrize("names", [case[1] for case in DISCOVERED], ids=[case[0] for case in DISCOVERED])
def test_compose_takes_the_same_files(program: str, tmp_path: Path, names: list[str]):
    for name in names:
        (tmp_path / name).write_text(f"name: x\nservices:\n  s:\n    image: i\n    labels: [{name}=1]\n")
    labels = config(program, tmp_path)["services"]["s"]["labels"]
    assert set(labels) == {os.path.basename(path) for path in discover(str(tmp_path))}


def test_discover_compose_file_of_dotenv(tmp_path: Path):
    (tmp_path / "deploy").mkdir()
    for name in ("deploy/base.yml", "deploy/live.yml", "compose.yaml"):
        (tmp_path / name).write_text("services: {}\n")
    wanted = [str(tmp_path / "deploy/base.yml"), str(tmp_path / "deploy/live.yml")]
    write(tmp_path, __env="COMPOSE_FILE=deploy/base.yml:deploy/live.yml\n")
    assert discover(str(tmp_path)) == wanted
    write(tmp_path, __env="COMPOSE_PATH_SEPARATOR=,\nCOMPOSE_FILE='deploy/base.yml,deploy/live.yml'\n")
    assert discover(str(tmp_path)) == wanted
    assert discover(str(tmp_path), ["compose.yaml"]) == [str(tmp_path / "compose.yaml")]
    write(tmp_path, __env="COMPOSE_FILE=gone.yml\n")
    with pytest.raises(HotfixError, match=r"COMPOSE_FILE in .*\.env names this Compose file, which is not there"):
        discover(str(tmp_path))
    write(tmp_path, __env="COMPOSE_FILE=\n")
    with pytest.raises(HotfixError, match="COMPOSE_FILE holds an empty name"):
        discover(str(tmp_path))


def test_discover_nothing(tmp_path: Path):
    with pytest.raises(
        HotfixError, match=r"there is no Compose file; looked for compose\.yaml, compose\.yml, docker-comp"
    ):
        discover(str(tmp_path))
    with pytest.raises(HotfixError, match=r"there is no such directory\. Check project_src"):
        discover(str(tmp_path / "gone"))
    write(tmp_path, compose__yaml="services: {}\n")
    with pytest.raises(HotfixError, match="there is no such directory"):
        discover(str(tmp_path / "compose.yaml"))


def test_discover_relative_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path, compose__yaml="services: {}\n")
    monkeypatch.chdir(tmp_path.parent)
    assert discover(tmp_path.name) == [str(tmp_path / "compose.yaml")]


# --- what they say together -------------------------------------------------------------------------------------------

MERGES = {
    "lists_and_mappings": {
        "compose__yaml": """\
services:
  s:
    image: one
    command: run --workers 4
    entrypoint: [tini, --]
    env_file: a.env
    build: .
    environment: [A=1, B=2, C]
    labels: [x=1]
    depends_on: [t]
    networks: [front]
    ports: ["80:80"]
    deploy: {restart_policy: {condition: any, window: 5s}, replicas: 2}
  t: {image: two}
networks: {front: {}, back: {}}
""",
        "compose__override__yaml": """\
services:
  s:
    command: [run, --workers, "2"]
    env_file: [{path: b.env, required: false}]
    build: {dockerfile: Live, args: [V=1]}
    environment: {B: 3, D: "4"}
    labels: {y: "2"}
    networks: {back: {}}
    ports: ["80:80", "81:81"]
    restart: always
    deploy: {restart_policy: {condition: on-failure, max_attempts: 3}}
networks: {front: {}, back: {}}
""",
    },
    "lists_that_replace_lists": {
        "compose__yaml": "services:\n  s: {image: i, command: [a, b], entrypoint: [c], labels: {a: 1}}\n",
        "compose__override__yaml": "services:\n  s: {command: [d], entrypoint: [e, f]}\n",
    },
    "reset_and_override": {
        "compose__yaml": """\
services:
  s:
    image: one
    restart: always
    command: run
    environment: {A: "1", B: "2"}
    ports: ["80:80"]
    deploy: {restart_policy: {condition: any, window: 5s}, replicas: 2}
""",
        "compose__override__yaml": """\
services:
  s:
    command: !reset null
    environment: {A: !reset null}
    ports: !override ["81:81"]
    deploy: {restart_policy: !override {condition: none}}
""",
    },
    "extends": {
        "compose__yaml": """\
services:
  s:
    extends: {service: base, file: common.yaml}
    environment: {B: "3"}
  middle:
    extends: s
    restart: "no"
""",
        "common__yaml": """\
services:
  base:
    extends: root
    environment: [A=1, B=2]
    restart: always
  root: {image: one, user: app, command: run, environment: {Z: "0"}}
""",
    },
    "merge_keys_and_anchors": {
        "compose__yaml": """\
x-app: &app
  image: one
  restart: always
  environment: &env {A: "1", B: "2"}
x-more: &more {user: app, restart: "no"}
services:
  s:
    <<: [*app, *more]
    environment:
      <<: *env
      B: "3"
""",
    },
    "include": {
        "compose__yaml": """\
include:
  - inner.yaml
  - {path: [other.yaml]}
services:
  s: {image: one}
""",
        "inner__yaml": "services:\n  inner: {image: two, restart: always}\n",
        "other__yaml": "services:\n  outer: {image: three, restart: no}\n",
    },
    "yaml_words": {
        "compose__yaml": "services:\n  s: {image: i, restart: no, environment: {A: 010, B: on, C: 0x1F, D: 1_000}}\n"
    },
}
COMPARED = ("image", "restart", "command", "entrypoint", "environment", "labels", "ports", "user", "deploy")


def canonical(service: dict[str, Any]) -> dict[str, Any]:
    """The parts of a service that are compared, in the form that Compose prints."""
    data = {key: service[key] for key in COMPARED if service.get(key) is not None}
    for key in ("environment", "labels"):
        if key in data:
            data[key] = {name: None if value is None else str(value) for name, value in data[key].items()}
    if isinstance(data.get("command"), str):
        data["command"] = data["command"].split()
    if "deploy" in data:
        # Compose 2 prints empty ones.
        data["deploy"] = {key: value for key, value in data["deploy"].items() if value != {}}
    if "ports" in data:
        data["ports"] = [
            port if isinstance(port, str) else f"{port['published']}:{port['target']}" for port in data["ports"]
        ]
    return data


@each_compose
@pytest.mark.parametrize("files", MERGES.values(), ids=MERGES.keys())
def test_merged_as_compose_does(program: str, tmp_path: Path, files: dict[str, str]):
    write(tmp_path, **files, a__env="", b__env="")
    project = Project.load(str(tmp_path))
    theirs = config(program, tmp_path)["services"]
    assert set(project.names()) == set(theirs)
    for name, service in theirs.items():
        assert canonical(project.service(name)) == canonical(service)


def test_service_in_long_forms(tmp_path: Path):
    write(tmp_path, **MERGES["lists_and_mappings"])
    assert Project.load(str(tmp_path)).service("s") == {
        "image": "one",
        "command": ["run", "--workers", "2"],
        "entrypoint": ["tini", "--"],
        "env_file": [{"path": "a.env", "required": True}, {"path": "b.env", "required": False}],
        "build": {"context": ".", "dockerfile": "Live", "args": {"V": "1"}},
        "environment": {"A": "1", "B": 3, "C": None, "D": "4"},
        "labels": {"x": "1", "y": "2"},
        "depends_on": {"t": {"condition": "service_started"}},
        "networks": {"front": None, "back": {}},
        "ports": ["80:80", "81:81"],
        "restart": "always",
        "deploy": {"restart_policy": {"condition": "on-failure", "window": "5s", "max_attempts": 3}, "replicas": 2},
    }


def test_reset_and_override(tmp_path: Path):
    write(tmp_path, **MERGES["reset_and_override"])
    assert Project.load(str(tmp_path)).service("s") == {
        "image": "one",
        "restart": "always",
        "environment": {"B": "2"},
        "ports": ["81:81"],
        "deploy": {"restart_policy": {"condition": "none"}, "replicas": 2},
    }


def test_extends(tmp_path: Path):
    write(tmp_path, **MERGES["extends"])
    project = Project.load(str(tmp_path))
    wanted = {"image": "one", "user": "app", "command": "run", "environment": {"Z": "0", "A": "1", "B": "3"}}
    assert project.service("s") == {**wanted, "restart": "always"}
    assert project.service("middle") == {**wanted, "restart": "no"}


def test_where_and_locate(tmp_path: Path):
    write(
        tmp_path,
        compose__yaml="services:\n  s:\n    image: i\n    environment: [A=1, B=2]\n    restart: always\n"
        "    extends: {service: t, file: common.yaml}\n",
        compose__override__yaml="services:\n  s:\n    environment: {B: 3}\n",
        common__yaml="services:\n  t:\n    command: run\n",
    )
    project = Project.load(str(tmp_path))

    def where(*keys: str) -> tuple[str, tuple[str | int, ...], int | None] | None:
        found = project.locate("s", keys)
        return None if found is None else (os.path.basename(found.file.path), found.keys, found.file.line(found.keys))

    assert where("restart") == ("compose.yaml", ("services", "s", "restart"), 5)
    assert where("environment", "A") == ("compose.yaml", ("services", "s", "environment", 0), 4)
    assert where("environment", "B") == ("compose.override.yaml", ("services", "s", "environment", "B"), 3)
    assert where("command") == ("common.yaml", ("services", "t", "command"), 3)
    assert where("user") is None
    restart = project.where("s", "restart")
    assert restart is not None and restart.path == str(tmp_path / "compose.yaml")
    assert project.where("s", "user") is None
    assert [os.path.basename(file.path) for file in project.direct("s")] == ["compose.yaml", "compose.override.yaml"]
    assert project.home("s").path == str(tmp_path / "compose.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("services:\n  web: {}\n  db: {}\n", "there is no service backend in compose.yaml; there is web, db. Check"),
        ("name: x\n", "there is no service backend in compose.yaml; there is none"),
        ("services: [backend]\n", "compose.yaml:1: services is no mapping"),
        ("services:\n  backend: text\n", "compose.yaml:2: service backend is no mapping"),
        ("services:\n  backend:\n    extends: base\n", "compose.yaml:3: service backend extends base, which is not in"),
        ("services:\n  backend:\n    extends: backend\n", "service backend extends itself"),
        ("services:\n  backend:\n    extends: {service: a, file: gone.yaml}\n", "gone.yaml: cannot read this file"),
    ],
)
def test_unknown_services(tmp_path: Path, text: str, message: str):
    write(tmp_path, compose__yaml=text)
    with pytest.raises(HotfixError) as error:
        Project.load(str(tmp_path)).service("backend")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("names", "files", "expected"),
    [
        (["compose.yaml"], None, "compose.override.yaml"),
        (["docker-compose.yml"], None, "docker-compose.override.yml"),
        (["docker-compose.yml", "compose.override.yaml"], None, "compose.override.yaml"),
        (["a.yml", "a.override.yml", "b.yml"], ["a.yml", "a.override.yml", "b.yml"], "a.override.yml"),
    ],
)
def test_override_path(tmp_path: Path, names: list[str], files: list[str] | None, expected: str):
    for name in names:
        (tmp_path / name).write_text("services: {}\n")
    assert Project.load(str(tmp_path), files).override_path() == str(tmp_path / expected)


def test_override_that_compose_would_not_load(tmp_path: Path):
    write(tmp_path, compose__yaml="services: {}\n", compose__override__yaml="services: {}\n")
    with pytest.raises(HotfixError, match="Compose would not load an override file, since the option files names its"):
        Project.load(str(tmp_path), ["compose.yaml"]).override_path()
    write(tmp_path, __env="COMPOSE_FILE=compose.yaml\n")
    with pytest.raises(HotfixError, match=r"since COMPOSE_FILE in .*\.env names its files"):
        Project.load(str(tmp_path)).override_path()


def test_dependencies_are_what_has_to_run(tmp_path: Path):
    write(
        tmp_path,
        compose__yml="""
services:
  web:
    image: i
    depends_on:
      api: {condition: service_healthy}
      migrate: {condition: service_completed_successfully}
  api: {image: i, depends_on: [redis, web]}
  migrate: {image: i, depends_on: [database]}
  redis: {image: i}
  database: {image: i}
""",
    )
    project = Project.load(str(tmp_path))
    assert project.dependencies("web") == ["api", "redis"]
    assert project.dependencies("redis") == []


def test_resolved_takes_variables_from_dotenv(tmp_path: Path):
    write(
        tmp_path,
        compose__yaml="services:\n  s:\n    image: a:${TAG:-latest}\n    restart: ${POLICY-no}\n    command: $$HOME\n",
        __env="POLICY=always\n",
    )
    project = Project.load(str(tmp_path))
    assert project.service("s")["restart"] == "${POLICY-no}"
    assert project.resolved("s") == {"image": "a:latest", "restart": "always", "command": "$HOME"}


# --- variables --------------------------------------------------------------------------------------------------------

ENVIRONMENT = {"SET": "value", "EMPTY": ""}
INTERPOLATED = [
    ("plain", "plain"),
    ("$SET-x", "value-x"),
    ("${SET}${SET}", "valuevalue"),
    ("a${MISSING}b$MISSING", "ab"),
    ("${EMPTY:-default}", "default"),
    ("${EMPTY-default}", ""),
    ("${MISSING:-default}", "default"),
    ("${MISSING-default}", "default"),
    ("${SET:-default}", "value"),
    ("${MISSING:-}", ""),
    ("${SET:+yes}${EMPTY:+yes}${MISSING:+yes}", "yes"),
    ("${SET+yes}${EMPTY+yes}${MISSING+yes}", "yesyes"),
    ("${SET:?is required}", "value"),
    ("${MISSING:-${SET}}", "value"),
    ("${MISSING:-${ALSO:-deep}}!", "deep!"),
    ("$$SET costs $$", "$SET costs $"),
    ("${MISSING:-a:b?c}", "a:b?c"),
]


@pytest.mark.parametrize(("text", "expected"), INTERPOLATED)
def test_interpolate(text: str, expected: str):
    assert interpolate(text, ENVIRONMENT) == expected
    assert interpolate({"$SET": [text, 1, None]}, ENVIRONMENT) == {"$SET": [expected, 1, None]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${MISSING:?}", "the variable MISSING is required and has no value. Set it in .env"),
        ("${EMPTY:?must be set}", "the variable EMPTY is required"),
        ("${SET", "is not closed"),
        ("${}", "holds no valid variable"),
        ("${1A}", "holds no valid variable"),
        ("${SET!x}", "holds no valid variable"),
        ("a $ b", "a dollar sign is not followed"),
    ],
)
def test_interpolate_refuses(text: str, message: str):
    with pytest.raises(HotfixError) as error:
        interpolate(text, ENVIRONMENT)
    assert message in str(error.value)
    assert "must be set" not in str(error.value)


@each_compose
def test_compose_reads_variables_alike(program: str, tmp_path: Path):
    """Every value above, in one file, by Compose itself."""
    values = {f"V{index}": text for index, (text, _expected) in enumerate(INTERPOLATED)}
    document = {"services": {"s": {"image": "i", "environment": values}}}
    write(tmp_path, compose__yaml=yaml.safe_dump(document), __env="SET=value\nEMPTY=\n")
    command = [program, "config", "--format", "json"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=True, env={"HOME": str(tmp_path)}
    )
    theirs = json.loads(done.stdout.replace("$$", "$"))["services"]["s"]["environment"]
    assert theirs == {f"V{index}": expected for index, (_text, expected) in enumerate(INTERPOLATED)}


@each_compose
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("named", ["by .env", "by option", "not at all"])
def test_compose_takes_variables_from_the_same_files(program: str, named: str, both: bool, tmp_path: Path):
    folder = tmp_path / "deploy" if named != "not at all" else tmp_path
    folder.mkdir(exist_ok=True)
    text = "services:\n  s:\n    image: x${TAG:-none}-${HERE:-none}-${THERE:-none}\n    env_file: app.env\n"
    write(folder, compose__yaml=text, app__env="A=1\n")
    if both:
        write(folder, __env="TAG=there\nTHERE=1\n")
    write(tmp_path, __env="TAG=here\nHERE=1\n" + ("COMPOSE_FILE=deploy/compose.yaml\n" if named == "by .env" else ""))
    files = ["deploy/compose.yaml"] if named == "by option" else []
    command = [program, *(f"--file={name}" for name in files), "config", "--format", "json"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=True, env={"HOME": str(tmp_path)}
    )
    project = Project.load(str(tmp_path), files or None)
    assert project.resolved("s")["image"] == json.loads(done.stdout)["services"]["s"]["image"]
    assert project.directory == str(folder)


# --- restart policies -------------------------------------------------------------------------------------------------

# What the engine (20.10) showed after `up`, or None where it refused; `pytest tests/engine --record` writes it anew.
POLICIES = json.loads((RECORDED / "restart_policies.json").read_text())


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """One service for each row of the table."""
    text = "services:\n"
    for index, case in enumerate(POLICIES):
        text += f"  s{index}:\n    image: i\n"
        text += f"    restart: {case['restart']}\n" if case["restart"] else ""
        text += f"    deploy: {{restart_policy: {case['policy']}}}\n" if case["policy"] else ""
    folder = tmp_path_factory.mktemp("policies")
    return Project.load(str(write(folder, compose__yaml=text, __env="RESTART=unless-stopped\n")))


@pytest.mark.parametrize("index", range(len(POLICIES)), ids=[f"{row['restart']}+{row['policy']}" for row in POLICIES])
def test_effective_restart_policy_is_what_the_engine_gets(index: int, policies: Project):
    policy, engine = effective_restart_policy(policies.resolved(f"s{index}")), POLICIES[index]["engine"]
    refused = any("refuses to create the container" in note for note in policy.notes)
    assert refused == (engine is None)
    if engine:
        assert [policy.name, policy.maximum_retry_count] == engine
        assert policy.survives_reboot == (engine[0] in ("always", "unless-stopped"))


def test_restart_policy_notes():
    pair = {"restart": "unless-stopped", "deploy": {"restart_policy": {"condition": "on-failure", "max_attempts": 3}}}
    assert effective_restart_policy(pair).notes == [
        "`restart: unless-stopped` is discarded by Compose, because deploy.restart_policy is present.",
        "It stays down after a reboot: the application ends with exit code 0 on SIGTERM, which is no failure.",
        "It stays down after it ends by itself with exit code 0.",
        "It stays down after crash number 4 in the container's life; there is no time window.",
    ]
    assert effective_restart_policy({"restart": False})[:3] == ("no", 0, False)
    assert effective_restart_policy({"restart": "sometimes"}).notes == [
        "Docker knows no restart policy `sometimes` and refuses to create the container."
    ]
    assert "without a condition" in effective_restart_policy({"deploy": {"restart_policy": {}}}).notes[0]
    assert "without Swarm" in effective_restart_policy({"deploy": {"restart_policy": {"window": "5s"}}}).notes[1]
    with pytest.raises(HotfixError, match=r"max_attempts of deploy\.restart_policy is no whole number"):
        effective_restart_policy({"deploy": {"restart_policy": {"max_attempts": "three"}}})


# --- secrets ----------------------------------------------------------------------------------------------------------


def test_redacted():
    text = """\
services:
  db:
    image: postgres@sha256:aaa
    environment:
      POSTGRES_PASSWORD: "tiger"  # five letters
      PIN_TOKEN: 12345678
      TOKEN_REQUIRED: true
      JWT_SECRET_KEY: ${JWT_SECRET_KEY}
      DATABASE_URL: postgres://app:swordfish@db/app
      MODE: fast
  backend:
    command: run --db swordfish
    environment:
      - API_KEY=hunter2
      - "OTHER_TOKEN=with blank"
      - MODE=fast
secrets:
  db_password:
    file: ./db_password
"""
    file = ComposeFile.parse(text.encode(), "compose.yaml")
    shown = file.redacted()
    for secret in ("tiger", "swordfish", "hunter2", "with blank", "12345678"):
        assert secret not in shown
    assert shown.count("sha256:") == 7, "four names, the URL, the same value in the command, and the digest of an image"
    assert {"tiger", "swordfish", "hunter2", "with blank"} <= file.secrets()
    assert '- "OTHER_TOKEN=sha256:' in shown and 'len=10"' in shown
    untouched = ("MODE: fast", "- MODE=fast", "TOKEN_REQUIRED: ", "file: ./db_password", "# five letters")
    for line in untouched:
        assert line in shown
