"""What counts as an answer of a service, and who else's answer does not."""

import socket
import ssl
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest

from parsec_stack import probes
from parsec_stack.stack import ARTIFACTS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the certificates that the guide's script makes."""
    folder = tmp_path_factory.mktemp("certificates")
    subprocess.run([ARTIFACTS / "setup-tls.sh"], cwd=folder, check=True, capture_output=True)
    return folder


def asked(folder: Path, act: Callable[[socket.socket], None]) -> bool:
    """Is one taken for a PostgreSQL that is ready who does this when asked for TLS?"""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                assert connection.recv(8) == probes.TLS_REQUEST
                act(connection)

        thread = Thread(target=serve)
        thread.start()
        port = server.getsockname()[1]
        seen = probes.asks_for_password(port, folder / "custom-ca.crt")
        thread.join()
        return seen


def postgres(folder: Path, answer: bytes) -> Callable[[socket.socket], None]:
    """The database itself, which answers so to the first message."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "parsec-postgres.crt", folder / "parsec-postgres.key")

    def act(connection: socket.socket) -> None:
        connection.sendall(b"S")
        with context.wrap_socket(connection, server_side=True) as encrypted:
            assert encrypted.recv(len(probes.STARTUP)) == probes.STARTUP
            encrypted.sendall(answer)

    return act


def test_postgres_that_asks_for_the_password(certificates: Path) -> None:
    """An authentication request means ready; an error, as while it starts, does not."""
    assert asked(certificates, postgres(certificates, b"R\0\0\0\x17"))
    assert not asked(certificates, postgres(certificates, b"E\0\0\0\x17"))


@pytest.mark.parametrize("answer", [b"N", b"R\0\0\0\x08\0\0\0\x03", b"E\0\0\0\x17", b""])
def test_postgres_without_tls(certificates: Path, answer: bytes) -> None:
    """Whoever speaks no TLS is not ready, whatever it answers."""
    assert not asked(certificates, lambda connection: connection.sendall(answer))


def test_nobody_listens(certificates: Path) -> None:
    """Where nobody listens nothing is ready."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))

        assert not probes.asks_for_password(held.getsockname()[1], certificates / "custom-ca.crt")


def test_certificate_of_the_file_or_another(certificates: Path) -> None:
    """A service is told apart that shows the certificate of its file, another one, or none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "parsec-s3.crt", certificates / "parsec-s3.key")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        port = server.getsockname()[1]

        def shows(name: str, *, speaks_tls: bool = True) -> bool | None:
            """What is seen of one connection to the server."""
            thread = Thread(target=serve, args=(speaks_tls,))
            thread.start()
            try:
                return probes.shows(port, certificates / f"{name}.crt")
            finally:
                thread.join()

        def serve(speaks_tls: bool) -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                (
                    context.wrap_socket(connection, server_side=True) if speaks_tls else connection
                ).close()

        assert shows("parsec-s3") is True
        assert shows("parsec-proxy") is False
        assert shows("parsec-s3", speaks_tls=False) is None
    assert probes.shows(port, certificates / "parsec-s3.crt") is None
