"""Somebody elsewhere, at the proxy; and whoever reaches the server itself."""

from __future__ import annotations

import asyncio
import resource
import socket
import ssl
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

import http2
import malformed
import pytest
from asking import opened, received, request
from target import Way, from_elsewhere, trusting
from weighing import MIB, PATIENCE, log_of, weighed

from parsec_stack import client, docker, native, redact, smoke
from parsec_stack.client import Device
from parsec_stack.services import SERVICES
from parsec_stack.stack import Stack

if TYPE_CHECKING:
    from attackers import Record

pytest_plugins = ["attackers"]

PLACES = ("PROXY", "SERVER")
DESCRIPTIONS = (
    *("/openapi.json", "/docs", "/redoc", "/docs/oauth2-redirect", "//openapi.json"),
    *("/%6fpenapi.json", "/x/../openapi.json", "/openapi.json/", "/openapi.json?x=y"),
)
SEED = 18
MALFORMED = 500
# A method or version of HTTP that the server does not know is no fault of its own.
NOT_IMPLEMENTED = (501, 505)
STREAMS = 1000
SLOW = 200
BODY = 100 * MIB
# More than fits into the buffers of a connection is not read of a body that is refused.
READ = 32 * MIB
# Where it is read whole all the same: the server itself bounds no body for administrators.
WHOLE = {"PROXY": set[str](), "SERVER": {"/administration/organizations"}}


@pytest.fixture(scope="module")
def device(stack: Stack) -> Device:
    """A user's device."""
    return smoke.write(stack).device


def get(stack: Stack, place: str, path: str, **headers: str) -> tuple[int, bytes]:
    """Status and answer of one request with TLS."""
    return request("127.0.0.1", stack.ports[place], path, headers=headers, context=trusting(stack))


def test_descriptions(stack: Stack, record: Record) -> None:
    """What the server tells developers is not for clients, and asking for it costs nothing."""
    started = time.monotonic()
    with weighed(stack) as weight:
        statuses = {path: get(stack, "PROXY", path)[0] for path in DESCRIPTIONS}
        directly = get(stack, "SERVER", "/openapi.json")[0]
    seconds = time.monotonic() - started

    record(seconds=seconds, **weight.figures)
    assert set(statuses.values()) == {404}, statuses
    assert directly in (404, 500)
    weight.check(log=64 * 1024)


@pytest.mark.parametrize("path", ["/", "/authenticated/NoSuchOrganization/events"])
def test_rapid_reset(stack: Stack, path: str, record: Record) -> None:
    """Thousands of requests that are taken back at once take little memory."""
    with weighed(stack) as weight, ThreadPoolExecutor(5) as pool:
        sent = sum(pool.map(lambda _: reset(stack, path, 2000), range(5)))

    record(requests=sent, **weight.figures)
    weight.check()


def reset(stack: Stack, path: str, streams: int) -> int:
    """One connection with so many of them, as long as the proxy puts up with it; how many."""
    way, sent = from_elsewhere(stack, "PROXY"), 0
    with (
        suppress(OSError),
        http2.connect(way.address, way.number, trusting(stack), way.source) as connection,
    ):
        for number, one in enumerate(http2.rapid_reset(1, streams, path)):
            connection.sendall(one)
            sent += 1
            if number % 50 == 0:
                drain(connection)
        received(connection)
    return sent


def drain(connection: socket.socket) -> None:
    """Read what has come, so that the other side can go on."""
    connection.settimeout(0.001)
    with suppress(TimeoutError, ssl.SSLWantReadError):
        while connection.recv(65536):
            pass
    connection.settimeout(10)


@pytest.mark.parametrize("place", PLACES)
def test_malformed_requests(stack: Stack, place: str, record: Record) -> None:
    """Each is refused, or cut off; nothing fails inside, and the log stays small."""
    context = trusting(stack)
    raw = list(malformed.requests(SEED, MALFORMED))
    with weighed(stack) as weight, ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(lambda one: send(stack, place, one, context), raw))
    statuses = Counter(status_of(answer) for answer in answers)
    failed = {
        status: one
        for one, answer in zip(raw, answers, strict=True)
        if (status := status_of(answer)) >= 500 and status not in NOT_IMPLEMENTED
    }

    record(requests=len(raw), statuses=str(dict(statuses)), **weight.figures)
    assert not failed, {status: one[:200] for status, one in failed.items()}
    weight.check()
    assert get(stack, place, "/")[0] == 200


def send(stack: Stack, place: str, raw: bytes, context: ssl.SSLContext) -> bytes:
    """What comes back for these bytes; nothing if the connection is cut."""
    way = from_elsewhere(stack, place)
    with (
        suppress(OSError),
        opened(way.address, way.number, context, source=way.source) as connection,
    ):
        with suppress(OSError):
            connection.sendall(raw)
        return received(connection)
    return b""


def status_of(answer: bytes) -> int:
    """The status of an answer; 0 if it is none."""
    status = answer[9:12]
    return int(status) if answer.startswith(b"HTTP/1") and status.isdigit() else 0


@pytest.mark.parametrize("place", PLACES)
def test_slow_clients(stack: Stack, place: str, record: Record) -> None:
    """Clients that never finish their request keep nobody else from being served."""
    with weighed(stack) as weight:
        held = asyncio.run(dawdle(stack, place, seconds=5.0))

    record(connections=SLOW, held=held, **weight.figures)
    assert held
    weight.check()


async def dawdle(stack: Stack, place: str, seconds: float) -> int:
    """Send a header, or a body, a byte at a time; how many connections lasted as long."""
    begun = [b"GET / HTTP/1.1\r\nX: ", malformed.head("/anonymous/X", b"Content-Length: 1000")]
    heads = [begun[number % 2] for number in range(SLOW)]
    ends = time.monotonic() + seconds
    way, context = from_elsewhere(stack, place), trusting(stack)
    return sum(await asyncio.gather(*(dawdle_once(way, context, one, ends) for one in heads)))


async def dawdle_once(way: Way, context: ssl.SSLContext, head: bytes, ends: float) -> bool:
    """One connection of these; did it last?"""
    with suppress(OSError):
        reader, writer = await open_connection(way, context)
        writer.write(head)
        while time.monotonic() < ends and not reader.at_eof():
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.5)
        lasted = not reader.at_eof()
        writer.transport.abort()
        return lasted
    return False


async def open_connection(
    way: Way, context: ssl.SSLContext
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection with TLS."""
    return await asyncio.open_connection(
        way.address,
        way.number,
        ssl=context,
        server_hostname="localhost",
        local_addr=(way.source, 0) if way.source else None,
    )


def test_idle_streams(stack: Stack, device: Device, record: Record) -> None:
    """Many clients that wait for events through the proxy keep nobody else from being served.

    Not even those behind the same address: they are colleagues.
    """
    with weighed(stack) as weight:
        opened = asyncio.run(wait_for_events(stack, device))

    record(streams=STREAMS, opened=opened, **weight.figures)
    assert opened == STREAMS
    weight.check(memory=512 * MIB)


async def wait_for_events(stack: Stack, device: Device) -> int:
    """Open all the streams, then wait a little; how many were answered and are still open."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    way, context = Way("127.0.0.1", stack.ports["PROXY"]), trusting(stack)
    head, few = head_of_stream(device), asyncio.Semaphore(50)
    streams = await asyncio.gather(*(stream(way, context, head, few) for _ in range(STREAMS)))
    await asyncio.sleep(1.0)
    opened = [one for one in streams if one and not one[0].at_eof()]
    for _, writer in filter(None, streams):
        writer.transport.abort()
    return len(opened)


def head_of_stream(device: Device) -> bytes:
    """What asks for a stream of events."""
    lines = [f"{name}: {text}".encode() for name, text in smoke.event_headers(device).items()]
    head = malformed.head(f"/authenticated/{device.organization}/events", *lines, method=b"GET")
    return head.replace(b"Api-Version: 5.3\r\n", b"", 1)


async def stream(
    way: Way, context: ssl.SSLContext, head: bytes, few: asyncio.Semaphore
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
    """One stream of events; None if it is refused."""
    async with few:
        with suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await open_connection(way, context)
            writer.write(head)
            answer = await reader.readuntil(b"\r\n\r\n")
            return (reader, writer) if answer.startswith(b"HTTP/1.1 200") else None
    return None


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("way", ["announced", "chunked"])
def test_big_bodies(stack: Stack, place: str, way: str, record: Record) -> None:
    """A body that nobody asked for is refused before it was read, whoever sends it, anywhere."""
    with weighed(stack) as weight:
        read = {path: pour(stack, place, path, way == "chunked") for path in malformed.PATHS[:-1]}

    most = max(read.values()) / MIB
    record(most_read_MiB=most, **weight.figures)
    assert {path for path, taken in read.items() if taken >= READ} == WHOLE[place], read
    weight.check(memory=64 * MIB + (BODY if WHOLE[place] else 0))


def pour(stack: Stack, place: str, path: str, chunked: bool) -> int:
    """Send a huge body until somebody objects; how much was taken."""
    form = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % BODY
    part = bytes(MIB)
    part = b"%x\r\n%s\r\n" % (len(part), part) if chunked else part
    taken = 0
    way, context = from_elsewhere(stack, place), trusting(stack)
    with (
        suppress(OSError),
        opened(way.address, way.number, context, 5, way.source) as connection,
    ):
        connection.sendall(malformed.head(path, b"Content-Type: application/msgpack", form))
        while taken < BODY and not objects(connection):
            connection.sendall(part)
            taken += MIB
    return taken


def objects(connection: socket.socket) -> bool:
    """Has the other side said something, or hung up?"""
    connection.settimeout(0.001)
    try:
        connection.recv(1)
    except (TimeoutError, ssl.SSLWantReadError):
        connection.settimeout(5)
        return False
    return True


def test_an_error_of_somebody_else(stack: Stack, device: Device, record: Record) -> None:
    """A request that fails inside the server costs no other client an answer."""
    statuses: Counter[int] = Counter()
    for _ in range(5):
        statuses[provoke(stack, device)] += 1
        for _ in range(4):
            statuses[get(stack, "PROXY", "/")[0]] += 1

    record(statuses=str(dict(statuses)))
    assert statuses[500] == 5, statuses
    assert statuses[200] == 20, statuses


def provoke(stack: Stack, device: Device) -> int:
    """Let the server fail, by the one command that it has forgotten; its status."""
    import parsec._parsec as parsec

    command = parsec.authenticated_cmds.latest.ping.Req(ping="x").dump()
    headers = device.headers() | {
        "Api-Version": client.api_version(),
        "Content-Type": client.MSGPACK,
    }
    path = f"/authenticated/{device.organization}"
    answer = request(
        "127.0.0.1", stack.ports["PROXY"], path, "POST", headers, command, trusting(stack)
    )
    return answer[0]


def test_administration(stack: Stack, record: Record) -> None:
    """Its door at the proxy is shut to other machines, and nobody guesses for long."""
    token = {"Authorization": f"Bearer {smoke.administration_token(stack)}"}
    wrong = {"Authorization": f"Bearer {'0' * 64}"}
    path = "/administration/organizations/NoSuchOrganization"
    guesses = Counter(get(stack, "PROXY", path, **wrong)[0] for _ in range(60))

    record(guesses=sum(guesses.values()), statuses=str(dict(guesses)))
    assert guesses[429] or guesses[503], guesses
    assert get(stack, "SERVER", path, **token)[0] == 404


def test_an_administrator_elsewhere(stack: Stack) -> None:
    """Where the site allows an address, the administrator there is let in, and nobody else."""
    token = {"Authorization": f"Bearer {smoke.administration_token(stack)}"}
    path = "/administration/organizations/NoSuchOrganization"
    site = stack.folder / "parsec-nginx.conf"
    kept = site.read_text()

    def asked() -> tuple[int, int]:
        """What the other machine's administrator is answered, and this one's."""
        way = from_elsewhere(stack, "PROXY")
        elsewhere = request(
            way.address, way.number, path, headers=token, context=trusting(stack), source=way.source
        )
        return elsewhere[0], get(stack, "PROXY", path, **token)[0]

    # The guesses of the test before may have used up what this machine may ask.
    deadline = time.monotonic() + PATIENCE
    while get(stack, "PROXY", path, **token)[0] == 429:
        assert time.monotonic() < deadline, "the limit of requests does not end"
        time.sleep(1)
    # Room for the requests that follow: two a second are let through.
    time.sleep(2)
    source = from_elsewhere(stack, "PROXY").source
    assert asked() == (403, 403)
    try:
        # In place, for the container has this file and no other.
        site.write_text(kept.replace("deny all;", f"allow {source};\n        deny all;"))
        restart_proxy(stack)
        assert asked() == (404, 403)
    finally:
        site.write_text(kept)
        restart_proxy(stack)


def restart_proxy(stack: Stack) -> None:
    """Let the proxy read its site anew, and wait until it serves."""
    flavour = native if stack.flavour == "native" else docker
    if stack.flavour == "native":
        native.supervisor(stack).stopProcess("parsec-proxy")
        native.supervisor(stack).startProcess("parsec-proxy")
    else:
        docker.containers(stack)["parsec-proxy"].restart()
    deadline = time.monotonic() + PATIENCE
    while get(stack, "PROXY", "/")[0] != 200:
        assert time.monotonic() < deadline, flavour.log_tail(stack, "parsec-proxy")
        time.sleep(0.1)


FORGED = "203.0.113.77"


@pytest.mark.parametrize("place", PLACES)
def test_a_forged_origin(stack: Stack, place: str) -> None:
    """What a client says of where it comes from is not believed: it is in no log."""
    for name in ("X-Forwarded-For", "X-Real-IP", "Forwarded", "X-Forwarded-Host"):
        value = f"for={FORGED}" if name == "Forwarded" else FORGED
        assert get(stack, place, f"/forged-{name}", **{name: value})[0] == 404
    log = log_of(stack, "parsec-server")

    assert b"/forged-X-Forwarded-For" in log
    assert FORGED.encode() not in log


def test_headers(stack: Stack) -> None:
    """The proxy tells no version of itself, and makes browsers stay with TLS."""
    with smoke.server_of(stack, "PROXY").connection() as connection:
        # Not of localhost, whose other ports have no TLS.
        connection.request("GET", "/", headers={"Host": "files.example.com"})
        answer = connection.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}

    assert "/" not in headers.get("server", "")
    assert "max-age=" in headers.get("strict-transport-security", "")


def test_logs(stack: Stack, record: Record) -> None:
    """After all attacks no log holds a secret, not even in pieces."""
    known = redact.of_stack(stack)
    known.look()
    # The server logs the name of its key, which opens nothing without the secret.
    name = stack.env_file("parsec-credentials.env")["S3_ACCESS_KEY"].encode()
    logs = {one: log_of(stack, one).replace(name, b"").decode(errors="replace") for one in SERVICES}

    record(**{f"{service}, KiB logged": len(log) / 1024 for service, log in logs.items()})
    assert not {service for service, log in logs.items() if known.leak(log)}
