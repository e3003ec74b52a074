# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock of a project between real runs of ansible-playbook: who gets it, and what a run that was killed leaves."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from role_play import PROGRAM

DEPLOY = "composeops.hotfix.deploy"
PARTS = {part: {"ansible.builtin.import_role": {"name": DEPLOY, "tasks_from": part}} for part in ("lock", "unlock")}


def failing(when: str) -> dict[str, Any]:
    """A task that fails on the host which a variable names."""
    argv = ["test", "{{ inventory_hostname }}", "!=", f"{{{{ {when} | default('') }}}}"]
    return {"name": when, "ansible.builtin.command": {"argv": argv}, "changed_when": False}


def step(name: str) -> dict[str, Any]:
    """A task that leaves a file, by which one sees that it was reached."""
    return {
        "name": name,
        "ansible.builtin.file": {"path": f"{{{{ folder }}}}/{name}.{{{{ inventory_hostname }}}}", "state": "touch"},
    }


# As the playbooks of the collection: the roles in a block, and the lock let go of whatever happens.
PLAY = {
    "hosts": "all",
    "gather_facts": False,
    "serial": "{{ batches | default(['100%']) }}",
    "max_fail_percentage": 0,
    "vars": {"deploy_unlock_follows": True},
    "tasks": [
        {
            "name": "Changes",
            "block": [
                PARTS["lock"],
                step("staged"),
                {
                    "name": "Wait",
                    "ansible.builtin.shell": "timeout 60 sh -c 'until test -e {{ folder }}/go; do sleep 0.1; done'",
                    "when": "waits | default(false)",
                },
                failing("fails"),
                PARTS["lock"],
                step("deployed"),
                failing("fails_late"),
                step("proven"),
            ],
            "always": [PARTS["unlock"]],
        }
    ],
}


class Fleet:
    """Hosts that are this machine, each with a project of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: list[subprocess.Popen[str]] = []
        common = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "application_state_dir": str(folder / "state"),
            "folder": str(folder),
        }
        hosts = {}
        for name in ("a", "b", "c"):
            (folder / f"project-{name}").mkdir()
            hosts[name] = {"application_project_src": str(folder / f"project-{name}")}
        # Another name for the first host.
        hosts["alias"] = hosts["a"]
        (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts, "vars": common}}))
        (folder / "play.yml").write_text(yaml.safe_dump([PLAY], sort_keys=False))

    def start(self, *options: str, playbook: str = "play.yml", **variables: Any) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            "ANSIBLE_LOCAL_TEMP": str(self.folder / "tmp"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_PIPELINING": "1",
            "COLUMNS": "1000",
        }
        command = [str(PROGRAM), "-i", "hosts.yml", playbook, "-e", json.dumps(variables), *options]
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.running.append(process)
        return process

    def run(self, *options: str, **variables: Any) -> tuple[int, str]:
        process = self.start(*options, **variables)
        output = process.communicate(timeout=120)[0]
        return process.returncode, " ".join(output.split())

    def waiting(self, host: str = "a", **variables: Any) -> subprocess.Popen[str]:
        """A run that has the lock and goes on when it is told to."""
        process = self.start("--limit", host, waits=True, **variables)
        end = time.monotonic() + 60
        while not self.reached("staged", host):
            assert process.poll() is None and time.monotonic() < end, process.communicate()[0]
            time.sleep(0.1)
        return process

    def reached(self, name: str, host: str) -> bool:
        return (self.folder / f"{name}.{host}").exists()

    def lock(self, host: str = "a") -> Path:
        return self.folder / "state" / f"project-{host}" / "lock.json"

    def edit(self, **facts: Any) -> None:
        data: Mapping[str, Any] = json.loads(self.lock().read_text())
        self.lock().write_text(json.dumps({**data, **facts}))

    def journal(self, host: str = "a") -> list[tuple[str, str]]:
        lines = (self.lock(host).parent / "journal.jsonl").read_text().splitlines()
        return [(entry["action"], entry["result"]) for entry in map(json.loads, lines)]


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(tmp_path)
    yield made
    for process in made.running:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_taken_again_by_the_same_run_and_let_go_at_its_end(fleet: Fleet) -> None:
    code, output = fleet.run()
    assert code == 0, output
    assert "WARNING" not in output
    assert not [name for name in ("a", "b", "c") if fleet.lock(name).exists()]
    # Two names of the inventory for one host end the run there twice, and let go of it once.
    assert fleet.journal() == [("run began", ""), ("run ended", "ok"), ("run ended", "ok")]
    assert fleet.journal("b") == [("run began", ""), ("run ended", "ok")]


def test_held_by_a_run_that_lives(fleet: Fleet) -> None:
    first = fleet.waiting()
    held = json.loads(fleet.lock().read_text())
    assert held["pid"] == str(first.pid)
    (fleet.folder / "staged.a").unlink()

    code, output = fleet.run("--limit", "a")
    assert code == 2
    assert (
        f"project-a is locked since {held['since']} by {held['user']}@{held['controller']} (playbook play.yml" in output
    )
    assert (
        f"process {first.pid}, run {held['run']}), its process lives; this run has stopped before it changes" in output
    )
    assert not fleet.reached("staged", "a")
    assert json.loads(fleet.lock().read_text()) == held

    code, output = fleet.run("--limit", "a", "--check")
    assert (code, "WARNING" in output, "this run would stop before it changes" in output) == (0, True, True)
    assert json.loads(fleet.lock().read_text()) == held

    (fleet.folder / "go").touch()
    assert first.wait(60) == 0
    assert not fleet.lock().exists()


def test_by_force_and_then_the_other_one_stops(fleet: Fleet) -> None:
    first = fleet.waiting(deploy_lock_force=True)
    held = json.loads(fleet.lock().read_text())
    code, output = fleet.run("--limit", "a", deploy_lock_force=True)
    assert code == 0, output
    assert f"process {first.pid}, run {held['run']}), which had it since" in output
    assert "deploy_lock_force is set" in output
    assert fleet.reached("deployed", "a")
    # Once that one has ended the first could go on; while another one has the lock it stops at its next look.
    second = fleet.start("--limit", "a", waits=True, deploy_lock_force=True)
    end = time.monotonic() + 60
    while not fleet.lock().exists():
        assert second.poll() is None and time.monotonic() < end
        time.sleep(0.1)
    (fleet.folder / "deployed.a").unlink()
    os.kill(second.pid, signal.SIGSTOP)
    (fleet.folder / "go").touch()
    output = " ".join(first.communicate(timeout=60)[0].split())
    assert first.returncode == 2
    assert f"process {second.pid}" in output
    assert not fleet.reached("deployed", "a")
    assert fleet.lock().exists()
    os.kill(second.pid, signal.SIGCONT)
    assert second.wait(60) == 0


def test_a_run_that_was_killed_is_taken_over(fleet: Fleet) -> None:
    first = fleet.waiting()
    held = json.loads(fleet.lock().read_text())
    os.kill(first.pid, signal.SIGKILL)
    os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)
    code, output = fleet.run("--limit", "a", "--check")
    assert (code, fleet.lock().exists()) == (0, True), output
    code, output = fleet.run("--limit", "a")
    assert code == 0, output
    assert f"Took over the lock of {fleet.folder}/project-a from" in output
    assert f"its process {first.pid} is gone" in output
    assert fleet.reached("deployed", "a")
    assert not fleet.lock().exists()
    assert fleet.journal()[1] == ("lock taken over", f"its process {first.pid} is gone")
    assert held["run"] in fleet.lock().parent.joinpath("journal.jsonl").read_text().splitlines()[1]


def test_a_number_that_another_process_has_got(fleet: Fleet) -> None:
    fleet.waiting()
    fleet.edit(started="1")
    assert fleet.run("--limit", "a")[0] == 0


def test_of_another_controller_only_time_tells(fleet: Fleet) -> None:
    first = fleet.waiting()
    fleet.edit(controller="office", pid="999999999")
    code, output = fleet.run("--limit", "a")
    assert (code, "@office" in output) == (2, True), output
    first.kill()
    time.sleep(1.1)
    code, output = fleet.run("--limit", "a", deploy_lock_ttl=1)
    assert code == 0, output
    assert "it was not renewed for" in output


def test_of_two_at_once_exactly_one_goes_on(fleet: Fleet) -> None:
    runs = [fleet.start("--limit", "a", waits=True) for _run in range(2)]
    end = time.monotonic() + 60
    while all(run.poll() is None for run in runs) and time.monotonic() < end:
        time.sleep(0.1)
    (fleet.folder / "go").touch()
    outputs = [run.communicate(timeout=60)[0] for run in runs]
    assert sorted(run.returncode for run in runs) == [0, 2], outputs
    assert sum("is locked since" in output for output in outputs) == 1


@pytest.mark.parametrize("batches", [[1, "100%"], [2, 1]])
def test_a_host_that_fails_stops_the_others_and_frees_its_project(fleet: Fleet, batches: list[Any]) -> None:
    code, output = fleet.run("--limit", "a,b,c", batches=batches, fails="a")
    assert code == 2
    assert not [name for name in ("a", "b", "c") if fleet.reached("deployed", name)]
    assert not fleet.reached("staged", "c")
    assert not [name for name in ("a", "b", "c") if fleet.lock(name).exists()]
    assert fleet.journal()[-1] == ("run ended", "failed")
    if batches[0] == 2:
        assert "a failed, so that b is not changed any further" in output
        assert fleet.journal("b")[-1] == ("run ended", "failed")


@pytest.mark.parametrize("name", ["apply", "retire_keys", "rollback", "rotate_keys", "tune_workers"])
def test_the_first_host_of_a_playbook_is_its_canary(fleet: Fleet, name: str) -> None:
    """Where there is no application it fails before its first change."""
    playbook = f"composeops.hotfix.{name}"

    def failed(**variables: Any) -> list[str]:
        code, output = fleet.run("--limit", "a,b,c", playbook=playbook, ansible_become=False, **variables)
        assert code == 2, output
        recap = output.partition("PLAY RECAP")[2]
        return [host for host in ("a", "b", "c") if re.search(rf" {host} : \S+ changed=0 \S+ failed=[1-9]", recap)]

    assert failed() == ["a"]
    assert failed(hotfix_serial="100%") == ["a", "b", "c"]
    # The others follow together: a play that does nothing begins once for each batch.
    code, output = fleet.run("--limit", "a,b,c", "--tags", "none", "--skip-tags", "always", playbook=playbook)
    assert (code, output.count("PLAY [")) == (0, 2), output


def test_a_host_that_fails_late_lets_its_batch_end_and_the_next_one_not_begin(fleet: Fleet) -> None:
    code, output = fleet.run("--limit", "a,b,c", batches=[2, 1], fails_late="a")
    assert code == 2
    assert [fleet.reached("proven", name) for name in ("a", "b", "c")] == [False, True, False]
    assert not fleet.reached("staged", "c")
    assert "The run failed on a for the reason above, so that no further host is changed." in output
    assert (fleet.journal()[-1], fleet.journal("b")[-1]) == (("run ended", "failed"), ("run ended", "ok"))


def test_a_lock_that_one_host_does_not_get_stops_all(fleet: Fleet) -> None:
    fleet.waiting("b")
    code, output = fleet.run("--limit", "a,b,c")
    assert code == 2
    assert "b failed, so that a is not changed any further" in output
    assert not [name for name in ("a", "c") if fleet.reached("staged", name)]
    assert [fleet.lock(name).exists() for name in ("a", "b", "c")] == [False, True, False]
