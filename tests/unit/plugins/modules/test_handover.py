# SPDX-License-Identifier: GPL-3.0-or-later
"""handover, run as Ansible does: what it refuses, and that it touches nothing then.

What it does is tried with real engines, proxies and rules by ``make handover``.
"""

from __future__ import annotations

from typing import Any

import pytest


def test_without_a_container_nothing_can_serve_meanwhile(service: Any) -> None:
    result = service.run("handover")
    assert (result["possible"], result["changed"]) == (False, False)
    assert result["reasons"] == ["no container of it runs that could serve meanwhile"]


@pytest.mark.parametrize("state", [{"Running": False, "Status": "exited"}, {"Restarting": True}])
def test_nor_does_one_that_does_not_run(service: Any, state: dict[str, Any]) -> None:
    service.start(**state)
    assert service.run("handover")["reasons"] == ["no container of it runs that could serve meanwhile"]


@pytest.mark.parametrize(
    ("lines", "options", "why"),
    [
        (["labels: {composeops.hotfix.exclusive: 'true'}"], {}, "label composeops.hotfix.exclusive"),
        ([], {"exclusive": True}, "deploy_exclusive"),
        (["volumes: ['/srv/data:/data']"], {}, "write to the same /srv/data (name it in deploy_shared_volumes"),
        (["network_mode: host"], {}, "no network of its own"),
    ],
)
@pytest.mark.parametrize("check", [False, True])
def test_what_speaks_against_it_is_named(
    service: Any, lines: list[str], options: dict[str, Any], why: str, check: bool
) -> None:
    service.write(*(["ports: ['8000:8000']"] if lines != ["network_mode: host"] else []), *lines)
    service.start()
    result = service.run("handover", check=check, **options)
    assert not result["possible"] and result["stand_in"] is None and result["needed"] is None
    assert why in "; ".join(result["reasons"])
    assert service.changes() == []


def test_shared_volumes_may_be_named(service: Any) -> None:
    service.write("ports: ['8000:8000']", "volumes: ['/srv/data:/data']")
    service.start()
    reasons = service.run("handover", shared_volumes=["/srv/data"])["reasons"]
    # What is left speaks of this machine: its rules are not to be seen, and the memory of no process is known.
    assert not [reason for reason in reasons if "write to the same" in reason]
    assert (reasons and "iptables" in reasons[0]) or "only root" in reasons[0]


def test_required_it_fails_with_all_reasons_and_a_remedy(service: Any) -> None:
    service.write("ports: ['8000:8000']", "volumes: ['/srv/data:/data']", "mac_address: 02:42:ac:11:00:03")
    service.start()
    result = service.run("handover", required=True, expect_failure=True)
    assert "service web cannot be handed over: two copies would write to the same /srv/data" in result["msg"]
    assert "fixed hardware address. " in result["msg"]
    assert result["msg"].endswith("or deploy with deploy_strategy: recreate.")
    assert service.changes() == []


def test_there_has_to_be_a_copy_to_lead_connections_to(service: Any) -> None:
    service.start()
    result = service.run("handover", state="active", expect_failure=True)
    assert "there is no running copy of service web. Start one with state: started" in result["msg"]


@pytest.mark.parametrize("check", [False, True])
def test_nothing_is_taken_away_where_there_is_nothing(service: Any, check: bool) -> None:
    service.start()
    result = service.run("handover", state="absent", check=check)
    assert (result["changed"], result["active"], result["stand_in"]) == (False, False, None)
    assert service.changes() == []


def test_an_unknown_service_is_named_with_those_that_exist(service: Any) -> None:
    result = service.run("handover", service="wbe", expect_failure=True)
    assert "there is no service wbe" in result["msg"] and "web" in result["msg"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"state": "present"}, "one of: started, active, absent"),
        ({"service": None}, "service"),
        ({"drain_timeout": "soon"}, "drain_timeout"),
    ],
)
def test_options_are_checked(service: Any, options: dict[str, Any], message: str) -> None:
    assert message in service.run("handover", expect_failure=True, **options)["msg"]
