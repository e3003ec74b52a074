# SPDX-License-Identifier: GPL-3.0-or-later
"""From what was observed on the running application to checks with a status and their evidence, and to a summary.

Every check can end as ``pass``, ``fail``, ``not enforced`` (the application does not use what is checked), ``not
observable`` (with the reason) or ``action`` (only its owner can do it). The observations are results of the modules
of this collection, gathered by the role ``verify``.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv_audit import SEVERE
from ansible_collections.composeops.hotfix.plugins.module_utils._dotenv_forms import as_texts
from ansible_collections.composeops.hotfix.plugins.module_utils._findings import WORST_FIRST, quoted
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import fingerprint

Check = dict[str, str]
Observed = Mapping[str, Any]

# The issues of the runbook's summary table with their severities, then what its checklist adds.
ISSUES = {
    "Development API key": "critical",
    "Redis shutdown error": "medium",
    "Workers dying": "medium",
    "Restart policy": "medium",
    "Production settings": "high",
    "API works": "critical",
}
# Rules about where secrets lie beside the place where they belong. No run can take them from there: that is left to do.
RESIDUE = ("open_mode", "tracked_by_git", "in_git_history", "image_layer", "reused", "not_searched")
MOST_RESIDUE = 5  # findings of a rule in the report
MOST_COMMITS = 5  # commits in the table
# Why git brought nothing, by the status of git_update.
NOT_UPDATED = {
    "up_to_date": "git has nothing newer",
    "no_git": "the project is no git work tree, so that its source was not updated",
    "no_remote": "git has no such remote to update from",
    "detached": "no branch is checked out, so that git did not update the source",
    "no_upstream": "the remote has no branch to update from",
}
HIDDEN = "no start line in the log: a log level above INFO hides it, or a log driver's rotation has taken it"


def judge(observed: Observed, issues: Collection[str] = ()) -> list[Check]:
    """The checks, in the order of the runbook's issues.

    :param observed: what the role ``verify`` gathered (``roles/verify/tasks/observe.yml``).
    :param issues: those of :data:`ISSUES` that matter; empty for all. A container that does not run always does.
    :returns: dictionaries with ``issue``, ``severity``, ``check``, ``status`` and ``evidence``.
    """
    for look, said in (("container", "is not running"), ("container_after", "ended while it was looked at")):
        if not running(observed[look]):
            state = (observed[look].get("container") or {}).get("status", "there is none")
            return [_check("API works", "container", "fail", f"the container {said}: {state}")]
    checks = [
        _warning(observed),
        _live_keys(observed),
        *_probed_keys(observed),
        _source(observed),
        *_source_loaded(observed),
        _shutdown(observed),
        *_stop(observed),
        _deaths(observed),
        _oom(observed),
        _same_workers(observed),
        _worker_count(observed),
        *_cause_gone(observed),
        _policy(observed),
        *_settings(observed),
        *_dependencies(observed),
        *_residue(observed),
        _health(observed),
        _stays_up(observed),
        _start(observed),
        *_errors(observed),
    ]
    return [check for check in checks if not issues or check["issue"] in issues]


def running(container: Mapping[str, Any]) -> bool:
    """Whether a result of ``container_info`` shows a running container."""
    return bool(container.get("exists")) and container["container"]["status"] == "running"


def line_pattern(line: str) -> dict[str, str]:
    """The pattern for ``container_log_info`` that expects a literal line."""
    return {"name": line, "regex": re.escape(line), "expect": "present"}


def check_lines(checks: Iterable[Check]) -> list[str]:
    """One line a check, for the terminal."""
    return [f"{check['status'].upper():14} {check['check']}: {check['evidence']}" for check in checks]


def summarise(
    after: Iterable[Check], before: Iterable[Check], host: str, actions: Iterable[str] = ()
) -> dict[str, Any]:
    """The runbook's summary table: an entry an issue, with its checks before and after and what is left to do.

    :param actions: what is left to do beside what the checks say.
    """
    before, after = list(before), list(after)
    rows = []
    for issue, severity in ISSUES.items():
        now = [check for check in after if check["issue"] == issue]
        was = [check for check in before if check["issue"] == issue]
        if now or was:
            rows.append(
                {
                    "issue": issue,
                    "severity": severity,
                    "before": {"status": _worst(was), "checks": was},
                    "after": {"status": _worst(now), "checks": now},
                }
            )
    failed = [check["check"] for check in after if check["status"] == "fail"]
    left = [f"not proven: {', '.join(failed)}"] if failed else []
    left += [check["evidence"] for check in after if check["status"] not in ("pass", "fail")]
    return {
        "host": host,
        "rows": rows,
        "fixed": not failed,
        "actions": [*left, *actions],
    }


def revision_line(revision: Mapping[str, Any]) -> str:
    """What an update from git did to the source, in one sentence.

    :param revision: a result of ``git_update``.
    """
    if revision["status"] != "updated":
        reason = NOT_UPDATED.get(revision["status"], revision["status"])
        return f"{reason}; it stays at {revision['before'][:12] or 'no revision'}."
    commits = revision["commits"]
    names = "; ".join(f"{commit['revision'][:12]} {commit['subject']}" for commit in commits[:MOST_COMMITS])
    more = f" and {len(commits) - MOST_COMMITS} more" if len(commits) > MOST_COMMITS else ""
    kept = ", ".join(revision["carried_over"])
    return f"updated by git from {revision['before'][:12]} to {revision['after'][:12]}: {names}{more}." + (
        f" Edits of the server kept in {kept}." if kept else ""
    )


def _worst(checks: Iterable[Check]) -> str:
    states = {check["status"] for check in checks}
    return next((state for state in WORST_FIRST if state in states), "not observable")


def _check(issue: str, check: str, status: str, evidence: str) -> Check:
    return {"issue": issue, "severity": ISSUES[issue], "check": check, "status": status, "evidence": evidence}


def _pass_if(issue: str, check: str, passed: bool, good: str, bad: str) -> Check:
    return _check(issue, check, "pass" if passed else "fail", good if passed else bad)


def _match(observed: Observed, name: str) -> Mapping[str, Any]:
    matches: list[Mapping[str, Any]] = observed["log"].get("matches", [])
    return next((match for match in matches if match["name"] == name), {"count": 0, "samples": []})


def _warning(observed: Observed) -> Check:
    issue, check = "Development API key", "no_dev_key_warning"
    match, lines = _match(observed, "dev_key_warning"), observed["log"].get("lines", 0)
    if match["count"]:
        evidence = f"the log warns of development API keys ({match['count']} times since the container's start)"
        return _check(issue, check, "fail", evidence)
    if not _speaks(observed):
        # What `live_keys` judges is the key itself.
        evidence = f"{HIDDEN}, and a warning with it; the keys of the running container are judged by themselves"
        return _check(issue, check, "not observable", evidence)
    return _check(
        issue, check, "pass", f"no development key warning in the {lines} log lines since the container's start"
    )


def _speaks(observed: Observed) -> bool:
    """Whether the log holds what the server says at its start, so that nothing hides a warning."""
    return bool(_match(observed, "started")["count"])


def _live_keys(observed: Observed) -> Check:
    name = observed["keys_variable"]
    live = observed["container"]["environment"].get(name)
    written = _written(observed).get(name)
    weak = [message for owner, message in _severe(observed) if owner == name]
    keys = ", ".join(observed["container"].get("environment_list", {}).get(name, [])) or live
    if live is None:
        return _check("Development API key", "live_keys", "fail", f"{name} is not set in the running container")
    if live != written:
        evidence = f"the running container holds another {name} than the file ({keys}); it was not recreated"
        return _check("Development API key", "live_keys", "fail", evidence)
    return _pass_if(
        "Development API key",
        "live_keys",
        not weak,
        f"the running container holds {name} {keys}, as the file does",
        f"the running container holds an unsafe {name}. {' '.join(weak)}",
    )


def _probed_keys(observed: Observed) -> list[Check]:
    probe = observed["keys"]
    issue = "Development API key"
    if probe.get("skipped"):
        evidence = "set application_keys_path to a route that needs a key, to have the keys tried"
        return [_check(issue, "keys_tried", "not observable", evidence)]
    if "enforced" not in probe:
        return [_check(issue, "keys_tried", "fail", str(probe.get("msg", "the keys could not be tried")))]
    if not probe["enforced"]:
        evidence = "the API serves requests without a valid key: it enforces no key on this route"
        return [_check(issue, "keys_tried", "not enforced", evidence)]
    old = [request for request in probe["requests"] if request["what"] == "old"]
    new = [request for request in probe["requests"] if request["what"] == "current"]
    return [
        _pass_if(issue, "old_key_refused", probe["old_refused"], f"old key refused: {_answers(old)}", _served(old)),
        _pass_if(
            issue,
            "new_key_served",
            probe["current_accepted"],
            f"key of the file served: {_answers(new)}",
            f"key of the file refused: {_answers(new)}" if new else "the file holds no key that should be served",
        ),
    ]


def _served(requests: Iterable[Mapping[str, Any]]) -> str:
    return f"an old or published key is served: {_answers(r for r in requests if r['accepted'])}"


def _answers(requests: Iterable[Mapping[str, Any]]) -> str:
    return ", ".join(f"{request['fingerprint']} got HTTP {request['status']}" for request in requests)


def _source(observed: Observed) -> Check:
    source = observed["source"]
    issue, check = "Redis shutdown error", "redis_source"
    if "status" not in source:
        return _check(issue, check, "not observable", str(source.get("msg")))
    if source["status"] == "not_found":
        return _check(issue, check, "not observable", "no Redis shutdown was found in the source")
    return _pass_if(
        issue,
        check,
        source["status"] == "already_correct",
        "the source closes the Redis client the way this program needs",
        f"the source does not close Redis: {source.get('seen') or 'see redis_shutdown'}",
    )


def _source_loaded(observed: Observed) -> list[Check]:
    """Whether a process whose source is mounted was started after its last change; no build shows that."""
    source = observed["container_after"].get("source") or {}
    if not source.get("mounts"):
        return []
    changed = [posixpath.basename(path) for path in source["unread"]]
    return [
        _pass_if(
            "Redis shutdown error",
            "source_loaded",
            not changed,
            "the source is mounted into the container, which was started after its last change",
            f"the source is mounted into the container, which runs since before a change of {', '.join(changed[:3])}",
        )
    ]


def _shutdown(observed: Observed) -> Check:
    probe = observed["probe"]
    issue, check = "Redis shutdown error", "redis_closed"
    if probe.get("skipped"):
        return _check(issue, check, "not observable", "verify_shutdown is false, so the shutdown was not tried")
    if "observable" not in probe:
        return _check(issue, check, "not observable", str(probe.get("msg")))
    if not probe["observable"]:
        return _check(issue, check, "not observable", probe["reason"])
    counted = f"{probe['connections_before']} open before the shutdown, {probe['connections_after']} after it"
    return _pass_if(
        issue,
        check,
        probe["ok"],
        f"Redis connections of the image's own start and shutdown: {counted}",
        f"Redis connections of the image's own start and shutdown: {counted}; {probe['reason']}",
    )


def _deaths(observed: Observed) -> Check:
    """Whether workers died, by what the diagnosis says, which needs no line of the log."""
    seen = observed.get("workers") or {}
    if not seen.get("diagnosis"):
        died = 0 if _changed_live(observed) else _match(observed, "worker_died")["count"]
        reason = f"{died} 'Child process died' since the container's start" if died else str(seen.get("msg"))
        return _check("Workers dying", "no_died_lines", "fail" if died else "not observable", reason)
    found, count = seen["diagnosis"]["cause"], seen["deaths"]["count"]
    since = "their number was changed" if _changed_live(observed) else "the container's start"
    seconds = (seen.get("watched") or {}).get("seconds") or 0
    watched = f", watched for {seconds:.0f} s" if seconds else ""
    if found == "recycle":
        replaced = f"{count} worker{'s' * (count > 1)} replaced after {seen['server']['max_requests']} requests"
        return _check("Workers dying", "no_died_lines", "pass", f"{replaced}, as the server was told to{watched}")
    if found == "unknown" and not count:
        return _check("Workers dying", "no_died_lines", "not observable", quoted(seen["diagnosis"], seen["deaths"]))
    lines = observed["log"].get("lines", 0)
    return _pass_if(
        "Workers dying",
        "no_died_lines",
        found == "none",
        f"no worker has died since {since} ({seen['diagnosis']['confidence']} confidence; {lines} log lines{watched})",
        f"since {since}: {quoted(seen['diagnosis'], seen['deaths'])}",
    )


def _changed_live(observed: Observed) -> Mapping[str, Any] | None:
    """The change of the running server that the container has seen since its start, if there was one."""
    change: Mapping[str, Any] | None = observed.get("scale", {}).get("last_change")
    return change


def _worker_count(observed: Observed) -> Check:
    """Whether as many workers run as the files say, and will after a restart of the container."""
    scale = observed.get("scale", {})
    running, wanted = observed["container_after"].get("workers", {}).get("count"), scale.get("workers")
    made_with = scale.get("created_with")
    if wanted is None:
        reason = scale.get("msg") or scale.get("reason") or "the files were not looked at"
        return _check("Workers dying", "worker_count", "not observable", str(reason).rstrip("."))
    if running == wanted and made_with not in (None, wanted):
        evidence = (
            f"{running} workers run, as the files say, but the container was made with {made_with}: its next restart, "
            "or the host's, brings those back. Recreate it at a quiet time"
        )
        return _check("Workers dying", "worker_count", "action", evidence)
    return _pass_if(
        "Workers dying",
        "worker_count",
        running == wanted,
        f"as many workers run as the files say: {wanted}",
        f"{running} workers run, where the files say {wanted}",
    )


def _oom(observed: Observed) -> Check:
    memory = observed["container_after"].get("memory", {})
    kills = memory.get("oom_kills")
    if kills is None:
        return _check("Workers dying", "no_oom_kill", "not observable", "the kernel's OOM counter could not be read")
    change = _changed_live(observed)
    since = " since the number of workers was changed" if change else ""
    kills -= change["oom_kills"] if change else 0
    peak = f", peak {memory['peak'] // 2**20} MiB" if memory.get("peak") else ""
    limit = f" of {memory['limit'] // 2**20} MiB" if memory.get("limit") else ""
    return _pass_if(
        "Workers dying",
        "no_oom_kill",
        kills == 0,
        f"the kernel's OOM counter of the container is 0{since}{peak}{limit}",
        f"the kernel killed {kills} processes of the container for lack of memory{since}{peak}{limit}",
    )


def _same_workers(observed: Observed) -> Check:
    was, now = observed["container"]["workers"], observed["container_after"].get("workers", {})
    recycled = ((observed.get("workers") or {}).get("diagnosis") or {}).get("cause") == "recycle"
    if recycled and was["count"] == now.get("count"):
        evidence = f"{now['count']} {now['server']} workers, replaced by new ones after so many requests each"
        return _check("Workers dying", "same_workers", "pass", evidence)
    return _pass_if(
        "Workers dying",
        "same_workers",
        was["pids"] == now.get("pids"),
        f"{now.get('count')} {now.get('server')} workers, the same processes throughout",
        f"the worker processes changed while watched: {was['pids']} became {now.get('pids')}",
    )


def _cause_gone(observed: Observed) -> list[Check]:
    """A quiet watch proves little: as many workers under the same limit as before are killed again under load."""
    was, now = observed.get("was") or {}, observed["container_after"]
    kills = (was.get("memory") or {}).get("oom_kills") or 0
    # What was killed before an earlier run changed the number while it served, that change was the answer to.
    kills -= (was.get("last_change") or {}).get("oom_kills", 0)
    if kills <= 0:
        return []
    count, limit = now.get("workers", {}).get("count") or 0, now.get("memory", {}).get("limit")
    old_count, old_limit = was["workers"]["count"], was["memory"]["limit"]
    roomier = count < old_count or (old_limit is not None and (limit is None or limit > old_limit))
    return [
        _pass_if(
            "Workers dying",
            "cause_gone",
            roomier,
            f"{count} workers under {_mebibytes(limit)}, where the kernel killed {kills} of {old_count} under "
            f"{_mebibytes(old_limit)}",
            f"still {count} workers under {_mebibytes(limit)}, where the kernel killed {kills} before the run",
        )
    ]


def _mebibytes(limit: int | None) -> str:
    return f"{limit // 2**20} MiB" if limit else "no limit"


def _policy(observed: Observed) -> Check:
    policy = observed["container_after"]["restart_policy"]
    retries = f":{policy['maximum_retry_count']}" if policy["maximum_retry_count"] else ""
    shown = f"the engine's effective policy is {policy['name'] or 'no'}{retries}"
    down = [
        other["item"]
        for other in observed["others"]
        if not (other["exists"] and other["restart_policy"]["survives_reboot"])
    ]
    literal = (policy["name"], policy["maximum_retry_count"]) == ("on-failure", 3)
    if literal and observed.get("policy_style") == "runbook":
        evidence = f"{shown}, as restart_policy_style: runbook asks for: start it by hand after a reboot"
        return _check("Restart policy", "survives_reboot", "action", evidence)
    if not policy["survives_reboot"]:
        return _check("Restart policy", "survives_reboot", "fail", f"{shown}: stays down after a reboot")
    return _pass_if(
        "Restart policy",
        "survives_reboot",
        not down,
        f"{shown}: back after a crash and after a reboot, and so is what it depends on",
        f"{shown}, but after a reboot it lacks what it depends on: {', '.join(down)} stays down",
    )


def _settings(observed: Observed) -> list[Check]:
    live = observed["container"]["environment"]
    required = as_texts({k: v for k, v in observed["required"].items() if v is not None}, "verify_required_values")
    wrong = [name for name, value in required.items() if live.get(name) != fingerprint(value)]
    # As in dotenv_info, null wants any value.
    anything = [str(name) for name, value in observed["required"].items() if value is None]
    wrong += [name for name in anything if live.get(name) in (None, fingerprint(""))]
    secret = observed["signing_secret"]
    weak = [message for name, message in _severe(observed) if name == secret]
    known = (secret, observed["keys_variable"], *observed["dependency_keys"], *observed["required"])
    others = [message for name, message in _severe(observed) if name not in known]
    checks = [
        _pass_if(
            "Production settings",
            "production_settings",
            not wrong,
            f"the running container has {', '.join([*(f'{k}={v}' for k, v in required.items()), *anything])}",
            f"not as in production in the running container: {', '.join(wrong)}",
        ),
        _pass_if(
            "Production settings",
            "signing_secret",
            not weak and live.get(secret) == _written(observed).get(secret),
            f"{secret} is strong, and the running container has the one of the file",
            " ".join(weak) or f"the running container has another {secret} than the file; it was not recreated",
        ),
    ]
    if others:
        checks.append(_check("Production settings", "environment_file", "action", " ".join(others)))
    return checks


def _dependencies(observed: Observed) -> list[Check]:
    checks = []
    for name in observed["dependency_keys"]:
        found = [message for owner, message in _severe(observed) if owner == name]
        if not _written(observed).get(name):
            found = [f"{name} is not set."]
        status = "action" if found else "pass"
        evidence = f"{' '.join(found)} Put the production key into the file." if found else f"{name} is set."
        checks.append(_check("Production settings", name.lower(), status, evidence))
    return checks


def _severe(observed: Observed) -> list[tuple[str, str]]:
    """Name and message of the findings with which a file's content is not secure, the first one of each variable."""
    found: dict[str, str] = {}
    for finding in observed["environment"]["findings"]:
        if finding["severity"] in SEVERE and finding["rule"] not in RESIDUE:
            found.setdefault(finding["name"], finding["message"])
    return list(found.items())


def _residue(observed: Observed) -> list[Check]:
    """A check for each rule about where else secrets lie; an old one in an image is told as well."""
    checks = []
    for rule in RESIDUE:
        told = [
            finding
            for finding in observed["environment"]["findings"]
            if finding["rule"] == rule and (finding["severity"] in SEVERE or rule in ("image_layer", "not_searched"))
        ]
        if told:
            status = "not observable" if rule == "not_searched" else "action"
            checks.append(_check("Production settings", rule, status, " ".join(_told_once(told))))
    return checks


def _told_once(findings: Iterable[Mapping[str, Any]]) -> list[str]:
    """The sentences of findings of one rule; of several about files the first one, and the names of the other files."""
    sentences: dict[str, None] = {}
    files: list[str] = []
    for finding in findings:
        if finding.get("file"):
            files.append(finding["file"])
        if not finding.get("file") or len(files) == 1:
            sentences.setdefault(finding["message"])
    shown = list(sentences)[:MOST_RESIDUE]
    left = len(sentences) - len(shown) + max(len(files) - 1 - MOST_RESIDUE, 0)
    also = [f"The same is true of {', '.join(files[1 : MOST_RESIDUE + 1])}."] if len(files) > 1 else []
    return [*shown, *also, *([f"And {left} more; dotenv_info lists them."] if left else [])]


def _written(observed: Observed) -> dict[str, str]:
    return {variable["name"]: variable["fingerprint"] for variable in observed["environment"]["variables"]}


def _health(observed: Observed) -> Check:
    answer = observed["health"]
    expected = json.dumps(observed["health_body"])
    shown = answer.get("answer") or answer.get("msg") or "no answer"
    return _pass_if(
        "API works",
        "health",
        answer.get("healthy") is True,
        f"the health route answers {expected}",
        f"the health route does not answer {expected}: {shown[:200]}",
    )


def _stays_up(observed: Observed) -> Check:
    """Whether the container ended meanwhile: a policy starts it again, and in between it answers."""
    was, now = observed["container"]["container"], observed["container_after"].get("container") or {}
    issue, check, again = "API works", "stays_up", int(now.get("restart_count") or 0)
    if (was.get("id"), was.get("started_at")) != (now.get("id"), now.get("started_at")):
        state = now.get("status", "gone")
        evidence = f"the container did not go on while it was looked at; now it is {state}, {again} times restarted"
        return _check(issue, check, "fail", evidence)
    since = f"it runs since {str(now.get('started_at'))[:19].replace('T', ' ')} UTC"
    if again:
        evidence = f"{since}, started again by its policy {again} times since it was made: see in its log why it ended"
        return _check(issue, check, "action", evidence)
    return _check(issue, check, "pass", f"{since}, without a restart by its policy")


def _start(observed: Observed) -> Check:
    if not _speaks(observed):
        return _check("API works", "start_lines", "not observable", HIDDEN)
    missing = [line for line in observed["expected_lines"] if _match(observed, line)["count"] == 0]
    return _pass_if(
        "API works",
        "start_lines",
        not missing,
        "the log holds every line of a good start",
        f"the log lacks lines of a good start: {', '.join(missing)}",
    )


def _stop(observed: Observed) -> list[Check]:
    """The lines of a good shutdown, from the image's own start and shutdown; `redis_closed` says why there was none."""
    probe, wanted = observed["probe"], observed["expected_stop_lines"]
    if "lines_seen" not in probe or probe["startup"] != "complete" or not wanted:
        return []
    issue, check, seen = "Redis shutdown error", "stop_lines", set(probe["lines_seen"])
    if not seen:
        evidence = "neither lines of a start nor of a shutdown are printed; the application's log level hides them"
        return [_check(issue, check, "not observable", evidence)]
    missing = [line for line in wanted if line not in seen]
    return [
        _pass_if(
            issue,
            check,
            not missing,
            "the image's own shutdown prints every line of a good one",
            f"the image's own shutdown lacks lines of a good one: {', '.join(missing)}",
        )
    ]


def _errors(observed: Observed) -> list[Check]:
    """Lines with errors, which fail only where `verify_patterns` wants them absent: they may be somebody else's."""
    match = _match(observed, "errors")
    if "expect" not in match:
        return []
    issue, check, lines = "API works", "no_errors", observed["log"].get("lines", 0)
    if match["count"]:
        times = f"{match['count']} line{'s' * (match['count'] > 1)}"
        status = "fail" if match["expect"] == "absent" else "action"
        first = (match["samples"] or [""])[0][:200]
        return [_check(issue, check, status, f"{times} with errors in the log since the container's start: {first}")]
    if not lines:
        return [_check(issue, check, "not observable", "the log is empty")]
    return [_check(issue, check, "pass", f"no line with an error in the {lines} log lines since the container's start")]
