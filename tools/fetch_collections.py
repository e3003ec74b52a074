#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Give the checkout a collections folder of its own: the collection itself as a link, and what it depends on.

The dependencies come from Galaxy where it answers, else from the PyPI package ``ansible``, which carries them.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
COLLECTIONS = CHECKOUT / ".ansible" / "collections"
FOLDER = COLLECTIONS / "ansible_collections"
# community.docker needs library_inventory_filtering_v1.
WANTED = ("community/docker", "community/library_inventory_filtering_v1")
# The PyPI package `ansible` that goes with the ansible-core pinned in requirements-dev.in.
WHEEL = "ansible==12.3.0" if sys.version_info < (3, 12) else "ansible==14.5.0"


def link_checkout() -> None:
    """Make ``ansible_collections/composeops/hotfix`` the checkout itself, so that every tool sees the live tree."""
    link = FOLDER / "composeops" / "hotfix"
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.exists():
        link.unlink(missing_ok=True)
        link.symlink_to("../../../..")


def complete() -> bool:
    """Whether every dependency is there; its manifest is the last file that either source writes."""
    return all((FOLDER / name / "MANIFEST.json").is_file() for name in WANTED)


def from_galaxy() -> bool:
    """Install the dependencies from Galaxy; False when it does not answer."""
    command = ["ansible-galaxy", "collection", "install", "community.docker:>=4.0.0,<6.0.0"]
    command += ["--timeout", "10", "--collections-path", str(COLLECTIONS)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0 and complete()


def from_wheel() -> None:
    """Unpack the dependencies from the PyPI package ``ansible``."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, WHEEL], check=True
        )
        with zipfile.ZipFile(next(Path(folder).glob("ansible-*.whl"))) as wheel:
            prefixes = tuple(f"ansible_collections/{name}/" for name in WANTED)
            members = [name for name in wheel.namelist() if name.startswith(prefixes)]
            # The manifest goes last: its presence says that the rest is there.
            wheel.extractall(COLLECTIONS, sorted(members, key=lambda name: name.endswith("MANIFEST.json")))


def main() -> None:
    link_checkout()
    if complete():
        return
    print("Fetching the collections this one depends on: ", end="", flush=True)
    if from_galaxy():
        print("from Galaxy")
    else:
        print(f"Galaxy does not answer, so from the PyPI package {WHEEL}", flush=True)
        from_wheel()


if __name__ == "__main__":
    main()
