"""Decide what in a folder is a stack's own: only by its record, never by a name.

A folder becomes a stack's if it is new or empty, and the record, ``.stack.json``, says so. Tasks
write only there, and remove only what the tasks and their services have made.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from parsec_stack.errors import StackError
from parsec_stack.services import KEY_GROUPS
from parsec_stack.stack import LOCK, RECORD, Stack, digest

# setup-tls.sh notes the certificates there that it has made.
ISSUED = "issued-certificates.txt"
# Patterns of what the guide's blocks and services make; whatever else is beside it is not ours.
MADE = (
    *("data/postgres", "data/postgres.new", "data/s3", "data/mail"),
    *("log/*.log", "log/*.log.[0-9]*", "run/supervisor*", "run/nginx", "run/*.sock"),
    *(
        "secrets/postgres-password",
        "secrets/postgres-password.[0-9]*",
        "secrets/s3-*",
        "secrets/mail-users",
    ),
    *("secrets/administration-token", "secrets/account-seed"),
    *("secrets/backup-key", "secrets/backup-client.json"),
    *("backups/sets", "backups/objects", "last-backup", "last-drill", "drill"),
    *("fetched", "fetched.old", ".backup.*", ".fetch.*"),
    *("parsec-admin-token.env", "parsec-credentials.env", "parsec-*.env.[0-9]*"),
    *("made/postgres", "made/s3", "parsec.dump", "parsec.[0-9]*.dump", "migrate.log"),
    *(ISSUED, ".setup-tls.*", LOCK),
)
# The folders that contain these; they are removed when they are empty.
FOLDERS = ("backups", "data", "log", "made", "run", "secrets")
# The names of keys and certificates (setup-tls.sh).
CERTIFIED = ("custom-ca", *KEY_GROUPS)


def enter(stack: Stack, *, creates: bool) -> None:
    """Check that a task may write into the stack's folder; make it if the task ``creates`` stacks.

    Raises StackError for a folder that is no stack's, without having touched it.
    """
    if not creates:
        require(stack)
    elif not stack.state:
        refuse_foreign(stack.folder)
    try:
        stack.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise StackError(f"{stack.folder} is not a folder: choose another with --stack") from None
    except PermissionError:
        raise StackError(f"{stack.folder} cannot be created: you may not write there") from None


def require_writable(stack: Stack) -> None:
    """Raise StackError if this user may not write into the stack's folder."""
    if not os.access(stack.folder, os.W_OK | os.X_OK):
        raise StackError(f"you may not write in {stack.folder}: choose another with --stack")


def require(stack: Stack) -> None:
    """Raise StackError if the folder has no stack's record."""
    if not stack.state:
        raise StackError(
            f"there is no stack in {stack.folder}: run 'invoke tls adminToken up' first"
        )


def refuse_foreign(folder: Path) -> None:
    """Raise StackError if the folder contains anything."""
    if not folder.is_dir():
        return
    try:
        strange = sorted(path.name for path in folder.iterdir() if path.name not in (LOCK, RECORD))
    except PermissionError:
        raise StackError(f"you may not read {folder}: choose another with --stack") from None
    if strange:
        raise StackError(
            f"{folder} is no stack that these tasks have made, and contains other files "
            f"({strange[0]}{', ...' if strange[1:] else ''}): choose an empty or new folder with "
            "--stack or STACK_DIR"
        )


def record(stack: Stack) -> None:
    """Record that the folder is the stack's, with its flavour, ports and names."""
    own: dict[str, Any] = {
        "flavour": stack.flavour,
        "port_offset": stack.port_offset,
        "folder": str(stack.folder),
        "project": stack.project,
        "host": stack.host,
        "names": stack.names,
    }
    if stack.state.get("running"):
        # Where its services were started, until they are stopped.
        own["folder"] = stack.state.get("folder", own["folder"])
    if stack.state and "folder" not in stack.state:
        # Made when the certificates that are the stack's own were not recorded yet.
        own["older"] = True
    if any(stack.state.get(name) != value for name, value in own.items()):
        stack.remember(**own)


def remove(stack: Stack) -> list[str]:
    """Delete what the stack has put into its folder; return the names of what stays."""
    for path in list(made(stack)):
        delete(path)
    for name in FOLDERS:
        delete_empty(stack.folder / name)
    kept = sorted(path.name for path in stack.folder.iterdir() if path.name != RECORD)
    delete(stack.folder / RECORD)
    stack.state.clear()
    if not kept:
        # If root made the folder for its account, only root may remove it from its place.
        with suppress(OSError):
            stack.folder.rmdir()
    return kept


def made(stack: Stack) -> Iterator[Path]:
    """Yield everything in the folder that is the stack's own, except the record."""
    for path in named(stack):
        # The tasks make no links, so what is behind one was arranged by somebody else.
        if not path.is_symlink() and not path.parent.is_symlink():
            yield path


def named(stack: Stack) -> Iterator[Path]:
    """Yield the paths of the stack's own things."""
    for pattern in MADE:
        yield from stack.folder.glob(pattern)
    # What the tasks have copied from the guide, or have written settings into.
    for kind in ("artifacts", "written"):
        for name, recorded in stack.state.get(kind, {}).items():
            path = stack.folder / name
            if path.is_file() and digest(path.read_bytes()) == recorded:
                yield path
    issued = fingerprints(stack.folder)
    for name in CERTIFIED:
        if is_issued(stack, name, issued):
            yield from (
                stack.folder / f"{name}.{suffix}" for suffix in ("key", "csr", "crt", "srl")
            )


def fingerprints(folder: Path) -> set[str]:
    """Return the names and fingerprints of the certificates that setup-tls.sh has made here."""
    try:
        lines = (folder / ISSUED).read_text().splitlines()
    except FileNotFoundError:
        return set()
    return {re.sub(r" .*=", " ", line) for line in lines}


def is_issued(stack: Stack, name: str, issued: Iterable[str]) -> bool:
    """Return whether the stack made this certificate and its key, or a key without one."""
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        certificate = x509.load_pem_x509_certificate((stack.folder / f"{name}.crt").read_bytes())
    except FileNotFoundError:
        return True
    except ValueError:
        return False
    if f"{name} {certificate.fingerprint(SHA256()).hex(':').upper()}" in issued:
        return True
    return bool(stack.state.get("older")) and is_signed_by(
        stack.folder / "custom-ca.crt", certificate
    )


def is_signed_by(ca_file: Path, certificate: object) -> bool:
    """Return whether this CA has signed the certificate."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    assert isinstance(certificate, x509.Certificate)
    try:
        ca = x509.load_pem_x509_certificate(ca_file.read_bytes())
        certificate.verify_directly_issued_by(ca)
    except (OSError, ValueError, TypeError, InvalidSignature):
        return False
    return True


def delete(path: Path) -> None:
    """Delete the file or folder if it exists."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def delete_empty(folder: Path) -> None:
    """Delete the folder unless it contains something, or is a link to another."""
    if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
        folder.rmdir()
