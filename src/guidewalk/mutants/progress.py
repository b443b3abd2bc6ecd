"""What the user sees during a run: a live view on a terminal, an occasional line elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from guidewalk.console import say

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

# Seconds between two lines if no terminal shows a bar.
PAUSE = 30.0


class Stages:
    """How far the run is."""

    def __init__(self) -> None:
        self.bar: Bar | None = None
        self.name, self.total, self.done = "", 0, 0
        self.killed = 0
        self.told = 0.0

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[None]:
        """A part of the run with so many steps; one without steps is not shown."""
        self.name, self.total, self.done, self.killed = name, total, 0, 0
        started = time.monotonic()
        self.told = started
        if not total:
            yield
            return
        if sys.stdout.isatty():
            with self.on_terminal():
                yield
        else:
            yield
        say(f"  {name:<24} {self.state()}  ({time.monotonic() - started:.0f} s)")

    @contextmanager
    def on_terminal(self) -> Iterator[None]:
        """Show a bar."""
        from rich.progress import Progress as Bar

        with Bar(transient=True) as self.bar:
            self.bar.add_task(self.name, total=self.total)
            yield
        self.bar = None

    def state(self) -> str:
        """Return how far this stage is."""
        killed = f", {self.killed} killed" if self.killed else ""
        return f"{self.done} of {self.total}{killed}"

    def step(self, steps: int = 1) -> None:
        """Count this many more steps as done."""
        self.done += steps
        if self.bar:
            self.bar.update(self.bar.task_ids[0], completed=self.done)
        elif time.monotonic() - self.told > PAUSE:
            self.told = time.monotonic()
            say(f"  {self.name:<24} {self.state()} ...")

    def count(self, killed: bool) -> None:
        """Count one mutant's result."""
        self.killed += killed

    def say(self, text: str) -> None:
        """Print a remark."""
        say(f"  {text}")
