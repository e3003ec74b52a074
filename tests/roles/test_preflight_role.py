# SPDX-License-Identifier: GPL-3.0-or-later
"""The role preflight on a host where something is missing that it needs.

Where that is the Compose plugin, programs say what is said there. They are stand-ins: docker-compose 1 cannot be
installed any more beside what the tests need.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from role_play import play_roles

NO_PLUGIN = "#!/bin/sh\necho \"docker: 'compose' is not a docker command.\" >&2\nexit 1\n"


@pytest.mark.parametrize(
    ("standalone", "said"),
    [
        ("1.29.2", "Only docker-compose 1.29.2 is installed on host, which is no longer maintained. Install Compose 2"),
        ("", "There is no Compose on host. Install Compose 2 or newer: apt-get install docker-compose-v2"),
        # Good enough; what is missing is something else then.
        ("2.27.0", "there is no Compose file"),
    ],
)
def test_what_compose_there_is(tmp_path: Path, standalone: str, said: str) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    version = f"#!/bin/sh\necho {standalone}\n" if standalone else "#!/bin/sh\nexit 127\n"
    for name, script in (("docker", NO_PLUGIN), ("docker-compose", version)):
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    (tmp_path / ".env").touch()
    variables = {"application_project_src": str(tmp_path), "application_compose": {}}
    done = play_roles(tmp_path, ["preflight"], {"host": variables}, programs=programs)
    assert done.returncode != 0
    assert said in " ".join(done.stdout.split()), done.stdout


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("true", "There is no {} on host. Put it there, or say with application_env_file"),
        ("ln -s gone {}", "There is no {} on host. Put it there"),
        ("mkdir {}", "{} is a directory, not the environment file. Move it away. Put it there"),
        ("mkfifo {}", "{} is no regular file, not the environment file. Move it away."),
        ("ln -s .env {}", "{} cannot be read (Too many levels of symbolic links). Put it there"),
        # What is missing is something else then.
        ("touch {}.real; ln -s .env.real {}", "there is no Compose file"),
    ],
)
def test_what_environment_file_there_is(tmp_path: Path, script: str, said: str) -> None:
    path = tmp_path / ".env"
    subprocess.run(script.format(path, path), shell=True, check=True)
    variables = {"application_project_src": str(tmp_path), "application_compose": {}}
    done = play_roles(tmp_path, ["preflight"], {"host": variables})
    assert done.returncode != 0
    assert said.format(path) in " ".join(done.stdout.split()), done.stdout
