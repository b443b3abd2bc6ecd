"""The services: that they answer, keep their promises, and come back when they die."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from checks.common import activated, after, unchanged_by, values
from guidewalk.shell import without_ansi
from parsec_stack import docker, flavour, inbox, logs, native, probes, schema, store
from parsec_stack.engine import engine
from parsec_stack.flavour import Flavour
from parsec_stack.readiness import is_ready
from parsec_stack.services import SERVICES, SUPPORTING, usual_ports
from parsec_stack.verify.stack_site import StackSite

POLL = 0.05
# What supervisord keeps up, and how much of the server's log the guide shows beside it.
PROGRAMS = (*SERVICES, "watch-parsec-server")
LOG_END = 5
# A service that supervisord has started so often while somebody waited has no future.
STARTS = 5
BUCKET = "parsec"
# An object of a check's own.
LOCKED = "docs-test"
# What was written before the backup, by the flavour.
WRITTEN: dict[str, dict[str, Any]] = {}
# How compose tells which of the file's volumes one is.
VOLUME = "com.docker.compose.volume"
# Beside TLS 1.3: what is left of the ANSSI list with an ECDSA certificate (docs/server-tls.rst).
TLS12_SUITES = {
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES256-CCM",
    "ECDHE-ECDSA-AES128-CCM",
}
TLS13_SUITES = {"TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256"}
# Of the list, and without effect.
IDLE_SUITE = "TLS_AES_128_CCM_SHA256"
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


def flavour_of(site: StackSite) -> Flavour:
    """How this flavour's services are run."""
    return flavour.flavour_of(site.stack)


def await_ready(site: StackSite, services: Iterable[str]) -> None:
    """Wait until the services are ready; AssertionError naming those that will not be."""
    waiting = list(services)
    deadline = time.monotonic() + site.patience
    starts: dict[str, set[int]] = defaultdict(set)
    while waiting := [name for name in waiting if not is_ready(site.stack, name)]:
        assert time.monotonic() < deadline, f"not ready in time: {', '.join(waiting)}"
        if site.flavour == "native":
            see_starts(site, starts)
        for name in waiting:
            assert len(starts[name]) < STARTS, f"{name} ends again and again: {log_end(site, name)}"
        time.sleep(POLL)


def see_ready(site: StackSite, services: Iterable[str]) -> None:
    """See that the services are ready, for which Docker's commands have waited themselves."""
    if site.flavour == "docker":
        see_health(site)
    await_ready(site, services)


def see_health(site: StackSite) -> None:
    """See that all containers are healthy now."""
    found = engine().containers.list(all=True, sparse=True, filters=docker.mine(site.stack))
    others = [
        f"{one.attrs['Labels'][docker.SERVICE]} ({one.attrs['Status']})"
        for one in found
        if "(healthy)" not in one.attrs["Status"]
    ]
    assert not others, f"not healthy when the command ends: {', '.join(others)}"


def see_starts(site: StackSite, starts: dict[str, set[int]]) -> None:
    """Add when supervisord has last started each service."""
    for info in native.supervisor(site.stack).getAllProcessInfo():
        starts[info["name"]].add(info["start"])


def log_end(site: StackSite, service: str) -> str:
    """What the service has said last."""
    return logs.for_people(flavour_of(site).log_tail(site.stack, service, 3), 3)


@after("services-executable-native")
def an_interrupted_start_is_made_good(site: StackSite) -> None:
    """What an interrupted first start has left of the database does not hinder the next."""
    left = site.folder / "data" / "postgres" / "new"
    for folder in (left.parent.parent, left.parent, left):
        folder.mkdir(mode=0o700)
    (left / "PG_VERSION").write_text("16\n")


@after("up-native", "up-docker", prepares=True)
def supporting_services_answer(site: StackSite) -> None:
    """Every service but the Parsec server becomes ready, with Docker before the command ends."""
    see_ready(site, SUPPORTING)


@after("migrate-native", "migrate-docker")
def the_schema_is_complete(site: StackSite) -> None:
    """The database has every migration that the server brings."""
    own = flavour_of(site)
    applied = own.migrations(site.stack) or []
    pending = schema.pending(applied, own.packaged(site.stack))
    assert not pending, f"pending: {', '.join(pending)}"


@after("install-native")
def the_named_version_is_installed(site: StackSite) -> None:
    """The Parsec server that is installed is of the version that the guide is about."""
    from parsec_stack import versions
    from parsec_stack.stack import ROOT

    installed = native.versions(site.stack)["Parsec"]
    assert installed == versions.packaged(versions.declared(ROOT)["parsec"]), installed


@after("stop-server-native", "stop-server-docker")
def nobody_can_write(site: StackSite) -> None:
    """The server is stopped before the database is written into a file."""
    assert not probes.listens(site.stack.ports["SERVER"]), "the server still answers"


def trust_of(site: StackSite) -> ssl.SSLContext:
    """A TLS client that trusts the site's CA alone."""
    return ssl.create_default_context(cafile=str(site.folder / "custom-ca.crt"))


def in_database(site: StackSite, query: str, trust: ssl.SSLContext | bool) -> None:
    """Run the query on the server's database as the server's user, with such a TLS or none."""
    import asyncio

    import asyncpg

    password = values(site.folder / "parsec-credentials.env")["POSTGRES_PASSWORD"]
    port = site.stack.ports["POSTGRES"]

    async def run() -> None:
        connection = await asyncpg.connect(
            host="127.0.0.1", port=port, user="parsec", password=password, database="parsec",
            ssl=trust,
        )  # fmt: skip
        await connection.execute(query)
        await connection.close()

    asyncio.run(run())


@after("wait-native", "up-docker")
def the_database_speaks_tls_alone(site: StackSite) -> None:
    """At its port PostgreSQL takes the right password by TLS 1.3 alone."""
    import asyncpg

    in_database(site, "SELECT 1", trust_of(site))
    older = trust_of(site)
    older.maximum_version = ssl.TLSVersion.TLSv1_2
    refusals = ((older, ssl.SSLError), (False, asyncpg.InvalidAuthorizationSpecificationError))
    for trust, refusal in refusals:
        try:
            in_database(site, "SELECT 1", trust)
        except refusal:
            continue
        raise AssertionError("the password is taken without TLS 1.3")


@after("backup-native", "backup-docker")
def no_object_was_changed(site: StackSite) -> None:
    """After clients have worked, each object of the server's has one version, and none is gone."""
    pages = object_store(site).get_paginator("list_object_versions").paginate(Bucket=BUCKET)
    versions = [one for page in pages for one in page.get("Versions", [])]
    keys = [one["Key"] for one in versions if one["Key"] != LOCKED]
    assert keys, "no client has written anything"
    assert len(keys) == len(set(keys)), "the server has changed an object"
    gone = [one["Key"] for page in pages for one in page.get("DeleteMarkers", [])]
    assert not set(gone) - {LOCKED}, f"the server has deleted {gone}"


@after("restart-native", "restart-docker", prepares=True)
def what_was_written_is_there_after_a_restore(site: StackSite) -> None:
    """What a client wrote before the backup can be read again."""
    from parsec_stack import smoke

    await_ready(site, SERVICES)
    smoke.read_back(site.stack, smoke.Traces.from_json(WRITTEN[site.flavour]), site.patience)


def object_store(site: StackSite, **changes: str) -> Any:
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
def refused(*codes: str) -> Iterator[None]:
    """What happens inside must be refused by the object store with one of these codes."""
    from botocore.exceptions import ClientError

    try:
        yield
    except ClientError as error:
        answered = error.response["Error"]["Code"]
        assert any(code in answered for code in codes), f"refused with {answered}, not {codes}"
    else:
        raise AssertionError(f"not refused with {codes}")


@after("bucket-native", "bucket-docker")
def the_bucket_is_locked(site: StackSite) -> None:
    """An object that is retained cannot be deleted, and an overwritten one keeps its versions."""
    from datetime import UTC, datetime, timedelta

    store = object_store(site)
    lock = store.get_object_lock_configuration(Bucket=BUCKET)["ObjectLockConfiguration"]
    assert lock["ObjectLockEnabled"] == "Enabled"
    assert store.get_bucket_versioning(Bucket=BUCKET)["Status"] == "Enabled"
    version = store.put_object(
        Bucket=BUCKET,
        Key=LOCKED,
        Body=b"kept",
        ObjectLockMode="COMPLIANCE",
        ObjectLockRetainUntilDate=datetime.now(UTC) + timedelta(minutes=10),
    )["VersionId"]
    # MinIO's word for it is InvalidRequest.
    with refused("AccessDenied", "InvalidRequest"):
        store.delete_object(Bucket=BUCKET, Key=LOCKED, VersionId=version)


@after("bucket-native", "bucket-docker")
def the_object_store_refuses_strangers(site: StackSite) -> None:
    """Without the right keys the object store says nothing."""
    with refused("SignatureDoesNotMatch"):
        object_store(site, S3_SECRET_KEY="0" * 40).list_objects_v2(Bucket=BUCKET)
    with refused("InvalidAccessKeyId"):
        object_store(site, S3_ACCESS_KEY="0" * 20).list_objects_v2(Bucket=BUCKET)


@after("bucket-native", "bucket-docker")
def the_bucket_stays(site: StackSite) -> None:
    """Creating the bucket again keeps it."""
    unchanged_by(site, "create-bucket.sh", [])
    the_bucket_is_locked(site)


def console_shown(site: StackSite, password: str) -> str:
    """The path of the console's page that a browser sees which logs in with this password.

    It is told without the one below which the whole console lies.
    """
    import re
    from http.cookiejar import CookieJar
    from urllib.parse import urlencode, urlsplit
    from urllib.request import HTTPCookieProcessor, HTTPSHandler, build_opener

    known = values(site.folder / "parsec-credentials.env")
    user, below = known["S3_CONSOLE_USER"], store.console_path(known["S3_CONSOLE_PASSWORD"])
    address = f"https://localhost:{site.stack.ports['S3_CONSOLE']}{below}/login"
    context = ssl.create_default_context(cafile=str(site.folder / "custom-ca.crt"))
    browser = build_opener(HTTPCookieProcessor(CookieJar()), HTTPSHandler(context=context))
    page = browser.open(address, timeout=20).read().decode()
    token = re.search(r'name="csrf_token" value="(\w+)"', page)
    assert token, "the console's login form has no csrf_token"
    form = {"csrf_token": token[1], "username": user, "password": password}
    shown = browser.open(address, urlencode(form).encode(), timeout=20)
    return str(urlsplit(shown.url).path).removeprefix(below)


@after("bucket-native", "bucket-docker")
def the_console_asks_for_a_login(site: StackSite) -> None:
    """The console lets in who has its password, over TLS, and nobody else."""
    known = values(site.folder / "parsec-credentials.env")["S3_CONSOLE_PASSWORD"]
    assert console_shown(site, known) != "/login"
    assert console_shown(site, "wrong") == "/login"
    port, ca_file = site.stack.ports["S3_CONSOLE"], site.folder / "custom-ca.crt"
    for path in ("/", "/metrics", "/health", "/login"):
        answer = probes.status(port, path, ca_file)
        assert answer == 404, f"the console answers {answer} to {path}"


@after("console-native", "console-docker")
def the_console_is_where_the_page_says(site: StackSite) -> None:
    """The address that the command prints leads to the console's login."""
    from urllib.parse import urlsplit

    printed = site.outputs.get("console-native") or site.outputs["console-docker"]
    address = urlsplit(printed.strip())
    assert address.port == site.stack.ports["S3_CONSOLE"], printed
    ca_file = site.folder / "custom-ca.crt"
    assert probes.status(address.port, f"{address.path}login", ca_file) == 200, printed


@after("start-native", "start-docker", prepares=True)
def the_server_answers(site: StackSite) -> None:
    """The Parsec server becomes ready, with its database; with Docker before the command ends."""
    see_ready(site, SERVICES)


@after("start-native", "start-docker")
def services_listen_on_loopback_alone(site: StackSite) -> None:
    """No service can be reached from another machine; with Docker the proxy can."""
    if site.flavour == "native":
        open_to_all = [address for address in listening(site) if address.ip != "127.0.0.1"]
        assert not open_to_all, f"listening on {open_to_all}"
        known = {port for _, port in native.ports(site.stack)}
        strange = {address.port for address in listening(site)} - known
        assert not strange, f"listening on {strange}, which no page names"
        return
    for name, container in docker.containers(site.stack).items():
        for port in container.attrs["Ports"]:
            outside = port.get("IP") not in (None, "127.0.0.1")
            assert not outside or name == "parsec-proxy", f"{name} on {port['IP']}"


def listening(site: StackSite) -> Iterator[Any]:
    """The addresses and ports on which the site's processes listen."""
    import psutil

    from guidewalk import processes

    for process in processes.within(site.folder):
        with suppress(psutil.NoSuchProcess):  # some last for a moment only
            found = process.net_connections("inet")
            yield from (one.laddr for one in found if one.status == psutil.CONN_LISTEN)


def http_status(port: int, method: str, path: str) -> int:
    """What the service on this port of this machine answers to a request of a few bytes."""
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, b"docs-test" if method == "PUT" else None)
    status = connection.getresponse().status
    connection.close()
    return status


@after("start-native", "start-docker")
def the_store_reports_nothing(site: StackSite) -> None:
    """SeaweedFS has been told to send no statistics."""
    from guidewalk import processes

    if site.flavour == "native":
        found = processes.within(site.folder)
        lines = [" ".join(one.cmdline()) for one in found if processes.name_of(one) == "weed"]
    else:
        listed = docker.containers(site.stack)["parsec-s3"].top()["Processes"]
        lines = [" ".join(columns) for columns in listed if "weed" in columns[-1]]
    assert lines
    assert all("-master.telemetry=false" in line for line in lines)


@after("restart-native", "restart-docker", "renew-restart-native", "renew-restart-docker",
       "unscale-docker", prepares=True)  # fmt: skip
def everything_answers_again(site: StackSite) -> None:
    """All services become ready again, and the proxy finds the server."""
    see_ready(site, SERVICES)
    deadline = time.monotonic() + site.patience
    ca_file = site.folder / "custom-ca.crt"
    while not probes.serves_parsec(site.stack.ports["PROXY"], ca_file):
        assert time.monotonic() < deadline, "the proxy does not find the server"
        time.sleep(POLL)


def process_of(site: StackSite, service: str, other_than: int = 0) -> int:
    """The process that supervisord runs for the service, once it runs one."""
    supervisor = native.supervisor(site.stack)
    deadline = time.monotonic() + site.patience
    while True:
        pid = int(supervisor.getProcessInfo(service)["pid"])
        if pid not in (0, other_than):
            return pid
        assert time.monotonic() < deadline, f"{service} does not come back"
        time.sleep(POLL)


@after("status-native")
def the_status_shows_what_runs(site: StackSite) -> None:
    """Every service runs, and the end of the server's log follows."""
    lines = site.outputs["status-native"].splitlines()
    states = dict(line.split()[:2] for line in lines[: len(PROGRAMS)])
    assert states == dict.fromkeys(PROGRAMS, "RUNNING"), states
    log = without_ansi(flavour_of(site).log_tail(site.stack, "parsec-server", 500))
    shown = lines[len(PROGRAMS) :]
    assert len(shown) == min(LOG_END, len(log.splitlines())), shown
    assert "\n".join(shown) in log, shown


@after("status-native")
def what_dies_is_restarted(site: StackSite) -> None:
    """Services that are killed, all at once, come back, the store with today's options."""
    (site.folder / "data" / "s3" / "mini.options").write_text("s3.port=1\n")
    killed = {service: process_of(site, service) for service in SERVICES}
    for pid in killed.values():
        os.kill(pid, signal.SIGKILL)
    for service, pid in killed.items():
        process_of(site, service, other_than=pid)
    await_ready(site, SERVICES)


@after("ping-mail-native", "ping-mail-docker")
def the_mail_is_as_sent(site: StackSite) -> None:
    """The mail in the inbox says from whom and to whom it is, and what it proves."""
    mail = inbox.mails(site.stack)[0]
    assert mail["From"] == "ping@example.com", mail["From"]
    assert mail["To"] == "admin@example.com", mail["To"]
    assert mail["Subject"].startswith("ping "), mail["Subject"]
    assert inbox.text_of(mail).strip() == "The mail catcher works."


@after("organization-api")
def clients_can_work(site: StackSite) -> None:
    """A client does its work, directly and through the proxy, and the server's own mail arrives."""
    from parsec_stack import smoke

    smoke.run_stack(site.stack)


@after("bootstrap-cli")
def the_link_has_been_used(site: StackSite) -> None:
    """The organization of the command-line client has its first user."""
    from parsec_stack import smoke

    server, token = smoke.server_of(site.stack), smoke.administration_token(site.stack)
    path = f"/organizations/{site.values['<link>'].partition('?')[0].rpartition('/')[2]}"
    assert server.administrate("GET", path, token)["is_bootstrapped"]


def client_address(site: StackSite, source: str, port: int) -> str:
    """What the server's log shows as the address of a client that claims to be another."""
    from guidewalk.tool import output_of

    path = f"/?from-{source}-to-{port}"
    curl = ["curl", "--silent", "--fail", "--interface", source, "--cacert", "custom-ca.crt"]
    claims = ["--header", "X-Forwarded-For: 192.0.2.9", "--header", "Forwarded: for=192.0.2.8"]
    said = output_of([*curl, *claims, f"https://localhost:{port}{path}"], site.folder)
    assert said.status == 0, f"the request {path} fails: curl ends with {said.status}"
    deadline = time.monotonic() + site.patience
    while True:  # the log follows the answer
        text: str = flavour_of(site).log_tail(site.stack, "parsec-server", 400)
        if lines := [line for line in text.splitlines() if path in line]:
            return lines[-1]
        assert time.monotonic() < deadline, f"the request {path} is not in the server's log"
        time.sleep(POLL)


@after("proxy-check-native")
def nobody_is_believed(site: StackSite) -> None:
    """Without Docker the server believes no claim, neither a client's nor the proxy's."""
    ports = site.stack.ports
    assert "127.0.0.1:" in client_address(site, "127.0.0.2", ports["PROXY"])
    assert "127.0.0.3:" in client_address(site, "127.0.0.3", ports["SERVER"])


@after("proxy-check-native", "proxy-check-docker")
def plain_http_is_redirected(site: StackSite) -> None:
    """Plain HTTP leads to the proxy's port, with Docker to the usual one."""
    import http.client

    ports = site.stack.ports
    proxy = http.client.HTTPConnection("localhost", ports["PROXY_HTTP"], timeout=20)
    proxy.request("GET", "/some/where?x=1")
    there = proxy.getresponse().getheader("Location")
    proxy.close()
    host = f"localhost:{ports['PROXY']}" if site.flavour == "native" else "localhost"
    assert there == f"https://{host}/some/where?x=1", there


@after("proxy-check-native", "proxy-check-docker")
def connections_to_the_server_are_kept(site: StackSite) -> None:
    """Many clients of the proxy need few connections to the server."""
    before = connections_to_the_server(site)
    for _ in range(30):
        assert probes.status(site.stack.ports["PROXY"], "/", site.folder / "custom-ca.crt") == 200
    new = connections_to_the_server(site) - before
    assert len(new) <= 10, f"{len(new)} connections for 30 requests"


def connections_to_the_server(site: StackSite) -> set[int]:
    """The proxy's ends of its connections to the server, and of those that were closed just now."""
    if site.flavour == "docker":
        proxy = docker.containers(site.stack)["parsec-proxy"]
        table = proxy.exec_run(["cat", "/proc/net/tcp"]).output.decode()
        ends = [line.split()[1:3] for line in table.splitlines()[1:]]
        server = f"{usual_ports('docker')['SERVER']:04X}"
        return {int(here[-4:], 16) for here, there in ends if there.endswith(f":{server}")}
    import psutil

    pairs = [(one.laddr, one.raddr) for one in psutil.net_connections("inet")]
    server_port = site.stack.ports["SERVER"]
    return {here.port for here, there in pairs if here and there and there.port == server_port}


def accepted_suite(site: StackSite, suite: str, port: str = "SERVER") -> bool:
    """Does the service at the port take a TLS 1.2 client that offers this suite alone?"""
    context = ssl.create_default_context(cafile=str(site.folder / "custom-ca.crt"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(f"{suite}:@SECLEVEL=0")
    return handshake(site, context, port)


def handshake(site: StackSite, context: ssl.SSLContext, port: str = "SERVER") -> bool:
    """Does the service at the port take a client of this kind?"""
    with socket.create_connection(("localhost", site.stack.ports[port]), timeout=20) as plain:
        try:
            with context.wrap_socket(plain, server_hostname="localhost"):
                return True
        except (ssl.SSLError, ConnectionError):
            return False


@after("ciphers")
def the_list_of_ciphers_takes_effect(site: StackSite) -> None:
    """TLS 1.2 is spoken with the suites of the list, and with no other."""
    taken = {suite for suite in TLS12_SUITES if accepted_suite(site, suite)}
    assert taken == TLS12_SUITES, f"not taken: {', '.join(sorted(TLS12_SUITES - taken))}"
    others = {suite for suite in OTHER_TLS12_SUITES if accepted_suite(site, suite)}
    assert not others, f"taken: {', '.join(sorted(others))}"


@after("ciphers")
def the_suites_of_tls_1_3_are_fixed(site: StackSite) -> None:
    """TLS 1.3 is spoken with the three usual suites, whatever the list says of the others."""
    listed = values(site.folder / "parsec.env")["PARSEC_SSL_CIPHERS"].split(":")
    assert IDLE_SUITE in listed
    taken = {suite for suite in (*TLS13_SUITES, IDLE_SUITE) if takes_tls13(site, suite)}
    assert taken == TLS13_SUITES, f"TLS 1.3 is spoken with {taken}"


def takes_tls13(site: StackSite, suite: str) -> bool:
    """Does the server take a TLS 1.3 client that offers this suite alone?"""
    command = ["openssl", "s_client", "-tls1_3", "-ciphersuites", suite]
    command += ["-connect", f"localhost:{site.stack.ports['SERVER']}", "-CAfile", "custom-ca.crt"]
    done = subprocess.run(
        command, cwd=site.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=20,
    )  # fmt: skip
    return f"New, TLSv1.3, Cipher is {suite}" in done.stdout


@after("ciphers")
def the_server_is_asked_for_nothing_else(site: StackSite) -> None:
    """Who asks for the suite sends no request: the server logs none that it cannot read."""
    log = without_ansi(flavour_of(site).log_tail(site.stack, "parsec-server", 400))
    invalid = [line for line in log.splitlines() if "Invalid HTTP request" in line]
    assert not invalid, invalid


@after("proxy-check-native", "proxy-check-docker", prepares=True)
def clients_write_before_the_backup(site: StackSite) -> None:
    """A client can write with the new certificates; the backup that follows must hold it."""
    from parsec_stack import smoke

    await_ready(site, SERVICES)
    WRITTEN[site.flavour] = smoke.write(site.stack).as_json()


@after("stop-native", "stop-docker")
def nothing_runs_after_the_stop(site: StackSite) -> None:
    """All ports are free again, and data and secrets are still there."""
    deadline = time.monotonic() + site.patience
    while taken := [name for name, port in site.stack.ports.items() if probes.listens(port)]:
        assert time.monotonic() < deadline, f"still listening: {', '.join(taken)}"
        time.sleep(POLL)
    assert (site.folder / "parsec-credentials.env").exists()
    if site.flavour == "native":
        while native.is_up(site.stack) or native.orphans(site.stack):
            assert time.monotonic() < deadline, "supervisord or what it started still runs"
            time.sleep(POLL)
        assert (site.folder / "data" / "postgres" / "PG_VERSION").exists()
    else:
        kept = {volume.attrs["Labels"][VOLUME] for volume in docker.volumes(site.stack)}
        assert {"postgres", "s3"} <= kept, f"of the volumes only {kept} are left"


@after("stop-native")
def what_was_stopped_goes_on(site: StackSite) -> None:
    """The commands that started the services and the server start them again, and end them."""
    for block in ("up-native", "wait-native", "start-native"):
        repeat(site, block)
    await_ready(site, SERVICES)
    repeat(site, "stop-native")
    nothing_runs_after_the_stop(site)


def repeat(site: StackSite, block: str) -> None:
    """Run the block's command again, which must succeed."""
    from guidewalk.tool import output_of

    command = ["bash", "-euo", "pipefail", "-c", site.commands[block]]
    said = output_of(command, site.folder, activated(site))
    assert not said.status, f"{block}, again: {said.last_line}"
