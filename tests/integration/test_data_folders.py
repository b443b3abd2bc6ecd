"""Data are made once: what is missing later is told, and what a power cut leaves is cleared."""

import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from parsec_stack.stack import ARTIFACTS, Stack

TIMEOUT = 60
# Root runs no services.
pytestmark = pytest.mark.usefixtures("as_reader")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reader's folder with certificates and credentials."""
    folder = tmp_path_factory.mktemp("prepared") / "s"
    shutil.copytree(ARTIFACTS, folder)
    for script in ("setup-tls.sh", "gen-credentials.sh"):
        subprocess.run([f"./{script}"], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def desk(prepared: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(prepared, tmp_path / "s")


@pytest.fixture
def environment(desk: Path) -> dict[str, str]:
    """What the services see, with a free port for the database."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    return Stack(desk).environment() | {"STACK_POSTGRES_PORT": port}


@contextmanager
def running(desk: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """The database, started as supervisord starts it; it answers."""
    with (desk / "log.txt").open("a") as log:
        process = subprocess.Popen(
            ["./run-parsec-postgres"], cwd=desk, env=environment, stdout=log, stderr=log
        )
    try:
        until_ready(desk, environment, process)
        yield process
    finally:
        process.kill()
        process.wait(TIMEOUT)


def until_ready(desk: Path, environment: dict[str, str], process: subprocess.Popen[bytes]) -> None:
    """Wait until the database answers; fail when it has ended."""
    ask = ["./database-client", "pg_isready", "--quiet"]
    deadline = time.monotonic() + TIMEOUT
    while subprocess.run(ask, cwd=desk, env=environment).returncode:
        assert process.poll() is None, (desk / "log.txt").read_text()
        assert time.monotonic() < deadline, (desk / "log.txt").read_text()
        time.sleep(0.1)


def test_data_that_are_gone_are_not_made_anew(desk: Path, environment: dict[str, str]) -> None:
    """A disk that is not mounted leaves no empty database in the place of the full one."""
    with running(desk, environment):
        pass
    (desk / "data" / "postgres").rename(desk / "away")
    (desk / "data" / "postgres").mkdir()

    done = subprocess.run(
        ["./run-parsec-postgres"], cwd=desk, env=environment, capture_output=True, text=True
    )

    assert done.returncode == 1
    assert f"there is no {desk}/data/postgres/PG_VERSION any more" in done.stderr
    assert not list((desk / "data" / "postgres").iterdir())

    (desk / "made" / "postgres").unlink()
    with running(desk, environment):
        pass


def test_number_of_another_process(desk: Path, environment: dict[str, str]) -> None:
    """After a power cut another program has the number that the lock file names: no obstacle."""
    with running(desk, environment) as server:
        server.send_signal(signal.SIGKILL)
        server.wait(TIMEOUT)
    lock = desk / "data" / "postgres" / "postmaster.pid"
    _, *rest = lock.read_text().splitlines()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        lock.write_text("\n".join([str(other.pid), *rest, ""]))
        with running(desk, environment):
            assert int(lock.read_text().split()[0]) != other.pid
        other.kill()


def test_running_server_is_left_alone(desk: Path, environment: dict[str, str]) -> None:
    """A second server on the same data is refused, as PostgreSQL does it."""
    with running(desk, environment):
        lock = (desk / "data" / "postgres" / "postmaster.pid").read_text()
        done = subprocess.run(
            ["./run-parsec-postgres"], cwd=desk, env=environment, capture_output=True, text=True
        )

        assert done.returncode == 1
        assert 'lock file "postmaster.pid" already exists' in done.stderr
        assert (desk / "data" / "postgres" / "postmaster.pid").read_text() == lock
