# SPDX-License-Identifier: GPL-3.0-or-later
"""All access to Docker: through its command line, and only through those of its outputs that are made for programs.

The managed host needs nothing but the ``docker`` command: no SDK, no ``requests``.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import json
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Callable, NamedTuple

from ansible_collections.composeops.hotfix.plugins.module_utils._errors import HotfixError
from ansible_collections.composeops.hotfix.plugins.module_utils._secrets import mask

LABEL = "com.docker.compose."
# A module started over SSH may have a short PATH: snap and local installations live outside of it.
EXTRA_PATH = "/usr/local/bin:/usr/bin:/bin:/snap/bin"
# Seconds. An engine that says nothing for a minute hangs; whoever builds or pulls gives its own limit.
TIMEOUT = 60.0
# What the engine takes an address of the host for that is not given: 0.0.0.0.
ANYWHERE = str(ipaddress.IPv4Address(0))
NEVER = "0001-01-01T00:00:00Z"
# How the names of two containers of a service end while one takes over from the other, see _rolling_run.
NANOSECONDS = 1e9  # of a second, in which the engine states periods
INCOMING, OUTGOING = "-incoming", "-outgoing"

# What the docker command prints (20.10 to 29; it is not translated) when it does not reach the engine.
DENIED = re.compile(r"permission denied.*(connect|docker\.sock)", re.IGNORECASE)
DOWN = re.compile(r"(cannot|failed to) connect to the docker|is the docker daemon running|error during connect", re.I)
# Compose takes what follows a dollar sign in a password for the name of a variable and warns of it.
WARNING = re.compile(r"\blevel=warning\b|^WARN\b")
# Compose's complaints about the text of a file, and what they quote of it; a quoted bracket or comma is no secret.
ABOUT_FILE = re.compile(r"\bline \d+: |invalid interpolation format|unknown anchor")
# A container's whole ID in what the engine says, which is no secret; docker itself prints so much of it.
WHOLE_ID = re.compile(r"^(Error response from daemon: [Cc]ontainer [0-9a-f]{12})[0-9a-f]{52}\b")
QUOTED = re.compile(r"([\"'`])(?P<short>.{1,3}?)\1|[\"'`].*")
NO_SUCH = re.compile(r"no such (container|object)", re.IGNORECASE)


class Completed(NamedTuple):
    """A command that ended."""

    returncode: int
    stdout: str
    stderr: str


class Process(NamedTuple):
    """A process of a container, numbered as the host sees it."""

    pid: int
    ppid: int
    args: str
    argv: tuple[str, ...]


class State(NamedTuple):
    """What the engine says of a container. Times are RFC 3339; ``None`` means "never", or "has no health check"."""

    status: str
    health: str | None
    created_at: str | None
    started_at: str | None
    finished_at: str | None
    exit_code: int
    restart_count: int
    oom_killed: bool
    image_id: str
    image: str
    pid: int
    start_period: float


class RestartPolicy(NamedTuple):
    """The policy the engine really applies; ``survives_reboot``: a container that runs when the host goes down."""

    name: str
    maximum_retry_count: int
    survives_reboot: bool
    notes: list[str]


class Port(NamedTuple):
    """A published port."""

    host_ip: str
    host_port: int
    container_port: int
    protocol: str

    @property
    def everywhere(self) -> bool:
        """Whether it is bound to all addresses of its family."""
        return is_everywhere(self.host_ip)


class ComposeLabels(NamedTuple):
    """Where a container comes from; empty for one that Compose did not make. Files are absolute paths."""

    project: str
    working_dir: str
    config_files: list[str]
    service: str
    number: int


def run_command(
    argv: Sequence[str],
    *,
    cwd: str | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = TIMEOUT,
    stdin: str | None = None,
) -> Completed:
    """Run a command without a shell; after ``timeout`` seconds end it and all that it started.

    :param stdin: what it reads from its standard input; by default that is empty.
    :raises FileNotFoundError: when there is no such command.
    :raises subprocess.TimeoutExpired: after ``timeout`` seconds.
    """
    with subprocess.Popen(
        list(argv),
        cwd=cwd,
        env=None if env is None else dict(env),
        stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            stdout, stderr = process.communicate(stdin, timeout=timeout)
        except BaseException:
            # The Compose plugin is a child of docker and would keep the pipes open: end the whole group.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return Completed(process.returncode, stdout, stderr)


class ComposeFailed(HotfixError):
    """Compose ended with an error.

    :ivar output: all that it printed, which may hold secrets.
    """

    def __init__(self, message: str, output: str) -> None:
        self.output = output
        super().__init__(message)


class Docker:
    """The engine, as the ``docker`` command reaches it.

    :param run: runs a command, with the signature of :func:`run_command`.
    :param timeout: seconds after which the engine counts as hung.
    :param environ: the environment of the commands, by default this process's own.
    """

    def __init__(
        self,
        run: Callable[..., Completed] = run_command,
        *,
        timeout: float = TIMEOUT,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._run_command = run
        self._timeout = timeout
        self.environ = dict(os.environ if environ is None else environ)
        self.environ["PATH"] = f"{self.environ.get('PATH', '')}:{EXTRA_PATH}".lstrip(":")
        self._compose: tuple[list[str], str] | None = None
        self._names: dict[str, str] = {}

    def command(self, *args: str) -> list[str]:
        """The argument list of a ``docker`` command.

        :raises HotfixError: when Docker is not installed.
        """
        program = shutil.which("docker", path=self.environ["PATH"])
        if program is None:
            raise HotfixError(
                "there is no docker command on this host",
                remedy="Install Docker Engine (on Ubuntu: apt-get install docker.io docker-compose-v2)",
            )
        return [program, *args]

    def version(self) -> str:
        """The engine's version, such as ``26.1.5``."""
        return str(self._json("version", "--format", "{{json .Server.Version}}"))

    def compose_version(self) -> str:
        """The version of Compose, such as ``2.26.1``.

        :raises HotfixError: when there is no Compose 2 or newer.
        """
        return self._compose_command()[1]

    def inspect(self, ref: str) -> dict[str, Any]:
        """What ``docker inspect`` says of one container.

        :param ref: its name or ID.
        :raises HotfixError: naming the containers that exist, when this one does not.
        """
        found = self.lookup(container=ref)
        if found is None:
            raise self._none_such(ref, None, None)
        return found

    def find(
        self, project_src: str, service: str | None = None, *, files: Sequence[str] = (), all: bool = True
    ) -> list[str]:
        """IDs of a Compose project's containers, in the order of their numbers; those of ``compose run`` are left out.

        :param project_src: the project's directory; symbolic links on the way are followed.
        :param service: one service, or all.
        :param files: the Compose files; the project's directory is then that of the first, as Compose has it.
        :param all: stopped containers too.
        """
        return [str(data["Id"]) for data in self._members(project_src, service, files, all)]

    def lookup(
        self,
        container: str | None = None,
        project_src: str | None = None,
        service: str | None = None,
        *,
        files: Sequence[str] = (),
    ) -> dict[str, Any] | None:
        """As :meth:`container`, but ``None`` when there is none."""
        if container:
            result = self.run("inspect", "--type", "container", "--", container, check=False)
            if result.returncode == 0:
                data: dict[str, Any] = json.loads(result.stdout)[0]
                return data
            if NO_SUCH.search(result.stderr):
                return None
            raise self._failure("inspect", result)
        members = self._members(project_src or "", service, files, True)
        # The containers of a directory that is gone may still be there, but a mistyped directory is no "there is none".
        if not members and not os.path.isdir(project_src or ""):
            raise HotfixError("there is no such directory", path=project_src, remedy="Check project_src")
        running = [data for data in members if data["State"]["Running"]]
        candidates = serving(running or members)
        if len(candidates) > 1:
            names = ", ".join(_name(data) for data in candidates)
            raise HotfixError(
                f"service {service} of {project_src} has {len(candidates)} containers: {names}",
                remedy="Name the one that is meant with the option container",
            )
        return candidates[0] if candidates else None

    def container(
        self,
        container: str | None = None,
        project_src: str | None = None,
        service: str | None = None,
        *,
        files: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Inspect the one container that is meant: by name or ID, else by project directory and service.

        Of several containers of a service the only running one is taken, or the one that serves while another one is
        to take over or on its way out.

        :raises HotfixError: naming what was looked for and what there is, when none or several fit.
        """
        found = self.lookup(container, project_src, service, files=files)
        if found is None:
            raise self._none_such(container, project_src, service)
        return found

    def processes(self, ref: str) -> list[Process]:
        """The processes of a running container, with the host's process IDs."""
        lines = self.run("top", ref, "-ww", "-eo", "pid,ppid,args").stdout.splitlines()[1:]
        fields = [line.split(None, 2) for line in lines if line.strip()]
        return [_process(int(field[0]), int(field[1]), field[2].strip()) for field in fields if len(field) == 3]

    def compose(
        self,
        project_src: str,
        files: Sequence[str],
        *args: str,
        unset: Iterable[str] = (),
        timeout: float | None = None,
        stdin: str | None = None,
    ) -> str:
        """Run Compose in a project's directory, as the operator would, and return its standard output.

        The operator's ``COMPOSE_*`` variables are not passed on: in Compose the shell's variables win over ``.env``.
        The project keeps the name that its containers have.

        :param files: Compose files, relative to ``project_src``; none: those that Compose finds by itself.
        :param args: global options such as ``--profile``, the subcommand and its options.
        :param unset: further variables that must not come from the shell, such as the names in ``.env``.
        :param timeout: seconds; give builds and pulls enough.
        :param stdin: a Compose file that ``files`` names ``-``.
        :raises ComposeFailed: with the last line that Compose printed, what looks like a secret masked.
        """
        if not os.path.isdir(project_src):
            raise HotfixError("there is no such directory", path=project_src, remedy="Check project_src")
        options = [*self._project_option(project_src), *(word for name in files for word in ("-f", name))]
        command = [*self._compose_command()[0], *options, *args]
        dropped = set(unset)
        env = {k: v for k, v in self.environ.items() if not k.startswith("COMPOSE_") and k not in dropped}
        result = self._execute(command, cwd=project_src, env=env, timeout=timeout, stdin=stdin)
        if result.returncode != 0:
            subcommand = next((arg for arg in args if not arg.startswith("-")), "")
            failure = self._failure(f"compose {subcommand}", result)
            raise ComposeFailed(failure.message, result.stdout + result.stderr)
        return result.stdout

    def config(
        self, project_src: str, files: Sequence[str] = (), services: Sequence[str] = (), *, unset: Iterable[str] = ()
    ) -> dict[str, Any]:
        """The project as Compose resolves it. It holds the values of ``.env``: never print it.

        :param services: those alone, with what they depend on. By default all but those whose profiles are inactive.
        """
        text = self.compose(project_src, files, "config", "--format", "json", *services, unset=unset)
        # Compose prints a form that could be read again as a Compose file, so each dollar sign is doubled.
        data: dict[str, Any] = json.loads(text.replace("$$", "$"))
        return data

    def run(
        self, *args: str, check: bool = True, timeout: float | None = None, env: Mapping[str, str] | None = None
    ) -> Completed:
        """Run a ``docker`` command.

        :param check: raise when it fails; a missing, hung, stopped or closed engine is always an error.
        :raises HotfixError: with the last line it printed, secrets masked.
        """
        result = self._execute(self.command(*args), env=self.environ if env is None else env, timeout=timeout)
        if check and result.returncode != 0:
            raise self._failure(args[0], result)
        return result

    def _execute(
        self,
        argv: list[str],
        *,
        env: Mapping[str, str],
        cwd: str | None = None,
        timeout: float | None = None,
        stdin: str | None = None,
    ) -> Completed:
        limit = self._timeout if timeout is None else timeout
        try:
            result = self._run_command(argv, cwd=cwd, env=env, timeout=limit, stdin=stdin)
        except subprocess.TimeoutExpired as error:
            raise HotfixError(
                f"docker {argv[1]} did not end within {limit:g} seconds",
                remedy="See what the engine does: systemctl status docker; journalctl -u docker",
            ) from error
        except OSError as error:
            raise HotfixError(f"cannot run {argv[0]}: {os.strerror(error.errno or 0)}") from error
        if result.returncode != 0:
            _raise_if_unreachable(result.stderr)
        return result

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Send a request to the engine itself, by the way that the ``docker`` command takes to it.

        For what the command has no words for, or where these would hold secrets that others see.

        :param path: such as ``/containers/create``.
        :returns: what it answers.
        :raises HotfixError: with the engine's reason.
        """
        version = self.run("version", "--format", "{{.Client.APIVersion}}").stdout.strip()
        try:
            status, text = self._dialled(f"/v{version}{path}", json.dumps(body))
        except (OSError, http.client.HTTPException) as error:
            raise HotfixError(
                f"the engine did not answer a request ({path.partition('?')[0]})",
                remedy="See what it does: systemctl status docker; journalctl -u docker",
            ) from error
        data = json.loads(text) if text.strip() else {}
        if status >= http.client.BAD_REQUEST:
            raise HotfixError(f"the engine refused {path.partition('?')[0]}: {mask(str(data.get('message', status)))}")
        return data

    def _dialled(self, path: str, body: str) -> tuple[int, str]:
        """Post to the engine, and return the status and text of its answer."""
        ours, theirs = socket.socketpair()
        command = self.command("system", "dial-stdio")
        ours.settimeout(self._timeout)
        connection = http.client.HTTPConnection("docker")
        connection.sock = ours
        with theirs:
            process = subprocess.Popen(
                command,
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.DEVNULL,
                env=self.environ,
                start_new_session=True,
            )
        with process:
            try:
                connection.request("POST", path, body.encode(), {"Content-Type": "application/json"})
                answer = connection.getresponse()
                return answer.status, answer.read().decode("utf-8", "replace")
            finally:
                connection.close()
                process.kill()

    def _json(self, *args: str) -> Any:
        return json.loads(self.run(*args).stdout)

    def _members(
        self, project_src: str, service: str | None, files: Sequence[str], include_stopped: bool
    ) -> list[dict[str, Any]]:
        filters = [f"label={LABEL}oneoff=False", f"label={LABEL}service" + (f"={service}" if service else "")]
        words = [word for text in filters for word in ("--filter", text)]
        ids = self.run("ps", "--quiet", "--no-trunc", *(["--all"] if include_stopped else []), *words).stdout.split()
        if not ids:
            return []
        result = self.run("inspect", "--type", "container", *ids, check=False)
        # A container may go between the two commands: then docker prints the others, and says so on stderr.
        if result.returncode != 0 and not NO_SUCH.search(result.stderr):
            raise self._failure("inspect", result)
        return select(json.loads(result.stdout), project_src, files)

    def _project_option(self, project_src: str) -> list[str]:
        """The name that the project's containers were made with, where it is not that of the directory.

        Compose would make others beside them when somebody started them with ``-p``, which no file tells.
        """
        folder = os.path.realpath(project_src)
        if folder not in self._names:
            words = ("--filter", f"label={LABEL}project.working_dir={folder}", "--format", "{{json .Labels}}")
            listed = ""
            with contextlib.suppress(HotfixError):
                listed = self.run("ps", "--all", *words, check=False).stdout
            found = {name for line in listed.splitlines() for name in re.findall(rf"{LABEL}project=([^,\"]+)", line)}
            # A directory may hold several projects, such as one for staging; then the files have to say which.
            self._names[folder] = found.pop() if len(found) == 1 else ""
        name = self._names[folder]
        return ["-p", name] if name and name != project_name(folder) else []

    def _compose_command(self) -> tuple[list[str], str]:
        if self._compose is None:
            self._compose = self._find_compose()
        return self._compose

    def _find_compose(self) -> tuple[list[str], str]:
        """The Compose plugin, or the same program installed as ``docker-compose`` 2 or newer."""
        plugin = self.command("compose")
        result = self.run("compose", "version", "--short", check=False)
        version = _version(result.stdout)
        if result.returncode == 0 and version:
            return plugin, version
        old = ""
        standalone = shutil.which("docker-compose", path=self.environ["PATH"])
        if standalone:
            old = _version(self._execute([standalone, "version", "--short"], env=self.environ).stdout)
            if old and int(old.split(".")[0]) >= 2:
                return [standalone], old
        raise HotfixError(
            f"only docker-compose {old} is installed, which is no longer maintained" if old else "there is no Compose",
            remedy="Install Compose 2 or newer: apt-get install docker-compose-v2 (with Ubuntu's docker.io) "
            "or docker-compose-plugin (with Docker's own packages)",
        )

    def _none_such(self, container: str | None, project_src: str | None, service: str | None) -> HotfixError:
        names = sorted(self.run("ps", "--all", "--format", "{{.Names}}").stdout.split())
        there_is = f"there is {', '.join(names)}" if names else "there are no containers at all"
        if container:
            return HotfixError(f"there is no container {container}; {there_is}", remedy="Check the option container")
        what = f"service {service}" if service else "any service"
        return HotfixError(
            f"the project has no container of {what}; {there_is}",
            path=project_src,
            remedy="Check project_src and service, or start it with: docker compose up -d",
        )

    def _failure(self, subcommand: str, result: Completed) -> HotfixError:
        reason = _reason(result.stderr or result.stdout)
        return HotfixError(f"docker {subcommand.strip()} failed (exit code {result.returncode}): {reason.rstrip('.')}")


def select(members: Iterable[dict[str, Any]], project_src: str, files: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Those containers that belong to the project in a directory, in the order of their numbers.

    A label that names another spelling of the same directory fits. When none fits, containers of the project's default
    name do whose directory is gone: it was moved, or was reached by a link that no longer exists.

    :param members: ``docker inspect`` data.
    """
    source = os.path.realpath(project_src)
    folders = {source}
    if files:
        folders.add(os.path.dirname(os.path.realpath(os.path.join(source, files[0]))))
    labelled = [(compose_labels(data), data) for data in members]
    found = [(labels, data) for labels, data in labelled if os.path.realpath(labels.working_dir) in folders]
    if not found:
        name = project_name(source)
        found = [(la, data) for la, data in labelled if la.project == name and not os.path.isdir(la.working_dir)]
    return [data for _labels, data in sorted(found, key=lambda pair: (pair[0].service, pair[0].number))]


def serving(members: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of a service's containers those that serve: not one that is to take over, nor one that is on its way out."""
    for ends in ((INCOMING, OUTGOING), (OUTGOING,)):
        found = [data for data in members if not _name(data).endswith(ends)]
        if found:
            return found
    return list(members)


def project_name(project_src: str) -> str:
    """The name that Compose gives a project by default: https://docs.docker.com/compose/how-tos/project-name/."""
    return re.sub(r"[^a-z0-9_-]", "", os.path.basename(os.path.realpath(project_src)).lower()).lstrip("_-")


def environment(inspect: Mapping[str, Any]) -> dict[str, str]:
    """The variables that the container was created with. They hold secrets."""
    pairs = (entry.partition("=") for entry in inspect["Config"].get("Env") or [])
    return {name: value for name, _equals, value in pairs}


def state(inspect: Mapping[str, Any]) -> State:
    """The container's state in the field's terms."""
    data = inspect["State"]
    health = (data.get("Health") or {}).get("Status")
    return State(
        status=data["Status"],
        health=None if health in (None, "", "none") else health,
        created_at=_time(inspect.get("Created")),
        started_at=_time(data.get("StartedAt")),
        finished_at=_time(data.get("FinishedAt")),
        exit_code=int(data.get("ExitCode", 0)),
        restart_count=int(inspect.get("RestartCount", 0)),
        oom_killed=bool(data.get("OOMKilled")),
        image_id=inspect["Image"],
        image=inspect["Config"].get("Image", ""),
        pid=int(data.get("Pid", 0)),
        start_period=(inspect["Config"].get("Healthcheck") or {}).get("StartPeriod", 0) / NANOSECONDS,
    )


def restart_policy(inspect: Mapping[str, Any]) -> RestartPolicy:
    """The effective restart policy, and what it means at the next reboot.

    Established with Engine 20.10 and 26.1: at a reboot the application ends with 0 on SIGTERM, which ``on-failure``
    takes for an intended end; https://docs.docker.com/engine/containers/start-containers-automatically/.
    """
    policy = inspect["HostConfig"].get("RestartPolicy") or {}
    name = policy.get("Name") or "no"
    retries = int(policy.get("MaximumRetryCount") or 0)
    notes = {
        "no": ["Docker starts it neither after a crash nor after a reboot."],
        "on-failure": [
            "After a reboot it stays down: the application ends with exit code 0 on SIGTERM, which is no failure.",
            f"It is started again at most {retries} times, with no time window."
            if retries
            else "After a crash it is started again.",
        ],
        "unless-stopped": ["It comes back after a crash and after a reboot, unless somebody stopped it before."],
        "always": ["It comes back after a crash and after a reboot, even if somebody stopped it before."],
    }
    return RestartPolicy(name, retries, name in ("always", "unless-stopped"), notes.get(name, []))


def is_everywhere(host_ip: str) -> bool:
    """Whether a port that is published at an address of the host is so at all of the same family."""
    return ipaddress.ip_address(host_ip).is_unspecified


def published_ports(inspect: Mapping[str, Any]) -> list[Port]:
    """The ports published on the host: the real ones of a running container, else those asked for."""
    live = (inspect.get("NetworkSettings") or {}).get("Ports") or {}
    wanted = inspect["HostConfig"].get("PortBindings") or {}
    ports = set()
    for key, bindings in (live or wanted).items():
        number, _slash, protocol = key.partition("/")
        for binding in bindings or []:
            if str(binding.get("HostPort", "")).isdigit():
                ports.add(
                    Port(binding.get("HostIp") or ANYWHERE, int(binding["HostPort"]), int(number), protocol or "tcp")
                )
    return sorted(ports)


def networks(inspect: Mapping[str, Any]) -> dict[str, str]:
    """The container's address in each of its networks, empty while it does not run."""
    attached = (inspect.get("NetworkSettings") or {}).get("Networks") or {}
    return {name: (network or {}).get("IPAddress", "") for name, network in attached.items()}


def compose_labels(inspect: Mapping[str, Any]) -> ComposeLabels:
    """The project, files and service that a container was made from."""
    labels = inspect["Config"].get("Labels") or {}
    folder = labels.get(f"{LABEL}project.working_dir", "")
    files = [name for name in labels.get(f"{LABEL}project.config_files", "").split(",") if name]
    number = labels.get(f"{LABEL}container-number", "")
    return ComposeLabels(
        project=labels.get(f"{LABEL}project", ""),
        working_dir=folder,
        # Compose 1 writes them relative to the directory.
        config_files=[os.path.normpath(os.path.join(folder, name)) for name in files],
        service=labels.get(f"{LABEL}service", ""),
        number=int(number) if number.isdigit() else 0,
    )


def _name(inspect: Mapping[str, Any]) -> str:
    return str(inspect["Name"]).lstrip("/")


def _time(value: str | None) -> str | None:
    return None if not value or value == NEVER else value


def _version(text: str) -> str:
    match = re.search(r"\d+(\.\d+)+", text)
    return match.group() if match else ""


def _process(pid: int, ppid: int, args: str) -> Process:
    """Words with blanks in them can be told apart only in ``/proc``; an engine on another host leaves us ``args``."""
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/cmdline", "rb") as stream:
            words = stream.read().rstrip(b"\0").split(b"\0")
        argv = tuple(word.decode("utf-8", "replace") for word in words)
        if " ".join(argv).split() == args.split():
            return Process(pid, ppid, args, argv)
    return Process(pid, ppid, args, tuple(args.split()))


def _reason(text: str) -> str:
    """What a failed command says, without what it quotes: Compose shows the line of ``.env`` that it cannot read."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not WARNING.search(line)]
    about_file = [line for line in lines if ABOUT_FILE.search(line)]
    if about_file:
        return QUOTED.sub(lambda found: found.group() if found.group("short") else "(not shown here)", about_file[0])
    # The command may add which of several containers it was, after what the engine said.
    said = [line for line in lines if line.startswith("Error response from daemon")] or lines
    last = WHOLE_ID.sub(r"\1", said[-1]) if said else "it said nothing"
    return re.sub(r"^(Error response from daemon|Error): ", "", mask(last))


def _raise_if_unreachable(stderr: str) -> None:
    if DENIED.search(stderr):
        raise HotfixError(
            "this user may not use the Docker engine",
            remedy="Run as root (become: true), or add the user to the group docker",
        )
    if DOWN.search(stderr):
        raise HotfixError(
            "the Docker engine does not answer, so nothing is known about the containers",
            remedy="Start it: systemctl start docker",
        )
