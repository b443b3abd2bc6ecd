"""What the commands print that show whether a reader has what is needed."""

from __future__ import annotations

import re

from checks.common import after
from guidewalk.shell import without_ansi
from parsec_stack.verify.stack_site import StackSite

PROGRAMS = ("GNU bash, version", "curl", "OpenSSL")
OF_DOCKER = ("Docker Engine", "Docker Compose version")


def versions(site: StackSite, block: str, names: tuple[str, ...]) -> None:
    """See that the block has printed one line for each of these, with a version."""
    lines = without_ansi(site.outputs[block]).strip().splitlines()
    assert len(lines) == len(names), lines
    for name, line in zip(names, lines, strict=True):
        assert re.match(rf"{name} v?\d+\.\d+", line), f"{name}: {line}"


@after("prerequisites")
def each_program_tells_its_version(site: StackSite) -> None:
    """Each program that the guide needs is named once, with its version."""
    versions(site, "prerequisites", PROGRAMS)


@after("prerequisites-docker")
def docker_tells_its_versions(site: StackSite) -> None:
    """The engine and compose are named, with their versions."""
    versions(site, "prerequisites-docker", OF_DOCKER)
