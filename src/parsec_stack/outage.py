"""Measure for how long a stack does not serve its clients while something happens to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from parsec_stack import probes
from parsec_stack.stack import Stack

# Seconds between two questions.
PAUSE = 0.05


@dataclass
class Watch:
    """How long nobody was served, in seconds: each time from a question to the next answer."""

    gaps: list[float] = field(default_factory=list)

    @property
    def longest(self) -> float:
        """The longest time without service."""
        return max(self.gaps, default=0.0)

    @property
    def total(self) -> float:
        """All times without service together."""
        return sum(self.gaps)


@contextmanager
def watching(stack: Stack) -> Iterator[Watch]:
    """Ask the server through the proxy, again and again, until the end of the context."""
    watch, ended = Watch(), threading.Event()
    thread = threading.Thread(target=ask_until, args=(stack, watch, ended), daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        ended.set()
        thread.join(2 * probes.TIMEOUT)


def ask_until(stack: Stack, watch: Watch, ended: threading.Event) -> None:
    """Note each time in which no question was answered."""
    since = None
    while not ended.wait(PAUSE):
        asked = time.monotonic()
        if not serves(stack):
            since = since or asked
        elif since:
            watch.gaps.append(time.monotonic() - since)
            since = None
    if since:
        watch.gaps.append(time.monotonic() - since)


def serves(stack: Stack) -> bool:
    """Return whether the proxy passes on an answer of a server that reaches its database."""
    try:
        return probes.serves_parsec(stack.ports["PROXY"], probes.proxy_trust(stack))
    except OSError:  # the file of the CA is just being replaced
        return False
