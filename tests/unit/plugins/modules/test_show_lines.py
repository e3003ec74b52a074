# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines are printed as they are, whatever format results are shown in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TABLE = ["Name            state", "------------------------", "'quoted': \"x\"   {{ not a template }}"]


@pytest.mark.parametrize("result_format", ["json", "yaml"])
def test_lines_are_printed_as_they_are(tmp_path: Path, result_format: str) -> None:
    playbook = tmp_path / "play.yml"
    playbook.write_text(
        """
- hosts: localhost
  gather_facts: false
  tasks:
    - composeops.hotfix.show_lines:
        lines: "{{ lookup('file', playbook_dir ~ '/table').splitlines() }}"
""",
        encoding="utf-8",
    )
    (tmp_path / "table").write_text("\n".join(TABLE), encoding="utf-8")
    command = [str(Path(sys.executable).with_name("ansible-playbook")), str(playbook)]
    environment = {**os.environ, "ANSIBLE_CALLBACK_RESULT_FORMAT": result_format, "ANSIBLE_HOME": str(tmp_path)}
    process = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert process.returncode == 0, process.stdout + process.stderr
    assert "\n" + "\n".join(TABLE) + "\n" in process.stdout


def test_lines_are_required(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("ansible")), "localhost", "-m", "composeops.hotfix.show_lines"]
    environment = {**os.environ, "ANSIBLE_HOME": str(tmp_path)}
    process = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert process.returncode != 0
    assert "missing required arguments: lines" in process.stdout + process.stderr
