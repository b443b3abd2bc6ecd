"""The lines that a page emphasises in a file of nginx's are those that it explains."""

from __future__ import annotations

import re
from collections.abc import Iterator

from guidewalk.claims import Claims
from guidewalk.guide import Block

# What a page explains are its literals of these kinds.
EXPLAINED = {"HTTP header", "nginx directive"}


def problems(claims: Claims) -> Iterator[str]:
    """Every line that is emphasised and not explained, or explained and nowhere emphasised."""
    for block in claims.guide.blocks:
        if block.emphasised:
            words = {
                claim.text
                for claim, (kind, _) in claims.recognised.items()
                if claim.page == block.page and kind in EXPLAINED
            }
            yield from misplaced(block, words)


def misplaced(block: Block, words: set[str]) -> Iterator[str]:
    """The same for one block, on whose page these words stand."""
    lines = block.text.splitlines()
    emphasised = [lines[number - 1] for number in block.emphasised if number <= len(lines)]
    for number in block.emphasised:
        line = lines[number - 1].strip() if number <= len(lines) else ""
        if not line.startswith("#") and not any(holds(line, word) for word in words):
            yield f"{block.place_of(number)}: '{line}' is emphasised, and its page does not say why"
    for word in sorted(words):
        if any(holds(line, word) for line in lines) and not any(
            holds(line, word) for line in emphasised
        ):
            yield f"{block.place}: '{word}' is explained, and no emphasised line has it"


def holds(line: str, word: str) -> bool:
    """Does a line set this directive or header?"""
    return bool(re.search(rf"^\s*((proxy_set|add)_header )?{re.escape(word)}(?![a-z-])", line))
