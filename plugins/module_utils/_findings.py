# SPDX-License-Identifier: GPL-3.0-or-later
"""From what the role ``diagnose`` gathered to findings, to one screen of them, and to what is left to do.

The observations are results of the modules of this collection, which mask secrets; nothing is added to them here.
"""

from __future__ import annotations

import posixpath
import re
import textwrap
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ansible_collections.composeops.hotfix.plugins.module_utils._diagnosis import CAUSES
from ansible_collections.composeops.hotfix.plugins.module_utils._worker_advice import THROTTLED
from ansible_collections.composeops.hotfix.plugins.module_utils._workers import human

Observed = Mapping[str, Any]
Check = dict[str, str]

WIDTH = 80
# Characters for the name of a check, the space after it included.
NAME = 19
# Causes that call for nothing to be done.
GOOD = ("none", "recycle")
# Sentences of evidence that a summary quotes; the screen shows all.
QUOTED = 2
MARKS = {"pass": "ok", "fail": "FAIL", "not observable": "?", "not enforced": "FAIL", "action": "to do"}
WORST_FIRST = ("fail", "not enforced", "action", "not observable", "pass")
# Shorter than in the summary, so that they fit the column.
ISSUE_NAMES = {
    "Development API key": "API key",
    "Redis shutdown error": "Redis shutdown",
    "Production settings": "settings",
}
INSTANT = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?(?:Z|\+00:00)")
UNIT = re.compile(r"(?<=\d) (?=(?:MiB|GiB|s|ms|UTC|CPUs?|workers?)\b)")
# What findings keep of worker_info's result.
KEPT = (
    "container",
    "server",
    "workers",
    "memory",
    "cpu",
    "sizing",
    "deaths",
    "diagnosis",
    "recommendation",
    "last_change",
    "since",
    "watched",
)


def findings(observed: Observed) -> dict[str, Any]:
    """Everything that was found out, structured, with the runbook's suspects as checks.

    :param observed: what the role ``diagnose`` gathered (``roles/diagnose/tasks/gather.yml``).
    :returns: ``host``, ``service``, ``time``; all that ``worker_info`` said, its ``host`` as ``resources``; ``log``,
        ``dependencies``; ``checks`` with ``check``, ``status`` (``pass``, ``fail``, ``not observable``) and
        ``evidence``; ``problem`` (why nothing is known of the workers, else empty); and ``ok``: no worker has died
        that should not, and no check fails.
    """
    seen = observed["workers"]
    known = "diagnosis" in seen
    problem = "" if known else str(seen.get("msg", "the workers were not looked at"))
    log = observed["log"]
    found: dict[str, Any] = {
        "host": observed["host"],
        "service": observed["service"],
        "time": observed["time"],
        "application": observed.get("application"),
        **{key: seen.get(key) for key in KEPT},
        "resources": seen.get("host"),
        "log": {key: log.get(key) for key in ("since", "lines", "matches")},
        "dependencies": observed["dependencies"].get("dependencies", []),
        "problem": problem,
    }
    found["checks"] = [
        *(_of_workers(seen, int(observed["minimum_free"])) if known else []),
        *_of_log(log),
        *_of_dependencies(observed["dependencies"], observed["asked"]),
    ]
    failed = [check for check in found["checks"] if check["status"] == "fail"]
    found["ok"] = known and not failed and cause(found) in GOOD
    return found


def cause(found: Mapping[str, Any]) -> str:
    """The cause that findings name; ``unknown`` where nothing is known of the workers."""
    return str((found.get("diagnosis") or {}).get("cause", "unknown"))


def _check(check: str, status: str, evidence: str) -> Check:
    return {"check": check, "status": status, "evidence": evidence}


def _fails_if(failed: bool, check: str, evidence: str) -> Check:
    return _check(check, "fail" if failed else "pass", evidence)


def _of_workers(seen: Observed, minimum_free: int) -> list[Check]:
    return [
        _running(seen),
        _out_of_memory(seen),
        _sizing(seen),
        _cpu(seen),
        *_host(seen["host"], minimum_free),
    ]


def _running(seen: Observed) -> Check:
    there, wanted = len(seen["workers"]), seen["server"]["configured"]
    if not there and seen["container"]["status"] != "running":
        return _check("workers", "fail", f"the container does not run: {seen['container']['status']}")
    name = seen["server"]["name"]
    if not there and name is None:
        return _check("workers", "fail", "no uvicorn or gunicorn is seen to run")
    named = f"{name} workers run" if name else "workers run"
    evidence = f"{there} of {wanted} {named}" if wanted else f"{there} {named}"
    return _fails_if(not there or (wanted is not None and there < wanted), "workers", evidence)


def _out_of_memory(seen: Observed) -> Check:
    memory = seen["memory"]
    kills, usage = memory["oom_kills"], memory["usage"]
    if kills is None:
        return _check("container memory", "not observable", "the control group's counters cannot be read")
    limit = f"of {human(memory['limit'])}" if memory["limit"] else "without a limit"
    now = f"{human(usage)} {limit} now" if usage is not None else limit
    peak = f", {human(memory['peak'])} at most" if memory["peak"] else ""
    change = seen.get("last_change")
    kills -= change["oom_kills"] if change else 0
    since = " since the number of workers was changed" if change else ""
    return _fails_if(kills > 0, "container memory", f"{kills} processes killed for lack of it{since}; {now}{peak}")


def _sizing(seen: Observed) -> Check:
    figures = seen["sizing"]
    if figures is None:
        return _check("number of workers", "not observable", "no worker runs that could be measured")
    count, takes = figures["workers"], "s take" if figures["workers"] > 1 else " takes"
    evidence = (
        f"{count} worker{takes} {human(figures['shared'])} + {count} * {human(figures['per_worker'])} = "
        f"{human(figures['total'])}, with room for {human(figures['budget'])} (the limit of "
        f"{human(figures['limit'])} less headroom); {figures['cpus']:g} CPUs keep up to {figures['busy']} busy"
    )
    too_many = figures["total"] > figures["budget"] or count > figures["busy"]
    return _fails_if(too_many, "number of workers", evidence)


def _cpu(seen: Observed) -> Check:
    host, part = seen["host"], seen["cpu"]["throttled_part"]
    load = host["load"][1]
    evidence = f"load {load:g} over 5 minutes on {host['cpus']} CPUs"
    if part is not None:
        evidence += f"; the container waits for its quota of {seen['cpu']['quota']:g} in {part:.0%} of its periods"
    return _fails_if(load > host["cpus"] or (part or 0) >= THROTTLED, "CPU", evidence)


def _host(host: Observed, minimum_free: int) -> list[Check]:
    memory, disk = host["memory"], host["disk"]
    swap = f", {human(memory['swap_free'])} of swap free" if memory["swap_total"] else ", no swap"
    return [
        _space("host memory", memory["available"], memory["total"], minimum_free, swap),
        _space("disk", disk["available"], disk["total"], minimum_free, f" in {disk['path']}"),
    ]


def _space(name: str, free: int | None, whole: int | None, minimum: int, more: str) -> Check:
    if free is None or not whole:
        return _check(name, "not observable", "its size cannot be read")
    evidence = f"{human(free)} of {human(whole)} free ({free / whole:.0%}){more}"
    return _fails_if(free * 100 < whole * minimum, name, evidence)


def _of_log(log: Observed) -> list[Check]:
    if "matches" not in log:
        return [_check("log", "not observable", str(log.get("msg", "the log was not read")))]
    lines = f"the log's {log['lines']} lines since {log['since']}"
    checks = []
    for match in log["matches"]:
        sample = f": {match['samples'][-1]}" if match["samples"] else ""
        evidence = (
            f"{match['count']} in {lines}, the last at {match['last']}{sample}"
            if match["count"]
            else f"none in {lines}"
        )
        checks.append(_fails_if(not match["ok"], match["name"], evidence))
    return checks


def _of_dependencies(probe: Observed, asked: Iterable[str]) -> list[Check]:
    if "dependencies" not in probe:
        reason = str(probe.get("msg", "it was not asked"))
        return [_check(f"{name} reachable", "not observable", reason) for name in asked]
    checks = []
    for answer in probe["dependencies"]:
        status = "pass" if answer["ok"] else "fail" if answer["asked"] else "not observable"
        evidence = f"{answer['reason']}, after {answer['milliseconds']} ms" if answer["asked"] else answer["reason"]
        checks.append(_check(f"{answer['name']} reachable", status, evidence))
    return checks


def lines(found: Mapping[str, Any], checks: Iterable[Mapping[str, str]] = ()) -> list[str]:
    """The findings as one screen, at most 80 columns wide.

    :param checks: of the runbook's issues, as the role ``verify`` judges them (``_checks``).
    """
    head = f"Diagnosis of {found['service']} on {found['host']}"
    time = found["time"].replace("T", " ").replace("Z", " UTC")
    fits = len(head) + 1 + len(time) <= WIDTH
    shown = [*([f"{head}{time:>{WIDTH - len(head)}}"] if fits else [*_wrapped("", head), time]), "=" * WIDTH]
    shown += _what_runs(found)
    if found["problem"]:
        shown += _wrapped("", f"No diagnosis: {found['problem']}")
    else:
        shown += [*_named(found), *_section("Evidence", _evidence(found)), *_to_do(found), *_number(found)]
    # What cannot be looked at for the same reason is not worth a line of its own.
    suspects = [check for check in found["checks"] if check["evidence"] != found["problem"]]
    shown += _judged("Other suspects (a FAIL here is a finding of its own)", suspects, found["time"])
    return shown + _judged("The runbook's other issues", _issues(checks), found["time"])


def _judged(title: str, checks: Collection[Mapping[str, str]], now: str) -> list[str]:
    """A section with a line or more for each check."""
    shown = ["", title] if checks else []
    for check in checks:
        mark, name = f"  {MARKS[check['status']]:<6}", check["check"]
        column = f"{mark}{name:<{NAME}}"
        if len(name) >= NAME:
            shown += _wrapped(mark, name)
            column = " " * (len(mark) + NAME)
        shown += _wrapped(column, _in_utc(check["evidence"], now))
    return shown


def _issues(checks: Iterable[Mapping[str, str]]) -> list[Check]:
    """One check an issue: what is worst of it. The workers have been told of already."""
    by_issue: dict[str, list[Mapping[str, str]]] = {}
    for check in checks:
        if check["issue"] != "Workers dying":
            by_issue.setdefault(check["issue"], []).append(check)
    found = []
    for issue, own in by_issue.items():
        status = next(status for status in WORST_FIRST if any(check["status"] == status for check in own))
        worst = [check["evidence"] for check in own if check["status"] == status]
        more = f" (and {len(worst) - 1} more)" if len(worst) > 1 else ""
        evidence = f"{len(own)} of {len(own)} checks pass" if status == "pass" else f"{worst[0]}{more}"
        found.append(_check(ISSUE_NAMES.get(issue, issue), status, evidence))
    return found


def _what_runs(found: Mapping[str, Any]) -> list[str]:
    """Which container it is about, where it comes from and where it answers."""
    seen = found.get("application") or {}
    container = seen.get("container")
    if not container:
        return []
    files = f" ({', '.join(posixpath.basename(name) for name in container['config_files'])})" * bool(
        container["project"]
    )
    origin = (
        f"service {container['service']} of {container['working_dir']}{files}" if container["project"] else "no Compose"
    )
    policy = seen["restart_policy"]
    retries = f":{policy['maximum_retry_count']}" if policy["maximum_retry_count"] else ""
    ports = ", ".join(
        f"{port['host_ip']}:{port['host_port']}" for port in container["ports"] if ":" not in port["host_ip"]
    )
    state = f"{container['status']} since {container['started_at'] or 'never'}"
    return [
        *_wrapped("", f"{container['name']}: {origin}"),
        *_wrapped(
            "  ",
            _in_utc(
                f"image {container['image']}, {state}, restarted {container['restart_count']} times, "
                f"restart policy {policy['name'] or 'no'}{retries}, published at {ports or 'no port'}",
                found["time"],
            ),
        ),
        "",
    ]


def _named(found: Mapping[str, Any]) -> list[str]:
    """The cause in plain words, how many workers it took, and which server it is about."""
    diagnosis, deaths, server = found["diagnosis"], found["deaths"], found["server"]
    name, container = cause(found), found["container"]
    since = _in_utc(found["since"], found["time"])
    number = f"{deaths['count']} worker{'s' * (deaths['count'] != 1)} died since {since}"
    if deaths["timestamps"]:
        number += f", the last one at {_in_utc(deaths['timestamps'][-1], found['time'])}"
    others = ", ".join(f"{item['cause']} ({item['count']})" for item in diagnosis["causes"] if item["cause"] != name)
    running = f"{server['name'] or 'The server'} {server['version'] or ''}".strip()
    kept = f"{len(found['workers'])} of {server['configured'] or 'an unknown number of'} workers"
    watched = f" They were watched for {found['watched']['seconds']:.0f} s." if found["watched"]["seconds"] else ""
    down = f"NOT RUNNING: the container is {container['status']}, with exit code {container['exit_code']}."
    return [
        *(_wrapped("", down) if container["status"] not in ("running", "paused") else []),
        *_wrapped("", f"{name.upper()}: {CAUSES[name]}."),
        *_wrapped("  ", f"{number}. Confidence: {diagnosis['confidence']}." + (f" Also: {others}." if others else "")),
        *_wrapped("  ", f"{running} runs {kept}. {server['source']['reason']}{watched}"),
    ]


def _evidence(found: Mapping[str, Any]) -> list[str]:
    """What shows the cause. Of a single cause its name and number are said already."""
    evidence = found["diagnosis"]["evidence"]
    if len(found["diagnosis"]["causes"]) == 1:
        name = cause(found)
        evidence = [
            line.removeprefix(f"{name}: ") for line in evidence if not re.fullmatch(rf"{name}: \d+ in all\.", line)
        ]
    return [_in_utc(_capital(line), found["time"]) for line in evidence]


def _capital(sentence: str) -> str:
    """A sentence with a capital letter, unless it begins with the name of a cause."""
    return sentence if sentence.partition(":")[0] in CAUSES else sentence[:1].upper() + sentence[1:]


def _to_do(found: Mapping[str, Any]) -> list[str]:
    actions = found["recommendation"]["actions"]
    if not actions:
        return []
    shown = ["", "What to do"]
    for number, item in enumerate(actions, 1):
        shown += _wrapped(f"  {number}. ", f"{item['action'].rstrip('.')}. {item['reason']}")
    return shown


def _number(found: Mapping[str, Any]) -> list[str]:
    """The arithmetic of the recommended number, where there is a cause that it has to do with, or not."""
    reason = found["recommendation"]["workers"]["reason"]
    return _section("The number of workers", [reason]) if cause(found) not in GOOD else []


def _section(title: str, sentences: Iterable[str]) -> list[str]:
    return ["", title, *(line for sentence in sentences for line in _wrapped("  - ", sentence))]


def _wrapped(head: str, text: str) -> list[str]:
    """Lines of a text, with a figure and its unit on the same one."""
    tied = UNIT.sub("\u00a0", text)
    indent = " " * len(head)
    wrapped = textwrap.wrap(tied, WIDTH, initial_indent=head, subsequent_indent=indent, break_on_hyphens=False)
    return [line.replace("\u00a0", " ") for line in wrapped] or [head]


def _in_utc(text: str, now: str) -> str:
    """A text with its instants as people write them; the date only where it is not that of the findings."""

    def short(match: re.Match[str]) -> str:
        day = "" if match[1] == now[:10] else f"{match[1]} "
        return f"{day}{match[2]} UTC"

    return INSTANT.sub(short, text)


def quoted(diagnosis: Observed, deaths: Observed) -> str:
    """A diagnosis in one paragraph, for a summary."""
    name = str(diagnosis["cause"])
    count = int(deaths["count"])
    own = [line.removeprefix(f"{name}: ") for line in diagnosis["evidence"] if not line.endswith(" in all.")]
    head = f"{name}, {diagnosis['confidence']} confidence: {CAUSES[name]}"
    number = f"; {count} worker{'s' * (count != 1)} died" if count else ""
    return _in_utc(" ".join([f"{head}{number}.", *own[:QUOTED]]), "")


def left(found: Mapping[str, Any], after: Observed) -> list[str]:
    """What the findings from before a run leave to do after it, one sentence or two each.

    :param after: ``workers``, how many run now (None when that is not known); ``cause``, what is diagnosed now; and
        ``patience``, whether the run gave workers more time to answer.
    """
    if not found or found["problem"] or cause(found) in GOOD:
        return []
    advice = found["recommendation"]
    gone = ["again"] if cause(found) != "unknown" else []
    number, now = advice["workers"]["value"], after.get("workers")
    if number is not None and now is not None and now <= number:
        # As many run as fit. More memory would only be needed for more of them.
        gone += ["workers", "memory"]
    if after.get("patience"):
        gone.append("patience")
    causes = [str(item["cause"]) for item in found["diagnosis"]["causes"]]
    if "import_error" in causes and after.get("cause") == "none":
        # Every worker would go on dying at its start.
        gone += ["program", "settings"]
    sentences = [
        f"{item['action'].rstrip('.')}. {item['reason']}"
        for item in advice["actions"]
        if item["kind"] not in (*gone, "none")
    ]
    if sentences and "oom" not in causes and "unknown" not in causes:
        sentences.insert(0, f"Workers died of {cause(found)} before the run. {advice['workers']['reason']}")
    return sentences
