"""Results that outlive a run, so that the next one continues where the last one ended.

A result is valid for one fault in one state of the guide, its checks and what follows it. A kill is
valid whichever flavours were followed; a survival is valid for the same flavours only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from guidewalk.config import config_of
from guidewalk.mutants.bench import MutantResult

Results = dict[str, MutantResult]


def state_of(root: Path) -> str:
    """Return a digest of everything that a result depends on besides the fault itself."""
    total = hashlib.sha256()
    for path in sorted(path for path in sources(root) if path.is_file()):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{path.relative_to(root)}\0{content}\n".encode())
    return total.hexdigest()[:16]


def sources(root: Path) -> Iterator[Path]:
    """Yield every file of the project that can change a result; none that is built or for people.

    The reasons of equivalent mutants change what a result means, not what it is.
    """
    excludes = config_of(root).excludes
    for name in ("src", "deploy", "tests/docs", "scripts"):
        yield from files_in(root / name)
    for path in files_in(root / "docs"):
        if not excludes(str(path.relative_to(root / "docs").with_suffix(""))):
            yield path
    yield from (root / name for name in ("pyproject.toml", "tasks.py", ".python-version"))


def files_in(root: Path) -> Iterator[Path]:
    """Yield the files below the folder, without caches and reasons."""
    for folder, folders, files in root.walk():
        folders[:] = [one for one in folders if one != "__pycache__"]
        yield from (folder / file for file in files if file != "equivalents.toml")


class Store:
    """The results of one file, by mutant and state."""

    def __init__(self, path: Path, state: str, flavours: Iterable[str]) -> None:
        self.path = path
        self.state = state
        self.flavours = list(flavours)
        self.rows = read(path)

    def known(self, *, of_any_state: bool = False) -> Results:
        """Return the results of this state, or the last one of each mutant in any state."""
        found: Results = {}
        for row in self.rows:
            verdict = MutantResult(**row["verdict"])  # type: ignore[arg-type]
            same = row["state"] == self.state
            if of_any_state or (same and (verdict.killed or row["flavours"] == self.flavours)):
                found[str(row["mutant"])] = verdict
        return found

    def add(self, results: Iterable[tuple[str, MutantResult]]) -> None:
        """Append results at once."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            for key, verdict in results:
                row: dict[str, object] = {
                    "mutant": key,
                    "state": self.state,
                    "flavours": self.flavours,
                    "verdict": asdict(verdict),
                }
                self.rows.append(row)
                file.write(json.dumps(row) + "\n")


def read(path: Path) -> list[dict[str, object]]:
    """Return the rows of the file; an unfinished last line is left out."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows
