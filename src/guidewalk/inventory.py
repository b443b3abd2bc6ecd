"""The committed list of the guide's blocks.

It makes sure that no block vanishes, changes its meaning or is executed under other conditions
unnoticed.
"""

from __future__ import annotations

from difflib import unified_diff
from pathlib import Path

from guidewalk.guide import Block, Guide

ACCEPT = "--accept-inventory"
HEADING = (
    "# The guide's literal blocks in reading order: id, kind, language, flavours, included file;\n"
    "# of an excerpt also its length; then on what it depends that it is executed.\n"
    "# Written by: {} {}\n"
)


def render(guide: Guide, command: str) -> str:
    """Return the inventory of this guide, one block per line; ``command`` follows the guide."""
    return HEADING.format(command, ACCEPT) + "".join(row(block) + "\n" for block in guide.blocks)


def row(block: Block) -> str:
    """Return one block's line."""
    columns = [block.id, block.kind, block.language, ",".join(block.flavours), block.file or "-"]
    if block.kind == "excerpt":
        # If an include lost the marker at its end, it would show more.
        columns.append(f"{len(block.text.splitlines())} lines")
    columns += [f"needs {name}" for name in (*block.needs, *block.images)]
    columns += [f"since {block.since}"] if block.since else []
    return "  ".join(columns)


def difference(guide: Guide, path: Path, command: str = "pytest") -> str:
    """Return how the guide differs from the committed inventory, and how to accept it.

    Empty if they are the same.
    """
    committed = path.read_text() if path.exists() else ""
    lines = list(
        unified_diff(
            [line for line in committed.splitlines() if not line.startswith("#")],
            [row(block) for block in guide.blocks],
            path.name,
            "the guide",
            lineterm="",
            n=0,
        )
    )
    if not lines:
        return ""
    return "\n".join(
        ["the guide's blocks are not those of the inventory:", *lines,
         f"If this is meant, accept it with: {command} {ACCEPT}"]
    )  # fmt: skip


def accept(guide: Guide, path: Path, command: str) -> None:
    """Write the guide's blocks as the committed ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(guide, command))
