"""The guide as data: every literal block and inline literal that it renders."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from guidewalk.errors import UserError

Kind = Literal[
    "command", "file", "excerpt", "output", "message", "exception", "unexplained"
]  # fmt: skip


class GuideError(UserError):
    """The guide cannot be read, or one of its blocks contradicts itself.

    The text names the place.
    """

    def __init__(self, message: str, guide: Guide | None = None) -> None:
        """``guide`` is what could be read all the same."""
        super().__init__(message)
        self.guide = guide


@dataclass(frozen=True)
class Block:
    """One literal block, as a reader sees it.

    ``page`` is Sphinx's name of the page, ``source`` its file and ``line`` the line of the
    directive in it; ``file`` is the included file, if any. ``text_line`` is the line on which
    ``text`` begins, in ``file`` or else in ``source``. All paths are relative to the folder
    above the guide's.
    """

    page: str
    source: str
    line: int
    text: str
    language: str
    kind: Kind
    flavours: tuple[str, ...]
    id: str = ""
    file: str | None = None
    text_line: int = 1
    # The numbers of the text's lines that are emphasised, counted from 1.
    emphasised: list[int] = field(default_factory=list)
    name: str | None = None
    # The file that a reader creates or looks at; the caption names it.
    target: str | None = None
    # Why the block is not executed, or what is wrong with it.
    reason: str = ""
    # Why the block is executed only after all others.
    last: str = ""
    # The program or service that prints a message.
    origin: str = ""
    # The first version for which the block is valid; empty for all.
    since: str = ""
    # Programs without which the block is not executed, each with the reason.
    needs: dict[str, str] = field(default_factory=dict)
    # Compose files; without their images on the engine the block is not executed either.
    images: dict[str, str] = field(default_factory=dict)
    # Values for <placeholders>, and expressions that find them in the block's output.
    placeholders: dict[str, str] = field(default_factory=dict)
    captures: dict[str, str] = field(default_factory=dict)
    # What the block does, in words of ``directives.ROLES``.
    roles: list[str] = field(default_factory=list)

    @property
    def place(self) -> str:
        """Page and line, for messages, after the included file and line if there is one."""
        page = f"{self.source}:{self.line}"
        return f"{self.file}:{self.text_line} ({page})" if self.file else page

    def place_of(self, number: int) -> str:
        """Return the file and line of the text's line with this number, which counts from 1."""
        return f"{self.file or self.source}:{self.text_line + number - 1}"


# The roles of a sentence that denies something, a link and a number.
DENIAL, LINK, NUMBER = "denial", "link", "number"


@dataclass(frozen=True)
class Claim:
    """One inline literal, external link, number or denial of the prose: something that it claims.

    ``page``, ``source`` and ``line`` are those of a block. ``role`` is the role of a literal, empty
    for double backquotes, and "link", "number" or "denial" for the others. ``mark`` is the name of
    the directive that is about it, and ``reason`` is what the directive says.
    """

    page: str
    source: str
    line: int
    text: str
    flavours: tuple[str, ...]
    role: str = ""
    mark: str = ""
    reason: str = ""

    @property
    def place(self) -> str:
        """Page and line, for messages."""
        return f"{self.source}:{self.line}"

    @property
    def subject(self) -> str:
        """What it is said about, as the page names that; empty if the page does not."""
        return self.reason if self.mark == "subject" else ""


class Guide:
    """All blocks and claims in reading order."""

    def __init__(self, blocks: list[Block], claims: Iterable[Claim] = ()) -> None:
        self.blocks = blocks
        self.claims = list(claims)

    @cached_property
    def named(self) -> dict[str, Block]:
        """The blocks that have a name, by name."""
        return {block.name: block for block in self.blocks if block.name}

    def command(self, name: str, flavour: str) -> Block:
        """Return the command block of this name, or its variant ``NAME-FLAVOUR``.

        Raises GuideError if the guide has none for this flavour.
        """
        for candidate in (name, f"{name}-{flavour}"):
            block = self.named.get(candidate)
            if block and block.kind in ("command", "exception") and flavour in block.flavours:
                return block
        raise GuideError(f"the guide has no command block named '{name}' for the {flavour} flavour")

    def command_of(self, block: Block, flavour: str) -> Block | None:
        """Return the command whose output the block states in the flavour, if it is an output."""
        if block.kind != "output":
            return None
        before = reversed(self.blocks[: self.blocks.index(block)])
        commands = (
            one
            for one in before
            if (one.page, one.kind) == (block.page, "command") and flavour in one.flavours
        )
        return next(commands, None)

    def of(self, flavour: str) -> list[Block]:
        """Return what a reader who follows this flavour does, in this order."""
        own = [block for block in self.blocks if flavour in block.flavours]
        return sorted(own, key=lambda block: bool(block.last))

    def files(self) -> dict[str, Block]:
        """Return the files that the guide shows whole, by name."""
        shown = [block for block in self.blocks if block.kind == "file"]
        return {block.target: block for block in shown if block.target}
