"""Something that has taken PostgreSQL's port: it asks whoever comes for the password, in clear.

usage: python squatter.py COMMAND [ARGUMENT ...]

Runs the command with a squatter as its database, tells what it prints, and ends with TOLD if the
squatter was told a password. CERTIFICATE may hold a certificate with its key: then it speaks TLS.
The standard library is enough, so that a container can run it.
"""

from __future__ import annotations

import os
import re
import socketserver
import ssl
import struct
import subprocess
import sys
import tempfile
import threading

TOLD = 99
STARTUP, TLS_REQUEST = 196608, 80877103
# A message of PostgreSQL's: its kind, its length, and here the request for the password itself.
IN_CLEAR = b"R" + struct.pack("!II", 8, 3)


class Squatter(socketserver.ThreadingTCPServer):
    """Listens on a port of this machine's, and counts what it is told."""

    daemon_threads = True

    def __init__(self, certificate: str = "") -> None:
        """Begin on a free port; ``certificate`` is in PEM, with its key."""
        super().__init__(("127.0.0.1", 0), Visit)
        self.port = int(self.server_address[1])
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if certificate else None
        if self.context:
            with tempfile.NamedTemporaryFile("w") as file:
                file.write(certificate)
                file.flush()
                self.context.load_cert_chain(file.name)
        # How often somebody came, and how often with a password.
        self.visits = self.told = 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that go away."""


class Visit(socketserver.BaseRequestHandler):
    """One client."""

    server: Squatter

    def handle(self) -> None:
        """Ask it for the password."""
        self.server.visits += 1
        connection = self.request
        code = 0
        while code != STARTUP:
            length, code = struct.unpack("!II", connection.recv(8))
            if code == TLS_REQUEST and self.server.context:
                connection.sendall(b"S")
                connection = self.server.context.wrap_socket(connection, server_side=True)
            elif code != STARTUP:
                connection.sendall(b"N")
        connection.recv(length)
        connection.sendall(IN_CLEAR)
        if connection.recv(1) == b"p":
            self.server.told += 1


def main() -> None:
    """Run the command of the command line."""
    with Squatter(os.environ.get("CERTIFICATE", "")) as squatter:
        here = {"STACK_POSTGRES_PORT": str(squatter.port)}
        if address := os.environ.get("PARSEC_DB"):
            here["PARSEC_DB"] = re.sub(r"@[^/]+/", f"@127.0.0.1:{squatter.port}/", address)
        status = subprocess.run(sys.argv[1:], env=os.environ | here).returncode
        if not squatter.visits:
            sys.exit("nobody has asked the squatter")
        sys.exit(TOLD if squatter.told else status)


if __name__ == "__main__":
    main()
