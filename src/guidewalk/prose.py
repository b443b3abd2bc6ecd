"""Find a page's claims: inline literals, external links, numbers and denials."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes

from guidewalk.directives import MARK, SUBJECT
from guidewalk.guide import DENIAL, LINK, NUMBER, Claim

if TYPE_CHECKING:
    from guidewalk.doctree import Page

# Name, reason and node of marks, by the text that each is about; no node once it has been used.
type Marks = dict[str, tuple[str, str, nodes.comment | None]]

# The class of what the guide's extensions derive themselves, which is nobody's claim.
GENERATED = "generated"
# In running text a number is a claim as well, unless it is part of a word, or "one" or "two", which
# are not only numbers.
COUNTS = "three|four|five|six|seven|eight|nine|ten|eleven|twelve"
NUMBERS = re.compile(rf"(?<![\w.])\d[\w./:-]*(?<![./:-])|\b(?:{COUNTS})\b", re.IGNORECASE)
# That something cannot be, or does not exist, is a claim; nobody notices when it becomes wrong.
DENIALS = re.compile(
    r"\b(?:cannot|never|neither|nobody|(?:do|does|did) not|[a-z]+s no|have no)\b", re.IGNORECASE
)
SENTENCE = re.compile(r"(?<=[.!?:;])\s+")
# Text in these is not running text, or is checked separately.
ELSEWHERE = (nodes.literal, nodes.literal_block, nodes.reference, nodes.comment, nodes.raw,
             nodes.substitution_definition, nodes.doctest_block)  # fmt: skip


def claims(page: Page) -> Iterator[Claim]:
    """Yield the page's claims, in order; a mark that none of them needs is the page's mistake."""
    marks = marks_of(page)
    lines = Lines()
    for role, text, node in found(page.tree):
        if not is_typed(node, lines):
            continue
        source, start = page.place(node)
        keyword, reason, comment = marks.get(text, subject_of(node))
        if comment:
            marks[text] = (keyword, reason, None)
        yield Claim(
            page=page.name,
            source=page.relative(source),
            line=lines.of(Path(source), start, text if role in (LINK, NUMBER) else f"`{text}`"),
            text=text,
            flavours=page.flavours,
            role=role,
            mark=keyword,
            reason=reason,
        )
    yield from denials(page, marks, lines)
    for text, (keyword, _, comment) in marks.items():
        if comment:
            stale = f"stale '{keyword}: {text}': the page has no such literal or denial"
            page.mistakes.append(page.told(comment, stale))


def subject_of(node: nodes.Node) -> tuple[str, str, None]:
    """Return, like a mark, what an extension says about a literal that it writes."""
    subject = node.get(SUBJECT, "") if isinstance(node, nodes.Element) else ""
    return (SUBJECT if subject else "", subject, None)


def denials(page: Page, marks: Marks, lines: Lines) -> Iterator[Claim]:
    """Yield the sentences that deny something, each with the mark that is about it."""
    for node in page.tree.findall(nodes.paragraph):
        if is_generated(node) or not is_typed(node, lines):
            continue
        source, start = page.place(node)
        for sentence in filter(DENIALS.search, SENTENCE.split(node.astext())):
            said = " ".join(sentence.split())
            text = next((text for text in marks if text in said), "")
            keyword, reason, _ = marks.get(text, ("", "", None))
            if text:
                marks[text] = (keyword, reason, None)
            yield Claim(
                page=page.name,
                source=page.relative(source),
                line=lines.of(Path(source), start, sentence.partition("\n")[0]),
                text=text or said,
                flavours=page.flavours,
                role=DENIAL,
                mark=keyword,
                reason=reason,
            )


def marks_of(page: Page) -> Marks:
    """Return every mark of the page."""
    marks: Marks = {}
    for comment in page.tree.findall(nodes.comment):
        if MARK in comment:
            name, text, reason = comment[MARK]
            if text in marks:
                page.mistakes.append(page.told(comment, f"'{text}' is marked twice"))
            marks[text] = (name, reason, comment)
    return marks


def found(tree: nodes.document) -> Iterator[tuple[str, str, nodes.Node]]:
    """Yield role, text and node of every literal, link and number."""
    for node in tree.findall():
        if isinstance(node, nodes.Text) and not within(node, ELSEWHERE) and not is_generated(node):
            for match in NUMBERS.finditer(node.astext()):
                yield NUMBER, match[0], node
        elif isinstance(node, nodes.reference) and "refuri" in node and not node.get("internal"):
            yield LINK, node["refuri"], node
        elif isinstance(node, nodes.literal) and not is_generated(node):
            role = next(iter(node["classes"]), "")
            if role != "kbd":
                yield role, node.astext(), node
            elif not after_plus(node):
                yield role, "+".join(keys(node)), node


def within(node: nodes.Node, kinds: tuple[type[nodes.Node], ...]) -> bool:
    """Return whether the node is inside one of these kinds."""
    outer: Any = node
    while outer is not None:
        if isinstance(outer, kinds):
            return True
        outer = outer.parent
    return False


def is_generated(node: nodes.Node) -> bool:
    """Return whether an extension has derived the node, or what contains it."""
    outer: Any = node
    while outer is not None:
        if GENERATED in getattr(outer, "attributes", {}).get("classes", []):
            return True
        outer = outer.parent
    return False


def is_typed(node: nodes.Node, lines: Lines) -> bool:
    """Return whether the text with the node begins as a line of its file does."""
    outer: Any = node
    while not isinstance(outer, nodes.TextElement) or isinstance(outer, nodes.Inline):
        outer = outer.parent
    begin = outer.rawsource.strip().partition("\n")[0]
    return bool(outer.source and begin and begin in lines.text(Path(outer.source)))


def after_plus(node: Any) -> bool:
    """Return whether this key is a further one of several, which Sphinx has taken apart."""
    siblings = node.parent.children
    place = siblings.index(node)
    return bool(place > 1 and siblings[place - 1].astext() == "+")


def keys(node: Any) -> Iterator[str]:
    """Yield this key and those that are pressed together with it."""
    siblings = node.parent.children
    place = siblings.index(node)
    yield node.astext()
    while place + 2 < len(siblings) and siblings[place + 1].astext() == "+":
        place += 2
        yield siblings[place].astext()


class Lines:
    """Finds the lines of literals; docutils only knows where their paragraph begins."""

    def __init__(self) -> None:
        self.files: dict[Path, str] = {}
        # How far each paragraph has been searched: a line, and a column in it.
        self.reached: dict[tuple[Path, int], tuple[int, int]] = {}

    def text(self, source: Path) -> str:
        """Return the whole file."""
        if source not in self.files:
            self.files[source] = source.read_text()
        return self.files[source]

    def of(self, source: Path, start: int, text: str) -> int:
        """Return the line on which the text stands, from the line ``start`` on; else that line."""
        lines = self.text(source).splitlines()
        line, column = self.reached.get((source, start), (start - 1, 0))
        while line < len(lines):
            at = lines[line].find(text, column)
            if at >= 0:
                self.reached[source, start] = (line, at + len(text))
                return line + 1
            line, column = line + 1, 0
        return start
