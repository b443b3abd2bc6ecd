"""The server's healthcheck, run as it stands in the compose file, against a server that is told."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any
from unittest import mock

from checks.files import COMPOSE, about, services
from parsec_stack.verify.stack_files import StackFiles

# So many silences in a row, and the server is killed.
LIMIT = 5
API_VERSION = "5.3"


class Container:
    """What the healthcheck finds: the server's answers by path, and what it did meanwhile."""

    def __init__(self, code: str, folder: Path) -> None:
        self.code = code
        self.folder = folder
        self.answers: dict[str, int | Exception] = {}
        self.asked: list[tuple[Any, ...]] = []
        self.killed: list[tuple[int, int]] = []

    def connect(self, host: str, port: int, *, timeout: float, context: Any) -> Any:
        """A connection whose requests are noted."""
        connection = mock.Mock(spec=HTTPSConnection)

        def request(method: str, path: str, *, headers: dict[str, str]) -> None:
            self.asked.append((host, port, timeout, context, method, path, tuple(headers.items())))
            answer = self.answers[path]
            if isinstance(answer, Exception):
                raise answer
            connection.getresponse.return_value.status = answer

        connection.request = request
        return connection

    def path(self, name: str) -> Path:
        """The file of this name in the container."""
        assert name.startswith("/tmp/"), f"{name} is not writable in the container"
        return self.folder / name.removeprefix("/tmp/")

    def check(self, **answers: int | Exception) -> Any:
        """With what the healthcheck ends when the server answers so; 0 if it is content."""
        self.answers = {"/": answers["root"], "/anonymous/NoSuchOrganization": answers["database"]}
        self.asked.clear()
        with (
            mock.patch("http.client.HTTPSConnection", self.connect),
            mock.patch("ssl.create_default_context", lambda *, cafile: cafile),
            mock.patch("os.kill", lambda *given: self.killed.append(given)),
            mock.patch("pathlib.Path", self.path),
        ):
            try:
                exec(compile(self.code, "healthcheck", "exec"), {})  # noqa: S102 - the guide's own
            except SystemExit as end:
                return end.code or 0
        raise AssertionError("the healthcheck ends without a verdict")


@contextmanager
def container(files: StackFiles) -> Iterator[Container]:
    """The container of the server, with nothing asked yet."""
    test = services(files, COMPOSE)["parsec-server"]["healthcheck"]["test"]
    assert test[:3] == ["CMD", "python", "-c"], test[:3]
    assert len(test) == 4, test
    with tempfile.TemporaryDirectory(prefix="container-") as folder:
        yield Container(test[3].replace("$$", "$"), Path(folder))


@about(COMPOSE)
def a_server_with_its_database_is_healthy(files: StackFiles) -> None:
    """A server is healthy that answers, and has looked for an organization in its database."""
    with container(files) as server:
        assert server.check(root=200, database=404) == 0
        headers = (("Api-Version", API_VERSION), ("Content-Type", "application/msgpack"))
        trust = "/run/secrets/custom-ca.crt"
        paths = ("/", "/anonymous/NoSuchOrganization")
        expected = [("127.0.0.1", 6777, 2, trust, "GET", path, headers) for path in paths]
        assert server.asked == expected, server.asked
        assert server.check(root=200, database=500) == "answered 500"
        assert not server.killed


@about(COMPOSE)
def a_silent_server_is_killed(files: StackFiles) -> None:
    """A server is killed that is silent so often in a row; one that refuses is still starting."""
    silence, refusal = TimeoutError("timed out"), ConnectionRefusedError("refused")
    with container(files) as server:
        for _ in range(2 * LIMIT):
            assert server.check(root=refusal, database=404) == "no answer: refused"
        assert not server.killed
        for _ in range(LIMIT - 1):
            assert server.check(root=silence, database=404) == "no answer: timed out"
        assert not server.killed
        assert server.check(root=200, database=404) == 0
        for _ in range(LIMIT - 1):
            assert server.check(root=refusal, database=404) == "no answer: refused"
        assert not server.killed
        assert server.check(root=refusal, database=404) == "no answer: refused"
        assert server.killed == [(-1, signal.SIGKILL)], server.killed
