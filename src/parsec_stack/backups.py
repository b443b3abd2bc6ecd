"""Whole backups, and how a stack comes back from one: on this machine or on a bare one."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import tarfile
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from guidewalk.atomic import copy_atomically, write_atomically
from guidewalk.console import say
from parsec_stack import deployment, ownership, schema, witness
from parsec_stack.blocks import run
from parsec_stack.errors import StackError
from parsec_stack.flavour import flavour_of
from parsec_stack.services import SUPPORTING
from parsec_stack.stack import ARTIFACTS, LOCALHOST, RECORD, Stack, digest

NEWEST = "newest"
# The name that backup.sh gives a set: its moment, in UTC.
SET = re.compile(r"\d{8}T\d{6}Z")
# What fetch-backup.sh leaves, and backup.sh after a set that is whole.
FETCHED = "fetched"
LAST = "last-backup"
SETTINGS = "parsec-backup.env"
KEY = "secrets/backup-key"
# What a bare folder needs before it can fetch a set.
TOOLS = (SETTINGS, "backup-tools.sh", "fetch-backup.sh", "restore-settings.sh")


@dataclass(frozen=True)
class Manifest:
    """What a set says of itself; ``read_at`` is when its database was read."""

    name: str
    read_at: datetime
    migrations: tuple[str, ...]
    objects: int
    size: int

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Return the manifest in the file; StackError if there is none, or something else."""
        try:
            pairs = [line.split(" ", 1) for line in path.read_text().splitlines()]
            values = dict(pairs)
            objects, size = values["objects"].split()
            return cls(
                values["set"],
                datetime.fromisoformat(values["database-read"]),
                tuple(value for name, value in pairs if name == "migration"),
                int(objects),
                int(size),
            )
        except FileNotFoundError:
            raise StackError(f"{path} is missing") from None
        except (KeyError, ValueError):
            raise StackError(f"{path} is no manifest of a backup: delete it") from None


def last(stack: Stack) -> Manifest | None:
    """Return the manifest of the last whole set that this stack has written; None without one."""
    path = stack.folder / LAST
    return Manifest.read(path) if path.exists() else None


def setting(stack: Stack, name: str) -> str:
    """Return a value of parsec-backup.env, as bash reads it; empty if it has none."""
    command = f'source ./{SETTINGS}; printf %s "${{{name}:-}}"'
    said = subprocess.run(
        ["bash", "-euc", command],
        cwd=stack.folder,
        env=stack.environment(),
        capture_output=True,
        text=True,
        timeout=10,
    )
    if said.returncode:
        raise StackError(f"{stack.folder / SETTINGS} cannot be read: {said.stderr.strip()}")
    return said.stdout


def target(stack: Stack) -> str:
    """Return where the backups are, as the settings say: a remote of rclone, or a folder."""
    place = setting(stack, "BACKUP_TARGET")
    if not place:
        raise StackError(f"{stack.folder / SETTINGS} names no BACKUP_TARGET")
    return place


def age(manifest: Manifest) -> float:
    """Return how many hours ago the database of the set was read."""
    return (datetime.now(UTC) - manifest.read_at).total_seconds() / 3600


def tell_age(stack: Stack) -> None:
    """Print how old the last backup is; UserError if it is too old."""
    if (stack.folder / SETTINGS).exists() and (stack.folder / "backup-age.sh").exists():
        run(stack, "backup-age")


def backup(stack: Stack) -> None:
    """Write a set: database, objects, keys, credentials and settings."""
    say("backup: database, objects and settings")
    deployment.require_up(stack)
    deployment.prepare(stack)
    require_key(stack)
    deployment.settle(stack, ("parsec-postgres", "parsec-s3"))
    with witness.at_work(stack) if stack.state.get("complete") else nullcontext():
        run(stack, "backup")
    key = deployment.shown(stack.folder / KEY)
    say(f"  keep a copy of {key} elsewhere: no backup can be read without it")


def require_key(stack: Stack) -> None:
    """Raise StackError if the key of the backups is missing."""
    if not (stack.folder / KEY).exists():
        raise StackError(
            f"{stack.folder / KEY} is missing: put back the key of your backups, or run "
            "'invoke adminToken' to make one for new backups"
        )


def restore(stack: Stack, name: str, *, target: str, key: str, confirmed: bool) -> Manifest:
    """Bring back the database, and what else is missing, from the set of this name.

    ``target`` and the file ``key`` say where the sets are, and open them, to a folder that does
    not know. Nothing is stopped before the set has been read to its end. The replaced database is
    dropped when the server has answered. Returns the set's manifest.
    """
    say("restore: from a backup")
    if name != NEWEST and not SET.fullmatch(name):
        raise StackError(f"'{name}' is no name of a set, such as 20260131T023000Z")
    # Also if this was interrupted at its very end.
    bare = bool(stack.state.get("restoring")) or not deployment.holds_data(stack)
    if not bare and (target or key):
        raise StackError(
            f"the stack in {stack.folder} has its own {SETTINGS} and {KEY}: give --target and "
            "--key only for a folder that has no data yet"
        )
    install_tools(stack)
    introduce(stack, target, key)
    stack.remember(restoring=bare)
    require_key(stack)
    run(stack, "fetch-backup", {"<set>": name})
    manifest = Manifest.read(stack.folder / FETCHED / "manifest")
    if bare:
        stack = restore_settings(stack)
    # Raises for a database that is newer than this server.
    schema.pending(manifest.migrations, flavour_of(stack).packaged(stack))
    lost = deployment.lost_data(stack)
    if not bare and not confirmed:
        confirm(stack, manifest, lost)
    deployment.prepare(stack)
    deployment.check_files(stack)
    start_supporting(stack, lost)
    replace_data(stack)
    finish(stack)
    return manifest


def install_tools(stack: Stack) -> None:
    """Copy the files with which a set is fetched, where they are missing."""
    for name in TOOLS:
        if not (stack.folder / name).exists():
            copy_atomically(ARTIFACTS / name, stack.folder / name)
    (stack.folder / "secrets").mkdir(mode=0o700, exist_ok=True)


def introduce(stack: Stack, target: str, key: str) -> None:
    """Tell the stack where its sets are and what opens them, if this is given.

    Raises StackError for another key than it has.
    """
    if target:
        give_target(stack, target if is_remote(target) else str(Path(target).absolute()))
    if key:
        given, own = read_key(Path(key)), stack.folder / KEY
        if own.exists() and read_key(own) != given:
            raise StackError(f"{own} is another key than {key}: move it to a safe place first")
        write_atomically(own, f"{given}\n")
        own.chmod(0o600)


def give_target(stack: Stack, place: str) -> None:
    """Write into the stack's settings where its sets are; a path may be relative to its folder."""
    if any("\ud800" <= one <= "\udfff" for one in place):
        raise StackError(f"{place!a} is no text in UTF-8, as {SETTINGS} must be: rename it")
    settings = stack.folder / SETTINGS
    line = f"BACKUP_TARGET={shlex.quote(place)}"
    text = re.sub(r"(?m)^BACKUP_TARGET=.*$", lambda _: line, settings.read_text())
    write_atomically(settings, text)
    stack.remember(written={SETTINGS: digest(text.encode())})


def read_key(path: Path) -> str:
    """Return the key in the file; StackError if it cannot be read, or is empty."""
    try:
        found = path.read_text().strip()
    except OSError as error:
        raise StackError(
            f"the key of the backups cannot be read from {path}: {error.strerror}"
        ) from None
    except ValueError:
        found = ""
    if not re.fullmatch(r"[0-9a-zA-Z]+", found):
        raise StackError(f"{path} holds no key of backups, which has letters and digits alone")
    return found


def is_remote(target: str) -> bool:
    """Return whether rclone takes this for a remote, not for a folder."""
    return ":" in target.partition("/")[0]


def confirm(stack: Stack, manifest: Manifest, lost: Iterable[str]) -> None:
    """Ask whether to go on; StackError unless the answer is yes."""
    also = f" and continue without {' and '.join(lost)}" if lost else ""
    moment = f"{manifest.read_at:%Y-%m-%d %H:%M} UTC"
    deployment.ask(
        f"replace the database of the stack in {stack.folder} with that of {moment}{also}?"
    )


def restore_settings(stack: Stack) -> Stack:
    """Put back what the folder lacks, and complete it with the guide of this version.

    Returns the stack with the names that the one in the backup had. What its owner had not edited
    follows this guide, as in any stack.
    """
    run(stack, "restore-settings")
    record = record_of(stack)
    installed = {name: digest((ARTIFACTS / name).read_bytes()) for name in TOOLS}
    stack.remember(artifacts=record.get("artifacts", {}) | installed)
    if stack.host == LOCALHOST and not stack.names:
        stack = replace(stack, host=record.get("host", LOCALHOST), names=record.get("names", ""))
        ownership.record(stack)
    deployment.prepare(stack)
    for block in ("tls", "admin-token", "credentials"):
        run(stack, block)
    return stack


def record_of(stack: Stack) -> dict[str, Any]:
    """Return what the stack that wrote the fetched set has remembered."""
    path = stack.folder / FETCHED / "settings.tar"
    with suppress(KeyError, ValueError), tarfile.open(path) as tar:
        file = tar.extractfile(f"./{RECORD}")
        record = json.load(file) if file else {}
        return record if isinstance(record, dict) else {}
    return {}


def start_supporting(stack: Stack, lost: list[str]) -> None:
    """Start what the server needs; a database or store that is lost begins anew."""
    flavour = flavour_of(stack)
    deployment.wake(stack)
    deployment.stop_outdated(stack, SUPPORTING)
    if lost:
        flavour.begin_anew(stack)
    if lost or not flavour.is_up(stack):
        deployment.start_services(stack)
    flavour.start_missing(stack, SUPPORTING)
    deployment.settle(stack, SUPPORTING)


def replace_data(stack: Stack) -> None:
    """Add the objects that the store lacks, then replace the database with that of the set.

    In this order the server stops only for the database, and never misses an object.
    """
    run(stack, "bucket")
    run(stack, "restore-objects")
    with deployment.server_stopped(stack) if stack.state.get("complete") else nullcontext():
        run(stack, "restore")
        stack.remember(replaced=True)


def finish(stack: Stack) -> None:
    """Start the server, unless the database must be migrated first."""
    if not stack.state.get("complete"):
        stack.remember(migrated=True, complete=True)
    deployment.resume(stack)
    ownership.delete(stack.folder / FETCHED)
    stack.remember(restoring=False)
