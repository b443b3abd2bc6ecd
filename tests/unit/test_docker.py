"""The docker flavour, as far as it needs no engine."""

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
from types import SimpleNamespace

import pytest

from guidewalk.atomic import copy_atomically
from parsec_stack import composition, docker, engine
from parsec_stack.errors import StackError
from parsec_stack.services import KEY_GROUPS, SERVICES
from parsec_stack.stack import ARTIFACTS, Stack
from parsec_stack.verify.parsec_guide import docker_required


@pytest.mark.parametrize(
    ("version", "expected"),
    [("20.10.24+dfsg1", (20, 10, 24)), ("v2.40.3\n", (2, 40, 3)), ("28", (28,)), ("dev", ())],
)
def test_numbers_of_a_version(version: str, expected: tuple[int, ...]) -> None:
    """Versions compare by their numbers, however they are written."""
    assert expected == engine.numbers(version)


def test_project_is_named_after_its_folder(tmp_path: Path) -> None:
    """Two folders of the same name are two projects, of names that compose accepts."""
    one, other = Stack(tmp_path / "a" / "My Stack"), Stack(tmp_path / "b" / "My Stack")

    assert one.project.startswith("my-stack-")
    assert one.project != other.project
    assert Stack(tmp_path / "__").project.startswith("stack-")


def test_settings_move_names_and_ports(tmp_path: Path) -> None:
    """A stack at other ports has containers of its own names."""
    stack = Stack(tmp_path, "docker", 1000)

    docker.write_settings(stack)

    written = (tmp_path / ".env").read_text().splitlines()
    assert f"STACK_PREFIX={stack.project}-" in written
    assert "STACK_PROXY_PORT=1443" in written


def test_usual_ports_have_usual_names(tmp_path: Path) -> None:
    """Without an offset the containers are called as the guide says."""
    docker.write_settings(Stack(tmp_path, "docker"))

    assert "STACK_PREFIX=" in (tmp_path / ".env").read_text().splitlines()


@pytest.mark.parametrize(
    ("mode", "readable"), [(0o644, True), (0o600, False), (0o640, False), (0o604, True)]
)
def test_keys_that_containers_can_read(tmp_path: Path, mode: int, readable: bool) -> None:
    """A key that is ours is readable to a container's group only if it is to all."""
    if os.getgid() in KEY_GROUPS.values():
        pytest.skip("this user is one of the containers'")
    for name in KEY_GROUPS:
        (tmp_path / f"{name}.key").touch()
        (tmp_path / f"{name}.key").chmod(mode)

    if readable:
        docker.check_keys(Stack(tmp_path, "docker"))
    else:
        with pytest.raises(StackError, match=r"cannot be read by its container.*setup-tls\.sh"):
            docker.check_keys(Stack(tmp_path, "docker"))


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


def test_every_port_has_an_owner(tmp_path: Path) -> None:
    """Each port of a stack belongs to a service of the compose file."""
    stack = Stack(tmp_path, "docker", 1000)

    owners = {port: service for service, port in docker.ports(stack)}

    assert set(stack.ports.values()) == set(owners)
    assert set(SERVICES) == set(owners.values())


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
        ("19.03.15", "echo 2.40.3", "Docker Engine 19.03.15 is too old, 20.10 is the oldest"),
        ("20.10.24", "exit 1", "docker has no compose plugin"),
        ("20.10.24", "echo 2.17.2", "docker compose 2.17.2 is too old, 2.24.4 is the oldest"),
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
    assert "or let 'scripts/docker-engine start' bring one to this checkout" in problem


def test_flavour_without_an_image(tmp_path: Path) -> None:
    """An image that is not here and cannot be pulled is named with the reason and a remedy."""
    if problem := engine.engine_problem():
        pytest.skip(problem)
    file = tmp_path / composition.COMPOSE_FILE
    file.write_text("services:\n  one:\n    image: localhost:1/nothing:1.0\n")

    problem = docker.problem(tmp_path) or ""

    assert problem.startswith("the image localhost:1/nothing:1.0 cannot be pulled (")
    assert problem.endswith("or build the images by 'invoke images'")


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
        ({"DOCKER_HOST": "x://y"}, "DOCKER_HOST names x://y, which is no address of an engine"),
        ({"DOCKER_CONTEXT": "nosuch"}, "DOCKER_CONTEXT names nosuch, which is none of those"),
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


@pytest.mark.parametrize(
    ("status", "state", "health"),
    [
        ("Up 1 second (health: starting)", "running", "starting"),
        ("Up 2 seconds (healthy)", "running", "healthy"),
        ("Up 2 minutes (unhealthy)", "running", "unhealthy"),
        ("Up 2 minutes (Paused)", "paused", "unhealthy"),
        ("Exited (1) 2 seconds ago", "exited", "-"),
    ],
)
def test_health_of_a_container(tmp_path: Path, status: str, state: str, health: str) -> None:
    """One that has just been started is not unhealthy."""
    attributes = {"State": state, "Status": status, "Image": "nginx:1"}
    container = SimpleNamespace(attrs=attributes)

    described = docker.describe(Stack(tmp_path, "docker"), "parsec-proxy", container)

    assert (described.health, described.version) == (health, "1")


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
