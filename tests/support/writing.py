"""Clients that write while a test does something to their server."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from parsec_stack import smoke
from parsec_stack.errors import StackError
from parsec_stack.smoke import Traces
from parsec_stack.stack import Stack

# How long clients write before and after it, in seconds.
BEFORE, AFTER = 1.0, 1.0
SERVES_WITHIN = 120.0
POLL = 0.05


class Writers:
    """Clients that write until they are told to stop, and remember what was acknowledged."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.traces = smoke.write(stack)
        self.organizations: list[Traces] = []
        # When each block was acknowledged, in seconds since the epoch.
        self.times = dict.fromkeys(self.traces.blocks, time.time())
        self.ended = threading.Event()
        self.threads = [
            threading.Thread(target=self.repeat, args=(write,), daemon=True)
            for write in (self.block, self.block, self.organization)
        ]
        for thread in self.threads:
            thread.start()

    def repeat(self, write: object) -> None:
        """Write again and again; what the killed service refuses was not acknowledged."""
        assert callable(write)
        while not self.ended.is_set():
            try:
                write()
            except StackError:
                time.sleep(POLL)

    def block(self) -> None:
        """Write one block."""
        written = smoke.write_block(smoke.server_of(self.stack), self.traces)
        self.times[written] = time.time()

    def organization(self) -> None:
        """Write an organization with a realm and a block."""
        traces = smoke.write(self.stack)
        self.organizations.append(traces)
        self.times |= dict.fromkeys(traces.blocks, time.time())

    def stop(self) -> None:
        """Let every client finish what it has begun."""
        self.ended.set()
        for thread in self.threads:
            thread.join(SERVES_WITHIN)
            assert not thread.is_alive()

    def read_back(self, until: float = math.inf) -> int:
        """Read all that was acknowledged before this time; how many blocks that is."""
        number = 0
        for traces in (self.traces, *self.organizations):
            blocks = {one: text for one, text in traces.blocks.items() if self.times[one] < until}
            owed = Traces(traces.device, traces.realm, blocks)
            smoke.read_back(self.stack, owed, within=SERVES_WITHIN)
            number += len(blocks)
        return number


@contextmanager
def writing(stack: Stack) -> Iterator[Writers]:
    """Clients that write while something happens."""
    writers = Writers(stack)
    try:
        time.sleep(BEFORE)
        yield writers
        time.sleep(AFTER)
    finally:
        writers.stop()
