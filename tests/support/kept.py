"""A small guide, its changes, and evidence that is kept of it."""

from __future__ import annotations

from pathlib import Path

from follow import VERSION
from guidewalk import evidence
from guidewalk.report import Kind, Outcome
from mini import Mini, command, include, output

VERSIONS = {"native": {"Parsec": "3.7.0", "PostgreSQL": "16.15"}, "docker": {"Parsec": "3.7.0-rc"}}


def small_guide(folder: Path) -> Mini:
    """A guide with a script, what it reads, and what it prints."""
    made = Mini(folder)
    made.artifact("a.sh", "source ./a.env\n").artifact("a.env", "A=1\n").artifact("b.env", "B=1\n")
    return made.page(
        include("a.sh") + include("a.env") + include("b.env")
        + command("run", "bash a.sh", "echo ran") + output("ran") + command("other", "true")
    )  # fmt: skip


def changed(mini: Mini, change: str) -> tuple[set[str], set[str]]:
    """The blocks whose content is another after the change, and those whose way is."""
    before = evidence.digests(mini.load(), "native")
    name, old, new = change.split("|")
    path = mini.root / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    after = evidence.digests(mini.load(), "native")
    content = {one for one in after if before[one].content != after[one].content}
    way = {one for one in after if before[one].way != after[one].way}
    return content, way


def keep(
    mini: Mini,
    name: str,
    outcome: Kind,
    flavour: str = "native",
    *,
    version: str = VERSION,
    **fields: object,
) -> None:
    """Keep one outcome of a block, of a guide about this version."""
    guide = mini.load()
    block = next(block for block in guide.blocks if block.id == f"index-{name}")
    fields = {"started": "2026-01-02T03:04:05+00:00", "seconds": 0.5} | fields
    made = Outcome(block, flavour, outcome, **fields)  # type: ignore[arg-type]
    evidence.keep(mini.root / "build", guide, [made], VERSIONS, version)
