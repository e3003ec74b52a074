# SPDX-License-Identifier: GPL-3.0-or-later
"""Replacing a service behind nginx, Caddy or Traefik while it is asked, and after runs that were killed at each point.

``make rolling`` makes a droplet for it. The service is a small one; the whole application is replaced by the Molecule
scenario ``rolling`` and by ``make interruption``.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
from host import BIN, CHECKOUT, Host
from test_handover import SERVER

SHOP = "/opt/shop"
WEB, PROXY = "shop-web-1", "shop-proxy-1"
# Keeps connections open, and tries nothing twice: each mistake is one that a client sees.
NGINX = """
upstream web { server web:8000; keepalive 8; keepalive_timeout 2s; }
server {
    listen 8000;
    location / {
        proxy_pass http://web;
        proxy_http_version 1.1;
        proxy_next_upstream off;
        proxy_set_header Connection "";
    }
}
"""
CADDY = """
{
    auto_https off
}
:8000 {
    reverse_proxy web:8000
}
"""
SHORT_CADDY = CADDY.replace(
    "web:8000\n", "web:8000 {\n        transport http {\n            keepalive off\n        }\n    }\n"
)
TRAEFIK = """
entryPoints:
  shop:
    address: ":8000"
providers:
  docker:
    exposedByDefault: false
"""
# The image, where it reads its configuration, and what that is.
PROXIES = {
    "nginx": ("nginx:1", "/etc/nginx/conf.d/shop.conf", NGINX),
    "caddy": ("caddy:2", "/etc/caddy/Caddyfile", CADDY),
    "traefik": ("traefik:3", "/etc/traefik/traefik.yml", TRAEFIK),
}
SOCKET = "/var/run/docker.sock:/var/run/docker.sock:ro"
ASK = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=2)"
# What the service needs in addition for a proxy to find it.
SERVICE: dict[str, dict[str, Any]] = {
    "traefik": {
        "labels": {
            "traefik.enable": "true",
            "traefik.http.routers.shop.rule": "PathPrefix(`/`)",
            "traefik.http.services.shop.loadbalancer.server.port": "8000",
        },
        "healthcheck": {"test": ["CMD", "python", "-c", ASK], "interval": "1s"},
    }
}


class Shop:
    """The small project on the droplet."""

    def __init__(self, droplet: Host) -> None:
        self.droplet = droplet

    def write(self, generation: int, proxy: str = "", *, kind: str = "nginx", **changes: Any) -> None:
        """Write its files.

        :param proxy: another configuration for the proxy than the one of ``PROXIES``.
        """
        web = {
            "image": "wealth-coach-python:3.13",
            "command": ["python", "-c", SERVER],
            "environment": {"GENERATION": str(generation)},
            "stop_grace_period": "20s",
            "restart": "unless-stopped",
            **SERVICE.get(kind, {}),
            **changes,
        }
        image, path, configuration = PROXIES[kind]
        before = {
            "image": image,
            "ports": ["8000:8000"],
            "depends_on": ["web"],
            "volumes": [f"./proxy.conf:{path}:ro", *([SOCKET] if kind == "traefik" else [])],
        }
        project: dict[str, Any] = {"services": {"web": web, "proxy": before}}
        if "volumes" in changes:
            project["volumes"] = {"data": {}}
        self.droplet.write(f"{SHOP}/proxy.conf", proxy or configuration)
        self.droplet.write(f"{SHOP}/compose.yml", json.dumps(project))

    def up(self) -> None:
        """Bring it up as its file says, and wait until it answers."""
        self.droplet.sh(f"cd {SHOP}; docker compose --progress quiet up -d")
        self.wait()

    def wait(self, url: str = "http://127.0.0.1:8000/health") -> None:
        """Wait until it answers, through the proxy unless told otherwise."""
        ask = f"curl -sf -m 2 -o /dev/null {url} && exit"
        self.droplet.sh(f"for i in $(seq 100); do {ask}; sleep 0.1; done; exit 1")

    def rolling(self, state: str, *, check: bool = False, **options: Any) -> dict[str, Any]:
        """What the module says."""
        return self.droplet.module("rolling", project_src=SHOP, service="web", state=state, check=check, **options)

    def start(self) -> dict[str, Any]:
        """Start a new container, and wait until it is healthy."""
        started = self.rolling("started")
        assert started.get("incoming"), started
        ask = {"url": "http://127.0.0.1:8000/health", "body": {"status": "healthy"}}
        where = {"container": started["incoming"]["id"], "container_port": started["port"]}
        for _attempt in range(50):
            health = self.droplet.module("health_probe", **ask, **where)
            if health["healthy"]:
                return started
            time.sleep(0.2)
        raise AssertionError(health)

    def containers(self) -> dict[str, str]:
        """All containers of the project, with their IDs."""
        words = "docker ps -a --no-trunc --filter label=com.docker.compose.project=shop --format '{{.Names}} {{.ID}}'"
        return dict(line.split() for line in self.droplet.sh(words).splitlines())

    def address(self) -> str:
        """The address of the service's container."""
        where = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return self.droplet.sh(f"docker inspect --format '{where}' {WEB}").strip()

    def policy(self, container: str) -> str:
        """The restart policy of a container."""
        return self.droplet.sh(f"docker inspect --format '{{{{.HostConfig.RestartPolicy.Name}}}}' {container}").strip()

    def rules(self) -> str:
        """The rules of rolling replacements in the proxy's network."""
        pid = self.droplet.sh(f"docker inspect --format '{{{{.State.Pid}}}}' {PROXY}").strip()
        return self.droplet.sh(
            f"nsenter --net=/proc/{pid}/ns/net -- iptables -t nat -S | grep composeops-hotfix || true"
        )

    def generation(self) -> str:
        """What the service answers through the proxy."""
        return self.droplet.sh("curl -sf -m 5 http://127.0.0.1:8000/")


@pytest.fixture(scope="module")
def _proxied(droplet: Host) -> Iterator[None]:
    """The application of the droplet makes room for the small project, and comes back."""
    play = [str(BIN / "ansible-playbook"), "droplet/proxy.yml", "-e", f"droplet_name={os.environ['DROPLET']}"]
    for kind in PROXIES:
        subprocess.run([*play, "-e", f"droplet_proxy={kind}"], cwd=CHECKOUT, check=True, capture_output=True)
    droplet.sh("docker stop wealth_coach_backend")
    yield
    droplet.sh("docker start wealth_coach_backend")


@pytest.fixture
def shop(droplet: Host, _proxied: None) -> Iterator[Shop]:
    """The small project, up in its first generation."""
    project = Shop(droplet)
    project.write(1)
    project.up()
    yield project
    droplet.sh("docker rm --force squatter", check=False)
    droplet.sh(f"cd {SHOP}; docker compose --progress quiet down -t 1 -v; rm -rf {SHOP}")


@pytest.mark.parametrize("kind", PROXIES)
def test_no_request_is_lost_and_compose_sees_its_own_container(droplet: Host, shop: Shop, kind: str) -> None:
    if kind != "nginx":
        shop.write(1, kind=kind)
        shop.up()
    before = shop.containers()
    load = droplet.load("/", seconds=15)
    time.sleep(2)
    shop.write(2, kind=kind)
    incoming = shop.start()["incoming"]
    assert incoming["name"] == f"{WEB}-incoming"
    assert shop.policy(incoming["id"]) == "no"
    # Traefik sends requests to whatever the engine calls healthy.
    assert shop.generation() == "1" or kind == "traefik"
    done = shop.rolling("active")
    assert done["changed"] and done["drained"]["left"] == 0
    result = load.result()
    assert (result["failed"], result["statuses"]) == (0, {"200": result["requests"]})
    assert shop.containers() == {**before, WEB: incoming["id"]}
    assert (shop.generation(), shop.rules()) == ("2", "")
    assert shop.policy(WEB) == "unless-stopped"
    was = shop.containers()
    droplet.sh(f"cd {SHOP}; docker compose --progress quiet up -d")
    assert shop.containers() == was
    again = shop.rolling("started")
    assert (again["possible"], again["needed"], again["changed"], again["incoming"]) == (True, False, False, None)


@pytest.fixture
def caddy(shop: Shop) -> Shop:
    """The small project behind a Caddy that looks the service's name up for each request."""
    shop.write(1, SHORT_CADDY, kind="caddy")
    shop.up()
    return shop


def test_caddy_opens_nothing_to_the_new_one_before_that_takes_over(caddy: Shop) -> None:
    caddy.write(2, SHORT_CADDY, kind="caddy")
    caddy.start()
    assert {caddy.generation() for _request in range(20)} == {"1"}
    caddy.rolling("active")
    assert {caddy.generation() for _request in range(20)} == {"2"}
    assert caddy.rules() == ""


def test_caddy_may_again_when_the_new_one_is_taken_away(droplet: Host, caddy: Shop) -> None:
    caddy.write(2, SHORT_CADDY, kind="caddy")
    new = caddy.start()["incoming"]
    droplet.sh(f"docker restart -t 1 {new['name']}")
    assert caddy.rules() and {caddy.generation() for _request in range(20)} == {"1"}
    caddy.rolling("absent")
    assert caddy.rules() == ""


def test_caddy_may_when_the_old_one_is_gone_without_anybody_at_work(droplet: Host, caddy: Shop) -> None:
    caddy.write(2, SHORT_CADDY, kind="caddy")
    caddy.start()
    assert caddy.rules()
    droplet.sh(f"docker rm --force {WEB}")
    for _attempt in range(100):
        if not caddy.rules():
            break
        time.sleep(0.1)
    assert caddy.generation() == "2"


NAMES_LOOKED_UP = """
server {
    listen 8000;
    location / {
        resolver 127.0.0.11 valid=1s;
        set $web web;
        proxy_pass http://$web:8000;
    }
}
"""


@pytest.mark.parametrize("configuration", [NAMES_LOOKED_UP, ""], ids=["with a resolver", "reloaded"])
def test_nginx_opens_nothing_to_the_new_one_before_that_takes_over(
    droplet: Host, shop: Shop, configuration: str
) -> None:
    configuration = configuration or NGINX.replace("proxy_next_upstream off;", "")
    shop.write(1, configuration)
    droplet.sh(f"docker exec {PROXY} nginx -s reload; sleep 1")
    shop.write(2, configuration)
    shop.start()
    droplet.sh(f"docker exec {PROXY} nginx -s reload; sleep 2")
    assert {shop.generation() for _request in range(20)} == {"1"}
    shop.rolling("active")
    assert {shop.generation() for _request in range(20)} == {"2"}
    assert shop.rules() == ""


def test_nginx_is_led_where_a_copy_takes_the_published_port(droplet: Host, shop: Shop) -> None:
    published = {"ports": ["127.0.0.1:9000:8000"]}
    shop.write(1, **published)
    shop.up()
    shop.write(2, **published)
    load = droplet.load("/", seconds=30)
    handover = {"project_src": SHOP, "service": "web"}
    copy = droplet.module("handover", state="started", **handover)["stand_in"]
    shop.wait(f"http://{copy['address']}:8000/health")
    droplet.module("handover", state="active", **handover)
    # Somebody else has the old address meanwhile.
    squat = "docker run -d --rm --name squatter --network shop_default wealth-coach-python:3.13 sleep 300"
    droplet.sh(f"docker rm -f {WEB}; {squat}")
    droplet.sh(f"cd {SHOP}; docker compose --progress quiet up -d --no-deps web; sleep 3")
    done = droplet.module("handover", state="absent", **handover)
    assert (done["interrupted"], shop.rules()) == ([], "")
    assert shop.generation() == "2"
    result = load.result()
    assert (result["failed"], result["statuses"]) == (0, {"200": result["requests"]})


def test_a_request_under_way_ends_by_itself(droplet: Host, shop: Shop) -> None:
    shop.write(2)
    shop.start()
    url = f"{droplet.url}/slow=16"
    with subprocess.Popen(["curl", "-s", "-m", "30", "-w", " %{http_code}", url], stdout=subprocess.PIPE) as slow:
        time.sleep(0.5)
        done = shop.rolling("active")
        answer = slow.communicate()[0].decode()
    assert answer == "1 200"
    assert done["drained"]["open"] >= 1 and done["drained"]["left"] == 0


def test_a_container_that_does_not_take_over_leaves_the_old_one_alone(droplet: Host, shop: Shop) -> None:
    before = shop.containers()
    shop.write(2, command=["sleep", "infinity"], init=True)
    assert shop.rolling("started")["incoming"]
    assert shop.rolling("absent")["changed"]
    assert shop.containers() == before
    assert shop.generation() == "1"
    assert not shop.rolling("absent")["changed"]


# What a run leaves that is killed: after it has started a container, within the takeover, and within its end.
KILLED = {
    "made and not started": "docker stop -t 1 {new}; docker rename {new} shop-web-7; docker rm {new}",
    "started": "true",
    "first name changed": "docker rename {old} {web}-outgoing",
    "both names changed": "docker rename {old} {web}-outgoing; docker rename {new} {web}",
    "old one stopped": "docker rename {old} {web}-outgoing; docker rename {new} {web}; docker stop {old}",
}


@pytest.mark.parametrize("point", KILLED)
def test_the_next_run_completes_what_was_killed(droplet: Host, shop: Shop, point: str) -> None:
    before = shop.containers()
    shop.write(2)
    new = shop.start()["incoming"]["id"]
    if point == "old one stopped":
        # nginx knows both then.
        droplet.sh(f"docker exec {PROXY} nginx -s reload; sleep 1")
    droplet.sh(KILLED[point].format(old=before[WEB], new=new, web=WEB))
    if point == "made and not started":
        droplet.sh(f"cd {SHOP}; docker compose --progress quiet up --no-start --no-recreate --scale web=2 web")
    load = droplet.load("/", seconds=18) if point != "old one stopped" else None
    # Whoever looks for the service's container finds the one that serves.
    found = droplet.module("container_info", project_src=SHOP, service="web")["container"]["id"]
    assert found == (before[WEB] if point in ("made and not started", "started") else new)
    started = shop.rolling("started")
    if started["incoming"]:
        shop.start()
        shop.rolling("active")
    after = shop.containers()
    assert sorted(after) == sorted(before) and after[WEB] != before[WEB]
    if point != "made and not started":
        assert after[WEB] == new
    assert (shop.generation(), shop.rules()) == ("2", "")
    if load is not None:
        assert load.result()["failed"] == 0


@pytest.mark.parametrize("point", ["started", "first name changed", "both names changed"])
def test_after_a_reboot_one_of_them_serves_and_the_next_run_completes_it(droplet: Host, shop: Shop, point: str) -> None:
    before = shop.containers()
    shop.write(2)
    new = shop.start()["incoming"]["id"]
    if point != "started":
        # What the takeover begins with.
        droplet.sh(f"docker update --restart=unless-stopped {new}")
    droplet.sh(KILLED[point].format(old=before[WEB], new=new, web=WEB))
    droplet.reboot()
    running = droplet.sh("docker ps --no-trunc --format '{{.ID}}'").split()
    assert (before[WEB] in running, new in running) == (True, point != "started")
    droplet.sh(f"docker start {PROXY}")
    shop.wait()
    assert shop.generation() == "1" or point != "started"
    if shop.rolling("started")["needed"]:
        shop.start()
        shop.rolling("active")
    after = shop.containers()
    assert sorted(after) == sorted(before) and after[WEB] != before[WEB]
    assert after[WEB] == new or point == "started"
    assert (shop.generation(), shop.rules(), shop.policy(WEB)) == ("2", "", "unless-stopped")


def test_a_new_one_that_is_the_only_one_left_is_the_service_s(droplet: Host, shop: Shop) -> None:
    shop.write(2)
    new = shop.start()["incoming"]["id"]
    droplet.sh(f"docker rm --force {WEB}")
    started = shop.rolling("started")
    assert (started["needed"], started["incoming"], started["changed"]) == (False, None, True)
    assert shop.containers()[WEB] == new
    assert (shop.generation(), shop.rules(), shop.policy(WEB)) == ("2", "", "unless-stopped")


def test_an_old_one_goes_on_when_what_was_to_take_over_ends_again_and_again(droplet: Host, shop: Shop) -> None:
    before = shop.containers()
    shop.write(2)
    new = shop.start()["incoming"]["id"]
    droplet.sh(KILLED["both names changed"].format(old=before[WEB], new=new, web=WEB))
    process = f"$(docker inspect --format '{{{{.State.Pid}}}}' {new})"
    droplet.sh(f"docker update --restart=always {new}; kill -9 {process}; sleep 2")
    shop.write(1)
    assert shop.rolling("absent")["changed"]
    assert shop.containers() == before
    assert shop.generation() == "1"


def test_an_old_one_goes_on_when_what_was_to_take_over_is_gone(droplet: Host, shop: Shop) -> None:
    before = shop.containers()
    shop.write(2)
    new = shop.start()["incoming"]["id"]
    droplet.sh(KILLED["both names changed"].format(old=before[WEB], new=new, web=WEB) + f"; docker rm -f {new}")
    shop.write(1)
    assert shop.rolling("absent")["changed"]
    assert shop.containers() == before
    assert shop.generation() == "1"


def test_nginx_finds_a_container_that_was_made_again(droplet: Host, shop: Shop) -> None:
    kept = {"project_src": SHOP, "state_dir": "/tmp/shop-state"}
    snapshot = droplet.module("snapshot", files=["compose.yml"], container=WEB, **kept)
    assert snapshot["container"] == shop.containers()[WEB]
    shop.write(2)
    shop.start()
    shop.rolling("active")
    known = shop.address()
    made = droplet.module("container_restore", service="web", snapshot=snapshot["id"], **kept)
    droplet.sh("rm -r /tmp/shop-state")
    assert shop.address() != known
    assert shop.containers()[WEB] == made["id"]
    shop.wait()
    assert shop.generation() == "1"
    shop.write(1)
    droplet.sh(f"cd {SHOP}; docker compose --progress quiet up -d")
    assert shop.containers()[WEB] == made["id"]


def test_another_strategy_finds_one_container(droplet: Host, shop: Shop) -> None:
    before = shop.containers()
    shop.write(2)
    new = shop.start()["incoming"]["id"]
    droplet.sh(KILLED["both names changed"].format(old=before[WEB], new=new, web=WEB))
    assert shop.rolling("absent")["changed"]
    assert shop.containers() == {**before, WEB: new}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"container_name": "shop_web"}, "its name is fixed"),
        ({"ports": ["9000:8000"]}, "it publishes ports itself"),
        ({"volumes": ["data:/data"]}, "two copies would write to the same data"),
        ({"labels": {"composeops.hotfix.exclusive": "true"}}, "declared exclusive"),
        (
            {"proxy": "server { listen 8000; return 200; }"},
            "no nginx, Traefik or Caddy of the project that leads to it",
        ),
        ({"proxy": f"{NGINX} nonsense;"}, "no nginx, Traefik or Caddy of the project that leads to it"),
    ],
)
def test_what_speaks_against_it_is_said(shop: Shop, changes: dict[str, Any], why: str) -> None:
    before = shop.containers()
    shop.write(2, **changes)
    asked = shop.rolling("started", check=True)
    assert (asked["possible"], asked["changed"]) == (False, False)
    assert why in "; ".join(asked["reasons"])
    refused = shop.rolling("started", required=True)
    assert why in refused["msg"]
    assert shop.containers() == before


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"healthcheck": {"disable": True}}, "it has no health check"),
        (
            {"labels": {**SERVICE["traefik"]["labels"], "traefik.http.routers.shop.priority": "7"}},
            "with different labels (traefik.http.routers.shop.priority)",
        ),
    ],
)
def test_what_speaks_against_it_behind_traefik_is_said(shop: Shop, changes: dict[str, Any], why: str) -> None:
    shop.write(1, kind="traefik")
    shop.up()
    shop.write(2, kind="traefik", **changes)
    asked = shop.rolling("started")
    assert (asked["possible"], asked["changed"]) == (False, False)
    assert why in "; ".join(asked["reasons"])


def test_a_volume_without_a_name_is_kept(droplet: Host, shop: Shop) -> None:
    shop.write(1, volumes=["/data"])
    shop.up()
    droplet.sh(f"docker exec {WEB} touch /data/kept")
    shop.write(2, volumes=["/data"])
    asked = shop.rolling("started")
    assert (asked["possible"], asked["changed"]) == (False, False)
    assert "without what is in /data, a volume without a name" in "; ".join(asked["reasons"])
    # As the other strategy does.
    shop.up()
    assert shop.generation() == "2"
    droplet.sh(f"docker exec {WEB} test -e /data/kept")


def test_the_rule_goes_when_the_new_one_dies_without_anybody_at_work(droplet: Host, shop: Shop) -> None:
    shop.write(2)
    new = shop.start()["incoming"]["id"]
    # Killed as soon as the rule is there; Ansible passes the module to Python through a pipe.
    command = [str(BIN / "ansible"), "-i", str(droplet.inventory), "droplet", "-m", "composeops.hotfix.rolling", "-a"]
    options = json.dumps({"project_src": SHOP, "service": "web", "state": "active"})
    with subprocess.Popen([*command, options], cwd=CHECKOUT, stdout=subprocess.DEVNULL) as run:
        for _attempt in range(200):
            if new[:12] in shop.rules():
                droplet.sh("pkill -9 -xf /usr/bin/python3")
                break
            time.sleep(0.02)
        run.wait()
    assert new[:12] in shop.rules()
    droplet.sh(f"docker kill {new}")
    for _attempt in range(100):
        if not shop.rules():
            return
        time.sleep(0.1)
    raise AssertionError(shop.rules())
