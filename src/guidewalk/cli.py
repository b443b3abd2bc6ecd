"""The command ``guidewalk``: list what a guide contains, before anything is asked of it."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from guidewalk.errors import UserError
from guidewalk.guide import Block

# The columns of a row, in order.
COLUMNS = ("place", "kind", "language", "id", "file", "reason")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="guidewalk", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="print every literal block of a Sphinx project")
    listing.add_argument("docs", type=Path, help="the folder with its conf.py")
    listing.add_argument("--json", action="store_true", help="print JSON instead of columns")
    asked = parser.parse_args(arguments)
    try:
        show(blocks_of(asked.docs), as_json=asked.json)
    except UserError as error:
        print(f"guidewalk: {error}", file=sys.stderr)
        return 1
    return 0


def blocks_of(docs: Path) -> list[Block]:
    """Return every literal block of this folder's pages; UserError if Sphinx cannot read them."""
    from guidewalk import doctree

    if not (docs / "conf.py").is_file():
        raise UserError(f"{docs / 'conf.py'} is missing: name the folder of a Sphinx project")
    return doctree.listed(docs.resolve())


def show(blocks: list[Block], *, as_json: bool) -> None:
    """Print a row for each block, and the number of unexplained blocks."""
    rows = [row(block) for block in blocks]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    widths = [max([len(str(one[name])) for one in rows], default=0) for name in COLUMNS]
    for one in rows:
        cells = zip(COLUMNS, widths, strict=True)
        print("  ".join(str(one[name]).ljust(width) for name, width in cells).rstrip())
    unexplained = sum(one["kind"] == "unexplained" for one in rows)
    print(f"{len(rows)} blocks, {unexplained} of them unexplained")


def row(block: Block) -> dict[str, Any]:
    """Return what is printed of a block; ``reason`` is what an unexplained one lacks."""
    return {
        "page": block.page,
        "place": f"{block.source}:{block.line}",
        "kind": block.kind,
        "language": block.language,
        "id": block.id,
        "file": block.file or "",
        "reason": block.reason,
    }
