"""Directives that say what a block means: options of ``code-block`` and ``literalinclude``.

This is an extension of Sphinx, which reports the page and line of a wrong option. Comments have no
meaning. Marks (``.. beyond:: LITERAL - REASON``) are about a literal or words of the prose.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from packaging.version import InvalidVersion, Version
from sphinx.application import Sphinx
from sphinx.directives.code import CodeBlock, LiteralInclude
from sphinx.directives.patches import Code
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

# The attributes for the meaning of a literal block's node, and for the mark of a comment's.
MEANING, MARK = "meaning", "mark"
# The attribute in which an extension says what a literal that it writes is about.
SUBJECT = "subject"
MARKS = ("beyond", "denied", "elsewhere", "ignored", "subject")
# What a block does, for the program that plants faults in it.
ROLES = ("asks", "installs", "locked", "restarts", "slow", "starts", "stops")


def lines_of(argument: str | None) -> list[str]:
    """Return the lines of an option's value, which must have at least one."""
    if not argument:
        raise ValueError("it says nothing")
    return argument.splitlines()


def text(argument: str | None) -> str:
    """Return a text, which may be broken over lines."""
    return " ".join(lines_of(argument))


def version(argument: str | None) -> str:
    """Return a version (PEP 440)."""
    said = text(argument)
    try:
        Version(said)
    except InvalidVersion:
        raise ValueError(f"'{said}' is no version") from None
    return said


def reasons(argument: str | None) -> dict[str, str]:
    """Parse ``NAME - REASON``, one per line."""
    return pairs(argument, r"(\S+) +- +(\S.*)", "NAME - REASON")


def values(argument: str | None) -> dict[str, str]:
    """Parse ``<NAME> VALUE``, one per line."""
    return pairs(argument, r"(<[^<>\s]+>) +(\S.*)", "<NAME> VALUE")


def expressions(argument: str | None) -> dict[str, str]:
    """Parse ``<NAME> EXPRESSION``, one per line, each with a regular expression."""
    found = pairs(argument, r"(<[^<>\s]+>) +(\S.*)", "<NAME> EXPRESSION")
    for expression in found.values():
        try:
            re.compile(expression)
        except re.error as error:
            raise ValueError(f"'{expression}' is no regular expression: {error}") from None
    return found


def pairs(argument: str | None, form: str, shown: str) -> dict[str, str]:
    """Return the first and the second part of each line; ValueError for a line of another form."""
    found: dict[str, str] = {}
    for line in lines_of(argument):
        match = re.fullmatch(form, line.strip())
        if not match:
            raise ValueError(f"'{line.strip()}' is incomplete: write {shown}, one a line")
        if match[1] in found:
            raise ValueError(f"'{match[1]}' stands twice")
        found[match[1]] = match[2]
    return found


def roles(argument: str | None) -> list[str]:
    """Return words of ``ROLES``."""
    return [str(directives.choice(word, ROLES)) for word in text(argument).split()]


# For each option the field of the guide's block, and its parser.
OPTIONS: dict[str, tuple[str, Callable[[str | None], Any]]] = {
    "reason": ("reason", text),
    "last": ("last", text),
    "message": ("origin", text),
    "since": ("since", version),
    "needs": ("needs", reasons),
    "needs-images": ("images", reasons),
    "placeholder": ("placeholders", values),
    "capture": ("captures", expressions),
    "role": ("roles", roles),
}
READERS = {name: read for name, (_, read) in OPTIONS.items()}


def with_meaning(found: list[nodes.Node], options: dict[str, Any]) -> list[nodes.Node]:
    """Return the nodes of a directive, whose literal block gets what the options say."""
    said = {fieldname: options[name] for name, (fieldname, _) in OPTIONS.items() if name in options}
    for node in found:
        for block in node.findall(nodes.literal_block):
            block[MEANING] = said
    return found


class GuideCodeBlock(CodeBlock):
    """``code-block`` with what the block means."""

    option_spec: ClassVar[Any] = {**(CodeBlock.option_spec or {}), **READERS}

    def run(self) -> list[nodes.Node]:
        """The block."""
        return with_meaning(super().run(), self.options)


class GuideCode(Code):
    """``code``, docutils' own, with what the block means."""

    option_spec: ClassVar[Any] = {**(Code.option_spec or {}), **READERS}

    def run(self) -> list[nodes.Node]:
        """The block."""
        return with_meaning(super().run(), self.options)


class GuideInclude(LiteralInclude):
    """``literalinclude`` with what the block means."""

    option_spec: ClassVar[Any] = {**(LiteralInclude.option_spec or {}), **READERS}

    def run(self) -> list[nodes.Node]:
        """The block."""
        return with_meaning(super().run(), self.options)


class Mark(SphinxDirective):
    """``.. beyond:: LITERAL - REASON`` and the like: what the prose names cannot be looked up.

    ``.. denied:: WORDS - CHECK`` names the check that shows that what a sentence denies is not so.
    ``.. subject:: LITERAL - NAME`` names the thing that a literal is about, so that this thing is
    asked.
    """

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Return a comment, which no reader sees."""
        literal, _, reason = (part.strip() for part in text(self.arguments[0]).partition(" - "))
        if not literal or not reason:
            raise self.error(f"write '.. {self.name}:: LITERAL - REASON'")
        comment = nodes.comment()
        comment[MARK] = (self.name, literal, reason)
        self.set_source_info(comment)
        return [comment]


def setup(app: Sphinx) -> ExtensionMetadata:
    """Replace Sphinx's own directives with these."""
    app.add_directive("code", GuideCode, override=True)
    for name in ("code-block", "sourcecode"):
        app.add_directive(name, GuideCodeBlock, override=True)
    app.add_directive("literalinclude", GuideInclude, override=True)
    for name in MARKS:
        app.add_directive(name, Mark)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
