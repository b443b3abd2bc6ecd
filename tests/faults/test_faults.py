"""Kill what a stack is made of while clients write: all that was acknowledged is read back.

The figures go to ``build/faults/FLAVOUR.json``: for each fault the seconds until the stack serves
again, and where clients were writing the number of blocks that were acknowledged and read back.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from guidewalk.processes import within
from parsec_stack import backups, docker, engine, native, probes, smoke
from parsec_stack.readiness import is_ready
from parsec_stack.services import FLAVOURS, SERVICES
from parsec_stack.stack import ROOT, Stack
from parsec_stack.verify import trial_stack
from parsec_stack.verify.trial_stack import invoke, without_secrets
from writing import SERVES_WITHIN, writing

POLL = 0.05


@pytest.fixture(scope="module", params=FLAVOURS)
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """A complete stack that runs."""
    with trial_stack.running(request.param, "faults") as made:
        yield made


def processes(stack: Stack) -> dict[str, psutil.Process]:
    """The process of each service that a supervisor or the engine watches."""
    if stack.flavour == "native":
        control = native.supervisor(stack)
        pids = {info["name"]: info["pid"] for info in control.getAllProcessInfo()}
    else:
        found = docker.containers(stack)
        for container in found.values():
            container.reload()
        pids = {name: container.attrs["State"]["Pid"] for name, container in found.items()}
    return {name: psutil.Process(pids[name]) for name in SERVICES}


def serves(stack: Stack) -> bool:
    """Does the stack do all its work, through the proxy too?"""
    proxy = stack.ports["PROXY"]
    return all(is_ready(stack, name) for name in SERVICES) and probes.serves_parsec(
        proxy, stack.folder / "custom-ca.crt"
    )


def await_service(stack: Stack) -> float:
    """Wait until the stack serves again; how long that took, in seconds."""
    started = time.monotonic()
    while not serves(stack):
        assert time.monotonic() - started < SERVES_WITHIN, invoke(stack, "status").stdout
        time.sleep(POLL)
    return time.monotonic() - started


def record(stack: Stack, fault: str, **figures: float) -> None:
    """Keep the figures of a fault beside those of the others."""
    trial_stack.record(stack, "faults", fault, dict(figures))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("service", SERVICES)
def test_a_killed_service(stack: Stack, service: str) -> None:
    """It comes back by itself, and nothing acknowledged is lost."""
    with writing(stack) as writers:
        killed = processes(stack)[service]
        killed.send_signal(signal.SIGKILL)
        killed.wait(10)
        seconds = await_service(stack)
    blocks = writers.read_back()

    assert blocks > 1
    record(stack, f"kill {service}", seconds_until_it_serves=seconds, blocks_read_back=blocks)


@pytest.mark.timeout(300)
def test_a_power_cut(stack: Stack) -> None:
    """All is killed at once and started again, and nothing acknowledged is lost."""
    with writing(stack) as writers:
        cut_power(stack)
        writers.ended.set()
        started = time.monotonic()
        done = invoke(stack, "up")
        assert done.returncode == 0, done.stderr
        await_service(stack)
        seconds = time.monotonic() - started
    blocks = writers.read_back()

    assert blocks > 1
    record(stack, "power cut", seconds_until_it_serves=seconds, blocks_read_back=blocks)


def cut_power(stack: Stack) -> None:
    """Kill everything at once, the supervisor first, as nothing may restart meanwhile."""
    if stack.flavour == "docker":
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda container: container.kill(), docker.containers(stack).values()))
        return
    pid = int((stack.folder / "run" / "supervisord.pid").read_text())
    victims = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    for victim in victims:
        victim.kill()
    psutil.wait_procs(victims, timeout=10)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seconds", [0.3, 1.0, 2.0, 4.0])
def test_an_interrupted_run(stack: Stack, seconds: float) -> None:
    """Ctrl-C at any moment ends with a message, and the next run succeeds."""
    assert invoke(stack, "down").returncode == 0
    own = {"STACK_FLAVOUR": stack.flavour, "STACK_DIR": str(stack.folder)}
    line = ["invoke", "tls", "adminToken", "up", "migrate", "bucket"]
    run = subprocess.Popen(
        line,
        cwd=ROOT,
        env=os.environ | own,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    # The interpreter itself can be slow to start, and has no message.
    assert run.stdout
    assert run.stdout.readline()
    time.sleep(seconds)
    os.killpg(run.pid, signal.SIGINT)
    _, said = run.communicate(timeout=120)

    assert "Traceback" not in without_secrets(stack, said)
    done = invoke(stack, *line[1:])
    assert done.returncode == 0, done.stderr
    assert serves(stack)


@pytest.mark.timeout(300)
def test_a_container_without_a_network(stack: Stack) -> None:
    """Whoever made it was interrupted: the next run makes it anew."""
    if stack.flavour == "native":
        pytest.skip("without Docker there are no networks")
    container = docker.containers(stack)["parsec-postgres"]
    for name in container.attrs["NetworkSettings"]["Networks"]:
        if name.endswith("_local"):
            engine.engine().networks.get(name).disconnect(container)

    done = invoke(stack, "up")

    assert done.returncode == 0, done.stderr
    assert serves(stack)


@pytest.mark.timeout(300)
def test_a_silent_server(stack: Stack) -> None:
    """A Parsec server that runs and no longer answers is killed and started anew."""
    server = processes(stack)["parsec-server"]
    # In a container the first process only hands signals on.
    frozen = [server, *server.children(recursive=True)][-1]
    frozen.suspend()
    started = time.monotonic()
    frozen.wait(SERVES_WITHIN)
    await_service(stack)

    record(stack, "silent server", seconds_until_it_serves=time.monotonic() - started)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("remedy", ["restart", "up"])
def test_expired_certificates(stack: Stack, remedy: str) -> None:
    """With expired certificates nobody is served; the remedy is said, works, and loses nothing."""
    traces = smoke.write(stack)
    for name in SERVICES:
        expire(stack, name)
    for process in processes(stack).values():
        process.kill()
    await_refusal(stack)
    refused = invoke(stack, remedy)
    assert refused.returncode == 1
    assert "has expired: run 'invoke tls' to renew it" in refused.stderr

    started = time.monotonic()
    done = invoke(stack, "tls", remedy)
    assert done.returncode == 0, done.stdout + done.stderr
    await_service(stack)
    seconds = time.monotonic() - started
    smoke.read_back(stack, traces, within=SERVES_WITHIN)
    record(stack, "certificates expired", seconds_until_it_serves=seconds)


def expire(stack: Stack, name: str) -> None:
    """Put a certificate in the place of the service's that ended yesterday and is else the same."""
    path = stack.folder / f"{name}.crt"
    issuer = load_pem_private_key((stack.folder / "custom-ca.key").read_bytes(), password=None)
    old = x509.load_pem_x509_certificate(path.read_bytes())
    yesterday = datetime.now(UTC) - timedelta(days=1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(old.subject)
        .issuer_name(old.issuer)
        .public_key(old.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(yesterday - timedelta(days=1))
        .not_valid_after(yesterday)
    )
    for extension in old.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    expired = builder.sign(issuer, hashes.SHA256())  # type: ignore[arg-type]
    path.write_bytes(expired.public_bytes(Encoding.PEM))


def await_refusal(stack: Stack) -> None:
    """Wait until every service shows its expired certificate, which clients refuse.

    All but the server: that finds no database that it believes, and does not start.
    """
    deadline = time.monotonic() + SERVES_WITHIN
    supporting = [name for name in SERVICES if name != "parsec-server"]
    while not all(probes.shows_its_own(stack, name) for name in supporting):
        assert time.monotonic() < deadline, "a service does not show its expired certificate"
        time.sleep(POLL)
    trust = ssl.create_default_context(cafile=str(stack.folder / "custom-ca.crt"))
    with (
        socket.create_connection(("127.0.0.1", stack.ports["PROXY"]), timeout=5) as plain,
        pytest.raises(ssl.SSLCertVerificationError, match="certificate has expired"),
    ):
        trust.wrap_socket(plain, server_hostname="localhost")


@pytest.mark.timeout(300)
def test_a_torn_backup(stack: Stack) -> None:
    """A backup that was cut short is refused while everything runs on, and so is a missing one."""
    traces = smoke.write(stack)
    assert invoke(stack, "backup").returncode == 0
    newest = backups.last(stack)
    assert newest
    dump = stack.folder / "backups" / "sets" / newest.name / "database.dump.bin"
    whole = dump.read_bytes()
    for content in (whole[: len(whole) // 2], b""):
        dump.write_bytes(content)

        done = invoke(stack, "restore", "--yes")

        assert done.returncode == 1
        assert f"fetch-backup.sh: {newest.name} cannot be read" in done.stdout
        assert probes.serves_parsec(stack.ports["SERVER"], stack.folder / "custom-ca.crt")
    dump.write_bytes(whole)
    smoke.read_back(stack, traces)


@pytest.mark.timeout(600)
def test_everything_is_lost(stack: Stack) -> None:
    """At a random moment all is destroyed: what was acknowledged before the backup comes back."""
    target, key = stack.folder.with_name("kept"), stack.folder.with_name("kept-key")
    settings = stack.folder / backups.SETTINGS
    settings.write_text(settings.read_text().replace("=backups\n", f"={target}\n"))
    target.mkdir()
    shutil.copy(stack.folder / backups.KEY, key)
    # Where root runs the tests, the services' account writes the one and reads the other.
    owner = stack.folder.stat()
    for path in (target, key):
        os.chown(path, owner.st_uid, owner.st_gid)
    with writing(stack) as writers:
        done = invoke(stack, "backup")
        assert done.returncode == 0, done.stdout + done.stderr
        newest = backups.last(stack)
        assert newest
        time.sleep(random.uniform(0, 3))
        cut_power(stack)
        writers.ended.set()
        lost_at = time.time()
        if stack.flavour == "docker":
            docker.remove(stack)
        shutil.rmtree(stack.folder)

    done = invoke(stack, "restore", "--target", str(target), "--key", str(key))
    assert done.returncode == 0, done.stdout + done.stderr
    await_service(stack)
    seconds = time.time() - lost_at
    moment = newest.read_at.timestamp()
    blocks = writers.read_back(until=moment)

    assert blocks > 1
    record(
        stack,
        "everything lost",
        seconds_until_it_serves=seconds,
        seconds_of_work_lost=lost_at - moment,
        blocks_read_back=blocks,
    )


@pytest.mark.timeout(300)
def test_a_lost_database(stack: Stack) -> None:
    """A stack whose database has gone makes no empty one; the backup brings it back."""
    traces = smoke.write(stack)
    assert invoke(stack, "backup", "down").returncode == 0
    if stack.flavour == "native":
        lost = str(stack.folder / "data" / "postgres")
        shutil.rmtree(lost)
    else:
        lost = f"{stack.project}_postgres"
        engine.engine().volumes.get(lost).remove()

    refused = invoke(stack, "up")

    assert refused.returncode == 1
    assert f"{lost} is missing" in refused.stderr
    assert "or continue from the last backup with 'invoke restore'" in refused.stderr
    assert (
        len(docker.volumes(stack)) == 1 if stack.flavour == "docker" else not os.path.exists(lost)
    )

    done = invoke(stack, "restore", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    await_service(stack)
    smoke.read_back(stack, traces, within=SERVES_WITHIN)


@pytest.mark.timeout(300)
def test_an_empty_database(stack: Stack) -> None:
    """A complete stack whose database somebody has made anew is told apart from a fresh one."""
    traces = smoke.write(stack)
    assert invoke(stack, "backup").returncode == 0
    empty_database(stack)

    for tasks in (("up",), ("migrate",), ("restart",)):
        refused = invoke(stack, *tasks)
        assert refused.returncode == 1
        assert "is empty, and was not before" in refused.stderr
    assert invoke(stack, "backup").returncode == 1

    done = invoke(stack, "restore", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    smoke.read_back(stack, traces, within=SERVES_WITHIN)


def empty_database(stack: Stack) -> None:
    """Leave the database as it is when it has just been made."""
    statement = "DROP SCHEMA public CASCADE; CREATE SCHEMA public"
    command = ["psql", "--username=parsec", "--command", statement]
    if stack.flavour == "docker":
        done = docker.containers(stack)["parsec-postgres"].exec_run(command)
        assert done.exit_code == 0, done.output
    else:
        client = ["./database-client", *command]
        subprocess.run(client, cwd=stack.folder, env=stack.environment(), check=True)


@pytest.mark.timeout(300)
def test_destroy(stack: Stack) -> None:
    """It leaves nothing of the stack, and takes nothing else. The last test: no stack is left."""
    note, neighbour = stack.folder / "note.txt", stack.folder.parent / "neighbour"
    note.write_text("mine")
    neighbour.mkdir()
    with neighbours(stack) as theirs:
        refused_for_a_stranger(stack)
        done = invoke(stack, "destroy", "--yes")
        assert done.returncode == 0, done.stderr
        assert "kept, because the stack did not make it: note.txt" in done.stdout
        assert list(stack.folder.iterdir()) == [note]
        assert neighbour.exists()
        assert not within(stack.folder)
        assert not [port for port in stack.ports.values() if probes.listens(port)]
        if stack.flavour == "docker":
            assert not list(docker_objects(stack))
            for other in theirs:
                other.reload()


def refused_for_a_stranger(stack: Stack) -> None:
    """Containers that another project has started from the folder are named, nothing is gone."""
    if stack.flavour == "native":
        return
    labels = {docker.PROJECT: "myapp", docker.FOLDER: str(stack.folder)}
    image = next(iter(docker.containers(stack).values())).attrs["Image"]
    stranger = engine.engine().containers.create(image, labels=labels)
    try:
        done = invoke(stack, "destroy", "--yes")
    finally:
        stranger.remove()
    assert done.returncode == 1
    assert "as part of another project, myapp" in done.stderr
    assert (stack.folder / "parsec-credentials.env").exists()
    assert docker.volumes(stack)


def docker_objects(stack: Stack) -> Iterator[object]:
    """The containers, networks and volumes of the stack."""
    client, mine = engine.engine(), docker.mine(stack)
    yield from client.containers.list(all=True, filters=mine)
    yield from client.networks.list(filters=mine)
    yield from client.volumes.list(filters=mine)


@contextmanager
def neighbours(stack: Stack) -> Iterator[list[Any]]:
    """A network and a volume of a project whose name begins as the stack's does."""
    if stack.flavour == "native":
        yield []
        return
    name = f"{stack.project}-other"
    client, labels = engine.engine(), {docker.PROJECT: name}
    made = [client.networks.create(name, labels=labels), client.volumes.create(name, labels=labels)]
    try:
        yield made
    finally:
        for one in made:
            one.remove()
