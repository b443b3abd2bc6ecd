"""The scripts that readers copy: what they make, keep, renew and refuse."""

from __future__ import annotations

import signal
import stat
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from parsec_stack.stack import ARTIFACTS

TIMEOUT = 60
SERVICES = (
    "parsec-postgres", "parsec-s3", "parsec-s3-inner", "parsec-smtp", "parsec-server",
    "parsec-proxy",
)  # fmt: skip


def script(name: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run one of the guide's scripts in the folder, with a plain environment."""
    return subprocess.run(
        ["bash", str(ARTIFACTS / name)],
        cwd=folder,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin"} | variables,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )


def made(name: str, folder: Path, **variables: str) -> list[str]:
    """What the script says line by line; it must succeed."""
    done = script(name, folder, **variables)

    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def refusal(name: str, folder: Path, **variables: str) -> str:
    """What the script says when it fails."""
    done = script(name, folder, **variables)

    assert done.returncode == 1, done.stdout
    return done.stderr


def certificate(folder: Path, name: str) -> x509.Certificate:
    """The certificate NAME.crt."""
    return x509.load_pem_x509_certificate((folder / f"{name}.crt").read_bytes())


def names(folder: Path, name: str) -> list[str]:
    """All names and addresses for which the certificate is valid."""
    extension = certificate(folder, name).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    return [str(each.value) for each in extension.value]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with certificates."""
    made("setup-tls.sh", tmp_path)
    return tmp_path


def test_certificates_are_kept(folder: Path) -> None:
    """A second run changes nothing and leaves nothing behind."""
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    said = made("setup-tls.sh", folder)

    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert sorted(line for line in said if "kept" in line) == sorted(
        f"{name}.crt: kept" for name in ("custom-ca", *SERVICES)
    )


def sign(folder: Path, name: str, days: int) -> None:
    """Sign the request NAME.csr again, for so many days."""
    command = ["openssl", "x509", "-req", "-in", f"{name}.csr", "-CA", "custom-ca.crt"]
    command += ["-CAkey", "custom-ca.key", "-set_serial", "1", "-days", str(days)]
    command += ["-copy_extensions", "copyall", "-out", f"{name}.crt"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=TIMEOUT)


@pytest.mark.parametrize("days", [-1, 29])
def test_what_ends_soon_is_renewed(folder: Path, days: int) -> None:
    """A certificate that has expired, or will within 30 days, is renewed with its old key."""
    sign(folder, "parsec-s3", days)
    key = (folder / "parsec-s3.key").read_bytes()

    said = made("setup-tls.sh", folder)

    assert any(line.startswith("parsec-s3.crt: renewed") for line in said)
    left = certificate(folder, "parsec-s3").not_valid_after_utc - datetime.now(UTC)
    assert left > timedelta(days=360)
    assert (folder / "parsec-s3.key").read_bytes() == key


def test_what_lasts_is_kept(folder: Path) -> None:
    """A certificate with 31 days left stays."""
    sign(folder, "parsec-s3", 31)

    assert "parsec-s3.crt: kept" in made("setup-tls.sh", folder)


def test_a_new_authority_signs_anew(folder: Path) -> None:
    """A changed CA makes every certificate useless, so all are issued again."""
    (folder / "custom-ca.key").unlink()

    said = made("setup-tls.sh", folder)

    for name in SERVICES:
        assert any(line.startswith(f"{name}.crt: renewed: the CA of today") for line in said)
        certificate(folder, name).verify_directly_issued_by(certificate(folder, "custom-ca"))


def test_names_are_added_and_dropped(folder: Path) -> None:
    """A changed list of names issues what clients reach, but not the object store's."""
    said = made("setup-tls.sh", folder, TLS_NAMES="parsec.example.com 192.0.2.7 2001:db8::7")

    assert "parsec-s3.crt: kept" in said
    for name in ("parsec-server", "parsec-proxy"):
        assert f"{name}.crt: renewed: its names or key have changed" in said
        assert names(folder, name)[-3:] == ["parsec.example.com", "192.0.2.7", "2001:db8::7"]
    assert "parsec-proxy.crt: renewed: its names or key have changed" in made(
        "setup-tls.sh", folder
    )


def test_a_bad_name_is_refused(folder: Path) -> None:
    """What cannot be a name ends the script before anything changes."""
    before = (folder / "parsec-proxy.crt").read_bytes()

    said = refusal("setup-tls.sh", folder, TLS_NAMES="parsec.example.com;x")

    assert "TLS_NAMES: 'parsec.example.com;x' is neither a host name nor an IP address" in said
    assert (folder / "parsec-proxy.crt").read_bytes() == before


def test_a_damaged_key_is_not_replaced(folder: Path) -> None:
    """A key that cannot be read might be restored: it is never overwritten."""
    (folder / "custom-ca.key").write_text("damaged")

    assert "custom-ca.key is no usable private key" in refusal("setup-tls.sh", folder)
    assert (folder / "custom-ca.key").read_text() == "damaged"


@pytest.mark.parametrize("seconds", [0.02, 0.05, 0.1])
def test_an_interrupted_run_goes_on(tmp_path: Path, seconds: float) -> None:
    """Ended at any moment it leaves no half-made file, and the next run completes the work."""
    running = subprocess.Popen(
        ["bash", str(ARTIFACTS / "setup-tls.sh")],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    time.sleep(seconds)
    running.send_signal(signal.SIGTERM)
    running.wait(TIMEOUT)

    for path in tmp_path.glob("*.crt"):
        certificate(tmp_path, path.stem)
    made("setup-tls.sh", tmp_path)
    for name in SERVICES:
        certificate(tmp_path, name).verify_directly_issued_by(certificate(tmp_path, "custom-ca"))


GENERATORS = {
    "gen-admin-token.sh": "parsec-admin-token.env",
    "gen-credentials.sh": "parsec-credentials.env",
}


@pytest.mark.parametrize(("name", "file"), GENERATORS.items(), ids=GENERATORS)
def test_secrets_are_made_once(tmp_path: Path, name: str, file: str) -> None:
    """They are private, never printed, and kept by every later run."""
    said = made(name, tmp_path)
    secrets = (tmp_path / file).read_text()

    assert stat.S_IMODE((tmp_path / file).stat().st_mode) == 0o600
    assert said == [f"{file}: created"]
    assert made(name, tmp_path) == [f"{file}: kept"]
    assert (tmp_path / file).read_text() == secrets


@pytest.mark.parametrize(("name", "file"), GENERATORS.items(), ids=GENERATORS)
def test_secrets_differ(tmp_path: Path, name: str, file: str) -> None:
    """Two stacks share no secret."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        made(name, tmp_path / folder)

    shared = set((tmp_path / "a" / file).read_text().split()) & set(
        (tmp_path / "b" / file).read_text().split()
    )
    assert shared <= {"S3_CONSOLE_USER=parsec", "MAIL_USER=parsec"}


@pytest.mark.parametrize(("name", "file"), GENERATORS.items(), ids=GENERATORS)
def test_damaged_secrets_are_kept(tmp_path: Path, name: str, file: str) -> None:
    """A file with something missing is named, not replaced, and not shown."""
    (tmp_path / file).write_text("LEFT=over\n")

    said = refusal(name, tmp_path)

    assert f"{file} has no usable" in said
    assert "over" not in said
    assert (tmp_path / file).read_text() == "LEFT=over\n"


@pytest.mark.parametrize(("name", "file"), GENERATORS.items(), ids=GENERATORS)
def test_lost_secrets_are_made_again(tmp_path: Path, name: str, file: str) -> None:
    """What the data need stays as it was; it is taken from the copies in secrets/."""
    made(name, tmp_path)
    before = (tmp_path / file).read_text().splitlines()
    copies = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    (tmp_path / file).unlink()

    (said,) = made(name, tmp_path)

    assert f"{file}: made again from secrets/" in said
    after = (tmp_path / file).read_text().splitlines()
    assert [line for line in before if "MAIL_PASSWORD" not in line] == [
        line for line in after if "MAIL_PASSWORD" not in line
    ]
    assert stat.S_IMODE((tmp_path / file).stat().st_mode) == 0o600
    now = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert now == copies | {"mail-users": now.get("mail-users")} if "mail-users" in now else copies


@pytest.mark.parametrize("place", ["data/postgres", "made/postgres", "secrets/s3-access-key"])
def test_a_lost_password_is_not_replaced(tmp_path: Path, place: str) -> None:
    """A new one would lock out whatever uses the old one."""
    (tmp_path / place).mkdir(parents=True)

    said = refusal("gen-credentials.sh", tmp_path)

    assert "parsec-credentials.env is gone, and so is secrets/postgres-password" in said
    assert not (tmp_path / "parsec-credentials.env").exists()


def test_a_changed_password_leaves_the_one_before(tmp_path: Path) -> None:
    """It may be the only one that opens the database."""
    made("gen-credentials.sh", tmp_path)
    file, copy = tmp_path / "parsec-credentials.env", tmp_path / "secrets" / "postgres-password"
    before = copy.read_text()
    file.write_text(file.read_text().replace(before, "another1"))

    said = made("gen-credentials.sh", tmp_path)

    assert any(line.startswith("secrets/postgres-password: changed; the one") for line in said)
    (earlier,) = copy.parent.glob("postgres-password.*")
    assert (earlier.read_text(), copy.read_text()) == (before, "another1")
    assert made("gen-credentials.sh", tmp_path) == ["parsec-credentials.env: kept"]
    assert len(list(copy.parent.glob("postgres-password.*"))) == 1


@pytest.mark.parametrize(
    ("name", "copy"),
    [("gen-credentials.sh", "postgres-password"), ("gen-admin-token.sh", "account-seed")],
)
def test_damaged_copies_are_kept(tmp_path: Path, name: str, copy: str) -> None:
    """What cannot be a value is named, and nothing is made of it."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / copy).write_text("a b")

    assert f"secrets/{copy} is damaged" in refusal(name, tmp_path)
    assert not (tmp_path / GENERATORS[name]).exists()
