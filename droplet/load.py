#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bounded load on the stand-in droplet's search: so many requests a second, for so long, on this machine only.

The API key comes from the environment variable DROPLET_API_KEY. Prints one line of JSON; exit status 0 means that
the load ran, whatever was answered. SIGTERM ends it before its time.
"""

from __future__ import annotations

import argparse
import http.client
import ipaddress
import json
import os
import random
import signal
import socket
import sys
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Number = TypeVar("Number", int, float)

KEY_VARIABLE = "DROPLET_API_KEY"
MAX_SECONDS = 600
MAX_RATE = 200
MAX_CONCURRENCY = 64

SUBJECTS = ("retirement", "mortgage", "savings", "pension", "budget", "insurance", "inheritance", "tax", "loan", "gold")
SITUATIONS = ("student", "founder", "parent", "freelancer", "couple", "family", "divorce", "promotion", "illness")
AIMS = ("reduce", "compare", "start", "protect", "grow", "plan", "review", "avoid", "repay", "split")


def loopback(url: str) -> urllib.parse.SplitResult:
    """The parsed URL, if each address of its host is this machine's own."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise argparse.ArgumentTypeError(f"{url!r} is not an http:// URL")
    try:
        addresses = {info[4][0] for info in socket.getaddrinfo(parts.hostname, parts.port or 80)}
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{url!r}: {error}") from error
    if not all(ipaddress.ip_address(address).is_loopback for address in addresses):
        raise argparse.ArgumentTypeError(
            f"{parts.hostname!r} is not a loopback address; load is only put on this machine"
        )
    return parts


def bounded(kind: type[Number], low: float, high: float) -> Callable[[str], Number]:
    def parse(text: str) -> Number:
        try:
            value = kind(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number") from error
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not within {low} and {high}")
        return value

    return parse


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", type=loopback, default="http://127.0.0.1:8000", help="where the API is (%(default)s)")
    parser.add_argument("--path", default="/api/v1/search?q={query}", help="what to ask for (%(default)s)")
    parser.add_argument(
        "--rate", type=bounded(float, 0.1, MAX_RATE), default=20, help="requests a second (%(default)s)"
    )
    parser.add_argument(
        "--seconds", type=bounded(float, 0.1, MAX_SECONDS), default=30, help="for how long (%(default)s)"
    )
    parser.add_argument("--until", default="", help="a file that ends the load as soon as it exists")
    parser.add_argument("--record", default="", help="a file for begin, seconds and outcome of each request")
    parser.add_argument(
        "--concurrency",
        type=bounded(int, 1, MAX_CONCURRENCY),
        default=16,
        help="requests under way at most (%(default)s)",
    )
    parser.add_argument(
        "--timeout", type=bounded(float, 0.1, 60), default=10, help="seconds for one request (%(default)s)"
    )
    return parser.parse_args()


class Load:
    def __init__(self, options: argparse.Namespace, key: str) -> None:
        self._options = options
        self._headers = {"X-API-Key": key, "Connection": "close"}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._random = random.SystemRandom()
        self.statuses: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.slowest = 0.0
        # When each request began (seconds since 1970), how long it took, and its status or error.
        self.requests: list[tuple[float, float, str]] = []

    def question(self) -> str:
        """Rarely the same twice, so that the answers are not all in a cache."""
        with self._lock:
            choose = self._random.choice
            return f"{choose(AIMS)} {choose(SUBJECTS)} {choose(SITUATIONS)} {self._random.randrange(10**6)}"

    def request(self) -> None:
        url = self._options.url
        path = self._options.path.replace("{query}", urllib.parse.quote(self.question()))
        # A connection of its own for each request spreads the load over all workers.
        connection = http.client.HTTPConnection(url.hostname, url.port or 80, timeout=self._options.timeout)
        since, began = time.time(), time.monotonic()
        try:
            connection.request("GET", path, headers=self._headers)
            response = connection.getresponse()
            response.read()
            outcome, counter = str(response.status), self.statuses
        except (OSError, http.client.HTTPException) as error:
            outcome, counter = type(error).__name__, self.errors
        finally:
            connection.close()
        with self._lock:
            counter[outcome] += 1
            seconds = time.monotonic() - began
            self.slowest = max(self.slowest, seconds)
            self.requests.append((since, seconds, outcome))

    def run(self) -> dict[str, object]:
        options = self._options
        signal.signal(signal.SIGTERM, lambda *_arguments: self._ended.set())
        free = threading.Semaphore(options.concurrency)
        began = time.monotonic()
        sent = 0

        def one() -> None:
            try:
                self.request()
            finally:
                free.release()

        with ThreadPoolExecutor(options.concurrency) as pool:
            for number in range(int(options.rate * options.seconds)):
                due = began + number / options.rate
                self._ended.wait(max(0.0, due - time.monotonic()))
                # When the server does not keep up, requests are sent later and fewer, never piled up.
                left = began + options.seconds - time.monotonic()
                if options.until and os.path.exists(options.until):
                    break
                if left <= 0 or self._ended.is_set() or not free.acquire(timeout=left):
                    break
                pool.submit(one)
                sent += 1
        server_errors = sum(count for status, count in self.statuses.items() if status.startswith("5"))
        return {
            "requests": sent,
            "failed": sum(self.errors.values()) + server_errors,
            "statuses": dict(sorted(self.statuses.items())),
            "errors": dict(sorted(self.errors.items())),
            "seconds": round(time.monotonic() - began, 1),
            "slowest": round(self.slowest, 2),
        }


def main() -> int:
    options = arguments()
    key = os.environ.get(KEY_VARIABLE)
    if not key:
        print(f"load.py: the environment variable {KEY_VARIABLE} is not set", file=sys.stderr)
        return 2
    load = Load(options, key)
    print(json.dumps(load.run()))
    if options.record:
        with open(options.record, "w", encoding="utf-8") as stream:
            json.dump(sorted(load.requests), stream)
    return 0


if __name__ == "__main__":
    sys.exit(main())
