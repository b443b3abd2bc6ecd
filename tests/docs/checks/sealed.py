"""The object store's inner parts: nobody reaches them but they each other."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial

from checks.common import after
from checks.services import (
    BUCKET,
    OTHER_TLS12_SUITES,
    POLL,
    TLS12_SUITES,
    accepted_suite,
    flavour_of,
    object_store,
)
from parsec_stack import docker, native, probes, store
from parsec_stack.services import FILER_STEP
from parsec_stack.verify.stack_site import StackSite

# In its container SeaweedFS has its usual ports, and those of S3 and the console plus 10000.
CONTAINER_PORTS = {9333, 19333, 9340, 19340, 8888, 18888, 19000, 19090}
# In /proc/net/tcp: a socket that listens, and where the engine's own name server does.
LISTENS, NAME_SERVER = "0A", "0B00007F"
# How a client begins that speaks HTTP/2, which all parts do: its preface and empty settings.
HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"
WAITS = 20.0
# A bucket that is made to be lost.
LOST = "docs-test-lost"


@after("start-native", "start-docker")
def the_stores_parts_trust_nobody(site: StackSite) -> None:
    """Each port of the store's own parts answers the inner pair alone; no other is open."""
    host, inner, outer = ports_of(site)
    open_here = set(listening(site))
    assert open_here == inner | outer, open_here ^ (inner | outer)
    for port in sorted(inner):
        assert answers(site, host, port, "parsec-s3-inner"), f"port {port} refuses its own parts"
        for pair in ("", "parsec-s3", "parsec-server", "parsec-proxy"):
            assert not answers(site, host, port, pair), f"port {port} answers {pair or 'anybody'}"
        assert in_the_clear(host, port) in ("", "400"), f"port {port} answers without TLS"


def ports_of(site: StackSite) -> tuple[str, set[int], set[int]]:
    """Where this machine reaches the store, the ports of its parts, and those for others."""
    if site.flavour == "native":
        ports = {port for name, port in native.ports(site.stack) if name == "parsec-s3"}
        outer = {site.stack.ports[name] for name in ("S3", "S3_CONSOLE")}
        return "127.0.0.1", ports - outer, outer
    container = docker.containers(site.stack)["parsec-s3"]
    container.reload()
    networks = container.attrs["NetworkSettings"]["Networks"].values()
    address = next(network["IPAddress"] for network in networks if network["IPAddress"])
    return address, CONTAINER_PORTS, {9000, 9090}


def listening(site: StackSite) -> Iterator[int]:
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


def process(site: StackSite) -> int:
    """The process of SeaweedFS that supervisord runs."""
    return int(native.supervisor(site.stack).getProcessInfo("parsec-s3")["pid"])


def answers(site: StackSite, host: str, port: int, pair: str) -> bool:
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
def the_stores_sockets_are_its_users(site: StackSite) -> None:
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


def asked_inside(site: StackSite, part: str, method: str, path: str, body: bytes = b"") -> int:
    """The status that a part of the store answers to a request made with the inner pair."""
    host, _, _ = ports_of(site)
    steps = {"master": 1, "filer": FILER_STEP}
    usual = {"master": 9333, "filer": 8888}
    native_port = site.stack.ports["S3"] + steps[part]
    port = native_port if site.flavour == "native" else usual[part]
    context = probes.trust_with(site.folder / "custom-ca.crt", site.folder / "parsec-s3-inner")
    context.check_hostname = False
    connection = http.client.HTTPSConnection(host, port, timeout=WAITS, context=context)
    connection.request(method, path, body)
    status = connection.getresponse().status
    connection.close()
    return status


@after("start-native", "start-docker")
def what_is_not_ours_in_the_store_is_found(site: StackSite) -> None:
    """An S3 user and a bucket's policy that somebody has planted are named; else all is well."""
    tree = partial(flavour_of(site).tree_of_store, site.stack)
    assert not store.trouble(site.stack, tree)
    planted = "/etc/iam/identities/planted.json"
    user = b'{"name": "planted", "actions": ["Read"]}'
    assert asked_inside(site, "filer", "PUT", planted, user) == 201
    try:
        said = store.trouble(site.stack, tree)
        assert planted in (said or ""), said
    finally:
        assert asked_inside(site, "filer", "DELETE", "/etc?recursive=true") == 204
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject",
             "Resource": f"arn:aws:s3:::{BUCKET}/*"}
        ],
    }  # fmt: skip
    client = object_store(site)
    client.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(policy))
    try:
        said = store.trouble(site.stack, tree)
        assert f"s3-bucket-policy of the bucket {BUCKET}" in (said or ""), said
    finally:
        client.delete_bucket_policy(Bucket=BUCKET)
    assert not store.trouble(site.stack, tree)


@after("start-native", "start-docker")
def what_the_store_has_lost_is_noticed(site: StackSite) -> None:
    """A bucket whose volumes are deleted is told from a whole one, and so is a missing one."""
    client = object_store(site)
    assert store.loss(site.stack, LOST) == f"the bucket {LOST} is gone"
    client.create_bucket(Bucket=LOST)
    assert store.loss(site.stack, LOST) is None
    client.put_object(Bucket=LOST, Key="a key/with ä & <signs>", Body=b"kept")
    assert store.loss(site.stack, LOST) is None
    assert asked_inside(site, "master", "GET", f"/col/delete?collection={LOST}") == 204
    deadline = time.monotonic() + site.patience
    while store.loss(site.stack, LOST) != f"what was stored in the bucket {LOST} cannot be read":
        assert time.monotonic() < deadline, "nobody notices that the volumes are gone"
        time.sleep(POLL)
    assert asked_inside(site, "filer", "DELETE", f"/buckets/{LOST}?recursive=true") == 204
    while store.loss(site.stack, LOST) != f"the bucket {LOST} is gone":
        assert time.monotonic() < deadline, "nobody notices that the bucket is gone"
        time.sleep(POLL)


@after("start-native", "start-docker", "minio-docker")
def the_store_offers_suites_of_today(site: StackSite) -> None:
    """With TLS 1.2 the object store and its console offer only authenticated encryption."""
    for port in ("S3", "S3_CONSOLE"):
        known = TLS12_SUITES | OTHER_TLS12_SUITES
        offered = {suite for suite in known if accepted_suite(site, suite, port)}
        assert offered, f"{port} speaks no TLS 1.2"
        assert offered <= TLS12_SUITES, f"{port}: {', '.join(sorted(offered))}"


@after("store-users-native", "store-users-docker")
def nobody_else_has_a_key(site: StackSite) -> None:
    """SeaweedFS's shell is let in by the inner pair, and names one user, the one of our file."""
    said = (site.outputs.get("store-users-native") or site.outputs["store-users-docker"]).split()
    assert said[said.index("Users:") + 1] == "1", said
    for kind in ("Policies:", "Accounts:", "Groups:"):
        assert said[said.index(kind) + 1] == "0", said
