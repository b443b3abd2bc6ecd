"""This deployment's guide, as guidewalk follows it and checks what it claims."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from guidewalk.claims import Claims
from guidewalk.guide import Guide
from guidewalk.linters import Linter
from guidewalk.project import Project
from parsec_stack import composition, docker
from parsec_stack.errors import StackError
from parsec_stack.flavour import IMPLEMENTATIONS
from parsec_stack.services import SERVICES, flavour_named
from parsec_stack.stack import ARTIFACTS, ROOT, Stack
from parsec_stack.verify import emphasis, linters, settings, versions
from parsec_stack.verify.files import StackFiles
from parsec_stack.verify.reader import following
from parsec_stack.verify.recognisers import RECOGNISERS
from parsec_stack.verify.site import StackSite, prepare
from parsec_stack.verify.sources import Sources
from parsec_stack.versions import declared

# How CI says that its engine must not be missing, while it calls what everybody calls.
REQUIRE_DOCKER = "REQUIRE_DOCKER"


def docker_required() -> bool:
    """Does the environment ask for the docker flavour? Empty and 0 do not."""
    return os.environ.get(REQUIRE_DOCKER, "") not in ("", "0")


class ParsecGuide(Project):
    """The guide of the Parsec server."""

    services = tuple(SERVICES)
    recognisers = RECOGNISERS

    def __init__(self) -> None:
        """Find out which version of Parsec the guide is about."""
        self.version = str(declared(ROOT)["parsec"])

    def problem(self, flavour: str) -> str | None:
        """Why the flavour cannot be followed here."""
        return IMPLEMENTATIONS[flavour_named(flavour)].problem(ARTIFACTS)

    def prepare(self, flavour: str, port_offset: int | None) -> StackSite:
        """An empty folder with a stack's ports."""
        return prepare(flavour_named(flavour), port_offset)

    def acting(self, flavour: str) -> AbstractContextManager[None]:
        """Be somebody without rights meanwhile, if root follows the native flavour."""
        return following([flavour])

    def clear(self, folder: Path) -> None:
        """Remove what the stack of this folder has in the Docker engine, if any answers."""
        if (folder / composition.COMPOSE_FILE).exists():
            with suppress(StackError):
                docker.remove(Stack(folder, "docker", name=folder.name))

    def files(self, folder: Path, guide: Guide) -> StackFiles:
        """The guide's files, with what bash and compose make of them."""
        return StackFiles(folder, guide)

    def linters(self, files: dict[str, Path], folder: Path) -> list[Linter]:
        """nginx, compose and supervisord."""
        return linters.of_files(files, folder)

    def sources(self, guide: Guide) -> Sources:
        """The guide's artifacts and the programs."""
        return Sources(guide, ROOT)

    def is_used(self, variable: str, *, sources: Any) -> bool:
        """Does the server read the variable, or the guide set it?"""
        set_here = re.search(rf"^\s*(export )?{variable}=", sources.code, re.MULTILINE)
        return bool(set_here) or settings.is_read(variable)

    def mistakes(self, claims: Claims) -> Iterator[str]:
        """Settings that nobody reads, versions that disagree, lines that are not explained."""
        yield from settings.problems(claims.sources)
        yield from versions.problems(claims.sources)
        yield from emphasis.problems(claims)
