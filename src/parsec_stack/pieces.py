"""Find secrets in a text by their pieces, whatever breaks them: lines, a terminal's frames.

A piece has eight or more characters. Every piece of a generated secret counts. Of a password that
somebody chose, only pieces that are not words count: whoever chose ``database-2024`` still wants to
read about databases.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise

# The length of the shortest piece. Other hexadecimal digits equal one by chance once in some
# megabytes of them, and are then hidden unnecessarily.
SIZE = 8
# So many characters do not match by chance.
SURE = 12
# Every piece contains PROBE characters that start at a multiple of STEP in the text.
STEP, PROBE = 4, 5
# What may stand between the characters of a secret: blanks, line ends, the prefix that compose puts
# before a line, a terminal's escape sequences and frames; as they are, or as JSON and Python write
# them.
BETWEEN = re.compile(
    r"(?:\n[\w.-]+ +\| |\s|\x1b\[[0-?]*[ -/]*[@-~]|[\u2500-\u257f]|\\[nrt]"
    r"|\\(?:u00|x)1b\[[0-?]*[ -/]*[@-~]|\\u25[0-7][0-9a-f])+",
    re.IGNORECASE,
)
HEX = re.compile(r"[0-9a-f]{16,}|[0-9A-F]{16,}")
# In one piece, words change less often between small letters, capitals and digits.
CHANGES = 3


class Pieces:
    """The pieces of some secrets."""

    def __init__(self) -> None:
        # The origin of each piece of the shortest length, and of each whole secret.
        self.pieces: dict[str, str] = {}
        self.wholes: dict[str, str] = {}
        self.probes: set[str] = set()
        self.public: set[str] = set()

    def add(self, secret: str, origin: str, *, generated: bool = False) -> None:
        """Add a secret, with all its pieces if it is ``generated`` or looks so."""
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
        """Treat what stands in this text as no secret, whatever else it may be a piece of."""
        self.public.update(windows(BETWEEN.sub("", text)))

    def origin_in(self, text: str) -> str:
        """Return the origin of a secret of which the text certainly contains a piece.

        Empty if none.
        """
        flat = BETWEEN.sub("", text)
        found = (flat[start:end] for start, end in self.spans(flat))
        return next(filter(None, map(self.origin_of, found)), "")

    def origin_of(self, found: str) -> str:
        """Return the origin of a whole secret or of what is certainly a piece of one.

        Empty if neither.
        """
        if len(found) >= SURE and found[:SIZE] in self.pieces:
            return self.pieces[found[:SIZE]]
        return next((origin for whole, origin in self.wholes.items() if whole in found), "")

    def hide(self, text: str, instead: str) -> str:
        """Return the text with ``instead`` in the place of each piece; keep what breaks a piece."""
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
        """Return the ordered, disjoint spans of known pieces in a text without breaks."""
        merged: list[tuple[int, int]] = []
        for start, end in sorted([*self.spans_of_pieces(flat), *self.spans_of_wholes(flat)]):
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((start, end))
        return merged

    def spans_of_pieces(self, flat: str) -> Iterator[tuple[int, int]]:
        """Yield the span of every known piece of the shortest length."""
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
        """Yield the span of every whole secret."""
        for whole in self.wholes:
            start = -1 if self.public.issuperset(windows(whole)) else flat.find(whole)
            while start >= 0:
                yield start, start + len(whole)
                start = flat.find(whole, start + 1)


def windows(text: str) -> Iterator[str]:
    """Yield every piece of the shortest length."""
    return (text[start : start + SIZE] for start in range(len(text) - SIZE + 1))


def unbroken(text: str) -> Iterator[tuple[int, int]]:
    """Yield where the runs of the text begin and end between which something may break a secret."""
    start = 0
    for gap in BETWEEN.finditer(text):
        yield start, gap.start()
        start = gap.end()
    yield start, len(text)


def changes(piece: str) -> int:
    """Return how often the piece changes between small letters, capitals and digits."""
    kinds = [kind(character) for character in piece if character.isalnum()]
    return sum(before != after for before, after in pairwise(kinds))


def kind(character: str) -> str:
    """Return whether the character is a digit, a capital or a small letter."""
    return "digit" if character.isdigit() else "capital" if character.isupper() else "small"
