# SPDX-License-Identifier: GPL-3.0-or-later
"""Running git in somebody else's work tree, and talking to its remote: no prompts, no hooks, bounded in time."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import shlex
import signal
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._files import read_bytes, write_atomic

ANY_CODE = tuple(range(256))
LOCAL_TIMEOUT = 300  # seconds for a command that does not use the network
# Nothing may run behind the update: no hook, no file watcher, no garbage collection. Stalled HTTP transfers end.
SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.quotePath=false",
    "core.safecrlf=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "fetch.writeCommitGraph=false",
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=30",
    "advice.detachedHead=false",
)
# Of the caller's GIT_ variables only those that say how a remote is reached; the others would point at another tree.
# How git itself finds user and password in an address (credential.c, credential_from_url).
WITH_PASSWORD = re.compile(
    r"(?P<scheme>https?://)(?P<user>[^/?#@:]*):(?P<password>[^/?#@]*)@(?P<rest>(?P<host>[^/?#]*).*)"
)
KEPT_VARIABLES = re.compile(
    r"GIT_(SSH|SSH_COMMAND|SSH_VARIANT|ASKPASS|SSL_\w+|PROXY_\w+|CONFIG_NOSYSTEM|CONFIG_SYSTEM)"
)
REMEDIES = (
    (r"dubious ownership|unsafe repository", "Add that folder with git config --global --add safe.directory"),
    (r"Host key verification failed", "Add the host's key to known_hosts of the user that runs this"),
    (
        r"Permission denied|Authentication failed|could not read (Username|Password)|prompts disabled|\b40[13]\b",
        "Give the server a deploy key or a credential helper that needs no prompt",
    ),
    (r"does not appear to be a git repository|not found|does not exist", "Check the address with git remote -v"),
    (r".", "Check the network and the address with git remote -v"),
)


# --- running git -----------------------------------------------------------------------------------------------------


def strip_credentials(text: str) -> str:
    """``text`` with user information and query taken out of every URL: git prints them in some of its errors."""
    text = re.sub(r"([A-Za-z][A-Za-z0-9+.-]*://)[^/\s'\"]*@", r"\1", text)
    return re.sub(r"([A-Za-z][A-Za-z0-9+.-]*://[^\s'\"?]*)\?[^\s'\"]*", r"\1", text)


def reason_of(stderr: bytes) -> str:
    """The one line of git's (or ssh's) complaint that says why, without credentials."""
    lines = [line.strip() for line in stderr.decode("utf-8", "replace").splitlines()]
    telling = [line for line in lines if line and not re.match(r"(warning|hint|\*\*|Please )", line, re.IGNORECASE)]
    chosen = telling[0] if telling else "no reason given"
    return strip_credentials(re.sub(r"^(fatal|error|ERROR): ", "", chosen)).rstrip(".")


def find_work_tree(path: str) -> str | None:
    """The top of the git work tree that ``path`` is in, or None. Asks no git, so that nobody's ownership matters.

    :raises HotfixError: when ``path`` is not a directory.
    """
    real = os.path.realpath(path)
    if not os.path.isdir(real):
        raise HotfixError("there is no such directory", path=path, remedy="Check the path of the project")
    while True:
        if os.path.lexists(os.path.join(real, ".git")):
            return real
        parent = os.path.dirname(real)
        if parent == real:
            return None
        real = parent


class Git:
    """Runs git in one work tree: no prompts, no hooks, no background work, whoever owns the tree.

    :param top: the top of the work tree.
    :param scratch: an existing folder (0700) for temporary files.
    """

    def __init__(self, top: str, scratch: str) -> None:
        self.top = top
        self.scratch = scratch
        self.has_hidden_password = False
        self.environment = self._environment()
        self.git_dir = self.text("rev-parse", "--absolute-git-dir")
        self.objects = os.path.join(top, self.text("rev-parse", "--git-path", "objects"))

    def run(
        self,
        *arguments: str,
        stdin: bytes = b"",
        accept: tuple[int, ...] = (0,),
        env: Mapping[str, str] | None = None,
        timeout: float = LOCAL_TIMEOUT,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run one git command; exit codes outside ``accept`` raise HotfixError with git's own reason."""
        command = ["git", *(part for setting in SETTINGS for part in ("-c", setting)), *arguments]
        try:
            process = subprocess.Popen(
                command,
                cwd=self.top,
                env={**self.environment, **(env or {})},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except (FileNotFoundError, NotADirectoryError) as error:
            raise HotfixError(
                "this is a git work tree but git is not installed", path=self.top, remedy="Install git"
            ) from error
        try:
            out, err = process.communicate(stdin, timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # ssh and the transport helpers as well
            process.communicate()
            out, err, process.returncode = b"", f"no answer within {timeout:g} seconds".encode(), 124
        if process.returncode not in accept:
            remedy = REMEDIES[0][1] if re.search(REMEDIES[0][0], err.decode("utf-8", "replace")) else None
            raise HotfixError(f"git {arguments[0]} failed: {reason_of(err)}", path=self.top, remedy=remedy)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def text(self, *arguments: str, env: Mapping[str, str] | None = None) -> str:
        """The output of a command without its final newline."""
        return os.fsdecode(self.run(*arguments, env=env).stdout).rstrip("\n")

    def maybe(self, *arguments: str, env: Mapping[str, str] | None = None) -> str:
        """The output of a command, or an empty string when it fails."""
        done = self.run(*arguments, accept=ANY_CODE, env=env)
        return os.fsdecode(done.stdout).rstrip("\n") if done.returncode == 0 else ""

    def names(self, *arguments: str, env: Mapping[str, str] | None = None) -> list[str]:
        """The NUL-separated names that a command prints."""
        return [os.fsdecode(name) for name in self.run(*arguments, env=env).stdout.split(b"\0") if name]

    def hide_password(self, remote: str) -> None:
        """Keep the password in a remote's address out of the process list, where git shows it to everybody.

        git starts its helper for HTTP with the address as an argument. Here that becomes the address without the
        password, which the helper reads from a private file instead.
        """
        address = self.maybe("ls-remote", "--get-url", "--", remote)
        found = WITH_PASSWORD.fullmatch(address)
        if not found:
            return
        bare = found["scheme"] + found["rest"]
        store = os.path.join(self.scratch, "git-credentials")
        logins = f"{found['scheme']}{found['user']}:{found['password']}@"
        # With the path as well, for credential.useHttpPath.
        write_atomic(store, os.fsencode(f"{logins}{found['host']}\n{logins}{found['rest']}\n"), mode=0o600)
        written = self.maybe("config", "--get", f"remote.{remote}.url") or remote
        config = self.environment["GIT_CONFIG_GLOBAL"]
        lines = [
            # Of several rules git takes the longest one that fits, so this one is stronger than the user's own.
            f"[url {_quoted(bare)}]\n\tinsteadOf = {_quoted(written)}\n",
            f"[credential {_quoted(found['scheme'] + found['host'])}]\n\thelper =\n",
            f"\thelper = {_quoted('store --file=' + shlex.quote(store))}\n",
        ]
        write_atomic(config, read_bytes(config) + os.fsencode("".join(lines)), mode=0o600)
        self.has_hidden_password = True

    def _environment(self) -> dict[str, str]:
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("GIT_") or KEPT_VARIABLES.fullmatch(name)
        }
        environment.setdefault("HOME", pwd.getpwuid(os.geteuid()).pw_dir)
        for role in ("AUTHOR", "COMMITTER"):  # for the reflog; nothing is committed
            environment[f"GIT_{role}_NAME"] = "composeops.hotfix"
            environment[f"GIT_{role}_EMAIL"] = "composeops.hotfix@localhost"
        environment.update(LC_ALL="C", GIT_TERMINAL_PROMPT="0", GIT_OPTIONAL_LOCKS="0")
        environment["GIT_CONFIG_GLOBAL"] = self._global_config(environment)
        return environment

    def _global_config(self, environment: Mapping[str, str]) -> str:
        """A global configuration that adds ``safe.directory`` to the user's own.

        Git before 2.38 (Ubuntu 22.04) does not take ``-c safe.directory``; a global file works with all of them.
        """
        home = environment["HOME"]
        own = [os.environ["GIT_CONFIG_GLOBAL"]] if "GIT_CONFIG_GLOBAL" in os.environ else []
        own = own or [
            os.path.join(environment.get("XDG_CONFIG_HOME") or os.path.join(home, ".config"), "git", "config"),
            os.path.join(home, ".gitconfig"),
        ]
        lines = [f"[include]\n\tpath = {_quoted(path)}\n" for path in own if path]
        lines.append(f"[safe]\n\tdirectory = {_quoted(self.top)}\n")
        target = os.path.join(self.scratch, "gitconfig")
        write_atomic(target, os.fsencode("".join(lines)), mode=0o600)
        return target


def _quoted(text: str) -> str:
    """A value, or the name of a subsection, in a configuration file of git."""
    return json.dumps(text, ensure_ascii=False)


def joined(paths: Iterable[str]) -> bytes:
    """Names as git reads them with ``-z``."""
    return b"".join(os.fsencode(path) + b"\0" for path in paths)


def head_revision(path: str, scratch: str) -> str:
    """The commit that the work tree around ``path`` is on, or an empty string (no git, no commit)."""
    top = find_work_tree(path)
    return Git(top, scratch).maybe("rev-parse", "--verify", "--quiet", "HEAD") if top else ""


def go_back(path: str, revision: str, scratch: str, *, check: bool) -> bool:
    """Take the branch back to a commit that it has moved on from by an update; the files stay as they are.

    An update that was undone in the files but not in the branch would count as done, and never come again. Commits that
    no remote has would be lost on the way, so the branch then stays where it is. A branch that was taken back is taken
    on to where it was in the same way.

    :param check: only find out.
    :returns: whether the branch moved, or would.
    """
    top = find_work_tree(path) if revision else None
    if top is None:
        return False
    git = Git(top, scratch)
    head = git.maybe("rev-parse", "--verify", "--quiet", "HEAD")
    if head in ("", revision) or not has_commit(git, revision, {}):
        return False
    if not is_ancestor(git, head, revision, {}):
        back = is_ancestor(git, revision, head, {})
        if not back or not git.maybe("branch", "--remotes", "--contains", head):
            return False
    if not check:
        staged = git.names("diff-index", "--cached", "--name-only", "--no-renames", "-z", "HEAD")
        removed = set(staged) - set(git.names("ls-files", "-z"))
        git.run("reset", "--quiet", "--mixed", revision)
        # What was staged stays so, with the content of the work tree.
        git.run("update-index", "--force-remove", "-z", "--stdin", stdin=joined(removed))
        git.run("update-index", "--add", "--remove", "-z", "--stdin", stdin=joined(set(staged) - removed))
        own_repository(git.git_dir)
    return True


def own_repository(git_dir: str) -> None:
    """Give what root wrote below the git directory to the directory's owner, who could not fetch any more otherwise."""
    owner = os.stat(git_dir)
    if os.geteuid() != 0 or owner.st_uid == 0:
        return
    for folder, folders, files in os.walk(git_dir):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            with contextlib.suppress(FileNotFoundError):
                if os.lstat(path).st_uid == 0:
                    os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


# --- the remote ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Request:
    """What an update is asked for.

    :ivar branch: the branch on the remote; None for the upstream of the current branch, else the remote's default.
    :ivar check: only find out; nothing that can be seen changes, in the work tree or in the repository.
    :ivar timeout: seconds for each command that talks to the remote.
    """

    remote: str = "origin"
    branch: str | None = None
    check: bool = False
    timeout: float = 120


def _remote(git: Git, request: Request, *arguments: str, env: Mapping[str, str] | None = None) -> str:
    """Run a command that talks to the remote, bounded in time and without a prompt."""
    git.hide_password(request.remote)
    base = git.environment.get("GIT_SSH_COMMAND") or git.maybe("config", "core.sshCommand")
    network: dict[str, str] = dict(env or {})
    if base or "GIT_SSH" not in git.environment:
        network["GIT_SSH_COMMAND"] = f"{base or 'ssh'} -o BatchMode=yes -o ConnectTimeout=20"
    done = git.run(*arguments, accept=ANY_CODE, env=network, timeout=request.timeout)
    if done.returncode == 0:
        return os.fsdecode(done.stdout)
    said = done.stderr.decode("utf-8", "replace")
    url = strip_credentials(git.maybe("config", f"remote.{request.remote}.url"))
    reason = reason_of(done.stderr)
    remedy = next(remedy for pattern, remedy in REMEDIES if re.search(pattern, said or "?"))
    if git.has_hidden_password and re.search(r"Authentication failed|could not read (Username|Password)", said):
        reason = "it does not accept the user and password in its address"
        remedy = f"Correct them: git remote set-url {request.remote} ADDRESS"
    raise HotfixError(f"cannot fetch from {request.remote} ({url}): {reason}", remedy=remedy)


def find_upstream(git: Git, request: Request, current: str) -> tuple[str, str] | None:
    """Ask the remote which branch to follow and where it stands.

    :param current: the branch checked out here.
    :returns: the branch's name on the remote and its commit; None when there is no such branch to follow.
    :raises HotfixError: when the remote cannot be reached, or has no branch of the name asked for.
    """
    wanted = request.branch
    if wanted is None and git.maybe("config", f"branch.{current}.remote") == request.remote:
        wanted = git.maybe("config", f"branch.{current}.merge").replace("refs/heads/", "", 1) or None
    if wanted is not None and git.run("check-ref-format", f"refs/heads/{wanted}", accept=(0, 1)).returncode:
        raise HotfixError(f"{wanted} is not the name of a branch", remedy="Check the option branch")
    patterns = ["HEAD", *([f"refs/heads/{wanted}"] if wanted else [])]
    answer = _remote(git, request, "ls-remote", "--symref", "--", request.remote, *patterns)
    symbolic, revisions = "", {}
    for line in answer.splitlines():
        value, _tab, name = line.partition("\t")
        if value.startswith("ref: ") and name == "HEAD":
            symbolic = value[len("ref: ") :]
        else:
            revisions[name] = value
    name = f"refs/heads/{wanted}" if wanted else symbolic
    revision = revisions.get(name) or (revisions.get("HEAD") if name and name == symbolic else None)
    if revision is None and request.branch is not None:
        raise HotfixError(f"{request.remote} has no branch {request.branch}", remedy="Check the option branch")
    return (name.replace("refs/heads/", "", 1), revision) if revision else None


def fetch(git: Git, request: Request, branch: str, revision: str, env: Mapping[str, str]) -> None:
    """Bring the remote's commits here; in check mode into a private object folder and without moving any reference.

    :param env: variables that name the private object folder.
    """
    quiet = ["--refmap=", "--no-tags"] if request.check else []
    flags = ["--quiet", "--no-write-fetch-head", "--no-recurse-submodules", "--no-prune", *quiet]
    arguments = ["fetch", *flags, "--", request.remote, f"refs/heads/{branch}"]
    _remote(git, request, *arguments, env=env if request.check else None)
    if not has_commit(git, revision, env):
        raise HotfixError(f"{request.remote}/{branch} was replaced during the fetch", remedy="Run it again")


def has_commit(git: Git, revision: str, env: Mapping[str, str]) -> bool:
    """True when the commit's object is here."""
    return git.run("cat-file", "-e", f"{revision}^{{commit}}", accept=(0, 1, 128), env=env).returncode == 0


def is_ancestor(git: Git, older: str, newer: str, env: Mapping[str, str]) -> bool:
    """True when ``newer`` contains ``older``."""
    return git.run("merge-base", "--is-ancestor", older, newer, accept=(0, 1), env=env).returncode == 0
