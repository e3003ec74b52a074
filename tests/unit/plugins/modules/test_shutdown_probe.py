# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator is told where nothing can be probed; the probe is tested with its utility and on the droplet."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., dict[str, Any]]


@pytest.mark.parametrize("check", [False, True])
def test_without_an_engine_one_sentence_says_so(run_module: Run, tmp_path: Path, check: bool) -> None:
    (tmp_path / "compose.yaml").write_text("services: {web: {image: web}}\n", encoding="utf-8")
    args = {"project_src": str(tmp_path), "service": "web"}
    nowhere = {"DOCKER_HOST": f"unix://{tmp_path}/docker.sock"}
    result = run_module("shutdown_probe", args, check=check, expect_failure=True, env=nowhere)
    assert re.search(r"not installed|does not answer", result["msg"])


@pytest.mark.parametrize("missing", ["project_src", "service"])
def test_what_is_probed_has_to_be_said(run_module: Run, tmp_path: Path, missing: str) -> None:
    args = {"project_src": str(tmp_path), "service": "web"}
    del args[missing]
    result = run_module("shutdown_probe", args, expect_failure=True)
    assert result["msg"] == f"missing required arguments: {missing}"


def test_volumes_are_one_of_two_words(run_module: Run, tmp_path: Path) -> None:
    args = {"project_src": str(tmp_path), "service": "web", "volumes": "none"}
    result = run_module("shutdown_probe", args, expect_failure=True)
    assert "isolated, shared" in result["msg"]
