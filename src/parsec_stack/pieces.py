"""Find secrets in a text by their pieces, whatever breaks them: lines, a terminal's frames.

A piece is of eight or more characters. Of what a generator has made every piece counts. Of a
password that somebody chose only those count that are no words: whoever chose ``database-2024``
still wants to read of databases.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise

# The shortest piece. Hexadecimal digits of something else are equal to one by chance, once in some
# megabytes of them, and are hidden for nothing.
SIZE = 8
# So many are not equal by chance.
SURE = 12
# Every piece holds so many characters from each place of the text whose number divides by STEP.
STEP, PROBE = 4, 5
# What may stand between the characters of a secret: blanks, line ends, what compose puts before a
# line, a terminal's sequences and frames; these as they are, or as JSON and Python write them.
BETWEEN = re.compile(
    r"(?:\n[\w.-]+ +\| |\s|\x1b\[[0-?]*[ -/]*[@-~]|[\u2500-\u257f]|\\[nrt]"
    r"|\\(?:u00|x)1b\[[0-?]*[ -/]*[@-~]|\\u25[0-7][0-9a-f])+",
    re.IGNORECASE,
)
HEX = re.compile(r"[0-9a-f]{16,}|[0-9A-F]{16,}")
# Words change between small letters, capitals and digits less often in one piece.
CHANGES = 3


class Pieces:
    """The pieces of some secrets."""

    def __init__(self) -> None:
        # From each piece of the shortest length, and from each whole secret, to its origin.
        self.pieces: dict[str, str] = {}
        self.wholes: dict[str, str] = {}
        self.probes: set[str] = set()
        self.public: set[str] = set()

    def add(self, secret: str, origin: str, *, generated: bool = False) -> None:
        """Know this secret; every piece of it if it is ``generated``, or looks so."""
        text = BETWEEN.sub("", secret)
        if len(text) < SIZE:
            return
        self.wholes[text] = origin
        generated = generated or bool(HEX.fullmatch(text))
        for piece in windows(text):
            if generated or changes(piece) >= CHANGES:
                self.pieces[piece] = origin
                self.probes.update(piece[start : start + PROBE] for start in range(STEP))

    def ignore(self, text: str) -> None:
        """What stands in this text is no secret, whatever else it may be a piece of."""
        self.public.update(windows(BETWEEN.sub("", text)))

    def origin_in(self, text: str) -> str:
        """Where a secret comes from of which the text surely holds a piece; empty if of none."""
        flat = BETWEEN.sub("", text)
        found = (flat[start:end] for start, end in self.spans(flat))
        return next(filter(None, map(self.origin_of, found)), "")

    def origin_of(self, found: str) -> str:
        """Where this comes from, if it is a whole secret or surely a piece of one."""
        if len(found) >= SURE and found[:SIZE] in self.pieces:
            return self.pieces[found[:SIZE]]
        return next((origin for whole, origin in self.wholes.items() if whole in found), "")

    def hide(self, text: str, instead: str) -> str:
        """The text with ``instead`` in the place of each piece; what breaks a piece stays."""
        runs = list(unbroken(text))
        flat = "".join(text[start:end] for start, end in runs)
        starts = [0]
        for start, end in runs:
            starts.append(starts[-1] + end - start)
        shown, done = [], 0
        for start, end in self.spans(flat):
            for number in range(bisect_right(starts, start) - 1, len(runs)):
                if starts[number] >= end:
                    break
                shift = runs[number][0] - starts[number]
                first, last = max(start, starts[number]), min(end, starts[number + 1])
                shown += [text[done : first + shift], instead if first == start else ""]
                done = last + shift
        return "".join([*shown, text[done:]])

    def spans(self, flat: str) -> list[tuple[int, int]]:
        """Where known pieces begin and end in a text without breaks, in order, none overlapping."""
        merged: list[tuple[int, int]] = []
        for start, end in sorted([*self.spans_of_pieces(flat), *self.spans_of_wholes(flat)]):
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((start, end))
        return merged

    def spans_of_pieces(self, flat: str) -> Iterator[tuple[int, int]]:
        """Every place of a piece of the shortest length."""
        probes = self.probes
        for place in range(0, len(flat) - PROBE + 1, STEP):
            if flat[place : place + PROBE] in probes:
                yield from self.spans_around(flat, place)

    def spans_around(self, flat: str, place: int) -> Iterator[tuple[int, int]]:
        """Every place of a piece that holds the probe at this one."""
        for start in range(max(0, place + PROBE - SIZE), place + 1):
            piece = flat[start : start + SIZE]
            if piece in self.pieces and piece not in self.public:
                yield start, start + SIZE

    def spans_of_wholes(self, flat: str) -> Iterator[tuple[int, int]]:
        """Every place of a whole secret."""
        for whole in self.wholes:
            start = -1 if self.public.issuperset(windows(whole)) else flat.find(whole)
            while start >= 0:
                yield start, start + len(whole)
                start = flat.find(whole, start + 1)


def windows(text: str) -> Iterator[str]:
    """Every piece of the shortest length."""
    return (text[start : start + SIZE] for start in range(len(text) - SIZE + 1))


def unbroken(text: str) -> Iterator[tuple[int, int]]:
    """Where the runs of the text begin and end between which something may break a secret."""
    start = 0
    for gap in BETWEEN.finditer(text):
        yield start, gap.start()
        start = gap.end()
    yield start, len(text)


def changes(piece: str) -> int:
    """How often the piece changes between small letters, capitals and digits."""
    kinds = [kind(character) for character in piece if character.isalnum()]
    return sum(before != after for before, after in pairwise(kinds))


def kind(character: str) -> str:
    """Is it a digit, a capital or a small letter?"""
    return "digit" if character.isdigit() else "capital" if character.isupper() else "small"
