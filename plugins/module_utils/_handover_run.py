# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of the module handover, on a service of this host."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Sequence
from typing import Any

from ansible_collections.composeops.hotfix.plugins.module_utils import (
    _connections,
    _container,
    _handover,
    _made_with,
    _netfilter,
    _takeover,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_file import Project
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_run import explained
from ansible_collections.composeops.hotfix.plugins.module_utils._container import Docker, Port
from ansible_collections.composeops.hotfix.plugins.module_utils._container_options import (
    find_container,
    named_container,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._netfilter import Published, Tables
from ansible_collections.composeops.hotfix.plugins.module_utils._proxies import Proxies


class HandoverRun:
    """Start a copy, lead connections to it, and take it away again.

    :param params: the module's options.
    :param check: check mode: nothing is changed.
    """

    def __init__(self, params: dict[str, Any], docker: Docker, *, check: bool) -> None:
        self.params, self.docker, self.check = params, docker, check
        self.files: list[str] = params["files"] or []
        self.project = Project.load(params["project_src"], params["files"])
        self.project.service(params["service"])
        self.proxies = Proxies(docker, params["project_src"], self.files, params["service"])
        self.result: dict[str, Any] = {
            "changed": False,
            "possible": False,
            "needed": None,
            "reasons": [],
            "stand_in": None,
            "active": False,
            "interrupted": [],
            "drained": {"open": 0, "left": 0, "seconds": 0.0},
        }

    def run(self) -> dict[str, Any]:
        """Bring about the state that was asked for.

        :raises HotfixError: when it cannot be.
        """
        {"started": self.start, "active": self.activate, "absent": self.remove}[self.params["state"]]()
        return self.result

    def start(self) -> None:
        """Start a copy, if the container is going to be replaced and the service bears it."""
        inspect = find_container(self.docker, self.params)
        copies = self.copies()
        if self._reuse(copies):
            return
        reasons = self.reasons(inspect)
        self.result.update(possible=not reasons, reasons=reasons)
        if reasons and self.params["required"]:
            raise HotfixError(
                f"service {self.params['service']} cannot be handed over: {'; '.join(reasons)}",
                path=self.params["project_src"],
                remedy="Remove the obstacle, or deploy with deploy_strategy: recreate",
            )
        if reasons or inspect is None:
            return
        self.result["needed"] = None if self.check else self.params["force"] or self.differs(inspect)
        if self.check or not self.result["needed"]:
            return
        for copy in copies:
            self._take_away(copy)
        self._start(inspect)

    def activate(self) -> None:
        """Lead new connections to the copy, and wait until the container's own are over."""
        copy = self._only_copy()
        inspect = find_container(self.docker, self.params)
        self.result.update(stand_in=described(copy), active=True)
        if not self._led_to(copy):
            self.result["changed"] = True
            if not self.check:
                self._lead(copy)
        if inspect is not None and inspect["State"]["Running"] and not self.check:
            self.result["drained"] = self._drain(inspect)
        if not self.check:
            _takeover.note(self.params, "handover begun", f"new connections lead to {copy['Name'].lstrip('/')}")

    def remove(self) -> None:
        """Take the rules and the copy away."""
        copies = self.copies()
        stale = self._stale()
        serving = [copy for copy in copies if self._led_to(copy)]
        self.result.update(changed=bool(copies or stale), active=bool(serving))
        self.result["stand_in"] = described(serving[0]) if serving else None
        if self.check:
            return
        for family in _netfilter.FAMILIES:
            Tables(family).remove(stale.__contains__)
        for copy in copies:
            self.result["stand_in"] = described(copy)
            drained = self._take_away(copy)
            done = f"{copy['Name'].lstrip('/')} removed, {drained['left']} connections cut"
            _takeover.note(self.params, "handover ended", done)

    def copies(self) -> list[dict[str, Any]]:
        """The copies that there are of the service, of this run or of one that was killed."""
        filters = (f"label={_handover.LABEL}", f"label={_container.LABEL}service={self.params['service']}")
        words = [word for text in filters for word in ("--filter", text)]
        ids = self.docker.run("ps", "--all", "--quiet", "--no-trunc", *words).stdout.split()
        found = [data for data in map(self.docker.lookup, ids) if data is not None]
        return _container.select(found, self.params["project_src"], self.files)

    def reasons(self, inspect: dict[str, Any] | None) -> list[str]:
        """Why the service cannot be handed over; empty when it can."""
        if inspect is None or not inspect["State"]["Running"] or inspect["State"].get("Restarting"):
            return ["no container of it runs that could serve meanwhile"]
        config = self.docker.config(
            self.params["project_src"], self.files, [self.params["service"]], unset=self.project.variables()
        )
        service = config["services"][self.params["service"]]
        shareable, only_one = self.params["shared_volumes"], self.params["exclusive"]
        found = _handover.obstacles(service, inspect, shareable, only_one=only_one)
        if found:
            return found
        return [reason for reason in (self._network_obstacle(inspect), _takeover.memory_obstacle(inspect)) if reason]

    def differs(self, inspect: dict[str, Any]) -> bool:
        """Whether Compose would make another container."""
        return _made_with.outdated(self.docker, self.project, self.files, self.params["service"], inspect)

    def _reuse(self, copies: Sequence[dict[str, Any]]) -> bool:
        """Whether a copy of a run that was killed serves now: then it goes on until the container is there."""
        for copy in copies:
            if self._led_to(copy):
                self.result.update(possible=True, needed=True, stand_in=described(copy), active=True)
                return True
        return False

    def _network_obstacle(self, inspect: dict[str, Any]) -> str | None:
        if os.geteuid() != 0:
            return "only root may change the rules by which the kernel leads connections"
        ports = _container.published_ports(inspect)
        plain = [(port.host_port, port.container_port) for port in ports if ":" not in port.host_ip]
        if not Tables(4).engines(plain):
            return (
                "the engine's rules for the published port are not to be seen with iptables (it may be told to leave "
                "them alone, run without root, or use nftables)"
            )
        six = [port for port in ports if ":" in port.host_ip]
        if six and not Tables(6).readable():
            return "the port is published for IPv6 as well, and ip6tables does not show its rules"
        return None

    def _start(self, inspect: dict[str, Any]) -> None:
        name = f"{inspect['Name'].lstrip('/')}-handover-{secrets.token_hex(3)}"
        words = [
            "run",
            "--detach",
            "--no-deps",
            "-T",
            "--name",
            name,
            "--label",
            f"{_handover.LABEL}={inspect['Id'][:12]}",
        ]
        for port in _handover.publishing(_container.published_ports(inspect)):
            words += ["--publish", port]
        with explained(self.docker, self.project):
            self.docker.compose(
                self.params["project_src"],
                self.files,
                "--progress=quiet",
                *words,
                self.params["service"],
                unset=self.project.variables(),
                timeout=_takeover.OVERHEAD * 5,
            )
        self.result.update(changed=True, stand_in=described(self.docker.inspect(name)))
        _takeover.note(self.params, "copy started", name)

    def _lead(self, copy: dict[str, Any]) -> None:
        ports = _container.published_ports(copy)
        inspect = named_container(self.docker, self.params)
        pairs = published(_container.published_ports(inspect), ports)
        proxy = self._proxied(pairs)
        plan = [(family, *self._rules(family, pairs, copy, proxy=proxy)) for family in _netfilter.FAMILIES]
        _takeover.guard(copy, [program for _family, program, rules in plan if rules])
        for family, program, rules in plan:
            Tables(family).insert(program, rules)
        # To the proxies of the project published ports are nothing.
        with contextlib.suppress(HotfixError):  # what could not be led is told of at the end
            self.proxies.lead(self.proxies.leading_to(inspect), inspect, copy)

    def _give_back(self, copy: dict[str, Any]) -> None:
        """Let nginx find the container at its new address, and lead it to the copy no more."""
        inspect = find_container(self.docker, self.params)
        # Who comes through the published port does not depend on it, and the rules end with the copy in any case.
        with contextlib.suppress(HotfixError):
            proxies = self.proxies.leading_to(inspect) if inspect is not None and inspect["State"]["Running"] else []
            # Caddy looks the service's name up, which leads nowhere between two containers.
            self.result["interrupted"] = [
                proxy.name for proxy in proxies if proxy.kind == "caddy" or not self.proxies.is_led(proxy, copy)
            ]
            self.proxies.tell(proxies)
            self.proxies.release(copy)

    def _proxied(self, pairs: Sequence[Published]) -> bool:
        """Whether the userland proxy serves the copy's ports, in any family."""
        ports = [(pair.free_port, pair.container_port) for pair in pairs]
        found = [rules for family in _netfilter.FAMILIES for rules in Tables(family).each()]
        return any(_netfilter.proxied(rules, *port) for rules in found for port in ports)

    def _rules(
        self, family: int, pairs: Sequence[Published], copy: dict[str, Any], *, proxy: bool
    ) -> tuple[str, list[_netfilter.Rule]]:
        mine = [pair for pair in pairs if pair.family == family]
        if not mine:
            return "", []
        tables = Tables(family)
        program = tables.engines([(pair.free_port, pair.container_port) for pair in mine]) or tables.readable()
        if program is None:
            raise HotfixError("the rules of this host are not to be seen", remedy="Install iptables, and run as root")
        rules = tables.rules(program) or []
        found = []
        for pair in mine:
            found += _netfilter.handing_over(pair, rules, proxy=proxy, copy=copy["Id"][:12])
        return program, found

    def _take_away(self, copy: dict[str, Any]) -> dict[str, Any]:
        """Remove one copy: first its rules, then, when nobody is connected any more, the container."""
        identity = copy["Id"][:12]
        if self._led_to(copy):
            self._give_back(copy)
        led = sum(Tables(family).remove(identity.__eq__) for family in _netfilter.FAMILIES)
        drained = self._drain(copy) if led and copy["State"]["Running"] else dict(self.result["drained"])
        self.result["drained"] = drained
        _takeover.end(self.docker, copy, _takeover.grace(self.project, self.params["service"]), volumes=True)
        return drained

    def _drain(self, inspect: dict[str, Any]) -> dict[str, Any]:
        ports = {port.container_port for port in _container.published_ports(inspect)}
        return _connections.drain(inspect["State"]["Pid"], ports, self.params["drain_timeout"])._asdict()

    def _led_to(self, copy: dict[str, Any]) -> bool:
        """Whether connections are led to a copy, and it can answer."""
        rules = (rule for family in _netfilter.FAMILIES for _program, rule in Tables(family).ours())
        return bool(copy["State"]["Running"]) and any(rule.copy == copy["Id"][:12] for rule in rules)

    def _stale(self) -> set[str]:
        """The containers that rules of ours lead to and that do not run any more, of any project."""
        led = {rule.copy for family in _netfilter.FAMILIES for _program, rule in Tables(family).ours()}
        found = {identity: self.docker.lookup(identity) for identity in led}
        return {identity for identity, data in found.items() if data is None or not data["State"]["Running"]}

    def _only_copy(self) -> dict[str, Any]:
        copies = [copy for copy in self.copies() if copy["State"]["Running"]]
        if not copies:
            raise HotfixError(
                f"there is no running copy of service {self.params['service']}",
                path=self.params["project_src"],
                remedy="Start one with state: started, and see its log when it ends by itself",
            )
        return copies[0]


def described(copy: dict[str, Any]) -> dict[str, Any]:
    """A copy as the module returns it."""
    addresses = [address for address in _container.networks(copy).values() if address]
    return {"id": copy["Id"], "name": copy["Name"].lstrip("/"), "address": (addresses or [""])[0]}


def published(originals: Sequence[Port], copies: Sequence[Port]) -> list[Published]:
    """Each published port of the container, with the one at which the copy publishes the same."""
    found = []
    for port in originals:
        same = [copy for copy in copies if copy.container_port == port.container_port and copy.host_ip == port.host_ip]
        if same:
            found.append(Published(port.host_ip, port.host_port, port.container_port, same[0].host_port))
    return found
