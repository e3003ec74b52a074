# SPDX-License-Identifier: GPL-3.0-or-later
"""What a container was made with, in the form in which the engine makes one: to make it once more when it is gone.

Compose removes a container before it starts the new one. Where the files had been edited since the old one was made,
they do not say how it was made; the engine does. All that Compose looks at is in it, the hash of the files included, so
that Compose takes the new container for the old one. What the program wrote into the container itself is not.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError

# Of what the engine says of a container in a network, that which somebody has asked for.
ENDPOINT = ("IPAMConfig", "Links", "Aliases", "DriverOpts", "GwPriority")
SHORT_ID = 12
SHORTEST = 8  # characters of a value that is looked for in the rest of a container


def of_container(inspect: Mapping[str, Any]) -> dict[str, Any]:
    """What a container was made with. It holds its environment, and with it secrets.

    :param inspect: ``docker inspect`` data.
    """
    identity = inspect["Id"][:SHORT_ID]
    config, host = dict(inspect["Config"]), dict(inspect["HostConfig"])
    shared = str(host.get("NetworkMode")).startswith("container:")
    # The engine's choice, or that of the container or host whose network or name it has.
    if config.get("Hostname") == identity or shared or host.get("UTSMode") == "host":
        config.pop("Hostname", None)
    if shared:
        config.pop("Domainname", None)
        config.pop("ExposedPorts", None)
    # Shown alike are an image without one, and one that was taken away.
    config["Entrypoint"] = [""] if config.get("Entrypoint") is None else config["Entrypoint"]
    host["Mounts"] = _mounts(inspect)
    host["Links"] = [_link(text) for text in host.get("Links") or []] or None
    networks = (inspect.get("NetworkSettings") or {}).get("Networks") or {}
    return {
        "id": inspect["Id"],
        "name": str(inspect["Name"]).lstrip("/"),
        "image": inspect["Image"],
        "config": config,
        "host_config": host,
        "networks": {
            name: _endpoint(networks[name] or {}, identity)
            # The one that the others come after, of which some settings of the container are.
            for name in sorted(networks, key=lambda name: name != host.get("NetworkMode"))
        },
    }


def with_values(
    spec: Mapping[str, Any], old: Mapping[str, str], new: Mapping[str, str], names: Iterable[str]
) -> dict[str, Any]:
    """The same with other values of some variables.

    :param old: the variables of the environment file when the container was made.
    :param new: those that it has now.
    :param names: the variables that are to have the new values.
    :raises HotfixError: when it cannot be told where in the container a value is; it names variables alone.
    """
    changed = dict(json.loads(json.dumps(spec)))
    entries = changed["config"].get("Env") or []
    values = dict(entry.partition("=")[::2] for entry in entries if "=" in entry)
    # Where the container has all of the file, it has what is new in it as well.
    whole = all(values.get(name) == value for name, value in old.items())
    wanted = list(names)
    for name in wanted:
        if name not in new or (values.get(name) != old[name] if name in old else name in values or not whole):
            raise HotfixError(
                f"it is not known how the container gets {name}",
                remedy="Have it made from its files, which say it",
            )
    others = [entry for entry in entries if entry.partition("=")[0] not in wanted]
    changed["config"]["Env"] = others
    text = json.dumps(changed, ensure_ascii=False)
    # What is short is part of any text, and no key.
    searched = {name: old[name] for name in wanted if len(old.get(name, "")) >= SHORTEST}
    left = [name for name, value in searched.items() if json.dumps(value, ensure_ascii=False)[1:-1] in text]
    changed["config"]["Env"] = [*others, *(f"{name}={new[name]}" for name in wanted)]
    if left:
        raise HotfixError(
            f"the container has the old value of {', '.join(left)} in more than its variable of that name",
            remedy="Have it made from its files, which say where",
        )
    return changed


def request(spec: Mapping[str, Any], image: str) -> dict[str, Any]:
    """What the engine is sent to make it (``POST /containers/create``), in its first network alone.

    :param image: the image's name, or its ID where the name has come to mean another one.
    """
    first = dict(list(spec["networks"].items())[:1])
    return {
        **spec["config"],
        "Image": image,
        "HostConfig": spec["host_config"],
        "NetworkingConfig": {"EndpointsConfig": first},
    }


def _mounts(inspect: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What it has mounted, with the volumes that nobody has named by the names that they got: their data is in them."""
    host = inspect["HostConfig"]
    volumes = {
        posixpath.normpath(mount["Destination"]): mount
        for mount in inspect.get("Mounts") or []
        if mount.get("Type") == "volume"
    }
    found = []
    for mount in host.get("Mounts") or []:
        volume = volumes.pop(posixpath.normpath(mount.get("Target") or ""), None)
        found.append({**mount, "Source": volume["Name"]} if volume is not None else dict(mount))
    bound = {posixpath.normpath(part) for bind in host.get("Binds") or [] for part in bind.split(":")[1:2]}
    for target, volume in volumes.items():
        if target not in bound:
            found.append({"Type": "volume", "Source": volume["Name"], "Target": target, "ReadOnly": not volume["RW"]})
    return found


def _link(text: str) -> str:
    """A link in the form in which it is asked for: the engine shows ``/other:/this/alias``."""
    other, _colon, alias = text.partition(":")
    return f"{other.lstrip('/')}:{alias.rpartition('/')[2]}"


def _endpoint(network: Mapping[str, Any], identity: str) -> dict[str, Any]:
    """How a container is in a network, without what the engine has chosen."""
    found = {key: network[key] for key in ENDPOINT if network.get(key)}
    # Since API 1.44, which shows these names, it is asked for here; before, with the container, whose it is in Config.
    if network.get("MacAddress") and "DNSNames" in network:
        found["MacAddress"] = network["MacAddress"]
    aliases = [alias for alias in found.get("Aliases", []) if alias != identity]
    return {**found, "Aliases": aliases} if "Aliases" in found else found
