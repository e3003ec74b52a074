# SPDX-License-Identifier: GPL-3.0-or-later
"""rolling, run as Ansible does: what it refuses, and that it touches nothing then.

What it does is tried with real engines, proxies and rules by ``make rolling``.
"""

from __future__ import annotations

from typing import Any

import pytest


def test_without_a_container_nothing_can_serve_meanwhile(service: Any) -> None:
    result = service.run("rolling")
    assert (result["possible"], result["changed"]) == (False, False)
    assert result["reasons"] == ["no container of it runs that could serve meanwhile"]


@pytest.mark.parametrize("state", [{"Running": False, "Status": "exited"}, {"Restarting": True}])
def test_nor_does_one_that_does_not_run(service: Any, state: dict[str, Any]) -> None:
    service.start(**state)
    assert service.run("rolling")["reasons"] == ["no container of it runs that could serve meanwhile"]


@pytest.mark.parametrize(
    ("lines", "options", "why"),
    [
        (["ports: ['8000:8000']"], {}, "it publishes ports itself"),
        (["container_name: web"], {}, "its name is fixed (container_name: web)"),
        (["labels: {composeops.hotfix.exclusive: 'true'}"], {}, "label composeops.hotfix.exclusive"),
        ([], {"exclusive": True}, "deploy_exclusive"),
        (["volumes: ['/srv/data:/data']"], {}, "write to the same /srv/data"),
        (["profiles: [debug]"], {}, "its profile is not active"),
    ],
)
@pytest.mark.parametrize("check", [False, True])
def test_what_speaks_against_it_is_named(
    service: Any, lines: list[str], options: dict[str, Any], why: str, check: bool
) -> None:
    service.write(*lines)
    service.start()
    result = service.run("rolling", check=check, **options)
    assert not result["possible"] and result["incoming"] is None and result["needed"] is None
    assert why in "; ".join(result["reasons"])
    assert service.changes() == []


def test_required_it_fails_with_all_reasons_and_a_remedy(service: Any) -> None:
    service.write("container_name: web", "ports: ['8000:8000']")
    service.start()
    result = service.run("rolling", required=True, expect_failure=True)
    assert "service web cannot be replaced behind a proxy: its name is fixed" in result["msg"]
    assert "it publishes ports itself. " in result["msg"]
    assert result["msg"].endswith("or deploy with deploy_strategy: recreate.")
    assert service.changes() == []


@pytest.mark.parametrize("check", [False, True])
def test_nothing_is_taken_away_where_there_is_nothing(service: Any, check: bool) -> None:
    service.write()
    service.start()
    result = service.run("rolling", state="absent", check=check)
    assert (result["changed"], result["incoming"]) == (False, None)
    assert service.changes() == []


def test_an_unknown_service_is_named_with_those_that_exist(service: Any) -> None:
    result = service.run("rolling", service="wbe", expect_failure=True)
    assert "there is no service wbe" in result["msg"] and "web" in result["msg"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"state": "present"}, "one of: started, active, absent"),
        ({"service": None}, "service"),
        ({"port": "http"}, "port"),
    ],
)
def test_options_are_checked(service: Any, options: dict[str, Any], message: str) -> None:
    assert message in service.run("rolling", expect_failure=True, **options)["msg"]
