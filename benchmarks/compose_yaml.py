#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets the restart policy of a service, as the module compose_service does and by a round trip with ruamel.yaml.

python benchmarks/compose_yaml.py
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

from measuring import CHECKOUT, compare, show
from ruamel.yaml import YAML

# isort: split
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_change import changed_files, plan, wanted
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_file import Project
from ansible_collections.composeops.hotfix.plugins.module_utils._files import Edit

CHANGE = {"restart": "unless-stopped"}


def many_services(number: int) -> bytes:
    """A file as a generator writes it."""
    service = """\
  service-{n}:
    image: registry.example.com/team/service-{n}:1.{n}.0
    environment:
      - LOG_LEVEL=info  # until it is calm
      - DATABASE_URL=postgres://service-{n}@db:5432/service_{n}
    ports:
      - "{port}:8000"
    healthcheck:
      test: ["CMD", "curl", "-fsS", "http://localhost:8000/health"]
      interval: 30s
    depends_on: [db]

"""
    text = "# generated\nservices:\n  db:\n    image: postgres:17\n\n"
    return (text + "".join(service.format(n=n, port=9000 + n) for n in range(number))).encode()


def files() -> dict[str, tuple[bytes, str]]:
    """Content and service by the name of the case."""
    folder = Path(__file__).parent / "compose_files"
    runbook = CHECKOUT / "droplet" / "application" / "docker-compose.yml"
    found = {path.stem.replace("_", " "): (path.read_bytes(), "backend") for path in sorted(folder.glob("*.compose"))}
    crlf = found["anchors"][0].replace(b"\n", b"\r\n")
    return {
        "runbook": (runbook.read_bytes(), "backend"),
        **found,
        "anchors, CRLF": (crlf, "backend"),
        "50 services": (many_services(50), "service-25"),
        "200 services": (many_services(200), "service-100"),
    }


def ours(path: str, service: str) -> None:
    """All that the module does but ask Compose: lock, read, change, check the merged result, replace the file."""
    with Edit(path) as edit:
        before = Project.load(str(Path(path).parent))
        for was, now in changed_files(before, plan(before, service, wanted(**CHANGE))):
            edit.replace(path, was.data if was else None, now.data)


def round_trip(path: str, service: str) -> None:
    """ruamel.yaml with the settings that change least: quotes kept, long lines not folded."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    document = yaml.load(Path(path).read_bytes())
    document["services"][service].update(CHANGE)
    stream = io.BytesIO()
    yaml.dump(document, stream)
    Path(path).write_bytes(stream.getvalue())


def for_service(edit: Callable[[str, str], None], service: str) -> Callable[[str], None]:
    return lambda path: edit(path, service)


def main() -> None:
    rows = [
        (name, compare(data, for_service(ours, service), for_service(round_trip, service), "compose.yaml"))
        for name, (data, service) in files().items()
    ]
    show("Setting the restart policy of a service in a Compose file", "ruamel.yaml", rows)


if __name__ == "__main__":
    main()
