# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of the module rolling, on a service of this host.

How far a rolling deployment has come stands in the names of the two containers, so that the next run sees it after a
kill at any point, and so that whoever looks for the service's container finds the one that serves: ``NAME-incoming`` is
the new one until it takes over as ``NAME``, ``NAME-outgoing`` is the old one from then on.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any

from ansible_collections.composeops.hotfix.plugins.module_utils import (
    _connections,
    _container,
    _made_with,
    _rolling,
    _takeover,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_file import Project
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_policy import effective_restart_policy
from ansible_collections.composeops.hotfix.plugins.module_utils._compose_run import explained
from ansible_collections.composeops.hotfix.plugins.module_utils._container import (
    INCOMING,
    OUTGOING,
    Docker,
)
from ansible_collections.composeops.hotfix.plugins.module_utils._container_options import find_container
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._proxies import Proxies, Proxy

# Seconds in which a proxy that watches the engine itself takes note of a container that is gone; Traefik waits for 2.
NOTICE = 5.0


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
        self.proxies = Proxies(docker, params["project_src"], self.files, self.service)
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
        proxies = self.proxies.leading_to(old)
        self._give_policy(new)
        self.proxies.release(old)
        self.proxies.lead(proxies, old, new)
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
        proxies += self.proxies.leading_to(old)
        if not proxies:
            return ["no nginx, Traefik or Caddy of the project that leads to it runs"]
        found = self.proxies.obstacles(proxies, config["services"][self.service], old)
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
                proxies = self.proxies.leading_to(old)
                if proxies:
                    if not self.check:
                        self.proxies.shield(proxies, old, new)
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
        self.proxies.shield(proxies, old, new)
        self.result["incoming"] = described(new)
        _takeover.note(self.params, "new container started", name)

    def _discard(self) -> None:
        """Remove containers that have not taken over."""
        serving = find_container(self.docker, self.params)
        for data in self._members():
            # One that Compose has made and that was never started has no name of ours yet.
            unused = data["State"]["Status"] == "created" and serving is not None and data["Id"] != serving["Id"]
            if data["Name"].endswith(INCOMING) or unused:
                self.proxies.release(data)
                _takeover.end(self.docker, data, _takeover.grace(self.project, self.service), volumes=True)
                if serving is not None:
                    self.proxies.release(serving)
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
            proxies = self.proxies.leading_to(new)
            if old["State"]["Running"]:
                self.proxies.release(old)
                self.proxies.lead(proxies, old, new)
            self._finish(proxies, old, new)

    def _adopt(self) -> None:
        """Where there is no other container left, the new one is the service's, whoever has removed the old one."""
        members = self._members()
        if len(members) != 1 or not members[0]["Name"].endswith(INCOMING):
            return
        new = members[0]
        self.result["changed"] = True
        self.proxies.release_stale(new)
        self._give_policy(new)
        self.docker.run("rename", new["Id"], settled(new))
        with contextlib.suppress(HotfixError):  # whether it is reached is asked next
            self.proxies.tell(self.proxies.leading_to(new))
        _takeover.note(self.params, "new container left alone", f"{settled(new)} is the service's only one")

    def _go_on(self, outgoing: Sequence[dict[str, Any]]) -> None:
        """What was to take over is gone or ends again and again, so that the old one goes on."""
        for data in self._members():
            if data["Id"] not in [old["Id"] for old in outgoing]:
                self.proxies.release(data)
                _takeover.end(self.docker, data, _takeover.grace(self.project, self.service))
        self.docker.run("rename", outgoing[0]["Id"], settled(outgoing[0]))
        with contextlib.suppress(HotfixError):  # as above
            self.proxies.tell(self.proxies.leading_to(outgoing[0]))

    def _give_policy(self, new: dict[str, Any]) -> None:
        """Give a new container the restart policy of its files, which it had not until it took over."""
        policy = effective_restart_policy(self.project.resolved(self.service))
        number = f":{policy.maximum_retry_count}" if policy.maximum_retry_count else ""
        self.docker.run("update", f"--restart={policy.name}{number}", new["Id"])

    # --- the takeover ------------------------------------------------------------------------------------------------

    def _finish(self, proxies: Sequence[Proxy], old: dict[str, Any], new: dict[str, Any]) -> None:
        """Let the old container end what it has under way, remove it, and let the proxies forget it."""
        self.proxies.tell(proxies)
        if old["State"]["Running"]:
            pid = old["State"]["Pid"]
            drained = _connections.drain(pid, _connections.listening(pid), self.params["drain_timeout"])
            self.result["drained"] = drained._asdict()
        _takeover.end(self.docker, old, _takeover.grace(self.project, self.service))
        self.proxies.tell(proxies)
        if any(proxy.kind != "nginx" for proxy in proxies):
            time.sleep(NOTICE)
        self.proxies.release(new)
        left = self.result["drained"]["left"]
        _takeover.note(self.params, "rolling ended", f"container {old['Id'][:12]} removed, {left} connections open")


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
