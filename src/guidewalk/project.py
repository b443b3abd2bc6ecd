"""What a project says about itself, so that its guide can be followed and its claims checked."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from guidewalk.claims import Claims, Recognisers
from guidewalk.files import Files
from guidewalk.guide import Claim, Guide
from guidewalk.linters import Findings, Linter
from guidewalk.registry import Registry
from guidewalk.site import Site, home_of, new_folder


@dataclass(frozen=True)
class Limits:
    """Seconds that a block, the wait for a service, and a mutant's whole run may take."""

    block: float = 60.0
    wait: float = 15.0
    run: int = 300


class Project:
    """A project without services, secrets and claims; projects override what they have."""

    # The services whose logs are kept.
    services: tuple[str, ...] = ()
    # The version that the guide is about; blocks may be valid since a later one.
    version: str = ""
    # By how much ports may be moved at most.
    max_offset: int = 20_000
    # The folders in a reader's folder that services fill, and that no check aside looks into.
    service_folders: tuple[str, ...] = ()
    # The folder into which the commands of the role "installs" install.
    installed: str = "venv"
    # What recognises the literals of the prose; without any, the prose is not checked.
    recognisers: ClassVar[Recognisers] = {}

    def problem(self, flavour: str) -> str | None:
        """Return why the commands of the flavour cannot run on this machine; None if they can."""
        return None

    def prepare(self, flavour: str, port_offset: int | None) -> Site:
        """Return an empty folder in which to follow the flavour; UserError if there can be none.

        ``port_offset`` is added to every port; None chooses free ports.
        """
        return self.site(new_folder(), flavour, port_offset or 0)

    def site(
        self,
        folder: Path,
        flavour: str,
        port_offset: int,
        environment: dict[str, str] | None = None,
    ) -> Site:
        """Return this folder as a site, by default with the environment of a fresh reader."""
        kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
        own = kept | {"HOME": str(home_of(folder)), "LANG": "C.UTF-8"}
        return Site(folder, flavour, own if environment is None else environment)

    def ports(self, flavour: str, port_offset: int) -> list[int]:
        """Return all ports that following the flavour uses."""
        return []

    def limits(self, flavour: str) -> Limits:
        """Return how long a mutant of the flavour may take."""
        return Limits()

    def share(self, folder: Path) -> None:
        """Let whoever follows a flavour write into the folder."""

    def read_with(self, name: str, guide: Guide) -> set[str]:
        """Return the guide's other files that mean something else when this one changes."""
        return set()

    def versions(self) -> dict[str, str]:
        """Return the versions of the programs with which the guide is followed, by package."""
        return {}

    def acting(self, flavour: str) -> AbstractContextManager[None]:
        """Act within the context as the user who follows this flavour.

        An empty name is nobody's.
        """
        return nullcontext()

    def clear(self, folder: Path) -> None:
        """Remove what a killed run has left outside this reader's folder."""

    def files(self, folder: Path, guide: Guide) -> Files:
        """Return the guide's files in this folder, for the checks about them."""
        return Files(folder, guide)

    def linters(self, files: dict[str, Path], folder: Path) -> list[Linter]:
        """Return what else can check the guide's files, by name, all of which are in the folder."""
        return []

    def sources(self, guide: Guide) -> Any:
        """Return what the recognisers look into."""
        return guide

    def hint(self, claim: Claim, *, sources: Any) -> str:
        """Return what a claim that no recogniser knows may mean; empty if nothing is like it."""
        return ""

    def keep(self, sources: Any) -> None:
        """Keep what the sources have learned for the next run."""

    def is_used(self, variable: str, *, sources: Any) -> bool:
        """Return whether anything sets or reads the variable that the prose says to be ignored."""
        return False

    def is_tested(self, name: str) -> bool:
        """Return whether the project has a test of this name, besides docs-test's own checks."""
        return False

    def mistakes(self, claims: Claims) -> Iterator[str]:
        """Yield what else is wrong with the guide as a whole."""
        yield from ()

    def claims_of(self, guide: Guide, registry: Registry) -> Claims:
        """Return the guide's claims, which the recognisers start to look at."""
        sources = self.sources(guide)
        is_used = partial(self.is_used, sources=sources)
        hint = partial(self.hint, sources=sources)
        return Claims(guide, self.recognisers, sources, is_used, registry, self.is_tested, hint)

    def findings_of(
        self, guide: Guide, registry: Registry, only: Collection[str] | None = None
    ) -> Findings:
        """Return what is wrong with the guide's files and commands, or ``only`` some of them."""
        return Findings(guide, registry, linters=self.linters, files=self.files, only=only)
