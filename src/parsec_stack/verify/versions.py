"""The versions that the guide installs are those of pyproject.toml, in both flavours."""

from __future__ import annotations

import re
from collections.abc import Iterator

from packaging.version import Version

from parsec_stack import composition, facts
from parsec_stack.guide import Block
from parsec_stack.native import PACKAGES
from parsec_stack.verify.sources import Sources

PINNED = re.compile(r"(?<![\w-])([a-z][\w-]*)==([\w.-]+)")
# What an image's tag says of the version; the rest names what the image was built on.
TAG = re.compile(r"v?(\d+(?:\.\d+)*(?:-rc\.\d+)?)")
# Here the flavours have two different programs.
UNLIKE = {"parsec-smtp"}


def problems(known: Sources) -> Iterator[str]:
    """Every package and image whose version is another than pyproject's, with its place."""
    installed: set[str] = set()
    for block in known.guide.blocks:
        if block.kind == "command" and "pip install" in block.text:
            installed.update(name for name, _ in PINNED.findall(block.text))
            yield from differing_packages(block)
    if installed and (lacking := sorted(facts.pinned().keys() - installed)):
        yield f"no command installs {', '.join(lacking)}, which pyproject.toml has under native"
    for service, (image, tag) in composition.images(known.compose).items():
        package = PACKAGES[service]
        version = facts.pinned()[package]
        found = TAG.match(tag)
        if service not in UNLIKE and not (found and Version(found[1]) == Version(version)):
            yield (
                f"{composition.COMPOSE_FILE}: {service} runs {image} {tag}, "
                f"and without Docker {package} {version}"
            )


def differing_packages(block: Block) -> Iterator[str]:
    """The packages that a command installs at another version."""
    for number, line in enumerate(block.text.splitlines(), 1):
        for name, version in PINNED.findall(line):
            wanted = facts.pinned().get(name)
            if wanted is None or Version(version) != Version(wanted):
                yield (
                    f"{block.place_of(number)}: {name} is {version} here "
                    f"and {wanted or 'absent'} in pyproject.toml"
                )
