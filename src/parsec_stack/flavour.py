"""The interface of every flavour of a deployment, and the list of flavours."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from guidewalk.site import is_free
from parsec_stack import docker, native
from parsec_stack.errors import StackError
from parsec_stack.services import FlavourName
from parsec_stack.stack import MAX_OFFSET, Stack
from parsec_stack.status import ServiceStatus

# A stack of its own beside others has its ports at least so far from the usual ones.
MIN_OFFSET = 1000


class Flavour(Protocol):
    """How the services of a stack are run; ``native`` and ``docker`` are modules of this type.

    Each function may raise StackError for what keeps it from its work.
    """

    # Whether single services can be started while no other runs.
    STARTS_SINGLY: bool

    def problem(self, artifacts: Path) -> str | None:
        """Return what keeps the flavour from working here, with the remedy; None if nothing.

        ``artifacts`` is the folder with the guide's files.
        """

    def check(self, stack: Stack) -> None:
        """Raise StackError for what would keep the services from starting."""

    def ports(self, stack: Stack) -> Iterator[tuple[str, int]]:
        """Yield every port of this machine that the services use, with the name of the service."""

    def check_port(self, service: str, port: int) -> None:
        """Raise StackError that names the holder if the port is taken on this machine."""

    def is_up(self, stack: Stack) -> bool:
        """Return whether services have been started and not all have ended."""

    def ends(self, stack: Stack) -> bool:
        """Return whether the services are about to end by themselves."""

    def await_end(self, stack: Stack) -> None:
        """Wait until all services have ended."""

    def start_missing(self, stack: Stack, services: Iterable[str]) -> None:
        """Start those of the services that do not run."""

    def stop(self, stack: Stack, services: Iterable[str]) -> None:
        """Stop these services, if they run."""

    def paused(self, stack: Stack) -> list[str]:
        """Return the services that somebody has paused."""

    def go_on(self, stack: Stack) -> None:
        """Resume paused services."""

    def trouble(self, stack: Stack, service: str) -> str | None:
        """Return the state of a service that cannot be kept up; None while it runs or starts."""

    def services(self, stack: Stack) -> list[ServiceStatus]:
        """Return all services with their state, health, address and version."""

    def ask_database(self, stack: Stack, query: str) -> list[str]:
        """Return the rows of the database's answer, with ``|`` between columns."""

    def migrations(self, stack: Stack) -> list[str] | None:
        """Return the names of the migrations applied to the database; None without a schema."""

    def packaged(self, stack: Stack) -> list[str]:
        """Return the names of the migrations that the server contains, oldest first."""

    def missing_data(self, stack: Stack) -> list[str]:
        """Return the places where data of the database or the object store are missing."""

    def begin_anew(self, stack: Stack) -> None:
        """Let missing data be made again."""

    def tree_of_store(self, stack: Stack, path: str) -> str:
        """Return SeaweedFS's file tree at the path, as JSON; empty if there is nothing.

        Raises OSError if there is no answer.
        """

    def master_of_store(self, stack: Stack, path: str) -> str:
        """Return the answer of SeaweedFS's master, as JSON; empty if another store is there.

        Raises OSError if there is no answer.
        """

    def log_tail(self, stack: Stack, service: str, lines: int) -> str:
        """Return the last lines that the service printed."""

    def follow_logs(self, stack: Stack, names: Iterable[str], follow: bool) -> None:
        """Print the services' logs without secrets, and new lines too if ``follow`` is set."""

    def versions(self, stack: Stack) -> dict[str, str]:
        """Return the versions of the programs that a reader has installed or started so far."""

    def remove(self, stack: Stack) -> None:
        """Remove what the flavour keeps outside the stack's folder."""


IMPLEMENTATIONS: dict[FlavourName, Flavour] = {"native": native, "docker": docker}


def flavour_of(stack: Stack) -> Flavour:
    """Return the module that runs this stack's services."""
    return IMPLEMENTATIONS[stack.flavour]


def free_offset(folder: Path, flavour: FlavourName) -> int:
    """Return an offset at which every port of a stack in the folder is free now."""
    for _ in range(50):
        offset = random.randrange(MIN_OFFSET, MAX_OFFSET)
        ports = flavour_of(Stack(folder, flavour, offset)).ports(Stack(folder, flavour, offset))
        if all(is_free(port) for _, port in ports):
            return offset
    raise StackError("no free ports were found for another stack: end others on this machine")
