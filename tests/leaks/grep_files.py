# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs where the files are: reads a request as JSON, has grep search for thousands of texts at once, prints JSON."""

import json
import os
import stat
import subprocess
import sys
from collections import Counter

CHUNK = 500  # files for each grep


def files_below(paths, pruned):
    """Regular files and their sizes."""
    for top in paths:
        if os.path.isfile(top):
            yield top, os.path.getsize(top)
        for folder, folders, names in os.walk(top):
            folders[:] = [name for name in folders if os.path.join(folder, name) not in pruned]
            for name in names:
                path = os.path.join(folder, name)
                try:
                    found = os.lstat(path)
                except FileNotFoundError:
                    continue
                if stat.S_ISREG(found.st_mode):
                    yield path, found.st_size


def main():
    request = json.load(sys.stdin)
    patterns = os.memfd_create("patterns", 0)
    os.write(patterns, "\n".join(request["patterns"]).encode())
    sizes = dict(files_below(request["paths"], set(request["pruned"])))
    paths, hits = sorted(sizes), Counter()
    command = ["grep", "-a", "-o", "-H", "-Z", "-s", "-F", "-f", f"/proc/{os.getpid()}/fd/{patterns}", "--"]
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
    for at in range(0, len(paths), CHUNK):
        # It ends with 1 where nothing is found.
        done = subprocess.run(command + paths[at : at + CHUNK], check=False, stdout=subprocess.PIPE, env=environment)
        for row in done.stdout.split(b"\n"):
            path, nul, piece = row.partition(b"\0")
            if nul:
                hits[os.fsdecode(path), piece.decode()] += 1
    answer = [[path, piece, count] for (path, piece), count in hits.items()]
    print(json.dumps({"files": len(paths), "bytes": sum(sizes.values()), "hits": answer}))


if __name__ == "__main__":
    main()
