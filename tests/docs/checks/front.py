"""What nginx does with the guide's files, before a server that notes what it is asked."""

from __future__ import annotations

import asyncio
import http.client
import inspect
import os
import select
import socket
import ssl
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from threading import Event, Lock, Thread
from typing import NamedTuple

import psutil
import uvicorn

from checks.common import registry, workshop
from checks.files import SITE
from checks.services import OTHER_TLS12_SUITES, TLS12_SUITES
from guidewalk.registry import FileCheck
from guidewalk.tool import output_of
from parsec_stack.verify import nginx
from parsec_stack.verify.stack_files import StackFiles

MAIN, SETUP = "nginx.conf", "setup-tls.sh"
# As nginx is started in its container, which has no other folder to write into.
ARGUMENTS = ("-e", "stderr", "-c", MAIN, "-g", "daemon off;")
WAITS = 40.0
POLL = 0.02
# After so many seconds the Parsec server closes a connection that rests.
RESTS = inspect.signature(uvicorn.Config).parameters["timeout_keep_alive"].default
# nginx by itself closes a connection after so many requests.
USUAL_REQUESTS = 1000
# nginx by itself lets a client have so many questions open by HTTP/2.
USUAL_STREAMS = 128
# Who tries tokens gets this many tries at first, and so many more a second.
GUESSES, GUESSES_A_SECOND = 20, 4
GUESSING = 2.0
# So many streams do not begin within so many seconds.
STREAMS, A_MOMENT = 100, 0.6
# With this pair the server is the one that nginx expects.
PAIR = "parsec-server"
READY = "/ready"
MISMATCH = "upstream SSL certificate does not match"
EVENTS = "/authenticated/MyOrg/events"
FAILURE = b"a failure of the server's"
# For so many seconds the name service's word holds; nginx asks again much sooner.
LIVES, SOON = 600, 10.0
# How a client begins that speaks HTTP/2: its preface and empty settings.
HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"
MAX_CONCURRENT_STREAMS = 3
# So many requests are more than the server is asked at once.
MANY = 300
# Two addresses of this machine.
HERE, ELSEWHERE = "127.0.0.1", "127.0.0.2"
YEAR = 365 * 24 * 3600
CERTIFYING = Lock()


def about_nginx(*names: str) -> Callable[[FileCheck], FileCheck]:
    """Decorate a check of these files where there is an nginx; where not, docs-test notes it."""
    return registry.about(*names) if nginx.TOOL.path else lambda check: check


class Asked(NamedTuple):
    """What the server was asked, when, and by which of its connections."""

    connection: int
    path: str
    headers: dict[str, str]
    moment: float


class Server:
    """In the place of the Parsec server: does what a path says, and notes everything."""

    def __init__(self, folder: Path, pair: str) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(folder / f"{pair}.crt", folder / f"{pair}.key")
        self.asked: list[Asked] = []
        self.connections = 0
        self.ended_by: list[str] = []
        self.left: list[str] = []
        self.port = 0
        self.loop: asyncio.AbstractEventLoop
        self.ended: asyncio.Event
        started = Event()
        self.thread = Thread(target=lambda: asyncio.run(self.serve(started)), daemon=True)
        self.thread.start()
        assert started.wait(WAITS)

    async def serve(self, started: Event) -> None:
        """Serve until the end."""
        self.loop, self.ended = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(
            self.serve_one, HERE, ssl=self.context, backlog=2 * MANY
        )
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        await self.ended.wait()

    def is_asked(self, path: str) -> bool:
        """Has the server been asked for this?"""
        return any(asked.path == path for asked in self.asked)

    def end(self) -> None:
        """Serve no more."""
        self.loop.call_soon_threadsafe(self.ended.set)
        self.thread.join(WAITS)

    async def serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection, as long as it lasts."""
        with suppress(ConnectionError, ssl.SSLError), closing(writer):
            self.connections += 1
            number = self.connections
            waits = WAITS
            while await self.answer(number, reader, writer, waits):
                waits = RESTS

    async def answer(
        self,
        number: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        waits: float,
    ) -> bool:
        """Answer the next request, if it comes within so many seconds; does the connection last?"""
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), waits)
        except (TimeoutError, asyncio.IncompleteReadError) as error:
            self.ended_by.append("server" if isinstance(error, TimeoutError) else "proxy")
            return False
        first, *lines = head.decode().split("\r\n")[:-2]
        path = first.split()[1]
        headers = dict(line.split(": ", 1) for line in lines)
        if path != READY:
            self.asked.append(Asked(number, path, headers, time.monotonic()))
        if path == EVENTS:
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nnews\n\r\n")
        if path in (EVENTS, "/held"):
            await reader.read(1)  # until nobody waits for more
            self.left.append(path)
            return False
        if path == "/failed":
            writer.write(b"HTTP/1.1 500 Oh\r\nContent-Length: %d\r\n\r\n" % len(FAILURE) + FAILURE)
            await writer.drain()
            return False
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()
        return True


class Names:
    """In the place of Docker's name service: where the server is, for a long time."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((HERE, 0))
        self.port = self.socket.getsockname()[1]
        self.asked: list[tuple[str, int]] = []
        Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        """Answer until the end."""
        with suppress(OSError):
            while True:
                question, client = self.socket.recvfrom(512)
                self.socket.sendto(self.answer(question), client)

    def answer(self, question: bytes) -> bytes:
        """The address, if it is asked for one of IPv4 (RFC 1035, 4.1)."""
        labels, place = [], 12
        while length := question[place]:
            labels.append(question[place + 1 : place + 1 + length].decode())
            place += 1 + length
        kind = int.from_bytes(question[place + 1 : place + 3])
        self.asked.append((".".join(labels), kind))
        found = kind == 1
        record = b"\xc0\x0c\0\1\0\1" + LIVES.to_bytes(4) + b"\0\4\x7f\0\0\1"
        head = question[:2] + b"\x81\x80\0\1" + int(found).to_bytes(2) + bytes(4)
        return head + question[12 : place + 5] + (record if found else b"")

    def end(self) -> None:
        """Answer no more."""
        self.socket.close()


class Front:
    """nginx, with the guide's files, before such a server."""

    def __init__(self, files: StackFiles, base: Path) -> None:
        self.folder, self.prefix, self.log = base / "files", base / "prefix", base / "log"
        for folder in (self.folder, self.prefix):
            folder.mkdir()
        with CERTIFYING:  # once is enough for all checks
            made = certified(files.text(SETUP))
        for name, content in made.items():
            (self.folder / name).write_bytes(content)
        self.site, self.main = files.text(SITE), files.text(MAIN)
        self.http, self.https = free_ports(2)
        self.names = Names()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, server: Server) -> None:
        """Start nginx with the site of the page, moved to places of its own."""
        text = self.site
        for shown, here in (
            ("/run/secrets/", f"{self.folder}/"),
            ("listen 80;", f"listen {HERE}:{self.http};"),
            ("listen 443 ", f"listen {HERE}:{self.https} "),
            ("resolver 127.0.0.11 ", f"resolver {HERE}:{self.names.port} "),
            ("server behind-proxy:6777 ", f"server behind-proxy:{server.port} "),
        ):
            text = text.replace(shown, here)
        (self.prefix / "site.conf").write_text(text)
        (self.prefix / MAIN).write_text(self.main)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [nginx.TOOL.path, "-p", str(self.prefix), *ARGUMENTS],
                cwd=self.prefix, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={},
            )  # fmt: skip
        eventually(self.listens, lambda: f"nginx does not listen: {self.log.read_text()}")
        # Until it knows where the server is, it answers so that there is none.
        eventually(lambda: self.names.asked, lambda: "nginx does not ask where the server is")

    def listens(self) -> bool:
        """Does nginx listen?"""
        assert self.process
        assert self.process.poll() is None, f"nginx ends: {self.log.read_text()}"
        with socket.socket() as probe:
            return probe.connect_ex((HERE, self.https)) == 0

    def end(self) -> None:
        """Stop nginx."""
        if self.process:
            self.process.terminate()
            self.process.wait(WAITS)

    def trust(self) -> ssl.SSLContext:
        """A client that trusts the CA alone."""
        return ssl.create_default_context(cafile=str(self.folder / "custom-ca.crt"))

    def client(
        self, context: ssl.SSLContext | None = None, source: str = HERE
    ) -> http.client.HTTPSConnection:
        """A client of this address."""
        context = context or self.trust()
        return http.client.HTTPSConnection(
            "localhost", self.https, timeout=WAITS, context=context, source_address=(source, 0)
        )

    def ask(self, path: str, source: str = HERE, **headers: str) -> tuple[int, str]:
        """Status and text of what a new client is answered."""
        with closing(self.client(source=source)) as client:
            return answered(client, path, **headers)

    @contextmanager
    def connected(
        self, context: ssl.SSLContext, session: ssl.SSLSession | None = None
    ) -> Iterator[ssl.SSLSocket]:
        """A connection of such a client."""
        with (
            socket.create_connection(("localhost", self.https), timeout=WAITS) as plain,
            context.wrap_socket(plain, server_hostname="localhost", session=session) as client,
        ):
            yield client

    def takes(self, context: ssl.SSLContext) -> bool:
        """Is such a client let in?"""
        try:
            with self.connected(context):
                return True
        except (ssl.SSLError, ConnectionError):
            return False


@contextmanager
def front(files: StackFiles, pair: str = PAIR) -> Iterator[tuple[Front, Server]]:
    """nginx before a server with this certificate, both ended afterwards."""
    with workshop() as base, ExitStack() as ends:
        place = Front(files, base)
        server = Server(place.folder, pair)
        ends.callback(server.end)
        ends.callback(place.names.end)
        ends.callback(place.end)
        place.start(server)
        if pair == PAIR:
            eventually(
                lambda: place.ask(READY)[0] == 200,
                lambda: f"nginx does not reach the server: {place.log.read_text()}",
            )
        yield place, server


@cache
def certified(script: str) -> dict[str, bytes]:
    """The keys and certificates that the script makes."""
    with tempfile.TemporaryDirectory(prefix="front-") as folder:
        (Path(folder) / SETUP).write_text(script)
        said = output_of(["bash", SETUP], Path(folder))
        assert not said.status, said.last_line
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def free_ports(count: int) -> list[int]:
    """Ports at which nobody listens now."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((HERE, 0))
        return [one.getsockname()[1] for one in sockets]


def eventually(
    holds: Callable[[], object], otherwise: Callable[[], str], within: float = WAITS
) -> None:
    """Wait until it holds; AssertionError if it never does."""
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, otherwise()
        time.sleep(POLL)


def answered(client: http.client.HTTPSConnection, path: str, **headers: str) -> tuple[int, str]:
    """Status and text of what the client is answered, whose connection must last."""
    client.request("GET", path, headers=headers)
    answer = client.getresponse()
    assert not answer.will_close, f"the connection ends with {path}"
    return answer.status, answer.read().decode()


@about_nginx(SITE)
def the_server_is_told_who_asks(files: StackFiles) -> None:
    """The server is told from where a client comes and whom it asked, whatever it claims."""
    host = "files.example.com:8443"
    claims = {
        "X-Forwarded-For": "192.0.2.9", "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": "evil.example", "X-Forwarded-Port": "1", "Forwarded": "for=192.0.2.8",
    }  # fmt: skip
    with front(files) as (place, server):
        assert place.ask("/x?y", Host=host, **claims) == (200, "ok")
        (asked,) = server.asked
    assert asked.path == "/x?y"
    assert asked.headers == {
        "Accept-Encoding": "identity",  # the client's own
        "Host": host, "X-Forwarded-Host": host, "X-Forwarded-For": HERE,
        "X-Forwarded-Proto": "https", "X-Forwarded-Port": str(place.https),
    }, asked.headers  # fmt: skip


@about_nginx(SITE, MAIN)
def another_server_is_not_asked(files: StackFiles) -> None:
    """A server with another's certificate is asked nothing, and the log on stderr says so."""
    with front(files, "parsec-s3") as (place, server):
        for path in ("/", EVENTS):
            assert place.ask(path)[0] == 502, path
        eventually(
            lambda: place.ask("/")[0] == 502 and MISMATCH in place.log.read_text(),
            lambda: f"nginx says: {place.log.read_text()}",
        )
        assert not server.asked


@about_nginx(SITE)
def connections_are_kept_while_they_last(files: StackFiles) -> None:
    """Many requests need one connection, which nginx closes before the server would."""
    with front(files) as (place, server):
        with closing(place.client()) as client:
            for _ in range(USUAL_REQUESTS + 10):
                assert answered(client, "/") == (200, "ok")
        assert len({asked.connection for asked in server.asked}) == 1
        eventually(
            lambda: len(server.ended_by) == server.connections,
            lambda: f"of {server.connections} connections {len(server.ended_by)} have ended",
        )
        # On a busy machine nginx may once be too late.
        assert "proxy" in server.ended_by, "the server closes all connections"


@about_nginx(SITE)
def clients_get_tls_of_today(files: StackFiles) -> None:
    """TLS is of version 1.2 or 1.3, and 1.2 with ephemeral keys and authenticated encryption."""
    versions, taken = ssl.TLSVersion, set()
    with front(files) as (place, _):
        for version in (versions.TLSv1_1, versions.TLSv1_2, versions.TLSv1_3):
            context = place.trust()
            context.minimum_version = context.maximum_version = version
            context.set_ciphers("ALL:@SECLEVEL=0")
            assert place.takes(context) == (version != versions.TLSv1_1), version
        for suite in TLS12_SUITES | OTHER_TLS12_SUITES:
            context = place.trust()
            context.maximum_version = versions.TLSv1_2
            context.set_ciphers(f"{suite}:@SECLEVEL=0")
            if place.takes(context):
                taken.add(suite)
    assert taken <= TLS12_SUITES, taken
    for kind in ("-GCM-", "-CHACHA20-"):
        assert any(kind in suite for suite in taken), taken


@about_nginx(SITE)
def sessions_are_taken_up_again(files: StackFiles) -> None:
    """A client that comes back without a ticket need not begin anew."""
    with front(files) as (place, _):
        context = place.trust()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_TICKET
        with place.connected(context) as first:
            first.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert first.recv(1)
            session = first.session
        with place.connected(context, session) as again:
            assert again.session_reused


@about_nginx(SITE)
def questions_at_once_are_few(files: StackFiles) -> None:
    """A client by HTTP/2 may have fewer questions open than nginx would let it have."""
    with front(files) as (place, _):
        context = place.trust()
        context.set_alpn_protocols(["h2"])
        with place.connected(context) as client:
            assert client.selected_alpn_protocol() == "h2"
            client.sendall(HTTP2)
            assert settings(client)[MAX_CONCURRENT_STREAMS] < USUAL_STREAMS


def settings(client: ssl.SSLSocket) -> dict[int, int]:
    """What the server's first frame says of it (RFC 9113, 6.5)."""
    with client.makefile("rb") as stream:
        head = stream.read(9)
        assert head[3] == 4, head
        content = stream.read(int.from_bytes(head[:3]))
    pairs = (content[place : place + 6] for place in range(0, len(content), 6))
    return {int.from_bytes(pair[:2]): int.from_bytes(pair[2:]) for pair in pairs}


@about_nginx(SITE)
def an_address_leaves_room_for_others(files: StackFiles) -> None:
    """However many requests an address has open, another's is answered; it has most of them."""
    with front(files) as (place, server), ExitStack() as opened:
        context = place.trust()
        # So nothing but an answer comes after the handshake.
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        clients = [opened.enter_context(closing(place.client(context))) for _ in range(MANY)]
        for client in clients:
            client.request("GET", "/held")
        eventually(
            lambda: len(server.asked) + refused(clients) == MANY,
            lambda: f"of {MANY} requests {len(server.asked)} are held, {refused(clients)} refused",
        )
        held = len(server.asked)
        assert place.ask("/", ELSEWHERE) == (200, "ok")
        assert MANY / 2 < held < MANY, held


def refused(clients: list[http.client.HTTPSConnection]) -> int:
    """How many of the clients have an answer."""
    return len(select.select([client.sock for client in clients], [], [], 0)[0])


@about_nginx(SITE)
def guesses_are_slowed_down(files: StackFiles) -> None:
    """Who tries one token after the other is told to wait, as often as not."""
    counted = Counter[int]()
    with front(files) as (place, server), closing(place.client()) as client:
        started = time.monotonic()
        while (took := time.monotonic() - started) < GUESSING:
            counted[answered(client, "/administration/organizations")[0]] += 1
        assert not server.asked
    assert set(counted) == {403, 429}, counted
    assert counted[403] < GUESSES + GUESSES_A_SECOND * took, counted


@about_nginx(SITE)
def streams_begin_one_after_the_other(files: StackFiles) -> None:
    """All streams of events of an address begin, not all at once, and each is passed on at once."""
    with front(files) as (place, server), ExitStack() as opened:
        clients = [opened.enter_context(closing(place.client())) for _ in range(STREAMS)]
        for client in clients:
            client.connect()
        for client in clients:
            client.request("GET", EVENTS)
        for client in clients:
            answer = client.getresponse()
            assert (answer.status, answer.readline()) == (200, b"news\n")
        moments = sorted(asked.moment for asked in server.asked)
        assert moments[-1] - moments[0] > A_MOMENT, "nothing slows them down"


@about_nginx(SITE)
def what_clients_leave_ends_if_it_is_a_stream(files: StackFiles) -> None:
    """A request whose client has left is answered all the same; a stream of events ends."""
    with front(files) as (place, server):
        for path in ("/held", EVENTS):
            with closing(place.client()) as client:
                client.request("GET", path)
                eventually(partial(server.is_asked, path), lambda: f"asked is {server.asked}")
        eventually(lambda: server.left, lambda: "nginx keeps the stream of a client that has left")
        assert server.left == [EVENTS]


@about_nginx(SITE)
def nginx_answers_for_a_server_that_fails(files: StackFiles) -> None:
    """After an error of the server's nginx says the same by itself, and connects anew."""
    with front(files) as (place, server):
        with closing(place.client()) as client:
            client.request("GET", "/failed")
            answer = client.getresponse()
            assert (answer.status, answer.read().decode()) == (500, http.client.responses[500])
            assert answer.getheader("Content-Type") == "text/plain"
        assert place.ask("/") == (200, "ok")
        failed, after = server.asked
        assert after.connection != failed.connection


@about_nginx(SITE)
def browsers_stay_with_tls(files: StackFiles) -> None:
    """nginx tells its version to nobody, and browsers to stay with TLS, but for localhost."""
    told = {}
    with front(files) as (place, _), closing(place.client()) as client:
        for host in ("localhost", "files.example.com"):
            client.request("GET", "/", headers={"Host": host})
            answer = client.getresponse()
            answer.read()
            assert answer.getheader("Server") == "nginx"
            told[host] = answer.getheader("Strict-Transport-Security")
    assert told["localhost"] is None
    name, _, seconds = (told["files.example.com"] or "").partition("=")
    assert name == "max-age", told
    assert YEAR / 2 <= int(seconds) <= 2 * YEAR, told


@about_nginx(SITE)
def the_server_is_followed_from_place_to_place(files: StackFiles) -> None:
    """nginx asks again and again where the server is, soon and by IPv4 alone."""
    with front(files) as (place, _):
        names = place.names
        eventually(
            lambda: names.asked.count(("behind-proxy", 1)) > 1,
            lambda: f"within {SOON} s nginx asks only {names.asked}",
            SOON,
        )
        assert {kind for _, kind in names.asked} == {1}


@about_nginx(MAIN)
def nginx_writes_no_more_than_it_must(files: StackFiles) -> None:
    """In its prefix nginx writes its number alone, and has a process for each processor."""
    with front(files) as (place, _):
        assert place.ask("/") == (200, "ok")
        assert place.process
        written = {path.name for path in place.prefix.iterdir() if path.is_file()}
        (number,) = written - {MAIN, "site.conf"}
        assert int((place.prefix / number).read_text()) == place.process.pid
        assert len(psutil.Process(place.process.pid).children()) == os.cpu_count()
