# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a container behind a proxy can be replaced by a new one beside it: what has to hold, and why it does not.

A rolling deployment replaces a container that only a proxy of the same project talks to. The new one starts beside it;
once it is healthy, connections that the proxy opens to the old one's address are led to it, the old one ends what it
has under way and goes, and the proxy looks the service's name up again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.composeops.hotfix.plugins.module_utils import _handover
from ansible_collections.composeops.hotfix.plugins.module_utils._netfilter import MARK, Rule

PROXIES = ("nginx", "traefik", "caddy")
# Options of nginx that say which configuration it reads, each followed by a value.
NGINX_OPTIONS = ("-c", "-e", "-g", "-p")
CADDY_FILE = "/etc/caddy/Caddyfile"
NOBODY = 1  # tcpmux, at which nothing has listened for decades
# Of these modes of a namespace the rest names the service whose namespace is used.
SHARED = ("network_mode", "ipc", "pid")


class Pair(NamedTuple):
    """The addresses that the old and the new container have in one network."""

    family: int
    old: str
    new: str


def obstacles(
    config: Mapping[str, Any],
    name: str,
    inspect: Mapping[str, Any],
    shareable: Sequence[str],
    *,
    only_one: bool = False,
) -> list[str]:
    """Why a new container of the service cannot run beside the old one, from what the files and the container say.

    :param config: the project as Compose resolves it.
    :param name: the service.
    :param inspect: the running container.
    :param shareable: as for :func:`_handover.shared_writable`.
    :param only_one: the operator says that there may be only one.
    """
    service = config["services"][name]
    found = _handover.side_by_side(service, inspect, shareable, only_one=only_one)
    if service.get("container_name"):
        found.append(f"its name is fixed (container_name: {service['container_name']})")
    if service.get("ports"):
        found.append("it publishes ports itself")
    users = sharing(config, name)
    if users:
        found.append(f"{', '.join(users)} would stay in the old container's network")
    return found


def sharing(config: Mapping[str, Any], name: str) -> list[str]:
    """The services that live in a namespace of this one's container."""
    wanted = f"service:{name}"
    return sorted(
        other for other, service in config["services"].items() if wanted in [service.get(key) for key in SHARED]
    )


def kind(words: Sequence[str]) -> str:
    """Which proxy a process is: one of :data:`PROXIES`, or empty.

    :param words: its arguments; nginx writes what it is into the first.
    """
    program = os.path.basename((words[0] if words else "").partition(":")[0])
    return program if program in PROXIES else ""


def nginx_words(words: Sequence[str]) -> list[str]:
    """Those of the words that nginx was started with that say which configuration it reads."""
    found = []
    for index, word in enumerate(words[:-1]):
        if word in NGINX_OPTIONS:
            found += [word, words[index + 1]]
    return found


def caddy_file(words: Sequence[str]) -> str:
    """The configuration that Caddy was started with."""
    for index, word in enumerate(words):
        option, equals, value = word.partition("=")
        if option in ("--config", "-config"):
            return value if equals else "".join(words[index + 1 : index + 2])
    return CADDY_FILE


def mentions(text: str, names: Iterable[str]) -> bool:
    """Whether a proxy's configuration names one of these hosts."""
    return any(re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w.-])", text) for name in names)


def known_as(inspect: Mapping[str, Any], service: str) -> list[str]:
    """The names by which other containers reach a container."""
    networks = (inspect.get("NetworkSettings") or {}).get("Networks") or {}
    aliases = [alias for network in networks.values() for alias in network.get("Aliases") or []]
    return list(dict.fromkeys([service, inspect["Name"].lstrip("/"), *aliases]))


def shared_networks(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The networks that two containers are both in."""
    first, second = ((data.get("NetworkSettings") or {}).get("Networks") or {} for data in (one, other))
    return [name for name in first if name in second]


def pairs(old: Mapping[str, Any], new: Mapping[str, Any], networks: Iterable[str]) -> list[Pair]:
    """The addresses of two containers in these networks, as far as both have one."""
    found = []
    for name in networks:
        first, second = (data["NetworkSettings"]["Networks"].get(name) or {} for data in (old, new))
        for family, key in ((4, "IPAddress"), (6, "GlobalIPv6Address")):
            if first.get(key) and second.get(key):
                found.append(Pair(family, first[key], second[key]))
    return found


def leading(pair: Pair, new: str) -> Rule:
    """The rule in the proxy's network that leads connections which it opens to the old container to the new one.

    It looks at the packet that opens a connection and at no other: those that are open keep their way.

    :param new: the new container's ID.
    """
    return _opened_to(pair.old, new, "DNAT", "--to-destination", pair.new)


def turning_away(address: str, old: str) -> Rule:
    """The rule in a proxy's network that refuses connections which it opens to the new container.

    Nobody listens where it leads to, so that the proxy is told at once, and tries the next address of the name. It
    stands there and not with the new container, which gets another network when it is started again.

    :param address: the new container's.
    :param old: the ID of the old container, with which the rule goes.
    """
    return _opened_to(address, old, "REDIRECT", "--to-ports", str(NOBODY))


def _opened_to(address: str, container: str, *target: str) -> Rule:
    """A rule for the packets that open connections to an address, marked with the container that it is for."""
    opening = ("-p", "tcp", "-m", "tcp", "--tcp-flags", "FIN,SYN,RST,ACK", "SYN")
    note = ("-m", "comment", "--comment", MARK + container)
    to = ("-d", f"{address}/{128 if family(address) == 6 else 32}")
    return Rule("OUTPUT", (*to, *opening, *note, "-j", *target))


def family(address: str) -> int:
    """4 or 6."""
    return 6 if ":" in address else 4


def is_checked(service: Mapping[str, Any], inspect: Mapping[str, Any]) -> bool:
    """Whether the engine checks the health of a service's containers.

    :param service: the service as Compose resolves it.
    :param inspect: a container of it, which has the check of its image where the files say nothing.
    """
    said = service.get("healthcheck")
    if said and (said.get("disable") or said.get("test")):
        return not said.get("disable") and list(said["test"])[:1] != ["NONE"]
    return list((inspect["Config"].get("Healthcheck") or {}).get("Test") or ["NONE"])[:1] != ["NONE"]


def relabelled(service: Mapping[str, Any], inspect: Mapping[str, Any], image: Mapping[str, Any] | None) -> list[str]:
    """The labels for Traefik that another container of a service would have with other values than one that runs.

    Traefik takes a router, a service or a middleware out of use while two containers describe it differently.

    :param service: the service as Compose resolves it.
    :param inspect: the container that runs.
    :param image: the labels of its image.
    """
    new, old = {**(image or {}), **(service.get("labels") or {})}, inspect["Config"].get("Labels") or {}
    names = {name for name in (*new, *old) if name.startswith("traefik.")}
    return sorted(name for name in names if new.get(name) != old.get(name))


def addresses(inspect: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    """The addresses that a container has in these networks."""
    networks = inspect["NetworkSettings"]["Networks"]
    found = [networks[name].get(key) for name in names for key in ("IPAddress", "GlobalIPv6Address")]
    return [address for address in found if address]


def port(listening: Iterable[int], exposed: Iterable[int]) -> int:
    """The port at which a container serves: one that it listens on, if possible one that its image names; or 0."""
    heard = sorted(set(listening))
    named = [number for number in heard if number in set(exposed)]
    return (named or heard or [0])[0]


def exposed(inspect: Mapping[str, Any]) -> list[int]:
    """The ports that a container's image or files name."""
    return [int(key.partition("/")[0]) for key in inspect["Config"].get("ExposedPorts") or {}]
