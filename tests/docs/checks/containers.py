"""What the guide promises of the containers: several servers at work, and that they come back."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import psutil

from checks.common import after
from checks.services import await_ready, client_address, see_health
from parsec_stack import client, docker, probes, smoke
from parsec_stack.engine import engine
from parsec_stack.services import SERVICES
from parsec_stack.verify.stack_site import StackSite

POLL = 0.05
# As the server's healthcheck does it: every process but the first and its own.
KILL_ALL = "import os, signal; os.kill(-1, signal.SIGKILL)"
# Creates an organization from inside a server's container, and prints the answer.
CREATE = """
import http.client, os, ssl
context = ssl.create_default_context(cafile="/run/secrets/custom-ca.crt")
server = http.client.HTTPSConnection("localhost", 6777, timeout=20, context=context)
token = os.environ["PARSEC_ADMINISTRATION_TOKEN"]
headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
body = '{"organization_id": "Crossing"}'
server.request("POST", "/administration/organizations", body, headers)
print(server.getresponse().read().decode())
"""
REPLICAS = 3
CLIENTS = 4
REQUESTS = 25
# In seconds: the proxy needs a moment to see that a lost server's address is nobody's now.
CLIENT_WAITS = 20.0


def replicas(site: StackSite) -> list[Any]:
    """The containers of the Parsec server that run."""
    labels = [f"{docker.PROJECT}={site.stack.project}", f"{docker.SERVICE}=parsec-server"]
    return list(engine().containers.list(filters={"label": labels}))


def ask(site: StackSite, path: str = "/") -> int | None:
    """What the proxy answers, to a client who can wait."""
    ca_file = site.folder / "custom-ca.crt"
    return probes.status(site.stack.ports["PROXY"], path, ca_file, timeout=CLIENT_WAITS)


def process_of(site: StackSite, service: str, other_than: int = 0) -> int:
    """The process that the service's container runs, once it runs one."""
    deadline = time.monotonic() + site.patience
    while True:
        container = docker.containers(site.stack)[service]
        container.reload()
        pid = int(container.attrs["State"]["Pid"])
        if pid not in (0, other_than):
            return pid
        assert time.monotonic() < deadline, f"{service} does not come back"
        time.sleep(POLL)


@after("ping-mail-docker")
def what_dies_is_restarted(site: StackSite) -> None:
    """Containers whose programs die, all at once, come back, the store with today's options."""
    here = docker.containers(site.stack)
    here["parsec-s3"].exec_run(["sh", "-c", "echo s3.port=1 >/data/mini.options"])
    killed = {service: process_of(site, service) for service in SERVICES}
    if os.geteuid() != 0:  # nobody else may kill what containers run
        killed = {"parsec-server": killed["parsec-server"]}
    for service, pid in killed.items():
        if service == "parsec-server":
            here[service].exec_run(["python", "-c", KILL_ALL])
        else:
            os.kill(pid, signal.SIGKILL)
    for service, pid in killed.items():
        process_of(site, service, other_than=pid)
    await_ready(site, SERVICES)


@after("scale-docker", "minio-docker", "minio-back-docker", "mailhog-docker", "mailhog-back-docker")
def compose_waits_for_health(site: StackSite) -> None:
    """When the command ends, all containers are healthy."""
    see_health(site)


@after("scale-docker")
def requests_are_spread(site: StackSite) -> None:
    """Every one of the servers gets some of the proxy's requests."""
    mark = f"/?spread-{os.getpid()}"
    deadline = time.monotonic() + site.patience
    while True:
        answers = {ask(site, mark) for _ in range(4 * REPLICAS)}
        served = [mark in container.logs(tail=500).decode() for container in replicas(site)]
        if answers == {200} and len(served) == REPLICAS and all(served):
            return
        told = f"of {len(served)} servers {sum(served)} were asked, with {answers}"
        assert time.monotonic() < deadline, told
        time.sleep(POLL)


@after("scale-docker")
def events_cross_between_servers(site: StackSite) -> None:
    """A client hears from one server what happened on another."""
    proxy = smoke.server_of(site.stack, "PROXY")
    said = replicas(site)[0].exec_run(["python", "-c", CREATE])
    assert said.exit_code == 0, "no organization can be created in a container"
    device = client.bootstrap(proxy, json.loads(said.output)["bootstrap_url"], "docs-test")
    # Each new connection of the proxy's goes to another server than the one before.
    for _ in range(REPLICAS):
        with smoke.by_http1(proxy, device) as lines:
            smoke.await_event(lines)
            client.create_realm(proxy, device)
            assert smoke.await_event(lines) == "RealmCertificate"


@after("scale-docker")
def a_lost_server_costs_no_request(site: StackSite) -> None:
    """One of the servers is killed under load, and every request is answered."""
    doomed = replicas(site)[0]

    def load(number: int) -> list[int | None]:
        answers = [ask(site) for _ in range(REQUESTS)]
        if number == 0:
            doomed.kill()
        return answers + [ask(site) for _ in range(REQUESTS)]

    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = [answer for some in pool.map(load, range(CLIENTS)) for answer in some]
    assert len(replicas(site)) == REPLICAS - 1
    wrong = [answer for answer in answers if answer != 200]
    assert not wrong, f"{len(wrong)} of {len(answers)} requests failed, with {set(wrong)}"


@after("proxy-check-docker")
def the_proxy_tells_who_asks(site: StackSite) -> None:
    """Through the proxy the server sees where Docker lets this machine's clients come from."""
    line = client_address(site, "127.0.0.2", site.stack.ports["PROXY"])
    assert f"{network_of(site, 'parsec-proxy', 'local')['Gateway']}:" in line, line


@after("proxy-check-docker")
def this_machine_is_not_believed(site: StackSite) -> None:
    """A client on this machine that goes round the proxy is not believed what it claims to be."""
    line = client_address(site, "127.0.0.3", site.stack.ports["SERVER"])
    assert f"{network_of(site, 'parsec-server', 'edge')['Gateway']}:" in line, line


@after("proxy-check-docker")
def the_proxys_network_is_trusted_alone(site: StackSite) -> None:
    """The server trusts the network that it shares with the proxy, where nobody else is."""
    name = network_of(site, "parsec-server", "upstream")["NetworkID"]
    network = engine().networks.get(name).attrs
    (trusted,) = [pool["Subnet"] for pool in network["IPAM"]["Config"]]
    found = docker.containers(site.stack)
    log = found["parsec-server"].logs().decode()
    told = re.findall(r'"proxy_trusted_addresses": "\'(\S+)\'"', log)
    assert told[-1:] == [trusted], f"{told} are trusted, not {trusted}"
    assert set(network["Containers"]) == {found["parsec-proxy"].id, found["parsec-server"].id}
    ours = [one for of in psutil.net_if_addrs().values() for one in of]
    inside = [
        one.address
        for one in ours
        if one.family == socket.AF_INET and ip_address(one.address) in ip_network(trusted)
    ]
    assert not inside, f"this machine is in the network as {inside}"


@after("proxy-check-docker")
def the_server_has_a_way_out(site: StackSite) -> None:
    """What the server sends elsewhere goes through the one network that leads there."""
    gateway = network_of(site, "parsec-server", "edge")["Gateway"]
    server = docker.containers(site.stack)["parsec-server"]
    table = server.exec_run(["cat", "/proc/net/route"]).output.decode()
    routes = [line.split() for line in table.splitlines()[1:]]
    out = [bytes.fromhex(route[2])[::-1] for route in routes if int(route[1], 16) == 0]
    assert out == [ip_address(gateway).packed], table


def network_of(site: StackSite, service: str, network: str) -> dict[str, str]:
    """The addresses of the service's container and of the gateway in this network of compose's."""
    container = docker.containers(site.stack)[service]
    container.reload()
    found: dict[str, dict[str, str]] = container.attrs["NetworkSettings"]["Networks"]
    return found[f"{site.stack.project}_{network}"]


@after("restart-docker")
def all_containers_are_made_anew(site: StackSite) -> None:
    """Every container is made anew after the backup, with today's settings and certificates."""
    backup = int((site.folder / "last-backup").stat().st_mtime)
    found = docker.containers(site.stack).items()
    kept = [name for name, container in found if container.attrs["Created"] < backup]
    assert not kept, f"as they were: {', '.join(kept)}"


@after("up-docker", "minio-docker", "mailhog-docker")
def containers_use_no_proxy(site: StackSite) -> None:
    """No container uses the proxy of the docker command's settings, which this reader has."""
    for name, container in docker.containers(site.stack).items():
        container.reload()
        given = dict(pair.split("=", 1) for pair in container.attrs["Config"]["Env"])
        proxies = {key for key, value in given.items() if key.lower().endswith("_proxy") and value}
        direct = given.get("NO_PROXY") == given.get("no_proxy") == "*"
        assert direct or not proxies, f"{name} has {proxies}"


@after("up-docker", "minio-docker", "mailhog-docker")
def containers_are_hardened(site: StackSite) -> None:
    """No service runs as root, has or gains a capability, fills its own file system or its log."""
    for name, container in docker.containers(site.stack).items():
        container.reload()
        host, config = container.attrs["HostConfig"], container.attrs["Config"]
        assert host["ReadonlyRootfs"], name
        assert host["CapDrop"] == ["ALL"], name
        assert not host["CapAdd"], name
        assert "no-new-privileges:true" in host["SecurityOpt"], name
        assert not config["User"].startswith(("0", "root")), name
        assert config["User"], name
        assert host["RestartPolicy"]["Name"] == "unless-stopped", name
        assert {"max-size", "max-file"} <= set(host["LogConfig"]["Config"]), f"{name}'s log grows"
        mounts = [mount["Source"] for mount in container.attrs["Mounts"] if mount["Type"] == "bind"]
        assert not [source for source in mounts if Path(source).is_socket()], name
