"""Examine the files of a stack: whether they are there, fit together, and are closed to others."""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parsec_stack import backups, composition, deployment, edited, probes, status
from parsec_stack.composition import COMPOSE_FILE
from parsec_stack.doctor.finding import Finding, Look, examination
from parsec_stack.errors import StackError
from parsec_stack.services import KEY_GROUPS
from parsec_stack.stack import ARTIFACTS, Stack

if TYPE_CHECKING:
    from cryptography import x509

DAY = 86400
# After so many days without a backup one is due.
BACKUP_DUE = 2
# A disk with less is about to be full: bytes, and the part of all files that it can have.
ROOM, FILES = 1 << 30, 0.05
# Anybody can compute the key of a certificate whose RSA key is shorter.
RSA_BITS = 2048
SECRET_FILES = (
    "*.key", "*-credentials.env", "*-token.env", "*.dump", "secrets", "data", "data/postgres",
)  # fmt: skip


@examination
def missing_files(look: Look) -> Iterator[Finding]:
    """Find files of earlier tasks that are missing."""
    for names, task in ((deployment.CERTIFICATES, "tls"), (deployment.ENV_FILES, "adminToken")):
        for name in names:
            if not (look.stack.folder / name).exists():
                yield Finding("broken", name, "it is missing", f"run 'invoke {task}'")


@examination
def unreadable_files(look: Look) -> Iterator[Finding]:
    """Find files that one of their readers would misread."""
    names = {*deployment.ENV_FILES, *(path.name for path in ARTIFACTS.iterdir())}
    for path in (look.stack.folder / name for name in sorted(names)):
        yield from refused(path.name, partial(edited.require_text, path), path.is_file())
    for name in deployment.GENERATED:
        there = (look.stack.folder / name).exists()
        yield from refused(name, partial(look.stack.env_file, name), there)
    check = partial(deployment.check_env_files, look.stack)
    yield from refused("env files", check, look.has_env_files)


def refused(subject: str, check: Any, there: bool) -> Iterator[Finding]:
    """Find what this check of an existing file refuses."""
    try:
        if there:
            check()
    except StackError as error:
        seen, _, remedy = str(error).partition(": ")
        yield Finding("broken", subject, seen, remedy or "correct it")


@examination
def certificates(look: Look) -> Iterator[Finding]:
    """Find certificates that are not valid now, or not much longer."""
    for name in deployment.CERTIFICATES:
        path = look.stack.folder / name
        check = partial(deployment.check_validity, look.stack, name)
        found = list(refused(name, check, path.exists()))
        yield from found
        last = status.expiry(path)
        if last and not found:
            days = (datetime.fromisoformat(last).replace(tzinfo=UTC) - datetime.now(UTC)).days
            if days < status.SOON:
                foreign = name == probes.PROXY_CERTIFICATE and deployment.is_foreign(look.stack)
                yield Finding(
                    "warning", name, f"it expires in {days} days",
                    "get a new one from its CA" if foreign else "run 'invoke tls restart'",
                )  # fmt: skip


@examination
def chains(look: Look) -> Iterator[Finding]:
    """Find certificates that the CA has not signed, that do not fit their key, or are weak."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    for name in KEY_GROUPS:
        path = look.stack.folder / f"{name}.crt"
        try:
            certificate = x509.load_pem_x509_certificate(path.read_bytes())
        except (OSError, ValueError):
            continue
        known = is_trusted(look.stack.ca_file, certificate)
        if not known and path.name != probes.PROXY_CERTIFICATE:
            yield Finding(
                "broken", path.name, "custom-ca.crt has not signed it: nobody trusts the service",
                f"move {name}.crt and {name}.key away and run 'invoke tls restart'",
            )  # fmt: skip
        if fits(path) is False:
            yield Finding(
                "broken", path.name, f"it is not of the key {name}.key: the service does not start",
                "put back the pair that belongs together, or move both away and run "
                "'invoke tls restart'",
            )  # fmt: skip
        key = certificate.public_key()
        if isinstance(key, RSAPublicKey) and key.key_size < RSA_BITS:
            yield Finding(
                "danger", path.name, f"its RSA key has {key.key_size} bits, which can be broken",
                "move it and its key away and run 'invoke tls restart'",
            )  # fmt: skip


def is_trusted(ca_file: Path, certificate: x509.Certificate) -> bool:
    """Return whether one of the CAs in the file has signed it; while they change there are two."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    try:
        authorities = x509.load_pem_x509_certificates(ca_file.read_bytes())
    except (OSError, ValueError):
        return False
    for authority in authorities:
        with suppress(ValueError, TypeError, InvalidSignature):
            certificate.verify_directly_issued_by(authority)
            return True
    return False


def fits(certificate: Path) -> bool | None:
    """Return whether the certificate is of the key beside it; None if that cannot be read."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(certificate.with_suffix(".key").read_bytes(), None)
        known = x509.load_pem_x509_certificate(certificate.read_bytes()).public_key()
    except (OSError, ValueError, TypeError):
        return None
    return key.public_key() == known


@examination
def modes(look: Look) -> Iterator[Finding]:
    """Find secrets and data that other users of the machine can read."""
    for pattern in SECRET_FILES:
        for path in sorted(look.stack.folder.glob(pattern)):
            mode = stat.S_IMODE(path.stat().st_mode)
            # A group that no user has reads a key in its container.
            open_to = stat.S_IRWXO if path.suffix == ".key" else stat.S_IRWXO | stat.S_IRWXG
            if mode & open_to:
                name = str(path.relative_to(look.stack.folder))
                yield Finding(
                    "danger", name, f"other users of this machine can read it (mode {mode:o})",
                    f"run 'chmod {mode & ~open_to:o} {name}' in the stack's folder",
                )  # fmt: skip


@examination
def disk(look: Look) -> Iterator[Finding]:
    """Find that the disk of the stack's folder is about to be full."""
    usage, numbers = shutil.disk_usage(look.stack.folder), os.statvfs(look.stack.folder)
    if usage.free < ROOM:
        yield Finding(
            "danger", "disk", f"{usage.free / 1e6:.0f} MB are free on the disk of the stack's "
            "folder: writes will fail", "make room, or move the stack to a larger disk",
        )  # fmt: skip
    if numbers.f_files and numbers.f_favail < FILES * numbers.f_files:
        yield Finding(
            "danger", "inodes", f"the disk of the stack's folder can take {numbers.f_favail} more "
            "files, whatever room it has", "delete files that nobody needs there",
        )  # fmt: skip


@examination
def old_backups(look: Look) -> Iterator[Finding]:
    """Find that the last backup is old, or that there is none after some days."""
    born = look.stack.folder / "parsec-credentials.env"
    if not look.complete or not born.exists():
        return
    last = newest_backup(look.stack)
    days = int((time.time() - (last or born.stat().st_mtime)) / DAY)
    if days >= BACKUP_DUE:
        seen = f"the last one is {days} days old" if last else f"there is none after {days} days"
        yield Finding("danger", "backup", seen, "run 'invoke backup', best by a timer")


def newest_backup(stack: Stack) -> float | None:
    """Return when the newest backup of the stack was made, in seconds since 1970; None without one.

    The one place that asks for backups.
    """
    last = backups.last(stack)
    return last.read_at.timestamp() if last else None


@examination
def edited_artifacts(look: Look) -> Iterator[Finding]:
    """Find images that are older than the guide's, and programs' files that were edited."""
    folder, installed = look.stack.folder, look.stack.state.get("artifacts", {})
    ours = composition.images(composition.parse((ARTIFACTS / COMPOSE_FILE).read_text()))
    try:
        theirs = composition.images(composition.parse((folder / COMPOSE_FILE).read_text()))
    except (OSError, StackError):
        theirs = {}
    for service, image in theirs.items() if look.stack.flavour == "docker" else ():
        if image != ours.get(service, image):
            yield Finding(
                "warning", service, f"{COMPOSE_FILE} names {image[0]}:{image[1]}, and the guide "
                f"{ours[service][0]}:{ours[service][1]}", "see docs/upgrade.rst",
            )  # fmt: skip
    for name in sorted(installed):
        path = folder / name
        if not path.exists():
            yield Finding(
                "broken", name, "a file of the guide is missing", "run 'invoke up', which copies it"
            )
