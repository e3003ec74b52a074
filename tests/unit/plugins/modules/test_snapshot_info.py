# SPDX-License-Identifier: GPL-3.0-or-later
"""Which states of a project can be returned to, and which one was before the last deployment."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., dict[str, Any]]
OLD, NEW = ("sha256:" + letter * 64 for letter in "ab")


class Project:
    """A project with one file, and an engine that has the images which a file names."""

    def __init__(self, root: Path, run_module: Run) -> None:
        self.root, self.run_module = root, run_module
        self.source = root / "shop"
        self.source.mkdir()
        (root / "bin").mkdir()
        docker = root / "bin" / "docker"
        docker.write_text(
            "#!/bin/sh\n"
            f'test -e {root}/images || {{ echo "Cannot connect to the Docker daemon" >&2; exit 1; }}\n'
            f'case "$*" in "image ls"*) cat {root}/images ;;\n'
            '"image inspect"*) for last; do :; done; echo "$last" ;; esac\n'
        )
        docker.chmod(0o755)
        self.images(OLD, NEW)

    def images(self, *names: str) -> None:
        (self.root / "images").write_text("".join(f"{name}\n" for name in names))

    def ask(self, name: str, **more: Any) -> dict[str, Any]:
        args = {"project_src": str(self.source), "state_dir": str(self.root / "state"), **more}
        return self.run_module(name, args, env={"PATH": f"{self.root}/bin:{os.environ['PATH']}"})

    def keep(self, state: str, text: str | None, image: str = OLD) -> str:
        if text is not None:
            (self.source / ".env").write_text(text)
        return str(self.ask("snapshot", state=state, files=[".env"], image=image, image_name="shop-backend")["id"])

    def deploy(self, before: str, after: str, *images: str) -> tuple[str, str]:
        """A run that changes the file; the snapshots before and after it."""
        one, other = (images or (OLD, OLD))[0], (images or (OLD, OLD))[1]
        return self.keep("present", before, one), self.keep("committed", after, other)


@pytest.fixture
def project(tmp_path: Path, run_module: Run) -> Project:
    return Project(tmp_path, run_module)


def test_nothing_is_kept(project: Project) -> None:
    found = project.ask("snapshot_info")
    assert (found["snapshots"], found["previous"], found["lines"], found["image_id"]) == ([], "", [], "")
    assert not (project.root / "state").exists()


def test_states_and_in_what_they_differ(project: Project) -> None:
    first, second = project.deploy("A=1\n", "A=2\n", OLD, NEW)
    found = project.ask("snapshot_info", image=NEW)
    assert found == project.ask("snapshot_info", image=NEW)
    one, other = found["snapshots"]
    assert (one["id"], other["id"], found["previous"]) == (first, second, first)
    assert (one["changed_files"], one["image_differs"], one["current"]) == ([".env"], True, False)
    assert (other["changed_files"], other["image_differs"], other["current"]) == ([], False, True)
    assert (one["image_id"], one["image_name"], one["image_present"]) == (OLD, "shop-backend", True)
    assert one["image"] == f"composeops-hotfix/shop:{first}"
    assert one["moments"][0].startswith("before a run at 2")
    assert found["lines"][0] == f"{second}  (what runs now)"
    assert "A=1" not in str(found)


def test_another_image_alone_is_another_state(project: Project) -> None:
    first, second = project.deploy("A=1\n", "A=1\n", OLD, NEW)
    assert project.ask("snapshot_info", image=NEW)["previous"] == first
    assert project.ask("snapshot_info", image=OLD)["previous"] == second


def test_images_that_are_gone_and_an_engine_that_is(project: Project) -> None:
    project.deploy("A=1\n", "A=2\n", OLD, NEW)
    project.images(NEW)
    assert [each["image_present"] for each in project.ask("snapshot_info")["snapshots"]] == [False, True]
    (project.root / "images").unlink()
    assert [each["image_present"] for each in project.ask("snapshot_info")["snapshots"]] == [None, None]


def test_a_damaged_one_is_listed_and_said(project: Project) -> None:
    first, _second = project.deploy("A=1\n", "A=2\n")
    project.deploy("A=2\n", "A=3\n")
    folder = project.root / "state" / "shop" / "snapshots" / first
    (copy,) = (path for path in folder.iterdir() if path.name != "manifest.json")
    copy.write_text("rotten")
    found = project.ask("snapshot_info")
    assert "this copy is damaged" in found["snapshots"][0]["problem"]
    (folder / "manifest.json").write_text("{}")
    # Without a time it counts as the oldest.
    assert "this manifest is damaged" in project.ask("snapshot_info")["snapshots"][0]["problem"]
    assert f"{first}\n    cannot be returned to: " in "\n".join(found["lines"])


def test_a_commit_that_was_fetched_since_is_another_state(project: Project) -> None:
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    origin = project.root / "origin"
    subprocess.run([*git, "init", "-q", str(origin)], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "one"], cwd=origin, check=True)
    project.source.rmdir()
    subprocess.run([*git, "clone", "-q", str(origin), str(project.source)], check=True)
    first, second = project.deploy("A=1\n", "A=1\n")
    assert first == second
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "two"], cwd=origin, check=True)
    subprocess.run([*git, "pull", "-q"], cwd=project.source, check=True)
    found = project.ask("snapshot_info")
    assert found["previous"] == first
    assert found["snapshots"][0]["revision_differs"] is True
    assert found["revision"] != found["snapshots"][0]["revision"]


def test_a_missing_project_is_one_sentence(run_module: Run, tmp_path: Path) -> None:
    failed = run_module("snapshot_info", {"project_src": str(tmp_path / "nowhere")}, expect_failure=True)
    assert failed["msg"] == f"{tmp_path}/nowhere: there is no such directory. Check project_src."
