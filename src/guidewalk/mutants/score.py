"""What a run found: in the terminal, as JSON, and as HTML that shows each survivor as a diff."""

from __future__ import annotations

import json
import platform
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from guidewalk.console import say
from guidewalk.mutants.bench import MutantResult
from guidewalk.mutants.plan import Mutant

TEMPLATE = Path(__file__).with_name("report.html.j2")
# Killed by behaviour (a promise, a message, a running service), killed only by a check that
# transcribes, not killed, or with a reason why nothing can tell.
STATES = ("killed", "transcribed", "survived", "equivalent")
# The scope of a run of all mutants.
WHOLE = "the whole guide"
# The share of the mutants that are not equivalent that must be killed.
WANTED = 0.95
NOT_MUTATED = (
    "Comments, blank lines and the wording of the scripts' own messages change no behaviour: "
    "they were not mutated."
)


@dataclass(frozen=True)
class Row:
    """One mutant with its result; ``reason`` says why it is equivalent, if it is."""

    mutant: Mutant
    verdict: MutantResult
    reason: str = ""

    @property
    def state(self) -> str:
        """One of ``STATES``."""
        if self.verdict.killed and not self.verdict.transcribed:
            return "killed"
        if self.verdict.killed and not self.reason:
            return "transcribed"
        return "equivalent" if self.reason else "survived"


class Report:
    """The rows of a run, counted."""

    def __init__(self, rows: list[Row], *, seed: int, flavours: tuple[str, ...], scope: str,
                 state: str, started: datetime, notes: list[str],
                 versions: dict[str, str]) -> None:  # fmt: skip
        """Count the rows; ``scope`` describes the mutants, and ``notes`` are further remarks."""
        self.rows = rows
        self.state = state
        self.seed = seed
        self.flavours = flavours
        self.scope = scope
        self.started = started
        self.notes = [NOT_MUTATED, *notes]
        self.versions = machine() | versions
        self.duration = (datetime.now(UTC) - started).total_seconds()

    def of(self, state: str) -> list[Row]:
        """Return the rows of one state."""
        return [row for row in self.rows if row.state == state]

    @property
    def score(self) -> float:
        """The share of mutants killed by behaviour among all that are not equivalent.

        1 if there are none.
        """
        killed = len(self.of("killed"))
        total = killed + len(self.of("transcribed")) + len(self.of("survived"))
        return killed / total if total else 1.0

    @property
    def stale(self) -> list[Row]:
        """Return the mutants that are said to be equivalent, but were killed."""
        return [row for row in self.rows if row.reason and row.state == "killed"]

    def by_place(self) -> dict[str, dict[str, int]]:
        """Return the counts of each state, by artifact or page."""
        table: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(STATES, 0))
        for row in self.rows:
            table[row.mutant.source][row.state] += 1
        return dict(sorted(table.items()))

    def by_stage(self) -> dict[str, int]:
        """Return how many each stage killed."""
        stages: dict[str, int] = defaultdict(int)
        for row in self.of("killed"):
            stages[row.verdict.stage] += 1
        return dict(sorted(stages.items(), key=lambda item: -item[1]))

    def as_json(self) -> dict[str, Any]:
        """Return the report for other programs."""
        return {
            "started": self.started.isoformat(timespec="seconds"),
            "duration": round(self.duration, 3),
            "seed": self.seed,
            "flavours": list(self.flavours),
            "scope": self.scope,
            "state": self.state,
            **{state: len(self.of(state)) for state in STATES},
            "score": round(self.score, 4),
            "stages": self.by_stage(),
            "places": self.by_place(),
            "survivors": [described(row) for row in self.of("survived")],
            "transcriptions": [described(row) for row in self.of("transcribed")],
            "equivalents": [
                described(row) | {"reason": row.reason} for row in self.of("equivalent")
            ],
            "notes": self.notes,
            "versions": self.versions,
        }

    @property
    def name(self) -> str:
        """The name of the report's files: a run of some mutants gives no score of the guide."""
        return "report" if self.scope == WHOLE else "part"

    def write(self, folder: Path) -> None:
        """Write the report as JSON and as HTML."""
        import jinja2

        folder.mkdir(parents=True, exist_ok=True)
        content = self.as_json()
        (folder / f"{self.name}.json").write_text(json.dumps(content, indent=2) + "\n")
        template = jinja2.Environment(autoescape=True).from_string(TEMPLATE.read_text())
        (folder / f"{self.name}.html").write_text(template.render(**content, wanted=WANTED))

    def tell(self, folder: Path) -> None:
        """Print the counts and the survivors."""
        for row in self.of("survived"):
            say(f"\n{row.mutant.title}\n{row.mutant.diff}")
        for row in self.of("transcribed"):
            say(f"\n(known by a transcription alone) {row.mutant.title}\n{row.mutant.diff}")
        say("")
        for place, of_place in self.by_place().items():
            told = "".join(f"{number:>6} {state}" for state, number in of_place.items())
            say(f"  {place:<34}{told}")
        for note in self.notes:
            say(f"note: {note}")
        counts = ", ".join(f"{len(self.of(state))} {state}" for state in STATES)
        say(f"docs-mutants: {counts}; score {self.score:.1%} ({', '.join(self.flavours)}; "
            f"{self.scope}); {folder / f'{self.name}.html'}")  # fmt: skip


def described(row: Row) -> dict[str, Any]:
    """Return one mutant for a report."""
    mutant = row.mutant
    return {
        "title": mutant.title,
        "place": mutant.place,
        "operator": mutant.operator,
        "source": mutant.source,
        "line": mutant.line,
        "diff": mutant.diff,
        "flavours": list(mutant.flavours),
    }


def machine() -> dict[str, str]:
    """Return where the mutants were tried."""
    return {"python": platform.python_version(), "platform": platform.platform()}
