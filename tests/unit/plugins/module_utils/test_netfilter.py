# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of a handover, made from those of the engine. The engine's are recorded from Engine 26.1."""

from __future__ import annotations

import shlex

import pytest
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Completed
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._netfilter import (
    MARK,
    Published,
    Rule,
    Tables,
    handing_over,
    parse,
    proxied,
    translation,
)

PROXY = """\
-P PREROUTING ACCEPT
-N DOCKER
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A DOCKER -i br-6e8c40134f10 -j RETURN
-A DOCKER ! -i br-6e8c40134f10 -p tcp -m tcp --dport 8000 -j DNAT --to-destination 172.19.0.3:8000
-A DOCKER ! -i br-6e8c40134f10 -p tcp -m tcp --dport 32769 -j DNAT --to-destination 172.19.0.4:8000
"""
HAIRPIN = """\
-A OUTPUT -m addrtype --dst-type LOCAL -j DOCKER
-A DOCKER -p tcp -m tcp --dport 8000 -j DNAT --to-destination 172.20.0.2:8000
-A DOCKER -p tcp -m tcp --dport 32769 -j DNAT --to-destination 172.20.0.4:8000
"""
PORT = Published("0.0.0.0", 8000, 8000, 32769)


def text(rules: list[Rule]) -> list[str]:
    """Rules less what they have in common."""
    common = f"-p tcp -m addrtype --dst-type LOCAL -m tcp --dport 8000 -m comment --comment {MARK}abc"
    return [" ".join([rule.chain, *rule.words]).replace(common, "PORT") for rule in rules]


def test_rules_follow_the_engines_own_with_the_userland_proxy() -> None:
    rules = handing_over(PORT, parse(PROXY), proxy=True, copy="abc")
    assert text(rules) == [
        "PREROUTING ! -i br-6e8c40134f10 PORT -j DNAT --to-destination 172.19.0.4:8000",
        "PREROUTING -i br-6e8c40134f10 PORT -j REDIRECT --to-ports 32769",
        "OUTPUT -d 127.0.0.0/8 PORT -j REDIRECT --to-ports 32769",
        "OUTPUT ! -d 127.0.0.0/8 PORT -j DNAT --to-destination 172.19.0.4:8000",
    ]
    assert all(rule.copy == "abc" for rule in rules)


def test_without_the_proxy_everything_goes_to_the_container() -> None:
    assert text(handing_over(PORT, parse(HAIRPIN), proxy=False, copy="abc")) == [
        "PREROUTING PORT -j DNAT --to-destination 172.20.0.4:8000",
        "OUTPUT PORT -j DNAT --to-destination 172.20.0.4:8000",
    ]


def test_where_only_the_proxy_serves_a_family_it_is_led_to_the_proxy() -> None:
    six = PORT._replace(host_ip="::")
    assert text(handing_over(six, [], proxy=True, copy="abc")) == [
        "PREROUTING PORT -j REDIRECT --to-ports 32769",
        "OUTPUT PORT -j REDIRECT --to-ports 32769",
    ]
    assert handing_over(six, [], proxy=False, copy="abc") == []


@pytest.mark.parametrize(
    ("address", "local"),
    [("127.0.0.1", "DNAT --to-destination 127.0.0.1:32769"), ("10.0.0.5", "DNAT --to-destination 172.19.0.4:8000")],
)
def test_a_port_bound_to_one_address_is_led_from_there_alone(address: str, local: str) -> None:
    rules = handing_over(PORT._replace(host_ip=address), parse(PROXY), proxy=True, copy="abc")
    assert all(rule.option("-d") == f"{address}/32" for rule in rules)
    assert text(rules)[-1] == f"OUTPUT -d {address}/32 PORT -j {local}"
    assert text(rules)[1].endswith(f"-j DNAT --to-destination {address}:32769")


def test_six_bound_to_one_address() -> None:
    engine = PROXY.replace("172.19.0.4:8000", "[fd00::4]:8000")
    rules = handing_over(PORT._replace(host_ip="fd00::5"), parse(engine), proxy=True, copy="abc")
    assert text(rules)[-1] == "OUTPUT -d fd00::5/128 PORT -j DNAT --to-destination [fd00::5]:32769"


def test_the_engines_rule_of_a_port_is_found_and_ours_is_not_taken_for_it() -> None:
    ours = (
        f'-A PREROUTING -p tcp --dport 8000 -m comment --comment "{MARK}abc" -j DNAT --to-destination 172.19.0.9:8000\n'
    )
    found = translation(parse(ours + PROXY), 8000, 8000)
    assert found is not None and found.option("--to-destination") == "172.19.0.3:8000"
    assert translation(parse(ours), 8000, 8000) is None
    assert translation(parse(PROXY), 8001, 8000) is None


def test_that_the_proxy_serves_is_seen_by_the_bridge_that_is_left_out() -> None:
    assert proxied(parse(PROXY), 32769, 8000)
    assert not proxied(parse(HAIRPIN), 32769, 8000)


class Iptables:
    """Recordings of what the programs print, since not every machine has them; the droplet has the real ones."""

    def __init__(self, text: str, *, status: int = 0) -> None:
        self.text, self.status, self.calls = text, status, []  # type: ignore[var-annotated]

    def __call__(self, argv: list[str], **_options: object) -> Completed:
        self.calls.append(argv[6:] if "-S" not in argv else [])
        return Completed(
            self.status, self.text, "iptables: Permission denied (you must be root)\n" if self.status else ""
        )


def tables(run: Iptables) -> Tables:
    """The table with one program."""
    found = Tables(4, run)
    found.programs = ["iptables"]
    return found


def test_own_rules_are_taken_out_as_they_are_printed_and_others_stay() -> None:
    line = f"PREROUTING -p tcp -m tcp --dport 8000 -m comment --comment {MARK}abc -j REDIRECT --to-ports 32769"
    run = Iptables(f"{PROXY}-A {line}\n-A {line.replace(':abc', ':def')}\n")
    assert tables(run).remove("abc".__eq__) == 1
    assert [call for call in run.calls if call] == [shlex.split(line)]


@pytest.mark.parametrize("gone", [True, False])
def test_a_rule_that_was_taken_out_meanwhile_is_no_fault(gone: bool) -> None:
    class Meanwhile(Iptables):
        def __call__(self, argv: list[str], **options: object) -> Completed:
            if "-S" in argv:
                return super().__call__(argv, **options)
            self.text = "" if gone else self.text
            return Completed(1, "", "iptables: Bad rule (does a matching rule exist in that chain?).\n")

    run = Meanwhile(f"-A OUTPUT -m comment --comment {MARK}abc -j ACCEPT\n")
    if gone:
        assert tables(run).remove("abc".__eq__) == 1
    else:
        with pytest.raises(HotfixError, match="-D failed"):
            tables(run).remove("abc".__eq__)


def test_a_refusal_is_said() -> None:
    with pytest.raises(HotfixError, match="iptables -I failed: iptables: Permission denied"):
        tables(Iptables("", status=4)).insert("iptables", [Rule("OUTPUT", ("-j", "ACCEPT"))])
    assert tables(Iptables("", status=3)).rules("iptables") is None
    assert tables(Iptables("", status=3)).readable() is None
