# SPDX-License-Identifier: GPL-3.0-or-later
"""import_probe, run as Ansible does: the application is imported by this Python, in place of one in a container."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SETTINGS = """
import json, os
KEYS = json.loads(os.environ.get("KEYS", '["key-4711"]'))
print("read", KEYS)
app = object()
"""


@pytest.mark.parametrize("check", [False, True])
def test_what_can_be_imported(service: Any, check: bool) -> None:
    service.build("uvicorn", "main:app")
    (service.project / "main.py").write_text(SETTINGS)
    result = service.run("import_probe", check=check)
    assert (result["application"], result["imported"], result["refuted"]) == ("main:app", True, False)
    assert result["changed"] is False and result["error"] is None and result["refusal"] == ""
    # What the application prints may be a secret.
    assert "key-4711" not in json.dumps(result)


def test_malformed_settings_are_seen_before_they_cost_a_restart(service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    service.build("uvicorn", "main:app")
    (service.project / "main.py").write_text(SETTINGS)
    monkeypatch.setenv("KEYS", "[not-json-4711]")
    result = service.run("import_probe")
    assert (result["imported"], result["refuted"], result["error"]) == (False, True, "JSONDecodeError")
    assert "not-json-4711" not in json.dumps(result)


def test_the_container_is_removed_and_the_service_left_alone(service: Any) -> None:
    service.build("uvicorn", "main:app")
    (service.project / "main.py").write_text("import nothing_of_that_name")
    assert service.run("import_probe")["refuted"] is True
    (empty, _removed, run, removed) = service.changes()
    name = re.search(r"--name (\S+)", run)
    assert name is not None and removed == f"rm --force --volumes {name[1]}"
    for started in (empty, run):
        assert "--no-deps" in started and "--service-ports" not in started


def test_what_the_engine_does_not_start_is_seen_before_it_costs_the_old_container(service: Any) -> None:
    service.build("./start.sh")
    service.refuse("unable to find user app: no matching entries in passwd file")
    result = service.run("import_probe")
    assert (result["imported"], result["refuted"], result["error"]) == (False, True, None)
    assert "unable to find user app" in result["refusal"]


def test_a_factory_reads_settings_as_well(service: Any) -> None:
    service.build("uvicorn", "main:make", "--factory")
    (service.project / "main.py").write_text("def make():\n    raise ValueError('malformed')\n")
    assert service.run("import_probe")["error"] == "ValueError"


def test_an_image_that_is_not_there_has_to_be_built(service: Any) -> None:
    result = service.run("import_probe", expect_failure=True)
    assert "the image web:1 is not on this host. Build it" in result["msg"]


def test_a_command_that_names_no_application_needs_the_option(service: Any) -> None:
    service.build("./start.sh")
    assert "option application" in service.run("import_probe", expect_failure=True)["msg"]
    (service.project / "main.py").write_text("app = 1")
    assert service.run("import_probe", application="main:app")["imported"] is True


def test_it_ends_in_time(service: Any) -> None:
    service.build("uvicorn", "main:app")
    (service.project / "main.py").write_text("import time; time.sleep(60)")
    result = service.run("import_probe", timeout=1)
    # That it is slow proves nothing against it.
    assert (result["imported"], result["refuted"], result["error"]) == (False, False, "timeout")


def test_without_an_engine_one_sentence_says_so(run_module: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text("services: {web: {image: web}}\n", encoding="utf-8")
    args = {"project_src": str(tmp_path), "service": "web"}
    nowhere = {"DOCKER_HOST": f"unix://{tmp_path}/docker.sock"}
    result = run_module("import_probe", args, expect_failure=True, env=nowhere)
    assert re.search(r"not installed|does not answer", result["msg"])
