"""What the docs-test saw, block by block, as JSON and in one line."""

from __future__ import annotations

import hashlib
import platform
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import psutil

from guidewalk.guide import Block

Kind = Literal["executed", "checked", "excepted", "failed", "unexplained"]


@dataclass(frozen=True)
class Outcome:
    """How one block fared in one flavour; ``output`` and ``reason`` are free of secrets.

    ``started`` is in ISO 8601. A block that was not ``tried`` says nothing about itself.
    """

    block: Block
    flavour: str
    outcome: Kind
    reason: str = ""
    started: str = ""
    seconds: float = 0.0
    # How many seconds the checks of the prose took in addition.
    check_seconds: float = 0.0
    output: str = ""
    tried: bool = True

    @property
    def fails(self) -> bool:
        """Whether docs-test fails because of it."""
        return self.outcome in ("failed", "unexplained")

    def as_json(self) -> dict[str, Any]:
        """Return the outcome as the report has it."""
        block = self.block
        return {
            "id": block.id,
            "page": block.page,
            "source": block.source,
            "line": block.line,
            "file": block.file,
            "name": block.name,
            "kind": block.kind,
            "target": block.target,
            "digest": hashlib.sha256(block.text.encode()).hexdigest(),
            "language": block.language,
            "flavour": self.flavour,
            "outcome": self.outcome,
            "reason": self.reason,
            "started": self.started,
            "seconds": round(self.seconds, 3),
            "check_seconds": round(self.check_seconds, 3),
            "output": self.output,
        }


def summary(outcomes: list[Outcome]) -> str:
    """Return how many blocks fared how, by flavour."""
    parts = []
    for flavour in dict.fromkeys(outcome.flavour for outcome in outcomes):
        counts = Counter[str](one.outcome for one in outcomes if one.flavour == flavour)
        kinds = ["executed", "checked", "excepted", "unexplained"]
        kinds += ["failed"] if counts["failed"] else []
        parts.append(", ".join(f"{counts[kind]} {kind}" for kind in kinds) + f" ({flavour})")
    return "docs-test: " + ("; ".join(parts) or "no block was reached")


def compose(
    outcomes: list[Outcome],
    *,
    versions: dict[str, dict[str, str]],
    tools: dict[str, str],
    notes: list[str],
    claims: list[dict[str, Any]],
    claim_seconds: float,
) -> dict[str, Any]:
    """Return the whole report; ``versions`` is by flavour.

    ``overhead_seconds`` is the time that neither blocks nor checks took.
    """
    started = psutil.Process().create_time()
    duration = datetime.now(UTC).timestamp() - started
    counts = Counter(outcome.outcome for outcome in outcomes)
    own = sum(outcome.seconds for outcome in outcomes)
    checks = sum(outcome.check_seconds for outcome in outcomes) + claim_seconds
    return {
        "started": datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
        "duration": round(duration, 3),
        "blocks_seconds": round(own, 3),
        "checks_seconds": round(checks, 3),
        "overhead_seconds": round(duration - own - checks, 3),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": versions,
        "tools": tools,
        "notes": notes,
        "summary": dict(counts),
        "blocks": [outcome.as_json() for outcome in outcomes],
        "claims": claims,
    }
