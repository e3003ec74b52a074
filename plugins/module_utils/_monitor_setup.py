# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting and stopping a watch, and what there is to say of one."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.util
import json
import os
import sys
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from ansible_collections.composeops.hotfix.plugins.module_utils import _journal, _monitor_notify, _monitor_sampler
from ansible_collections.composeops.hotfix.plugins.module_utils import _monitor as mon
from ansible_collections.composeops.hotfix.plugins.module_utils import _monitor_store as store
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._files import write_atomic
from ansible_collections.composeops.hotfix.plugins.module_utils._monitor_units import LIMIT, Systemd, texts, unit_name
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import mask

UTILS = _monitor_sampler.__name__.rpartition(".")[0]
PROGRAM = "sample.py"
LAUNCHER = f"""\
import os, sys
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from {_monitor_sampler.__name__} import main
sys.exit(main())
"""
RUNNING, ENDED, STOPPED, ABSENT = "running", "ended", "stopped", "absent"
# Of a watch itself, not of what it is told: the same again changes nothing.
OWN = ("started_at",)


class Watch(NamedTuple):
    """A watch as it is on the host.

    :ivar status: ``running``, ``ended``, ``stopped`` or ``absent``.
    """

    status: str
    settings: dict[str, Any] | None
    state: dict[str, Any] | None
    notify: dict[str, str]
    units: dict[str, str | None]
    active: bool


def look(home: str, systemd: Systemd) -> Watch:
    """The watch of a project.

    :param home: its folder.
    """
    name = unit_name(os.path.dirname(home))
    settings, active = store.load_quietly(home, store.SETTINGS), systemd.active(name)
    state = None
    with contextlib.suppress(HotfixError):
        state = store.recall(home)
    if settings is None:
        status = ABSENT
    elif state is not None and state.get("ended"):
        status = ENDED
    elif (state is not None and state.get("stopped")) or not active:
        status = STOPPED
    else:
        status = RUNNING
    notify = store.load_quietly(home, store.NOTIFY) or {}
    return Watch(status, settings, state, notify, systemd.installed(name), active)


class Plan(NamedTuple):
    """What starting would do.

    :ivar new: whether a watch begins; else the one that runs goes on, with other settings where ``changed``.
    """

    new: bool
    changed: bool
    settings: dict[str, Any]
    notify: dict[str, str]
    units: dict[str, str]
    code: dict[str, str]
    diff: list[dict[str, str]]


def plan(home: str, wanted: Mapping[str, Any], notify: Mapping[str, str], systemd: Systemd, was: Watch) -> Plan:
    """What starting would do.

    :param wanted: the settings, without those of :data:`OWN`.
    :param was: the watch as it is.
    """
    _monitor_notify.check(notify, systemd.path())
    ways = {name: value for name, value in notify.items() if value}
    folder = os.path.dirname(home)
    code = program()
    units = texts(
        unit_name(folder),
        python=sys.executable,
        program=os.path.join(home, store.CODE, PROGRAM),
        home=home,
        project=wanted["project_src"],
        interval=wanted["interval"],
        unit_dir=systemd.unit_dir,
    )
    settings = {**wanted, "code": _digest(code), "ways": _monitor_notify.shown(ways)}
    before = {name: value for name, value in (was.settings or {}).items() if name not in OWN}
    # A timer that somebody took away, or a start that was killed half-way, is no end of the watch.
    unfinished = was.status == STOPPED and not (was.state or {}).get("stopped") and was.state is not None
    new = was.status != RUNNING and not (unfinished and mon.left(wanted, was.state or {}))
    same = before == settings and was.units == units and was.notify == ways and was.active
    diff = _diff(home, {} if new else before, settings, was.units, _placed(units, systemd.unit_dir))
    return Plan(new, new or not same, settings, ways, units, code, diff)


def start(home: str, project_src: str, wanted: Plan, was: Watch, systemd: Systemd) -> None:
    """Do what the plan says, and take the first sample of a new watch.

    :raises HotfixError: when a file or systemd does not let us, or no sample can be taken.
    """
    folder = os.path.dirname(home)
    _journal.claim(folder, project_src)
    _journal.make_folder(home)
    with store.alone(home):
        if wanted.new:
            systemd.remove(unit_name(folder))
            store.set_aside(home)
        now = time.time()
        started = mon.instant(now) if wanted.new or was.settings is None else was.settings["started_at"]
        _put_program(os.path.join(home, store.CODE), wanted.code)
        store.save(home, store.NOTIFY, wanted.notify)
        store.save(home, store.SETTINGS, {**wanted.settings, "started_at": started})
        if wanted.new:
            store.remember(home, mon.fresh(now))
        else:
            _go_on(home, was, wanted)
        systemd.install(wanted.units)
    if wanted.new:
        try:
            systemd.sample(unit_name(folder))
        except HotfixError:
            systemd.remove(unit_name(folder))
            raise
    _journal.append(folder, "monitor started" if wanted.new else "monitor changed")


def _go_on(home: str, was: Watch, wanted: Plan) -> None:
    """Let what is remembered fit the new settings: ways that are other ones now were never tried."""
    state = store.recall(home)
    if state is not None:
        state = _monitor_notify.forget(state, (was.settings or {}).get("ways") or {}, wanted.settings["ways"])
        store.remember(home, {**state, "timer_anew": was.status == RUNNING})


def stop(home: str, systemd: Systemd) -> None:
    """End a watch before its time; its data stays.

    :raises HotfixError: when a file or systemd does not let us.
    """
    folder = os.path.dirname(home)
    with store.alone(home):
        state = None
        with contextlib.suppress(HotfixError):
            state = store.recall(home)
        if state is not None and not state.get("ended"):
            store.remember(home, {**state, "stopped": mon.instant(time.time())})
        _monitor_sampler.clean_up(home, folder, systemd)
    _journal.append(folder, "monitor stopped")


def left_over(home: str, was: Watch) -> bool:
    """Whether stopping would do something."""
    there = any(os.path.exists(os.path.join(home, name)) for name in (store.NOTIFY, store.CODE))
    return was.active or there or any(text is not None for text in was.units.values()) or was.status == RUNNING


def findings(home: str, was: Watch, *, points: int = 300, events: int = 200) -> dict[str, Any]:
    """All that there is to say of a watch, as the module ``monitor_info`` returns it.

    :raises HotfixError: when its files cannot be read.
    """
    settings, state = was.settings, was.state
    if settings is None or state is None:
        for name in (store.SETTINGS, store.STATE):
            store.load(home, name)  # damage is no absence
        return _nothing(was.status, store.before(home) if os.path.isdir(home) else [])
    samples = store.lines(home, store.SAMPLES)
    told = store.lines(home, store.EVENTS)
    verdict, reasons = mon.verdict(settings, state)
    tally, last = state["tally"], state["clock"]
    silent = time.time() - last["wall"] if last else 0.0
    interval = max(settings["interval"], state.get("interval") or 0)
    if was.status == RUNNING and silent > 3 * interval + LIMIT:
        unit = unit_name(os.path.dirname(home))
        reasons.append(f"No sample was taken for {mon.span(silent)}: see journalctl -u {unit}.service.")
        verdict = mon.DEGRADED if verdict == mon.HEALTHY else verdict
    return {
        "status": was.status,
        "started_at": settings["started_at"],
        "until": state.get("ended") or state.get("stopped") or mon.instant(mon.until(settings, state)),
        "last_sample_at": mon.instant(last["wall"]) if last else None,
        "interval": settings["interval"],
        "duration": settings["duration"],
        "verdict": verdict,
        "reasons": reasons,
        "samples": tally["samples"],
        "missed": tally["missed"],
        "summary": mon.summary(state, samples),
        "series": mon.series(samples, points),
        "events": [{name: str(one.get(name, "")) for name in ("time", "kind", "text")} for one in told[-events:]]
        if events
        else [],
        "latest": samples[-1] if samples else None,
        "cost": _cost(settings, tally),
        "notified": sorted(name for name, tries in state.get("notified", {}).items() if tries < 0),
        "before": store.before(home),
    }


def _nothing(status: str, before: list[str]) -> dict[str, Any]:
    """What is said where there is no watch."""
    state = mon.fresh(0.0)
    verdict, reasons = mon.verdict({}, state)
    return {
        "status": status,
        **dict.fromkeys(("started_at", "until", "last_sample_at", "interval", "duration")),
        "verdict": verdict,
        "reasons": reasons,
        "samples": 0,
        "missed": 0,
        "summary": mon.summary(state, []),
        "series": [],
        "events": [],
        "latest": None,
        "cost": {"cpu_percent": None, "memory": None},
        "notified": [],
        "before": before,
    }


def _cost(settings: Mapping[str, Any], tally: Mapping[str, Any]) -> dict[str, Any]:
    """What the samples take: percent of one CPU on average, and bytes at most."""
    if not tally["samples"]:
        return {"cpu_percent": None, "memory": None}
    percent = 100 * tally["cpu"] / tally["samples"] / settings["interval"]
    return {"cpu_percent": round(percent, 2), "memory": tally["rss"]}


# --- the program -----------------------------------------------------------------------------------------------------


def program() -> dict[str, str]:
    """The files of the program that takes a sample: all of this collection that it imports, by path.

    :raises HotfixError: when the source of a part cannot be read.
    """
    found: dict[str, str] = {}
    wanted = [_monitor_sampler.__name__.rpartition(".")[2]]
    while wanted:
        name = wanted.pop()
        if name not in found:
            found[name] = _source(f"{UTILS}.{name}")
            wanted += sorted(_imports(found[name]))
    folder = UTILS.replace(".", "/")
    files = {f"{folder}/{name}.py": text for name, text in found.items()}
    # Real packages: another installation of Ansible on that host must not come first.
    parents = [folder.rsplit("/", depth)[0] for depth in range(folder.count("/") + 1)]
    return {PROGRAM: LAUNCHER, **files, **{f"{parent}/__init__.py": "" for parent in parents}}


def _source(name: str) -> str:
    spec = importlib.util.find_spec(name)
    read = getattr(spec.loader, "get_source", None) if spec is not None else None
    text = read(name) if read is not None else None
    if text is None:
        raise HotfixError(f"the source of {name} cannot be read", remedy="Install the collection anew")
    return str(text)


def _imports(text: str) -> set[str]:
    """The parts of this collection's module_utils that a part imports."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module == UTILS:
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{UTILS}."):
            found.add((node.module or "")[len(UTILS) + 1 :])
    return found


def _digest(code: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(code, sort_keys=True).encode()).hexdigest()[:16]


def _put_program(place: str, code: Mapping[str, str]) -> None:
    home = os.path.dirname(place)
    old = [name for name in (store.CODE,) if os.path.isdir(place) and not _is_there(place, code)]
    store.remove(home, *old)
    for name, text in code.items():
        path = os.path.join(place, name)
        if not os.path.exists(path):
            _journal.make_folder(os.path.dirname(path))
            write_atomic(path, text.encode(), mode=0o600)


def _is_there(place: str, code: Mapping[str, str]) -> bool:
    """Whether the program is there already, whole and the same."""
    for name, text in code.items():
        try:
            with open(os.path.join(place, name), encoding="utf-8") as stream:
                if stream.read() != text:
                    return False
        except (OSError, ValueError):
            return False
    return True


def _diff(
    home: str,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    was: Mapping[str, str | None],
    units: Mapping[str, str],
) -> list[dict[str, str]]:
    """What changes, file by file; addresses to be told are fingerprints in it."""
    shown = [(os.path.join(home, store.SETTINGS), _pretty(before), _pretty(after))]
    shown += [(path, was.get(os.path.basename(path)) or "", text) for path, text in units.items()]
    return [
        {
            "before_header": path if old else f"{path} (absent)",
            "after_header": path if new else f"{path} (absent)",
            "before": old,
            "after": new,
        }
        for path, old, new in shown
        if old != new
    ]


def removal(home: str, was: Watch, unit_dir: str) -> list[dict[str, str]]:
    """The diff of stopping."""
    return _diff(home, {}, {}, was.units, _placed(dict.fromkeys(was.units, ""), unit_dir))


def _placed(units: Mapping[str, str], unit_dir: str) -> dict[str, str]:
    return {os.path.join(unit_dir, name): text for name, text in units.items()}


def _pretty(data: Mapping[str, Any]) -> str:
    return mask(json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False)) + "\n" if data else ""
