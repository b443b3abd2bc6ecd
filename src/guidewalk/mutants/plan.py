"""All mutants of a guide: what can be planted where, and which of it is tried."""

from __future__ import annotations

import hashlib
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from difflib import unified_diff
from itertools import takewhile
from pathlib import Path

from guidewalk.config import config_of
from guidewalk.guide import Block, Guide
from guidewalk.mutants import pages
from guidewalk.mutants.operators import Change, changes

LANGUAGES = {
    ".env": "env", ".yaml": "yaml", ".yml": "yaml", ".conf": "nginx", ".py": "python"
}  # fmt: skip
# The maximum length of a line of code in a title.
LENGTH = 100
# The operator of what is planted to check that only faults are noticed.
CONTROL = "control"
# The kinds of blocks whose own text is part of what docs-test follows; files are artifacts.
OWN_TEXT = ("command", "output", "message", "exception")


@dataclass(frozen=True)
class Mutant:
    """One fault: changes of one text, or of two that are swapped.

    ``place`` is the file of an artifact or a page, or else the id of a block. ``edits`` are the
    changes by place. ``line`` is where a reader finds the fault, in ``source``.
    """

    scope: str
    place: str
    source: str
    line: int
    operator: str
    token: str
    original: str
    becomes: str
    edits: tuple[tuple[str, Change], ...]
    flavours: tuple[str, ...]
    diff: str

    @property
    def title(self) -> str:
        """What was done where, in one line."""
        was, now = around_change(flat(self.original), flat(self.becomes))
        what = f"{was}  ->  {now}" if self.becomes else was
        return f"{self.source}:{self.line}: {self.operator}: {what}"

    @property
    def key(self) -> str:
        """A digest of the fault that does not depend on its line number."""
        parts = (self.scope, self.place, self.operator, self.token, self.original, self.becomes)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def flat(text: str) -> str:
    """Return the lines without indentation, joined."""
    return " / ".join(line.strip() for line in text.splitlines())


def around_change(was: str, now: str) -> tuple[str, str]:
    """Return both texts around their first difference, no longer than a line of a report."""
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(was, now, strict=False))
    same = len(list(pairs))
    start = max(0, same - LENGTH // 2) if len(was) > LENGTH else 0
    return shortened(was, start), shortened(now, start)


def shortened(text: str, start: int) -> str:
    """Return the text from there on, as far as it fits."""
    end = start + LENGTH
    return f"{'...' if start else ''}{text[start:end]}{'...' if end < len(text) else ''}"


def candidates(guide: Guide, docs: Path) -> list[Mutant]:
    """Return every possible mutant once, in the order of the guide."""
    every = [*of_artifacts(guide), *of_blocks(guide), *of_swapped_blocks(guide)]
    every += of_pages(docs)
    return list({mutant.key: mutant for mutant in every}.values())


def chosen(every: Iterable[Mutant], seed: int) -> list[Mutant]:
    """Return one mutant for each line and operator, drawn from the possible ones."""
    groups: dict[tuple[str, int, str], list[Mutant]] = defaultdict(list)
    for mutant in every:
        groups[mutant.place, mutant.edits[0][1].start, mutant.operator].append(mutant)
    return [
        random.Random(f"{seed} {group[0].key}").choice(group)  # one draw does not affect the others
        for group in groups.values()
    ]


def controls(mutants: Iterable[Mutant]) -> list[Mutant]:
    """Return a change without effect in each place of these: what kills one would kill any."""
    places = {mutant.place: mutant for mutant in mutants}
    return [
        replace(
            mutant, operator=CONTROL, becomes=mutant.original,
            edits=((place, replace(mutant.edits[0][1], count=0, lines=())),),
        )
        for place, mutant in places.items()
    ]  # fmt: skip


def of_artifacts(guide: Guide) -> Iterator[Mutant]:
    """Yield the mutants of the files that the guide shows whole."""
    for name, block in guide.files().items():
        if "locked" in block.roles:  # it is compared as a whole with what it is a part of
            continue
        shown = [each for each in guide.blocks if each.target == name]
        flavours = tuple(dict.fromkeys(one for each in shown for one in each.flavours))
        language = "ini" if block.language == "ini" else LANGUAGES.get(Path(name).suffix, "bash")
        file = block.file or name
        yield from of_text("artifact", file, file, 1, block.text, language, flavours)


def of_blocks(guide: Guide) -> Iterator[Mutant]:
    """Yield the mutants of commands and of their stated output."""
    for block in guide.blocks:
        if block.kind in OWN_TEXT and not block.file:
            yield from of_text(
                "block", block.id, block.source, block.text_line, block.text,
                "bash" if block.language == "bash" else "text", block.flavours,
            )  # fmt: skip


def of_text(
    scope: str,
    place: str,
    source: str,
    first: int,
    text: str,
    language: str,
    flavours: tuple[str, ...],
) -> Iterator[Mutant]:
    """Yield the mutants of one text, whose first line has this number in its source."""
    lines = text.split("\n")
    for change in changes(text, language):
        before = lines[change.start : change.start + change.count]
        diff = unified_diff(
            lines, planted(lines, [change]), f"{source}, {place}", "mutant", lineterm="", n=2
        )
        yield Mutant(
            scope, place, source, first + change.start, change.operator, change.token,
            "\n".join(before), "\n".join(change.lines), ((place, change),), flavours,
            "\n".join(diff),
        )  # fmt: skip


def of_swapped_blocks(guide: Guide) -> Iterator[Mutant]:
    """Yield successive commands of one page in the wrong order."""
    last: dict[tuple[str, tuple[str, ...]], Block] = {}
    for block in guide.blocks:
        if block.kind != "command":
            continue
        first = last.get((block.page, block.flavours))
        last[block.page, block.flavours] = block
        if first and first.text != block.text:
            yield swapped(first, block)


def swapped(first: Block, second: Block) -> Mutant:
    """Return the mutant in which the two blocks have each other's commands."""
    edits = tuple(
        (
            one.id,
            Change("swap", one.id, 0, len(one.text.split("\n")), tuple(other.text.split("\n"))),
        )
        for one, other in ((first, second), (second, first))
    )
    diff = unified_diff(
        [f"# {first.id}", *first.text.split("\n"), f"# {second.id}", *second.text.split("\n")],
        [f"# {first.id}", *second.text.split("\n"), f"# {second.id}", *first.text.split("\n")],
        first.source, "mutant", lineterm="",
    )  # fmt: skip
    return Mutant(
        "block", first.id, first.source, first.text_line, "swap blocks", second.id, first.text,
        second.text, edits, first.flavours, "\n".join(diff),
    )  # fmt: skip


def of_pages(docs: Path) -> Iterator[Mutant]:
    """Yield the mutants of the pages' own markup."""
    flavours = config_of(docs.parent).flavours
    for path in sorted(docs.glob("*.rst")):
        text = path.read_text()
        source = f"{docs.name}/{path.name}"
        lines = text.split("\n")
        for change in pages.changes(text):
            before = "\n".join(lines[change.start : change.start + change.count])
            diff = unified_diff(lines, planted(lines, [change]), source, "mutant", lineterm="", n=3)
            yield Mutant(
                "page", source, source, change.start + 1, change.operator, change.token,
                context(lines, change.start) + before, "\n".join(change.lines),
                ((source, change),), flavours, "\n".join(diff),
            )  # fmt: skip


def context(lines: list[str], number: int) -> str:
    """Return an option's directive, to distinguish it from the same option elsewhere."""
    for line in reversed(lines[:number]):
        if re.match(r"\.\. [\w-]+::", line.strip()):
            return f"{line.strip()} / "
    return ""


def planted(lines: list[str], edits: Iterable[Change]) -> list[str]:
    """Return the lines with all these changes, none of which touches the lines of another."""
    result = list(lines)
    for change in sorted(edits, key=lambda change: change.start, reverse=True):
        result[change.start : change.start + change.count] = change.lines
    return result


def overlap(first: Mutant, second: Mutant) -> bool:
    """Return whether both change the same line, or neighbouring lines."""
    return any(
        place == other and one.start <= two.start + two.count and two.start <= one.start + one.count
        for place, one in first.edits
        for other, two in second.edits
    )


def mutated(guide: Guide, mutants: Iterable[Mutant]) -> Guide:
    """Return the guide with all these faults of artifacts and blocks."""
    edits: dict[str, list[Change]] = defaultdict(list)
    for mutant in mutants:
        for place, change in mutant.edits:
            edits[place].append(change)
    return Guide([with_edits(block, edits) for block in guide.blocks], guide.claims)


def with_edits(block: Block, edits: dict[str, list[Change]]) -> Block:
    """Return the block with what is planted in it or in the file that it shows."""
    if block.file in edits:
        moved = list(within(block, edits[block.file]))
    else:
        moved = edits.get(block.id, [])
    if not moved:
        return block
    return replace(block, text="\n".join(planted(block.text.split("\n"), moved)))


def within(block: Block, edits: Iterable[Change]) -> Iterator[Change]:
    """Yield the file's changes as changes of the part that the block shows."""
    lines = block.text.split("\n")
    first = block.text_line - 1
    for change in edits:
        if first <= change.start and change.start + change.count <= first + len(lines):
            yield replace(change, start=change.start - first)
