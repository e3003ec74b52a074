# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker access: against what real engines and Compose versions printed, and how their failures are told."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils import _container
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Completed, Docker
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError

RECORDED = Path(__file__).parent / "recorded"


def inspected(engine: int) -> dict[str, Any]:
    """What ``docker inspect`` of a real engine printed: 20.10.24 with Compose 2.40.3, or 26.1.5 with 2.26.1."""
    data: dict[str, Any] = json.loads((RECORDED / f"inspect_engine_{engine}.json").read_text())[0]
    return data


def answering(answers: dict[str, Completed], calls: list[Any] | None = None) -> Docker:
    """A Docker whose commands give the recorded answer for their first words."""

    def run(argv: Sequence[str], **options: Any) -> Completed:
        words = " ".join(argv[1:])
        if calls is not None:
            calls.append((list(argv), options))
        # Without an answer of its own there are no containers, from which Compose's project would get its name.
        known = {**answers, "ps --all --filter label=com.docker.compose.project": Completed(0, "", "")}
        return next(answer for start, answer in known.items() if words.startswith(start))

    return Docker(run, environ={"PATH": "", "COMPOSE_FILE": "other.yml", "VALID_API_KEYS": "x", "HOME": "/root"})


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ``docker`` and a ``docker-compose`` that can be found and are never run."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("docker", "docker-compose"):
        (folder / name).touch(mode=0o755)
    monkeypatch.setattr(_container, "EXTRA_PATH", str(folder))


def test_state_of_a_container() -> None:
    state = _container.state(inspected(26))
    assert state.status == "running"
    assert state.health is None
    assert state.started_at == "2026-11-24T11:20:13.723338855Z"
    assert state.image == "wealth-coach-ai-backend"
    assert state.image_id.startswith("sha256:")
    assert (state.exit_code, state.restart_count, state.oom_killed) == (0, 0, False)
    assert _container.state(inspected(20)).finished_at is None
    assert state.start_period == 0
    checked = {**inspected(26), "Config": {"Healthcheck": {"Test": ["CMD", "ask"], "StartPeriod": 90_000_000_000}}}
    assert _container.state(checked).start_period == 90


@pytest.mark.parametrize(("recorded", "shown"), [("healthy", "healthy"), ("none", None), ("", None)])
def test_health(recorded: str, shown: str | None) -> None:
    data = inspected(26)
    data["State"]["Health"] = {"Status": recorded}
    assert _container.state(data).health == shown


def test_the_runbooks_pair_of_policies_stays_down_after_a_reboot() -> None:
    policy = _container.restart_policy(inspected(20))
    assert (policy.name, policy.maximum_retry_count, policy.survives_reboot) == ("on-failure", 3, False)
    assert any("reboot" in note for note in policy.notes)


@pytest.mark.parametrize(("name", "survives"), [("", False), ("no", False), ("unless-stopped", True), ("always", True)])
def test_survives_reboot(name: str, survives: bool) -> None:
    data = inspected(26)
    data["HostConfig"]["RestartPolicy"] = {"Name": name, "MaximumRetryCount": 0}
    policy = _container.restart_policy(data)
    assert (policy.name, policy.survives_reboot) == (name or "no", survives)
    assert policy.notes


def test_published_ports_of_a_running_and_of_a_stopped_container() -> None:
    data = inspected(20)
    assert ("127.0.0.1", 18080, 80, "tcp") in _container.published_ports(data)
    assert ("0.0.0.0", 53, 53, "udp") in _container.published_ports(data)
    data["NetworkSettings"]["Ports"] = {}
    assert _container.published_ports(data) == [("0.0.0.0", 53, 53, "udp"), ("127.0.0.1", 18080, 80, "tcp")]
    data["HostConfig"]["PortBindings"] = None
    assert _container.published_ports(data) == []


def test_environment_keeps_equals_signs_in_values() -> None:
    data = inspected(20)
    assert _container.environment(data)["VALID_API_KEYS"] == '["dev-key-12345"]'
    data["Config"]["Env"] = ["A=b=c", "EMPTY="]
    assert _container.environment(data) == {"A": "b=c", "EMPTY": ""}
    data["Config"]["Env"] = None
    assert _container.environment(data) == {}


def test_networks() -> None:
    assert list(_container.networks(inspected(26))) == ["wealth-coach-ai_default"]


def test_compose_labels() -> None:
    labels = _container.compose_labels(inspected(26))
    assert labels.project == "wealth-coach-ai"
    assert labels.working_dir == "/opt/wealth-coach-ai"
    assert labels.config_files == ["/opt/wealth-coach-ai/docker-compose.yml"]
    assert (labels.service, labels.number) == ("backend", 1)


def test_compose_1_wrote_relative_file_names() -> None:
    data = inspected(26)
    data["Config"]["Labels"]["com.docker.compose.project.config_files"] = "docker-compose.yml,ops/prod.yml"
    assert _container.compose_labels(data).config_files == [
        "/opt/wealth-coach-ai/docker-compose.yml",
        "/opt/wealth-coach-ai/ops/prod.yml",
    ]


def test_a_container_without_compose() -> None:
    data = inspected(26)
    data["Config"]["Labels"] = None
    assert _container.compose_labels(data) == ("", "", [], "", 0)


def member(folder: Path | str, *, service: str = "backend", number: int = 1, project: str = "app") -> dict[str, Any]:
    data = copy.deepcopy(inspected(26))
    data["Id"] = f"{project}-{service}-{number}"
    data["Name"] = f"/{data['Id']}"
    data["Config"]["Labels"] |= {
        "com.docker.compose.project": project,
        "com.docker.compose.project.working_dir": str(folder),
        "com.docker.compose.service": service,
        "com.docker.compose.container-number": str(number),
    }
    return data


def test_the_project_is_found_through_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "current").symlink_to("app")
    there = member(tmp_path / "app")
    assert _container.select([there, member(tmp_path / "other")], str(tmp_path / "current")) == [there]
    by_link = member(tmp_path / "current")
    assert _container.select([by_link], str(tmp_path / "app")) == [by_link]


def test_the_project_directory_is_that_of_the_first_file(tmp_path: Path) -> None:
    there = member(tmp_path / "ops")
    assert _container.select([there], str(tmp_path)) == []
    assert _container.select([there], str(tmp_path), ["ops/compose.yml", "more.yml"]) == [there]


def test_a_moved_project_is_found_by_name_but_another_of_the_same_name_is_not(tmp_path: Path) -> None:
    (tmp_path / "new" / "My App.v2").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    moved = member(tmp_path / "gone", project="myappv2")
    same_name = member(tmp_path / "elsewhere", project="myappv2")
    assert _container.select([moved, same_name], str(tmp_path / "new" / "My App.v2")) == [moved]


def test_containers_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    members = [member(tmp_path, number=number) for number in (10, 2, 1)]
    found = _container.select(members, str(tmp_path))
    assert [data["Id"] for data in found] == ["app-backend-1", "app-backend-2", "app-backend-10"]


def listing(*members: dict[str, Any]) -> dict[str, Completed]:
    ids = "\n".join(data["Id"] for data in members)
    return {
        "ps --quiet": Completed(0, ids, ""),
        "ps --all --format": Completed(0, "redis\nbackend_old\n", ""),
        "inspect --type container --": Completed(1, "[]", "Error: No such container: x"),
        "inspect": Completed(0, json.dumps(members), ""),
    }


def test_find_leaves_out_one_off_containers_and_can_leave_out_stopped_ones(tmp_path: Path) -> None:
    calls: list[Any] = []
    docker = answering(listing(member(tmp_path)), calls)
    assert docker.find(str(tmp_path), "backend", all=False) == ["app-backend-1"]
    assert "label=com.docker.compose.oneoff=False" in calls[0][0]
    assert "label=com.docker.compose.service=backend" in calls[0][0]
    assert "--all" not in calls[0][0]


def test_the_only_running_one_of_several_is_meant(tmp_path: Path) -> None:
    old, new = member(tmp_path), member(tmp_path, number=2)
    old["State"]["Running"] = False
    assert answering(listing(old, new)).container(None, str(tmp_path), "backend")["Id"] == "app-backend-2"


@pytest.mark.parametrize(
    ("names", "serves"),
    [
        (("x-incoming", "x"), 1),
        (("x", "x-outgoing"), 0),
        # Between the two renames; what is on its way out is no longer what others lead to.
        (("x-incoming", "x-outgoing"), 0),
        (("x-outgoing",), 0),
    ],
)
def test_the_one_that_serves_is_meant_while_another_takes_over(
    tmp_path: Path, names: tuple[str, ...], serves: int
) -> None:
    members = [{**member(tmp_path, number=number), "Name": f"/{name}"} for number, name in enumerate(names)]
    found = answering(listing(*members)).container(None, str(tmp_path), "backend")
    assert found["Name"] == f"/{names[serves]}"


def test_several_running_ones_are_named(tmp_path: Path) -> None:
    docker = answering(listing(member(tmp_path), member(tmp_path, number=2)))
    with pytest.raises(HotfixError, match="has 2 containers: app-backend-1, app-backend-2"):
        docker.container(None, str(tmp_path), "backend")


def test_a_missing_container_names_those_that_exist(tmp_path: Path) -> None:
    docker = answering(listing())
    with pytest.raises(HotfixError, match="no container x; there is backend_old, redis"):
        docker.container("x")
    with pytest.raises(HotfixError, match="no container of service web; there is backend_old, redis"):
        docker.container(None, str(tmp_path), "web")
    assert docker.lookup("x") is None
    assert docker.lookup(None, str(tmp_path), "web") is None


def test_a_mistyped_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(HotfixError, match="there is no such directory"):
        answering(listing()).lookup(None, str(tmp_path / "typo"), "backend")


def test_a_container_that_goes_between_two_commands_is_left_out(tmp_path: Path) -> None:
    answers = listing(member(tmp_path))
    answers["inspect"] = Completed(1, answers["inspect"].stdout, "Error: No such container: gone")
    assert answering(answers).find(str(tmp_path), "backend") == ["app-backend-1"]


def test_processes() -> None:
    text = (
        "PID                 PPID                COMMAND\n"
        "999999991           999999990           /opt/venv/bin/python -c from multiprocessing.spawn import spawn_main\n"
    )
    processes = answering({"top": Completed(0, text, "")}).processes("x")
    assert [(p.pid, p.ppid) for p in processes] == [(999999991, 999999990)]
    assert processes[0].argv[:2] == ("/opt/venv/bin/python", "-c")


def test_the_argument_list_of_a_process_on_this_host_is_exact() -> None:
    argv = (sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()")
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        text = f"PID PPID COMMAND\n{process.pid} 1 {' '.join(argv)}\n"
        found = answering({"top": Completed(0, text, "")}).processes("x")
        assert found[0].argv == argv
        process.communicate(b"")


UNREACHABLE = [
    (
        "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
        "systemctl start docker",
    ),
    (
        "failed to connect to the docker API at unix:///var/run/docker.sock; check if the path is correct and if the"
        " daemon is running: dial unix /var/run/docker.sock: connect: no such file or directory",
        "systemctl start docker",
    ),
    (
        "Got permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock:"
        ' Get "http://%2Fvar%2Frun%2Fdocker.sock/v1.24/version": dial unix /var/run/docker.sock: connect: permission'
        " denied",
        "become: true",
    ),
    (
        "permission denied while trying to connect to the docker API at unix:///var/run/docker.sock",
        "become: true",
    ),
]


@pytest.mark.parametrize(("stderr", "remedy"), UNREACHABLE)
def test_an_engine_out_of_reach_is_told_with_its_remedy(stderr: str, remedy: str, tmp_path: Path) -> None:
    answers = {
        "compose version": Completed(0, "2.26.1\n", ""),
        "": Completed(1, "", stderr),
    }
    docker = answering(answers)
    for call in (docker.version, lambda: docker.lookup("x"), lambda: docker.compose(str(tmp_path), [], "ps")):
        with pytest.raises(HotfixError) as caught:
            call()
        assert remedy in str(caught.value)


def test_no_docker_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_container, "EXTRA_PATH", "")
    with pytest.raises(HotfixError, match=r"no docker command.*apt-get install docker.io"):
        Docker(environ={"PATH": ""}).version()


def test_a_hung_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "bin" / "docker"
    # A child keeps the pipes open, as the Compose plugin would: it has to be ended as well.
    script.write_text("#!/bin/sh\nsleep 1000 &\nwait\n")
    monkeypatch.setattr(_container, "EXTRA_PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    with pytest.raises(HotfixError, match=r"docker version did not end within 0.2 seconds"):
        Docker(timeout=0.2, environ={"PATH": ""}).version()


def test_the_compose_plugin() -> None:
    assert answering({"compose version": Completed(0, "v2.26.1\n", "")}).compose_version() == "2.26.1"


NO_PLUGIN = [
    Completed(1, "", "docker: 'compose' is not a docker command.\nSee 'docker --help'"),
    Completed(125, "", "unknown shorthand flag: 's' in -s"),
    # Docker before 20.10 shows its help and ends well.
    Completed(0, "Usage:  docker [OPTIONS] COMMAND\n", ""),
]


@pytest.mark.parametrize("plugin", NO_PLUGIN)
def test_only_compose_1(plugin: Completed) -> None:
    docker = answering({"compose version": plugin, "version --short": Completed(0, "1.29.2\n", "")})
    with pytest.raises(HotfixError) as caught:
        docker.compose_version()
    assert "docker-compose 1.29.2" in str(caught.value)
    assert "docker-compose-v2" in str(caught.value)
    assert "docker-compose-plugin" in str(caught.value)


def test_compose_2_as_a_program_of_its_own(tmp_path: Path) -> None:
    calls: list[Any] = []
    answers = {
        "compose version": NO_PLUGIN[0],
        "version --short": Completed(0, "2.26.1-4\n", ""),
        "-f": Completed(0, "done", ""),
    }
    docker = answering(answers, calls)
    assert docker.compose_version() == "2.26.1"
    assert docker.compose(str(tmp_path), ["a.yml", "b.yml"], "ps") == "done"
    assert calls[-1][0] == [str(tmp_path / "bin" / "docker-compose"), "-f", "a.yml", "-f", "b.yml", "ps"]


def test_no_compose(tmp_path: Path) -> None:
    (tmp_path / "bin" / "docker-compose").unlink()
    with pytest.raises(HotfixError, match="there is no Compose"):
        answering({"compose version": NO_PLUGIN[0]}).compose_version()


def test_shell_variables_cannot_override_the_env_file(tmp_path: Path) -> None:
    calls: list[Any] = []
    docker = answering({"compose version": Completed(0, "2.26.1", ""), "compose": Completed(0, "{}", "")}, calls)
    docker.config(str(tmp_path), unset=["VALID_API_KEYS"])
    environment = calls[-1][1]["env"]
    assert environment["HOME"] == "/root"
    assert not {"COMPOSE_FILE", "VALID_API_KEYS"} & set(environment)
    assert calls[-1][1]["cwd"] == str(tmp_path)


def test_config_undoes_the_doubled_dollar_signs(tmp_path: Path) -> None:
    answers = {"compose version": Completed(0, "2.26.1", ""), "compose": Completed(0, '{"a": "x$$y"}', "")}
    assert answering(answers).config(str(tmp_path)) == {"a": "x$y"}


# Printed by Compose 2.26.1 and 2.40.3, and what may be shown of it.
COMPLAINTS = [
    (
        'failed to read /opt/a/.env: line 4: unterminated quoted value "top SECRET-abc\n',
        "failed to read /opt/a/.env: line 4: unterminated quoted value (not shown here)",
    ),
    (
        'failed to read /opt/a/.env: line 2: unexpected character "!" in variable name "!SECRET-xyz \\"=1"\n',
        'failed to read /opt/a/.env: line 2: unexpected character "!" in variable name (not shown here)',
    ),
    (
        "yaml: line 1: did not find expected ',' or '}'\n",
        "yaml: line 1: did not find expected ',' or '}'",
    ),
    (
        "yaml: unmarshal errors:\n  line 5: cannot unmarshal !!str `SECRET` into map\n",
        "line 5: cannot unmarshal !!str (not shown here)",
    ),
    (
        "invalid interpolation format for services.a.environment.API_KEY.\nYou may need to escape any $ with another"
        " $.\n${SECRET-\n",
        "invalid interpolation format for services.a.environment.API_KEY",
    ),
    (
        " Container web  Starting\nError response from daemon: driver failed: port is already allocated\n",
        "driver failed: port is already allocated",
    ),
    ("password=SECRET refused\n", "password=*** refused"),
    # An ID that the engine names is no secret; another word of this form may be one.
    (
        f"Error response from daemon: Container {'21b868c93258' + '0' * 52} is restarting, wait until it runs\n",
        "Container 21b868c93258 is restarting, wait until it runs",
    ),
    (
        f"Error response from daemon: network gone not found\nfailed to start containers: {'21b8' * 16}\n",
        "network gone not found",
    ),
    (f"Error response from daemon: no Container {'21b868c93258' + '0' * 52}\n", "no Container ***"),
]


@pytest.mark.parametrize(("stderr", "shown"), COMPLAINTS)
def test_a_failure_is_told_without_a_value(stderr: str, shown: str, tmp_path: Path) -> None:
    answers = {"compose version": Completed(0, "2.26.1", ""), "compose": Completed(1, "", stderr)}
    with pytest.raises(HotfixError) as caught:
        answering(answers).compose(str(tmp_path), [], "--profile", "x", "up")
    assert str(caught.value).endswith(f"failed (exit code 1): {shown}.")
    assert "SECRET" not in str(caught.value)


LABELS = "com.docker.compose.service=web,com.docker.compose.project={},com.docker.compose.project.working_dir={}"


@pytest.mark.parametrize(
    ("projects", "option"),
    [
        (["shop-prod"], ["-p", "shop-prod"]),
        (["shop-prod", "shop-prod"], ["-p", "shop-prod"]),
        # What Compose would take by itself, and what only the files can decide.
        (["shop"], []),
        (["shop-prod", "shop-staging"], []),
        ([], []),
    ],
)
def test_a_project_keeps_the_name_that_its_containers_have(
    tmp_path: Path, projects: list[str], option: list[str]
) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    listed = "".join(json.dumps(LABELS.format(project, folder)) + "\n" for project in projects)
    calls: list[Any] = []
    answers = {"compose version": Completed(0, "2.26.1", ""), "ps": Completed(0, listed, "")}
    docker = answering({**answers, "compose": Completed(0, "", "")}, calls)
    docker.compose(str(folder), ["a.yml"], "up")
    docker.compose(str(folder), ["a.yml"], "up")
    commands = [argv[2:] for argv, _options in calls if argv[1] == "compose" and "version" not in argv]
    assert commands == [[*option, "-f", "a.yml", "up"]] * 2
    assert sum(argv[1] == "ps" for argv, _options in calls) == 1


def test_a_compose_command_in_no_directory(tmp_path: Path) -> None:
    with pytest.raises(HotfixError, match="no such directory"):
        answering({}).compose(str(tmp_path / "typo"), [], "ps")
