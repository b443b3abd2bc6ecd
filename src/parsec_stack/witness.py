"""A client whose keys travel in the backups: what it wrote before one must be in it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex

from guidewalk.atomic import write_atomically
from parsec_stack import client, smoke
from parsec_stack.client import Server
from parsec_stack.errors import StackError
from parsec_stack.smoke import Traces
from parsec_stack.stack import Stack

FILE = "secrets/backup-client.json"
# Bytes of a block, how many blocks are remembered, and how many seconds lie between two of them.
BLOCK_SIZE = 1024
REMEMBERED = 100
PAUSE = 0.5
# How many blocks are written while one backup runs.
MEANWHILE = 5


@dataclass
class Witness:
    """The client's keys, what it wrote (``traces``), and when each block was acknowledged.

    ``written`` maps from a block's id to seconds since the epoch.
    """

    traces: Traces
    written: dict[str, float] = field(default_factory=dict)

    def write(self, stack: Stack) -> None:
        """Write a block, and note it once it is acknowledged."""
        block = smoke.write_block(smoke.server_of(stack), self.traces, BLOCK_SIZE)
        self.written[block] = time.time()
        for old in list(self.written)[:-REMEMBERED]:
            del self.written[old]
            del self.traces.blocks[old]
        self.save(stack)

    def save(self, stack: Stack) -> None:
        """Write the file that goes into the backups; it contains a private key."""
        path = stack.folder / FILE
        content = {"traces": self.traces.as_json(), "written": self.written}
        write_atomically(path, json.dumps(content) + "\n")
        path.chmod(0o600)


def load(folder: Path) -> Witness | None:
    """Return the witness of the stack in this folder; None if it has none."""
    path = folder / FILE
    try:
        content = json.loads(path.read_text())
        return Witness(Traces.from_json(content["traces"]), content["written"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        raise StackError(
            f"{path} is damaged: delete it, and the next drill makes another"
        ) from None


def create(stack: Stack) -> Witness:
    """Create an organization for the witness, and its first block."""
    server = smoke.server_of(stack)
    device = smoke.new_organization(stack, server, f"Drill-{token_hex(6)}")
    made = Witness(Traces(device, client.create_realm(server, device)))
    made.write(stack)
    return made


@contextmanager
def at_work(stack: Stack) -> Iterator[None]:
    """Let the witness write before, during and after what happens in the context.

    Without a witness, or with a server that does not answer, nothing is written.
    """
    found = load(stack.folder)
    if found is None:
        yield
        return
    with suppress(StackError):
        found.write(stack)
    # A backup names the second in which it began; what was written before that is in it.
    time.sleep(1 - time.time() % 1)
    ended = threading.Event()
    thread = threading.Thread(target=write_until, args=(stack, found, ended))
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def write_until(stack: Stack, witness: Witness, ended: threading.Event) -> None:
    """Write a few blocks until the event, and one after it."""
    try:
        for _ in range(MEANWHILE):
            witness.write(stack)
            if ended.wait(PAUSE):
                break
        ended.wait()
        witness.write(stack)
    except StackError:
        # The backup is not the server's: a drill will tell that the witness lacks blocks.
        return


@dataclass(frozen=True)
class Testimony:
    """What a witness could read: ``owed`` blocks were to be there, ``later`` ones came after.

    ``lost`` are those of the owed that cannot be read; ``found`` counts the later ones that can.
    """

    owed: int
    lost: tuple[str, ...]
    later: int
    found: int


def testify(stack: Stack, witness: Witness, moment: float) -> Testimony:
    """Sign in to the stack with the witness's keys and read what it has written.

    What was acknowledged before the moment (seconds since the epoch) is owed.
    """
    server, traces = smoke.server_of(stack), witness.traces
    client.sign_in(server, traces.device)
    readable = {block for block in traces.blocks if is_readable(server, traces, block)}
    owed = {block for block, written in witness.written.items() if written < moment}
    later = set(witness.written) - owed
    return Testimony(len(owed), tuple(sorted(owed - readable)), len(later), len(later & readable))


def is_readable(server: Server, traces: Traces, block: str) -> bool:
    """Return whether the server gives back the block as it was written."""
    try:
        content = client.read_block(server, traces.device, traces.realm, block)
    except StackError:
        return False
    return content.hex() == traces.blocks[block]
