"""What the user sees while tasks run: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self

from guidewalk.console import say


class Waiting:
    """A context manager around one wait, which shows which services are ready and since when."""

    def __init__(self, services: tuple[str, ...]) -> None:
        self.started = time.monotonic()
        self.ready: dict[str, float] = {}
        self.services = services
        self.live: AbstractContextManager[Any] = nullcontext()

    def __enter__(self) -> Self:
        """Show the services that are awaited, if there is a terminal."""
        if sys.stdout.isatty():
            from rich.live import Live

            live = Live(get_renderable=self.render, refresh_per_second=12, transient=True)
            self.live = live
        self.live.__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        self.live.__exit__(*details)

    def done(self, service: str) -> None:
        """Record that the service is ready."""
        self.ready[service] = time.monotonic() - self.started
        say(f"  {service:<16} ready  ({self.ready[service]:.1f} s)")

    def render(self) -> Any:
        """Return a spinner for each service that is still awaited."""
        from rich.console import Group
        from rich.spinner import Spinner

        waiting = [name for name in self.services if name not in self.ready]
        return Group(*(Spinner("dots", text=f"{name} ...") for name in waiting))
