"""A false PostgreSQL in the place of one that is down: it asks everybody for a password."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from multiprocessing.connection import Connection

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
