# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of the module rolling, on a service of this host.

How far a rolling deployment has come stands in the names of the two containers, so that the next run sees it after a
kill at any point, and so that whoever looks for the service's container finds the one that serves: ``NAME-incoming`` is
the new one until it takes over as ``NAME``, ``NAME-outgoing`` is the old one from then on.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.composeops.hotfix.plugins.module_utils import (
    _connections,
    _container,
    _handover_guard,
    _made_with,
    _netfilter,
    _rolling,
    _takeover,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_file import Project
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_policy import effective_restart_policy
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_run import explained
from ansible_collections.composeops.hotfix.plugins.module_utils._container import (
    INCOMING,
    OUTGOING,
    Completed,
    Docker,
    Process,
    run_command,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._container_options import find_container
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._netfilter import Rule, Tables

MASTER, WORKER = "nginx: master process", "nginx: worker process"
RELOAD = 15.0  # seconds that nginx may take to start workers with the new configuration
LAST_WORKERS = 5.0  # seconds that its old workers may take beyond that; some wait for a client for hours
# Seconds in which a proxy that watches the engine itself takes note of a container that is gone; Traefik waits for 2.
NOTICE = 5.0
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


class RollingRun:
    """Start a new container beside the old one, let it take over, and take the old one away.

    :param params: the module's options.
    :param check: check mode: nothing is changed.
    """

    def __init__(self, params: dict[str, Any], docker: Docker, *, check: bool) -> None:
        self.params, self.docker, self.check = params, docker, check
        self.service: str = params["service"]
        self.files: list[str] = params["files"] or []
        self.project = Project.load(params["project_src"], params["files"])
        self.project.service(self.service)
        self.result: dict[str, Any] = {
            "changed": False,
            "possible": False,
            "needed": None,
            "reasons": [],
            "incoming": None,
            "port": None,
            "proxies": [],
            "drained": {"open": 0, "left": 0, "seconds": 0.0},
        }

    def run(self) -> dict[str, Any]:
        """Bring about the state that was asked for.

        :raises HotfixError: when it cannot be.
        """
        {"started": self.start, "active": self.activate, "absent": self.remove}[self.params["state"]]()
        return self.result

    def start(self) -> None:
        """Start a new container, if the old one is to be replaced and the service bears it."""
        if not self.check:
            self._complete()
        old = find_container(self.docker, self.params)
        if old is not None and old["Name"].endswith(INCOMING) and not self.check:
            # The service was stopped meanwhile; what had not taken over is no reason to start it.
            self._discard()
            old = find_container(self.docker, self.params)
        if old is not None:
            self.result["port"] = self._port(old)
        if old is not None and self._reuse(old):
            return
        proxies: list[Proxy] = []
        reasons = self.reasons(old, proxies)
        self.result.update(possible=not reasons, reasons=reasons, proxies=[proxy.name for proxy in proxies])
        if reasons and self.params["required"]:
            raise HotfixError(
                f"service {self.service} cannot be replaced behind a proxy: {'; '.join(reasons)}",
                path=self.params["project_src"],
                remedy="Remove the obstacle, or deploy with deploy_strategy: recreate",
            )
        if self.check:
            return
        self._discard()
        if reasons or old is None:
            return
        self.result["needed"] = self.params["force"] or self._outdated(old)
        if self.result["needed"]:
            self._start(old, proxies)

    def activate(self) -> None:
        """Let the new container take over, and take the old one away once its connections are over."""
        new = next((data for data in self._named(INCOMING) if data["State"]["Running"]), None)
        old = find_container(self.docker, self.params)
        if new is None or old is None:
            if self._named(OUTGOING) and not self.check:
                self._complete()
                return
            raise HotfixError(
                f"there is no running new container of service {self.service}",
                path=self.params["project_src"],
                remedy="Start one with state: started, and see its log when it ends by itself",
            )
        self.result.update(changed=True, incoming=described(new))
        if self.check:
            return
        if old["Id"] == new["Id"]:
            self._complete()
            return
        proxies = self.proxies(old)
        self._give_policy(new)
        self.release(old)
        self.lead(proxies, old, new)
        name = settled(old)
        # Whenever this is interrupted, the names tell which of the two serves.
        self.docker.run("rename", old["Id"], name + OUTGOING)
        self.docker.run("rename", new["Id"], name)
        _takeover.note(self.params, "rolling begun", f"container {new['Id'][:12]} takes over from {old['Id'][:12]}")
        self._finish(proxies, old, new)

    def remove(self) -> None:
        """Let there be one container: take away a new one that has not taken over, and an old one that is replaced."""
        if self.check:
            self.result["changed"] = bool(self._named(INCOMING) or self._named(OUTGOING))
            return
        self._complete()
        self._discard()

    def reasons(self, old: dict[str, Any] | None, proxies: list[Proxy]) -> list[str]:
        """Why the service cannot be replaced this way; empty when it can.

        :param proxies: those that are found are added to it.
        """
        if old is None or not old["State"]["Running"] or old["State"].get("Restarting"):
            return ["no container of it runs that could serve meanwhile"]
        config = self.docker.config(self.params["project_src"], self.files, unset=self.project.variables())
        if self.service not in config["services"]:
            return ["its profile is not active"]
        shareable, only_one = self.params["shared_volumes"], self.params["exclusive"]
        found = _rolling.obstacles(config, self.service, old, shareable, only_one=only_one)
        if _container.published_ports(old) and not found:
            found.append("its container publishes ports itself")
        if found:
            return found
        proxies += self.proxies(old)
        if not proxies:
            return ["no nginx, Traefik or Caddy of the project that leads to it runs"]
        found = [reason for proxy in proxies if (reason := self._proxy_obstacle(proxy))]
        found += self._traefik_obstacles(proxies, config["services"][self.service], old)
        return [reason for reason in (*found, _takeover.memory_obstacle(old)) if reason]

    # --- the containers ----------------------------------------------------------------------------------------------

    def _members(self) -> list[dict[str, Any]]:
        ids = self.docker.find(self.params["project_src"], self.service, files=self.files)
        return [data for data in map(self.docker.lookup, ids) if data is not None]

    def _named(self, ending: str) -> list[dict[str, Any]]:
        return [data for data in self._members() if data["Name"].endswith(ending)]

    def _outdated(self, inspect: dict[str, Any]) -> bool:
        return _made_with.outdated(self.docker, self.project, self.files, self.service, inspect)

    def _reuse(self, old: dict[str, Any]) -> bool:
        """Whether a run that was killed has started what is wanted now; the memory for it is taken already."""
        # With force the old one is up to date too, so that nothing is known of this one.
        if self.params["force"] or not old["State"]["Running"]:
            return False
        for new in self._named(INCOMING):
            if new["State"]["Running"] and not self._outdated(new) and self._outdated(old):
                proxies = self.proxies(old)
                if proxies:
                    if not self.check:
                        self._shield(proxies, old, new)
                    names = [proxy.name for proxy in proxies]
                    self.result.update(possible=True, needed=True, incoming=described(new), proxies=names)
                    return True
        return False

    def _port(self, old: dict[str, Any]) -> int:
        heard = _connections.listening(old["State"]["Pid"]) if old["State"]["Running"] else ()
        return self.params["port"] or _rolling.port(heard, _rolling.exposed(old))

    def _start(self, old: dict[str, Any], proxies: Sequence[Proxy]) -> None:
        """Have Compose make another container, and start it under a name that says that it does not serve yet.

        With the dependencies in view, though none is started: Compose before 2.40 takes a container that was made
        without them for another one, and would replace it the next time.
        """
        before = {data["Id"] for data in self._members()}
        words = ("up", "--no-start", "--no-recreate", "--scale", f"{self.service}={len(before) + 1}", self.service)
        with explained(self.docker, self.project):
            self.docker.compose(
                self.params["project_src"],
                self.files,
                "--progress=quiet",
                *words,
                unset=self.project.variables(),
                timeout=_takeover.OVERHEAD * 5,
            )
        made = [data for data in self._members() if data["Id"] not in before]
        if len(made) != 1:
            raise HotfixError(
                f"Compose made {len(made)} new containers of service {self.service} instead of one",
                path=self.params["project_src"],
                remedy="Deploy with deploy_strategy: recreate",
            )
        name = settled(old) + INCOMING
        self.docker.run("rename", made[0]["Id"], name)
        self.result["changed"] = True
        # A reboot meanwhile brings back the old one alone.
        self.docker.run("update", "--restart=no", made[0]["Id"])
        self.docker.run("start", made[0]["Id"], timeout=_takeover.OVERHEAD * 2)
        new = self.docker.inspect(made[0]["Id"])
        self._shield(proxies, old, new)
        self.result["incoming"] = described(new)
        _takeover.note(self.params, "new container started", name)

    def _discard(self) -> None:
        """Remove containers that have not taken over."""
        serving = find_container(self.docker, self.params)
        for data in self._members():
            # One that Compose has made and that was never started has no name of ours yet.
            unused = data["State"]["Status"] == "created" and serving is not None and data["Id"] != serving["Id"]
            if data["Name"].endswith(INCOMING) or unused:
                self.release(data)
                _takeover.end(self.docker, data, _takeover.grace(self.project, self.service), volumes=True)
                if serving is not None:
                    self.release(serving)
                self.result["changed"] = True
                _takeover.note(self.params, "new container removed", data["Name"].lstrip("/"))

    def _complete(self) -> None:
        """Take a takeover to its end that another run had begun, or somebody who has removed the old container."""
        self._adopt()
        outgoing = self._named(OUTGOING)
        if not outgoing:
            return
        self.result["changed"] = True
        new = find_container(self.docker, self.params)
        if new is None or not lives(new) or new["Name"].endswith(OUTGOING):
            self._go_on(outgoing)
            return
        if new["Name"].endswith(INCOMING):
            self.docker.run("rename", new["Id"], settled(new))
        for old in outgoing:
            proxies = self.proxies(new)
            if old["State"]["Running"]:
                self.release(old)
                self.lead(proxies, old, new)
            self._finish(proxies, old, new)

    def _adopt(self) -> None:
        """Where there is no other container left, the new one is the service's, whoever has removed the old one."""
        members = self._members()
        if len(members) != 1 or not members[0]["Name"].endswith(INCOMING):
            return
        new = members[0]
        self.result["changed"] = True
        for inspect in self._neighbours(new):
            for family in _netfilter.FAMILIES:
                Tables(family, within(inspect)).remove(lambda identity: not self._runs(identity))
        self._give_policy(new)
        self.docker.run("rename", new["Id"], settled(new))
        with contextlib.suppress(HotfixError):  # whether it is reached is asked next
            self.tell(self.proxies(new))
        _takeover.note(self.params, "new container left alone", f"{settled(new)} is the service's only one")

    def _go_on(self, outgoing: Sequence[dict[str, Any]]) -> None:
        """What was to take over is gone or ends again and again, so that the old one goes on."""
        for data in self._members():
            if data["Id"] not in [old["Id"] for old in outgoing]:
                self.release(data)
                _takeover.end(self.docker, data, _takeover.grace(self.project, self.service))
        self.docker.run("rename", outgoing[0]["Id"], settled(outgoing[0]))
        with contextlib.suppress(HotfixError):  # as above
            self.tell(self.proxies(outgoing[0]))

    def _give_policy(self, new: dict[str, Any]) -> None:
        """Give a new container the restart policy of its files, which it had not until it took over."""
        policy = effective_restart_policy(self.project.resolved(self.service))
        number = f":{policy.maximum_retry_count}" if policy.maximum_retry_count else ""
        self.docker.run("update", f"--restart={policy.name}{number}", new["Id"])

    def _runs(self, identity: str) -> bool:
        data = self.docker.lookup(identity)
        return data is not None and bool(data["State"]["Running"])

    # --- the takeover ------------------------------------------------------------------------------------------------

    def _shield(self, proxies: Sequence[Proxy], old: dict[str, Any], new: dict[str, Any]) -> None:
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
        for inspect in self._neighbours(container):
            for family in _netfilter.FAMILIES:
                Tables(family, within(inspect)).remove(container["Id"][:12].__eq__)

    def _finish(self, proxies: Sequence[Proxy], old: dict[str, Any], new: dict[str, Any]) -> None:
        """Let the old container end what it has under way, remove it, and let the proxies forget it."""
        self.tell(proxies)
        if old["State"]["Running"]:
            pid = old["State"]["Pid"]
            drained = _connections.drain(pid, _connections.listening(pid), self.params["drain_timeout"])
            self.result["drained"] = drained._asdict()
        _takeover.end(self.docker, old, _takeover.grace(self.project, self.service))
        self.tell(proxies)
        if any(proxy.kind != "nginx" for proxy in proxies):
            time.sleep(NOTICE)
        self.release(new)
        left = self.result["drained"]["left"]
        _takeover.note(self.params, "rolling ended", f"container {old['Id'][:12]} removed, {left} connections open")

    # --- the proxies -------------------------------------------------------------------------------------------------

    def _neighbours(self, inspect: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The running containers of the project's other services that are in a network with this one."""
        for identity in self.docker.find(self.params["project_src"], files=self.files, all=False):
            data = self.docker.lookup(identity)
            other = data is not None and _container.compose_labels(data).service != self.service
            if data is not None and other and data["State"]["Running"] and _rolling.shared_networks(data, inspect):
                yield data

    def proxies(self, old: dict[str, Any]) -> list[Proxy]:
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

    def _proxy_obstacle(self, proxy: Proxy) -> str | None:
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


def tell_proxies(docker: Docker, inspect: dict[str, Any], options: Mapping[str, Any]) -> None:
    """Have each nginx that leads to a container look its service's name up again, since the address may be another one.

    :param options: ``project_src``, ``files`` and ``service``.
    :raises HotfixError: when one does not.
    """
    run = RollingRun({**options, "state_dir": None}, docker, check=False)
    run.tell(run.proxies(inspect))


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


def lives(inspect: dict[str, Any]) -> bool:
    """Whether a container runs, and has done so since it was started."""
    state = inspect["State"]
    return bool(state["Running"]) and not state.get("Restarting") and not inspect.get("RestartCount")


def settled(inspect: dict[str, Any]) -> str:
    """A container's name without what says that it takes over or is on its way out."""
    name = str(inspect["Name"]).lstrip("/")
    return next((name[: -len(ending)] for ending in (INCOMING, OUTGOING) if name.endswith(ending)), name)


def described(inspect: dict[str, Any]) -> dict[str, Any]:
    """A container as the module returns it."""
    addresses = [address for address in _container.networks(inspect).values() if address]
    return {"id": inspect["Id"], "name": inspect["Name"].lstrip("/"), "address": (addresses or [""])[0]}
