# SPDX-License-Identifier: GPL-3.0-or-later
"""Every combination of ``restart`` and ``deploy.restart_policy``, started for real: what does the engine then have?

Each Compose version starts one service for each combination, and refuses those that it is known to refuse one by one.
``--record`` writes the answers of the newest Compose to the table that the unit tests use where there is no engine.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import secrets
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_file import Project
from ansible_collections.composeops.hotfix.plugins.modules.compose_service import policy as reported
from compose_binary import BY_VERSION
from tiny_image import CHECKOUT, LABEL, docker, sleeper

TABLE = CHECKOUT / "tests/unit/plugins/module_utils/recorded/restart_policies.json"
# Texts of YAML; ``null`` in the table stands for a key that is not there. RESTART is in the project's .env.
RESTARTS = [
    None, "no", '"no"', "always", "unless-stopped", "on-failure", "on-failure:0", "on-failure:5", "'always'",
    '"on-failure:5"', "${RESTART}", "${UNSET:-on-failure:2}", '""', '"on-failure:x"', "always:2",
]  # fmt: skip
CONDITIONS = ["", "condition: none", "condition: on-failure", "condition: any"]
ATTEMPTS = ["", "max_attempts: 0", "max_attempts: 3"]
TIMES = ["", "delay: 5s, window: 120s"]
POLICIES = [
    None,
    *("{" + ", ".join(filter(None, parts)) + "}" for parts in itertools.product(CONDITIONS, ATTEMPTS, TIMES)),
    "{condition: any, delay: 5s}",
    "{condition: on-failure, max_attempts: 3, window: 120s}",
    "{condition: '${CONDITION:-any}', max_attempts: '${ATTEMPTS:-0}'}",
]
DOTENV = "RESTART=unless-stopped\n"
REFUSED = re.compile(r"maximum (?:retry|restart) count (?:cannot|must not) be used with restart policy|invalid restart")
AT_ONCE = 40  # containers: each costs the engine some 10 MiB
ENDED_AT_ONCE = 8


class Combination(NamedTuple):
    restart: str | None
    policy: str | None


COMBINATIONS = [Combination(*pair) for pair in itertools.product(RESTARTS, POLICIES)]
NAMES = {f"s{index}": combination for index, combination in enumerate(COMBINATIONS)}


class Stack:
    """A Compose project with one service for each combination, ``s0`` and so on.

    :ivar known: what the table says, by combination.
    """

    def __init__(self, program: str, folder: Path, image: str, known: dict[Combination, Any]) -> None:
        self.program, self.folder, self.image, self.known = program, folder, image, known
        self.name = f"hotfix-policies-{os.getpid()}-{secrets.token_hex(4)}"
        (folder / ".env").write_text(DOTENV)
        self.write("compose.yaml", list(NAMES))

    def write(self, file: str, names: list[str]) -> str:
        services = "".join(service(name, self.image) for name in names)
        (self.folder / file).write_text(f"name: {self.name}\nservices:\n{services}")
        return file

    def up(self, names: list[str]) -> subprocess.CompletedProcess[str]:
        """Start services, with a file of their own: reading all of them takes Compose longer than starting one."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("COMPOSE_")}
        file = self.write(f"{names[0]}.yaml", names)
        command = [self.program, "--ansi=never", "--progress=quiet", f"--file={file}", "up", "--detach"]
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False, timeout=600
        )

    def answers(self) -> dict[Combination, Any]:
        """``[name, maximum_retry_count]`` of each container, ``None`` where the engine refused to make it."""
        accepted = [name for name, combination in NAMES.items() if self.known.get(combination)]
        found: dict[str, Any] = {}
        for start in range(0, len(accepted), AT_ONCE):
            batch = accepted[start : start + AT_ONCE]
            done = self.up(batch)
            assert done.returncode == 0, done.stderr
            shown = self.inspected()
            assert shown.keys() == set(batch)
            found.update(shown)
            self.remove()
        others = [name for name in NAMES if name not in accepted]
        with ThreadPoolExecutor(4) as pool:
            found.update(zip(others, pool.map(self.alone, others)))
        return {combination: found[name] for name, combination in NAMES.items()}

    def alone(self, name: str) -> Any:
        done = self.up([name])
        if done.returncode == 0:
            shown = self.inspected(name)[name]
            self.remove(name)
            return shown
        assert REFUSED.search(done.stderr), done.stderr
        return None

    def containers(self, service: str | None = None) -> list[str]:
        labels = [f"project={self.name}", *([f"service={service}"] if service else [])]
        filters = [f"--filter=label=com.docker.compose.{label}" for label in labels]
        return docker("ps", "--all", "--quiet", *filters).split()

    def inspected(self, service: str | None = None) -> dict[str, list[Any]]:
        """The policies of the containers, which all have to run, by service."""
        found = {}
        for data in json.loads(docker("inspect", *self.containers(service))):
            policy = data["HostConfig"]["RestartPolicy"]
            assert data["State"]["Running"]
            name = data["Config"]["Labels"]["com.docker.compose.service"]
            # An engine shows the name that it was given or, a newer one, "no" where it was given none.
            found[name] = [policy["Name"] or "no", policy["MaximumRetryCount"]]
        return found

    def remove(self, service: str | None = None) -> None:
        containers = self.containers(service)
        # Engine 20.10 may come to a standstill where dozens end at the same moment.
        for start in range(0, len(containers), ENDED_AT_ONCE):
            docker("rm", "--force", *containers[start : start + ENDED_AT_ONCE])


def service(name: str, image: str) -> str:
    restart, policy = NAMES[name]
    lines = [f"image: {image}", "network_mode: none", f"labels: [{LABEL}]"]
    if restart is not None:
        lines.append(f"restart: {restart}")
    if policy is not None:
        lines.append(f"deploy: {{restart_policy: {policy}}}")
    return f"  {name}:\n" + "".join(f"    {line}\n" for line in lines)


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    with sleeper() as made:
        yield made


def recorded() -> dict[Combination, Any]:
    return {Combination(row["restart"], row["policy"]): row["engine"] for row in json.loads(TABLE.read_text())}


def record(answers: dict[Combination, Any]) -> None:
    rows = [{**combination._asdict(), "engine": answers[combination]} for combination in COMBINATIONS]
    TABLE.write_text("[\n" + ",\n".join(f"  {json.dumps(row)}" for row in rows) + "\n]\n")


@pytest.mark.parametrize("version", BY_VERSION)
def test_engine_has_the_policy_that_we_tell(
    version: str, image: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    known = recorded()
    stack = Stack(BY_VERSION[version], tmp_path, image, known)
    try:
        answers = stack.answers()
    finally:
        stack.remove()
    if request.config.getoption("--record") and version == next(iter(BY_VERSION)):
        record(answers)
        known = answers
    assert answers == known, "the engine does something else than the table says"
    project = Project.load(str(tmp_path))
    for name, combination in NAMES.items():
        told = reported(project, name)
        refused = any("refuses to create the container" in note for note in told["notes"])
        assert refused == (answers[combination] is None), (combination, told)
        if not refused:
            effective = [told["effective"]["name"], told["effective"]["maximum_retry_count"]]
            assert effective == answers[combination], (combination, told)
            # These two the engine starts again at its own start; on-failure only after an exit code that is not 0.
            assert told["survives_reboot"] == (effective[0] in ("always", "unless-stopped"))
    print(
        f"\nCompose {version}: {len(answers)} combinations, {sum(not a for a in answers.values())} refused, all alike"
    )


def test_all_combinations_are_there() -> None:
    assert len(BY_VERSION) >= 2, "a Compose 2 and a newer one are wanted, see tools/fetch_compose.py"
    assert len(COMBINATIONS) == len(set(COMBINATIONS)) >= 400
    assert yaml.safe_load(f"services:\n{service('s7', 'i')}")["services"]["s7"]["network_mode"] == "none"
