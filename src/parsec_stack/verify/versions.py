"""The versions that the guide installs are those of pyproject.toml, in both flavours."""

from __future__ import annotations

import re
from collections.abc import Iterator

from packaging.version import Version

from parsec_stack import composition, facts
from parsec_stack.native import PACKAGES
from parsec_stack.stack import ROOT
from parsec_stack.verify.sources import Sources
from parsec_stack.versions import LOCKED, REQUIREMENTS

ENTRY = re.compile(r"^([a-z][\w.-]*)==(\S+)(.*\n(?: .*\n)*)", re.MULTILINE)
HASH = re.compile(r"--hash=(\S+)")
# What an image's tag says of the version; the rest names what the image was built on.
TAG = re.compile(r"v?(\d+(?:\.\d+)*(?:-rc\.\d+)?)")
# Here the flavours have two different programs.
UNLIKE = {"parsec-smtp"}


def problems(known: Sources) -> Iterator[str]:
    """Every package and image whose version is another than pyproject's, with its place."""
    if REQUIREMENTS in known.guide.files():
        yield from differing_packages(known.file(REQUIREMENTS))
    for service, (image, tag) in composition.images(known.compose).items():
        package = PACKAGES[service]
        version = facts.pinned()[package]
        found = TAG.match(tag)
        if service not in UNLIKE and not (found and Version(found[1]) == Version(version)):
            yield (
                f"{composition.COMPOSE_FILE}: {service} runs {image} {tag}, "
                f"and without Docker {package} {version}"
            )


def differing_packages(requirements: str) -> Iterator[str]:
    """The packages of the file that the project's lock has at another version, or not."""
    listed, locked = entries(requirements), entries((ROOT / LOCKED.path).read_text())
    for name, (version, hashes) in listed.items():
        wanted, known = locked.get(name, ("absent", set()))
        if version != wanted or hashes != known:
            yield (
                f"{REQUIREMENTS}: {name} is {version} here, and {wanted} in {LOCKED.path}, "
                "or has other hashes there: run scripts/lock"
            )
    if lacking := sorted(facts.pinned().keys() - listed.keys()):
        yield f"{REQUIREMENTS} lacks {', '.join(lacking)}, which pyproject.toml has under native"


def entries(text: str) -> dict[str, tuple[str, set[str]]]:
    """Version and hashes of each package of a lock."""
    found: dict[str, tuple[str, set[str]]] = {}
    for name, version, rest in ENTRY.findall(text):
        found[name] = version, set(HASH.findall(rest))
    return found
