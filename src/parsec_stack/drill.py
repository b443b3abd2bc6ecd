"""Try whether everything comes back: restore the backup beside the live stack, and use it."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from guidewalk.atomic import write_atomically
from guidewalk.console import say
from parsec_stack import backups, deployment, integrity, ownership, stack, witness
from parsec_stack.backups import Manifest
from parsec_stack.errors import StackError
from parsec_stack.flavour import free_offset
from parsec_stack.stack import Stack
from parsec_stack.witness import Testimony

# What is recorded of the last drill, in the stack's folder.
LAST = "last-drill"


@dataclass(frozen=True)
class Outcome:
    """What a drill has found.

    ``rto_seconds``: how long it took until a client had read everything. ``rpo_seconds``: the work
    of how much time would have been lost. ``rows`` and ``objects`` were compared. ``owed`` blocks
    had to be there, and so were ``found`` later ones.
    """

    set: str
    rto_seconds: float
    rpo_seconds: float
    rows: int
    objects: int
    owed: int
    found: int


def run(live: Stack, name: str) -> Outcome:
    """Restore the set of this name beside the stack, check it, read it as a client, remove it.

    Raises StackError for whatever does not come back as it was.
    """
    say("drill: a backup is restored beside this stack")
    deployment.require_complete(live)
    deployment.remove_drill(live)
    if witness.load(live.folder) is None:
        say("  a client is made, whose keys are in every backup from now on")
        witness.create(live)
        backups.backup(live)
    begun, moment = time.monotonic(), time.time()
    with beside(live) as other:
        settings(live, other)
        manifest = backups.restore(other, name, target="", key="", confirmed=True)
        testimony = ask(live, other, manifest)
        seconds = time.monotonic() - begun
        report = integrity.compare(other)
    if not report.whole:
        raise StackError(f"{manifest.name} is not whole: {report.told()}")
    outcome = Outcome(
        manifest.name,
        round(seconds, 1),
        round(moment - manifest.read_at.timestamp(), 1),
        report.rows,
        report.objects,
        testimony.owed,
        testimony.found,
    )
    tell(live, outcome, testimony)
    return outcome


@contextmanager
def beside(live: Stack) -> Iterator[Stack]:
    """Give a new stack in the live one's folder; remove it whatever happens."""
    folder = live.folder / deployment.DRILL
    stack.require_path(folder, live.flavour)
    other = Stack(folder, live.flavour, free_offset(folder, live.flavour))
    ownership.enter(other, creates=True)
    try:
        with stack.locked(other):
            ownership.record(other)
            yield other
    finally:
        deployment.remove_drill(live)


def settings(live: Stack, other: Stack) -> None:
    """Tell the new stack where the backups are, and what opens them."""
    backups.install_tools(other)
    remote = live.folder / "rclone.conf"
    if remote.exists():
        shutil.copy(remote, other.folder)
    place = backups.target(live)
    if not backups.is_remote(place) and not Path(place).is_absolute():
        # The live stack's folder may have a name that no setting can hold.
        place = os.path.join(os.path.relpath(live.folder, other.folder), place)
    backups.give_target(other, place)
    backups.introduce(other, "", str(live.folder / backups.KEY))


def ask(live: Stack, other: Stack, manifest: Manifest) -> Testimony:
    """Let the witness of the backup read in the restored stack what it wrote in the live one.

    Raises StackError if the backup has no witness, or lacks a block that it must have.
    """
    known, kept = witness.load(live.folder), witness.load(other.folder)
    if not known or not kept:
        raise StackError(
            f"{manifest.name} is older than the first drill: it came back, but no client can read "
            "it here; run 'invoke backup drill'"
        )
    known.traces.device = kept.traces.device
    testimony = witness.testify(other, known, manifest.read_at.timestamp())
    if not testimony.owed:
        raise StackError(f"{manifest.name} is older than what its client remembers: make another")
    if testimony.lost:
        raise StackError(
            f"{manifest.name} lacks {len(testimony.lost)} of {testimony.owed} blocks that a client "
            f"had stored before it was written ({testimony.lost[0]}, ...)"
        )
    return testimony


def tell(live: Stack, outcome: Outcome, testimony: Testimony) -> None:
    """Print the outcome and record it in the stack."""
    write_atomically(live.folder / LAST, json.dumps(asdict(outcome)) + "\n")
    say(f"drill: {outcome.set} came back in {outcome.rto_seconds:.1f} s, and a client read it")
    say(f"  what was stored in the {span(outcome.rpo_seconds)} since then would be lost")
    say(f"  {outcome.rows} rows and {outcome.objects} objects fit each other")
    say(
        f"  {testimony.owed} of {testimony.owed} blocks from before were read back, and "
        f"{testimony.found} of {testimony.later} later ones"
    )


def span(seconds: float) -> str:
    """Return the time in words: ``90 s``, ``5 min``, ``3 h``."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
