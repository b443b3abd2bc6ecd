"""What every flavour of a deployment can do, and which there are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from parsec_stack import docker, native
from parsec_stack.services import FlavourName
from parsec_stack.stack import Stack
from parsec_stack.status import ServiceStatus


class Flavour(Protocol):
    """How the services of a stack are run; ``native`` and ``docker`` are modules of this type.

    Each function may raise StackError for what keeps it from its work.
    """

    # Can single services be started while no other runs?
    STARTS_SINGLY: bool

    def problem(self, artifacts: Path) -> str | None:
        """What keeps the flavour from working on this machine, with the remedy; None if nothing.

        ``artifacts`` is the folder with the guide's files.
        """

    def check(self, stack: Stack) -> None:
        """Raise StackError for what would keep the services from starting."""

    def ports(self, stack: Stack) -> Iterator[tuple[str, int]]:
        """Every port of this machine that the services take, with the name of the service."""

    def is_up(self, stack: Stack) -> bool:
        """Have services been started, and not all ended?"""

    def ends(self, stack: Stack) -> bool:
        """Do the services come to their end by themselves?"""

    def await_end(self, stack: Stack) -> None:
        """Wait until all services have ended."""

    def start_missing(self, stack: Stack, services: Iterable[str]) -> None:
        """Start those of the services that do not run."""

    def stop(self, stack: Stack, services: Iterable[str]) -> None:
        """Stop these services, if they run."""

    def paused(self, stack: Stack) -> list[str]:
        """The services that somebody has paused."""

    def go_on(self, stack: Stack) -> None:
        """Let paused services go on."""

    def trouble(self, stack: Stack, service: str) -> str | None:
        """The state of a service that cannot be kept up; None while it runs or starts."""

    def services(self, stack: Stack) -> list[ServiceStatus]:
        """All services with their state, health, address and version."""

    def migrations(self, stack: Stack) -> list[str] | None:
        """The names of the migrations that the database has seen; None without a schema."""

    def packaged(self, stack: Stack) -> list[str]:
        """The names of the migrations that the server brings, oldest first."""

    def missing_data(self, stack: Stack) -> list[str]:
        """Where data of the database or the object store should be and are not."""

    def begin_anew(self, stack: Stack) -> None:
        """Let missing data be made anew."""

    def tree_of_store(self, stack: Stack, path: str) -> str:
        """What SeaweedFS's own tree holds at the path, as JSON; empty if nothing is there.

        Raises OSError if it does not say.
        """

    def log_tail(self, stack: Stack, service: str, lines: int) -> str:
        """The last lines that the service printed."""

    def follow_logs(self, stack: Stack, names: Iterable[str], follow: bool) -> None:
        """Print the logs of the services without secrets, and what comes after when following."""

    def versions(self, stack: Stack) -> dict[str, str]:
        """The versions of the programs that a reader has installed or started; empty so far."""

    def remove(self, stack: Stack) -> None:
        """Remove what the flavour keeps outside the stack's folder."""


IMPLEMENTATIONS: dict[FlavourName, Flavour] = {"native": native, "docker": docker}


def flavour_of(stack: Stack) -> Flavour:
    """How this stack's services are run."""
    return IMPLEMENTATIONS[stack.flavour]
