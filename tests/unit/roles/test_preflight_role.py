# SPDX-License-Identifier: GPL-3.0-or-later
"""The role preflight on a host without the Compose plugin, beside programs that say what one says there.

They are stand-ins: docker-compose 1 cannot be installed any more beside what the tests need.
"""

from __future__ import annotations

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
