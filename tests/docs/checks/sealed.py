"""The object store's inner parts: nobody reaches them but they each other."""

from __future__ import annotations

import socket
import ssl
import stat
from collections.abc import Iterator
from contextlib import suppress

from checks.common import after
from checks.services import OTHER_TLS12_SUITES, TLS12_SUITES, accepted_suite
from parsec_stack import docker, native
from parsec_stack.verify.site import Site

# In its container SeaweedFS has its usual ports, and those of S3 and the console plus 10000.
CONTAINER_PORTS = {9333, 19333, 9340, 19340, 8888, 18888, 19000, 19090}
# In /proc/net/tcp: a socket that listens, and where the engine's own name server does.
LISTENS, NAME_SERVER = "0A", "0B00007F"
# How a client begins that speaks HTTP/2, which all parts do: its preface and empty settings.
HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"
WAITS = 20.0


@after("start-native", "start-docker")
def the_stores_parts_trust_nobody(site: Site) -> None:
    """Each port of the store's own parts answers the inner pair alone; no other is open."""
    host, inner, outer = ports_of(site)
    open_here = set(listening(site))
    assert open_here == inner | outer, open_here ^ (inner | outer)
    for port in sorted(inner):
        assert answers(site, host, port, "parsec-s3-inner"), f"port {port} refuses its own parts"
        for pair in ("", "parsec-s3", "parsec-server", "parsec-proxy"):
            assert not answers(site, host, port, pair), f"port {port} answers {pair or 'anybody'}"
        assert in_the_clear(host, port) in ("", "400"), f"port {port} answers without TLS"


def ports_of(site: Site) -> tuple[str, set[int], set[int]]:
    """Where this machine reaches the store, the ports of its parts, and those for others."""
    if site.flavour == "native":
        ports = {port for name, port in native.inner_ports(site.stack) if name == "parsec-s3"}
        outer = {site.stack.ports[name] for name in ("S3", "S3_CONSOLE")}
        return "127.0.0.1", ports - outer, outer
    container = docker.containers(site.stack)["parsec-s3"]
    container.reload()
    networks = container.attrs["NetworkSettings"]["Networks"].values()
    address = next(network["IPAddress"] for network in networks if network["IPAddress"])
    return address, CONTAINER_PORTS, {9000, 9090}


def listening(site: Site) -> Iterator[int]:
    """Every TCP port on which the store listens."""
    import psutil

    if site.flavour == "native":
        for connection in psutil.Process(process(site)).net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN:
                yield connection.laddr.port
        return
    container = docker.containers(site.stack)["parsec-s3"]
    for table in ("tcp", "tcp6"):
        said = container.exec_run(["cat", f"/proc/net/{table}"]).output.decode()
        for line in said.splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            if state == LISTENS and not local.startswith(NAME_SERVER):
                yield int(local.rpartition(":")[2], 16)


def process(site: Site) -> int:
    """The process of SeaweedFS that supervisord runs."""
    return int(native.supervisor(site.stack).getProcessInfo("parsec-s3")["pid"])


def answers(site: Site, host: str, port: int, pair: str) -> bool:
    """Does the port answer somebody with this key and certificate, or with none?"""
    context = ssl.create_default_context(cafile=str(site.folder / "custom-ca.crt"))
    context.check_hostname = False  # the address in the container's network is in no certificate
    context.set_alpn_protocols(["h2"])
    if pair:
        context.load_cert_chain(site.folder / f"{pair}.crt", site.folder / f"{pair}.key")
    try:
        with (
            socket.create_connection((host, port), timeout=WAITS) as plain,
            context.wrap_socket(plain) as connection,
        ):
            connection.sendall(HTTP2)
            return bool(connection.recv(1))
    except (ssl.SSLError, ConnectionError):
        return False


def in_the_clear(host: str, port: int) -> str:
    """The status with which the port answers without TLS; nothing if it does not."""
    with socket.create_connection((host, port), timeout=WAITS) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        with suppress(ConnectionError):
            answer = connection.recv(100)
            return answer.decode(errors="replace").partition(" ")[2][:3] or "?" if answer else ""
    return ""


@after("start-native")
def the_stores_sockets_are_its_users(site: Site) -> None:
    """SeaweedFS's sockets lie in the folder, but for five, and nobody else can open any."""
    import psutil

    found = psutil.Process(process(site)).net_connections("unix")
    paths = {site.folder / str(one.laddr) for one in found if one.laddr}
    outer = set(native.outer_sockets(site.stack))
    assert {site.folder / "run" / name for name in ("s3.sock", "filer.sock")} <= paths, paths
    assert paths - outer <= {site.folder / "run" / name for name in ("s3.sock", "filer.sock")}
    for path in paths:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert not mode & 0o077, f"{path} has mode {mode:o}"


@after("start-native", "start-docker")
def the_store_offers_suites_of_today(site: Site) -> None:
    """With TLS 1.2 the object store and its console offer AES-GCM with an ephemeral key alone."""
    wanted = {suite for suite in TLS12_SUITES if "GCM" in suite}
    for port in ("S3", "S3_CONSOLE"):
        known = TLS12_SUITES | OTHER_TLS12_SUITES
        offered = {suite for suite in known if accepted_suite(site, suite, port)}
        assert offered == wanted, f"{port}: {', '.join(sorted(offered))}"
