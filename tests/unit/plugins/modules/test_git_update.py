# SPDX-License-Identifier: GPL-3.0-or-later
"""git pull done safely, on real repositories: each state that a work tree may be in, and kills at each step."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import shutil
import signal
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils import _files, _git, _git_update
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError

Run = Callable[..., dict[str, Any]]
COMPOSE = "services:\n  backend:\n    build: .\n    ports: ['8000:8000']\n\n  redis:\n    image: redis:7\n"
MAIN = "import redis\n\n\ndef shutdown():\n    client.close()\n\n\ndef start():\n    pass\n"


def git(folder: Path, *arguments: str, check: bool = True) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "protocol.file.allow=always"]
    command = ["git", *identity, "-C", str(folder), *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout.strip()


class Project:
    """A bare origin, the author's clone and the server's."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.origin, self.author, self.server = root / "origin.git", root / "author", root / "server"
        git(root, "init", "-q", "--bare", "-b", "main", str(self.origin))
        git(root, "clone", "-q", str(self.origin), str(self.author))
        git(self.author, "checkout", "-q", "-b", "main")
        self.push({"docker-compose.yml": COMPOSE, "backend/main.py": MAIN, "run.sh": "#!/bin/sh\n", "old.txt": "old\n"})
        git(root, "clone", "-q", str(self.origin), str(self.server))

    def push(self, files: dict[str, str | None], subject: str = "A change") -> str:
        for name, content in files.items():
            path = self.author / name
            if content is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content)
        git(self.author, "add", "-A")
        git(self.author, "commit", "-q", "-m", subject)
        git(self.author, "push", "-q", "origin", "main")
        return git(self.author, "rev-parse", "HEAD")

    def head(self) -> str:
        return git(self.server, "rev-parse", "HEAD")

    def status(self) -> list[str]:
        return git(self.server, "status", "--porcelain").splitlines()

    def args(self, **more: Any) -> dict[str, Any]:
        return {"project_src": str(self.server), **more}


def everything(folder: Path) -> dict[str, str]:
    """Each file below a folder with its content, mode and owner, .git included (but for the index's time stamps)."""
    found = {}
    for path in sorted(folder.rglob("*")):
        info = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        digest = hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()
        found[str(path.relative_to(folder))] = f"{digest} {info.st_mode:o} {info.st_uid}"
    return found


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


FIXED = MAIN.replace("client.close()", "await client.aclose()")


def rhythm(run_module: Run, project: Project, **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Check (changed, nothing touched), run (the same result), check and run again (nothing to do)."""
    before = everything(project.server)
    checked = run_module("git_update", project.args(**more), check=True)
    assert everything(project.server) == before
    done = run_module("git_update", project.args(**more))
    assert checked == done
    assert done["changed"]
    assert done["status"] == "updated"
    for check in (True, False):
        again = run_module("git_update", project.args(**more), check=check)
        assert (again["changed"], again["status"], again["diff"]) == (False, "up_to_date", [])
    assert not (project.server / ".git" / _git_update.PENDING).exists()
    return checked, done


def test_behind_is_fast_forwarded(run_module: Run, project: Project) -> None:
    before = project.head()
    first = project.push({"backend/main.py": FIXED, "docs/new.md": "new\n", "old.txt": None}, "Fix the shutdown")
    _checked, done = rhythm(run_module, project)
    assert (done["before"], done["after"], project.head()) == (before, first, first)
    assert done["commits"] == [{"revision": first, "subject": "Fix the shutdown"}]
    assert done["files"] == ["backend/main.py", "docs/new.md", "old.txt"]
    assert done["carried_over"] == []
    assert (project.server / "backend/main.py").read_text() == FIXED
    assert not (project.server / "old.txt").exists()
    assert project.status() == []
    assert git(project.server, "rev-parse", "origin/main") == first
    assert {entry["after_header"] for entry in done["diff"]} == {"backend/main.py", "docs/new.md", "old.txt (absent)"}


def test_level_and_ahead_change_nothing(run_module: Run, project: Project) -> None:
    assert run_module("git_update", project.args())["status"] == "up_to_date"
    (project.server / "run.sh").write_text("#!/bin/sh\nexit 0\n")
    git(project.server, "commit", "-qam", "local")
    before = everything(project.server)
    done = run_module("git_update", project.args())
    assert (done["changed"], done["status"]) == (False, "up_to_date")
    assert everything(project.server) == before


def test_edits_elsewhere_stay(run_module: Run, project: Project) -> None:
    edited = COMPOSE.replace("redis:7", "redis:7.2")
    (project.server / "docker-compose.yml").write_text(edited)
    (project.server / "notes.txt").write_text("mine")
    (project.server / "old.txt").unlink()
    project.push({"backend/main.py": FIXED})
    _checked, done = rhythm(run_module, project)
    assert done["carried_over"] == ["docker-compose.yml", "old.txt"]
    assert done["files"] == ["backend/main.py"]
    assert (project.server / "docker-compose.yml").read_text() == edited
    assert (project.server / "notes.txt").read_text() == "mine"
    assert project.status() == ["M docker-compose.yml", " D old.txt", "?? notes.txt"]


def test_edits_in_the_same_file_are_merged(run_module: Run, project: Project) -> None:
    (project.server / "docker-compose.yml").write_text(COMPOSE.replace("redis:7", "redis:7.2"))
    project.push({"docker-compose.yml": COMPOSE.replace("build: .", "build: ./backend")})
    _checked, done = rhythm(run_module, project)
    both = COMPOSE.replace("redis:7", "redis:7.2").replace("build: .", "build: ./backend")
    assert (project.server / "docker-compose.yml").read_text() == both
    assert done["carried_over"] == ["docker-compose.yml"]
    assert done["diff"][0]["after"] == both


def test_edit_that_upstream_made_as_well_is_no_longer_one(run_module: Run, project: Project) -> None:
    (project.server / "backend/main.py").write_text(FIXED)
    project.push({"backend/main.py": FIXED})
    _checked, done = rhythm(run_module, project)
    assert (done["carried_over"], done["diff"], project.status()) == ([], [], [])


def conflict_edit(project: Project) -> list[str]:
    (project.server / "backend/main.py").write_text(MAIN.replace("client.close()", "client.quit()"))
    (project.server / "run.sh").write_text("#!/bin/bash\n")
    project.push({"backend/main.py": FIXED, "run.sh": "#!/bin/zsh\n", "new.txt": "new\n"})
    return ["backend/main.py", "run.sh"]


def conflict_deleted_upstream(project: Project) -> list[str]:
    (project.server / "old.txt").write_text("edited\n")
    project.push({"old.txt": None, "backend/main.py": FIXED})
    return ["old.txt"]


def conflict_deleted_here(project: Project) -> list[str]:
    (project.server / "old.txt").unlink()
    project.push({"old.txt": "newer\n"})
    return ["old.txt"]


def conflict_untracked(project: Project) -> list[str]:
    (project.server / "docs").mkdir()
    (project.server / "docs/new.md").write_text("mine\n")
    project.push({"docs/new.md": "theirs\n"})
    return ["docs/new.md"]


def conflict_ignored(project: Project) -> list[str]:
    (project.server / ".git/info/exclude").write_text(".env\n")
    (project.server / ".env").write_text("SECRET_KEY=canary-7f3a9b\n")
    project.push({".env": "SECRET_KEY=example\n"})
    return [".env"]


def conflict_folder_in_the_way(project: Project) -> list[str]:
    (project.server / "docs").mkdir()
    (project.server / "docs/mine.md").write_text("mine\n")
    project.push({"docs": "a file\n"})
    return ["docs/mine.md"]


def conflict_link_in_the_way(project: Project) -> list[str]:
    (project.root / "elsewhere").mkdir()
    (project.server / "docs").symlink_to(project.root / "elsewhere")
    project.push({"docs/new.md": "theirs\n"})
    return ["docs"]


def conflict_binary(project: Project) -> list[str]:
    (project.server / "old.txt").write_bytes(b"\0mine")
    project.push({"old.txt": "\0theirs"})
    return ["old.txt"]


def conflict_hidden(project: Project) -> list[str]:
    git(project.server, "update-index", "--assume-unchanged", "old.txt")
    (project.server / "old.txt").write_text("hidden edit\n")
    project.push({"old.txt": "theirs\n"})
    return ["old.txt"]


def conflict_renamed(project: Project) -> list[str]:
    (project.server / "backend/main.py").write_text(MAIN + "# here\n")
    project.push({"backend/main.py": None, "backend/app.py": MAIN})
    return ["backend/main.py"]


def conflict_staged(project: Project) -> list[str]:
    (project.server / "new.txt").write_text("mine\n")
    git(project.server, "add", "new.txt")
    project.push({"new.txt": "theirs\n"})
    return ["new.txt"]


CONFLICTS = [value for name, value in sorted(globals().items()) if name.startswith("conflict_")]


@pytest.mark.parametrize("make", CONFLICTS, ids=lambda make: make.__name__[9:])
def test_conflict_changes_nothing_and_names_the_files(
    run_module: Run, project: Project, make: Callable[[Project], list[str]]
) -> None:
    names = make(project)
    before = everything(project.server)
    index = git(project.server, "ls-files", "-s", "-v")
    for check in (True, False):
        failed = run_module("git_update", project.args(), check=check, expect_failure=True)
        assert f"conflicts with origin/main in {', '.join(names)}; nothing was changed" in failed["msg"]
        assert "canary" not in str(failed)
        after = everything(project.server)
        if not check:  # as with git fetch
            for where in (before, after):
                for name in [
                    name
                    for name in where
                    if name.startswith((".git/objects/", ".git/refs/remotes", ".git/logs/refs/rem"))
                ]:
                    del where[name]
        assert after == before
    assert git(project.server, "ls-files", "-s", "-v") == index
    assert git(project.server, "stash", "list") == ""
    assert git(project.server, "for-each-ref", "refs/composeops", "refs/worktree") == ""


def test_untracked_file_that_equals_upstreams_becomes_tracked(run_module: Run, project: Project) -> None:
    (project.server / "docs").mkdir()
    (project.server / "docs/new.md").write_text("same\n")
    project.push({"docs/new.md": "same\n"})
    _checked, done = rhythm(run_module, project)
    assert (done["diff"], project.status()) == ([], [])


def test_staged_edits_stay_staged(run_module: Run, project: Project) -> None:
    (project.server / "docker-compose.yml").write_text(COMPOSE.replace("redis:7", "redis:7.2"))
    (project.server / "added.txt").write_text("added\n")
    git(project.server, "add", "docker-compose.yml", "added.txt")
    git(project.server, "rm", "-q", "--cached", "old.txt")
    project.push({"docker-compose.yml": COMPOSE.replace("build: .", "build: ./backend"), "backend/main.py": FIXED})
    _checked, done = rhythm(run_module, project)
    assert done["carried_over"] == ["added.txt", "docker-compose.yml", "old.txt"]
    assert project.status() == ["A  added.txt", "M  docker-compose.yml", "D  old.txt", "?? old.txt"]


def test_hidden_flag_is_kept_on_a_merged_file(run_module: Run, project: Project) -> None:
    git(project.server, "update-index", "--assume-unchanged", "docker-compose.yml")
    (project.server / "docker-compose.yml").write_text(COMPOSE.replace("redis:7", "redis:7.2"))
    project.push({"docker-compose.yml": COMPOSE.replace("build: .", "build: ./backend")})
    rhythm(run_module, project)
    assert "redis:7.2" in (project.server / "docker-compose.yml").read_text()
    assert git(project.server, "ls-files", "-v", "docker-compose.yml") == "h docker-compose.yml"


def test_modes_links_and_folders_follow_upstream(run_module: Run, project: Project) -> None:
    (project.author / "run.sh").chmod(0o755)
    (project.author / "old.txt").unlink()
    (project.author / "old.txt").symlink_to("run.sh")
    (project.author / "backend/main.py").unlink()
    (project.author / "backend").rmdir()
    project.push({"backend": "now a file\n", "ünï cödé\n.txt": "x\n"})
    (project.server / "docker-compose.yml").write_text("edited: elsewhere\n")
    rhythm(run_module, project)
    git(project.server, "checkout", "docker-compose.yml")
    assert stat.S_IMODE((project.server / "run.sh").stat().st_mode) == 0o755
    assert os.readlink(project.server / "old.txt") == "run.sh"
    assert (project.server / "backend").read_text() == "now a file\n"
    assert project.status() == []
    (project.author / "old.txt").unlink()
    (project.author / "run.sh").chmod(0o644)
    (project.author / "backend").unlink()
    project.push({"old.txt": "a file again\n", "backend/a/b.txt": "deep\n"})
    rhythm(run_module, project)
    assert not (project.server / "old.txt").is_symlink()
    assert (project.server / "backend/a/b.txt").read_text() == "deep\n"
    assert project.status() == []


def test_permissions_and_owner_are_kept(run_module: Run, project: Project) -> None:
    (project.server / "docker-compose.yml").chmod(0o600)
    if os.geteuid() == 0:
        for path in (project.server, *project.server.rglob("*")):
            os.chown(path, 1234, 4321)
    project.push({"docker-compose.yml": COMPOSE + "\n# more\n", "docs/new.md": "new\n"})
    rhythm(run_module, project)
    assert stat.S_IMODE((project.server / "docker-compose.yml").stat().st_mode) == 0o600
    if os.geteuid() == 0:  # somebody else's work tree is accepted, and stays theirs
        strange = [str(path) for path in project.server.rglob("*") if path.lstat().st_uid != 1234]
        assert strange == []


def test_line_ends_of_attributes(run_module: Run, project: Project) -> None:
    project.push({".gitattributes": "*.bat text eol=crlf\n", "a.bat": "one\ntwo\n"})
    rhythm(run_module, project)
    assert (project.server / "a.bat").read_bytes() == b"one\r\ntwo\r\n"
    assert project.status() == []


def test_hooks_are_not_run(run_module: Run, project: Project) -> None:
    for name in ("post-merge", "post-checkout", "reference-transaction", "pre-commit"):
        hook = project.server / ".git/hooks" / name
        hook.write_text(f"#!/bin/sh\ntouch {project.root}/hook-ran\n")
        hook.chmod(0o755)
    project.push({"backend/main.py": FIXED})
    rhythm(run_module, project)
    assert not (project.root / "hook-ran").exists()


@pytest.mark.parametrize("status", ["no_git", "no_remote", "detached", "no_upstream"])
def test_nothing_to_update_from_is_not_a_failure(run_module: Run, project: Project, status: str) -> None:
    project.push({"backend/main.py": FIXED})
    args = project.args()
    if status == "no_git":
        (project.root / "plain").mkdir()
        args["project_src"] = str(project.root / "plain")
    elif status == "no_remote":
        git(project.server, "remote", "remove", "origin")
    elif status == "detached":
        git(project.server, "checkout", "-q", "--detach")
    else:
        git(project.server, "config", "branch.main.merge", "refs/heads/gone")
    before = everything(project.server)
    for check in (True, False):
        done = run_module("git_update", args, check=check)
        assert (done["changed"], done["status"], done["files"]) == (False, status, [])
    assert everything(project.server) == before


def test_branch_without_upstream_follows_the_remotes_default(run_module: Run, project: Project) -> None:
    git(project.server, "checkout", "-q", "--no-track", "-b", "hotfix")
    project.push({"backend/main.py": FIXED})
    rhythm(run_module, project)
    assert git(project.server, "symbolic-ref", "--short", "HEAD") == "hotfix"


def test_named_branch(run_module: Run, project: Project) -> None:
    git(project.author, "checkout", "-q", "-b", "release/1")
    (project.author / "old.txt").write_text("release\n")
    git(project.author, "commit", "-qam", "release")
    git(project.author, "push", "-q", "origin", "release/1")
    rhythm(run_module, project, branch="release/1")
    assert (project.server / "old.txt").read_text() == "release\n"
    for name, words in (("nope", "origin has no branch nope"), ("a..b", "not the name of a branch")):
        assert words in run_module("git_update", project.args(branch=name), expect_failure=True)["msg"]


def test_diverged_fails_with_nothing_changed(run_module: Run, project: Project) -> None:
    (project.server / "run.sh").write_text("#!/bin/sh\nexit 0\n")
    git(project.server, "commit", "-qam", "local")
    project.push({"backend/main.py": FIXED})
    head = project.head()
    for check in (True, False):
        failed = run_module("git_update", project.args(), check=check, expect_failure=True)
        assert "diverged (commits only here: 1, only there: 1); nothing was changed" in failed["msg"]
        assert (project.head(), project.status()) == (head, [])
    assert (project.server / "backend/main.py").read_text() == MAIN


def test_unfinished_merge_and_lock_are_refused(run_module: Run, project: Project) -> None:
    project.push({"backend/main.py": FIXED})
    (project.server / ".git/index.lock").write_text("")
    failed = run_module("git_update", project.args(), expect_failure=True)
    assert "index.lock: another git command is running here" in failed["msg"]
    (project.server / ".git/index.lock").unlink()
    (project.server / ".git/MERGE_HEAD").write_text(project.head())
    failed = run_module("git_update", project.args(), expect_failure=True)
    assert "unfinished (MERGE_HEAD)" in failed["msg"]


def test_subdirectory_and_shallow_clone(run_module: Run, project: Project) -> None:
    project.push({"old.txt": "two\n"})
    shallow = project.root / "shallow"
    git(project.root, "clone", "-q", "--depth", "1", f"file://{project.origin}", str(shallow))
    last = project.push({"backend/main.py": FIXED})
    before = everything(shallow)
    checked = run_module("git_update", {"project_src": str(shallow / "backend")}, check=True)
    assert everything(shallow) == before
    assert run_module("git_update", {"project_src": str(shallow / "backend")}) == checked
    assert git(shallow, "rev-parse", "HEAD") == last


def test_submodule_is_left_alone_and_reported(run_module: Run, project: Project) -> None:
    part = project.root / "part"
    git(project.root, "init", "-q", "-b", "main", str(part))
    git(part, "commit", "-q", "--allow-empty", "-m", "one")
    git(project.author, "submodule", "--quiet", "add", str(part), "part")
    project.push({})
    _checked, done = rhythm(run_module, project)
    assert done["submodules"] == ["part"]
    assert (project.server / "part").is_dir()
    git(project.server, "submodule", "--quiet", "update", "--init")
    there = git(project.server / "part", "rev-parse", "HEAD")
    for subject in ("two", "three"):  # the second time, what is checked out in it is not what is recorded
        git(part, "commit", "-q", "--allow-empty", "-m", subject)
        git(project.author / "part", "pull", "-q", "origin", "main")
        project.push({"old.txt": f"{subject}\n"})
        _checked, done = rhythm(run_module, project)
        assert (done["submodules"], done["carried_over"]) == (["part"], [])
        assert git(project.server / "part", "rev-parse", "HEAD") == there


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://user:canary-pass@127.0.0.1:1/app.git?token=canary-token", "(https://127.0.0.1:1/app.git)"),
        ("ssh://git@127.0.0.1:1/app.git", "Check the network"),
        ("/nowhere/app.git", "Check the address with git remote -v"),
    ],
)
def test_unreachable_remote_is_named_without_credentials(
    run_module: Run, project: Project, url: str, words: str
) -> None:
    git(project.server, "remote", "set-url", "origin", url)
    before = everything(project.server)
    for check in (True, False):
        failed = run_module("git_update", project.args(), check=check, expect_failure=True)
        assert failed["msg"].startswith("cannot fetch from origin (")
        assert words in failed["msg"]
        assert "canary" not in str(failed)
    assert everything(project.server) == before


class CodeHost(SimpleHTTPRequestHandler):
    """Serves a repository to those who have the password, and looks meanwhile whether a command line shows it."""

    # Of this process only: tests that run beside it put theirs on command lines of their own.
    word = f"canary-{os.getpid()}-p"
    password = f"{word}%40ss"
    shown: ClassVar[list[bytes]] = []
    served: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        for file in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                line = file.read_bytes()
                self.shown.extend([line] if self.word.encode() in line else [])
        if self.headers["Authorization"] == "Basic " + base64.b64encode(f"deploy:{self.word}@ss".encode()).decode():
            self.served.append(self.path)
            super().do_GET()
        else:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.end_headers()

    def log_message(self, *_arguments: Any) -> None:
        """Keep quiet."""


@pytest.fixture
def host(project: Project) -> Iterator[str]:
    """The address of such a server."""
    git(project.origin, "update-server-info")
    CodeHost.shown.clear()
    CodeHost.served.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(CodeHost, directory=str(project.root)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("place", ["url", "insteadOf", "useHttpPath"])
def test_password_in_the_address_is_on_no_command_line(
    run_module: Run, project: Project, host: str, place: str
) -> None:
    project.push({"docker-compose.yml": COMPOSE + "# new\n"})
    git(project.origin, "update-server-info")
    address = f"http://deploy:{CodeHost.password}@{host}/"
    if place == "insteadOf":
        git(project.server, "config", f"url.{address}.insteadOf", "https://code.example/")
    git(project.server, "config", "credential.useHttpPath", "true" if place == "useHttpPath" else "false")
    url = ("https://code.example/" if place == "insteadOf" else address) + "origin.git"
    git(project.server, "remote", "set-url", "origin", url)
    rhythm(run_module, project)
    assert CodeHost.served
    assert CodeHost.shown == []
    assert git(project.server, "config", "remote.origin.url") == url


def test_wrong_password_in_the_address_is_said(run_module: Run, project: Project, host: str) -> None:
    git(project.server, "remote", "set-url", "origin", f"http://deploy:canary-wrong@{host}/origin.git")
    failed = run_module("git_update", project.args(), expect_failure=True)
    where = f"cannot fetch from origin (http://{host}/origin.git)"
    assert failed["msg"] == (
        f"{where}: it does not accept the user and password in its address. "
        "Correct them: git remote set-url origin ADDRESS."
    )
    assert CodeHost.shown == []
    assert "canary" not in str(failed)


def test_silent_remote_is_bounded_in_time(run_module: Run, project: Project) -> None:
    script = project.root / "ssh"
    script.write_text("#!/bin/sh\nsleep 60\n")
    script.chmod(0o755)
    git(project.server, "remote", "set-url", "origin", "ssh://git@example.org/app.git")
    git(project.server, "config", "core.sshCommand", str(script))
    failed = run_module("git_update", project.args(timeout=1), expect_failure=True)
    assert "no answer within 1 seconds" in failed["msg"]


def test_secrets_of_a_tracked_environment_file_are_not_shown(run_module: Run, project: Project) -> None:
    project.push({".env": "SECRET_KEY=canary-old-1\nDEBUG=true\n\nA=1\n"})
    run_module("git_update", project.args())
    (project.server / ".env").write_text("SECRET_KEY=canary-edit-2\nDEBUG=true\n\nA=1\n")
    project.push({".env": "SECRET_KEY=canary-old-1\nDEBUG=true\n\nA=canary-new-3\n"})
    checked, done = rhythm(run_module, project)
    assert "canary" not in str(checked) + str(done)
    assert "sha256:" in done["diff"][0]["after"]
    assert (project.server / ".env").read_text() == "SECRET_KEY=canary-edit-2\nDEBUG=true\n\nA=canary-new-3\n"
    garbage = git(project.server, "fsck", "--unreachable", "--no-reflogs")
    assert garbage == ""  # no blob with the edited secret is left in the repository


def test_missing_directory_and_missing_git(run_module: Run, project: Project) -> None:
    failed = run_module("git_update", {"project_src": "/nowhere"}, expect_failure=True)
    assert "/nowhere: there is no such directory" in failed["msg"]
    # The second one is no folder.
    for path in ("/nowhere", __file__):
        failed = run_module("git_update", project.args(), env={"PATH": path}, expect_failure=True)
        assert "git is not installed" in failed["msg"]


# --- killed, full disk, changed meanwhile ----------------------------------------------------------------------------


def dirty(project: Project) -> None:
    """A work tree and an upstream in which every kind of step happens."""
    (project.server / "docker-compose.yml").write_text(COMPOSE.replace("redis:7", "redis:7.2"))
    (project.server / "added.txt").write_text("added\n")
    git(project.server, "add", "added.txt")
    (project.author / "run.sh").chmod(0o755)
    (project.author / "link").symlink_to("run.sh")
    project.push(
        {
            "docker-compose.yml": COMPOSE.replace("build: .", "build: ./backend"),
            "backend/main.py": FIXED,
            "docs/new.md": "new\n",
            "old.txt": None,
        }
    )


WRITING = {"read-tree", "update-index", "update-ref", "fetch", "add"}


def run_until_step(project: Project, number: int, scratch: Path) -> bool:
    """Run the update in a child that is killed before its writing step ``number``; False when it ended before."""
    child = os.fork()
    if child == 0:
        left = number

        def step() -> None:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

        def counted(function: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                step()
                return function(*args, **kwargs)

            return call

        for name in ("replace", "unlink", "symlink", "chmod", "mkdir", "rmdir"):
            setattr(os, name, counted(getattr(os, name)))
        run = _git.Git.run

        def counted_run(self: _git.Git, *args: Any, **kwargs: Any) -> Any:
            if args[0] in WRITING:
                step()
            return run(self, *args, **kwargs)

        _git.Git.run = counted_run
        try:
            _git_update.update(str(project.server), _git.Request(), str(scratch))
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL)
    return status == signal.SIGKILL


def test_killed_at_each_step_loses_nothing_and_is_finished(project: Project, tmp_path: Path) -> None:
    dirty(project)
    shutil.copytree(project.server, tmp_path / "template", symlinks=True)
    merged = COMPOSE.replace("redis:7", "redis:7.2").replace("build: .", "build: ./backend")
    edited = COMPOSE.replace("redis:7", "redis:7.2")
    number, resumed, killed = 0, 0, True
    while killed:
        project.server = tmp_path / f"server{number}"
        shutil.copytree(tmp_path / "template", project.server, symlinks=True)
        scratch = [tmp_path / f"scratch{number}", tmp_path / f"again{number}"]
        for folder in scratch:
            folder.mkdir()
        killed = run_until_step(project, number, scratch[0])
        assert (project.server / "docker-compose.yml").read_text() in (edited, merged)
        assert (project.server / "backend/main.py").read_text() in (MAIN, FIXED)
        assert (project.server / "added.txt").read_text() == "added\n"
        outcome = _git_update.update(str(project.server), _git.Request(), str(scratch[1]))
        resumed += outcome.resumed
        assert outcome.status in (("updated", "up_to_date") if killed else ("up_to_date",))
        assert (project.server / "docker-compose.yml").read_text() == merged
        assert project.status() == ["A  added.txt", " M docker-compose.yml"]
        assert project.head() == git(project.author, "rev-parse", "HEAD")
        assert os.access(project.server / "run.sh", os.X_OK)
        assert os.readlink(project.server / "link") == "run.sh"
        assert not (project.server / ".git" / _git_update.PENDING).exists()
        number += 1
    assert number > 20
    assert resumed > 5


def interrupt(project: Project, scratch: Path) -> None:
    """Leave the update half-done: some of the files written, the branch not yet moved."""
    number = 0
    while not (project.server / ".git" / _git_update.PENDING / "plan.json").exists():
        folder = scratch / str(number)
        folder.mkdir(parents=True)
        run_until_step(project, number, folder)
        number += 1
    (scratch / "last").mkdir()
    (project.server / "backend/main.py").write_text(FIXED)


def test_interrupted_update_is_told_in_check_mode_and_finished(run_module: Run, project: Project) -> None:
    before = project.head()
    dirty(project)
    interrupt(project, project.root / "scratch")
    last = project.push({"backend/main.py": FIXED + "# more\n"}, "One more")
    state = everything(project.server)
    checked = run_module("git_update", project.args(), check=True)
    assert everything(project.server) == state
    done = run_module("git_update", project.args())
    assert checked == done
    assert (done["resumed"], done["before"], done["after"]) == (True, before, last)
    assert [commit["subject"] for commit in done["commits"]] == ["One more", "A change"]
    assert project.status() == ["A  added.txt", " M docker-compose.yml"]


def test_interrupted_update_and_an_edit_since_is_refused(run_module: Run, project: Project) -> None:
    dirty(project)
    interrupt(project, project.root / "scratch")
    (project.server / "backend/main.py").write_text("somebody's\n")
    state = everything(project.server)
    failed = run_module("git_update", project.args(), expect_failure=True)
    assert "interrupted and since then somebody changed backend/main.py" in failed["msg"]
    assert everything(project.server) == state


def test_full_disk_puts_everything_back(project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    dirty(project)
    before = {name: value for name, value in everything(project.server).items() if not name.startswith(".git/")}
    write, wrote = _git_update.write_atomic, []

    def full(path: str, data: bytes, *, mode: int = 0o644) -> None:
        if path.endswith("new.md"):
            raise HotfixError("cannot write this file: No space left on device", path=path)
        wrote.append(path)
        write(path, data, mode=mode)

    monkeypatch.setattr(_git_update, "write_atomic", full)
    with pytest.raises(HotfixError, match="No space left"):
        _git_update.update(str(project.server), _git.Request(), str(tmp_path))
    assert any(path.endswith("main.py") for path in wrote)
    after = {name: value for name, value in everything(project.server).items() if not name.startswith(".git/")}
    after.pop("docs", None)
    assert {name for name in after if after[name] != before[name]} == set()
    assert project.status() == ["A  added.txt", " M docker-compose.yml"]
    assert not (project.server / ".git" / _git_update.PENDING).exists()


def test_two_at_once_are_refused(project: Project, tmp_path: Path) -> None:
    with _git_update._alone(str(project.server / ".git")), pytest.raises(HotfixError, match="another update"):
        _git_update.update(str(project.server), _git.Request(), str(tmp_path))


def test_file_that_another_run_edits_is_waited_for(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    dirty(project)
    before = everything(project.server)
    monkeypatch.setattr(_files, "LOCK_SECONDS", 0)
    with _files.Edit(str(project.server / "docker-compose.yml")):
        with pytest.raises(HotfixError, match="another run has been changing files in this folder"):
            _git_update.update(str(project.server), _git.Request(), str(tmp_path))
        after = everything(project.server)
        assert {name for name in before if name in after and before[name] != after[name]} == set()
        assert not (project.server / ".git" / _git_update.PENDING).exists()
    assert _git_update.update(str(project.server), _git.Request(), str(tmp_path)).status == "updated"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("fatal: unable to access 'https://u:p@h/x.git/': no", "fatal: unable to access 'https://h/x.git/': no"),
        ("https://tok@h/x", "https://h/x"),
        ("https://u:p@ss@h/x", "https://h/x"),
        ("git@host:x.git", "git@host:x.git"),
        ("https://h/x?token=1 y", "https://h/x y"),
    ],
)
def test_credentials_are_stripped(text: str, shown: str) -> None:
    assert _git.strip_credentials(text) == shown
