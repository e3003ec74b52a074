# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules that edit files: two at once, killed at the swap, beside somebody's editor, on large and on odd files."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., dict[str, Any]]
COLLECTIONS = Path(__file__).resolve().parents[4] / ".ansible" / "collections"
STRONG = [f"{letter}9mP2nQ8rL5vW3jH7fA1cB4dE6gT0yU2sR9pM5nL8v" for letter in "xyz"]
PROJECT = """\
services:
  web:
    image: web  # keep
    command: uvicorn app:app --workers 4
  queue:
    image: queue
"""
PROGRAM = """\
import redis


class RedisClient:
    def __init__(self):
        self.redis = redis.Redis()

    def disconnect(self):
        self.redis.close()


client = RedisClient()


def get_redis_client():
    return client


async def shutdown():
    redis_client = get_redis_client()
    await redis_client.close()
"""

# Loaded by Python as it starts: does something at the n-th rename, or just after it.
AT_RENAME = """
import os, signal, sys

renames = 0

def hook(frame, event, function):
    global renames
    if event not in ("c_call", "c_return") or function is not os.replace:
        return
    renames += 1
    if renames == {step}:
        sys.setprofile(None)
        {action}

sys.setprofile(hook)
"""
# Before the last look at the file, not after it: fsync comes just before that.
AT_FSYNC = AT_RENAME.replace("os.replace", "os.fsync")
KILL = "os.kill(os.getpid(), signal.SIGKILL)"


def hooked(folder: Path, text: str, step: int, action: str) -> dict[str, str]:
    """The environment of a module in which something happens at a step."""
    site = folder / "site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(text.format(step=step, action=action))
    return {"PYTHONPATH": f"{site}:{COLLECTIONS}"}


@pytest.fixture
def app(tmp_path: Path) -> Path:
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "compose.yaml").write_text(PROJECT)
    (folder / ".env").write_text(f"VALID_API_KEYS='[\"{STRONG[0]}\"]'\nDEBUG=true\n")
    (folder / "main.py").write_text(PROGRAM)
    return folder


def keys(app: Path) -> list[str]:
    line = (app / ".env").read_text().splitlines()[0]
    found: list[str] = json.loads(line.partition("=")[2].strip("'"))
    return found


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.suffix == ".tmp"]


def test_all_at_once(run_module: Run, app: Path, tmp_path: Path) -> None:
    """Every change of every module is there in the end, and nothing else in the folder."""
    env, project = {"path": str(app / ".env")}, {"project_src": str(app)}
    state = str(tmp_path / "state" / "ages.json")
    always = {"regenerate": "always", "state_file": state}
    runs: list[tuple[str, dict[str, Any]]] = [
        *(("dotenv", {**env, "values": {f"NAME_{number}": "1"}}) for number in range(5)),
        *(("key_rotation", {**env, **always}) for _number in range(4)),
        *(("key_rotation", {**env, **always, "name": f"OTHER_{number}"}) for number in range(2)),
        *(("compose_service", {**project, "service": name, "restart": "always"}) for name in ("web", "queue")),
        ("compose_service", {**project, "service": "queue", "environment": {"LEVEL": "info"}}),
        ("worker_count", {**project, "service": "web", "workers": "2"}),
        ("redis_shutdown", {"path": str(app / "main.py")}),
    ]
    no_docker = {"PATH": str(tmp_path)}  # to ask Compose each time would only take longer
    with ThreadPoolExecutor(len(runs)) as pool:
        results = list(pool.map(lambda run: run_module(*run, env=no_docker), runs))
    assert all(result["changed"] for result in results)
    text = (app / ".env").read_text()
    assert sorted(line for line in text.splitlines() if line.startswith("NAME_")) == [f"NAME_{n}=1" for n in range(5)]
    assert len(keys(app)) == 5
    assert keys(app)[-1] == STRONG[0]
    known = json.loads(Path(state).read_text())["files"][str(app / ".env")]
    assert {name: len(ages) for name, ages in known.items()} == {"VALID_API_KEYS": 5, "OTHER_0": 1, "OTHER_1": 1}
    compose = (app / "compose.yaml").read_text()
    assert compose.count("restart: always") == 2
    assert "LEVEL: info" in compose
    assert "--workers 2" in compose
    assert "# keep" in compose
    assert ".disconnect()" in (app / "main.py").read_text()
    assert sorted(path.name for path in app.iterdir()) == [".env", "compose.yaml", "main.py"]


@pytest.mark.parametrize("step", range(1, 7))  # before and after the rename of the copy, the file, the ages
def test_rotation_killed_around_each_rename(run_module: Run, app: Path, tmp_path: Path, step: int) -> None:
    before = (app / ".env").read_text()
    args = {
        "path": str(app / ".env"),
        "deny_patterns": [STRONG[0][:8]],
        "backup": True,
        "state_file": str(tmp_path / "state" / "ages.json"),
    }
    with pytest.raises(AssertionError, match="printed no result"):
        run_module("key_rotation", args, env=hooked(tmp_path, AT_RENAME, step, KILL))
    left = (app / ".env").read_text()
    assert (left == before) is (step < 4)
    assert left.splitlines()[1:] == before.splitlines()[1:]
    run_module("key_rotation", args)
    assert len(keys(app)) == 1
    assert keys(app) != [STRONG[0]]
    assert step < 4 or (app / ".env").read_text() == left
    assert leftovers(app) == leftovers(tmp_path / "state") == []
    copies = [path for path in app.iterdir() if path.suffix == ".bak"]
    assert copies
    assert all(path.read_text() == before and stat.S_IMODE(path.stat().st_mode) == 0o600 for path in copies)


EDITS: dict[str, tuple[str, dict[str, Any]]] = {
    "dotenv": (".env", {"path": "{app}/.env", "values": {"DEBUG": False}, "backup": True}),
    "key_rotation": (".env", {"path": "{app}/.env", "regenerate": "always", "backup": True}),
    "compose_service": ("compose.yaml", {"project_src": "{app}", "service": "web", "restart": "no", "backup": True}),
    "worker_count": ("compose.yaml", {"project_src": "{app}", "service": "web", "workers": "2", "backup": True}),
    "redis_shutdown": ("main.py", {"path": "{app}/main.py", "backup": True}),
}


def arguments(app: Path, module: str, **more: Any) -> dict[str, Any]:
    given = {**EDITS[module][1], **more}
    return {
        name: value.replace("{app}", str(app)) if isinstance(value, str) else value for name, value in given.items()
    }


@pytest.mark.parametrize("module", EDITS)
def test_change_made_in_an_editor_meanwhile_is_left(run_module: Run, app: Path, tmp_path: Path, module: str) -> None:
    path = app / EDITS[module][0]
    theirs = path.read_text() + "# theirs\n"
    save = f"open({str(path)!r}, 'w').write({theirs!r})"
    env = hooked(tmp_path, AT_FSYNC, 1, save)
    result = run_module(module, arguments(app, module, backup=False), expect_failure=True, env=env)
    assert result["msg"] == f"{path}: somebody else changed this file meanwhile. It is left so; run again."
    assert path.read_text() == theirs
    again = run_module(module, arguments(app, module))
    assert again["changed"]
    assert path.read_text() != theirs
    assert "# theirs\n" in path.read_text()
    assert Path(again["backup_file"]).read_text() == theirs
    assert leftovers(app) == []


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("module", EDITS)
def test_hard_link_is_refused_in_check_mode_too(run_module: Run, app: Path, module: str, check: bool) -> None:
    path = app / EDITS[module][0]
    before = path.read_bytes()
    os.link(path, app / "other")
    result = run_module(module, arguments(app, module), check=check, expect_failure=True)
    assert result["msg"].startswith(f"{path}: this file has 2 names (hard links)")
    assert path.read_bytes() == before
    assert [entry for entry in app.iterdir() if entry.suffix in (".bak", ".tmp")] == []


@pytest.mark.parametrize("module", EDITS)
def test_number_of_copies_that_is_none_is_refused(run_module: Run, app: Path, module: str) -> None:
    before = (app / EDITS[module][0]).read_bytes()
    for check in (True, False):
        result = run_module(module, arguments(app, module, backup_keep=0), check=check, expect_failure=True)
        assert result["msg"] == "backup_keep is 0. Give 1 or more, or set backup: false."
    assert (app / EDITS[module][0]).read_bytes() == before


def test_file_of_ten_thousand_lines(run_module: Run, tmp_path: Path) -> None:
    path = tmp_path / ".env"
    lines = [f"# about {n}\r\n" if n % 10 == 0 else f"NAME_{n}='value {n}'  # {n}\r\n" for n in range(10_000)]
    lines[5_005] = f'VALID_API_KEYS=\'["dev-key-12345","{STRONG[0]}"]\'\r\n'
    path.write_text("".join(lines), newline="")
    run_module("dotenv", {"path": str(path), "values": {"NAME_7001": "other"}, "absent": ["NAME_3"]})
    run_module("key_rotation", {"path": str(path), "new_key": STRONG[1]})
    lines[7_001] = "NAME_7001='other'  # 7001\r\n"
    lines[5_005] = f'VALID_API_KEYS=\'["{STRONG[1]}","{STRONG[0]}"]\'\r\n'
    del lines[3]
    with open(path, newline="") as stream:
        assert stream.read() == "".join(lines)
