#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deploys changes under constant load on stand-in droplets, and prints what the clients noticed of each way.

Two equal droplets of their own, at the same time: one whose application publishes its port itself, where the runbook's
steps (`docker compose down`, edit, `up -d`), a recreate and a handover are measured, and one with nginx before the
application, for the rolling replacement. Each way deploys a new API key, another number of workers and new code in
turn, under 50 requests a second, each on a connection of its own. Exit status 1 when a handover or a rolling
replacement lost a request.
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

import yaml

CHECKOUT = Path(__file__).resolve().parents[1]
PROJECT = "/opt/wealth-coach-ai"
KEY = "a-key-that-stays-valid-for-the-load"
# Takes its answer out of Redis: searches proper would keep a small machine busy by themselves.
PATH = "/api/v1/search?q=saving"
RATE, CONCURRENCY = 50, 48
# Seconds of load before the change, after it, and at most.
BEFORE, AFTER, MOST = 6, 3, 240
HEALTHY = '{"status":"healthy"}'
# Errors of a client whose connection was accepted and then cut; all others were refused or ran into the limit.
CUT = ("RemoteDisconnected", "ConnectionResetError", "IncompleteRead", "BadStatusLine", "BrokenPipeError")
WAYS = ("runbook", "recreate", "handover", "rolling")
LOSSLESS = ("handover", "rolling")

# What an operator edits. The old key stays valid beside the new one, as when keys are rotated with an overlap.
EDITS = {
    "key": """sed -i "s|^VALID_API_KEYS=.*|VALID_API_KEYS='[\\"{token}\\", \\"{key}\\"]'|" .env""",
    "workers": """sed -i -E 's/"--workers", "[0-9]+"/"--workers", "{workers}"/' Dockerfile""",
    "code": """sed -i '/^RELEASE = /d' backend/main.py; echo 'RELEASE = "{token}"' >> backend/main.py""",
}
SHOWN = {"all": "all", "key": "key rotation", "workers": "worker change", "code": "code change"}


class Request(NamedTuple):
    """When a request began, how long it took, and its status or error."""

    began: float
    seconds: float
    outcome: str

    @property
    def failed(self) -> bool:
        """Whether the client got no answer of the application; the load's key is valid throughout."""
        return self.outcome != "200"


class Figures(NamedTuple):
    """What the clients noticed of one or several changes."""

    requests: int
    failed: int
    cut: int
    away: float
    p50: float
    p99: float
    duration: float


class Droplet:
    """A stand-in droplet of this benchmark's own."""

    def __init__(self, name: str, *, proxy: bool) -> None:
        self.name = name
        self.proxy = proxy
        self.inventory = CHECKOUT / ".state" / "droplets" / name / "inventory"
        self.url = self.container = ""
        self.changes = 0

    def create(self) -> None:
        """Make the droplet, with two workers, which fit into its memory, and a key that the load uses."""
        self.destroy()
        play("droplet/create.yml", "-e", f"droplet_name={self.name}")
        host = yaml.safe_load((self.inventory / "hosts.yml").read_text())["all"]["hosts"]["droplet"]
        self.url, self.container = host["droplet_api_url"], host["droplet_container"]
        if self.proxy:
            play("droplet/proxy.yml", "-e", f"droplet_name={self.name}")
            self.run("docker compose --progress quiet down")
            for file in (CHECKOUT / "molecule" / "rolling" / "project").iterdir():
                self.run(f"cat > {file.name}", file.read_bytes())
        for what in EDITS:
            self.run(self.edit(what))
        self.run("docker compose --progress quiet up --detach --build")
        self.wait()

    def destroy(self) -> None:
        """Remove it with all that belongs to it."""
        play("droplet/destroy.yml", "-e", f"droplet_name={self.name}")

    def run(self, command: str, data: bytes | None = None) -> str:
        """Run a shell command in the project's directory on it."""
        words = ["docker", "exec", "-i", "-w", PROJECT, self.container, "bash", "-euc", command]
        done = subprocess.run(words, input=data, capture_output=True, check=False, timeout=300)
        if done.returncode:
            raise RuntimeError(f"{command} failed on {self.name}: {done.stderr.decode()[-1000:]}")
        return done.stdout.decode()

    def edit(self, what: str) -> str:
        """The command that makes the next change."""
        self.changes += 1
        return EDITS[what].format(token=secrets.token_urlsafe(32), key=KEY, workers=2 - self.changes % 2)

    def wait(self) -> None:
        """Wait until the application is healthy."""
        self.run(
            f"for _ in $(seq 600); do curl -s -m 5 http://127.0.0.1:8000/api/v1/health | grep -qF '{HEALTHY}' && exit;"
            " sleep 0.2; done; exit 1"
        )

    def change(self, way: str, what: str) -> None:
        """Make a change and bring it into force in one of the ways."""
        if way == "runbook":
            build = " --build" if what != "key" else ""
            self.run(f"docker compose --progress quiet down; {self.edit(what)}")
            self.run(f"docker compose --progress quiet up --detach{build}")
            self.wait()
            return
        identity = self.run("docker compose ps --quiet backend")
        self.run(self.edit(what))
        variables = {"deploy_strategy": way}
        words = ("-i", str(self.inventory), "-e", f"@{CHECKOUT}/droplet/hotfix.yml", "-e", json.dumps(variables))
        play("benchmarks/deploy.yml", *words)
        if self.run("docker compose ps --quiet backend") == identity:
            raise RuntimeError(f"{way} on {self.name}: the container was not replaced")


class Load:
    """Constant load by droplet/load.py, until it is told to end."""

    def __init__(self, url: str) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.until, self.record = Path(self.folder.name, "until"), Path(self.folder.name, "record")
        words = [sys.executable, str(CHECKOUT / "droplet" / "load.py"), f"--url={url}", f"--path={PATH}"]
        words += [f"--rate={RATE}", f"--concurrency={CONCURRENCY}", f"--seconds={MOST}", "--timeout=20"]
        words += [f"--until={self.until}", f"--record={self.record}"]
        environment = {**os.environ, "DROPLET_API_KEY": KEY}
        self.process = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL)
        # The thread that would tell it to end is not there any more when this program is told to.
        atexit.register(self.process.kill)

    def end(self) -> list[Request]:
        """All requests, in the order of their begin."""
        self.until.touch()
        self.process.wait(timeout=60)
        requests = [Request(*entry) for entry in json.loads(self.record.read_text())]
        self.folder.cleanup()
        return requests


def play(*words: str) -> None:
    """Run a playbook."""
    done = subprocess.run(
        ["ansible-playbook", *words], cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=900
    )
    if done.returncode:
        raise RuntimeError(f"ansible-playbook {' '.join(words)} failed: {done.stdout[-2000:]}")


def percentile(values: Sequence[float], part: float) -> float:
    """The value below which this part of them lies."""
    return sorted(values)[min(int(len(values) * part), len(values) - 1)]


def outages(requests: Sequence[Request]) -> Iterator[float]:
    """Seconds from each first request that failed to the next that was answered."""
    since = None
    for request in requests:
        if request.failed:
            since = request.began if since is None else since
        elif since is not None:
            yield request.began - since
            since = None
    if since is not None:
        yield requests[-1].began - since


def measure(droplet: Droplet, way: str, what: str) -> Figures:
    """One change under load."""
    load = Load(droplet.url)
    try:
        time.sleep(BEFORE)
        began = time.time()
        droplet.change(way, what)
        ended = time.time()
        time.sleep(AFTER)
    finally:
        requests = load.end()
    # The first second is that of a client that starts.
    before = [request.seconds for request in requests if requests[0].began + 1 < request.began < began - 1]
    during = [request.seconds for request in requests if began <= request.began <= ended and not request.failed]
    added = [1000 * (percentile(during, part) - percentile(before, part)) for part in (0.5, 0.99)]
    failed = [request for request in requests if request.failed]
    cut = sum(request.outcome in CUT for request in failed)
    if failed:
        print(f"  {droplet.name}: failed {dict(Counter(request.outcome for request in failed))}", file=sys.stderr)
    return Figures(len(requests), len(failed), cut, sum(outages(requests)), *added, ended - began)


def total(figures: Sequence[Figures]) -> Figures:
    """Sums of what is counted over several runs, means of seconds and latencies."""
    sums = [sum(column) for column in zip(*figures)]
    return Figures(*(int(value) for value in sums[:3]), *(value / len(figures) for value in sums[3:]))


def row(way: str, what: str, runs: int, figures: Figures, baseline: Figures | None) -> str:
    """A line of the table. The ratio is that of the seconds without service."""
    ratio = f"{figures.away / baseline.away:8.3f}" if baseline and baseline.away else f"{'-':>8}"
    return (
        f"{SHOWN[what]:14} {way:9} {runs:4} {figures.requests:8} {figures.failed:6} {figures.cut:5} "
        f"{figures.away:8.2f} {ratio} {figures.p50:9.1f} {figures.p99:9.1f} {figures.duration:8.1f}"
    )


class Measured(threading.Thread):
    """All changes that are measured on one droplet."""

    def __init__(self, droplet: Droplet, ways: Sequence[str], whats: Sequence[str], runs: dict[str, int]) -> None:
        super().__init__(daemon=True)
        self.droplet, self.ways, self.whats, self.runs = droplet, ways, whats, runs
        self.figures: dict[tuple[str, str], list[Figures]] = {}
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self.droplet.create()
            for way in self.ways:
                for number in range(self.runs[way]):
                    what = self.whats[number % len(self.whats)]
                    found = measure(self.droplet, way, what)
                    self.figures.setdefault((what, way), []).append(found)
                    print(f"  {self.droplet.name}: {row(way, what, 1, found, None)}", file=sys.stderr, flush=True)
        except Exception as error:  # told by the main thread, which also cleans up
            self.error = error


def told_to_end(*_words: object) -> NoReturn:
    """End, once: make passes on the signal that this program has got with it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit("told to end")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--runs", type=int, default=10, help="handovers and rolling replacements in a row (%(default)s)"
    )
    parser.add_argument("--baseline-runs", type=int, default=3, help="runs of the other two ways (%(default)s)")
    parser.add_argument("--ways", default=",".join(WAYS), help="what is measured (%(default)s)")
    parser.add_argument("--changes", default=",".join(EDITS), help="what is changed (%(default)s)")
    options = parser.parse_args()
    ways = [way for way in WAYS if way in options.ways.split(",")]
    whats = [what for what in EDITS if what in options.changes.split(",")]
    runs = {way: options.runs if way in LOSSLESS else options.baseline_runs for way in WAYS}
    direct = [way for way in ways if way != "rolling"]
    threads = [Measured(Droplet("interruption", proxy=False), direct, whats, runs)] if direct else []
    if "rolling" in ways:
        threads.append(Measured(Droplet("interruption-proxy", proxy=True), ["rolling"], whats, runs))
    # So that the droplets go then as well.
    signal.signal(signal.SIGTERM, told_to_end)
    # Before both ask for them.
    play("droplet/build.yml")
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        for thread in threads:
            thread.droplet.destroy()
    figures = {key: found for thread in threads for key, found in thread.figures.items()}
    totals = {key: total(found) for key, found in figures.items()}
    print(
        f"{'change':14} {'way':9} {'runs':>4} {'requests':>8} {'failed':>6} {'cut':>5} {'away s':>8} {'ratio':>8} "
        f"{'p50 +ms':>9} {'p99 +ms':>9} {'takes s':>8}"
    )
    for what in whats:
        for way in ways:
            if (what, way) in totals:
                print(row(way, what, len(figures[what, way]), totals[what, way], totals.get((what, "runbook"))))
    baseline = [found for (_what, way), some in figures.items() for found in some if way == "runbook"]
    for way in ways:
        every = [found for (_what, other), some in figures.items() for found in some if other == way]
        if every:
            print(row(way, "all", len(every), total(every), total(baseline) if baseline else None))
    lossless = [found for (_what, way), found in totals.items() if way in LOSSLESS]
    lost, asked = sum(found.failed for found in lossless), [found.requests for found in lossless]
    print(
        f"requests lost by handovers and rolling replacements: {lost} of {sum(asked)}, "
        f"{min(asked, default=0)} or more for each change"
    )
    for thread in threads:
        if thread.error is not None:
            print(f"stopped early on {thread.droplet.name}: {thread.error}", file=sys.stderr)
            return 2
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
