"""The services: that they answer, keep their promises, and come back when they die."""

from __future__ import annotations

import importlib
import os
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from checks.common import after, unchanged_by, values
from parsec_stack import probes, schema
from parsec_stack.stack import SERVICES
from parsec_stack.verify.site import Site

SUPPORTING = tuple(name for name in SERVICES if name != "parsec-server")
POLL = 0.05
BUCKET = "parsec"
# Beside TLS 1.3: what is left of the ANSSI list with an ECDSA certificate (docs/server-tls.rst).
TLS12_SUITES = {
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES256-CCM",
    "ECDHE-ECDSA-AES128-CCM",
}
# Others that OpenSSL knows for such a certificate.
OTHER_TLS12_SUITES = {
    "ECDHE-ECDSA-AES256-SHA384",
    "ECDHE-ECDSA-AES128-SHA256",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-CCM8",
    "ECDHE-ECDSA-CAMELLIA256-SHA384",
    "ECDHE-ECDSA-ARIA256-GCM-SHA384",
}


def flavour_of(site: Site) -> Any:
    """The module that knows this flavour's services."""
    return importlib.import_module(f"parsec_stack.{site.flavour}")


def await_ready(site: Site, services: tuple[str, ...]) -> None:
    """Wait until the services are ready; AssertionError naming those that are not in time."""
    probe, waiting = flavour_of(site).probe, list(services)
    deadline = time.monotonic() + site.patience
    while waiting := [name for name in waiting if not probe(site.stack, name)]:
        assert time.monotonic() < deadline, f"not ready in time: {', '.join(waiting)}"
        time.sleep(POLL)


@after("up-native", "up-docker")
def supporting_services_answer(site: Site) -> None:
    """Every service but the Parsec server becomes ready."""
    await_ready(site, SUPPORTING)


@after("migrate-native", "migrate-docker")
def the_schema_is_complete(site: Site) -> None:
    """The database has every migration that the server brings."""
    applied = flavour_of(site).migrations(site.stack) or []
    assert not schema.pending(applied), f"pending: {', '.join(schema.pending(applied))}"


def object_store(site: Site, **changes: str) -> Any:
    """A boto3 client with the stack's credentials."""
    import boto3
    from botocore.config import Config

    keys = values(site.folder / "parsec-credentials.env") | changes
    return boto3.client(
        "s3",
        endpoint_url=f"https://localhost:{site.stack.ports['S3']}",
        region_name="us-east-1",
        aws_access_key_id=keys["S3_ACCESS_KEY"],
        aws_secret_access_key=keys["S3_SECRET_KEY"],
        verify=str(site.folder / "custom-ca.crt"),
        config=Config(retries={"max_attempts": 1}, connect_timeout=5, read_timeout=20),
    )


@contextmanager
def refused(code: str) -> Iterator[None]:
    """What happens inside must be refused by the object store with this code."""
    from botocore.exceptions import ClientError

    try:
        yield
    except ClientError as error:
        answered = error.response["Error"]["Code"]
        assert code in answered, f"refused with {answered}, not {code}"
    else:
        raise AssertionError(f"not refused with {code}")


@after("bucket-native", "bucket-docker")
def the_bucket_is_locked(site: Site) -> None:
    """An object that is retained cannot be deleted, and an overwritten one keeps its versions."""
    from datetime import UTC, datetime, timedelta

    store = object_store(site)
    lock = store.get_object_lock_configuration(Bucket=BUCKET)["ObjectLockConfiguration"]
    assert lock["ObjectLockEnabled"] == "Enabled"
    assert store.get_bucket_versioning(Bucket=BUCKET)["Status"] == "Enabled"
    version = store.put_object(
        Bucket=BUCKET,
        Key="docs-test",
        Body=b"kept",
        ObjectLockMode="COMPLIANCE",
        ObjectLockRetainUntilDate=datetime.now(UTC) + timedelta(minutes=10),
    )["VersionId"]
    with refused("AccessDenied"):
        store.delete_object(Bucket=BUCKET, Key="docs-test", VersionId=version)


@after("bucket-native", "bucket-docker")
def the_object_store_refuses_strangers(site: Site) -> None:
    """Without the right keys the object store says nothing."""
    with refused("SignatureDoesNotMatch"):
        object_store(site, S3_SECRET_KEY="0" * 40).list_objects_v2(Bucket=BUCKET)
    with refused("InvalidAccessKeyId"):
        object_store(site, S3_ACCESS_KEY="0" * 20).list_objects_v2(Bucket=BUCKET)


@after("bucket-native", "bucket-docker")
def the_bucket_stays(site: Site) -> None:
    """Creating the bucket again keeps it."""
    unchanged_by(site, "create-bucket.sh", [])
    the_bucket_is_locked(site)


def console_shown(site: Site, password: str) -> str:
    """The path of the console's page that a browser sees which logs in with this password."""
    import re
    from http.cookiejar import CookieJar
    from urllib.parse import urlencode, urlsplit
    from urllib.request import HTTPCookieProcessor, HTTPSHandler, build_opener

    user = values(site.folder / "parsec-credentials.env")["S3_CONSOLE_USER"]
    address = f"https://localhost:{site.stack.ports['S3_CONSOLE']}/login"
    context = ssl.create_default_context(cafile=str(site.folder / "custom-ca.crt"))
    browser = build_opener(HTTPCookieProcessor(CookieJar()), HTTPSHandler(context=context))
    page = browser.open(address, timeout=20).read().decode()
    token = re.search(r'name="csrf_token" value="(\w+)"', page)
    assert token, "the console's login form has no csrf_token"
    form = {"csrf_token": token[1], "username": user, "password": password}
    shown = browser.open(address, urlencode(form).encode(), timeout=20)
    return str(urlsplit(shown.url).path)


@after("bucket-native", "bucket-docker")
def the_console_asks_for_a_login(site: Site) -> None:
    """The console lets in who has its password, over TLS, and nobody else."""
    known = values(site.folder / "parsec-credentials.env")["S3_CONSOLE_PASSWORD"]
    assert console_shown(site, known) != "/login"
    assert console_shown(site, "wrong") == "/login"


@after("start-native", "start-docker")
def the_server_answers(site: Site) -> None:
    """The Parsec server becomes ready, with its database."""
    await_ready(site, SERVICES)


@after("start-native", "start-docker")
def services_listen_on_loopback_alone(site: Site) -> None:
    """No service can be reached from another machine; with Docker the proxy can."""
    if site.flavour == "native":
        open_ports = [address for address in listening(site) if address != "127.0.0.1"]
        assert not open_ports, f"listening on {', '.join(open_ports)}"
        return
    for name, container in flavour_of(site).containers(site.stack).items():
        for port in container.attrs["Ports"]:
            outside = port.get("IP") not in (None, "127.0.0.1")
            assert not outside or name == "parsec-proxy", f"{name} on {port['IP']}"


def listening(site: Site) -> Iterator[str]:
    """The addresses on which the site's processes listen."""
    import psutil

    from parsec_stack.verify import processes

    for process in processes.within(site.folder):
        for connection in process.net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN:
                yield connection.laddr.ip


@after("start-native", "start-docker")
def the_store_reports_nothing(site: Site) -> None:
    """SeaweedFS has been told to send no statistics."""
    from parsec_stack.verify import processes

    if site.flavour == "native":
        lines = [
            " ".join(one.cmdline()) for one in processes.within(site.folder) if one.name() == "weed"
        ]
    else:
        listed = flavour_of(site).containers(site.stack)["parsec-s3"].top()["Processes"]
        lines = [" ".join(columns) for columns in listed if "weed" in columns[-1]]
    assert lines
    assert all("-master.telemetry=false" in line for line in lines)


@after("restart-native", "restart-docker", "renew-restart-native", "renew-restart-docker",
       "unscale-docker")  # fmt: skip
def everything_answers_again(site: Site) -> None:
    """All services become ready again, and the proxy finds the server."""
    await_ready(site, SERVICES)
    deadline = time.monotonic() + site.patience
    ca_file = site.folder / "custom-ca.crt"
    while not probes.serves_parsec(site.stack.ports["PROXY"], ca_file):
        assert time.monotonic() < deadline, "the proxy does not find the server"
        time.sleep(POLL)


@after("status-native")
def what_dies_is_restarted(site: Site) -> None:
    """A service that is killed comes back by itself."""
    supervisor = flavour_of(site).supervisor(site.stack)
    for service in SERVICES:
        killed = supervisor.getProcessInfo(service)["pid"]
        os.kill(killed, signal.SIGKILL)
        deadline = time.monotonic() + site.patience
        while supervisor.getProcessInfo(service)["pid"] in (0, killed):
            assert time.monotonic() < deadline, f"{service} does not come back"
            time.sleep(POLL)
    await_ready(site, SERVICES)


@after("organization-api")
def clients_can_work(site: Site) -> None:
    """A client does its work, directly and through the proxy, and the server's own mail arrives."""
    from parsec_stack import smoke

    smoke.run_stack(site.stack)


def client_address(site: Site, source: str, port: int) -> str:
    """What the server's log shows as the address of a client that claims to be another."""
    from parsec_stack.verify.tool import output_of

    path = f"/?from-{source}-to-{port}"
    curl = ["curl", "--silent", "--fail", "--interface", source, "--cacert", "custom-ca.crt"]
    claims = ["--header", "X-Forwarded-For: 192.0.2.9", "--header", "Forwarded: for=192.0.2.8"]
    output_of([*curl, *claims, f"https://localhost:{port}{path}"], site.folder)
    text: str = flavour_of(site).log_tail(site.stack, "parsec-server", 400)
    lines = [line for line in text.splitlines() if path in line]
    assert lines, f"the request {path} is not in the server's log"
    return lines[-1]


@after("proxy-check-native")
def the_proxy_tells_who_asks(site: Site) -> None:
    """The server sees the client's address through the proxy, and believes no claim of others."""
    ports = site.stack.ports
    assert "127.0.0.2:" in client_address(site, "127.0.0.2", ports["PROXY"])
    assert "127.0.0.3:" in client_address(site, "127.0.0.3", ports["SERVER"])


@after("proxy-check-native", "proxy-check-docker")
def links_keep_the_port(site: Site) -> None:
    """A bootstrap link made through the proxy leads to the proxy."""
    import http.client
    import json

    token = values(site.folder / "parsec-admin-token.env")["PARSEC_ADMINISTRATION_TOKEN"]
    port = site.stack.ports["PROXY"]
    context = ssl.create_default_context(cafile=str(site.folder / "custom-ca.crt"))
    connection = http.client.HTTPSConnection("localhost", port, timeout=20, context=context)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    body = json.dumps({"organization_id": "ThroughProxy"})
    connection.request("POST", "/administration/organizations", body, headers)
    link = json.loads(connection.getresponse().read())["bootstrap_url"]
    assert link.startswith(f"parsec3://localhost:{port}/"), link.partition("?")[0]


@after("proxy-check-native")
def connections_to_the_server_are_kept(site: Site) -> None:
    """Many clients of the proxy need few connections to the server."""
    import psutil

    server = site.stack.ports["SERVER"]

    def used() -> set[int]:
        ends = [(one.laddr, one.raddr) for one in psutil.net_connections("inet")]
        return {here.port for here, there in ends if here and there and there.port == server}

    before = used()
    for _ in range(30):
        assert probes.status(site.stack.ports["PROXY"], "/", site.folder / "custom-ca.crt") == 200
    new = used() - before
    assert len(new) <= 10, f"{len(new)} connections for 30 requests"


def accepted_suite(site: Site, suite: str) -> bool:
    """Does the server take a TLS 1.2 client that offers this suite alone?"""
    context = ssl.create_default_context(cafile=str(site.folder / "custom-ca.crt"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(f"{suite}:@SECLEVEL=0")
    return handshake(site, context)


def handshake(site: Site, context: ssl.SSLContext) -> bool:
    """Does the server take a client of this kind?"""
    with socket.create_connection(("localhost", site.stack.ports["SERVER"]), timeout=20) as plain:
        try:
            with context.wrap_socket(plain, server_hostname="localhost"):
                return True
        except (ssl.SSLError, ConnectionError):
            return False


@after("ciphers")
def the_list_of_ciphers_takes_effect(site: Site) -> None:
    """TLS 1.2 is spoken with the suites of the list, and with no other."""
    taken = {suite for suite in TLS12_SUITES if accepted_suite(site, suite)}
    assert taken == TLS12_SUITES, f"not taken: {', '.join(sorted(TLS12_SUITES - taken))}"
    others = {suite for suite in OTHER_TLS12_SUITES if accepted_suite(site, suite)}
    assert not others, f"taken: {', '.join(sorted(others))}"


@after("stop-native", "stop-docker")
def nothing_runs_after_the_stop(site: Site) -> None:
    """All ports are free again, and data and secrets are still there."""
    deadline = time.monotonic() + site.patience
    while taken := [name for name, port in site.stack.ports.items() if probes.listens(port)]:
        assert time.monotonic() < deadline, f"still listening: {', '.join(taken)}"
        time.sleep(POLL)
    assert (site.folder / "parsec-credentials.env").exists()
    if site.flavour == "native":
        assert (site.folder / "data" / "postgres" / "PG_VERSION").exists()
