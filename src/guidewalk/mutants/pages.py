"""The faults that can be planted in a page's markup: tags and options of blocks, and marks."""

from __future__ import annotations

import re
from collections.abc import Iterator

from guidewalk.directives import MARKS, READERS
from guidewalk.mutants.operators import Change

DIRECTIVE = re.compile(r"^(\s*\.\. (?:code-block|literalinclude)::)(?: (\S+))?$")
MARK = re.compile(rf"^\.\. ((?:{'|'.join(MARKS)}):: .+)$")
OPTION = re.compile(r"^\s+:([\w-]+):(?: (.*))?$")
# What each option of a block is to the reader.
OPTIONS = {
    "name": "name",
    "class": "class",
    "caption": "caption",
    "language": "language",
    "start-at": "marker",
    "end-at": "marker",
    "start-after": "marker",
    "end-before": "marker",
    "lines": "marker",
    **dict.fromkeys(READERS.keys() - {"role"}, "meaning"),
}


def changes(text: str) -> list[Change]:
    """Return every fault that can be planted in the page's markup."""
    return list(found(text.split("\n")))


def found(lines: list[str]) -> Iterator[Change]:
    """Yield the faults, line by line; options count only after the directive of a block."""
    in_block = False
    for number, line in enumerate(lines):
        if directive := DIRECTIVE.match(line):
            in_block = True
            if "code-block" in line and directive[2]:
                tag = f"{directive[1]} {misspelt(directive[2])}"
                yield Change("language", directive[2], number, 1, (tag,))
        elif in_block and (option := OPTION.match(line)):
            yield from of_option(line, number, option)
        else:
            in_block = False
        if mark := MARK.match(line):
            yield Change("mark", mark[1], number, 1, ())
    if flavour := re.match(r":flavour: (\w+)", lines[0]):
        yield Change("flavour", flavour[1], 0, 1, ())


def of_option(line: str, number: int, option: re.Match[str]) -> Iterator[Change]:
    """Yield an option left out or, if it names a language, misspelt."""
    operator = OPTIONS.get(option[1])
    if operator == "language":
        value = option[2] or ""
        yield Change(operator, value, number, 1, (line.replace(value, misspelt(value)),))
    elif operator:
        yield Change(operator, line.strip(), number, 1, ())


def misspelt(word: str) -> str:
    """Return the word with its second and third letters swapped; doubled if they are the same."""
    if word[1] == word[2]:
        return word[:2] + word[1:]
    return word[0] + word[2] + word[1] + word[3:]
