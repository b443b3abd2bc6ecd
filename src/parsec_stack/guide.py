"""The guide as data: every literal block and inline literal that it renders.

Sphinx reads the pages only when one of the guide's files has changed (``doctree.py``); in
between all comes from a cache in ``build/``.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from parsec_stack.errors import StackError

Kind = Literal[
    "command", "file", "excerpt", "output", "message", "exception", "unexplained"
]  # fmt: skip


class GuideError(StackError):
    """The guide cannot be read, or a block of it contradicts itself; the text names the place."""


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
    # The numbers of the text's lines that a reader sees emphasised, from 1 on.
    emphasised: list[int] = field(default_factory=list)
    name: str | None = None
    # The file that a reader creates or looks at, named by the caption.
    target: str | None = None
    # Why the block is not executed, or what is wrong with it.
    reason: str = ""
    # Why the block is executed only after all others.
    last: str = ""
    # The program or service that prints a message.
    origin: str = ""
    # The first version of Parsec for which the block holds; empty for all.
    since: str = ""
    # Programs without which the block is not executed, each with the reason.
    needs: dict[str, str] = field(default_factory=dict)
    # Compose files without whose images on the engine it is not executed either.
    images: dict[str, str] = field(default_factory=dict)
    # Values for <placeholders>, and expressions that find them in what the block prints.
    placeholders: dict[str, str] = field(default_factory=dict)
    captures: dict[str, str] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """Page and line, for messages; before it the included file and line."""
        page = f"{self.source}:{self.line}"
        return f"{self.file}:{self.text_line} ({page})" if self.file else page

    def place_of(self, number: int) -> str:
        """The file and line of the text's line with this number, which counts from 1."""
        return f"{self.file or self.source}:{self.text_line + number - 1}"


@dataclass(frozen=True)
class Claim:
    """One inline literal, link to elsewhere or number of the prose: something that it claims.

    ``page``, ``source`` and ``line`` as of a block. ``role`` is the role by which a literal is
    written, empty for double backquotes, and "link" or "number" for the others. ``mark`` is the
    keyword of the comment that is about it, and ``reason`` what that comment says.
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


class Guide:
    """All blocks and claims in reading order."""

    def __init__(self, blocks: list[Block], claims: Iterable[Claim] = ()) -> None:
        """Take the blocks and claims of all pages."""
        self.blocks = blocks
        self.claims = list(claims)

    @cached_property
    def named(self) -> dict[str, Block]:
        """The blocks that have a name, by it."""
        return {block.name: block for block in self.blocks if block.name}

    def command(self, name: str, flavour: str) -> Block:
        """The command block of this name, or its variant ``NAME-FLAVOUR``.

        Raises GuideError if the guide has none for this flavour.
        """
        for candidate in (name, f"{name}-{flavour}"):
            block = self.named.get(candidate)
            if block and block.kind in ("command", "exception") and flavour in block.flavours:
                return block
        raise GuideError(f"the guide has no command block named '{name}' for the {flavour} flavour")

    def of(self, flavour: str) -> list[Block]:
        """What a reader who follows this flavour does, in this order."""
        own = [block for block in self.blocks if flavour in block.flavours]
        return sorted(own, key=lambda block: bool(block.last))

    def files(self) -> dict[str, Block]:
        """The files that the guide shows whole, by name."""
        shown = [block for block in self.blocks if block.kind == "file"]
        return {block.target: block for block in shown if block.target}


def load(docs: Path) -> Guide:
    """The guide in this folder, whose artifacts lie in ``deploy`` beside it.

    Raises GuideError with page and line for what Sphinx warns of and for what has no clear meaning.
    """
    docs = docs.resolve()
    cache = docs.parent / "build" / "guide.json"
    stamps = {str(path): [stat.st_mtime_ns, stat.st_size] for path, stat in sources(docs)}
    known = read_cache(cache)
    if known.get("stamps") == stamps:
        return from_json(known)
    digest = content_digest(stamps)
    if known.get("digest") != digest:
        from parsec_stack import doctree

        guide = doctree.read(docs)
        known = {
            "digest": digest,
            "blocks": [asdict(block) for block in guide.blocks],
            "claims": [asdict(claim) for claim in guide.claims],
        }
    write_cache(cache, known | {"stamps": stamps})
    return from_json(known)


def sources(docs: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """All files on which the guide depends: its own, the artifacts, what reads them."""
    yield from walk(docs)
    yield from walk(docs.parent / "deploy")
    readers = ("guide.py", "doctree.py", "literals.py", "annotation.py")
    own = [Path(__file__).with_name(name) for name in readers]
    for path in (docs.parent / "pyproject.toml", *own):
        if path.exists():
            yield path, path.stat()


def walk(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """The files below the folder, but for hidden and built ones, in a stable order."""
    if not folder.is_dir():
        return
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name.startswith((".", "_build", "__pycache__")):
            continue
        if entry.is_dir():
            yield from walk(Path(entry.path))
        else:
            yield Path(entry.path), entry.stat()


def content_digest(paths: dict[str, Any]) -> str:
    """One SHA-256 of the names and contents of these files."""
    total = hashlib.sha256()
    for path in paths:
        total.update(f"{path}\0{hashlib.sha256(Path(path).read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def read_cache(cache: Path) -> dict[str, Any]:
    """What was kept of the last reading; empty if there is nothing usable."""
    try:
        known = json.loads(cache.read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def write_cache(cache: Path, content: dict[str, Any]) -> None:
    """Keep the reading; another process sees the old file or the new one, never a part.

    Where another user has made the folder, or the disk is full, the next process reads anew.
    """
    beside = cache.with_name(f"{cache.name}.{os.getpid()}.new")
    with suppress(OSError):
        try:
            cache.parent.mkdir(parents=True, exist_ok=True)
            beside.write_text(json.dumps(content))
            beside.replace(cache)
        finally:
            beside.unlink(missing_ok=True)


def from_json(known: dict[str, Any]) -> Guide:
    """The guide that was kept."""
    return Guide(
        [Block(**with_tuple(block)) for block in known["blocks"]],
        [Claim(**with_tuple(claim)) for claim in known["claims"]],
    )


def with_tuple(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields with their flavours as they were before they became JSON."""
    return fields | {"flavours": tuple(fields["flavours"])}
