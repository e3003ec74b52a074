# SPDX-License-Identifier: GPL-3.0-or-later
"""The roles that write the environment file find out by themselves how the service reads it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import dotenv_readers as readers
import pytest
from compose_binary import BY_VERSION
from role_play import play_roles

COMPOSE = "services:\n  backend:\n    image: x\n    env_file:\n      - {{path: {path}, format: raw}}\n"
BEFORE = "VALID_API_KEYS='[\"dev-key-12345\"]'\nENVIRONMENT=development\nJWT_SECRET_KEY=change-me # old\n"


def run(folder: Path, **vars: str) -> None:
    """Both roles, alone and without preflight, on a project in this folder."""
    variables = {"application_project_src": str(folder), "application_state_dir": str(folder / "state"), **vars}
    done = play_roles(folder, ["api_keys", "production_env"], {"localhost": variables})
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("path", "vars"), [(".env", {}), ("backend.env", {"application_env_file": "./backend.env"})])
def test_the_service_gets_the_values_meant(tmp_path: Path, path: str, vars: dict[str, str]) -> None:
    (tmp_path / "compose.yaml").write_text(COMPOSE.format(path=path))
    file = tmp_path / os.path.normpath(vars.get("application_env_file", ".env"))
    file.write_text(BEFORE)
    run(tmp_path, **vars)
    assert re.search('^VALID_API_KEYS=\\["', file.read_text())
    for version in BY_VERSION:
        read = readers.compose([file.read_bytes()], version, raw=True)[0]
        assert read is not None
        [key] = json.loads(read["VALID_API_KEYS"])
        assert len(key) == 43
        assert (read["ENVIRONMENT"], " " in read["JWT_SECRET_KEY"]) == ("production", False)
