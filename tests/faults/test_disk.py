"""Fill the disks of running stacks: writes are refused, nothing is lost, and room is all it takes.

Only root may mount the small disks.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from io import FileIO
from pathlib import Path

import pytest

from accounts import ROOT_ONLY
from parsec_stack import probes, smoke
from parsec_stack.errors import StackError
from parsec_stack.flavour import flavour_of
from parsec_stack.smoke import Traces
from parsec_stack.stack import Stack
from parsec_stack.verify import trial_stack
from writing import SERVES_WITHIN

# SeaweedFS looks for room once a minute.
WITHIN = SERVES_WITHIN + 60
SIZE = "256m"
POLL = 0.2
# More than what PostgreSQL has room for in the log that it has made beforehand.
FILLER, FILLERS = 10_000_000, 5

pytestmark = ROOT_ONLY


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A complete stack with its folder on a small disk."""
    with (
        ExitStack() as mounted,
        trial_stack.running("native", "disk", partial(on_a_small_disk, mounted)) as made,
    ):
        yield made


def on_a_small_disk(mounted: ExitStack, stack: Stack) -> None:
    """Put the folder of the stack that is about to be made on a small disk."""
    mounted.enter_context(small_disk(stack.folder, "mode=700"))


@contextmanager
def small_disk(place: Path, options: str) -> Iterator[None]:
    """Mount one there."""
    place.mkdir(parents=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE},{options}", "none", place], check=True
    )
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)
        place.rmdir()
        if not any(place.parent.iterdir()):
            place.parent.rmdir()


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """Leave no room on the disk."""
    filler = disk / "filler"
    try:
        with filler.open("wb", buffering=0) as file:
            for size in (1 << 16, 1):
                append(file, b"x" * size)
        assert os.statvfs(disk).f_bavail == 0
        yield
    finally:
        filler.unlink()


def append(file: FileIO, piece: bytes) -> None:
    """Write it again and again, until there is no room."""
    with suppress(OSError):
        while True:
            file.write(piece)


def soon[T](act: Callable[[], T]) -> T:
    """What it returns once it succeeds; its last error if it never does in time."""
    deadline = time.monotonic() + WITHIN
    while True:
        try:
            return act()
        except StackError:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL)


def write_block(stack: Stack, traces: Traces) -> None:
    """Write one block."""
    smoke.write_block(smoke.server_of(stack), traces)


def write_many(stack: Stack, traces: Traces) -> None:
    """Write more blocks than a full disk can take."""
    for _ in range(200):
        write_block(stack, traces)


@pytest.mark.timeout(900)
def test_a_full_disk_of_the_store(stack: Stack) -> None:
    """Blocks are refused, what was stored is read all the same, and with room it goes on."""
    traces = smoke.write(stack, 3)
    with filled(stack.folder):
        with pytest.raises(StackError):
            write_many(stack, traces)
        smoke.read_back(stack, traces, within=SERVES_WITHIN)
        said = flavour_of(stack).log_tail(stack, "parsec-s3", 1000)
        assert "space" in said.lower()

    soon(lambda: write_block(stack, traces))
    smoke.read_back(stack, traces, within=SERVES_WITHIN)


@pytest.mark.timeout(900)
def test_a_full_disk_of_the_database(stack: Stack) -> None:
    """PostgreSQL ends rather than lose anything, says why, and with room comes back by itself."""
    traces = smoke.write(stack, 3)
    asyncio.run(fill_the_log(stack))

    soon(lambda: smoke.read_back(stack, traces))
    said = flavour_of(stack).log_tail(stack, "parsec-postgres", 1000)
    assert "No space left on device" in said
    soon(lambda: smoke.write(stack))
    assert probes.serves_parsec(stack.ports["PROXY"], probes.proxy_trust(stack))


async def fill_the_log(stack: Stack) -> None:
    """Write so much that PostgreSQL needs more room for its log than there is."""
    import asyncpg

    trust = ssl.create_default_context(cafile=str(stack.ca_file))
    connection = await asyncpg.connect(
        host="127.0.0.1", port=stack.ports["POSTGRES"], user="parsec", database="parsec",
        password=stack.env_file("parsec-credentials.env")["POSTGRES_PASSWORD"], ssl=trust,
    )  # fmt: skip
    message = f"SELECT pg_logical_emit_message(false, 'filler', repeat('x', {FILLER}));"
    messages = message * FILLERS
    with filled(stack.folder):
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await connection.execute(messages)
        # Long enough for a few attempts to start.
        await asyncio.sleep(5)
    connection.terminate()
