# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run on the stand-in droplet leaves for its report, and what the monitor saw for a day after it."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone
from typing import Any

from ansible_collections.composeops.hotfix.plugins.module_utils import _checks, _report_document

MIB = 2**20
RUN = "a90ee2cde90c"
COPY = "wealth_coach_backend-handover-a670fc"
KEYS = "Development API key"
WORKERS = "Workers dying"
# Times of a watch after a run that is made in a test.
LATER = {"started_at": "2096-11-28T11:00:00Z", "last_sample_at": "2096-11-29T10:55:00Z"}


def check(issue: str, name: str, status: str, evidence: str) -> dict[str, str]:
    return {
        "issue": issue,
        "severity": _checks.ISSUES[issue],
        "check": name,
        "status": status,
        "evidence": evidence,
    }


def before() -> list[dict[str, str]]:
    return [
        check(KEYS, "no_dev_key_warning", "fail", "the log warns of development API keys (4 times since the start)"),
        check(
            KEYS,
            "old_key_refused",
            "fail",
            "an old or published key is served: sha256:f82f3a6e len=13 got HTTP 200",
        ),
        check("Redis shutdown error", "redis_source", "fail", "the source does not close Redis: no such method"),
        check(
            WORKERS,
            "no_died_lines",
            "fail",
            "oom, high confidence: the kernel kills workers because there is not enough memory; 8 workers died.",
        ),
        check(
            "Restart policy",
            "survives_reboot",
            "fail",
            "the engine's effective policy is no: stays down after a reboot",
        ),
        check("Production settings", "production_settings", "fail", "not as in production: ENVIRONMENT, DEBUG"),
        check("API works", "health", "pass", 'the health route answers {"status": "healthy"}'),
    ]


def after() -> list[dict[str, str]]:
    return [
        check(
            KEYS,
            "live_keys",
            "pass",
            "the running container holds VALID_API_KEYS sha256:4d9dbbd4 len=43, as the file does",
        ),
        check(KEYS, "old_key_refused", "pass", "old key refused: sha256:f82f3a6e len=13 got HTTP 401"),
        check(KEYS, "new_key_served", "pass", "key of the file served: sha256:4d9dbbd4 len=43 got HTTP 200"),
        check(
            "Redis shutdown error",
            "redis_closed",
            "pass",
            "Redis connections of the image's own start and shutdown: 1 open before the shutdown, 0 after it",
        ),
        check(
            WORKERS,
            "no_died_lines",
            "pass",
            "no worker has died since the container's start (high confidence; 25 log lines, watched for 300 s)",
        ),
        check(
            WORKERS,
            "no_oom_kill",
            "pass",
            "the kernel's OOM counter of the container is 0, peak 402 MiB of 512 MiB",
        ),
        check(
            WORKERS,
            "cause_gone",
            "pass",
            "2 workers under 512 MiB, where the kernel killed 8 of 4 under 512 MiB",
        ),
        check(
            "Restart policy",
            "survives_reboot",
            "pass",
            "the engine's effective policy is unless-stopped: back after a crash and after a reboot, and so is what it "
            "depends on",
        ),
        check(
            "Production settings",
            "production_settings",
            "pass",
            "the running container has ENVIRONMENT=production, DEBUG=false, RATE_LIMIT_ENABLED=true",
        ),
        check(
            "Production settings",
            "openai_api_key",
            "action",
            "OPENAI_API_KEY is labelled as a development or test key. Put the production key into the file.",
        ),
        check("API works", "health", "pass", 'the health route answers {"status": "healthy"}'),
        check(
            "API works",
            "start_lines",
            "not observable",
            "no start line in the log; a log level above INFO or a log driver's rotation hides it",
        ),
    ]


ACTIONS = [
    "Raise the droplet to 8 vCPU and 16 GB if the 4 workers of before are wanted back. They need 752 MiB.",
    "Give the mobile application the new key sha256:4d9dbbd4 len=43. It is in /srv/handoff/droplet.vault.yml.",
]


def entry(time: str, action: str, result: str = "", **more: Any) -> dict[str, Any]:
    return {
        "time": f"2026-11-28T{time}Z",
        "action": action,
        "run": RUN,
        "files": more.pop("files", []),
        "result": result,
        **more,
    }


def journal() -> list[dict[str, Any]]:
    """A run that hands the service over, as it was written down."""
    return [
        entry("10:55:22.584", "run began", user="root@vm", playbook="composeops.hotfix.apply"),
        entry("10:55:29.592", "present", "changed", id="9f563d203a68f2ed"),
        entry("10:55:51.207", "staged", files=[".env", "Dockerfile", "backend/main.py", "docker-compose.yml"]),
        entry("10:55:55.181", "built", "changed", seconds="0.9", service="backend"),
        entry("10:55:57.794", "copy started", COPY),
        entry("10:56:05.053", "handover begun", f"new connections lead to {COPY}"),
        entry("10:56:07.946", "recreated", "changed", seconds="1.5", service="backend"),
        entry("10:56:12.094", "healthy", '{"status":"healthy"}', seconds="1.0", container="c1972814ec79"),
        entry("10:56:19.236", "handover ended", f"{COPY} removed, 0 connections cut"),
        entry("10:56:24.822", "committed", "changed", id="cfa488072ea78de7"),
    ]


def recreate() -> list[dict[str, Any]]:
    """The same without a copy."""
    left_out = ("copy started", "handover begun", "handover ended")
    return [step for step in journal() if step["action"] not in left_out]


def worker_info(workers: int, usage: int, peak: int, kills: int, deaths: int) -> dict[str, Any]:
    each = [{"pid": 20 + at, "pss": (150 + 3 * at) * MIB, "rss": 170 * MIB} for at in range(workers)]
    return {
        "workers": each,
        "memory": {"limit": 512 * MIB, "usage": usage * MIB, "peak": peak * MIB, "oom_kills": kills},
        "deaths": {"count": deaths, "timestamps": []},
    }


def monitor(points: int = 288, *, calm: bool = False) -> dict[str, Any]:
    """A day as the monitor tells it; unless calm, with deaths, a restart and a stretch without an answer."""
    begin = datetime(2026, 11, 28, 11, 0, tzinfo=timezone.utc)
    series: list[dict[str, Any]] = []
    for at in range(points):
        time = begin + timedelta(seconds=86400 * at / points)
        busy = math.sin(at / points * math.tau - 1.2) + 0.35 * math.sin(at / 5.0)
        down, gap = not calm and 200 <= at < 204, not calm and 120 <= at < 128
        death = not calm and at in (60, 61, 199)
        each = int((138 + 22 * busy + (at % 7)) * MIB)
        series.append(
            {
                "time": time.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "up": None if gap else not down,
                "latency_ms": None
                if gap or down
                else round(38 + 21 * max(busy, -0.6) + (at * 37 % 23) + 260 * death, 1),
                "workers": None if gap else 1 if death else 2,
                "memory": None if gap else 2 * each + 58 * MIB,
                "limit": None if gap else 512 * MIB,
                "worker_memory": {} if gap else {"2101": each, "2102": each - 4 * MIB},
                "deaths": int(death),
                "oom_kills": int(death and at == 199),
                "restarts": int(at == 203 and not calm),
                "errors": int(death) * 3,
                "disk_percent": 41.5,
            }
        )
    told = [
        ("16:00:00", "death", "Worker 2101 died of an unknown cause."),
        ("03:35:04", "oom", "The kernel killed a worker for lack of memory."),
        ("03:40:10", "unhealthy", "The health route did not answer for 20 minutes."),
        ("04:00:02", "healthy", "The health route answers again, 2 s after a restart of the container."),
    ]
    return {
        "status": "ended",
        "started_at": "2026-11-28T11:00:00Z",
        "until": "2026-11-29T11:00:00Z",
        "last_sample_at": series[-1]["time"],
        "interval": 10,
        "duration": 86400,
        "verdict": "healthy" if calm else "degraded",
        "reasons": [] if calm else ["3 workers died, one of them for lack of memory.", "No answer for 20 minutes."],
        "samples": 8640 if calm else 8400,
        "missed": 0 if calm else 240,
        "summary": {
            "availability_percent": 100 if calm else 98.6,
            "latency_ms": {"median": 47.5, "p95": 78.1, "max": max(p["latency_ms"] or 0 for p in series)},
            "memory": {"limit": 512 * MIB, "peak": 402 * MIB, "peak_percent": 78.5},
            "deaths": 0 if calm else 3,
            "oom_kills": 0 if calm else 1,
            "restarts": 0 if calm else 1,
            "errors": {} if calm else {"traceback": 9},
        },
        "series": series,
        "events": []
        if calm
        else [
            {"time": f"2026-11-{'28' if time > '11' else '29'}T{time}Z", "kind": kind, "text": text}
            for time, kind, text in told
        ],
    }


def observed(**changes: Any) -> dict[str, Any]:
    """What the role report gathers."""
    return {
        "time": "2026-11-28T10:56:46Z",
        "application": {"project_src": "/opt/wealth-coach-ai", "service": "backend"},
        "journal": {"entries": journal(), "run": RUN},
        "run": RUN,
        "existed": True,
        "findings": worker_info(3, 497, 512, 8, 8),
        "workers": worker_info(2, 362, 402, 0, 0),
        "container": {},
        "monitor": {},
        **changes,
    }


def report(**changes: Any) -> dict[str, Any]:
    """A whole report."""
    summary = _checks.summarise(after(), before(), "droplet", ACTIONS)
    revision = {
        "status": "updated",
        "before": "221165a829af934b2e00382eea8e2b8895a8172d",
        "after": "9c1d0b7a52f3221165a829af934b2e00382eea8e",
        "commits": [{"revision": "9c1d0b7a52f3221165a829af934b2e00382eea8e", "subject": "Close Redis on shutdown"}],
        "files": ["backend/main.py"],
        "carried_over": [],
    }
    workers = {
        "workers": 2,
        "reasons": [
            "uvicorn takes the number of workers, 4, from --workers in Dockerfile, line 12.",
            "The budget is 410 MiB: the limit of 512 MiB less 20% headroom.",
        ],
        "sizing": {
            "memory_limit": 512 * MIB,
            "memory_shared": 61 * MIB,
            "memory_per_worker": 151 * MIB,
            "memory_total": 363 * MIB,
            "cpus": 4.0,
        },
    }
    return _report_document.document({**summary, "revision": revision, "workers": workers}, observed(**changes))
