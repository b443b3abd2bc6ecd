"""What a user is told who runs the tasks in a wrong order, or on a stack that is damaged."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from invoking import invoke, prepare
from parsec_stack.stack import ROOT

TIMEOUT = 60


def told(folder: Path, *arguments: str) -> str:
    """The one message of a run that fails as it should."""
    done = invoke(folder, *arguments)

    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    messages = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(messages) == 1, done.stderr
    return messages[0]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stack that has never been started."""
    return prepare(tmp_path_factory.mktemp("prepared"))


@pytest.fixture
def stack(prepared: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(prepared, tmp_path / "s"))


@pytest.mark.parametrize("task", ["migrate", "bucket", "restart", "ping-mail", "smoke"])
def test_services_come_first(stack: Path, task: str) -> None:
    """What needs services names the task that starts them."""
    assert "no services run" in (message := told(stack, task))
    assert "run 'invoke up' first" in message


def test_certificates_come_first(tmp_path: Path) -> None:
    """Without certificates nothing is started."""
    assert "custom-ca.crt is missing: run 'invoke tls' first" in told(
        tmp_path / "s", "adminToken", "up"
    )


def test_credentials_come_second(tmp_path: Path) -> None:
    """Without credentials nothing is started."""
    message = told(tmp_path / "s", "tls", "up")

    assert "parsec-credentials.env is missing: run 'invoke adminToken' first" in message


@pytest.mark.parametrize("name", ["bad name", "x'; touch pwned; '", "", "a" * 33])
def test_organization_needs_a_name(prepared: Path, name: str) -> None:
    """A name that the server would refuse is refused at once, and never reaches a shell."""
    assert "cannot name an organization" in told(prepared, "organization", "--name", name)


def test_names_are_limited_in_bytes(prepared: Path) -> None:
    """The server counts bytes of UTF-8, not letters."""
    said = told(prepared, "organization", "--name", "\u00e9" * 17)

    assert "it has 34 bytes in UTF-8, and at most 32 are allowed" in said
    assert "no services run" in told(prepared, "organization", "--name", "\u00e9" * 16)


@pytest.mark.parametrize("output", ["closed", "/dev/full"])
def test_tasks_finish_without_a_reader(tmp_path: Path, output: str) -> None:
    """Whatever becomes of what they print; it is told, unless a reader has just seen enough."""
    reading, writing = os.pipe()
    os.close(reading)
    full = os.open("/dev/full", os.O_WRONLY)
    folder = tmp_path / "s"
    own = {"STACK_DIR": str(folder), "STACK_FLAVOUR": "native"}

    done = subprocess.run(
        ["invoke", "tls", "adminToken"], cwd=ROOT, env=os.environ | own, encoding="utf-8",
        stdout=writing if output == "closed" else full, stderr=subprocess.PIPE, timeout=TIMEOUT,
    )  # fmt: skip

    os.close(writing)
    os.close(full)
    assert (folder / "secrets" / "mail-users").exists()
    said = "the output cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (0, "" if output == "closed" else said)


def test_corrupt_env_file_is_named(stack: Path) -> None:
    """File and line of what bash cannot read are told, and nothing of what stands there."""
    with (stack / "parsec-smtp.env").open("a") as file:
        file.write('SECRET="unterminated\n')

    message = told(stack, "up")

    assert "parsec-smtp.env, line" in message
    assert "unterminated" not in message


def test_older_credentials_are_told(stack: Path) -> None:
    """A stack from before the mail catcher's login is told how to get one, and gets it."""
    path = stack / "parsec-credentials.env"
    older = "".join(f"{x}\n" for x in path.read_text().splitlines() if not x.startswith("MAIL_"))
    path.write_text(older)

    message = told(stack, "up")

    assert "parsec-credentials.env lacks MAIL_USER: run 'invoke adminToken'" in message
    assert "MAIL_USER MAIL_PASSWORD added" in invoke(stack, "adminToken").stdout
    assert path.read_text().startswith(older)


def test_empty_credentials_are_told(stack: Path) -> None:
    """A file that a full disk or an editor has emptied is not started with."""
    (stack / "parsec-admin-token.env").write_text("")

    assert "parsec-admin-token.env is empty" in told(stack, "up")


def test_a_lost_password_is_not_replaced(stack: Path) -> None:
    """With Docker the data are elsewhere: the tasks know of them, and that both copies are gone."""
    state = json.loads((stack / ".stack.json").read_text())
    (stack / ".stack.json").write_text(json.dumps(state | {"complete": True}))
    (stack / "parsec-credentials.env").unlink()
    shutil.rmtree(stack / "secrets")

    assert "is gone, and so is secrets/postgres-password" in told(stack, "adminToken")
    assert not (stack / "parsec-credentials.env").exists()


def test_damaged_credentials_are_kept(stack: Path) -> None:
    """What is left of a credential is never replaced by a new one."""
    (stack / "parsec-credentials.env").write_text("POSTGRES_PASSWORD=")

    assert "parsec-credentials.env, line 1, is not of the form" in told(stack, "adminToken")
    assert (stack / "parsec-credentials.env").read_text() == "POSTGRES_PASSWORD="


def test_expired_certificate_is_told(stack: Path) -> None:
    """An expired certificate names the task that renews it, which does."""
    expire(stack, "parsec-proxy")

    assert "parsec-proxy.crt has expired" in told(stack, "up")
    assert "parsec-proxy.crt: renewed" in invoke(stack, "tls").stdout


@pytest.mark.parametrize("name", ["custom-ca", "parsec-postgres", "parsec-proxy"])
def test_certificate_of_tomorrow_is_told(stack: Path, name: str) -> None:
    """One that is not valid yet is named with its date and the clock's, before anything starts."""
    now = datetime.now(UTC)
    with (stack / f"{name}.crt").open("ab") as chain:
        chain.write(certificate_from(now + timedelta(days=1)))

    said = told(stack, "up")

    assert f"{name}.crt is valid from {now + timedelta(days=1):%Y-%m-%d}" in said
    assert f"but this machine's clock shows {now:%Y-%m-%d}" in said
    assert not (stack / "log").exists()


def certificate_from(start: datetime) -> bytes:
    """A certificate in PEM that is valid from then on."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tomorrow")])
    build = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    build = build.not_valid_before(start).not_valid_after(start + timedelta(days=9))
    return build.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def expire(stack: Path, name: str) -> None:
    """Put a certificate that ended yesterday in the place of the good one."""
    sign = ["openssl", "x509", "-req", "-in", f"{name}.csr", "-CA", "custom-ca.crt"]
    sign += ["-CAkey", "custom-ca.key", "-set_serial", "1", "-days", "-1", "-out", f"{name}.crt"]
    subprocess.run(sign, cwd=stack, check=True, capture_output=True, timeout=TIMEOUT)


def test_destroy_asks(stack: Path) -> None:
    """Without a terminal to ask at, and without --yes, nothing is removed."""
    assert "confirm with --yes" in told(stack, "destroy")
    assert (stack / "custom-ca.key").exists()


def test_destroy_keeps_a_copy_of_a_secret(stack: Path) -> None:
    """What somebody has put beside the secrets, under a name that begins like one, is theirs."""
    mine = stack / "secrets" / "postgres-password-of-the-old-server"
    mine.write_text("mine")

    assert invoke(stack, "destroy", "--yes").returncode == 0

    assert mine.read_text() == "mine"
    assert not (stack / "secrets" / "postgres-password").exists()


def test_destroy_keeps_what_is_not_its_own(stack: Path) -> None:
    """It removes all that the stack has made, and names what it leaves."""
    (stack / "notes.txt").write_text("mine")

    done = invoke(stack, "destroy", "--yes")

    assert done.returncode == 0, done.stderr
    assert "kept, because the stack did not make it: notes.txt" in done.stdout
    assert [path.name for path in stack.iterdir()] == ["notes.txt"]


def test_what_tasks_import_is_compiled_once(tmp_path: Path) -> None:
    """Though invoke forbids it by default, Python keeps what it has compiled."""
    kept = {"PYTHONPYCACHEPREFIX": str(tmp_path / "compiled"), "PYTHONDONTWRITEBYTECODE": ""}
    invoke(tmp_path / "s", "status", **kept)

    assert list((tmp_path / "compiled").rglob("ownership.*.pyc"))
