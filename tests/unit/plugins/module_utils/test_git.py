# SPDX-License-Identifier: GPL-3.0-or-later
"""A branch goes back with the files that were put back, and never loses a commit on the way."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils._git import go_back, head_revision

IDENTITY = ("-c", "user.name=t", "-c", "user.email=t@example.org")


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *IDENTITY, *words], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A clone that was updated from its origin, one commit ahead of where it was."""
    origin, clone = tmp_path / "origin", tmp_path / "clone"
    origin.mkdir()
    git(origin, "init", "-q", "-b", "main")
    for text in ("old", "new"):
        (origin / "file").write_text(text)
        git(origin, "add", "file")
        git(origin, "commit", "-q", "-m", text)
    git(tmp_path, "clone", "-q", str(origin), str(clone))
    return clone


def scratch(tmp_path: Path) -> str:
    folder = tmp_path / "scratch"
    folder.mkdir(exist_ok=True)
    return str(folder)


@pytest.mark.parametrize("check", [True, False])
def test_the_branch_goes_back_and_the_files_stay(project: Path, tmp_path: Path, check: bool) -> None:
    head, older = git(project, "rev-parse", "HEAD"), git(project, "rev-parse", "HEAD~1")
    (project / "file").write_text("put back")
    assert go_back(str(project), older, scratch(tmp_path), check=check) is True
    assert head_revision(str(project), scratch(tmp_path)) == (head if check else older)
    assert (project / "file").read_text() == "put back"


def test_what_is_staged_stays_so(project: Path, tmp_path: Path) -> None:
    older = git(project, "rev-parse", "HEAD~1")
    git(project, "config", "core.quotePath", "false")
    for name in ("file", "ünï"):
        (project / name).write_text("edited here")
        git(project, "add", name)
    (project / "other").write_text("not staged")
    assert go_back(str(project), older, scratch(tmp_path), check=False) is True
    assert git(project, "status", "--porcelain").split("\n") == ["M  file", "A  ünï", "?? other"]
    git(project, "rm", "-q", "--cached", "file")
    git(project, "reset", "-q", "--soft", "origin/main")
    assert go_back(str(project), older, scratch(tmp_path), check=False) is True
    assert git(project, "status", "--porcelain").split("\n")[0] == "D  file"
    assert (project / "file").read_text() == "edited here"


@pytest.mark.parametrize("check", [True, False])
def test_a_branch_that_went_back_goes_on_again(project: Path, tmp_path: Path, check: bool) -> None:
    head, older = git(project, "rev-parse", "HEAD"), git(project, "rev-parse", "HEAD~1")
    assert go_back(str(project), older, scratch(tmp_path), check=False) is True
    assert git(project, "status", "--porcelain") == "M file"
    assert go_back(str(project), head, scratch(tmp_path), check=check) is True
    assert git(project, "rev-parse", "HEAD") == (older if check else head)
    assert git(project, "status", "--porcelain") == ("M file" if check else "")


def test_a_branch_of_its_own_goes_nowhere(project: Path, tmp_path: Path) -> None:
    head = git(project, "rev-parse", "HEAD")
    git(project, "checkout", "-q", "-b", "other", "HEAD~1")
    git(project, "commit", "-q", "--allow-empty", "-m", "of the server")
    own = git(project, "rev-parse", "HEAD")
    assert go_back(str(project), head, scratch(tmp_path), check=False) is False
    assert git(project, "rev-parse", "HEAD") == own


def test_a_commit_that_no_remote_has_is_not_lost(project: Path, tmp_path: Path) -> None:
    older = git(project, "rev-parse", "HEAD~1")
    git(project, "commit", "-q", "--allow-empty", "-m", "of the server")
    own = git(project, "rev-parse", "HEAD")
    assert go_back(str(project), older, scratch(tmp_path), check=False) is False
    assert git(project, "rev-parse", "HEAD") == own


@pytest.mark.parametrize("revision", ["", "HEAD", "0" * 40])
def test_there_is_nothing_to_go_back_to(project: Path, tmp_path: Path, revision: str) -> None:
    head = git(project, "rev-parse", "HEAD")
    revision = head if revision == "HEAD" else revision
    assert go_back(str(project), revision, scratch(tmp_path), check=False) is False
    assert git(project, "rev-parse", "HEAD") == head


def test_a_folder_without_git_is_left_alone(tmp_path: Path) -> None:
    assert go_back(str(tmp_path), "0" * 40, scratch(tmp_path), check=False) is False
