# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs while a playbook does, where its modules run: what can be seen of them for a moment only.

Arguments, each a list as JSON: patterns of temporary files, and files of which every version is wanted. Ends with its
standard input and prints JSON.
"""

import glob
import json
import os
import re
import select
import stat
import sys

PAUSE = 0.03  # seconds between two looks
COMPOSE_HELPER = "DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND="
IN_CONTAINER = re.compile(r"docker[/-][0-9a-f]{64}|buildkit")


def text_of(path):
    """A file's text; empty when it has gone or is closed to us."""
    try:
        with open(path, "rb") as stream:
            return stream.read().decode("utf-8", "replace")
    except OSError:
        return ""


def main():
    temporary, files = json.loads(sys.argv[1]), json.loads(sys.argv[2])
    command_lines, environments, versions, modes, seen, looks = set(), set(), set(), set(), set(), 0
    while not select.select([sys.stdin], [], [], PAUSE)[0]:
        looks += 1
        for pid in filter(str.isdigit, os.listdir("/proc")):
            line = text_of(f"/proc/{pid}/cmdline")
            if not line or (pid, line) in seen:
                continue
            seen.add((pid, line))
            command_lines.add(line.replace("\0", " "))
            environment = text_of(f"/proc/{pid}/environ").replace("\0", "\n")
            # A container's own processes get the secrets from Compose, and so do its helpers, which only root can read.
            if COMPOSE_HELPER not in environment and not IN_CONTAINER.search(text_of(f"/proc/{pid}/cgroup")):
                environments.add(environment)
        for path in (path for pattern in temporary for path in glob.glob(os.path.expanduser(pattern))):
            try:
                found = os.lstat(path)
            except OSError:
                continue
            modes.add((path, stat.filemode(found.st_mode)))
        versions |= {text_of(path) for path in files}
    answer = {"command_lines": command_lines, "environments": environments, "versions": versions, "modes": modes}
    print(json.dumps({"looks": looks, **answer}, default=sorted))


if __name__ == "__main__":
    main()
