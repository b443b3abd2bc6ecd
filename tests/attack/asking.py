"""What does a port ask of somebody who has no credentials? Found by asking, in each protocol."""

from __future__ import annotations

import base64
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

TIMEOUT = 2.0
# More of an answer is not read.
MOST = 1 << 20
# The answers. NOTHING: it serves whoever comes.
NOTHING, LOGIN, CERTIFICATE = "nothing", "a login", "a client's certificate"
ENCRYPTION, SILENCE = "encryption", "silence"
# Nothing is found at the paths that everybody knows.
HIDDEN = "a path that nobody knows"
ORDER = (NOTHING, LOGIN, HIDDEN, CERTIFICATE, ENCRYPTION)
# HTTP/2 begins so (RFC 9113, section 3.4); a server answers by its own settings, frame type 4.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
# PostgreSQL's requests for encryption and for a session (protocol 3.0).
SSL_REQUEST = bytes([0, 0, 0, 8, 4, 210, 22, 47])
STARTUP = b"\0\3\0\0user\0parsec\0database\0parsec\0\0"


Ask = Callable[[socket.socket], str]
Ways = list[tuple[Ask, str | None]]


def anybody() -> ssl.SSLContext:
    """TLS that shows no certificate and believes any."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def asked(address: str, port: int, alpn: str | None) -> socket.socket:
    """A connection, with TLS if a protocol is named for it, or without."""
    context = None if alpn is None else anybody()
    if context and alpn:
        context.set_alpn_protocols([alpn])
    return opened(address, port, context)


def what_it_asks(address: str, port: int) -> str:
    """The least that it is satisfied with in any protocol, with TLS and without."""
    return best(FIRST, address, port) or best(THEN, address, port) or SILENCE


def best(ways: Ways, address: str, port: int) -> str:
    """The least in any of these ways; empty if the port understands none."""
    with ThreadPoolExecutor(len(ways)) as pool:
        answers = list(pool.map(lambda way: answer_of(way[0], address, port, way[1]), ways))
    return min(filter(None, answers), key=ORDER.index, default="")


def answer_of(ask: Ask, address: str, port: int, alpn: str | None) -> str:
    """What it asks for in one protocol; empty if it does not speak it."""
    try:
        with asked(address, port, alpn) as connection:
            return ask(connection)
    except ssl.SSLError as error:
        refused = ("certificate required", "handshake failure", "bad certificate")
        return CERTIFICATE if any(words in str(error).lower() for words in refused) else ""
    except (OSError, EOFError):
        return ""


def http(connection: socket.socket) -> str:
    """GET /: a status of the three hundreds that leads to a login counts as one."""
    connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    answer = received(connection)
    if not answer.startswith(b"HTTP/1."):
        return ""
    status, head = answer[9:12], answer.partition(b"\r\n\r\n")[0].lower()
    if status in (b"401", b"403") or b"location: /login" in head:
        return LOGIN
    if status == b"404":
        return HIDDEN
    if b"http request" in answer.lower() and b"https" in answer.lower():
        return ENCRYPTION
    return NOTHING


def http2(connection: socket.socket) -> str:
    """The preface of HTTP/2, in which gRPC is spoken: settings are an answer."""
    connection.sendall(PREFACE)
    answer = connection.recv(9)
    return NOTHING if len(answer) == 9 and answer[3] == 4 else ""


def smtp(connection: socket.socket) -> str:
    """A mail from somebody who has not signed in."""
    with connection.makefile("rb") as lines:
        if not lines.readline().startswith(b"220"):
            return ""
        for line in (b"EHLO stranger", b"MAIL FROM:<a@example.com>"):
            connection.sendall(line + b"\r\n")
            answer = lines.readline()
            while answer[3:4] == b"-":
                answer = lines.readline()
    if answer.startswith(b"250"):
        return NOTHING
    return ENCRYPTION if b"TLS" in answer else LOGIN


def postgresql(connection: socket.socket) -> str:
    """A session as parsec: R asks for something, unless its number is 0; E refuses."""
    connection.sendall((len(STARTUP) + 4).to_bytes(4) + STARTUP)
    answer = connection.recv(9)
    if answer[:1] == b"E" and connection.recv(1) != b"":
        return ENCRYPTION
    if answer[:1] != b"R":
        return ""
    return LOGIN if int.from_bytes(answer[5:9]) else NOTHING


def postgresql_encrypted(connection: socket.socket) -> str:
    """The same, with PostgreSQL's own way to TLS."""
    connection.sendall(SSL_REQUEST)
    if connection.recv(1) != b"S":
        return ""
    with anybody().wrap_socket(connection, server_hostname="localhost") as encrypted:
        encrypted.sendall((len(STARTUP) + 4).to_bytes(4) + STARTUP)
        answer = encrypted.recv(9)
    if answer[:1] != b"R":
        return ""
    return LOGIN if int.from_bytes(answer[5:9]) else NOTHING


# Each with None for no TLS, or the name of the protocol within it. Web servers speak HTTP/2 as
# well; who speaks nothing but HTTP/2 speaks gRPC.
FIRST: Ways = [(http, None), (http, ""), (smtp, None), (smtp, "")]
FIRST += [(postgresql, None), (postgresql_encrypted, None)]
THEN: Ways = [(http2, None), (http2, "h2")]


def received(connection: socket.socket, until: Callable[[bytes], bool] = lambda _: False) -> bytes:
    """What comes until the other side has said all, or says nothing more in time."""
    whole = b""
    with suppress(TimeoutError):
        while len(whole) < MOST and not until(whole) and (part := connection.recv(4096)):
            whole += part
    return whole


def opened(
    address: str,
    port: int,
    context: ssl.SSLContext | None,
    timeout: float = TIMEOUT,
    source: str = "",
) -> socket.socket:
    """A connection, with TLS if there is a context, from the source if one is named."""
    plain = socket.create_connection((address, port), timeout, (source, 0))
    if not context:
        return plain
    try:
        return context.wrap_socket(plain, server_hostname="localhost")
    except OSError:
        plain.close()
        raise


def request(
    address: str,
    port: int,
    path: str,
    method: str = "GET",
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    context: ssl.SSLContext | None = None,
    source: str = "",
) -> tuple[int, bytes]:
    """Status and answer of one request, with TLS if there is a context; status 0 for none."""
    own = {"Host": f"localhost:{port}", "Content-Length": str(len(body)), "Connection": "close"}
    lines = [f"{name}: {text}" for name, text in (own | (headers or {})).items()]
    head = "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""])
    try:
        with opened(address, port, context, source=source) as connection:
            connection.sendall(head.encode() + body)
            answer = received(connection)
    except OSError:
        return 0, b""
    status = answer[9:12]
    return (int(status) if status.isdigit() else 0), answer.partition(b"\r\n\r\n")[2]


def basic(user: str, password: str) -> dict[str, str]:
    """The header of a login (RFC 7617)."""
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


def greeting(connection: socket.socket) -> bytes:
    """What a mail server says at first, and what it offers."""
    with connection.makefile("rb") as lines:
        first = lines.readline()
        if not first.startswith(b"220"):
            return b""
        connection.sendall(b"EHLO stranger\r\n")
        offers = [lines.readline()]
        while offers[-1][3:4] == b"-":
            offers.append(lines.readline())
    return b"".join([first, *offers])
