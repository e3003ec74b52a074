#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs as many workers as `worker_count: auto` finds room for on a stand-in droplet, and one more, and judges both.

Two sizes of the application, three memory limits each. For each size two workers serve without a tight limit, and the
module worker_count makes numbers of what it measures then. That many workers serve under load under the limit: none may
die, and the control group's peak has to stay below the limit. With one more than the formula allows, the processes have
to be killed, or take more than the limit less the headroom. Exit status 1 when one case is otherwise.

    ansible-playbook droplet/create.yml -e droplet_name=sizing
    benchmarks/sizing.py --droplet sizing
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import Any, NamedTuple

import yaml
from live_workers import CHECKOUT, Droplet

PROJECT = "/opt/wealth-coach-ai"
OVERRIDE = f"{PROJECT}/docker-compose.override.yml"
COMPOSE = f"cd {PROJECT}; docker compose --progress quiet"
CONTAINER = "wealth_coach_backend"
KEY = "dev-key-12345"
MEBIBYTE = 1024**2
HEADROOM = 0.2
# What the search index of a worker takes grows with them: 92 and 161 MB.
DIMENSIONS = (256, 448)
LIMITS = (448, 704, 896)
# Seconds of load: until the sizes are measured, and until one worker too many has loaded all that it loads.
WARM_UP, TOO_MANY = 20, 30

# What the processes of the container take, in bytes and by the kernel alone: shared pages divided among their users.
LOOK = f"""
id=$(docker inspect --format '{{{{.Id}}}}' {CONTAINER})
peak=$(find /sys/fs/cgroup -path "*$id*" '(' -name memory.peak -o -name memory.max_usage_in_bytes ')' | head -1)
docker top {CONTAINER} -eo pid | tail -n +2 | while read pid; do cat /proc/$pid/smaps_rollup 2>/dev/null || :; done |
  awk '/^Pss:/ {{ sum += $2 }} END {{ printf "%d\\n", sum * 1024 }}'
cat $peak
cat ${{peak%/*}}/memory.events ${{peak%/*}}/memory.oom_control 2>/dev/null | awk '$1 == "oom_kill" {{ print $2 }}'
docker logs {CONTAINER} 2>&1 | grep -c 'Child process .* died' || :
"""


class Seen(NamedTuple):
    """What happened under load: the most that processes and control group took (bytes), kills, deaths in the log."""

    processes: int
    peak: int
    kills: int
    deaths: int
    failed: int


class Application:
    """The droplet's application, described anew by an override file, so that its own files stay as they are."""

    def __init__(self, droplet: Droplet) -> None:
        self.droplet = droplet

    def describe(self, workers: int, limit: int, dimensions: int) -> None:
        """Write the override file: memory limit in MiB, and the size of the index."""
        backend = {
            "mem_limit": f"{limit}m",
            "memswap_limit": f"{limit}m",
            "environment": {"EMBEDDING_DIMENSIONS": str(dimensions)},
            "command": f"uvicorn backend.main:app --host 0.0.0.0 --port 8000 --workers {workers}",
        }
        text = yaml.safe_dump({"services": {"backend": backend}})
        self.droplet.run(f"cat > {OVERRIDE}", text.encode())

    def start(self) -> None:
        """A new container of what is described, until it answers."""
        self.droplet.run(f"{COMPOSE} up --detach --force-recreate --no-deps backend")
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                with urllib.request.urlopen(f"{self.droplet.url}/api/v1/health", timeout=2):  # noqa: S310  (this machine)
                    return
            except OSError:
                time.sleep(0.2)
        sys.exit("the application did not answer within a minute")

    def load(self, seconds: int) -> Seen:
        """Put it under load, and look at it meanwhile."""
        command = [sys.executable, str(CHECKOUT / "droplet" / "load.py"), f"--url={self.droplet.url}"]
        command += [f"--seconds={seconds}", "--rate=12", "--concurrency=24", "--timeout=30"]
        env = {**os.environ, "DROPLET_API_KEY": KEY}
        most = 0
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as load:
            while load.poll() is None:
                looked = [int(number) for number in self.droplet.run(LOOK).split()]
                most = max(most, looked[0])
                time.sleep(2)
            answered = json.loads(load.communicate()[0])
        _now, peak, kills, deaths = (int(number) for number in self.droplet.run(LOOK).split())
        return Seen(most, peak, kills, deaths, answered["failed"])

    def restore(self) -> None:
        """Back to what its own files say."""
        self.droplet.run(f"rm -f {OVERRIDE}; {COMPOSE} up --detach")


def measured(application: Application, dimensions: int) -> list[dict[str, Any]]:
    """What the module makes of two workers that have served, for each of the limits.

    What it measured is given back to it for the choice, since it adds no worker while all are so young.
    """
    application.describe(2, 4096, dimensions)
    application.start()
    application.load(WARM_UP)
    found = ask(application, "")["sizing"]
    sizes = " ".join(f"{name}={found[name]}" for name in ("memory_shared", "memory_per_worker"))
    results = []
    for limit in LIMITS:
        application.describe(2, limit, dimensions)
        results.append(ask(application, sizes))
    return results


def ask(application: Application, sizes: str) -> dict[str, Any]:
    """What the module says of the number of workers."""
    arguments = f"project_src={PROJECT} service=backend workers=auto target=override headroom={HEADROOM} {sizes}"
    result = application.droplet.module("worker_count", arguments, check=True)
    if "sizing" not in result:
        sys.exit(f"worker_count: {result.get('msg', result)}")
    return result


def judge(application: Application, dimensions: int, limit: int, result: dict[str, Any], seconds: int) -> bool:
    """Run the number that was chosen, and one more than fits by the formula; print the arithmetic and the verdict."""
    budget, sizing = int(limit * MEBIBYTE * (1 - HEADROOM)), result["sizing"]
    shared, each, chosen = sizing["memory_shared"], sizing["memory_per_worker"], result["workers"]
    more = (budget - shared) // each + 1
    application.describe(chosen, limit, dimensions)
    application.start()
    right = application.load(seconds)
    application.describe(more, limit, dimensions)
    application.start()
    wrong = application.load(TOO_MANY)
    fits = not right.kills and not right.deaths and right.peak < limit * MEBIBYTE
    too_many = wrong.kills > 0 or wrong.processes > budget
    print(
        f"{dimensions} dimensions, limit {limit}m, budget {_mib(budget)}: {_mib(shared)} + n * {_mib(each)}; "
        f"auto {chosen} = {_mib(shared + chosen * each)}: {right.deaths} died in {seconds} s, "
        f"processes {_mib(right.processes)}, peak {_mib(right.peak)}, {right.failed} requests failed; "
        f"{more} = {_mib(shared + more * each)}: {wrong.kills} killed, processes {_mib(wrong.processes)}: "
        f"{'right' if fits and too_many else 'WRONG'}",
        flush=True,
    )
    return fits and too_many


def _mib(size: int) -> str:
    return f"{size / MEBIBYTE:.0f} MiB"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--droplet", default="sizing", help="name of the droplet (%(default)s)")
    parser.add_argument(
        "--seconds", type=int, default=180, help="how long the number that was chosen serves (%(default)s)"
    )
    options = parser.parse_args()
    application = Application(Droplet(options.droplet))
    verdicts = []
    try:
        for dimensions in DIMENSIONS:
            for limit, result in zip(LIMITS, measured(application, dimensions)):
                verdicts.append(judge(application, dimensions, limit, result, options.seconds))
    finally:
        application.restore()
    print(f"sizing: {sum(verdicts)} of {len(verdicts)}")
    return 0 if all(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
