"""Use a server as a client does, from a new organization to a block read back and a mail answered.

``write`` and ``read_back`` are for tests that do something to the server in between.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from secrets import token_bytes, token_hex
from typing import Any
from urllib.parse import urlsplit

from guidewalk.console import say
from parsec_stack import client, inbox, probes
from parsec_stack.client import Device, Server
from parsec_stack.errors import StackError
from parsec_stack.stack import Stack

BLOCK_SIZE = 65536
# Seconds between two attempts to read.
POLL = 0.05
# How many seconds an event may take to arrive; less than the pause between two keepalives.
EVENT_WITHIN = 15
LINK = re.compile(r"https://\S+?/redirect/[^\s\"'<>\]),]+")


@dataclass
class Traces:
    """What was written to a server, and the keys to read it again."""

    device: Device
    realm: str
    # The content of each block in hex, by the block's id.
    blocks: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the traces for a file; they contain a private key."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Traces:
        """Return the traces that ``as_json`` returned."""
        return cls(Device(**content["device"]), content["realm"], content["blocks"])


def run_stack(stack: Stack) -> None:
    """Exercise the stack's server directly and through its proxy; StackError at the first fault."""
    for way, port in (("directly", "SERVER"), ("through the proxy", "PROXY")):
        say(f"smoke: {way}, port {stack.ports[port]}")
        Exercise(stack, server_of(stack, port), way).run()


def server_of(stack: Stack, port: str = "SERVER") -> Server:
    """Return how to reach the stack's server: ``SERVER`` directly, ``PROXY`` through the proxy."""
    proxy = port == "PROXY"
    trusted = probes.proxy_trust(stack) if proxy else stack.folder / "custom-ca.crt"
    return Server(stack.ports[port], trusted)


def write(stack: Stack, blocks: int = 1) -> Traces:
    """Write an organization, a realm and some blocks."""
    server = server_of(stack)
    device = new_organization(stack, server)
    traces = Traces(device, client.create_realm(server, device))
    for _ in range(blocks):
        write_block(server, traces)
    return traces


def write_block(server: Server, traces: Traces, size: int = BLOCK_SIZE) -> str:
    """Write one block of random bytes, and add it to the traces once it is acknowledged.

    Returns its id in hex.
    """
    content = token_bytes(size)
    block = client.write_block(server, traces.device, traces.realm, content)
    traces.blocks[block] = content.hex()
    return block


def read_back(stack: Stack, traces: Traces, within: float = 0.0) -> None:
    """Read everything that was written; StackError for what is lost or differs.

    An object store that has just started may take some time until it finds its content; ``within``
    is how many seconds to retry.
    """
    server, deadline = server_of(stack), time.monotonic() + within
    for block, content in traces.blocks.items():
        if read_block(server, traces, block, deadline).hex() != content:
            raise StackError(f"the block {block} is not what was written")


def read_block(server: Server, traces: Traces, block: str, deadline: float) -> bytes:
    """Read one block, and retry until the deadline if the server cannot."""
    while True:
        try:
            return client.read_block(server, traces.device, traces.realm, block)
        except StackError:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL)


def new_organization(stack: Stack, server: Server, name: str = "") -> Device:
    """Create an organization of this name, or of a random one, with its first user."""
    name = name or f"Smoke{token_hex(6)}"
    path = "/organizations"
    token = administration_token(stack)
    # The proxy lets no administrator pass.
    direct = server_of(stack)
    link = direct.administrate("POST", path, token, organization_id=name)["bootstrap_url"]
    return client.bootstrap(server, link, "smoke")


def administration_token(stack: Stack) -> str:
    """Return the administration token of the stack's server."""
    return stack.env_file("parsec-admin-token.env")["PARSEC_ADMINISTRATION_TOKEN"]


class Exercise:
    """One way to reach the server, tried step by step."""

    def __init__(self, stack: Stack, server: Server, way: str) -> None:
        self.stack = stack
        self.server = server
        self.way = way
        self.device: Device
        self.traces: Traces

    def run(self) -> None:
        """Run all steps; StackError names the one that fails."""
        steps: list[tuple[str, Callable[[], str]]] = [
            ("organization", self.organization),
            ("events by HTTP/1.1", lambda: self.events(by_http1)),
            ("block", self.block),
            ("statistics", self.statistics),
            ("invitation", self.invitation),
        ]
        if self.server.port == self.stack.ports["PROXY"]:
            steps.append(("events by HTTP/2", lambda: self.events(by_http2)))
        for name, step in steps:
            started = time.monotonic()
            try:
                result = step()
            except StackError as error:
                message = f"smoke, {self.way}, {name}: {error}; see 'invoke logs'"
                raise StackError(message) from None
            say(f"  {name:<18} {result} ({time.monotonic() - started:.1f} s)")

    def organization(self) -> str:
        """Create an organization and its first user, who signs in."""
        self.device = new_organization(self.stack, self.server)
        client.sign_in(self.server, self.device)
        return f"{self.device.organization} created, its first user signed in"

    def events(self, channel: Callable[..., Any]) -> str:
        """Receive the event of a realm's creation."""
        with channel(self.server, self.device) as lines:
            await_event(lines)  # the organization's settings, which begin every stream
            self.traces = Traces(self.device, client.create_realm(self.server, self.device))
            event = await_event(lines)
        return f"{event} arrived as it happened"

    def block(self) -> str:
        """Write a block and read it back."""
        write_block(self.server, self.traces)
        block, content = self.traces.blocks.popitem()
        found = client.read_block(self.server, self.device, self.traces.realm, block)
        if found.hex() != content:
            raise StackError("what was read is not what was written")
        return f"{BLOCK_SIZE} bytes written to the object store and read back"

    def statistics(self) -> str:
        """Check that the administrator sees the block and the user."""
        path = f"/organizations/{self.device.organization}/stats"
        direct = server_of(self.stack)
        found = direct.administrate("GET", path, administration_token(self.stack))
        if (found["data_size"], found["active_users"]) != (BLOCK_SIZE, 1):
            raise StackError(f"{found['data_size']} bytes of {found['active_users']} users")
        return f"{found['data_size']} bytes, {found['active_users']} user"

    def invitation(self) -> str:
        """Invite somebody.

        Check that the mail arrives and that its link leads to the proxy and works.
        """
        address = f"bob.{token_hex(6)}@example.com"
        client.invite(self.server, self.device, address)
        mail = inbox.await_mail(self.stack, address)
        link = link_in(inbox.text_of(mail))
        promised = (self.stack.host.strip("[]").lower(), self.stack.ports["PROXY"])
        check_place(link, "https", *promised)
        check_place(client.redirection(server_of(self.stack, "PROXY"), link), "parsec3", *promised)
        client.answer_invitation(self.server, link)
        return f"mail from {mail['From']} arrived, its link answers"


def link_in(text: str) -> str:
    """Return the link in the invitation mail."""
    found = LINK.search(text)
    if not found:
        raise StackError("the mail contains no link")
    return found[0]


def check_place(link: str, scheme: str, host: str, port: int) -> None:
    """Raise StackError if the link does not lead to PARSEC_SERVER_ADDR; never show its token."""
    parts = urlsplit(link)
    if (parts.scheme, parts.hostname, parts.port or 443) != (scheme, host, port):
        place = link.partition("?")[0]
        raise StackError(f"the mail's link leads to {place}, not to {scheme}://{host}:{port}")


def event_headers(device: Device) -> dict[str, str]:
    """Return the headers that ask for a stream of events."""
    return device.headers() | {"Accept": "text/event-stream", "Api-Version": client.api_version()}


@contextmanager
def by_http1(server: Server, device: Device) -> Iterator[Iterator[str]]:
    """Yield the lines of the device's events, over HTTP/1.1."""
    with server.connection() as connection:
        connection.timeout = EVENT_WITHIN
        path = f"/authenticated/{device.organization}/events"
        connection.request("GET", path, headers=event_headers(device))
        try:
            answer = connection.getresponse()
        except TimeoutError:  # a proxy that buffers holds back even the status
            raise silence(EVENT_WITHIN) from None
        if answer.status != 200:
            raise StackError(f"the events are refused with {answer.status}")
        yield lines_until_silence(answer)


def lines_until_silence(answer: http.client.HTTPResponse) -> Iterator[str]:
    """Yield the lines of the answer as they come, until it ends or nothing comes any more."""
    with suppress(TimeoutError):
        yield from (line.decode() for line in iter(answer.readline, b""))


@contextmanager
def by_http2(server: Server, device: Device) -> Iterator[Iterator[str]]:
    """Yield the lines of the device's events, over HTTP/2.

    The headers go through a pipe, because arguments are visible to other users.
    """
    url = f"https://localhost:{server.port}/authenticated/{device.organization}/events"
    headers = "".join(
        f'header = "{name}: {text}"\n' for name, text in event_headers(device).items()
    )
    trust = [*trusting(server.ca_file), "--noproxy", "*"]
    stream = ["--http2", "--no-buffer", "--max-time", str(EVENT_WITHIN), "--dump-header", "-"]
    try:
        process = subprocess.Popen(
            # --disable must come first to ignore the user's own .curlrc.
            ["curl", "--disable", "-sS", "--fail", *trust, *stream, "--config", "-", url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    except FileNotFoundError:
        raise StackError("the program curl is missing") from None
    with process:
        assert process.stdin
        assert process.stdout
        try:
            with suppress(BrokenPipeError):  # curl has ended already, and reports why below
                process.stdin.write(headers)
                process.stdin.close()
            first = process.stdout.readline().strip()
            if first != "HTTP/2 200":
                raise StackError(f"the request for events got '{first}' instead of 'HTTP/2 200'")
            yield iter(process.stdout.readline, "")
        finally:
            process.kill()


def trusting(ca_file: Path) -> list[str]:
    """Return the options that make curl trust what ``probes.trust`` trusts."""
    if ca_file.name != probes.PROXY_CERTIFICATE:
        # On some systems curl would trust their CAs, too.
        return ["--cacert", str(ca_file), "--capath", "/dev/null"]
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = x509.load_pem_x509_certificate(ca_file.read_bytes()).public_key()
    public = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pin = base64.b64encode(hashlib.sha256(public).digest()).decode()
    return ["--insecure", "--pinnedpubkey", f"sha256//{pin}"]


def await_event(lines: Iterator[str]) -> str:
    """Return the kind of the next event; StackError if none arrives in time."""
    started = time.monotonic()
    for line in lines:
        kind, _, data = line.strip().partition(":")
        if kind == "data" and data:
            return client.event_in(data)
        if time.monotonic() > started + EVENT_WITHIN:
            break
    raise silence(time.monotonic() - started)


def silence(seconds: float) -> StackError:
    """Return the error of a stream that brought nothing."""
    return StackError(f"no event arrived in {seconds:.0f} s (a proxy must not buffer them)")
