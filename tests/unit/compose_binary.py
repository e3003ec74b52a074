# SPDX-License-Identifier: GPL-3.0-or-later
"""The Compose programs that the set-up fetched, the newest and one of the 2 series, for tests to ask."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


def _version(program: str) -> str:
    """What a program says of itself, as in 5.6.1."""
    answer = subprocess.run([program, "version", "--short"], capture_output=True, text=True, check=True)
    return answer.stdout.strip().lstrip("v")


# The newest first.
PROGRAMS = [
    program
    for program in (
        shutil.which("docker-compose", path=PATH),
        *sorted(map(str, (CHECKOUT / ".state" / "compose").glob("*/docker-compose"))),
    )
    if program
]
BY_VERSION: dict[str, str] = {_version(program): program for program in PROGRAMS}
