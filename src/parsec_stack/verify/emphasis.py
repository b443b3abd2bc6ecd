"""Check that a page explains the lines that it emphasises in a file of nginx's, and no others."""

from __future__ import annotations

import re
from collections.abc import Iterator

from guidewalk.claims import Claims
from guidewalk.guide import Block

# A page explains its literals of these kinds.
EXPLAINED = {"HTTP header", "nginx directive"}


def problems(claims: Claims) -> Iterator[str]:
    """Yield every line that is emphasised and not explained, or explained and not emphasised."""
    for block in claims.guide.blocks:
        if block.emphasised:
            words = {
                claim.text
                for claim, (kind, _) in claims.recognised.items()
                if claim.page == block.page and kind in EXPLAINED
            }
            yield from misplaced(block, words)


def misplaced(block: Block, words: set[str]) -> Iterator[str]:
    """Yield these for one block, on whose page these words stand."""
    lines = block.text.splitlines()
    emphasised = [lines[number - 1] for number in block.emphasised if number <= len(lines)]
    for number in block.emphasised:
        line = lines[number - 1].strip() if number <= len(lines) else ""
        if not line.startswith("#") and not any(holds(line, word) for word in words):
            yield f"{block.place_of(number)}: '{line}' is emphasised, but its page does not say why"
    for word in sorted(words):
        if any(holds(line, word) for line in lines) and not any(
            holds(line, word) for line in emphasised
        ):
            yield f"{block.place}: '{word}' is explained, but no emphasised line has it"


def holds(line: str, word: str) -> bool:
    """Return whether a line sets this directive or header."""
    return bool(re.search(rf"^\s*((proxy_set|add)_header )?{re.escape(word)}(?![a-z-])", line))
