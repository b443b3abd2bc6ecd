"""Compare a stack's database with its object store, by the guide's own program."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from guidewalk.errors import UserError
from parsec_stack import blocks
from parsec_stack.errors import StackError
from parsec_stack.redact import of_stack
from parsec_stack.stack import Stack

# What the program prints (check-objects.py).
KINDS = ("missing", "truncated", "damaged", "orphaned")
FAULT = re.compile(rf"({'|'.join(KINDS)}) (\S+) (\S+) (\S+) (.+)")
TOTAL = re.compile(r"compared (\d+) rows with (\d+) objects: (.+)")
COUNT = re.compile(r"(\d+) (\w+)")
# How many faults a report keeps, and how many lines of a failed comparison are shown.
KEPT, SHOWN = 1000, 3


@dataclass(frozen=True)
class Fault:
    """A block that is not in both database and store, or not the same in both.

    ``kind`` is one of KINDS. ``organization`` and ``realm`` are None where nobody knows them.
    """

    kind: str
    organization: str | None
    realm: str | None
    block: str
    details: str

    def as_json(self) -> dict[str, Any]:
        """Return the fields, for ``check --json``."""
        return asdict(self)


@dataclass
class Report:
    """What a comparison has found: all faults by number, and the first of them.

    ``rows`` and ``objects`` count what was compared.
    """

    rows: int = 0
    objects: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    faults: list[Fault] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether every block is there; an object too many is harmless."""
        return not any(number for kind, number in self.counts.items() if kind != "orphaned")

    def as_json(self) -> dict[str, Any]:
        """Return the numbers, for ``check --json``."""
        return {"rows": self.rows, "objects": self.objects, **self.counts, "whole": self.whole}

    def told(self) -> str:
        """Return the numbers as a sentence."""
        faults = ", ".join(f"{number} {kind}" for kind, number in self.counts.items())
        return f"{self.rows} rows and {self.objects} objects compared: {faults}"


Tell = Callable[[Fault], None]


def compare(stack: Stack, *, content: bool = False, tell: Tell | None = None) -> Report:
    """Compare the stack's database with its object store, while clients may write.

    With ``content`` every object is read. ``tell`` gets each fault as soon as it is certain; the
    report keeps only the first. Raises StackError if they could not be compared.
    """
    report, last = Report(), deque[str](maxlen=SHOWN)
    compared = False

    def take(line: str) -> None:
        nonlocal compared
        if match := FAULT.fullmatch(line):
            kind, organization, realm, block, details = match.groups()
            fault = Fault(kind, known(organization), known(realm), block, details)
            if len(report.faults) < KEPT:
                report.faults.append(fault)
            if tell:
                tell(fault)
        elif match := TOTAL.fullmatch(line):
            compared = True
            report.rows, report.objects = int(match[1]), int(match[2])
            report.counts |= {kind: int(number) for number, kind in COUNT.findall(match[3])}
        else:
            last.append(line)

    try:
        blocks.run(stack, "check-content" if content else "check-objects", line=take, keep=False)
    except UserError:
        # With faults the program fails after its last line.
        if not compared:
            said = of_stack(stack)("\n".join(last))
            raise StackError(f"database and objects were not compared:\n{said}") from None
    return report


def known(name: str) -> str | None:
    """Return the name in a column, None for one that nobody knows."""
    return None if name == "-" else name
