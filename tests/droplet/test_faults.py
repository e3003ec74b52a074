# SPDX-License-Identifier: GPL-3.0-or-later
"""Real faults during a deployment of the stand-in's application: ``make faults`` makes a droplet for it.

After each one the service answers, the files are whole, nothing secret was shown, the message names cause and remedy,
and the same run succeeds once the fault is gone and leaves nothing behind.

One fault cannot be made here: a container may not set the clock of its host. What a clock that went back leaves in the
project's state, times that lie ahead, is written there instead.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from host import PROJECT, Host, kill_run

ENV = f"{PROJECT}/.env"
MAIN = f"{PROJECT}/backend/main.py"
COMPOSE = f"{PROJECT}/docker-compose.yml"
ROUTES = f"{PROJECT}/backend/api/routes.py"
STATE = "/var/lib/composeops"
# Where a fault keeps what it takes away; a reboot leaves it there.
KEPT = "/var/tmp/fault"
# What is short enough to be part of any text is no secret.
SECRET = re.compile(r"^(?:VALID_API_KEYS|JWT_SECRET_KEY|OPENAI_API_KEY)=.*?([A-Za-z0-9_-]{12,})", re.MULTILINE)
PLAIN = {"verify_watch_seconds": 0, "verify_shutdown": False, "deploy_health_timeout": 120, "report_dir": ""}
# On the controller.
REPORTS = tempfile.mkdtemp(prefix="reports-")
atexit.register(shutil.rmtree, REPORTS, ignore_errors=True)
NETWORK = "wealth-coach-ai_default"
HEALTHY = '{"status":"healthy"}'
# What an application waits for that is to end, in a volume that each container of it has, and how it comes to be there.
TOLD = "/app/data/end"
TELL = f"docker exec wealth_coach_backend touch {TOLD}"


class Fault(NamedTuple):
    """One fault.

    What goes wrong while the run lives, it says; what ends it, the next one says, for there is nobody else to say it.

    :ivar make: a script on the droplet, before the run.
    :ivar undo: a script on the droplet, after it.
    :ivar says: what the message has to hold: the cause, and what to do.
    :ivar next_says: what the next run has to say of it.
    :ivar at: the task at whose beginning ``strike`` is called.
    :ivar time: at which of its beginnings.
    :ivar away: the service may be away meanwhile, since the fault takes it away.
    :ivar stays: the value that the run sets is in force after it, though it fails.
    :ivar untouched: the container of before the run is there after it.
    :ivar tag: the concern that the run is limited to.
    """

    make: str = ""
    undo: str = ""
    says: tuple[str, ...] = ()
    next_says: tuple[str, ...] = ()
    at: str = ""
    time: int = 1
    strike: Callable[[Host, subprocess.Popen[str]], None] | None = None
    away: bool = False
    untouched: bool = False
    tag: str = "env"
    fails: bool = True
    stays: bool = False
    options: tuple[str, ...] = ()
    variables: dict[str, Any] = {}  # noqa: RUF012  (never changed)


def kill(droplet: Host, run: subprocess.Popen[str]) -> None:
    """End the run as a closed laptop does, together with the connection that its tasks share."""
    subprocess.run(["pkill", "-KILL", "-f", droplet.sockets], check=False)
    kill_run(run)


def on_droplet(script: str) -> Callable[[Host, subprocess.Popen[str]], None]:
    """Run a script on the droplet."""
    return lambda droplet, _run: print(droplet.sh(script, check=False))


def reboot(droplet: Host, _run: subprocess.Popen[str]) -> None:
    """Reboot the droplet."""
    droplet.reboot()


SAID: list[str] = []


def no_folder(_droplet: Host, _run: subprocess.Popen[str]) -> None:
    """Put a file where the folder for the report is."""
    folder = Path(REPORTS, "report")
    folder.rmdir()
    folder.touch()


def second_run(droplet: Host, run: subprocess.Popen[str], *, elsewhere: bool = False) -> None:
    """Hold the run, and begin another one, which has to end by itself; what it says goes into ``SAID``.

    :param elsewhere: make the lock that of a run on another controller.
    """
    lock = f"{STATE}/wealth-coach-ai/lock.json"
    os.killpg(run.pid, signal.SIGSTOP)
    try:
        if elsewhere:
            change = 'd.update(controller="laptop-of-somebody", machine="1", run="feedfacefeedface")'
            droplet.sh(
                f'cp {lock} {KEPT}.lock; python3 -c \'import json; d = json.load(open("{lock}")); {change}; '
                f'json.dump(d, open("{lock}", "w"))\''
            )
        status, output = Round(droplet).run(Fault())
        assert status != 0, output[-3000:]
        assert "changed=0" in output, output[-3000:]
        SAID.append(output)
        if elsewhere:
            droplet.sh(f"cat {KEPT}.lock > {lock}")
    finally:
        os.killpg(run.pid, signal.SIGCONT)


def killed_and_again(
    script: str = "", *, after: str = "", **variables: Any
) -> Callable[[Host, subprocess.Popen[str]], None]:
    """Kill the run, change something on the droplet, and have the next run fail and leave a service that answers.

    :param after: a script on the droplet that has to succeed then.
    :param variables: of the next run; what that says goes into ``SAID``.
    """

    def strike(droplet: Host, run: subprocess.Popen[str]) -> None:
        kill(droplet, run)
        droplet.sh(script)
        this = Round(droplet)
        # The same run once more: what it finds is what the killed one has made.
        this.wanted = droplet.sh(f"sed -n 's/^FAULT=//p' {ENV}").strip()
        status, output = this.run(Fault(variables={**SOON, **variables}))
        assert status != 0, output[-3000:]
        SAID.append(output)
        assert this.answers(0), output[-3000:]
        droplet.sh(after)

    return strike


def edit(path: str, text: str) -> dict[str, str]:
    """Scripts that add a line at the end of a file, and take the file's text back."""
    return {
        "make": f"cp -p {path} {KEPT}; cat >> {path} <<'END'\n{text}\nEND\n",
        "undo": f"cat {KEPT} > {path}",
    }


def ends_after(seconds: int, *, told: bool = False) -> dict[str, str]:
    """Scripts that let the application end some seconds after its start, and take that back.

    :param told: only once it is told to (:data:`TELL`); then so many seconds after that, and after each start.
    """
    wait = f'while not os.path.exists("{TOLD}"): time.sleep(0.1)' if told else ""
    forget = f"docker exec wealth_coach_backend rm -f {TOLD}" if told else ""
    scripts = edit(
        MAIN,
        f"""
import os, signal, threading, time
def end():
    {wait}
    time.sleep({seconds})
    os.kill(1, signal.SIGTERM)
threading.Thread(target=end, daemon=True).start()
""",
    )
    return {**scripts, "undo": f"{scripts['undo']}\n{forget}"}


def depends_on(image: str) -> str:
    """A script that has the backend depend on one more service."""
    return f"""
        sed -i -e 's/^      - redis$/&\\n      - extra/' \\
          -e 's/^volumes:$/  extra:\\n    image: {image}\\n\\nvolumes:/' {COMPOSE}
    """


def small(folder: str, options: str) -> dict[str, str]:
    """Scripts that put a folder on a small file system of its own, and back."""
    return {
        "make": f"mkdir -p {folder} {KEPT}.d; cp -a {folder}/. {KEPT}.d/; "
        f"mount -t tmpfs -o {options} tmpfs {folder}; cp -a {KEPT}.d/. {folder}/ 2>/dev/null || true; "
        f"dd if=/dev/zero of={folder}/filler bs=1k 2>/dev/null || true",
        "undo": f"umount {folder}; rm -rf {KEPT}.d",
    }


# Takes the published port as soon as the old container lets go of it.
GRAB = """
import socket, time
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
while True:
    try:
        server.bind(("", 8000))
        break
    except OSError:
        time.sleep(0.001)
server.listen()
time.sleep(600)
"""
# An edit from before the run that shows only when the container has been started.
MISTYPED = {
    "make": f"""
        cp -p {COMPOSE} {KEPT}
        sed -i 's/^  backend:/&\\n    command: uvicorn backend.main:app --host 0.0.0.0 --port 8001/' {COMPOSE}
    """,
    "undo": f"cat {KEPT} > {COMPOSE}",
}
LIES = f'sed -i \'s/"healthy"/"starting"/\' {ROUTES}'
SLEEPS = "import time; time.sleep(600)"
SOON: dict[str, Any] = {"deploy_health_timeout": 20}
UNSAFE = r"THE OLD, POSSIBLY UNSAFE KEYS ARE IN FORCE AGAIN"
AGAIN = r"[Rr]un again|run it again"
OLD_KEYS = (
    r"did not answer .* within 20 s",
    r"What runs now: what ran before\. Everything was put back",
    UNSAFE,
    AGAIN,
)
# Of a run that is gone only the next one can say anything.
TAKEN_OVER = (r"Took over the lock of .*: its process \d+ is gone", r"half done is completed or put back by this one")
FAULTS: dict[str, Fault] = {
    # Before anything is changed.
    "git: an edit on the server conflicts with the update": Fault(
        f"cd {PROJECT}; sed -i 's/await redis_client.close()/await redis_client.shut()/' backend/main.py",
        f"cd {PROJECT}; git checkout -q backend/main.py",
        (r"conflict", r"backend/main\.py"),
        tag="redis",
    ),
    ".env is gone": Fault(f"mv {ENV} {KEPT}", f"mv {KEPT} {ENV}", (r"There is no .*\.env", r"Put it there")),
    ".env is a directory": Fault(
        f"mv {ENV} {KEPT}; mkdir {ENV}",
        f"rmdir {ENV}; mv {KEPT} {ENV}",
        (r"\.env is a directory", r"Move it away\. Put it there"),
    ),
    ".env cannot be read": Fault(
        f"mv {ENV} {KEPT}; ln -s .env {ENV}",
        f"rm {ENV}; mv {KEPT} {ENV}",
        (r"\.env cannot be read .*symbolic links", r"Put it there"),
    ),
    ".env has a line that nobody can read": Fault(
        f"cp -p {ENV} {KEPT}; echo 'LOG_LEVEL=\"info' >> {ENV}",
        f"cat {KEPT} > {ENV}",
        (r"\.env:\d+", r"Close the quote"),
    ),
    "YAML is broken": Fault(
        f"cp -p {COMPOSE} {KEPT}; echo '  - [' >> {COMPOSE}",
        f"cat {KEPT} > {COMPOSE}",
        (r"docker-compose\.yml:\d+: not readable as YAML", r"Correct the YAML"),
    ),
    "no permission": Fault(
        "id joe >/dev/null 2>&1 || useradd --create-home --shell /bin/bash joe",
        says=(r"may not be changed by this user", r"become"),
        options=("-e", "ansible_become_user=joe", "-e", "ansible_become_method=su"),
    ),
    "the disk is read-only": Fault(
        f"mount --bind {PROJECT} {PROJECT}; mount -o remount,ro,bind {PROJECT}",
        f"umount {PROJECT}",
        (r"mounted read-only", r"dmesg", rf"remount,rw {PROJECT}"),
    ),
    "the disk is nearly full": Fault(
        variables={"preflight_minimum_free_mb": 10**9}, says=(r"MB left", r"Free some space")
    ),
    "the disk is full": Fault(
        **small(PROJECT, "size=400k"),
        says=(rf"{ENV}: .*[Nn]o space left", r"Free some space"),
        variables={"preflight_minimum_free_mb": 0, "production_env_backup": True},
    ),
    "the disk of the state is full": Fault(
        **small(STATE, "size=64k"), says=(rf"{STATE}/.*[Nn]o space left", r"Free some space")
    ),
    "the state is out of inodes": Fault(
        f"mkdir -p {STATE}; mount -t tmpfs -o nr_inodes=3 tmpfs {STATE}",
        f"umount {STATE}",
        (rf"{STATE}/.*[Nn]o space left", r"df -i"),
    ),
    "a clock went back": Fault(
        f"cd {STATE}; sed -i 's/\"20[0-9][0-9]-/\"2099-/g' */journal.jsonl */committed.json */snapshots/*/*.json",
        fails=False,
    ),
    "two runs at once": Fault(
        at="Keep the present state",
        strike=second_run,
        says=(r"is locked since .* by .*hotfix\.apply", r"wait until it has ended"),
        fails=False,
    ),
    "a run on another controller has the lock": Fault(
        at="Keep the present state",
        strike=lambda *run: second_run(*run, elsewhere=True),
        says=(r"laptop-of-somebody", r"[Ww]ait", r"deploy_lock_force"),
        fails=False,
    ),
    # While the new container is made.
    "the build fails": Fault(
        f"cp -p {PROJECT}/Dockerfile {KEPT}; echo 'RUN false' >> {PROJECT}/Dockerfile",
        f"cat {KEPT} > {PROJECT}/Dockerfile",
        (r"false", AGAIN, r"What runs now: what ran before"),
    ),
    "an image is missing": Fault(
        f"cp -p {PROJECT}/Dockerfile {KEPT}; sed -i 's/^FROM .*/FROM wealth-coach-gone:1/' {PROJECT}/Dockerfile",
        f"cat {KEPT} > {PROJECT}/Dockerfile",
        (r"wealth-coach-gone:1", AGAIN),
    ),
    "the application cannot be imported": Fault(
        **edit(MAIN, "raise RuntimeError('broken on purpose')"),
        says=(r"did not answer", r"broken on purpose", AGAIN),
        variables=SOON,
    ),
    "health never comes": Fault(**edit(MAIN, SLEEPS), says=(r"did not answer .* within 20 s", AGAIN), variables=SOON),
    # What the container is given anew has to be in it on the way back as well.
    "health never comes, and a new value stays": Fault(
        **edit(MAIN, SLEEPS),
        says=(r"did not answer .* within 20 s", r"what ran before, with the new values of .*FAULT", AGAIN),
        variables={**SOON, "deploy_keep_variables": ["FAULT"]},
        stays=True,
    ),
    "health lies, of a run that was killed and of the next": Fault(
        f"cp -p {ROUTES} {KEPT}; {LIES}",
        f"cat {KEPT} > {ROUTES}",
        (r"did not answer .* within 20 s", r"What runs now: what ran before", AGAIN),
        at="Wait until it answers as a healthy one does",
        strike=killed_and_again(deploy_strategy="recreate"),
        variables={"deploy_strategy": "recreate"},
        away=True,
    ),
    "health lies, where a copy of a run that was killed answers": Fault(
        f"cp -p {ROUTES} {KEPT}",
        f"cat {KEPT} > {ROUTES}",
        (r"did not answer .* within 20 s", r"What runs now: what ran before", AGAIN),
        at="Recreate the service if it differs from its files",
        strike=killed_and_again(LIES, deploy_strategy="recreate"),
    ),
    "health never comes, and what it depends on is new": Fault(
        f"cp -p {MAIN} {KEPT}; echo '{SLEEPS}' >> {MAIN}; cp -p {COMPOSE} {KEPT}.yml",
        f"cat {KEPT} > {MAIN}; cat {KEPT}.yml > {COMPOSE}; docker rm --force wealth-coach-ai-extra-1",
        (r"did not answer .* within 20 s", r"What runs now: what ran before", AGAIN),
        at="Set the production settings",
        strike=on_droplet(depends_on("redis:8")),
        variables=SOON,
    ),
    "what it depends on cannot be started": Fault(
        f"cp -p {COMPOSE} {KEPT}; {depends_on('wealth-coach-gone:2')}",
        f"cat {KEPT} > {COMPOSE}",
        (r"backend depends on extra: docker compose up failed", r"What runs now: what ran before", AGAIN),
    ),
    # What the files say was not in force before the run, so that it is no way back.
    "the engine cannot start what the files say": Fault(
        f"cp -p {COMPOSE} {KEPT}; sed -i 's/^  backend:/&\\n    user: nobody-here/' {COMPOSE}",
        f"cat {KEPT} > {COMPOSE}",
        (r"unable to find user", r"What runs now: what ran before", AGAIN),
        variables={"deploy_strategy": "recreate"},
    ),
    "it never listens as the files say": Fault(
        **MISTYPED,
        says=(r"did not answer .* within 20 s", r"What runs now: what ran before; .*made again as it was", AGAIN),
        variables={**SOON, "deploy_strategy": "recreate"},
        away=True,
    ),
    "it never listens as the files say, and a new value stays": Fault(
        **MISTYPED,
        says=(r"did not answer", r"what ran before, with the new values of .*FAULT.*made again as it was", AGAIN),
        variables={**SOON, "deploy_strategy": "recreate", "deploy_keep_variables": ["FAULT"]},
        away=True,
        stays=True,
    ),
    # What was in force before serves all the time, though with the old value: nobody takes it away without need.
    "it never listens as the files say, with a copy beside": Fault(
        **MISTYPED,
        says=OLD_KEYS,
        variables={**SOON, "deploy_keep_variables": ["FAULT"]},
        untouched=True,
    ),
    **{
        f"the new value does not work, {how}": Fault(
            f"""
            cd {PROJECT}; cp -p {MAIN} {KEPT}
            works=$(sed -n 's/^FAULT=//p' {ENV})
            echo "import os, time; os.environ.get('FAULT') == '$works' or time.sleep(600)" >> {MAIN}
            docker compose --progress quiet up -d --build backend
            until curl -sf -m 2 -o /dev/null http://127.0.0.1:8000/api/v1/health; do sleep 1; done
            {edited}
            """,
            f"{undone}; cat {KEPT} > {MAIN}",
            OLD_KEYS,
            variables={**SOON, "deploy_keep_variables": ["FAULT"]},
            # To make it takes the service away, and the run does not.
            away=True,
            untouched=True,
        )
        for how, edited, undone in (
            ("with a copy beside", "", ":"),
            (
                "where the files had been edited",
                f"sed -i 's/^  backend:/&\\n    labels: {{edited: yes}}/' {COMPOSE}",
                f"sed -i '/^    labels: {{edited: yes}}$/d' {COMPOSE}",
            ),
        )
    },
    "it never listens as the files say, of a run that was killed and of the next": Fault(
        **MISTYPED,
        says=(
            r"did not answer .* within 20 s",
            r"What runs now: what ran before; .*made again as it was",
            r"The files as this run found them, .* are kept: -e rollback_to=\w+ for playbook rollback",
            AGAIN,
        ),
        at="Wait until it answers as a healthy one does",
        # Between the two somebody corrects something; the way back is to the beginning of the first.
        strike=killed_and_again(
            f"echo '# corrected' >> {ENV}",
            after=f"grep -l corrected {STATE}/wealth-coach-ai/snapshots/*/*",
            deploy_strategy="recreate",
        ),
        variables={"deploy_strategy": "recreate"},
        away=True,
    ),
    # Weeks later, which nobody can wait for: so what the killed run has noted is made older.
    "health lies, and somebody has deployed since a run was killed": Fault(
        f"cp -p {ROUTES} {KEPT}; {LIES}",
        f"cat {KEPT} > {ROUTES}; sed -i '/^# corrected/d' {ENV}",
        (
            r"did not answer .* within 20 s",
            r"left backend unfinished, and somebody has deployed it since",
            r"What runs now: what ran before",
            AGAIN,
        ),
        at="Wait until it answers as a healthy one does",
        strike=killed_and_again(
            f"""
            cd {STATE}/wealth-coach-ai; sed -i 's/"time": "20[0-9][0-9]-/"time": "2020-/' journal.jsonl transaction.json
            cd {PROJECT}; cat {KEPT} > {ROUTES}; echo '# corrected' >> {ENV}
            docker compose --progress quiet up -d --build backend
            until curl -sf -m 2 -o /dev/null http://127.0.0.1:8000/api/v1/health; do sleep 1; done
            {LIES}
            """,
            after=f"grep -q corrected {ENV}",
            deploy_strategy="recreate",
        ),
        variables={"deploy_strategy": "recreate"},
        away=True,
    ),
    # A file that the old container has mounted and has read; the files do not mount it any more.
    "what ran before does not run any more as it was": Fault(
        f"""
        cd {PROJECT}; cp -p {COMPOSE} {KEPT}.yml; cp -p {MAIN} {KEPT}; mkdir once; cp {ROUTES} once/routes.py
        sed -i 's|      - vector_data:/app/data|&\\n      - ./once/routes.py:/app/backend/api/routes.py:ro|' {COMPOSE}
        docker compose --progress quiet up -d backend
        until curl -sf -m 2 -o /dev/null http://127.0.0.1:8000/api/v1/health; do sleep 1; done
        sed -i 's/"healthy"/"starting"/' once/routes.py; cat {KEPT}.yml > {COMPOSE}; echo '{SLEEPS}' >> {MAIN}
        """,
        f"cat {KEPT} > {MAIN}; cat {KEPT}.yml > {COMPOSE}; rm -rf {PROJECT}/once",
        (r"did not answer .* within 20 s", r"What runs now: what ran before", AGAIN),
        variables={**SOON, "deploy_strategy": "recreate"},
        away=True,
    ),
    "health lies": Fault(
        f"cp -p {ROUTES} {KEPT}; {LIES}",
        f"cat {KEPT} > {ROUTES}",
        (r"did not answer", r"starting", AGAIN),
        variables=SOON,
    ),
    "it ends soon after it was healthy": Fault(
        **ends_after(6),
        says=(r"ended within|did not answer", AGAIN),
        variables={**SOON, "deploy_stable_seconds": 10},
        away=True,
    ),
    "it ends once the deployment is done": Fault(
        **ends_after(8, told=True),
        says=(r"did not stay up once it was deployed|did not answer", r"What runs now: what ran before", AGAIN),
        at="Say what was deployed",
        strike=on_droplet(TELL),
        variables={"deploy_stable_seconds": 1, "verify_watch_seconds": 19},
        away=True,
    ),
    "it ends once the deployment is done, of a run that was killed": Fault(
        **ends_after(12, told=True),
        says=(r"did not stay up once it was deployed|did not answer", r"What runs now: what ran before", AGAIN),
        at="Say what was deployed",
        strike=killed_and_again(TELL, verify_watch_seconds=19),
        variables={"deploy_stable_seconds": 1},
        away=True,
    ),
    "it answers late once, when the deployment is done": Fault(
        says=(r"Not proven: health",),
        at="Ask the API for its health",
        time=2,
        # Until the one who asks has lost patience, whenever that is asked.
        strike=on_droplet("""
            docker pause wealth_coach_backend
            (until ss -Htn state established dport = :8000 | grep -q .; do sleep 0.05; done
            sleep 5.3; docker unpause wealth_coach_backend) >&2 &
        """),
        stays=True,
        away=True,
    ),
    "the report cannot be written": Fault(
        says=(r"Keep the summary as JSON", r"[Nn]ot a directory"),
        at="Say what was deployed",
        strike=no_folder,
        variables={"report_dir": f"{REPORTS}/report"},
        stays=True,
    ),
    "Redis is down": Fault("docker stop wealth_coach_redis", away=True, fails=False),
    "Redis cannot be reached": Fault(
        f"docker network disconnect {NETWORK} wealth_coach_redis",
        f"docker network connect --alias redis {NETWORK} wealth_coach_redis",
        (r"did not answer", AGAIN),
        variables=SOON,
        away=True,
    ),
    "a port is taken": Fault(
        f"""
        cp -p {COMPOSE} {KEPT}
        sed -i 's/      - "8000:8000"/&\\n      - "8081:8001"/' {COMPOSE}
        systemd-run --quiet --collect --unit taken python3 -m http.server 8081
        """,
        f"systemctl stop taken; cat {KEPT} > {COMPOSE}",
        (r"port 8081/tcp .* is taken by python3 \(process \d+\)", r"What runs now: what ran before", AGAIN),
    ),
    "the engine is stopped in the middle": Fault(
        undo="systemctl start docker.socket docker",
        says=(r"engine does not answer, so nothing is known", r"systemctl start docker", r"THE WAY BACK FAILED", AGAIN),
        at="Start a copy of what the service is going to be",
        strike=on_droplet("systemctl stop docker.socket docker"),
        away=True,
    ),
    "the engine is killed while a copy serves": Fault(
        at="Recreate the service if it differs from its files",
        strike=on_droplet("systemctl kill --signal KILL docker; sleep 1"),
        undo="systemctl reset-failed docker; systemctl start docker.socket docker",
        says=(r"did not answer|engine does not answer", r"What runs now|THE WAY BACK FAILED", AGAIN),
        away=True,
    ),
    "the host reboots while a copy serves": Fault(
        at="Recreate the service if it differs from its files",
        strike=reboot,
        says=(r"UNREACHABLE", r"Make sure this host can be reached"),
        next_says=TAKEN_OVER,
        away=True,
    ),
    "the connection is cut": Fault(
        at="Recreate the service if it differs from its files",
        # While it is in use: where it is not, Ansible makes another one.
        strike=on_droplet(
            "for i in $(seq 200); do pgrep -f 'compose .*up --detach' >&2 && break; sleep 0.05; done; "
            "pkill -KILL -f 'sshd(-session)?: root@notty' || pkill -KILL sshd-session"
        ),
        says=(r"UNREACHABLE", r"Make sure this host can be reached"),
        next_says=TAKEN_OVER,
    ),
    # Neither the new container nor the old one can be started: the copy is all that there is.
    "the port is taken while a copy serves": Fault(
        at="Recreate the service if it differs from its files",
        strike=on_droplet("systemd-run --quiet --collect --unit taken python3 -c '" + GRAB + "'"),
        undo="systemctl stop taken",
        says=(r"THE WAY BACK FAILED AS WELL", r"Connections are served by wealth_coach_backend-handover-", AGAIN),
    ),
    **{
        f"the run is killed: {task}": Fault(at=task, strike=kill, next_says=TAKEN_OVER)
        for task in (
            "Keep the present state",
            "Set the production settings",
            "Build the image while the old container serves",
            "Wait until the copy answers as a healthy one does",
            "Recreate the service if it differs from its files",
            "Lead new connections to the container again, and remove the copy",
            "Close the transaction with the state that is proven healthy",
        )
    },
    **{
        f"the way back is killed: {task}": Fault(
            **edit(MAIN, SLEEPS), next_says=TAKEN_OVER, at=task, strike=kill, variables=SOON
        )
        for task in (
            "Put the files of the snapshot back",
            "Recreate the service from the files, unless its container is there",
            "Close the transaction with the state that was restored",
        )
    },
    # The container of before the run is gone here, and has been made again.
    "the way back is killed after a recreate": Fault(
        f"cp -p {ROUTES} {KEPT}; {LIES}",
        f"cat {KEPT} > {ROUTES}",
        next_says=TAKEN_OVER,
        at="Close the transaction with the state that was restored",
        strike=kill,
        variables={**SOON, "deploy_strategy": "recreate"},
        away=True,
    ),
}


class Round:
    """One deployment with a fault, and its repetition without."""

    def __init__(self, droplet: Host) -> None:
        self.droplet = droplet
        self.wanted = f"round-{time.time_ns()}"

    def begin(self, fault: Fault) -> subprocess.Popen[str]:
        """Begin the run."""
        values = {"ENVIRONMENT": "production", "DEBUG": "false", "RATE_LIMIT_ENABLED": "true", "FAULT": self.wanted}
        variables = {**PLAIN, "production_env_values": values, **fault.variables}
        return self.droplet.playbook("apply", "--tags", fault.tag, *fault.options, **variables)

    def run(self, fault: Fault) -> tuple[int, str]:
        """Its exit status and what it printed, struck in the middle where that is wanted."""
        process = self.begin(fault)
        assert process.stdout is not None
        output, begun = [], 0
        for line in process.stdout:
            output.append(line)
            if fault.strike is not None and line.startswith("TASK") and f" : {fault.at}]" in line:
                begun += 1
                if begun == fault.time:
                    fault.strike(self.droplet, process)
        process.wait(timeout=60)
        assert fault.strike is None or begun >= fault.time, f"no task {fault.at}:\n{''.join(output)[-3000:]}"
        return process.returncode, "".join(output)

    def answers(self, seconds: float) -> bool:
        """Whether the application answers as a healthy one does, within some seconds."""
        end = time.monotonic() + seconds
        while True:
            try:
                with urllib.request.urlopen(f"{self.droplet.url}/api/v1/health", timeout=5) as answer:
                    if answer.read().decode() == HEALTHY:
                        return True
            except OSError:
                pass
            if time.monotonic() > end:
                return False
            time.sleep(0.5)

    def status(self, key: str) -> int:
        """What the application answers to somebody with this key."""
        request = urllib.request.Request(f"{self.droplet.url}/api/v1/search?q=saving", headers={"X-API-Key": key})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def env(self) -> str:
        """The environment file without the lines that the runs change, and that stay changed: a new secret does."""
        lines = self.droplet.sh(f"cat {ENV}").splitlines(keepends=True)
        return "".join(line for line in lines if not line.startswith(("FAULT=", "JWT_SECRET_KEY=")))

    def files(self) -> str:
        """What else there is in the project, but for git's own and backups: permissions, owner, content."""
        those = "-name .git -prune -o -not -path './.env*'"
        return self.droplet.sh(f"""
            cd {PROJECT}; find . {those} -printf '%p %y %m %U %G %l\\n' | sort
            find . {those} -type f -print0 | sort -z | xargs -0 sha256sum
        """)

    def secrets(self) -> set[str]:
        """What is secret in the environment file at this moment."""
        return set(SECRET.findall(self.droplet.sh(f"cat {ENV}")))

    def container(self) -> str:
        """Which container the service has."""
        return self.droplet.sh("docker ps -aq --filter name=^wealth_coach_backend$")

    def live(self) -> str:
        """The environment of the container."""
        return self.droplet.sh("docker inspect wealth_coach_backend -f '{{json .Config.Env}}'")

    def left_behind(self) -> str:
        """What a run has to take away again."""
        return self.droplet.sh(f"""
            docker ps -aq --filter label=composeops.hotfix.handover
            iptables -t nat -S | grep composeops || true
            find {PROJECT} -name '.*.tmp' -o -name '*.composeops-new'
            ls {STATE}/wealth-coach-ai/lock.json {STATE}/wealth-coach-ai/transaction.json 2>/dev/null || true
        """)


@pytest.fixture(scope="module", autouse=True)
def _comes_back(droplet: Host) -> None:
    """With a policy: without one, neither an engine that was stopped nor a reboot brings a container back.

    And with the production settings, so that each fault finds the same file, whichever is the first.
    """
    repair(droplet)
    status, output = Round(droplet).run(Fault(tag="restart_policy,env"))
    assert status == 0, output[-3000:]


def repair(droplet: Host) -> None:
    """A fault that failed is not to spoil the next one."""
    this = Round(droplet)
    if not this.answers(20):
        droplet.sh(f"cd {PROJECT}; docker compose --progress quiet up -d --build")
    assert this.answers(60)


@pytest.mark.parametrize("name", FAULTS)
def test_fault(droplet: Host, name: str, record_property: Callable[[str, object], None]) -> None:
    record_property("faults", len(FAULTS))
    fault, this = FAULTS[name], Round(droplet)
    repair(droplet)
    before, files = this.env(), this.files()
    owner = droplet.sh(f"stat -c '%a %u %g' {ENV}")
    secrets = this.secrets()
    assert secrets
    load = None if fault.away else droplet.load(rate=10, seconds=600)
    try:
        droplet.sh(fault.make)
        container = this.container()
        status, output = this.run(fault)
    finally:
        droplet.sh(fault.undo, check=False)
        asked = load.stop() if load is not None else {"failed": 0}
    assert (status != 0) is fault.fails, output[-3000:]
    output += "".join(SAID)
    SAID.clear()
    for text in fault.says:
        assert re.search(text, output), f"it does not say {text}:\n{output[-3000:]}"
    assert this.answers(90 if fault.away else 0), "the service does not answer"
    assert asked["failed"] == 0, asked
    assert this.env() == before
    assert this.files() == files
    assert this.container() == container or not fault.untouched
    if fault.stays:
        assert f'"FAULT={this.wanted}"' in this.live()
        assert "transaction.json" not in this.left_behind()
    assert droplet.sh(f"stat -c '%a %u %g' {ENV}") == owner
    # One that this run has made as well.
    secrets |= this.secrets()
    status, again = this.run(Fault(tag=fault.tag))
    assert status == 0, again[-3000:]
    for text in fault.next_says:
        assert re.search(text, again), f"the next run does not say {text}:\n{again[-3000:]}"
    assert not [secret for secret in secrets | this.secrets() if secret in output + again]
    assert this.answers(0)
    if fault.tag == "env":
        assert f'"FAULT={this.wanted}"' in this.live()
        assert (this.env(), this.files()) == (before, files)
    assert this.left_behind() == ""


def test_workers_that_are_changed_while_they_serve_leave_nothing_of_a_killed_run(droplet: Host) -> None:
    repair(droplet)
    this = Round(droplet)
    # The first wait is for the copy; by the second one the container is there as its files say.
    this.run(Fault(at="Wait until it answers as a healthy one does", time=2, strike=kill))
    assert this.answers(60)
    assert "composeops" in this.left_behind()
    identity = droplet.sh("docker inspect wealth_coach_backend -f '{{.Id}}'")
    live = {"workers_apply": "live", "workers_count": 3}
    status, output = this.run(Fault(tag="workers", variables=live))
    assert status == 0, output[-3000:]
    assert "while it serves, without a restart" in output
    assert droplet.sh("docker inspect wealth_coach_backend -f '{{.Id}}'") == identity
    assert this.answers(0)
    assert this.left_behind() == ""


@pytest.mark.parametrize(
    ("works_with_the_new_one", "says", "answer"),
    [(True, r"What runs now: what ran before, with the new values of .*VALID_API_KEYS", 401), (False, UNSAFE, 200)],
)
def test_an_old_key_is_taken_after_a_failure_only_where_nothing_else_works(
    droplet: Host, works_with_the_new_one: bool, says: str, answer: int
) -> None:
    repair(droplet)
    droplet.sh(f"cp -p {ENV} {KEPT}.env; cp -p {MAIN} {KEPT}")
    this, old = Round(droplet), "dev-key-that-is-old"
    deploy = f"""
        cd {PROJECT}; docker compose --progress quiet up -d --build backend
        until curl -sf -m 2 -o /dev/null http://127.0.0.1:8000/api/v1/health; do sleep 1; done
    """
    needs_old = f"import os, time; '{old}' in os.environ['VALID_API_KEYS'] or time.sleep(600)"
    before, after = ("", SLEEPS) if works_with_the_new_one else (needs_old, "")
    try:
        droplet.sh(f"""
            sed -i "s/^VALID_API_KEYS=.*/VALID_API_KEYS='[\\"{old}\\"]'/" {ENV}
            echo "{before}" >> {MAIN}
            {deploy}
            echo "{after}" >> {MAIN}
        """)
        assert this.status(old) == 200
        status, output = this.run(Fault(tag="keys", variables={**SOON, "api_keys_mobile_config": ""}))
        assert status != 0, output[-3000:]
        assert re.search(says, output), output[-3000:]
        assert this.status(old) == answer
        assert (old in droplet.sh(f"cat {ENV}")) is (answer == 200)
        [in_force] = re.findall(r"^VALID_API_KEYS=.*?([A-Za-z0-9_-]{12,})", droplet.sh(f"cat {ENV}"), re.MULTILINE)
        assert this.status(in_force) == 200
        assert old not in output and in_force not in output
    finally:
        droplet.sh(f"cat {KEPT} > {MAIN}; cat {KEPT}.env > {ENV}; {deploy}")
