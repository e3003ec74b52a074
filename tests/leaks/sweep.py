# SPDX-License-Identifier: GPL-3.0-or-later
"""Does the collection show a secret anywhere? Runs it on a droplet full of known ones and searches everything.

Usage: sweep.py DROPLET [RUN ...]
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from runs import RUNS, Run
from search import Found, Table, search
from stand_in import ENV, HERE, PROJECT, Droplet, learn, plant, token

CHECKOUT = HERE.parents[1]
KEPT = "/srv/kept"
STATE = "/var/lib/composeops"
# What may hold secrets: a file, which of them (both as regular expressions), and why.
MEANT = (
    (rf"{PROJECT}/(\.env|docker-compose\.yml|Dockerfile|backend/.*)", ".*", "the application's own files"),
    (rf"{PROJECT}/\.git/config", "git", "the address of the origin, as its operator wrote it"),
    (rf"{PROJECT}/\.env\.[0-9TZ.]+\.bak", ".*", "backups of .env, 0600"),
    (rf"{STATE}/[^/]+/snapshots/.*", ".*", "the state to return to, 0600 in 0700"),
    (r".*/operator/(mobile\.env|manager)", "new key|old_key", "where the operator has the key handed off to, 0600"),
    (
        r".*/operator/(vars|joe|wrong|weak|monitor)\.yml",
        "become|.*vault password|weak key|webhook",
        "the operator's variables",
    ),
    (rf"{STATE}/[^/]+/monitor/.*", "webhook", "whom the monitor tells, 0600 in 0700"),
    (r"/var/lib/docker/containers/.*/config\.v2\.json", ".*", "the engine's record of a container"),
    (r"/var/lib/docker/containers/.*-json\.log", ".*", "what the application of a run that fails prints"),
    (
        r"/var/lib/docker/(overlay2|image|buildkit)/.*",
        "source|index|npm|in a conflict",
        "what the Dockerfile puts there",
    ),
    (r"/var/lib/containerd/.*/meta\.db", ".*", "the engine's record of a container"),
    (r"/run/.*/config\.json", ".*", "the engine's record of a container that runs"),
    (
        r"/var/lib/docker/buildkit/.*|/var/log/journal/.*|.*/out/journal",
        "user",
        "what the engine says of a user that is none",
    ),
    (r"/srv/git-token", "git", "the password file of this test's git server"),
)
# A container's own program, which shows what its operator puts on its command line.
OWN_COMMAND = re.compile(r"redis-server ")
VARIABLES: dict[str, Any] = {
    "application_keys_path": "/api/v1/search?q=saving",
    "api_keys_mobile_variable": "WEALTH_COACH_API_KEY",
    "api_keys_seen_pattern": '"key_id": "sha256:(?P<fingerprint>[0-9a-f]{16})"',
    "verify_watch_seconds": 1,
}
HOOK = [
    {
        "name": "Give the key to the secret manager",
        "ansible.builtin.copy": {
            "content": "{{ api_keys_newest.key }}",
            "dest": "{{ operator_manager }}",
            "mode": "0600",
        },
        "delegate_to": "localhost",
        "become": False,
        "no_log": True,
    }
]
OPEN_FILES = "for path in {}; do test ! -e $path || find $path -perm /077 -printf '%M %p\\n'; done"
TEMPORARY = (
    "/tmp/*",
    "/var/tmp/*",
    "~root/.ansible/tmp/*",
    "~joe/.ansible/tmp/*",
    f"{PROJECT}/.env*",
    f"{PROJECT}/..env*",
)
# Where each secret of leak.yml must be found.
LEAKS = {
    "whole": {"stdout", "log", "results.jsonl"},
    "piece": {"stdout", "log", "results.jsonl"},
    "address": {"stdout", "log", "results.jsonl"},
    "json": {"stdout", "log", "results.jsonl"},
    "base64": {"stdout", "log", "results.jsonl"},
    "wrapped": {"stdout", "log", "results.jsonl"},
    "command": {"command-lines-droplet", "journal"},
    "environment": {"environments-droplet"},
    "here": {"command-lines-controller", "syslog"},
    "environment_here": {"environments-controller"},
    "fact": {"facts"},
    "file": {"/var/tmp/leak", "/opt/wealth-coach-ai/.env.19700101T000000.000000Z.bak"},
    "stats": {"stdout", "results.jsonl"},
}


class Sweep:
    """The controller's side: a folder of its own for all that Ansible writes there."""

    def __init__(self, name: str, work: Path) -> None:
        self.work, self.table = work, Table()
        self.state = CHECKOUT / ".state" / "droplets" / name
        hosts = yaml.safe_load((self.state / "inventory" / "hosts.yml").read_text(encoding="utf-8"))
        self.host: dict[str, Any] = hosts["all"]["hosts"]["droplet"]
        self.droplet = Droplet(self.host["droplet_container"])
        self.loose: set[str] = set()
        self.looks = 0

    def prepare(self) -> None:
        """The operator's files on the controller, and the secrets on the droplet."""
        for folder in ("home", "tmp", "out", "operator", "operator/inventory"):
            (self.work / folder).mkdir(mode=0o700)
        plant(self.droplet, self.table)
        vault, become = self.table.add("vault password", token()), self.table.named("become")
        places = {
            "api_keys_handoff_dir": f"{self.work}/operator/handoff",
            "api_keys_handoff_tasks": f"{self.work}/operator/hook.yml",
            "api_keys_mobile_config": f"{self.work}/operator/mobile.env",
            "operator_manager": f"{self.work}/operator/manager",
            "report_dir": f"{self.work}/out/reports",
            "support_bundle_dest": f"{self.work}/out/archives",
        }
        files = {
            "inventory/hosts.yml": {"all": {"hosts": {"droplet": self.host, "second": self.host}}},
            "vars.yml": {**VARIABLES, **places, "api_keys_vault_password": vault},
            "wrong.yml": {"api_keys_vault_password": self.table.add("wrong vault password", token())},
            "weak.yml": {"api_keys_new_key": self.table.add("weak key", f"dev-{token()}")},
            "joe.yml": {"ansible_user": "joe", "ansible_become_method": "su", "ansible_become_password": become},
            "monitor.yml": {"monitor_webhook": f"http://127.0.0.1:9/{self.table.add('webhook', token())}"},
            "hook.yml": HOOK,
        }
        for name, data in files.items():
            (self.work / "operator" / name).write_text(yaml.safe_dump(data), encoding="utf-8")

    def environment(self, folder: Path) -> dict[str, str]:
        """Everything that Ansible can be told to write, written into one folder."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.work / "home"),
            "TMPDIR": str(self.work / "tmp"),
            "LC_ALL": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(HERE / "taps"),
            "SYSLOG_TAP": str(folder / "syslog"),
            "DUMP_RESULTS": str(folder / "results.jsonl"),
            "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
            "ANSIBLE_HOME": str(self.work / "home" / ".ansible"),
            "ANSIBLE_COLLECTIONS_PATH": os.environ.get(
                "ANSIBLE_COLLECTIONS_PATH", str(CHECKOUT / ".ansible/collections")
            ),
            "ANSIBLE_CALLBACK_PLUGINS": str(HERE / "callbacks"),
            "ANSIBLE_CALLBACKS_ENABLED": "dump_results",
            "ANSIBLE_SHOW_CUSTOM_STATS": "1",
            "ANSIBLE_LOG_PATH": str(folder / "log"),
            "ANSIBLE_CACHE_PLUGIN": "jsonfile",
            "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(folder / "facts"),
            "ANSIBLE_RETRY_FILES_ENABLED": "1",
            "ANSIBLE_RETRY_FILES_SAVE_PATH": str(folder),
        }

    def run(self, run: Run) -> str:
        """Do one run; what is wrong with how it ended, empty when nothing is."""
        if run.before:
            self.droplet.sh(f"cp -a {PROJECT} {KEPT}")
            run.before(self.droplet, self.table)
        both = ["--limit", "droplet"] if "second" not in str(run.options) else []
        code = self.play(run.name, [f"composeops.hotfix.{run.playbook}", *both, *run.options], run.kill)
        if run.before:
            self.droplet.sh(f"cp -a {KEPT}/. {PROJECT}; rm -rf {KEPT}")
        for archive in (self.work / "out" / "archives").glob("*.tar.gz"):
            with tarfile.open(archive) as tar:
                # Python before 3.11.4 knows no filter.
                tar.extraction_filter = getattr(tarfile, "data_filter", None)
                tar.extractall(self.work / "out" / run.name)
            archive.unlink()
        return verdict(run, code, self.work / "out" / run.name)

    def play(self, name: str, words: Sequence[str], kill: str = "") -> int:
        """Run ansible-playbook, watched on both sides; its exit code."""
        folder = self.work / "out" / name
        folder.mkdir()
        command = ["ansible-playbook", "-i", "operator/inventory", "-e", "@operator/vars.yml", *words]
        with self.watched(folder), open(folder / "stdout", "wb") as out, open(folder / "stderr", "wb") as err:
            process = subprocess.Popen(
                command, cwd=self.work, env=self.environment(folder), stdout=out, stderr=err, start_new_session=True
            )
            while kill and process.poll() is None and not self.killed(kill, process, folder / "stdout"):
                time.sleep(0.02)
            return process.wait()

    def killed(self, what: str, process: subprocess.Popen[bytes], stdout: Path) -> bool:
        """Kill a module on the droplet by its name, or the whole run once it is at a task; whether that was done."""
        if what.startswith("AnsiballZ"):
            # The brackets keep the pattern from fitting its own command line.
            return bool(self.droplet.sh(f"pkill -KILL -f '[A]{what[1:]}' && echo done || true"))
        if f"{what}]" not in stdout.read_text(encoding="utf-8"):
            return False
        os.killpg(process.pid, signal.SIGKILL)
        return True

    @contextmanager
    def watched(self, folder: Path) -> Iterator[None]:
        """Keep what is to be seen only while a run lasts, and learn the keys that it makes."""
        source = (HERE / "watch.py").read_text(encoding="utf-8")
        own = [f"{self.work}/{place}/*" for place in ("tmp", "home/.ansible/tmp", "operator/handoff")]
        sides = {
            "droplet": ([*self.droplet.exec, "python3"], TEMPORARY, [ENV]),
            "controller": (
                [sys.executable],
                [*own, f"{self.work}/operator/*.env*"],
                [f"{self.work}/operator/mobile.env"],
            ),
        }
        watchers = {
            side: subprocess.Popen(
                [*python, "-c", source, json.dumps(temporary), json.dumps(files)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for side, (python, temporary, files) in sides.items()
        }
        try:
            yield
        finally:
            for side, watcher in watchers.items():
                seen = json.loads(watcher.communicate()[0])
                self.looks += seen["looks"]
                learn(self.table, seen["versions"])
                self.loose |= {f"{mode} {path}" for path, mode in seen["modes"] if mode[4:] != "------"}
                lines = [line for line in seen["command_lines"] if not OWN_COMMAND.match(line)]
                (folder / f"command-lines-{side}").write_text("\n".join(lines), encoding="utf-8")
                (folder / f"environments-{side}").write_text("\n".join(seen["environments"]), encoding="utf-8")

    def collect(self) -> None:
        """What the droplet has recorded of the runs in forms that grep cannot read, and files that others may read."""
        records = {
            "journal": "journalctl --no-pager --output=export",
            "events": "docker events --since 24h --until 0s --format '{{json .}}'",
            "labels": "docker inspect --format '{{json .Config.Labels}}' $(docker ps -aq) $(docker images -aq)",
        }
        for name, command in records.items():
            (self.work / "out" / name).write_text(self.droplet.sh(command), encoding="utf-8")
        own = f"{self.work}/operator"
        here = ["bash", "-c", OPEN_FILES.format(f"{own}/handoff {own}/mobile.env {own}/manager")]
        self.loose |= set(self.droplet.sh(OPEN_FILES.format(f"{STATE} {PROJECT}/.env.*.bak")).splitlines())
        self.loose |= set(subprocess.check_output(here, text=True).splitlines())

    def search(self, *names: str) -> tuple[Found, Found]:
        """What is found on the controller and on the droplet.

        :param names: of runs, to search what they left on the controller alone.
        """
        patterns = self.table.patterns()
        if names:
            return search(patterns, [str(self.work / "out" / name) for name in names]), Found()
        here = search(patterns, [str(self.work), str(self.state)])
        return here, search(patterns, ["/"], prefix=self.droplet.exec, pruned=["/proc", "/sys", "/dev"])

    def prove(self) -> list[str]:
        """Show secrets on purpose; what was not found of them."""
        secrets = {name: self.table.add(name, f"{token(9)}\"@'{token(18)}") for name in LEAKS}
        backup = f"{PROJECT}/.env.19700101T000000.000000Z.bak"
        (self.work / "operator" / "leaks.yml").write_text(yaml.safe_dump({"leaks": secrets, "leak_backup": backup}))
        self.play("leaks", [str(HERE / "leak.yml"), "--limit", "droplet", "-e", "@operator/leaks.yml", "-vvvv"])
        self.collect()
        here, there = self.search()
        found = {(path, name) for path, name in [*here.hits, *there.hits] if "/operator/" not in path}
        missed = [
            f"{name} in {place}"
            for name, places in LEAKS.items()
            for place in places
            if not any(name == other and (path == place or place in Path(path).parts) for path, other in found)
        ]
        loose = {line.split()[-1] for line in self.loose}
        missed += [f"the mode of {path}" for path in ("/var/tmp/leak", backup) if path not in loose]
        # It is over with them: the droplet's journal keeps them.
        for value in secrets.values():
            del self.table.names[value]
        self.loose.clear()
        self.droplet.sh(f"rm /var/tmp/leak {backup}")
        shutil.rmtree(self.work / "out" / "leaks")
        (self.work / "operator" / "leaks.yml").unlink()
        return missed


def verdict(run: Run, code: int, folder: Path) -> str:
    """What is wrong with how a run ended; empty when nothing is."""
    if run.says is None:
        return "" if code == 0 else f"it failed ({code})"
    if code == 0:
        return "it did not fail"
    said = (folder / "stdout").read_text(encoding="utf-8") + (folder / "stderr").read_text(encoding="utf-8")
    return "" if re.search(run.says, said) else f"it does not say {run.says!r}"


def sort(found: Found) -> tuple[list[str], Counter[str]]:
    """Hits outside of the files meant to hold them, and for each reason how many files hold secrets for it."""
    leaks, meant = [], {}
    for (path, name), count in sorted(found.hits.items()):
        reasons = [why for file, names, why in MEANT if re.fullmatch(file, path) and re.fullmatch(names, name)]
        if reasons:
            meant[path] = reasons[0]
        else:
            leaks.append(f"{name} in {path} ({count} pieces)")
    return leaks, Counter(meant.values())


def main() -> int:
    name, wanted = sys.argv[1], sys.argv[2:]
    work = Path(tempfile.mkdtemp(prefix="leaks-"))
    sweep = Sweep(name, work)
    sweep.prepare()
    problems = [f"a leak that was made on purpose is not found: {missed}" for missed in sweep.prove()]
    print(
        f"{sum(map(len, LEAKS.values()))} leaks made on purpose, {len(problems)} of them missed",
        *problems,
        sep="\n  ",
        flush=True,
    )
    runs = [run for run in RUNS if not wanted or run.name in wanted]
    for run in runs:
        start = time.monotonic()
        problem = sweep.run(run)
        problems += [f"run {run.name}: {problem}"] if problem else []
        leaks, _meant = sort(sweep.search(run.name)[0])
        print(
            f"{run.name:16} {time.monotonic() - start:5.0f} s  {problem or 'as expected'}",
            *leaks,
            sep="\n  LEAK ",
            flush=True,
        )
    sweep.collect()
    total = Found()
    for found in sweep.search():
        total.add(found)
    leaks, meant = sort(total)
    for why, count in meant.most_common():
        print(f"meant to hold them: {count:5} files, {why}")
    failing = sum(run.says is not None for run in runs)
    print(f"runs:     {len(runs)}, {failing} of them failing ones")
    pieces = len(sweep.table.patterns())
    print(f"values:   {len(sweep.table.names)} secrets, searched for in {pieces} pieces and disguises")
    print(
        f"searched: {total.files} files, {total.bytes} bytes; {sweep.looks} looks at the processes and temporary files"
    )
    print(
        f"hits:     {len(leaks)} outside of the files meant to hold them, {len(sweep.loose)} files with a mode too open"
    )
    problems += [f"LEAK: {leak}" for leak in leaks] + [f"open to others: {line}" for line in sorted(sweep.loose)]
    print(*problems, sep="\n")
    if problems:
        print(f"What was searched is in {work}.")
    else:
        shutil.rmtree(work)
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
