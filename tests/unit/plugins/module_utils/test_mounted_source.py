# SPDX-License-Identifier: GPL-3.0-or-later
"""Which source a container sees through bind mounts, and which of it was changed after it was started."""

from __future__ import annotations

import os
import shutil
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils._mounted_source import inside, mounted_source


def bind(source: str, target: str) -> dict[str, str]:
    return {"Type": "bind", "Source": source, "Destination": target}


def volume(target: str) -> dict[str, str]:
    return {"Type": "volume", "Source": "/var/lib/docker/volumes/x/_data", "Destination": target}


# The mounts, and where /p/backend/main.py is seen.
SEEN = {
    "none": ([], None),
    "the project": ([bind("/p", "/app")], "/app/backend/main.py"),
    "the folder": ([bind("/p/backend", "/app/backend")], "/app/backend/main.py"),
    "the file": ([bind("/p/backend/main.py", "/srv/main.py")], "/srv/main.py"),
    "everything": ([bind("/", "/host")], "/host/p/backend/main.py"),
    "at the root": ([bind("/p", "/")], "/backend/main.py"),
    "another folder": ([bind("/p/back", "/app/backend")], None),
    "a volume": ([volume("/app")], None),
    "under a volume": ([bind("/p", "/app"), volume("/app/backend")], None),
    "beside a volume": ([bind("/p", "/app"), volume("/app/back")], "/app/backend/main.py"),
    "over a volume": ([volume("/app"), bind("/p/backend", "/app/backend")], "/app/backend/main.py"),
    "under another folder": ([bind("/p", "/app"), bind("/q", "/app/backend")], None),
    "twice": ([bind("/p", "/app"), volume("/app/backend"), bind("/p/backend", "/code")], "/code/main.py"),
}


@pytest.mark.parametrize("name", SEEN)
def test_a_file_is_seen_where_no_other_mount_hides_it(name: str) -> None:
    mounts, expected = SEEN[name]
    assert inside("/p/backend/main.py", mounts) == expected


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("backend/main.py", "backend/notes.txt", "backend/__pycache__/x.py", "data/rows.csv", "tools/x.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1\n")
    return tmp_path


def inspected(project: Path, *mounts: dict[str, str], seconds: float = 0) -> dict[str, Any]:
    """What Docker shows of a container that was started so many seconds from now."""
    started = datetime.now(timezone.utc) + timedelta(seconds=seconds)
    return {
        "State": {
            "Status": "running",
            "StartedAt": started.strftime("%Y-%m-%dT%H:%M:%S.%f000Z"),
            "Running": True,
            "Pid": 1,
        },
        "Config": {"Labels": {"com.docker.compose.project.working_dir": str(project)}, "Image": "x"},
        "Image": "sha256:x",
        "Mounts": list(mounts),
    }


def test_what_was_changed_after_the_start_is_named(project: Path) -> None:
    mount = bind(str(project / "backend"), "/app/backend")
    early, late = inspected(project, mount, seconds=-60), inspected(project, mount, seconds=60)
    main = str(project / "backend/main.py")
    assert mounted_source(early) == {"mounts": [mount["Source"]], "unread": [main]}
    assert mounted_source(late) == {"mounts": [mount["Source"]], "unread": []}


def test_a_copy_with_an_old_date_is_a_change(project: Path) -> None:
    main = project / "backend/main.py"
    os.utime(main, (0, 0))
    shutil.copy2(main, project / "copy.py")
    os.replace(project / "copy.py", main)
    found = mounted_source(inspected(project, bind(str(main), "/app/main.py"), seconds=-60))
    assert found["unread"] == [str(main)]


@pytest.mark.parametrize("mounted", ["data", "backend/notes.txt", "elsewhere"])
def test_what_holds_no_source_of_the_project_does_not_count(project: Path, mounted: str) -> None:
    mount = bind(str(project / mounted), "/app/data")
    assert mounted_source(inspected(project, mount, seconds=-60)) == {"mounts": [], "unread": []}


def test_what_a_volume_hides_does_not_count(project: Path) -> None:
    mounts = [bind(str(project), "/app"), volume("/app/backend")]
    assert mounted_source(inspected(project, *mounts, seconds=-60))["unread"] == [str(project / "tools/x.py")]


def test_a_container_of_no_project_has_no_source(project: Path) -> None:
    found = inspected(project, bind(str(project), "/app"), seconds=-60)
    found["Config"]["Labels"] = None
    assert mounted_source(found) == {"mounts": [], "unread": []}
    found["Mounts"] = None
    assert mounted_source(found)["mounts"] == []
