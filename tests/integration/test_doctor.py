"""``invoke doctor``: each planted fault is found and named, and a healthy stack has none."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import boto3
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from parsec_stack import backups, probes, store
from parsec_stack.doctor import files, finding, running, visit
from parsec_stack.doctor.finding import Finding
from parsec_stack.flavour import flavour_of, free_offset
from parsec_stack.services import FLAVOURS
from parsec_stack.stack import Stack, read_state
from parsec_stack.verify import trial_stack
from parsec_stack.verify.trial_stack import invoke

pytestmark = pytest.mark.timeout(600)
DAY = 86400
Plant = Callable[[Path], object]


def stack_in(folder: Path) -> Stack:
    """The stack in this folder, as it remembers itself."""
    state = read_state(folder)
    return Stack(folder, state["flavour"], state["port_offset"], state)


@pytest.fixture(scope="module")
def prepared() -> Iterator[Path]:
    """A stack with certificates and credentials that was never started."""
    base = Path(tempfile.mkdtemp(prefix="doctor-"))
    base.chmod(0o755)
    folder = base / "s"
    made = Stack(folder, "native", free_offset(folder, "native"))
    try:
        done = invoke(made, "tls", "adminToken")
        assert done.returncode == 0, done.stderr
        yield folder
    finally:
        shutil.rmtree(base)


def append(name: str, line: str) -> Plant:
    """Add the line to the file."""

    def plant(folder: Path) -> None:
        with (folder / name).open("a") as file:
            file.write(f"{line}\n")

    return plant


def change(name: str, old: str, new: str) -> Plant:
    """Change the file."""

    def plant(folder: Path) -> None:
        path = folder / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return plant


def mode(name: str, bits: int) -> Plant:
    """Change the file's mode."""
    return lambda folder: (folder / name).chmod(bits)


def remove(name: str) -> Plant:
    """Remove the file."""
    return lambda folder: (folder / name).unlink()


def certificate(
    name: str, start: float = -1, end: float = 400, *, stranger: bool = False, weak: bool = False
) -> Plant:
    """Give the service a certificate that is valid in these days from now."""

    def plant(folder: Path) -> None:
        sign(folder, name, start, end, stranger=stranger, weak=weak)

    return plant


def sign(folder: Path, name: str, start: float, end: float, *, stranger: bool, weak: bool) -> None:
    """Sign a certificate by the stack's CA or a stranger's, for the service's key or a weak one."""
    now, path = datetime.now(UTC), folder / f"{name}.crt"
    ca = x509.load_pem_x509_certificate((folder / "custom-ca.crt").read_bytes())
    ca_key: Any = load_pem_private_key((folder / "custom-ca.key").read_bytes(), None)
    if stranger:
        ca_key = ec.generate_private_key(ec.SECP256R1())
    if weak:
        key = rsa.generate_private_key(65537, 1024)
        form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.with_suffix(".key").write_bytes(key.private_bytes(*form))
    old = x509.load_pem_x509_certificate(path.read_bytes())
    mine: Any = load_pem_private_key(path.with_suffix(".key").read_bytes(), None)
    builder = (
        x509.CertificateBuilder().subject_name(old.subject).issuer_name(ca.subject)
        .public_key(mine.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=start)).not_valid_after(now + timedelta(days=end))
    )  # fmt: skip
    for extension in old.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    path.write_bytes(builder.sign(ca_key, SHA256()).public_bytes(Encoding.PEM))


def other_key(folder: Path) -> None:
    """Give a service the key of another."""
    shutil.copy(folder / "parsec-smtp.key", folder / "parsec-s3.key")


PLANTS: dict[str, tuple[Plant, str, str]] = {
    "misspelt variable": (
        append("parsec.env", "PARSEC_PROXY_TRUSTED_ADDRESS=10.0.0.1"),
        "PARSEC_PROXY_TRUSTED_ADDRESS", "does not know",
    ),
    "variable of no server": (
        append("parsec-smtp.env", "export PARSEC_EMAIL_LANGUAGE=fr"), "PARSEC_EMAIL_LANGUAGE",
        "does not know",
    ),
    "variable without effect": (
        append("parsec-db.env", "PARSEC_DB_MAX_CONNECTIONS=20"), "PARSEC_DB_MAX_CONNECTIONS",
        "uses its default",
    ),
    "variable of a newer server": (
        append("parsec.env", "PARSEC_CRYPTPAD_SERVER_URL=https://c"), "PARSEC_CRYPTPAD_SERVER_URL",
        "this server does not read",
    ),
    "refused value": (
        append("parsec-smtp.env", "PARSEC_EMAIL_PORT=smtps"), "PARSEC_EMAIL_PORT", "refuses",
    ),
    "refused secret": (
        append("parsec-s3.env", "PARSEC_BLOCKSTORE=s3:too:few"), "PARSEC_BLOCKSTORE", "refuses",
    ),
    "empty setting": (
        append("parsec.env", "PARSEC_SERVER_ADDR="), "PARSEC_SERVER_ADDR", "it is empty",
    ),
    "trust in a name": (
        append("parsec.env", "PARSEC_PROXY_TRUSTED_ADDRESSES=parsec-proxy"),
        "PARSEC_PROXY_TRUSTED_ADDRESSES", "'parsec-proxy' never matches, because it is a name",
    ),
    "trust in a network with a host's address": (
        append("parsec.env", "PARSEC_PROXY_TRUSTED_ADDRESSES=10.0.0.1/8"),
        "PARSEC_PROXY_TRUSTED_ADDRESSES", "'10.0.0.1/8' never matches",
    ),
    "trust in everybody": (
        append("parsec.env", "PARSEC_PROXY_TRUSTED_ADDRESSES='*'"),
        "PARSEC_PROXY_TRUSTED_ADDRESSES", "believes everybody",
    ),
    "no trust": (
        append("parsec.env", "unset PARSEC_PROXY_TRUSTED_ADDRESSES"),
        "PARSEC_PROXY_TRUSTED_ADDRESSES", "every program of this machine",
    ),
    "name that the certificate lacks": (
        append("parsec.env", "PARSEC_SERVER_ADDR=parsec3://parsec.example.org"),
        "PARSEC_SERVER_ADDR", "it is parsec.example.org, and the proxy's certificate is for",
    ),
    "another port than the proxy's": (
        append("parsec.env", "PARSEC_SERVER_ADDR=parsec3://localhost:6777"),
        "PARSEC_SERVER_ADDR", "links lead to port 6777",
    ),
    "address without TLS": (
        change("parsec.env", "}:${STACK_PROXY_PORT:-443}",
               "}:${STACK_PROXY_PORT:-443}'?no_ssl=true'"),
        "PARSEC_SERVER_ADDR", "it says no_ssl",
    ),
    "database that is not verified": (
        change("parsec-db.env", "sslmode=verify-full", "sslmode=require"), "PARSEC_DB",
        "tells its password to whatever listens",
    ),
    "store without TLS": (
        change("parsec-s3.env", "s3:https", "s3:http"), "PARSEC_BLOCKSTORE", "without TLS",
    ),
    "server without TLS": (
        append("parsec.env", "unset PARSEC_SSL_CERTFILE PARSEC_SSL_KEYFILE"),
        "PARSEC_SSL_CERTFILE", "speaks without TLS",
    ),
    "default suites": (
        append("parsec.env", "PARSEC_SSL_CIPHERS="), "PARSEC_SSL_CIPHERS", "weak suites",
    ),
    "log for a terminal": (
        append("parsec.env", "PARSEC_LOG_FORMAT=CONSOLE"), "PARSEC_LOG_FORMAT", "passwords",
    ),
    "debug mode": (append("parsec.env", "PARSEC_DEBUG=true"), "PARSEC_DEBUG", "developers"),
    "guessable token": (
        append("parsec.env", "PARSEC_ADMINISTRATION_TOKEN=s3cr3t"),
        "PARSEC_ADMINISTRATION_TOKEN", "only 6 characters",
    ),
    "both kinds of TLS for mail": (
        append("parsec-smtp.env", "PARSEC_EMAIL_USE_TLS=true"), "PARSEC_EMAIL_USE_TLS", "both",
    ),
    "mail in clear": (
        append("parsec-smtp.env", "PARSEC_EMAIL_USE_SSL=false"), "PARSEC_EMAIL_USE_SSL",
        "without TLS",
    ),
    "no mail": (
        append("parsec-smtp.env", "PARSEC_EMAIL_HOST=MOCKED"), "PARSEC_EMAIL_HOST", "no mail",
    ),
    "CA of the store that is not there": (
        append("parsec-s3.env", "AWS_CA_BUNDLE=./ca.crt"), "AWS_CA_BUNDLE", "no file ./ca.crt",
    ),
    "CA of the mail server that is not there": (
        append("parsec-smtp.env", "SSL_CERT_FILE=/none"), "SSL_CERT_FILE", "no file /none",
    ),
    "credentials of another stack": (
        lambda folder: (folder / "secrets" / "postgres-password").write_text("0" * 40),
        "POSTGRES_PASSWORD", "differ",
    ),
    "env file that is gone": (remove("parsec-smtp.env"), "parsec-smtp.env", "it is missing"),
    "certificate that is gone": (remove("parsec-s3.crt"), "parsec-s3.crt", "it is missing"),
    "file of the guide that is gone": (remove("nginx.conf"), "nginx.conf", "is missing"),
    "line ends of Windows": (
        append("supervisord.conf", "; a comment\r"), "supervisord.conf", "ends as on Windows",
    ),
    "env file that bash cannot read": (append("parsec.env", "("), "env files", "is corrupt"),
    "expired certificate": (
        certificate("parsec-proxy", -30, -1), "parsec-proxy.crt", "has expired",
    ),
    "certificate of the future": (
        certificate("parsec-server", 2, 400), "parsec-server.crt", "this machine's clock",
    ),
    "certificate that expires soon": (
        certificate("parsec-smtp", -1, 9.5), "parsec-smtp.crt", "it expires in",
    ),
    "certificate of another CA": (
        certificate("parsec-s3", stranger=True), "parsec-s3.crt", "has not signed it",
    ),
    "key of another service": (other_key, "parsec-s3.crt", "is not of the key"),
    "weak key": (certificate("parsec-smtp", weak=True), "parsec-smtp.crt", "has 1024 bits"),
    "open key": (mode("parsec-server.key", 0o644), "parsec-server.key", "mode 644"),
    "open credentials": (
        mode("parsec-credentials.env", 0o640), "parsec-credentials.env", "mode 640",
    ),
    "open secrets": (mode("secrets", 0o755), "secrets", "mode 755"),
}  # fmt: skip


def test_a_prepared_stack(prepared: Path) -> None:
    """Nothing is wrong with a stack that is about to be started."""
    assert visit.examine(stack_in(prepared)) == []


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_fault(prepared: Path, tmp_path: Path, name: str) -> None:
    """Its finding names it and says what to do, and nothing else is found."""
    plant, subject, words = PLANTS[name]
    folder = tmp_path / "s"
    shutil.copytree(prepared, folder)
    plant(folder)
    found = visit.examine(stack_in(folder))

    assert {one.subject for one in found} == {subject}, found
    assert [one for one in found if words in one.seen], found
    assert all(one.do for one in found)


def found_of(folder: Path, subject: str, **state: object) -> list[Finding]:
    """What is found of this subject, in a stack that remembers this."""
    stack = stack_in(folder)
    stack.state.update(state)
    return [one for one in visit.examine(stack) if one.subject == subject]


def test_backups(prepared: Path, tmp_path: Path) -> None:
    """None is due in a new stack; later one that is missing or old is named."""
    folder = tmp_path / "s"
    shutil.copytree(prepared, folder)
    assert found_of(folder, "backup", complete=True) == []

    os.utime(folder / "parsec-credentials.env", (0, time.time() - 9 * DAY))
    (none,) = found_of(folder, "backup", complete=True)
    assert none.seen == "there is none after 9 days"

    last = folder / backups.LAST
    for days, expected in ((0, []), (5, ["the last one is 5 days old"])):
        read_at = datetime.now(UTC) - timedelta(days=days)
        last.write_text(f"set x\ndatabase-read {read_at.isoformat()}\nobjects 1 1\n")
        assert [one.seen for one in found_of(folder, "backup", complete=True)] == expected
    last.write_text("nonsense\n")
    assert found_of(folder, "old backups", complete=True)


def test_a_taken_port(prepared: Path) -> None:
    """Who has a port of a stack that does not run is named."""
    port = stack_in(prepared).ports["S3"]
    with socket.create_server(("127.0.0.1", port)):
        found = visit.examine(stack_in(prepared))

    assert {one.subject for one in found} == {"parsec-s3"}
    assert f"port {port} of parsec-s3 is taken by" in found[0].seen


def test_nothing_runs(prepared: Path) -> None:
    """Services and data that were there and are gone are named."""
    stack = stack_in(prepared)
    stack.state["complete"] = True
    seen = [(one.subject, one.seen) for one in visit.examine(stack)]

    assert ("services", "none runs") in seen
    assert [subject for subject, _ in seen].count("data") == 2


@pytest.mark.skipif(os.getuid() != 0, reason="only root may mount")
@pytest.mark.parametrize(("options", "subject"), [
    ("size=100m", "disk"), ("size=2g,nr_inodes=FILES", "inodes"),
])  # fmt: skip
def test_a_small_disk(prepared: Path, tmp_path: Path, options: str, subject: str) -> None:
    """A disk with little room, or for few more files, is named."""
    place = tmp_path / "disk"
    place.mkdir()
    program = (
        "import sys, pathlib; sys.path[:0] = sys.argv[2:]; import test_doctor as t\n"
        "print([one.subject for one in t.visit.examine(t.stack_in(pathlib.Path(sys.argv[1])))])"
    )
    options = options.replace("FILES", str(len([*prepared.rglob("*")]) + 4))
    script = (
        f"mount -t tmpfs -o {options} none {place} && cp -a {prepared} {place}/s && "
        f'exec "$@" {place}/s {Path(__file__).parent} {Path(__file__).parents[1] / "support"}'
    )
    command = ["unshare", "--mount", "bash", "-euc", script, "bash", sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)

    assert done.stdout == f"['{subject}']\n", done.stderr


def test_an_examination_that_fails(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a finding of its own, and the others are made."""

    def broken(look: finding.Look) -> Iterator[Finding]:
        raise OSError(5, "gone", "/place")
        yield

    monkeypatch.setattr(visit, "EXAMINATIONS", [broken, files.missing_files])
    (found,) = visit.examine(stack_in(prepared))
    assert found.subject == "broken"
    assert "/place" in found.seen


@pytest.fixture(scope="module", params=FLAVOURS)
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """A complete stack that runs."""
    with trial_stack.running(request.param, "doctor") as made:
        yield stack_in(made.folder)


def test_a_healthy_stack(stack: Stack) -> None:
    """Nothing is found, the task succeeds, and a mail of the server arrives."""
    done = invoke(stack, "doctor", "--json", "--mail")

    assert json.loads(done.stdout) == []
    assert done.returncode == 0


def test_the_report(stack: Stack) -> None:
    """It tells versions, settings and findings, and neither a secret nor the folder."""
    (stack.folder / "parsec.env").open("a").write("PARSEC_NONSENSE=1\n")
    done = invoke(stack, "doctor", "--report")
    change("parsec.env", "PARSEC_NONSENSE=1\n", "")(stack.folder)

    assert done.returncode == 3
    assert "PARSEC_NONSENSE" in done.stdout
    assert "parsec-postgres 16.15" in done.stdout
    assert str(stack.folder) not in done.stdout
    for name in ("parsec-credentials.env", "parsec-admin-token.env"):
        for secret in stack.env_file(name).values():
            assert len(secret) < 8 or secret not in done.stdout, name


def test_a_stopped_service(stack: Stack) -> None:
    """It is named, and so is that the server cannot send a mail without it."""
    flavour_of(stack).stop(stack, ["parsec-smtp"])
    try:
        found = visit.examine(stack, mail=True)
    finally:
        assert invoke(stack, "up").returncode == 0

    seen = {one.subject: one.seen for one in found}
    assert "stopped" in seen["parsec-smtp"] or "exited" in seen["parsec-smtp"]
    assert "mail" in seen


def test_a_renewed_certificate(stack: Stack) -> None:
    """A service that has not read its new certificate is named."""
    path = stack.folder / "parsec-smtp.crt"
    before = path.read_bytes()
    certificate("parsec-smtp")(stack.folder)
    found = visit.examine(stack)
    path.write_bytes(before)

    assert any("does not show the certificate" in one.seen for one in found), found


def test_migrations(stack: Stack) -> None:
    """A database that is older or newer than the server is named."""
    ask = flavour_of(stack).ask_database
    newest = flavour_of(stack).packaged(stack)[-1]
    (number,) = ask(stack, f"SELECT _id FROM migration WHERE name = '{newest}'")
    ask(stack, f"DELETE FROM migration WHERE name = '{newest}'")
    older = visit.examine(stack)
    rows = f"({number}, '{newest}', now()), (9999, 'later', now())"
    ask(stack, f"INSERT INTO migration (_id, name, applied) VALUES {rows}")
    newer = visit.examine(stack)
    ask(stack, "DELETE FROM migration WHERE name = 'later'")

    assert [one.seen for one in older] == [
        f"it lacks 1 of the server's migrations, from {newest} on"
    ]
    assert "does not know (later)" in newer[0].seen


def test_many_connections(stack: Stack) -> None:
    """A database that is about to refuse connections is named."""

    async def hold() -> list[Finding]:
        keys, trust = stack.env_file("parsec-credentials.env"), probes.trust(stack.ca_file)
        held = [
            await asyncpg.connect(
                host="127.0.0.1", port=stack.ports["POSTGRES"], user="parsec", database="parsec",
                password=keys["POSTGRES_PASSWORD"], ssl=trust,
            )
            for _ in range(80)
        ]  # fmt: skip
        found = await asyncio.to_thread(visit.examine, stack)
        for one in held:
            await one.close()
        return found

    (found,) = asyncio.run(hold())
    assert found.subject == "database"
    assert "of 97 connections are taken" in found.seen


@contextmanager
def other_bucket(monkeypatch: pytest.MonkeyPatch, name: str) -> Iterator[None]:
    """Let the stack's bucket have this name."""
    with monkeypatch.context() as patch:
        patch.setattr(store, "BUCKET", name)
        patch.setattr(store.loss, "__defaults__", (name,))
        yield


def test_the_bucket(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """One without lock and one that is gone are named."""
    keys = stack.env_file("parsec-credentials.env")
    client = boto3.client(
        "s3", endpoint_url=f"https://localhost:{stack.ports['S3']}", region_name="us-east-1",
        aws_access_key_id=keys["S3_ACCESS_KEY"], aws_secret_access_key=keys["S3_SECRET_KEY"],
        verify=str(stack.ca_file),
    )  # fmt: skip
    client.create_bucket(Bucket="unlocked")
    with other_bucket(monkeypatch, "unlocked"):
        assert "has no object lock" in bucket_found(stack)
    client.delete_bucket(Bucket="unlocked")
    with other_bucket(monkeypatch, "unlocked"):
        assert "the bucket unlocked is gone" in bucket_found(stack)


def bucket_found(stack: Stack) -> str:
    """What is found of the bucket."""
    return " ".join(one.seen for one in visit.examine(stack) if one.subject == "bucket")


def test_volumes(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store with fewer free volumes than the limit is named."""
    monkeypatch.setattr(running, "VOLUMES", 1)
    (found,) = visit.examine(stack)

    assert "volumes are free" in found.seen
