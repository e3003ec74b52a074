# SPDX-License-Identifier: GPL-3.0-or-later
"""What a service's restart settings really give, whatever they look like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.composeops.hotfix.plugins.module_utils._container import RestartPolicy
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError

# Compose, pkg/compose/create.go, mapRestartPolicyCondition(): both keys go through it.
ENGINE_NAMES = {"none": "no", "any": "always", "": "no"}
KNOWN = ("no", "always", "unless-stopped", "on-failure")
MEANING = {
    "no": ["It stays down after a crash and after a reboot."],
    "unless-stopped": ["It comes back after a crash and after a reboot, unless somebody stopped it before."],
    "always": ["It comes back after a crash and after a reboot, even if somebody stopped it before."],
    "on-failure": [
        "It stays down after a reboot: the application ends with exit code 0 on SIGTERM, which is no failure.",
        "It stays down after it ends by itself with exit code 0.",
    ],
}


def effective_restart_policy(service: Mapping[str, Any]) -> RestartPolicy:
    """The policy that the engine gets from a service's ``restart`` and ``deploy.restart_policy``.

    Rules: Compose 2 and 5, pkg/compose/create.go, getRestartPolicy(); the engine's check of the result. Compared with
    ``docker inspect`` for every combination.

    :param service: the merged service, variables replaced.
    :returns: with notes as sentences for the operator.
    :raises HotfixError: when a number of attempts is none.
    """
    deploy = service.get("deploy")
    policy = deploy.get("restart_policy") if isinstance(deploy, Mapping) else None
    restart = service.get("restart")
    notes: list[str] = []
    if isinstance(policy, Mapping):
        name, retries = _text(policy.get("condition")), _attempts(policy.get("max_attempts"))
        if restart is not None:
            notes.append(
                f"`restart: {_text(restart)}` is discarded by Compose, because deploy.restart_policy is present."
            )
        if not name:
            notes.append("deploy.restart_policy without a condition gives no restart at all.")
        if {"delay", "window"} & set(policy):
            notes.append("`delay` and `window` have no effect without Swarm.")
    else:
        name, _colon, number = _text(restart).partition(":")
        retries = int(number) if number.isdigit() else 0
    given, name = bool(name), ENGINE_NAMES.get(name, name)
    meaning = _meaning(name, retries, given)
    return RestartPolicy(name, retries, name in ("always", "unless-stopped"), notes + meaning)


def _meaning(name: str, retries: int, given: bool) -> list[str]:
    """The policy for the operator; ``given``: by a name, without one the engine takes any number of attempts."""
    if name not in KNOWN:
        return [f"Docker knows no restart policy `{name}` and refuses to create the container."]
    if name != "on-failure" and retries and given:
        return [f"Docker refuses to create the container: a number of attempts ({retries}) goes with on-failure only."]
    limit = (
        []
        if name != "on-failure" or not retries
        else [f"It stays down after crash number {retries + 1} in the container's life; there is no time window."]
    )
    return MEANING[name] + limit


def _text(value: Any) -> str:
    """As Compose reads it; ``restart: false`` is refused by Compose, and is taken for what its writer meant."""
    return "no" if value is False else "" if value is None else str(value)


def _attempts(value: Any) -> int:
    try:
        return int(value or 0)
    except (TypeError, ValueError):
        raise HotfixError(
            "max_attempts of deploy.restart_policy is no whole number", remedy="Write a number, such as 3"
        ) from None
