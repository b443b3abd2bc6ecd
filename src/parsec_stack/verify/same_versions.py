"""Check that both flavours of the guide install the versions in pyproject.toml."""

from __future__ import annotations

import re
from collections.abc import Iterator

from packaging.version import Version

from parsec_stack import composition, facts
from parsec_stack.services import SERVICES
from parsec_stack.stack import ROOT
from parsec_stack.verify.sources import Sources
from parsec_stack.versions import LOCKS, REQUIREMENTS

ENTRY = re.compile(r"^([a-z][\w.-]*)==(\S+)(.*\n(?: .*\n)*)", re.MULTILINE)
HASH = re.compile(r"--hash=(\S+)")
# The version in an image's tag; the rest names what the image was built on.
TAG = re.compile(r"v?(\d+(?:\.\d+)*(?:-rc\.\d+)?)")


def problems(known: Sources) -> Iterator[str]:
    """Yield every package and image whose version differs from pyproject's, with its place."""
    if REQUIREMENTS in known.guide.files():
        yield from differing_packages(known.file(REQUIREMENTS))
    for service, (image, tag) in composition.images(known.compose).items():
        package = SERVICES[service].package
        version = facts.pinned()[package]
        found = TAG.match(tag)
        if both_run_one(service) and not (found and Version(found[1]) == Version(version)):
            yield (
                f"{composition.COMPOSE_FILE}: {service} runs {image} {tag}, but without Docker it "
                f"runs {package} {version}"
            )


def both_run_one(service: str) -> bool:
    """Return whether it is the same program in both flavours."""
    return SERVICES[service].program == SERVICES[service].contained


def differing_packages(requirements: str) -> Iterator[str]:
    """Yield the packages in the file that the project's lock lacks or has at another version."""
    listed, locked = entries(requirements), entries((ROOT / LOCKS[-1]).read_text())
    for name, (version, hashes) in listed.items():
        wanted, known = locked.get(name, ("absent", set()))
        if version != wanted or hashes != known:
            yield (
                f"{REQUIREMENTS}: {name} is {version} here, but {wanted} in {LOCKS[-1]}, or has "
                "other hashes there: run scripts/lock"
            )
    if lacking := sorted(facts.pinned().keys() - listed.keys()):
        yield f"{REQUIREMENTS} lacks {', '.join(lacking)}, which pyproject.toml has under native"


def entries(text: str) -> dict[str, tuple[str, set[str]]]:
    """Return version and hashes of each package of a lock."""
    found: dict[str, tuple[str, set[str]]] = {}
    for name, version, rest in ENTRY.findall(text):
        found[name] = version, set(HASH.findall(rest))
    return found
