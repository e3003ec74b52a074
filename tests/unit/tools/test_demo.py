# SPDX-License-Identifier: GPL-3.0-or-later
"""The demonstration shows the commands that it really runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import report_cases
from ansible_collections.composeops.hotfix.plugins.module_utils import _report_table

DEMO = (Path(__file__).resolve().parents[3] / "tools" / "demo.sh").read_text(encoding="utf-8")


def test_a_command_is_shown_as_it_runs(tmp_path: Path) -> None:
    """Run by the function of the demonstration itself, on this machine instead of a droplet."""
    function = re.search(r"^on_droplet\(\) \{\n.*?^\}\n", DEMO, re.MULTILINE | re.DOTALL)
    assert function
    inventory = tmp_path / "hosts.ini"
    inventory.write_text(f"droplet ansible_connection=local ansible_python_interpreter={sys.executable}\n")
    command = "echo '{{.Name}} a=1' | sort; echo \"b   c\""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "ANSIBLE_LOCAL_TEMP": str(tmp_path),
        "inventory": str(inventory),
        "command": command,
    }
    script = f'{function[0]}on_droplet "$command"'
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True)
    shown = re.sub(r"\x1b\[\d*m", "", done.stdout)
    assert shown == f"droplet# {command}\n    {{{{.Name}}}} a=1\n    b   c\n"


def test_no_command_is_written_for_ansible() -> None:
    commands = re.findall(r"^on_droplet (.*)$", DEMO, re.MULTILINE)
    assert len(commands) > 3
    assert not [command for command in commands if re.search(r"\{\{ |\{%", command)]


def test_it_ends_with_the_table_of_the_report_and_where_its_page_is(tmp_path: Path) -> None:
    end = DEMO[DEMO.index('title "What became of it"\n') :].partition("\n")[2]
    report = report_cases.report()
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "droplet.json").write_text(json.dumps(report))
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "ANSIBLE_LOCAL_TEMP": str(tmp_path),
        "COLUMNS": "80",
    }
    script = f"cd {tmp_path}; state=.; {end}"
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == _report_table.summary_table(report, f"{tmp_path}/./report/droplet.html")
