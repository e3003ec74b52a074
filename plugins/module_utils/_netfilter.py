# SPDX-License-Identifier: GPL-3.0-or-later
"""Transient rules of the kernel's address translation that lead new connections of a published port elsewhere.

The engine publishes a port in two ways: a rule that translates to the container's address, and (unless the userland
proxy is switched off) a process that listens on the port, for what the rule leaves out. Ours stand before those rules
and do the same for another container, so they are made from the engine's own rules for it. Connections that exist keep
their way.

The ``iptables`` command is used in whose rules the engine's are found: ``iptables`` itself, or one of its two backends.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from ansible_collections.composeops.hotfix.plugins.module_utils._container import Completed, is_everywhere, run_command
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError

# In the comment of each of our rules, before the ID of the container that it leads to.
MARK = "composeops-hotfix-handover:"
SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
FAMILIES: Mapping[int, Sequence[str]] = {
    4: ("iptables", "iptables-nft", "iptables-legacy"),
    6: ("ip6tables", "ip6tables-nft", "ip6tables-legacy"),
}
# Seconds to wait while somebody else, such as the engine, changes rules.
WAIT = "10"
LOOPBACK = "127.0.0.0/8"
# Where what comes from outside and from containers, and what the host itself sends, gets its address.
CHAINS = ("PREROUTING", "OUTPUT")


class Rule(NamedTuple):
    """One rule: its chain, and its words as ``iptables -S`` prints them after the chain's name."""

    chain: str
    words: tuple[str, ...]

    def option(self, name: str) -> str | None:
        """The value of an option such as ``--dport``; None when it is not there, or is negated."""
        for index, word in enumerate(self.words[:-1]):
            if word == name and (index == 0 or self.words[index - 1] != "!"):
                return self.words[index + 1]
        return None

    @property
    def copy(self) -> str:
        """The container that a rule of ours leads to; empty for the rules of others."""
        comment = self.option("--comment") or ""
        return comment[len(MARK) :] if comment.startswith(MARK) else ""


class Published(NamedTuple):
    """A published port of the container that is replaced, and where the copy publishes the same port.

    :ivar host_ip: the address that it is bound to; ``0.0.0.0`` or ``::`` for all.
    :ivar free_port: the host's port at which the engine publishes the copy.
    """

    host_ip: str
    host_port: int
    container_port: int
    free_port: int

    @property
    def family(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.host_ip else 4

    @property
    def everywhere(self) -> bool:
        """Whether it is bound to all addresses of its family."""
        return is_everywhere(self.host_ip)


def parse(text: str) -> list[Rule]:
    """The rules in the output of ``iptables -S``."""
    words = [shlex.split(line) for line in text.splitlines()]
    return [Rule(line[1], tuple(line[2:])) for line in words if len(line) > 1 and line[0] == "-A"]


def translation(rules: Sequence[Rule], host_port: int, container_port: int) -> Rule | None:
    """The engine's rule for a published port."""
    for rule in rules:
        target = rule.option("--to-destination") or ""
        if not rule.copy and rule.option("--dport") == str(host_port) and target.endswith(f":{container_port}"):
            return rule
    return None


def proxied(rules: Sequence[Rule], host_port: int, container_port: int) -> bool:
    """Whether the userland proxy serves a published port as well: then the engine's rule leaves out its own bridge.

    That something listens on the port says nothing: without the proxy the engine itself does, and never answers.
    """
    engine = translation(rules, host_port, container_port)
    return engine is not None and bool(_bridge(engine))


def handing_over(port: Published, rules: Sequence[Rule], *, proxy: bool, copy: str) -> list[Rule]:
    """The rules that lead new connections of a published port to the copy.

    :param rules: those of the table ``nat``, the engine's for the copy among them.
    :param proxy: whether the userland proxy serves the copy, see :func:`proxied`.
    :param copy: the copy's ID.
    """
    engine = translation(rules, port.free_port, port.container_port)
    address = () if port.everywhere else ("-d", f"{port.host_ip}/{128 if port.family == 6 else 32}")
    match = ("-p", "tcp", "-m", "addrtype", "--dst-type", "LOCAL", "-m", "tcp", "--dport", str(port.host_port))
    note = ("-m", "comment", "--comment", MARK + copy)
    redirect = ("-j", "REDIRECT", "--to-ports", str(port.free_port))
    if engine is None:
        # The proxy alone serves this family: the container has no address in it.
        return [Rule(chain, (*address, *match, *note, *redirect)) for chain in CHAINS] if proxy else []
    target = ("-j", "DNAT", "--to-destination", engine.option("--to-destination") or "")
    bridge = _bridge(engine)
    if not bridge:
        return [Rule(chain, (*address, *match, *note, *target)) for chain in CHAINS]
    found = [Rule("PREROUTING", (*address, "!", "-i", bridge, *match, *note, *target))]
    # REDIRECT leads to an address of its own choice, on which a proxy that is bound to one address does not listen.
    bound = ("-j", "DNAT", "--to-destination", f"{_host(port)}:{port.free_port}")
    served = redirect if port.everywhere else bound
    # From the copy's own network the answers would not come back by way of the host.
    found.append(Rule("PREROUTING", (*address, "-i", bridge, *match, *note, *served)))
    if port.family == 6:
        found.append(Rule("OUTPUT", (*address, *match, *note, *served)))
    elif port.everywhere:
        found.append(Rule("OUTPUT", ("-d", LOOPBACK, *match, *note, *redirect)))
        found.append(Rule("OUTPUT", ("!", "-d", LOOPBACK, *match, *note, *target)))
    elif port.host_ip.startswith("127."):
        found.append(Rule("OUTPUT", (*address, *match, *note, *bound)))
    else:
        found.append(Rule("OUTPUT", (*address, *match, *note, *target)))
    return found


def _bridge(rule: Rule) -> str:
    """The interface that the engine's rule leaves out."""
    words = list(rule.words)
    return words[words.index("-i") + 1] if "-i" in words else ""


def _host(port: Published) -> str:
    return f"[{port.host_ip}]" if port.family == 6 else port.host_ip


class Tables:
    """The table ``nat`` of one family.

    :param family: 4 or 6.
    :param run: runs a command, with the signature of :func:`run_command`.
    """

    def __init__(self, family: int, run: Callable[..., Completed] = run_command) -> None:
        self.family = family
        self._run = run
        path = f"{os.environ.get('PATH', '')}:{SBIN}".lstrip(":")
        self.programs = [found for name in FAMILIES[family] if (found := shutil.which(name, path=path))]

    def rules(self, program: str) -> list[Rule] | None:
        """The rules that a program shows; None when it cannot (no such table in this kernel, or not root)."""
        done = self._run([program, "-w", WAIT, "-t", "nat", "-S"])
        return parse(done.stdout) if done.returncode == 0 else None

    def each(self) -> list[list[Rule]]:
        """The rules that each of the programs shows."""
        return [rules for program in self.programs if (rules := self.rules(program)) is not None]

    def engines(self, ports: Sequence[tuple[int, int]]) -> str | None:
        """The program in whose rules the engine's are, for these pairs of host and container port."""
        for program in self.programs:
            rules = self.rules(program) or []
            if all(translation(rules, *pair) for pair in ports):
                return program
        return None

    def readable(self) -> str | None:
        """The first program that shows this table at all."""
        return next((program for program in self.programs if self.rules(program) is not None), None)

    def insert(self, program: str, rules: Sequence[Rule]) -> None:
        """Put rules before all others.

        :raises HotfixError: with what the program said.
        """
        for rule in rules:
            self._change(program, "-I", rule)

    def ours(self) -> list[tuple[str, Rule]]:
        """The rules that handovers put in, with the program that shows them."""
        return [(program, rule) for program in self.programs for rule in self.rules(program) or [] if rule.copy]

    def remove(self, wanted: Callable[[str], bool]) -> int:
        """Take out our rules that lead to certain containers; returns how many these were.

        :param wanted: asked with the container's ID.
        """
        removed = 0
        # The plain program is one of the other two, so that each rule is seen twice.
        for program in self.programs:
            for rule in self.rules(program) or []:
                if rule.copy and wanted(rule.copy):
                    try:
                        self._change(program, "-D", rule)
                    except HotfixError:
                        # What watches the container may have been first.
                        if rule in (self.rules(program) or []):
                            raise
                    removed += 1
        return removed

    def _change(self, program: str, verb: str, rule: Rule) -> None:
        done = self._run([program, "-w", WAIT, "-t", "nat", verb, rule.chain, *rule.words])
        if done.returncode != 0:
            raise HotfixError(
                f"{os.path.basename(program)} {verb} failed: {(done.stderr.strip().splitlines() or ['no reason'])[-1]}",
                remedy="See whether another program manages the rules of this host",
            )
