# SPDX-License-Identifier: GPL-3.0-or-later
"""The systemd units that take the samples of a watch: a service that takes one and ends, and its timer.

The timer counts by the kernel's clock, from the boot and from the last sample, so that it survives reboots and is not
confused by a wall clock that is set. See https://www.freedesktop.org/software/systemd/man/latest/systemd.timer.html.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Mapping

from ansible_collections.composeops.hotfix.plugins.module_utils._container import Completed, run_command
from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._files import problem, read_bytes, write_atomic

UNIT_DIR = "/etc/systemd/system"
PREFIX = "composeops-monitor-"
# Where units look for programs, unless the service manager was told otherwise.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Seconds after which systemd ends a sample: more than engine, application and notification may take together.
LIMIT = 90
# Seconds after the boot at which the first sample is taken, at most.
BOOT = 30

SERVICE = """\
[Unit]
Description=Take a sample of the application in {project}
After=docker.service
# The shortest interval is a second; systemd by default refuses a sixth start within ten.
StartLimitIntervalSec=0

[Service]
Type=oneshot
ExecStart={python} -I {program} {home}
TimeoutStartSec={limit}
# Faults only: systemd's own lines about each sample would fill the journal.
LogLevelMax=notice
SyslogLevel=err
UMask=0077
Nice=10
CPUAccounting=yes
CPUQuota=50%
MemoryAccounting=yes
MemoryMax=64M
# Whoever may use the engine's socket is root on this host; what is not needed is closed all the same.
ProtectSystem=full
ReadWritePaths={unit_dir} {home}
ProtectHome=read-only
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
PrivateTmp=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictNamespaces=yes
"""

TIMER = """\
[Unit]
Description=Watch over the application in {project}

[Timer]
OnActiveSec={interval}
OnBootSec={boot}
OnUnitActiveSec={interval}
AccuracySec={accuracy}

[Install]
WantedBy=timers.target
"""


def unit_name(folder: str) -> str:
    """The name of both units, without their kind.

    :param folder: the project's state folder.
    """
    return PREFIX + os.path.basename(folder)


def texts(
    name: str, *, python: str, program: str, home: str, project: str, interval: float, unit_dir: str
) -> dict[str, str]:
    """The units' file names and their texts.

    :raises HotfixError: when a path cannot be written into a unit.
    """
    words = {"python": python, "program": program, "home": home, "unit_dir": unit_dir}
    given = {key: quoted(path) for key, path in words.items()}
    shown = project.replace("%", "%%").translate(dict.fromkeys(range(32), " "))
    service = SERVICE.format(**given, project=shown, limit=LIMIT)
    timer = TIMER.format(
        project=shown,
        interval=f"{interval:g}s",
        boot=f"{min(interval, BOOT):g}s",
        accuracy="1s" if interval >= 30 else "100ms",
    )
    return {f"{name}.service": service, f"{name}.timer": timer}


def quoted(path: str) -> str:
    """A path as a word of a unit's file.

    :raises HotfixError: when it holds characters that no unit can.
    """
    if any(ord(letter) < 32 for letter in path):
        raise HotfixError("this path holds control characters, which no systemd unit can", path=repr(path))
    text = path.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    # Only in commands does systemd replace variables; in a path it would keep both dollar signs.
    if "$" in text:
        raise HotfixError("this path holds a dollar sign, which systemd takes for a variable", path=path)
    return text if text.replace("/", "").replace("-", "").replace("_", "").replace(".", "").isalnum() else f'"{text}"'


class Systemd:
    """The service manager, as ``systemctl`` reaches it.

    :param run: runs a command, with the signature of :func:`_container.run_command`.
    """

    def __init__(self, unit_dir: str = UNIT_DIR, run: Callable[..., Completed] = run_command) -> None:
        self.unit_dir, self._run = unit_dir, run

    def require(self) -> None:
        """Make sure that this host is run by systemd.

        :raises HotfixError: when it is not.
        """
        done = self._ctl("show", "--property=Version")
        if done is None or done.returncode or "Version=" not in done.stdout:
            raise HotfixError(
                "this host is not run by systemd, so that there is no timer that could watch over the application",
                remedy="Watch it from a controller instead: playbook verify, or diagnose, in a schedule",
            )

    def path(self) -> str:
        """Where units look for programs, as the variable ``PATH`` says it."""
        done = self._ctl("show-environment")
        lines = done.stdout.splitlines() if done is not None and not done.returncode else []
        # One with characters that a shell would read is shown quoted, as PATH=$'...'.
        return next((line[5:] for line in lines if line.startswith("PATH=/")), PATH)

    def active(self, name: str) -> bool:
        """Whether the timer runs."""
        done = self._ctl("is-active", "--quiet", f"{name}.timer")
        return done is not None and done.returncode == 0

    def installed(self, name: str) -> dict[str, str | None]:
        """The units' texts as they are; None for one that is not there."""
        found: dict[str, str | None] = {}
        for file in (f"{name}.service", f"{name}.timer"):
            path = os.path.join(self.unit_dir, file)
            found[file] = read_bytes(path).decode("utf-8", "replace") if os.path.exists(path) else None
        return found

    def install(self, wanted: Mapping[str, str]) -> None:
        """Write the units, and let the timer run, now and after each boot.

        :raises HotfixError: naming the file or the command, and the reason.
        """
        for file, text in wanted.items():
            write_atomic(os.path.join(self.unit_dir, file), text.encode(), mode=0o644)
        timer = next(file for file in wanted if file.endswith(".timer"))
        self._must("daemon-reload")
        self._must("enable", timer)
        # Not only started: one that runs goes on with its old interval until its next sample.
        self._must("restart", timer)

    def sample(self, name: str) -> None:
        """Take a sample now, and wait for it.

        :raises HotfixError: when it fails.
        """
        self._must("start", f"{name}.service", timeout=LIMIT + 30, remedy=f"See: journalctl -u {name}.service")

    def remove(self, name: str) -> None:
        """Let the timer stop, and remove the units; a sample that is being taken is left alone.

        :raises HotfixError: naming the file and the reason.
        """
        timer = f"{name}.timer"
        self._ctl("stop", timer)  # first, since a unit whose file is gone cannot be disabled
        self._ctl("disable", timer)
        for file in (timer, f"{name}.service"):
            path = os.path.join(self.unit_dir, file)
            try:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
            except OSError as error:
                raise problem(error, path, "remove") from error
        self._must("daemon-reload")
        self._ctl("reset-failed", timer, f"{name}.service")

    def _ctl(self, *words: str, timeout: float = 60) -> Completed | None:
        try:
            return self._run(["systemctl", *words], timeout=timeout)
        except (OSError, subprocess.TimeoutExpired):
            return None

    def _must(self, *words: str, timeout: float = 60, remedy: str = "See: systemctl status") -> None:
        done = self._ctl(*words, timeout=timeout)
        if done is None or done.returncode:
            said = (
                (done.stderr.strip().splitlines() or ["it said nothing"])[0] if done is not None else "it did not end"
            )
            raise HotfixError(f"systemctl {' '.join(words)} failed: {said.rstrip('.')}", remedy=remedy)
