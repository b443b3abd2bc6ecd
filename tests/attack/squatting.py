"""False services in the place of those that are down: they ask everybody for a password."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from asking import SSL_REQUEST, TIMEOUT

# Questions for encryption, by TLS and by GSSAPI, that are answered by: no.
ENCRYPTION = (SSL_REQUEST, bytes([0, 0, 0, 8, 4, 210, 22, 48]))
# A request for the password in clear text; from there the answer begins with p.
CLEAR_TEXT = b"R\0\0\0\x08\0\0\0\x03"


def squat(channel: Connection, port: int) -> None:
    """Take the port, say so, and send every password that somebody gives away."""
    with socket.create_server(("127.0.0.1", port)) as server:
        channel.send(b"ready")
        while True:
            client, _ = server.accept()
            threading.Thread(target=ask, args=(channel, client), daemon=True).start()


def ask(channel: Connection, client: socket.socket) -> None:
    """Ask one client."""
    client.settimeout(TIMEOUT)
    with client, suppress(OSError):
        while (said := client.recv(1024)) in ENCRYPTION:
            client.sendall(b"N")
        if said:
            client.sendall(CLEAR_TEXT)
            if (answer := client.recv(1024)).startswith(b"p"):
                channel.send(answer[5:].rstrip(b"\0"))


def received(channel: Connection, seconds: float) -> list[bytes]:
    """The passwords that have come, once none comes for so long."""
    found = []
    while channel.poll(seconds):
        found.append(channel.recv())
    return found


def own_context(folder: Path) -> ssl.SSLContext:
    """TLS by a certificate that anybody can make, for the name of this machine."""
    pair = folder / "squatter.key", folder / "squatter.crt"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command += ["-keyout", str(pair[0]), "-out", str(pair[1])]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair[1], pair[0])
    return context


def squat_mail(channel: Connection, smtp: int, inbox: int, context: ssl.SSLContext) -> None:
    """Take both ports of the mail catcher, say so, and send all that anybody tells them."""
    talks = {smtp: take_mail, inbox: ask_login}
    servers = {socket.create_server(("127.0.0.1", port)): talk for port, talk in talks.items()}
    for server, talk in servers.items():
        threading.Thread(target=serve, args=(channel, server, context, talk)).start()
    channel.send(b"ready")


Talk = Callable[[Connection, socket.socket], None]


def serve(channel: Connection, server: socket.socket, context: ssl.SSLContext, talk: Talk) -> None:
    """Talk to whoever comes, with TLS to those who begin by it."""
    while True:
        client, _ = server.accept()
        threading.Thread(target=meet, args=(channel, client, context, talk), daemon=True).start()


def meet(channel: Connection, client: socket.socket, context: ssl.SSLContext, talk: Talk) -> None:
    """Talk to one client; a mail program without TLS waits for the first word."""
    client.settimeout(TIMEOUT)
    with client, suppress(OSError):
        first = b""
        with suppress(TimeoutError):
            first = client.recv(1, socket.MSG_PEEK)
        if first == b"\x16":
            with context.wrap_socket(client, server_side=True) as encrypted:
                talk(channel, encrypted)
        else:
            talk(channel, client)


def take_mail(channel: Connection, client: socket.socket) -> None:
    """SMTP: believe every login, and take every mail."""
    answers = {
        b"EHLO": b"250-here\r\n250 AUTH PLAIN LOGIN",
        b"AUTH": b"235",
        b"DATA": b"354",
        b"QUIT": b"221",
    }
    client.sendall(b"220 here\r\n")
    with client.makefile("rb") as lines:
        for line in lines:
            if not line.startswith((b"EHLO", b"HELO")):
                channel.send(line)
            client.sendall(answers.get(line[:4].upper(), b"250") + b" so be it\r\n")


def ask_login(channel: Connection, client: socket.socket) -> None:
    """HTTP: ask for the login, and say nothing else."""
    said = client.recv(65536)
    channel.send(said)
    client.sendall(
        b"HTTP/1.1 401 Who?\r\nWWW-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n"
    )
