# SPDX-License-Identifier: GPL-3.0-or-later
"""The module worker_count, run as Ansible runs it."""

from __future__ import annotations

import pytest

COMPOSE = """\
services:
  backend:
    build: .
    env_file: .env
    mem_limit: ${LIMIT:-1g}
    cpus: 4
    environment:
      JWT_SECRET_KEY: canary-in-compose-4711
  redis:
    image: redis
"""
DOCKERFILE = 'FROM python:3.12\nCOPY . .\n# start\nCMD ["uvicorn", "backend.main:app", "--workers", "4"]\n'
DOTENV = "VALID_API_KEYS='[\"canary-in-dotenv-4711\"]'\nWORKERS=4\n"


@pytest.fixture
def project(tmp_path):
    (tmp_path / "docker-compose.yml").write_text(COMPOSE)
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / ".env").write_text(DOTENV)
    return tmp_path


def arguments(project, **more):
    return {"project_src": str(project), "service": "backend", "workers": "2", **more}


def content(project):
    return {path.name: path.read_bytes() for path in project.iterdir()}


def test_check_run_check_run(project, run_module):
    before = content(project)
    planned = run_module("worker_count", arguments(project), check=True)
    assert planned["changed"] and content(project) == before
    done = run_module("worker_count", arguments(project))
    assert {**done, "invocation": 0} == {**planned, "invocation": 0}
    assert (done["previous"], done["workers"], done["server"]) == (4, 2, "uvicorn")
    assert done["location"] == {"file": str(project / "Dockerfile"), "line": 4, "kind": "dockerfile_cmd"}
    assert (done["rebuild_required"], done["recreate_required"]) == (True, True)
    assert content(project) == {**before, "Dockerfile": DOCKERFILE.replace('"4"', '"2"').encode()}
    assert done["diff"] == [
        {
            "before_header": str(project / "Dockerfile"),
            "after_header": str(project / "Dockerfile"),
            "before": DOCKERFILE,
            "after": DOCKERFILE.replace('"4"', '"2"'),
        }
    ]
    assert "4, from --workers in Dockerfile, line 4." in done["reasons"][0]
    assert any(reason.startswith("WORKERS in") for reason in done["reasons"])
    for check in (True, False):
        again = run_module("worker_count", arguments(project), check=check)
        assert not again["changed"] and not again["rebuild_required"] and not again["recreate_required"]
        assert again["location"] == done["location"] and again["diff"] == []


def test_override(project, run_module):
    before = content(project)
    args = arguments(project, target="override")
    planned = run_module("worker_count", args, check=True)
    assert planned["changed"] and content(project) == before
    done = run_module("worker_count", args)
    assert done["diff"] == planned["diff"] and not done["rebuild_required"] and done["recreate_required"]
    text = 'services:\n  backend:\n    command: ["uvicorn", "backend.main:app", "--workers", "2"]\n'
    assert content(project) == {**before, "docker-compose.override.yml": text.encode()}
    assert done["location"] == {
        "file": str(project / "docker-compose.override.yml"),
        "line": 3,
        "kind": "compose_command",
    }
    assert not run_module("worker_count", args, check=True)["changed"]
    assert not run_module("worker_count", args)["changed"]
    assert run_module("worker_count", {**args, "workers": "3"})["previous"] == 2
    assert b'"3"]' in content(project)["docker-compose.override.yml"]


def test_compose_file_in_a_folder(project, run_module):
    """Paths in the file start at its folder, wherever Compose is started."""
    (project / "deploy").mkdir()
    for name in ("docker-compose.yml", "Dockerfile"):
        (project / name).rename(project / "deploy" / name)
    (project / ".env").write_text("COMPOSE_FILE=deploy/docker-compose.yml\n")
    (project / "deploy" / ".env").write_text("LIMIT=2g\n")
    for args in (arguments(project), arguments(project, workers="3", files=["deploy/docker-compose.yml"])):
        done = run_module("worker_count", args)
        assert done["changed"]
        assert done["location"]["file"] == str(project / "deploy" / "Dockerfile")
        assert not run_module("worker_count", args)["changed"]


def test_backups(project, run_module):
    for number in ("2", "3", "5"):
        done = run_module("worker_count", arguments(project, workers=number, backup=True, backup_keep=2))
    copies = sorted(project.glob("Dockerfile.*.bak"))
    assert len(copies) == 2 and done["backup_file"] == str(copies[-1])
    assert '"3"' in copies[-1].read_text()
    assert not run_module("worker_count", arguments(project, workers="5", backup=True))["changed"]
    assert len(list(project.glob("Dockerfile.*.bak"))) == 2


def test_auto_with_given_sizes(project, run_module):
    args = arguments(project, workers="auto", memory_per_worker="300m", memory_shared="100m")
    done = run_module("worker_count", args)
    assert (done["changed"], done["workers"], done["previous"]) == (True, 2, 4)
    assert done["sizing"] == {
        "memory_limit": 2**30,
        "memory_shared": 100 * 2**20,
        "memory_per_worker": 300 * 2**20,
        "memory_total": 700 * 2**20,
        "cpus": 4.0,
    }
    assert "The memory limit of 1.00 GiB is that of mem_limit in the Compose file." in done["reasons"]
    assert any("total(3) = 1000 MiB does not" in reason for reason in done["reasons"])
    assert not run_module("worker_count", args)["changed"]
    (project / ".env").write_text("LIMIT=2g\n")
    assert run_module("worker_count", args, check=True)["workers"] == 5
    assert run_module("worker_count", {**args, "max_workers": 3}, check=True)["workers"] == 3
    assert run_module("worker_count", {**args, "memory_limit": "1.5g", "headroom": 0.5}, check=True)["workers"] == 2


def test_a_start_script(project, run_module):
    (project / "Dockerfile").write_text('FROM x\nCMD ["/start.sh"]\n')
    failed = run_module("worker_count", arguments(project), expect_failure=True)
    assert "/start.sh" in failed["msg"] and "target: override" in failed["msg"]
    args = arguments(project, target="override")
    done = run_module("worker_count", args)
    assert done["changed"] and done["previous"] is None and done["server"] is None
    assert "not certain" in str(done["warnings"])
    assert not run_module("worker_count", args)["changed"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"workers": "some"}, "workers is 'some'"),
        ({"workers": "0"}, "from 1 to 1000"),
        ({"workers": "5", "max_workers": 4}, "max_workers allow 1 to 4"),
        ({"service": "web"}, "there is no service web"),
        ({"project_src": "/nowhere"}, "/nowhere"),
        ({"files": ["other.yml"]}, "other.yml"),
        ({"workers": "auto", "memory_per_worker": "many"}, "memory_per_worker is 'many'"),
        ({"workers": "auto", "headroom": 1.5}, "headroom is 1.5"),
        ({"workers": "auto", "memory_per_worker": "2g", "memory_shared": "0"}, "at least 2560 MiB"),
        ({"workers": "auto"}, "Give memory_per_worker and memory_shared, or a number of workers"),
    ],
)
def test_bad_input_is_one_sentence_and_changes_nothing(project, run_module, change, said):
    before = content(project)
    failed = run_module("worker_count", arguments(project, **change), expect_failure=True)
    assert said in failed["msg"]
    assert "Traceback" not in str(failed) and "\n" not in failed["msg"]
    assert content(project) == before


def test_broken_files_are_named_with_their_line(project, run_module):
    (project / ".env").write_text("A=1\nB='canary-in-dotenv-4711\n")
    failed = run_module("worker_count", arguments(project), expect_failure=True)
    assert f"{project}/.env:2" in failed["msg"] and "canary" not in str(failed)
    (project / "Dockerfile").unlink()
    (project / ".env").write_text("")
    assert f"{project}/Dockerfile" in run_module("worker_count", arguments(project), expect_failure=True)["msg"]


def test_no_secret_in_any_result(project, run_module):
    (project / "docker-compose.yml").write_text(
        COMPOSE.replace("env_file", "command: uvicorn a:b -w 4 --workers 4\n    env_file")
    )
    for target in ("source", "override"):
        done = run_module("worker_count", arguments(project, target=target), check=True)
        assert done["changed"] and "canary" not in str(done)
    (project / ".env").write_text(DOTENV + "N=4\n")
    (project / "docker-compose.yml").write_text(
        COMPOSE.replace("env_file: .env", "env_file: .env\n    command: uvicorn a:b --workers ${N}")
    )
    done = run_module("worker_count", arguments(project))
    assert done["location"]["kind"] == "dotenv" and "canary" not in str(done)
    assert (project / ".env").read_text() == DOTENV + "N=2\n"
