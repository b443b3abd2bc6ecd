"""Mutants that change nothing that matters, each with the reason why: ``equivalents.toml``.

An entry names the place (a file or the id of a block) and the line as it is there. If it does not
mean all mutants of that line, it also names the operator and what the line becomes. ``flavour``
confines it to runs of only that flavour, for what only the other flavour uses.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from guidewalk.errors import UserError
from guidewalk.mutants.plan import Mutant, flat

FIELDS = {"place", "line", "operator", "becomes", "flavour", "reason"}
REQUIRED = {"place", "line", "reason"}


@dataclass(frozen=True)
class Entry:
    """Which mutants are equivalent, and why; ``place`` may contain wildcards."""

    place: str
    line: str
    reason: str
    operator: str = ""
    becomes: str | None = None
    flavour: str = ""

    def covers(self, mutant: Mutant) -> bool:
        """Return whether the mutant is one of these."""
        return (
            fnmatchcase(mutant.place, self.place)
            and self.line == flat(mutant.original)
            and self.operator in ("", mutant.operator)
            and self.becomes in (None, flat(mutant.becomes))
        )

    def __str__(self) -> str:
        becomes = "" if self.becomes is None else f" -> {self.becomes}"
        return f"{self.place}: {self.operator or 'any'}: {self.line}{becomes}"


def load(path: Path) -> list[Entry]:
    """Return the entries of the file; UserError for one that is incomplete."""
    try:
        rows = tomllib.loads(path.read_text()).get("equivalent", [])
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path}: {error}") from None
    for number, row in enumerate(rows, 1):
        if not set(row) >= REQUIRED or set(row) - FIELDS or not row["reason"].strip():
            raise UserError(
                f"{path}: entry {number} must have {', '.join(sorted(REQUIRED))}, "
                f"and may have {', '.join(sorted(FIELDS - REQUIRED))}"
            )
    return [Entry(**row) for row in rows]


def applicable(entries: Iterable[Entry], flavours: tuple[str, ...]) -> list[Entry]:
    """Return the entries that apply when these flavours are tried together."""
    alone = flavours[0] if len(flavours) == 1 else ""
    return [entry for entry in entries if entry.flavour in ("", alone)]


def reason_for(mutant: Mutant, entries: Iterable[Entry]) -> str:
    """Return why the mutant is equivalent; empty if no entry says so."""
    return next((entry.reason for entry in entries if entry.covers(mutant)), "")


def without_mutant(entries: Iterable[Entry], every: list[Mutant]) -> Iterator[str]:
    """Yield the entries that cover no mutant any more."""
    for entry in entries:
        if not any(entry.covers(mutant) for mutant in every):
            yield f"stale: there is no such mutant any more: {entry}"
