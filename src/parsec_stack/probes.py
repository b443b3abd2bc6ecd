"""Find out whether a service is ready by one quick question, as a client would ask it.

Nothing here waits.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from functools import cache
from pathlib import Path

from parsec_stack import inbox, ownership
from parsec_stack.services import SERVICES
from parsec_stack.stack import Stack

# How many seconds a service may take for one answer.
TIMEOUT = 2.0

# PostgreSQL's protocol: the request for TLS, and the message that begins a session with the names
# of a user and a database. Both begin with their length.
TLS_REQUEST = b"\0\0\0\x08\x04\xd2\x16\x2f"
STARTUP = b"\0\0\0\x25\0\3\0\0user\0parsec\0database\0parsec\0\0"

# The last line of a certificate in a file.
END = "-----END CERTIFICATE-----"
# The only certificate that may come from another CA.
PROXY_CERTIFICATE = "parsec-proxy.crt"


@cache
def trust(ca_file: Path) -> ssl.SSLContext:
    """Return a TLS client context that trusts only this CA, or this certificate of the proxy."""
    if ca_file.name != PROXY_CERTIFICATE:
        return ssl.create_default_context(cafile=str(ca_file))
    context = ssl.create_default_context(cadata=first_of(ca_file))
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    # The certificate may lack the name that this machine uses for itself.
    context.check_hostname = False
    return context


def proxy_trust(stack: Stack) -> Path:
    """Return what to judge the proxy's certificate by: our CA, or itself if it is another CA's."""
    ca_file, own = stack.ca_file, stack.folder / PROXY_CERTIFICATE
    times = tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in (ca_file, own))
    return own if of_another_ca(ca_file, own, times) else ca_file


@cache
def of_another_ca(ca_file: Path, own: Path, times: tuple[int, ...]) -> bool:
    """Return whether this is a certificate of another CA; ``times`` is when both were written."""
    from cryptography import x509

    try:
        return not ownership.is_signed_by(ca_file, x509.load_pem_x509_certificate(own.read_bytes()))
    except (OSError, ValueError):
        return False


def first_of(certificate: Path) -> str:
    """Return the service's own certificate in the file, which those of its issuers may follow."""
    return "".join(certificate.read_text().partition(END)[:2])


def trust_with(ca_file: Path, pair: Path) -> ssl.SSLContext:
    """Return a TLS client context that trusts this CA and shows the certificate of this pair."""
    context = ssl.create_default_context(cafile=str(ca_file))
    context.load_cert_chain(f"{pair}.crt", f"{pair}.key")
    return context


def status(
    port: int,
    path: str = "/",
    ca_file: Path | None = None,
    headers: dict[str, str] | None = None,
    timeout: float = TIMEOUT,
) -> int | None:
    """Return the HTTP status that the service on this port of this machine answers.

    None if none.
    """
    connection: http.client.HTTPConnection
    try:
        if ca_file:
            context = trust(ca_file)
            connection = http.client.HTTPSConnection(
                "localhost", port, timeout=timeout, context=context
            )
        else:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
        try:
            connection.request("GET", path, headers=headers or {})
            return connection.getresponse().status
        finally:
            connection.close()
    except (OSError, http.client.HTTPException):
        return None


def listens(port: int) -> bool:
    """Return whether anything accepts connections on this port of this machine."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT):
            return True
    except OSError:
        return False


def greets(port: int, ca_file: Path) -> bool:
    """Return whether an SMTP server greets over TLS with 220, service ready (RFC 5321, 4.2)."""
    try:
        with (
            socket.create_connection(("localhost", port), timeout=TIMEOUT) as connection,
            trust(ca_file).wrap_socket(connection, server_hostname="localhost") as server,
        ):
            return server.recv(3) == b"220"
    except OSError:
        return False


def catches_mail(stack: Stack) -> bool:
    """Return whether the mail catcher is ready, and its inbox accepts the login."""
    ca_file = stack.ca_file
    headers = inbox.login(stack)
    return greets(stack.ports["SMTP"], ca_file) and (
        status(stack.ports["INBOX"], "/", ca_file, headers) == 200
    )


def shows(port: int, certificate: Path, request: bytes = b"") -> bool | None:
    """Return whether the service on this port shows this file's certificate; None if it shows none.

    ``request`` asks the service for TLS, if TLS does not begin by itself.
    """
    try:
        own = ssl.PEM_cert_to_DER_cert(first_of(certificate))
        with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as plain:
            if request and not turns_to_tls(plain, request):
                return None
            return shown_by(plain) == own
    except (OSError, ValueError):
        return None


def turns_to_tls(plain: socket.socket, request: bytes) -> bool:
    """Does a service that is asked for TLS agree to it?"""
    plain.sendall(request)
    return plain.recv(1) == b"S"


def shown_by(plain: socket.socket) -> bytes | None:
    """The certificate that the service behind the connection shows, whoever has signed it."""
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    with anybody.wrap_socket(plain, server_hostname="localhost") as connection:
        return connection.getpeercert(binary_form=True)


def shows_its_own(stack: Stack, service: str) -> bool | None:
    """Return whether the service shows the certificate in its file, not one that it read before."""
    port = stack.ports[SERVICES[service].shown]
    request = TLS_REQUEST if service == "parsec-postgres" else b""
    return shows(port, stack.folder / f"{service}.crt", request)


def asks_for_password(port: int, ca_file: Path) -> bool:
    """Return whether a PostgreSQL that the CA vouches for asks for the password.

    While PostgreSQL starts, it answers with an error instead. No password is sent.
    """
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as plain:
            plain.sendall(TLS_REQUEST)
            if plain.recv(1) != b"S":
                return False
            with trust(ca_file).wrap_socket(plain, server_hostname="127.0.0.1") as connection:
                connection.sendall(STARTUP)
                return connection.recv(1) == b"R"
    except OSError:
        return False


def serves_parsec(port: int, ca_file: Path) -> bool:
    """Return whether a Parsec server answers that reaches its database.

    For an organization that does not exist it answers 404, after it has looked into the database.
    """
    headers = {"Api-Version": "5.3", "Content-Type": "application/msgpack"}
    return status(port, "/anonymous/NoSuchOrganization", ca_file, headers) == 404
