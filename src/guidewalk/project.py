"""What a project tells of itself, so that its guide can be followed and its claims be checked."""

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
from guidewalk.guide import Guide
from guidewalk.linters import Findings, Linter
from guidewalk.registry import Registry
from guidewalk.site import Site, home_of, new_folder


@dataclass(frozen=True)
class Limits:
    """Seconds that a block, the wait for a service, and the whole way of a mutant may take."""

    block: float = 60.0
    wait: float = 15.0
    run: int = 300


class Project:
    """A project without services, secrets and claims; others override what they have."""

    # The services whose logs are kept.
    services: tuple[str, ...] = ()
    # The version that the guide is about; blocks may hold since a later one.
    version: str = ""
    # By how much ports may be moved.
    max_offset: int = 20_000
    # The folders of a reader's folder that services fill, and that no check aside looks into.
    service_folders: tuple[str, ...] = ()
    # That into which the commands of the role "installs" install.
    installed: str = "venv"
    # What recognises the literals of the prose; without any, the prose is not checked.
    recognisers: ClassVar[Recognisers] = {}

    def problem(self, flavour: str) -> str | None:
        """Why the commands of the flavour cannot run on this machine; None if they can."""
        return None

    def prepare(self, flavour: str, port_offset: int | None) -> Site:
        """An empty folder in which to follow the flavour; UserError if there can be none.

        ``port_offset`` is what is added to every port; None for free ones.
        """
        return self.site(new_folder(), flavour, port_offset or 0)

    def site(
        self,
        folder: Path,
        flavour: str,
        port_offset: int,
        environment: dict[str, str] | None = None,
    ) -> Site:
        """This folder as a site, by default with the environment of a reader with a fresh home."""
        kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
        own = kept | {"HOME": str(home_of(folder)), "LANG": "C.UTF-8"}
        return Site(folder, flavour, own if environment is None else environment)

    def ports(self, flavour: str, port_offset: int) -> list[int]:
        """All ports that following the flavour takes."""
        return []

    def limits(self, flavour: str) -> Limits:
        """How long a mutant of the flavour may take."""
        return Limits()

    def share(self, folder: Path) -> None:
        """Let whoever follows a flavour write into the folder."""

    def read_with(self, name: str, guide: Guide) -> set[str]:
        """The guide's other files that mean something else when this one changes."""
        return set()

    def versions(self) -> dict[str, str]:
        """The versions of the programs with which the guide is followed, by package."""
        return {}

    def acting(self, flavour: str) -> AbstractContextManager[None]:
        """Be meanwhile who follows this flavour; nobody's is empty."""
        return nullcontext()

    def clear(self, folder: Path) -> None:
        """Remove what a run that was killed has left outside of this reader's folder."""

    def files(self, folder: Path, guide: Guide) -> Files:
        """The guide's files in this folder, for the checks about them."""
        return Files(folder, guide)

    def linters(self, files: dict[str, Path], folder: Path) -> list[Linter]:
        """What else can check the guide's files, by name, all of which lie in the folder."""
        return []

    def sources(self, guide: Guide) -> Any:
        """What the recognisers look into."""
        return guide

    def is_used(self, variable: str, *, sources: Any) -> bool:
        """Does anything set or read the variable that the prose says to be ignored?"""
        return False

    def is_tested(self, name: str) -> bool:
        """Has the project a test of this name, beside docs-test's own checks?"""
        return False

    def mistakes(self, claims: Claims) -> Iterator[str]:
        """What else is wrong with the guide as a whole."""
        yield from ()

    def claims_of(self, guide: Guide, registry: Registry) -> Claims:
        """The guide's claims, which the recognisers begin to look at."""
        sources = self.sources(guide)
        is_used = partial(self.is_used, sources=sources)
        return Claims(guide, self.recognisers, sources, is_used, registry, self.is_tested)

    def findings_of(
        self, guide: Guide, registry: Registry, only: Collection[str] | None = None
    ) -> Findings:
        """What is wrong with the guide's files and commands, or with ``only`` some of them."""
        return Findings(guide, registry, linters=self.linters, files=self.files, only=only)
