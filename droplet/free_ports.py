#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print so many free TCP ports of the loopback address, one a line."""

from __future__ import annotations

import random
import socket
import sys

# Below the range from which the kernel takes the ports of outgoing connections, which could take one at a reboot.
PORTS = range(20000, 30000)


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def main() -> None:
    wanted = int(sys.argv[1])
    found = 0
    for port in random.sample(PORTS, len(PORTS)):
        if is_free(port):
            print(port)
            found += 1
        if found == wanted:
            return
    sys.exit(f"fewer than {wanted} free ports between {PORTS.start} and {PORTS.stop}")


if __name__ == "__main__":
    main()
