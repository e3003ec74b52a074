# SPDX-License-Identifier: GPL-3.0-or-later
"""The module dotenv_info, run as Ansible runs it, with real git repositories."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils import _dotenv_place
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv import parse
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv_audit import held_secrets
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import fingerprint

Run = Callable[..., dict[str, Any]]
IDENTITY = ("-c", "user.name=t", "-c", "user.email=t@example.org")
STRONG = "Jq3vT9xYb2LkR7mWc5PzH8nDf4sGa6UeV1tKoXiQyZw"


@pytest.fixture
def audit(run_module: Run, tmp_path: Path) -> Run:
    """Audit a file of this content, mode 0600, which stays as it is."""

    def run(content: str | bytes, **args: Any) -> dict[str, Any]:
        path = tmp_path / ".env"
        data = content if isinstance(content, bytes) else content.encode()
        path.write_bytes(data)
        path.chmod(args.pop("mode", 0o600))
        result = run_module("dotenv_info", {"path": str(path), **args})
        assert result == run_module("dotenv_info", {"path": str(path), **args}, check=True)
        assert path.read_bytes() == data
        assert not result["changed"]
        return result

    return run


def rules(result: dict[str, Any]) -> list[tuple[str, str, int, str]]:
    return [tuple(finding[key] for key in ("rule", "name", "line", "severity")) for finding in result["findings"]]


def test_the_runbooks_file(audit: Run) -> None:
    result = audit(
        'ENVIRONMENT=development\nVALID_API_KEYS=\'["dev-key-12345"]\'\nJWT_SECRET_KEY="[64-char random string]"\n'
        'OPENAI_API_KEY="sk-proj-[PRODUCTION_KEY]"\n',
        required={"ENVIRONMENT": "production", "DEBUG": False},
    )
    found = set(rules(result))
    assert found >= {
        ("missing", "DEBUG", 0, "high"),
        ("wrong_value", "ENVIRONMENT", 1, "high"),
        ("dev_key", "VALID_API_KEYS", 2, "critical"),
        ("published_key", "VALID_API_KEYS", 2, "critical"),
        ("placeholder", "JWT_SECRET_KEY", 3, "critical"),
        ("placeholder", "OPENAI_API_KEY", 4, "critical"),
    }
    assert [line for _rule, _name, line, _severity in rules(result)] == sorted(
        line for _r, _n, line, _s in rules(result)
    )
    assert not result["secure"]


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("dev-key-12345", "dev_key"),
        ("xK9mP2nQ8rL5vW3jH7fA1cB4dE6gT0yU2sR9pM5nL8v", "published_key"),
        ("CHANGE-THIS-IN-PRODUCTION", "placeholder"),
        ("abc123", "short"),
    ],
)
def test_an_unsafe_key_is_found(audit: Run, value: str, rule: str) -> None:
    result = audit(f'VALID_API_KEYS=\'["{STRONG}","{value}"]\'\n')
    assert rule in {finding["rule"] for finding in result["findings"]}
    assert not result["secure"]
    assert value not in json.dumps(result)


def test_strong_keys_are_secure(audit: Run) -> None:
    tokens = [secrets.token_urlsafe(32) for _round in range(400)]
    lines = [f"KEY_{number}={token}\n" for number, token in enumerate(tokens)]
    # A word such as "dev-" at the very beginning of a random token is as likely as one in ten million.
    for content in ("".join(lines), f"VALID_API_KEYS='{json.dumps(tokens, separators=(',', ':'))}'\n"):
        result = audit(content)
        assert result["findings"] == []
        assert result["secure"]


def test_what_is_no_secret_is_not_judged(audit: Run) -> None:
    assert audit("ACCESS_TOKEN_EXPIRE_MINUTES=30\nJWT_ALGORITHM=HS256\nMAX_TOKENS=4096\n")["findings"] == []
    assert rules(audit("EMAIL_HOST_PASSWORD=hello\n")) == [
        ("short", "EMAIL_HOST_PASSWORD", 1, "high"),
        ("low_entropy", "EMAIL_HOST_PASSWORD", 1, "high"),
    ]


def test_a_long_password_is_no_token(audit: Run) -> None:
    assert audit("SMTP_PASSWORD='p@ss#word with spaces'\n")["secure"]
    assert not audit("SMTP_PASSWORD='p@ss#word'\n")["secure"]
    assert not audit("SMTP_TOKEN='p@ss#word with spaces'\n")["secure"]


def test_each_weak_element_is_told_by_its_number(audit: Run) -> None:
    result = audit(f'VALID_API_KEYS=\'["{STRONG}","dev-key-12345"]\'\n')
    assert {finding["message"].split(" in ")[0] for finding in result["findings"]} == {"Key 2 of 2"}


def test_deny_patterns_and_entropy(audit: Run) -> None:
    content = f"API_KEY={STRONG}\n"
    assert audit(content)["secure"]
    assert ("denied", "API_KEY", 1, "high") in rules(audit(content, deny_patterns=["^Jq3"]))
    assert ("low_entropy", "API_KEY", 1, "high") in rules(audit(content, min_entropy_bits=500))


def test_required_values(audit: Run) -> None:
    content = f"ENVIRONMENT=production\nDEBUG=False\nOPENAI_API_KEY=\nINHERITED\nAPI_KEY={STRONG}\n"
    right = {"ENVIRONMENT": "production", "DEBUG": False, "API_KEY": None}
    assert audit(content, required=right)["secure"]
    result = audit(content, required={"ENVIRONMENT": "canary-x", "OPENAI_API_KEY": None, "INHERITED": "1", "NO": "1"})
    assert set(rules(result)) >= {
        ("wrong_value", "ENVIRONMENT", 1, "high"),
        ("missing", "OPENAI_API_KEY", 3, "high"),
        ("missing", "INHERITED", 4, "high"),
        ("missing", "NO", 0, "high"),
    }
    assert "canary" not in json.dumps(result)


def test_variables(audit: Run) -> None:
    result = audit("A=1\nexport B='x y'\nA=22\nHOME\nMIIEvQIBADANBgkqhkiG9w0\n")
    assert result["variables"] == [
        {"name": "A", "line": 3, "length": 2, "fingerprint": fingerprint("22"), "occurrences": 2},
        {"name": "B", "line": 2, "length": 3, "fingerprint": fingerprint("x y"), "occurrences": 1},
        {"name": "HOME", "line": 4, "length": 0, "fingerprint": "", "occurrences": 1},
        {"name": fingerprint("MIIEvQIBADANBgkqhkiG9w0"), "line": 5, "length": 0, "fingerprint": "", "occurrences": 1},
    ]
    assert ("duplicate", "A", 3, "medium") in rules(result)
    assert result["secure"]
    assert "MIIEvQIBADAN" not in json.dumps(result)


@pytest.mark.parametrize(
    ("content", "name", "line"),
    [
        ('X=["a"]\n', "X", 1),
        ("X = 'a'\n", "X", 1),
        ("Y=1\nX: a\n", "X", 2),
        ("X='a\\b'\n", "X", 1),
        ("X=${Y}\n", "X", 1),
        ("X\n", "X", 1),
        ("\ufeffX=1\n", "", 1),
        ("X=1\nY=2\r\n", "", 2),
    ],
)
def test_unportable_value(audit: Run, content: str, name: str, line: int) -> None:
    result = audit(content)
    assert rules(result) == [("unportable_value", name, line, "low")]
    assert result["secure"]


@pytest.mark.parametrize("content", ["A=1\nB='canary\n", 'A=1\nB="["canary"]"\n', "A=1\nB=canary${\n"])
def test_an_unparsable_file_is_a_finding(audit: Run, content: str) -> None:
    result = audit(content)
    assert rules(result) == [("unparsable", "", 2, "critical")]
    assert result["variables"] == []
    assert not result["secure"]
    assert "canary" not in json.dumps(result)


def test_a_malformed_list_is_a_finding(audit: Run) -> None:
    result = audit('VALID_API_KEYS=\'["canary-1", "canary-2"\'\n')
    assert rules(result) == [("unparsable", "VALID_API_KEYS", 1, "critical")]
    assert "canary" not in json.dumps(result)


@pytest.mark.parametrize(
    ("mode", "severity"),
    [(0o600, None), (0o400, None), (0o640, "medium"), (0o644, "high"), (0o660, "high"), (0o602, "high"), (0o711, None)],
)
def test_open_mode(audit: Run, mode: int, severity: str | None) -> None:
    found = rules(audit("A=1\n", mode=mode))
    assert found == ([] if severity is None else [("open_mode", "", 0, severity)])


def test_open_mode_says_who_may_do_what(audit: Run) -> None:
    messages = [audit("A=1\n", mode=mode)["findings"][0]["message"] for mode in (0o640, 0o644, 0o664, 0o622)]
    assert [message.split(";")[0] for message in messages] == [
        "The file may be read by its group (mode 0640)",
        "The file may be read by everybody (mode 0644)",
        "The file may be written by its group (mode 0664)",
        "The file may be written by everybody (mode 0622)",
    ]


@pytest.fixture
def repository(tmp_path: Path) -> Callable[..., None]:
    if not shutil.which("git"):
        pytest.skip("needs git")

    def git(*arguments: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True, capture_output=True)

    git("init", "-q")
    return git


def test_tracked_by_git(audit: Run, repository: Callable[..., None]) -> None:
    assert rules(audit("A=1\n")) == [("not_ignored_by_git", "", 0, "low")]
    repository("add", ".env")
    result = audit("A=1\n")
    assert rules(result) == [("tracked_by_git", "", 0, "high")]
    assert not result["secure"]
    repository("rm", "-q", "--cached", ".env")
    assert rules(audit("A=1\n")) == [("not_ignored_by_git", "", 0, "low")]


def test_an_ignored_file_is_fine(audit: Run, repository: Callable[..., None], tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("*.env\n", encoding="utf-8")
    assert rules(audit("A=1\n")) == []


@pytest.mark.parametrize("merged", [True, False])
def test_what_was_committed_has_to_be_rotated(audit: Run, repository: Callable[..., None], merged: bool) -> None:
    content = f"A=1\nJWT_SECRET={STRONG}\nDB_PASSWORD=hunter2\n"
    repository(*IDENTITY, "commit", "-q", "--allow-empty", "-m", "first")
    repository("checkout", "-q", "-b", "another")
    repository("checkout", "-q", "-b", "side")
    audit(content)
    repository("add", ".env")
    repository(*IDENTITY, "commit", "-q", "-m", "by mistake")
    if merged:  # what a merge brought and took away again is left out of a plain history
        repository("rm", "-q", "-f", ".env")
        repository(*IDENTITY, "commit", "-q", "-m", "removed")
    repository("checkout", "-q", "another")
    if merged:
        repository(*IDENTITY, "merge", "-q", "--no-ff", "-m", "merge", "side")
        repository("branch", "-q", "-D", "side")
    result = audit(content)
    assert ("in_git_history", "JWT_SECRET", 2, "high") in rules(result)
    (finding,) = [finding for finding in result["findings"] if finding["rule"] == "in_git_history"]
    assert "JWT_SECRET, DB_PASSWORD, committed" in finding["message"]
    assert not {STRONG, "hunter2"} & set(json.dumps(result).split('"'))
    # The values that were committed are of no use any more.
    assert "in_git_history" not in {rule for rule, *_rest in rules(audit(f"A=1\nJWT_SECRET={STRONG[::-1]}\n"))}


def test_a_submodule_and_a_second_work_tree(run_module: Run, repository: Callable[..., None], tmp_path: Path) -> None:
    repository(*IDENTITY, "commit", "-q", "--allow-empty", "-m", "first")
    repository("worktree", "add", "-q", str(tmp_path / "second"))
    repository("clone", "-q", str(tmp_path), str(tmp_path / "module"))
    repository("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "./module")
    for folder in ("second", "module"):
        path = tmp_path / folder / ".env"
        path.write_text("A=1\n", encoding="utf-8")
        path.chmod(0o600)
        repository("-C", str(tmp_path / folder), "add", "-f", ".env")
        result = run_module("dotenv_info", {"path": str(path)})
        assert rules(result) == [("tracked_by_git", "", 0, "high")], folder


@pytest.mark.parametrize(
    ("name", "found"),
    [
        (".env.bak", True), (".env.old", True), (".env~", True), (".env.20251018T020000.000000Z.bak", True),
        (".env.production", True), ("..env.swp", True), ("#.env#", True), ("notes", False), ("x.env", False),
    ],
)  # fmt: skip
def test_a_copy_beside_it(audit: Run, repository: Callable[..., None], tmp_path: Path, name: str, found: bool) -> None:
    content = f"JWT_SECRET={STRONG}\n"
    copy = tmp_path / name
    copy.write_text(f"# old\nJWT_SECRET='{STRONG}'\n", encoding="utf-8")
    copy.chmod(0o644)
    repository("add", "-f", name)
    (tmp_path / ".gitignore").write_text(".env\n", encoding="utf-8")
    result = audit(content)
    expected = [("open_mode", "", 0, "high"), ("tracked_by_git", "", 0, "high")] if found else []
    assert rules(result) == expected
    assert {finding["file"] for finding in result["findings"]} <= {str(copy)}
    assert all(f"{name}, which holds the value of JWT_SECRET," in finding["message"] for finding in result["findings"])
    # Closed, and with no secret that is still in use.
    copy.chmod(0o600)
    repository("rm", "-q", "--cached", name)
    assert rules(audit(content)) == []
    copy.chmod(0o644)
    assert rules(audit(f"JWT_SECRET={STRONG[::-1]}\n")) == []


def test_a_link_and_a_subfolder_are_seen_through(
    run_module: Run, repository: Callable[..., None], tmp_path: Path
) -> None:
    (tmp_path / "config").mkdir()
    target, link = tmp_path / "config" / "prod.env", tmp_path / ".env"
    target.write_text("A=1\n", encoding="utf-8")
    target.chmod(0o604)
    link.symlink_to(target)
    repository("add", "config/prod.env")
    found = rules(run_module("dotenv_info", {"path": str(link)}))
    assert found == [("open_mode", "", 0, "high"), ("tracked_by_git", "", 0, "high")]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a folder away")
def test_tracked_in_a_repository_of_somebody_else(audit: Run, repository: Callable[..., None], tmp_path: Path) -> None:
    audit("A=1\n")
    repository("add", ".env")
    for path in (tmp_path, *tmp_path.rglob("*")):
        os.chown(path, 65534, 65534)
    assert ("tracked_by_git", "", 0, "high") in rules(audit("A=1\n"))


def test_history_too_long_to_be_searched(
    audit: Run, repository: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version with the secret is older than those that are searched."""
    env = tmp_path / ".env"
    for number, text in enumerate((f"API_KEY={STRONG}\n", "A=1\n", "A=2\n")):
        env.write_text(text, encoding="utf-8")
        repository("add", ".env")
        who = ("-c", "user.name=x", "-c", "user.email=x@x.example")
        repository(*who, "commit", "-qm", str(number), f"--date=2026-01-0{number + 1}T00:00:00Z")
    monkeypatch.setattr(_dotenv_place, "MOST_VERSIONS", 1)
    found = _dotenv_place.place_findings(str(env), held_secrets(parse(f"API_KEY={STRONG}\n".encode())))
    messages = [finding.message for finding in found if finding.rule == "not_searched"]
    assert messages == ["Of the history of git only the newest 1 versions of the file were searched."]


def test_without_git_it_is_said_that_nobody_looked(
    run_module: Run, audit: Run, repository: Callable[..., None], tmp_path: Path
) -> None:
    audit("A=1\n")
    repository("add", ".env")
    empty = tmp_path / "bin"
    empty.mkdir()
    result = run_module("dotenv_info", {"path": str(tmp_path / ".env")}, env={"PATH": str(empty)})
    (finding,) = result["findings"]
    assert (finding["rule"], finding["severity"]) == ("not_searched", "low")
    assert "git is not installed" in finding["message"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({}, "{path}: cannot read this file: No such file or directory. Check the path."),
        ({"path": "/"}, "/: cannot read this file: Is a directory. Name a file, not a directory."),
        ({"deny_patterns": ["canary("]}, "number 1 of deny_patterns is not a regular expression"),
        ({"required": {"A": {"canary": 1}}}, "A in required is neither text"),
        ({"image": "a", "container": "b"}, "parameters are mutually exclusive: image|container|project_src"),
        ({"service": "a"}, "missing parameter(s) required by 'service': project_src"),
    ],
)
def test_bad_input(run_module: Run, tmp_path: Path, args: dict[str, Any], message: str) -> None:
    path = tmp_path / ".env"
    if args:
        path.write_text("API_KEY=abc\n", encoding="utf-8")
    result = run_module("dotenv_info", {"path": str(path), **args}, expect_failure=True)
    assert result["msg"].startswith(message.format(path=path))
    assert "Traceback" not in json.dumps(result)


def test_no_value_is_shown(audit: Run) -> None:
    required = {"A": "canary-required", "PASSWORD": None}
    result = audit(
        '# KEY=canary-0\nA=canary-a\nA=canary-b\nB: canary-c # x\nAPI_KEYS=\'["canary-1","dev-canary-2"]\'\n'
        "PASSWORD=canary-3 # canary-4\nC='canary'canary\n",
        required=required,
    )
    assert "canary" not in json.dumps(result)
