"""Engines and docker commands of several kinds and versions, and what is said of each."""

import json
import os
import shutil
import socket
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from guidewalk.atomic import copy_atomically
from parsec_stack import composition, docker, engine
from parsec_stack.errors import StackError
from parsec_stack.stack import ARTIFACTS, Stack
from parsec_stack.verify.parsec_guide import docker_required


def test_no_engine_at_an_address(tmp_path: Path) -> None:
    """A missing socket, and one where nobody listens, are told with the remedy."""
    missing, deaf = tmp_path / "missing.sock", tmp_path / "deaf.sock"
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(deaf))

    for path in (missing, deaf):
        problem = engine.connection_problem(f"unix://{path}")
        assert f"no Docker engine answers at {path}" in str(problem)


def test_engine_that_listens(tmp_path: Path) -> None:
    """Where somebody listens there is no problem of connection."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "docker.sock"))
        listener.listen()

        assert engine.connection_problem(f"unix://{tmp_path}/docker.sock") is None


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """An HTTP server on a unix socket, as an engine is one."""

    daemon_threads = True


@contextmanager
def engine_of_version(version: str, path: Path) -> Iterator[str]:
    """The address of something that answers for its version as an engine does."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"Version": version, "ApiVersion": "1.41"}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def address_string(self) -> str:
            return "a unix socket"

        def log_message(self, *arguments: object) -> None:
            pass

    with UnixServer(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"unix://{path}"
        finally:
            server.shutdown()
            thread.join(timeout=5)


@pytest.fixture
def fresh_client() -> Iterator[None]:
    """No client or address of another engine is kept, before and after."""
    for cached in (engine.client, engine.engine_address):
        cached.cache_clear()
    yield
    for cached in (engine.client, engine.engine_address):
        cached.cache_clear()


def docker_command(folder: Path, compose: str) -> Path:
    """A folder with a docker command that knows DOCKER_HOST alone; ``compose`` is its plugin."""
    program = folder / "docker"
    program.write_text(
        "#!/bin/bash\n"
        'case "$1 $2" in\n'
        '"context inspect") echo "$DOCKER_HOST" ;;\n'
        f'"compose version") {compose} ;;\n'
        "esac\n"
    )
    program.chmod(0o755)
    return folder


@pytest.mark.usefixtures("fresh_client")
def test_docker_command_that_tests_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the engine as the real one does."""
    monkeypatch.setenv(
        "PATH", f"{docker_command(tmp_path, 'false')}{os.pathsep}{os.environ['PATH']}"
    )
    monkeypatch.setenv("DOCKER_HOST", "unix:///some/where.sock")

    assert engine.engine_address() == "unix:///some/where.sock"


@pytest.mark.parametrize(
    ("version", "compose", "problem"),
    [
        ("20.10.24+dfsg1", "echo 2.40.3", ""),
        ("29.0.1", "echo v2.24.4-desktop.1", ""),
        ("19.03.15", "echo 2.40.3", "Docker Engine 19.03.15 is too old, at least 20.10 is needed"),
        ("20.10.24", "exit 1", "docker has no compose plugin"),
        ("20.10.24", "echo 2.17.2", "docker compose 2.17.2 is too old, at least 2.24.4 is needed"),
    ],
)
@pytest.mark.usefixtures("fresh_client")
def test_engine_and_plugin(
    version: str, compose: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is too old or missing is told; the oldest that do, and newer ones, are not."""
    path = f"{docker_command(tmp_path, compose)}{os.pathsep}{os.environ['PATH']}"
    monkeypatch.setenv("PATH", path)
    with engine_of_version(version, tmp_path / "engine.sock") as address:
        monkeypatch.setenv("DOCKER_HOST", address)

        found = engine.engine_problem() or ""

    assert problem in found
    assert bool(problem) == bool(found)


def test_no_docker_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the docker command the other flavour is offered."""
    monkeypatch.setenv("PATH", str(tmp_path))

    assert "choose the native flavour" in str(engine.engine_problem())


@pytest.mark.usefixtures("fresh_client")
def test_flavour_without_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine alone is not enough for the flavour."""
    path = f"{docker_command(tmp_path, 'exit 1')}{os.pathsep}{os.environ['PATH']}"
    monkeypatch.setenv("PATH", path)
    with engine_of_version("20.10.24", tmp_path / "engine.sock") as address:
        monkeypatch.setenv("DOCKER_HOST", address)

        problem = docker.problem(tmp_path / "never read") or ""

    assert problem.startswith("docker has no compose plugin: install docker-compose-plugin")
    assert "or let 'scripts/docker-engine start' install one for this checkout" in problem


def test_flavour_without_an_image(tmp_path: Path) -> None:
    """An image that is not here and cannot be pulled is named with the reason and a remedy."""
    if problem := engine.engine_problem():
        pytest.skip(problem)
    file = tmp_path / composition.COMPOSE_FILE
    file.write_text("services:\n  one:\n    image: localhost:1/nothing:1.0\n")

    problem = docker.problem(tmp_path) or ""

    assert problem.startswith("the image localhost:1/nothing:1.0 cannot be pulled (")
    assert problem.endswith("or build the images with 'invoke images'")


@pytest.mark.parametrize(
    ("value", "required"), [(None, False), ("", False), ("0", False), ("1", True)]
)
def test_required_flavour(
    value: str | None, required: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Empty and 0 are as good as no variable."""
    if value is None:
        monkeypatch.delenv("REQUIRE_DOCKER", raising=False)
    else:
        monkeypatch.setenv("REQUIRE_DOCKER", value)

    assert docker_required() == required


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            {"DOCKER_HOST": "tcp://127.0.0.1:1"},
            "no Docker engine answers at tcp://127.0.0.1:1, which DOCKER_HOST names (Connection "
            "refused): name another, or unset that",
        ),
        (
            {"DOCKER_HOST": "unix:///no/where"},
            "no Docker engine answers at /no/where, which DOCKER_HOST names (No such file",
        ),
        (
            {"DOCKER_HOST": "x://y"},
            "DOCKER_HOST names x://y, which is not the address of an engine",
        ),
        (
            {"DOCKER_CONTEXT": "nosuch"},
            "DOCKER_CONTEXT names nosuch, which 'docker context ls' does not list",
        ),
    ],
)
@pytest.mark.usefixtures("fresh_client")
def test_engine_that_a_variable_names(
    variables: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where none answers, the variable is told."""
    if not shutil.which("docker"):
        pytest.skip("docker is missing")
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert message in str(engine.engine_problem())
    with pytest.raises(StackError) as raised:
        engine.engine()
    assert message in str(raised.value)


@pytest.mark.usefixtures("fresh_client")
def test_engine_of_a_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A context's engine is the one that is asked."""
    if not shutil.which("docker"):
        pytest.skip("docker is missing")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "config"))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    with engine_of_version("25.0.1", tmp_path / "engine.sock") as address:
        create = ["docker", "context", "create", "other", "--docker", f"host={address}"]
        subprocess.run(create, check=True, capture_output=True)
        monkeypatch.setenv("DOCKER_CONTEXT", "other")

        assert engine.engine_address() == address
        assert engine.engine().version()["Version"] == "25.0.1"


def test_files_that_containers_can_read(tmp_path: Path) -> None:
    """What is its owner's alone is named, with what to do; a closed checkout makes no such file."""
    stack = Stack(tmp_path, "docker", state={"folder": str(tmp_path)})
    artifacts = tmp_path / "checkout"
    shutil.copytree(ARTIFACTS, artifacts)
    for path in artifacts.iterdir():
        path.chmod(path.stat().st_mode & 0o700)
        copy_atomically(path, tmp_path / path.name)
    subprocess.run(["./setup-tls.sh"], cwd=tmp_path, check=True, capture_output=True)
    docker.check_readable(stack)

    (tmp_path / "nginx.conf").chmod(0o600)

    with pytest.raises(StackError, match=f"run 'chmod a\\+r {tmp_path}/nginx.conf'"):
        docker.check_readable(stack)
