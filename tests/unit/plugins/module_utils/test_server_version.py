# SPDX-License-Identifier: GPL-3.0-or-later
"""The version of a package that a process in a container uses, found in a made-up ``/proc`` with file systems in it."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from pathlib import Path

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils._server_version import (
    at_least,
    inside,
    package_version,
)

SITE = "lib/python3.13/site-packages"


def process(proc: Path, *, exe: str = "/usr/bin/python3.13", environ: str = "PATH=/usr/bin\0") -> Path:
    """The folder of process 7; returns its root directory."""
    folder = proc / "7"
    (folder / "root").mkdir(parents=True)
    (folder / "exe").symlink_to(exe)
    (folder / "environ").write_text(environ)
    return folder / "root"


def installed(root: Path, folder: str, name: str) -> None:
    (root / folder / name).mkdir(parents=True)


PLACES = [
    ("opt/venv/" + SITE, ["/opt/venv/bin/python", "/opt/venv/bin/uvicorn"], "PATH=/usr/bin\0"),
    ("opt/venv/" + SITE, ["python", "-m"], "PATH=/opt/venv/bin:/usr/bin\0"),
    ("usr/local/" + SITE, ["/usr/local/bin/python3.13", "/usr/local/bin/uvicorn"], ""),
    ("usr/lib/python3/dist-packages", ["/usr/bin/python3", "/usr/bin/uvicorn"], "PATH=/usr/bin\0"),
    ("packages", ["python", "-m"], "HOME=/root\0PYTHONPATH=/packages\0"),
    ("home/app/.local/" + SITE, ["/usr/bin/python3", "-m"], "HOME=/home/app\0PATH=/usr/bin\0"),
    ("opt/conda/" + SITE, ["/opt/conda/bin/python", "/opt/conda/bin/uvicorn"], ""),
]


@pytest.mark.parametrize(("folder", "argv", "environ"), PLACES)
def test_wherever_it_is_installed(tmp_path: Path, folder: str, argv: list[str], environ: str) -> None:
    root = process(tmp_path, environ=environ)
    installed(root, folder, "uvicorn-0.34.0.dist-info")
    installed(root, folder, "uvicorn_worker-0.3.0.dist-info")
    assert package_version(7, "uvicorn", argv, proc=str(tmp_path)) == "0.34.0"
    assert package_version(7, "uvicorn-worker", argv, proc=str(tmp_path)) == "0.3.0"
    assert package_version(7, "gunicorn", argv, proc=str(tmp_path)) is None


def test_the_environment_of_the_process_wins_over_the_system(tmp_path: Path) -> None:
    root = process(tmp_path)
    installed(root, "usr/lib/python3/dist-packages", "uvicorn-0.20.0.egg-info")
    installed(root, "opt/venv/" + SITE, "uvicorn-0.54.0.dist-info")
    argv = ["/opt/venv/bin/python", "/opt/venv/bin/uvicorn"]
    assert package_version(7, "uvicorn", argv, proc=str(tmp_path)) == "0.54.0"
    assert package_version(7, "uvicorn", ["/usr/bin/python3"], proc=str(tmp_path)) == "0.20.0"


def test_a_link_in_the_container_does_not_lead_to_the_host(tmp_path: Path) -> None:
    root = process(tmp_path)
    host = tmp_path / "host"
    installed(host, SITE, "uvicorn-9.9.9.dist-info")
    (root / "opt").mkdir()
    (root / "opt" / "venv").symlink_to(host)
    argv = ["/opt/venv/bin/python", "/opt/venv/bin/uvicorn"]
    assert package_version(7, "uvicorn", argv, proc=str(tmp_path)) is None
    installed(root, str(host / SITE).lstrip("/"), "uvicorn-0.34.0.dist-info")
    assert package_version(7, "uvicorn", argv, proc=str(tmp_path)) == "0.34.0"


def test_links_that_go_round_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert inside(str(tmp_path), "/a/x").startswith(str(tmp_path))
    (tmp_path / "up").symlink_to("../../../../etc")
    assert inside(str(tmp_path), "/up/passwd") == f"{tmp_path}/etc/passwd"


def test_a_process_that_is_gone_has_no_version(tmp_path: Path) -> None:
    assert package_version(7, "uvicorn", ["/usr/bin/python3"], proc=str(tmp_path)) is None


def test_a_real_process() -> None:
    version = importlib.metadata.version("pytest")
    assert package_version(os.getpid(), "pytest", [sys.executable]) == version


@pytest.mark.parametrize(
    ("version", "right"),
    [
        ("0.37.0", True),
        ("0.37", True),
        ("0.36.9", False),
        ("1.0", True),
        ("0.100.1", True),
        ("0.4", False),
        (None, False),
    ],
)
def test_versions_are_compared_as_numbers(version: str | None, right: bool) -> None:
    assert at_least(version, 0, 37) is right
