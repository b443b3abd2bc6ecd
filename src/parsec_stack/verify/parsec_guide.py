"""This deployment's guide, as guidewalk follows it and checks its claims."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from guidewalk.claims import Claims
from guidewalk.guide import NUMBER, Claim, Guide
from guidewalk.linters import Linter
from guidewalk.project import Limits, Project
from guidewalk.registry import nearest
from guidewalk.site import home_of
from parsec_stack import account, composition, docker, facts, native
from parsec_stack.errors import StackError
from parsec_stack.flavour import IMPLEMENTATIONS
from parsec_stack.services import SERVICES, flavour_named
from parsec_stack.stack import ARTIFACTS, MAX_OFFSET, ROOT, Stack
from parsec_stack.verify import config_linters, emphasis, same_ports, same_versions, settings
from parsec_stack.verify.reader import following, reader, welcome
from parsec_stack.verify.recognisers import RECOGNISERS
from parsec_stack.verify.sources import Sources, tests_in
from parsec_stack.verify.stack_files import StackFiles
from parsec_stack.verify.stack_site import StackSite, prepare, site_of
from parsec_stack.verify.stack_site import environment as reader_environment
from parsec_stack.versions import declared

# CI runs the same commands as everybody, and says with this variable that its engine must not be
# missing.
REQUIRE_DOCKER = "REQUIRE_DOCKER"


def docker_required() -> bool:
    """Return whether the environment requires the docker flavour; empty and 0 do not."""
    return os.environ.get(REQUIRE_DOCKER, "") not in ("", "0")


class ParsecGuide(Project):
    """The guide of the Parsec server."""

    services = tuple(SERVICES)
    service_folders = ("data", "log", "run")
    max_offset = MAX_OFFSET
    recognisers = RECOGNISERS

    def __init__(self) -> None:
        self.version = str(declared(ROOT)["parsec"])

    def problem(self, flavour: str) -> str | None:
        """Return why the flavour cannot be followed here; None if it can."""
        return IMPLEMENTATIONS[flavour_named(flavour)].problem(ARTIFACTS)

    def prepare(self, flavour: str, port_offset: int | None) -> StackSite:
        """Return an empty folder with a stack's ports."""
        return prepare(flavour_named(flavour), port_offset)

    def site(
        self,
        folder: Path,
        flavour: str,
        port_offset: int,
        environment: dict[str, str] | None = None,
    ) -> StackSite:
        """Return the folder as a stack's; what the engine has of it is named after the folder."""
        stack = Stack(folder, flavour_named(flavour), port_offset, name=folder.name)
        own = reader_environment(stack, home_of(folder)) if environment is None else environment
        return site_of(stack, own)

    def ports(self, flavour: str, port_offset: int) -> list[int]:
        """Return the ports of the services."""
        name = flavour_named(flavour)
        own = Stack(Path(), name, port_offset)
        return [port for _, port in IMPLEMENTATIONS[name].ports(own)]

    def limits(self, flavour: str) -> Limits:
        """Return the limits; containers take longer."""
        return Limits(150.0, 60.0, 900) if flavour == "docker" else Limits()

    def share(self, folder: Path) -> None:
        """Give the folder to the account that root becomes to follow the native flavour."""
        if who := reader():
            welcome()
            account.give(folder, who)

    def read_with(self, name: str, guide: Guide) -> set[str]:
        """Return the files that are laid on top of the compose file."""
        if name != composition.COMPOSE_FILE:
            return set()
        return {one for one in guide.files() if one.endswith(".yaml")}

    def versions(self) -> dict[str, str]:
        """Return the versions of the native flavour's packages."""
        names = native.packages().values()
        return {name: version for name in names if (version := native.version(name))}

    def acting(self, flavour: str) -> AbstractContextManager[None]:
        """Act as an account without rights in the context, if root follows the native flavour."""
        return following([flavour])

    def clear(self, folder: Path) -> None:
        """Remove what the stack of this folder has in the Docker engine, if an engine answers."""
        if (folder / composition.COMPOSE_FILE).exists():
            with suppress(StackError):
                docker.remove(Stack(folder, "docker", name=folder.name))

    def files(self, folder: Path, guide: Guide) -> StackFiles:
        """Return the guide's files, with what bash and compose make of them."""
        return StackFiles(folder, guide)

    def linters(self, files: dict[str, Path], folder: Path) -> list[Linter]:
        """Return nginx, compose and supervisord."""
        return config_linters.of_files(files, folder)

    def sources(self, guide: Guide) -> Sources:
        """Return the guide's artifacts and the programs."""
        return Sources(guide, ROOT)

    def hint(self, claim: Claim, *, sources: Any) -> str:
        """Return the fact that has the claim's value, or the known name that is most like it."""
        if claim.role == NUMBER:
            names = [f":fact:`{name}`" for name in facts.with_value(claim.text)]
            return f"write {' or '.join(names)}, whichever is meant" if names else ""
        near = nearest(claim.text, sources.names)
        return f"give it a role, or write it as it is{near}" if near else ""

    def keep(self, sources: Any) -> None:
        """Keep what programs and packages have answered."""
        sources.answers.save()

    def is_used(self, variable: str, *, sources: Any) -> bool:
        """Return whether the server reads the variable or the guide sets it."""
        set_here = re.search(rf"^\s*(export )?{variable}=", sources.code, re.MULTILINE)
        return bool(set_here) or settings.is_read(variable, sources)

    def is_tested(self, name: str) -> bool:
        """Return whether there is a test of this name."""
        return name in tests_in(ROOT / "tests")

    def mistakes(self, claims: Claims) -> Iterator[str]:
        """Yield settings that nothing reads, conflicting versions and unexplained lines."""
        yield from settings.problems(claims.sources)
        yield from same_versions.problems(claims.sources)
        yield from same_ports.problems(claims.guide)
        yield from emphasis.problems(claims)
