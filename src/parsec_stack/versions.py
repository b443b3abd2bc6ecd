"""The versions that the project names: one place sets them, the others follow.

The one place is ``[tool.parsec-stack]`` of pyproject.toml. Readers copy the guide's commands and
files literally, so these repeat the version; ``invoke bump`` writes it (``bump.py``).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parsec_stack.errors import StackError

# The artifact that lists what the guide installs on bare metal.
REQUIREMENTS = "requirements-native.txt"
# Parsec's mark of a pre-release, by that of Python's packages.
PRECEDING = {"a": "a", "b": "b", "rc": "rc"}


def own(version: str) -> str:
    """Return the version as Parsec writes it, such as 3.7.0-rc.2; StackError if it is none."""
    parsed = parse(version)
    before = f"-{PRECEDING[parsed.pre[0]]}.{parsed.pre[1]}" if parsed.pre else ""
    return f"{parsed.base_version}{before}"


def packaged(version: str) -> str:
    """Return the version as Python's packages write it, such as 3.7.0rc2.

    Raises StackError if it is none.
    """
    return str(parse(version))


def order(version: str) -> Any:
    """Return a key that sorts versions by age; a release candidate precedes its release."""
    return parse(version)


def parse(version: str) -> Any:
    """Return the version's parts; StackError for what is not a version of Parsec."""
    from packaging.version import InvalidVersion, Version

    try:
        parsed = Version(version)
    except InvalidVersion:
        parsed = Version("0")
    odd = parsed.local or parsed.epoch or parsed.is_devrelease or parsed.is_postrelease
    if len(parsed.release) != 3 or odd:
        raise StackError(
            f"'{version}' is no version of Parsec: write 3.7.0, 3.7.0-rc.2 or 3.7.0rc2"
        )
    return parsed


def same(version: str) -> str:
    """Return the version as it is."""
    return version


def series(python: str) -> str:
    """Return the requirement of one series of Python: for 3.9, '>=3.9,<3.10'."""
    major, minor = python.split(".")
    return f">={python},<{major}.{int(minor) + 1}"


@dataclass(frozen=True)
class Place:
    """A place that repeats a version.

    ``name`` is its key in the one place, ``path`` the file below the project's folder. The one
    group of ``pattern`` is the version there, in the ``form`` that this place needs.
    """

    name: str
    path: str
    pattern: str
    form: Callable[[str], str] = same

    def version(self, root: Path) -> str:
        """Return the version there; StackError if the place is gone."""
        return self.find((root / self.path).read_text())[1]

    def find(self, text: str) -> re.Match[str]:
        """Return the match of the place in its file's text."""
        found = re.search(self.pattern, text, re.MULTILINE)
        if not found:
            raise StackError(
                f"{self.path} names no version of {self.name} where it should ({self.pattern}): "
                "correct it, or the list of places in versions.py"
            )
        return found

    def rewrite(self, text: str, version: str) -> str:
        """Return the text of the file with this version."""
        found = self.find(text)
        return text[: found.start(1)] + self.form(version) + text[found.end(1) :]


PLACES = (
    Place("python", "docs/native.rst", r"^   python(\S+) -m venv "),
    Place("parsec", "deploy/parsec-server.docker.yaml", r"image: \S+/parsec-server:(\S+)$", own),
    Place("python", ".python-version", r"^(.+)$"),
    Place("python", "README.rst", r"^Where Python ([\d.]+\d) is missing"),
    Place("python", "scripts/images/BUNDLE.rst", r"^The machine needs .* Python ([\d.]+\d) with "),
    Place("parsec", "pyproject.toml", r'^parsec = "(.+)"$', own),
    Place("parsec", "pyproject.toml", r'"parsec-cloud==(.+)",$', packaged),
    Place("python", "pyproject.toml", r'^python = "(.+)"$'),
    Place("python", "pyproject.toml", r'^requires-python = "(.+)"$', series),
)
# Written by scripts/lock alone: a version that is changed here would keep the hashes of the one
# before. The last one decides which Parsec the project's own environment has.
LOCKS = (
    f"deploy/{REQUIREMENTS}",
    *(f"scripts/requirements{part}.lock" for part in ("-docker", "-checks", "-browser", "-uv", "")),
)
LOCKED = tuple(
    Place("parsec", path, r"^parsec-cloud==(\S+)", packaged) for path in (LOCKS[0], LOCKS[-1])
)


def declared(root: Path) -> dict[str, Any]:
    """Return the versions in the one place of the project in this folder."""
    with (root / "pyproject.toml").open("rb") as file:
        table: dict[str, Any] = tomllib.load(file)["tool"]["parsec-stack"]
    return table


def disagreements(root: Path, places: Iterable[Place] = (*PLACES, *LOCKED)) -> Iterator[str]:
    """Yield the places that name another version than the one place."""
    wanted = declared(root)
    for place in places:
        right, present = place.form(wanted[place.name]), place.version(root)
        if present != right:
            yield (
                f"{place.path} says {place.name} {present}, pyproject.toml says {right}: "
                f"run 'invoke bump {wanted['parsec']}'"
            )


def rewritten(root: Path, wanted: Mapping[str, str]) -> dict[str, str]:
    """Return the text of every file with a place, by its path, with these versions."""
    texts: dict[str, str] = {}
    for place in PLACES:
        text = texts.get(place.path) or (root / place.path).read_text()
        texts[place.path] = place.rewrite(text, wanted[place.name])
    return texts
