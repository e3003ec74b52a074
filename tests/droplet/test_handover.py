# SPDX-License-Identifier: GPL-3.0-or-later
"""Handing over a service that publishes its ports, in each way in which an engine publishes them, while it is asked.

``make handover`` makes a droplet for it. The service is a small one; the whole application is handed over by the
Molecule scenarios and by ``make interruption``.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from host import Host

SHOP = "/opt/shop"
HERE = Path(__file__).parent
# Waits before it takes connections, as a real application does while it loads; answers /slow after some seconds.
SERVER = """
import http.server, os, signal, socket, threading, time
time.sleep(1)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path.startswith("/slow"):
            time.sleep(float(self.path.rpartition("=")[2]))
        body = b'{"status": "healthy"}' if self.path == "/health" else os.environ["GENERATION"].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words):
        pass
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
    request_queue_size = 128
    # server_close() waits for the requests that are under way.
    daemon_threads = False
servers = [Server(("::", port), Handler) for port in (8000, 8001)]
for server in servers:
    threading.Thread(target=server.serve_forever).start()
def stop(*words):
    for server in servers:
        threading.Thread(target=server.shutdown).start()
signal.signal(signal.SIGTERM, stop)
"""
COMPOSE: dict[str, Any] = {
    "services": {
        "web": {
            "image": "wealth-coach-python:3.13",
            "container_name": "shop_web",
            "command": ["python", "-c", SERVER],
            "environment": {"GENERATION": "1"},
            "ports": ["8000:8000"],
            "stop_grace_period": "20s",
        },
        "neighbour": {"image": "wealth-coach-python:3.13", "command": ["sleep", "infinity"], "init": True},
    }
}


WAIT = """
for attempt in $(seq 100); do
  for address in 127.0.0.1 $(hostname -i); do
    curl -sf -m 2 -o /dev/null "http://$address:8000/health" && exit
  done
  sleep 0.1
done
exit 1
"""


class Shop:
    """The small project on the droplet."""

    def __init__(self, droplet: Host, network: dict[str, Any] | None = None) -> None:
        self.droplet, self.network = droplet, network or {}

    def write(self, generation: int, **changes: Any) -> None:
        """Write its Compose file."""
        web = {**COMPOSE["services"]["web"], "environment": {"GENERATION": str(generation)}, **changes}
        project: dict[str, Any] = {
            "services": {**COMPOSE["services"], "web": web},
            "networks": {"default": self.network},
        }
        if "volumes" in changes:
            project["volumes"] = {"data": {}}
        self.droplet.write(f"{SHOP}/compose.yml", json.dumps(project))

    def up(self) -> None:
        """Bring it up as its file says, and wait until it answers."""
        self.droplet.sh(f"cd {SHOP}; docker compose --progress quiet up -d; {WAIT}")

    def handover(self, state: str, **options: Any) -> dict[str, Any]:
        """What the module says."""
        return self.droplet.module("handover", project_src=SHOP, service="web", state=state, **options)

    def wait_for(self, container: str | None = None) -> None:
        """Until a container answers at its own address."""
        which = {"container": container} if container else {"project_src": SHOP, "service": "web"}
        for _attempt in range(50):
            health = self.droplet.module(
                "health_probe",
                url="http://127.0.0.1:8000/health",
                body={"status": "healthy"},
                container_port=8000,
                **which,
            )
            if health["healthy"]:
                return
            time.sleep(0.2)
        raise AssertionError(health)

    def rules(self) -> str:
        """The rules of handovers on the droplet."""
        programs = "iptables-nft iptables-legacy ip6tables-nft ip6tables-legacy"
        return self.droplet.sh(
            f"for p in {programs}; do $p -t nat -S 2>/dev/null | grep composeops-hotfix-handover || true; done"
        )

    def hand_over(self, meanwhile: str = "true") -> tuple[dict[str, Any], dict[str, Any]]:
        """The whole of it, as role deploy does it: what leading there and leading back said.

        :param meanwhile: a shell script for the droplet, to run when the copy is healthy and not yet led to.
        """
        copy = self.handover("started")["stand_in"]
        self.wait_for(copy["id"])
        self.note("copy healthy")
        self.droplet.sh(meanwhile)
        there = self.handover("active")
        self.note("led there")
        self.droplet.sh(f"cd {SHOP}; docker compose --progress quiet up -d --no-deps web")
        self.note("recreated")
        self.wait_for()
        self.note("healthy")
        back = self.handover("absent")
        self.note("led back")
        return there, back

    def note(self, what: str) -> None:
        """Print when something was done, which is shown where a test fails."""
        print(f"{time.time():.3f} {what}")


class Clients:
    """Clients on the droplet and in a neighbour container that ask all the time."""

    def __init__(self, droplet: Host, addresses: list[str], neighbours: list[str]) -> None:
        text = (HERE / "client.py").read_text()
        droplet.write("/tmp/client.py", text)
        droplet.sh("rm -f /tmp/stop; docker exec shop-neighbour-1 rm -f /tmp/stop")
        self._droplet = droplet
        begin = ["docker", "exec", "-i", droplet.container]
        inside = [*begin, "docker", "exec", "-i", "shop-neighbour-1", "python", "-", *neighbours]
        self._processes = [
            subprocess.Popen([*begin, "python3", "/tmp/client.py", *addresses], stdout=subprocess.PIPE, text=True)
        ]
        if neighbours:
            self._processes.append(subprocess.Popen(inside, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            stream = self._processes[-1].stdin
            assert stream is not None
            stream.write(text)
            stream.close()
        time.sleep(1)

    def stop(self) -> dict[str, dict[str, Any]]:
        """Requests and failures for each address."""
        time.sleep(1)
        self._droplet.sh("touch /tmp/stop; docker exec shop-neighbour-1 touch /tmp/stop")
        found: dict[str, dict[str, Any]] = {}
        for process in self._processes:
            found.update(json.loads((process.stdout.read() if process.stdout else "") or "{}"))
            process.wait()
        return found


@pytest.fixture(scope="module")
def _free_port(droplet: Host) -> Iterator[None]:
    """The application of the droplet makes room for the small project, and comes back."""
    droplet.sh("docker stop wealth_coach_backend")
    yield
    droplet.sh("docker start wealth_coach_backend")


@pytest.fixture
def shop(droplet: Host, _free_port: None) -> Iterator[Shop]:
    """The small project, up in its first generation."""
    project = Shop(droplet)
    project.write(1)
    project.up()
    yield project
    project.handover("absent")
    assert not project.rules()
    droplet.sh(f"cd {SHOP}; docker compose --progress quiet down -t 1 -v; rm -rf {SHOP}")


class Engine(NamedTuple):
    """How the engine publishes ports."""

    daemon: dict[str, Any] = {}  # noqa: RUF012  (never changed)
    backend: str = "nft"
    six: bool = False
    network: dict[str, Any] = {}  # noqa: RUF012  (never changed)


SIX = {"ip6tables": True, "experimental": True}
NETWORK_6 = {"enable_ipv6": True, "ipam": {"config": [{"subnet": "fd00:d0c:1::/64"}]}}
ENGINES = {
    "as installed": Engine(),
    "without userland proxy": Engine({"userland-proxy": False}),
    "legacy iptables": Engine(backend="legacy"),
    "legacy iptables, without userland proxy": Engine({"userland-proxy": False}, "legacy"),
    "IPv6 to the proxy": Engine(SIX, six=True),
    "IPv6 to the container": Engine(SIX, six=True, network=NETWORK_6),
    "IPv6 to the container, without userland proxy": Engine({**SIX, "userland-proxy": False}, "nft", True, NETWORK_6),
}


@pytest.fixture
def engine(droplet: Host, _free_port: None) -> Iterator[Callable[[Engine], None]]:
    """Sets the engine up in another way, and as it was afterwards."""

    def set_up(kind: Engine) -> None:
        droplet.write("/etc/docker/daemon.json", json.dumps(kind.daemon))
        off = 0 if kind.six else 1
        droplet.sh(f"""
            systemctl stop docker.socket docker
            for program in iptables-nft iptables-legacy ip6tables-nft ip6tables-legacy; do
              $program -t nat -F; $program -t nat -X; $program -F; $program -X
            done
            update-alternatives --set iptables /usr/sbin/iptables-{kind.backend} >/dev/null
            update-alternatives --set ip6tables /usr/sbin/ip6tables-{kind.backend} >/dev/null
            sysctl -q -w net.ipv6.conf.all.disable_ipv6={off} net.ipv6.conf.lo.disable_ipv6={off}
            systemctl reset-failed docker.service
            systemctl start docker.socket docker
        """)

    yield set_up
    set_up(Engine())
    droplet.sh("rm /etc/docker/daemon.json")


@pytest.mark.parametrize("kind", ENGINES)
def test_no_request_is_lost(
    droplet: Host, engine: Callable[[Engine], None], kind: str, figure: Callable[[str], None]
) -> None:
    engine(ENGINES[kind])
    shop = Shop(droplet, ENGINES[kind].network)
    shop.write(1)
    shop.up()
    try:
        gateway = droplet.sh(
            "docker inspect shop_web -f '{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}'"
        ).strip()
        own = droplet.sh("hostname -i").split()[0]
        # Without the proxy the engine serves IPv6 from its own address, and not from ::1.
        loopback = ENGINES[kind].daemon.get("userland-proxy", True)
        six = [("[::1]" if loopback else "[fd00:d0c:1::1]") + ":8000"] if ENGINES[kind].six else []
        for address in six:
            # The bridge of a new network first makes sure that its address is not somebody else's.
            droplet.sh(f"curl -gsf --retry 20 --retry-delay 1 --retry-all-errors -o /dev/null http://{address}/health")
        load = droplet.load("/health", seconds=15)
        clients = Clients(droplet, ["127.0.0.1:8000", f"{own}:8000", *six], [f"{gateway}:8000"])
        shop.write(2)
        there, back = shop.hand_over()
        asked = clients.stop()
        outside = load.result()
        assert droplet.sh("curl -s http://127.0.0.1:8000/generation") == "2"
        assert not shop.rules()
        assert droplet.sh("docker ps -a --filter label=composeops.hotfix.handover -q") == ""
        assert outside["failed"] == 0 and outside["requests"] > 500, outside
        assert [result["failed"] for result in asked.values()] == [[] for _address in asked], asked
        assert len(asked) == 3 + len(six) and all(result["requests"] > 50 for result in asked.values()), asked
        assert there["drained"]["left"] == back["drained"]["left"] == 0
        total = outside["requests"] + sum(result["requests"] for result in asked.values())
        figure(f"engine {kind}: 0 of {total} requests failed")
    finally:
        shop.handover("absent")
        droplet.sh(f"cd {SHOP}; docker compose --progress quiet down -t 1 -v; rm -rf {SHOP}")


@pytest.mark.parametrize("bound", ["127.0.0.1", "own"])
def test_the_published_address_is_kept(droplet: Host, shop: Shop, bound: str) -> None:
    address = droplet.sh("hostname -i").split()[0] if bound == "own" else bound
    ports = [f"{address}:8000:8000"]
    shop.write(1, ports=ports)
    shop.up()
    clients = Clients(droplet, [f"{address}:8000"], [])
    shop.write(2, ports=ports)
    copy = shop.handover("started")["stand_in"]
    published = droplet.sh(f"docker port {copy['id']} 8000/tcp").strip()
    assert published.startswith(f"{address}:") and "\n" not in published
    shop.wait_for(copy["id"])
    shop.handover("active")
    assert droplet.sh(f"curl -s http://{address}:8000/generation") == "2"
    other = "127.0.0.1" if bound == "own" else droplet.sh("hostname -i").split()[0]
    assert "Could not connect" in droplet.sh(f"curl -sS http://{other}:8000/generation 2>&1 || true")
    droplet.sh(f"cd {SHOP}; docker compose --progress quiet up -d --no-deps web")
    shop.wait_for()
    shop.handover("absent")
    result = clients.stop()[f"{address}:8000"]
    assert result["failed"] == [] and result["requests"] > 50, result


def test_several_ports_are_handed_over_together(droplet: Host, shop: Shop) -> None:
    ports = ["8000:8000", "8100:8001", "8200:8000"]
    shop.write(1, ports=ports)
    shop.up()
    clients = Clients(droplet, [f"127.0.0.1:{port}" for port in (8000, 8100, 8200)], [])
    shop.write(2, ports=ports)
    copy = shop.handover("started")["stand_in"]
    shop.wait_for(copy["id"])
    shop.handover("active")
    said = [droplet.sh(f"curl -s http://127.0.0.1:{port}/generation") for port in (8000, 8100, 8200)]
    assert said == ["2", "2", "2"]
    droplet.sh(f"cd {SHOP}; docker compose --progress quiet up -d --no-deps web")
    shop.wait_for()
    shop.handover("absent")
    asked = clients.stop()
    assert [result["failed"] for result in asked.values()] == [[], [], []], asked


def test_a_request_under_way_ends_by_itself(droplet: Host, shop: Shop) -> None:
    shop.write(2)
    there, _back = shop.hand_over(
        "(curl -s 'http://127.0.0.1:8000/slow?s=12'; echo \" $?\") </dev/null >/tmp/slow 2>&1 &"
    )
    assert there["drained"]["open"] == 1 and there["drained"]["left"] == 0
    # The first generation answered it, although the second one serves by now.
    assert droplet.sh("cat /tmp/slow").strip() == "1 0"


def test_what_does_not_end_in_time_is_counted(droplet: Host, shop: Shop) -> None:
    droplet.sh("(curl -s 'http://127.0.0.1:8000/slow?s=60' </dev/null >/dev/null 2>&1 &)")
    shop.write(2)
    copy = shop.handover("started")["stand_in"]
    shop.wait_for(copy["id"])
    drained = shop.handover("active", drain_timeout=2)["drained"]
    assert (drained["open"], drained["left"]) == (1, 1)
    assert 2 <= drained["seconds"] < 30


def test_rules_go_when_the_copy_dies_without_anybody_at_work(droplet: Host, shop: Shop) -> None:
    shop.write(2)
    copy = shop.handover("started")["stand_in"]
    shop.wait_for(copy["id"])
    shop.handover("active")
    assert shop.rules()
    assert droplet.sh("curl -s http://127.0.0.1:8000/generation") == "2"
    droplet.sh(f"docker kill --signal KILL {copy['id']}; sleep 1")
    assert not shop.rules()
    assert droplet.sh("curl -s http://127.0.0.1:8000/generation") == "1"


def test_a_copy_that_serves_is_used_by_the_next_run(droplet: Host, shop: Shop) -> None:
    shop.write(2)
    copy = shop.handover("started")["stand_in"]
    shop.wait_for(copy["id"])
    shop.handover("active")
    # The run was killed in the middle of the recreate.
    droplet.sh("docker rm -f shop_web")
    again = shop.handover("started")
    assert (again["stand_in"]["id"], again["active"], again["changed"]) == (copy["id"], True, False)
    assert droplet.sh("curl -s http://127.0.0.1:8000/generation") == "2"
    droplet.sh(f"cd {SHOP}; docker compose --progress quiet up -d --no-deps web")
    shop.wait_for()
    assert shop.handover("absent")["changed"]
    assert not shop.handover("absent")["changed"]


def test_a_copy_that_never_served_is_removed_by_the_next_run(droplet: Host, shop: Shop) -> None:
    shop.write(2)
    first = shop.handover("started")["stand_in"]
    second = shop.handover("started")["stand_in"]
    assert first["id"] != second["id"]
    assert droplet.sh("docker ps -aq --no-trunc --filter label=composeops.hotfix.handover").split() == [second["id"]]


def test_nothing_is_started_where_nothing_changes(shop: Shop) -> None:
    result = shop.handover("started")
    assert (result["possible"], result["needed"], result["stand_in"], result["changed"]) == (True, False, None, False)
    assert shop.handover("started", force=True)["stand_in"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"labels": {"composeops.hotfix.exclusive": "true"}}, "declared exclusive"),
        ({"volumes": ["data:/data"]}, "would write to the same data"),
        ({"ports": ["8000:8000", "8000:8000/udp"]}, "publishes a port of udp"),
        ({"ports": ["8000"]}, "chooses the number"),
        ({"network_mode": "host", "ports": []}, "no network of its own"),
    ],
)
def test_what_speaks_against_it_is_said(shop: Shop, changes: dict[str, Any], why: str) -> None:
    shop.write(1, **changes)
    shop.droplet.sh(f"cd {SHOP}; docker compose --progress quiet up -d")
    result = shop.handover("started", force=True)
    assert not result["possible"] and result["stand_in"] is None
    assert why in "; ".join(result["reasons"])
    refused = shop.handover("started", force=True, required=True)
    assert why in refused["msg"] and "deploy_strategy: recreate" in refused["msg"]


def test_an_engine_that_leaves_the_rules_alone_is_recognised(droplet: Host, shop: Shop) -> None:
    shop.write(2)
    droplet.sh("iptables -t nat -S DOCKER > /tmp/rules; iptables -t nat -F DOCKER")
    result = shop.handover("started")
    droplet.sh("grep '^-A' /tmp/rules | while read -r rule; do eval iptables -t nat $rule; done")
    assert not result["possible"] and "not to be seen with iptables" in result["reasons"][0]
