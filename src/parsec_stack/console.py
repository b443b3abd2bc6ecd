"""What the user sees while tasks run: live on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self, TextIO


def say(text: str) -> None:
    """One line of progress; the work goes on where it cannot be printed, which is told once.

    A reader that has seen enough, such as ``head``, need not be told.
    """
    try:
        print(text, flush=True)
    except OSError as error:
        sys.stdout = silence()
        if not isinstance(error, BrokenPipeError):
            warn(f"what is printed here cannot be written: {error.strerror}")


def warn(text: str) -> None:
    """A remark that is no part of the result."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        sys.stderr = silence()


def silence() -> TextIO:
    """Where nothing is seen of what is printed; open until the process ends."""
    return open(os.devnull, "w", encoding="utf-8")


class Progress:
    """Which services are ready, and since when; a context manager around one wait."""

    def __init__(self, services: tuple[str, ...]) -> None:
        """Begin with none of the services ready."""
        self.started = time.monotonic()
        self.ready: dict[str, float] = {}
        self.services = services
        self.live: AbstractContextManager[Any] = nullcontext()
        self.refresh: Callable[[], None] = lambda: None

    def __enter__(self) -> Self:
        """Show the services that are awaited, when somebody watches."""
        if sys.stdout.isatty():
            from rich.live import Live

            live = Live(get_renderable=self.render, refresh_per_second=12, transient=True)
            self.live = live
        self.live.__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        """Leave the terminal as it was."""
        self.live.__exit__(*details)

    def done(self, service: str) -> None:
        """The service is ready."""
        self.ready[service] = time.monotonic() - self.started
        say(f"  {service:<16} ready  ({self.ready[service]:.1f} s)")

    def render(self) -> Any:
        """A spinner for each service that is still awaited."""
        from rich.console import Group
        from rich.spinner import Spinner

        waiting = [name for name in self.services if name not in self.ready]
        return Group(*(Spinner("dots", text=f"{name} ...") for name in waiting))
