# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in ``docker`` for the modules that look at containers.

It gives back what real engines printed, and has the faults that no unit test can have for real. Against a real engine
the modules are tried by the Molecule scenarios.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RECORDED = Path(__file__).parents[1] / "module_utils" / "recorded"
API_KEY = "dev-key-12345"
REDIS_PASSWORD = "s3cret-pw"

STAND_IN = r"""#!{python}
import json, os, sys
folder = os.path.dirname(os.path.abspath(__file__))
answers = json.load(open(os.path.join(folder, "answers.json")))
words = sys.argv[1:]
with open(os.path.join(folder, "calls"), "a") as calls:
    calls.write(json.dumps(words) + "\n")
key = words[0] + (" --follow" if "--follow" in words else "")
answer = answers.get(key, answers.get(words[0], {{"rc": 1, "stderr": "Error: No such container: x"}}))
if answer.get("once"):
    answers[words[0]] = answer["then"]
    json.dump(answers, open(os.path.join(folder, "answers.json"), "w"))
sys.stdout.write(answer.get("stdout", ""))
sys.stdout.flush()
sys.stderr.write(answer.get("stderr", ""))
sys.exit(answer.get("rc", 0))
"""


class Engine:
    """A stand-in ``docker`` command."""

    def __init__(self, folder: Path, run_module: Callable[..., dict[str, Any]]) -> None:
        self.folder = folder
        self.run_module = run_module
        self.answers: dict[str, Any] = {}
        self.inspect: dict[str, Any] = json.loads((RECORDED / "inspect_engine_20.json").read_text())[0]
        # No process of this machine may be taken for the container's.
        self.inspect["State"]["Pid"] = 0
        docker = folder / "docker"
        docker.write_text(STAND_IN.format(python=sys.executable))
        docker.chmod(0o755)

    def run(self, module: str, expect_failure: bool = False, **args: Any) -> dict[str, Any]:
        self.answers.setdefault("inspect", {"stdout": json.dumps([self.inspect])})
        (self.folder / "answers.json").write_text(json.dumps(self.answers))
        env = {"PATH": f"{self.folder}:{os.environ['PATH']}"}
        result = self.run_module(module, args, check=True, expect_failure=expect_failure, env=env)
        assert result.get("changed") is not True
        for secret in (API_KEY, REDIS_PASSWORD):
            assert secret not in json.dumps({key: value for key, value in result.items() if key != "invocation"})
        return result

    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]


@pytest.fixture
def engine(tmp_path: Path, run_module: Callable[..., dict[str, Any]]) -> Engine:
    return Engine(tmp_path, run_module)
