"""Compare what a command printed with the output that the guide states.

A line ``...`` stands for any lines, ``...`` within a line for any text.
"""

from __future__ import annotations

import re
from itertools import groupby

from guidewalk.shell import without_ansi

ANY = "..."


def difference(stated: str, printed: str) -> str:
    """Return where the printed text differs from the stated one; empty if it does not."""
    lines = cleaned(printed)
    wanted = cleaned(stated)
    position, floating = 0, False
    for is_gap, group in groupby(wanted, key=lambda line: line.strip() == ANY):
        if is_gap:
            floating = True
            continue
        part = list(group)
        last = wanted[-len(part) :] == part and wanted[-1].strip() != ANY
        found = find(part, lines, position, floating=floating, at_end=last)
        if found is None:
            return f"not printed: {part[first_missing(part, lines[position:])]}"
        position, floating = found + len(part), False
    if position < len(lines) and not floating:
        return f"not stated: {lines[position]}"
    return ""


def cleaned(text: str) -> list[str]:
    """Return the lines without colours, trailing blanks, and empty lines around them."""
    lines = [line.rstrip() for line in without_ansi(text).replace("\r\n", "\n").split("\n")]
    return "\n".join(lines).strip("\n").split("\n")


def find(
    part: list[str], lines: list[str], start: int, *, floating: bool, at_end: bool
) -> int | None:
    """Return where the part stands in the lines from ``start`` on, or below if it may float."""
    starts = range(start, len(lines) - len(part) + 1) if floating else [start]
    if floating and at_end:
        starts = range(max(start, len(lines) - len(part)), len(lines) - len(part) + 1)
    for at in starts:
        there = lines[at : at + len(part)]
        if len(there) == len(part) and all(map(same_line, part, there)):
            return at
    return None


def same_line(stated: str, printed: str) -> bool:
    """Return whether the line matches; ``...`` stands for any text."""
    pattern = ".*".join(re.escape(piece) for piece in stated.split(ANY))
    return re.fullmatch(pattern, printed) is not None


def first_missing(part: list[str], lines: list[str]) -> int:
    """Return the first line of the part that is printed nowhere, or else its first line."""
    for number, stated in enumerate(part):
        if not any(same_line(stated, line) for line in lines):
            return number
    return 0


def is_part(excerpt: str, whole: str) -> bool:
    """Return whether these lines are in the file, in this order, at any common indentation.

    An excerpt may leave out lines, as ``:lines:`` does, but none of its lines may be new.
    """
    wanted = [line.rstrip() for line in excerpt.rstrip("\n").split("\n")]
    lines = [line.rstrip() for line in whole.split("\n")]
    indents = {
        line[: len(line) - len(line.lstrip())]
        for line in lines
        if line.lstrip() == wanted[0].lstrip()
    }
    return any(
        in_order([f"{indent}{line}".rstrip() for line in dedented(wanted)], lines)
        for indent in indents
    )


def dedented(lines: list[str]) -> list[str]:
    """Return the lines without the indentation of the first."""
    indent = len(lines[0]) - len(lines[0].lstrip())
    return [line[indent:] if not line[:indent].strip() else line for line in lines]


def in_order(wanted: list[str], lines: list[str]) -> bool:
    """Return whether the lines contain everything that is wanted, in its order."""
    rest = iter(lines)
    return all(line in rest for line in wanted)
