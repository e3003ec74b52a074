# SPDX-License-Identifier: GPL-3.0-or-later
"""Making the container of a snapshot again, in the place of whatever the service has now."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ansible_collections.composeops.hotfix.plugins.module_utils import _container_spec, _dotenv, _journal, _takeover
from ansible_collections.composeops.hotfix.plugins.module_utils._container import INCOMING, Docker
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._files import read_bytes
from ansible_collections.composeops.hotfix.plugins.module_utils._proxies import Proxies
from ansible_collections.composeops.hotfix.plugins.module_utils._snapshots import Snapshot, Store, relative


def wanted(options: Mapping[str, Any]) -> dict[str, Any]:
    """What the container of a snapshot was made with, with the present values of the variables that keep them.

    :param options: those of the module ``container_restore``.
    :raises HotfixError: when nothing is kept of it, or it is not known where the values belong.
    """
    store = Store(_journal.project_folder(options["state_dir"], options["project_src"]))
    snapshot = store.load(options["snapshot"])
    spec = store.container(snapshot.id)
    if spec is None:
        raise HotfixError(
            f"snapshot {snapshot.id} does not hold how a container was made",
            path=store.path(snapshot.id),
            remedy="Have it made from its files",
        )
    if options["variables"]:
        path = os.path.join(options["project_src"], options["env_file"])
        now = _dotenv.variables(read_bytes(path), path, options["dialect"])
        spec = _container_spec.with_values(spec, _then(store, snapshot, options), now, options["variables"])
    return spec


def _then(store: Store, snapshot: Snapshot, options: Mapping[str, Any]) -> dict[str, str]:
    """The variables of the environment file in a snapshot."""
    name = relative(options["project_src"], options["env_file"])
    kept = next((kept for kept in snapshot.files if kept.path == name), None)
    data = store.content(snapshot.id, kept) if kept is not None else None
    return _dotenv.variables(data or b"", name, options["dialect"])


def restore(docker: Docker, spec: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    """Make a container, let it take the place of those that the service has, and start it.

    It is made before those are removed, so that what the engine refuses changes nothing. If the one that it would be is
    still there, that is it; one that has other values than it is to have is left alone.

    :returns: its ID; empty where that is so.
    :raises HotfixError: with the engine's reason.
    """
    original = docker.lookup(spec["id"])
    if original is not None and options["variables"]:
        return ""
    made = _make(docker, spec) if original is None else spec["id"]
    for identity in docker.find(options["project_src"], options["service"], files=options["files"] or ()):
        data = docker.lookup(identity)
        if data is not None and data["Id"] != made:
            _takeover.end(docker, data, float(data["Config"].get("StopTimeout") or _takeover.GRACE))
    if docker.inspect(made)["Name"].lstrip("/") != spec["name"]:
        docker.run("rename", made, spec["name"])
    docker.run("start", made, timeout=_takeover.OVERHEAD * 2)
    with contextlib.suppress(HotfixError):  # whether it is reached by them is asked next
        proxies = Proxies(docker, options["project_src"], options["files"] or (), options["service"])
        proxies.tell(proxies.leading_to(docker.inspect(made)))
    return made


def _make(docker: Docker, spec: Mapping[str, Any]) -> str:
    """Make it under a name of its own, by which the next run knows what to remove if this one is killed here."""
    name = spec["name"] + INCOMING
    if spec["networks"]:
        # The engine asks for them when the container starts, and for some not before.
        docker.run("network", "inspect", "--format={{.Name}}", "--", *spec["networks"])
    docker.run("rm", "--force", name, check=False)
    reference = spec["config"].get("Image") or spec["image"]
    found = docker.run("image", "inspect", "--format={{.Id}}", reference, check=False).stdout.strip()
    body = _container_spec.request(spec, reference if found == spec["image"] else spec["image"])
    made = str(docker.post(f"/containers/create?name={quote(name)}", body)["Id"])
    try:
        for network, endpoint in list(spec["networks"].items())[1:]:
            docker.post(f"/networks/{quote(network)}/connect", {"Container": made, "EndpointConfig": endpoint})
    except HotfixError:
        docker.run("rm", "--force", made, check=False)
        raise
    return made
