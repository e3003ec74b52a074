# SPDX-License-Identifier: GPL-3.0-or-later
"""The proxies of a project that lead to a service: which they are, and how they come from one container to another.

nginx looks the service's name up when it reads its configuration, Caddy for each connection it opens; Traefik asks the
engine. Rules in the network of the proxy lead what it opens to the one address to the other meanwhile.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from ansible_collections.composeops.hotfix.plugins.module_utils import (
    _container,
    _handover_guard,
    _netfilter,
    _rolling,
    _takeover,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._container import (
    Completed,
    Docker,
    Process,
    run_command,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._netfilter import Rule, Tables

MASTER, WORKER = "nginx: master process", "nginx: worker process"
RELOAD = 15.0  # seconds that nginx may take to start workers with the new configuration
LAST_WORKERS = 5.0  # seconds that its old workers may take beyond that; some wait for a client for hours
INTERVAL = 0.1


class Proxy(NamedTuple):
    """A container that leads connections to the service: which program, and with which words it was started."""

    kind: str
    inspect: dict[str, Any]
    words: list[str]

    @property
    def name(self) -> str:
        """The container's name."""
        return str(self.inspect["Name"]).lstrip("/")


class Proxies:
    """The proxies of a project, as one of its services is concerned.

    :param files: the Compose files, where they were named.
    """

    def __init__(self, docker: Docker, project_src: str, files: Sequence[str], service: str) -> None:
        self.docker, self.project_src, self.files, self.service = docker, project_src, list(files), service

    def _neighbours(self, inspect: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The running containers of the project's other services that are in a network with this one."""
        for identity in self.docker.find(self.project_src, files=self.files, all=False):
            data = self.docker.lookup(identity)
            other = data is not None and _container.compose_labels(data).service != self.service
            if data is not None and other and data["State"]["Running"] and _rolling.shared_networks(data, inspect):
                yield data

    def leading_to(self, old: dict[str, Any]) -> list[Proxy]:
        """The proxies that lead to a container of the service."""
        found = []
        for inspect in self._neighbours(old):
            for process in self.docker.processes(inspect["Id"]):
                kind = _rolling.kind(process.argv)
                proxy = Proxy(kind, inspect, [inspect["Path"], *(inspect["Args"] or [])])
                if kind:
                    found += [proxy] if self._leads(proxy, old) else []
                    break
        return found

    def _leads(self, proxy: Proxy, old: dict[str, Any]) -> bool:
        """Whether a proxy is told of the service: in its configuration, or by labels of the service."""
        labels = old["Config"].get("Labels") or {}
        if any(label.partition(".")[0].startswith(proxy.kind) for label in labels):
            return True
        commands = {
            "nginx": [["nginx", "-T", *_rolling.nginx_words(proxy.words)]],
            "caddy": [
                ["caddy", "adapt", "--config", _rolling.caddy_file(proxy.words)],
                ["cat", _rolling.caddy_file(proxy.words)],
            ],
        }
        names = _rolling.known_as(old, self.service)
        for words in commands.get(proxy.kind, []):
            done = self.docker.run("exec", proxy.inspect["Id"], *words, check=False)
            if done.returncode == 0:
                return _rolling.mentions(done.stdout, names)
        return False

    def obstacles(self, proxies: Sequence[Proxy], service: dict[str, Any], old: dict[str, Any]) -> list[str]:
        """Why they would not bear two containers of the service; empty when they do.

        :param service: as Compose resolves it.
        """
        found = [reason for proxy in proxies if (reason := self._obstacle(proxy))]
        return [*found, *self._traefik_obstacles(proxies, service, old)]

    def _obstacle(self, proxy: Proxy) -> str | None:
        """Why nothing can be done with a proxy."""
        if os.geteuid() != 0:
            return "only root may change the rules by which the kernel leads connections"
        if shutil.which("nsenter") is None or chosen(Tables(4, within(proxy.inspect))) is None:
            return f"the rules in the network of {proxy.name} are not to be seen (that takes nsenter and iptables)"
        if proxy.kind != "nginx":
            return None
        if not [process for process in self.docker.processes(proxy.inspect["Id"]) if process.args.startswith(MASTER)]:
            return f"the nginx of {proxy.name} has no master process that could reload"
        return self._untold(proxy)

    def _traefik_obstacles(
        self, proxies: Sequence[Proxy], service: dict[str, Any], old: dict[str, Any]
    ) -> Iterator[str]:
        """Why Traefik, which takes what it does from the containers, would do something else with two of them."""
        name = next((proxy.name for proxy in proxies if proxy.kind == "traefik"), None)
        if name is None:
            return
        if not _rolling.is_checked(service, old):
            yield (
                f"{name} would send requests to the new container as soon as it starts, since it has no "
                "health check (healthcheck)"
            )
        # Somebody may have taken the image away from under the container.
        done = self.docker.run("image", "inspect", "--format={{json .Config.Labels}}", old["Image"], check=False)
        changed = _rolling.relabelled(service, old, json.loads(done.stdout.strip() or "null"))
        if changed:
            yield (
                f"{name} would answer 404 while there are two containers of it with different labels "
                f"({', '.join(changed)})"
            )

    def _untold(self, proxy: Proxy) -> str | None:
        """Why nginx would not take its configuration again; None when it would."""
        words = ["nginx", "-t", *_rolling.nginx_words(proxy.words)]
        done = self.docker.run("exec", proxy.inspect["Id"], *words, check=False)
        if done.returncode == 0:
            return None
        said = [line for line in done.stderr.splitlines() if "emerg" in line] or ["no reason"]
        return f"nginx of {proxy.name} does not take its own configuration: {said[0].strip()}"

    # --- rules in their networks --------------------------------------------------------------------------------------

    def shield(self, proxies: Sequence[Proxy], old: dict[str, Any], new: dict[str, Any]) -> None:
        """Refuse what a proxy opens to the new container that finds it by the service's name before it is told.

        Caddy looks the name up for each connection, nginx when it is reloaded or has a resolver. They take the old one
        then. Whatever becomes of this run, the rules go with the old container.
        """
        for proxy in proxies:
            if proxy.kind != "traefik":
                found = _rolling.addresses(new, _rolling.shared_networks(proxy.inspect, new))
                rules = [(_rolling.family(each), _rolling.turning_away(each, old["Id"][:12])) for each in found]
                self._put(proxy, old, rules)

    def lead(self, proxies: Sequence[Proxy], old: dict[str, Any], new: dict[str, Any]) -> None:
        """Lead the connections that the proxies open to the old container to the new one."""
        for proxy in proxies:
            pairs = _rolling.pairs(old, new, _rolling.shared_networks(proxy.inspect, old))
            self._put(proxy, new, [(pair.family, _rolling.leading(pair, new["Id"][:12])) for pair in pairs])

    def is_led(self, proxy: Proxy, container: dict[str, Any]) -> bool:
        """Whether there are rules for a container in a proxy's network."""
        tables = [Tables(family, within(proxy.inspect)) for family in _netfilter.FAMILIES]
        return any(rule.copy == container["Id"][:12] for each in tables for _program, rule in each.ours())

    def _put(self, proxy: Proxy, container: dict[str, Any], rules: Sequence[tuple[int, Rule]]) -> None:
        """Put rules for a container into a proxy's network, unless they are there; they go when its process ends.

        :param rules: each with its family.
        :raises HotfixError: when there are no rules to be seen.
        """
        plan = []
        for family in sorted({family for family, _rule in rules}):
            tables = Tables(family, within(proxy.inspect))
            if any(rule.copy == container["Id"][:12] for _program, rule in tables.ours()):
                continue
            program = chosen(tables)
            if program is None:
                raise HotfixError(
                    f"the rules in the network of {proxy.name} are not to be seen",
                    remedy="Install iptables, and run as root",
                )
            plan.append((tables, program, [rule for each, rule in rules if each == family]))
        if plan:
            _takeover.guard(container, [program for _tables, program, _rules in plan], network_of=proxy.inspect)
        for tables, program, wanted in plan:
            tables.insert(program, wanted)
            if not _handover_guard.start_time(container["State"]["Pid"]):
                tables.remove(container["Id"][:12].__eq__)

    def release(self, container: dict[str, Any]) -> None:
        """Take the rules away that are for a container."""
        self._remove(container, container["Id"][:12].__eq__)

    def release_stale(self, container: dict[str, Any]) -> None:
        """Take the rules away, beside a container, that are for some that do not run any more."""
        self._remove(container, lambda identity: not self._runs(identity))

    def _remove(self, container: dict[str, Any], unwanted: Callable[[str], bool]) -> None:
        for inspect in self._neighbours(container):
            for family in _netfilter.FAMILIES:
                Tables(family, within(inspect)).remove(unwanted)

    def _runs(self, identity: str) -> bool:
        data = self.docker.lookup(identity)
        return data is not None and bool(data["State"]["Running"])

    # --- telling them -------------------------------------------------------------------------------------------------

    def tell(self, proxies: Sequence[Proxy]) -> None:
        """Have nginx look the service's name up again, which it does only when it reads its configuration.

        :raises HotfixError: when it does not.
        """
        for proxy in proxies:
            if proxy.kind == "nginx":
                self._reload(proxy)

    def _reload(self, proxy: Proxy) -> None:
        reason = self._untold(proxy)
        if reason:
            raise HotfixError(reason, remedy="Correct it; until then the proxy goes on with what it had read before")
        processes = self.docker.processes(proxy.inspect["Id"])
        before = workers(processes)
        for process in processes:
            if process.args.startswith(MASTER):
                os.kill(process.pid, signal.SIGHUP)
        if not waited(RELOAD, lambda: bool(self._workers(proxy) - before)):
            raise HotfixError(
                f"nginx of {proxy.name} did not read its configuration again",
                remedy=f"See its log: docker logs {proxy.name}",
            )
        waited(LAST_WORKERS, lambda: not self._workers(proxy) & before)

    def _workers(self, proxy: Proxy) -> set[int]:
        return workers(self.docker.processes(proxy.inspect["Id"]))


def workers(processes: Sequence[Process]) -> set[int]:
    """The processes of nginx that serve, those among them that are shutting down."""
    return {process.pid for process in processes if process.args.startswith(WORKER)}


def waited(limit: float, condition: Callable[[], bool]) -> bool:
    """Wait until something holds, for so many seconds at most; whether it does."""
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(INTERVAL)
    return True


def within(container: dict[str, Any]) -> Callable[..., Completed]:
    """What runs a command in a container's network, with the signature of :func:`run_command`."""

    def run(argv: Sequence[str], **options: Any) -> Completed:
        return run_command([*_takeover.entering(container), *argv], **options)

    return run


def chosen(tables: Tables) -> str | None:
    """The program in whose rules those of the engine are, else the first that shows any; None for none."""
    shown = [(program, rules) for program in tables.programs if (rules := tables.rules(program)) is not None]
    return next((program for program, rules in shown if rules), shown[0][0] if shown else None)
