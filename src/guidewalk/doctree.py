"""Read the guide from the doctree that Sphinx resolves: what a reader of the HTML sees."""

from __future__ import annotations

import io
import pickle
import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from docutils import nodes
from sphinx import addnodes
from sphinx.application import ENV_PICKLE_FILENAME, Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

from guidewalk import prose
from guidewalk.config import config_of
from guidewalk.directives import MEANING
from guidewalk.guide import Block, Claim, Guide, GuideError, Kind

if TYPE_CHECKING:
    from sphinx.environment import BuildEnvironment

# Classes that a block may have besides its flavours and the project's: from docutils and this
# package.
CLASSES = {"output", "code", "doctest"}
# The tags of an HTML build, without the time that a theme takes.
TAGS = ("html", "format_html", "builder_html")
EXTENSION = "guidewalk.directives"


def read(docs: Path, cache: Path | None = None) -> Guide:
    """Return the guide in this folder, in reading order; GuideError with everything that is wrong.

    The error has the guide as far as it could be read. A ``cache`` keeps the doctrees: only pages
    that have changed since are read again, and Sphinx's warnings about the others are not repeated.
    """
    pages, warnings = pages_of(docs, cache)
    blocks = [block for page in pages for block in page.blocks()]
    claims = [claim for page in pages for claim in page.claims()]
    guide = Guide(with_ids(blocks), claims)
    wrong = [f"Sphinx warns of the guide:\n{warnings}"] if warnings else []
    wrong += [mistake for page in pages for mistake in page.mistakes]
    if wrong := [*wrong, *taken(blocks)]:
        raise GuideError("\n".join(wrong), guide)
    return guide


def listed(docs: Path) -> list[Block]:
    """Return every literal block of any project's pages, whatever is wrong with any of them."""
    pages, _ = pages_of(docs)
    return with_ids([block for page in pages for block in page.blocks()])


def pages_of(docs: Path, cache: Path | None = None) -> tuple[list[Page], str]:
    """Return the pages as Sphinx resolves them, and its warnings; GuideError if it cannot.

    Excluded pages are left out, but Sphinx's warnings about them count.
    """
    excludes = config_of(docs.parent).excludes
    warnings = io.StringIO()
    with (
        tempfile.TemporaryDirectory(prefix="guide-") as scratch,
        patch_docutils(docs),
        docutils_namespace(),
    ):
        trees = cache or Path(scratch)
        try:
            app = Sphinx(
                docs, docs, scratch, trees, "dummy", status=None, warning=warnings, tags=TAGS
            )
            app.setup_extension(EXTENSION)
            app.builder.read()
            (trees / ENV_PICKLE_FILENAME).write_bytes(pickle.dumps(app.env))
            app.env.check_consistency()
            resolved = [
                (page, app.env.get_and_resolve_doctree(page, app.builder, tags=app.tags))
                for page in in_reading_order(app.env)
            ]
        except Exception as error:  # whatever an extension or conf.py may raise
            raise GuideError(f"Sphinx cannot read the guide in {docs}: {error}") from error
    pages = [Page(docs, page, tree, app.env) for page, tree in resolved if not excludes(page)]
    return pages, plain(warnings.getvalue(), docs)


def in_reading_order(env: BuildEnvironment) -> list[str]:
    """Return the pages as the table of contents lists them, then all other pages."""
    order: list[str] = []

    def visit(page: str) -> None:
        if page not in order:
            order.append(page)
            for child in env.toctree_includes.get(page, []):
                visit(child)

    visit(env.config.root_doc)
    return order + sorted(env.found_docs - set(order))


def plain(warnings: str, docs: Path) -> str:
    """Return Sphinx's warnings without colours, with paths as the project names them."""
    return re.sub(r"\x1b\[[\d;]*m", "", warnings).replace(f"{docs.parent}/", "").strip()


class Page:
    """One resolved page."""

    def __init__(self, docs: Path, name: str, tree: nodes.document, env: BuildEnvironment) -> None:
        self.root = docs.parent
        self.config = config_of(docs.parent)
        self.name = name
        self.tree = tree
        self.source = Path(env.doc2path(name)).resolve()
        # What is wrong with the page, with line numbers.
        self.mistakes: list[str] = []
        self.flavours = self.page_flavours(env.metadata[name].get("flavour"))
        self.commands: list[tuple[str, ...]] = []

    def page_flavours(self, word: Any) -> tuple[str, ...]:
        """Return the flavours to which the field ``:flavour:`` at the page's top restricts it."""
        if word in self.config.flavours:
            return (str(word),)
        if word is not None:
            self.mistakes.append(f"{self.relative(self.source)}:1: unknown flavour '{word}'")
        return self.config.flavours

    def relative(self, path: str | Path) -> str:
        """Return the path as messages and reports name it."""
        return shown(Path(path), self.root)

    def blocks(self) -> Iterator[Block]:
        """Yield the page's literal blocks in order; a wrong one is unexplained, and a mistake."""
        for node in self.tree.findall(is_literal):
            try:
                yield self.block(node)
            except GuideError as error:
                self.mistakes.append(str(error))
                yield self.unexplained(node, str(error))

    def claims(self) -> Iterator[Claim]:
        """Yield the page's claims; a mark that is wrong is a mistake."""
        yield from prose.claims(self)

    def unexplained(self, node: Any, reason: str) -> Block:
        """Return the node as a block of which only the text is known."""
        source, line = self.place(node)
        return Block(
            page=self.name,
            source=self.relative(source),
            line=line,
            text=node.astext(),
            language=str(node.get("language", "text")),
            kind="unexplained",
            flavours=self.flavours,
            name=self.name_of(node),
            reason=reason,
        )

    def block(self, node: Any) -> Block:
        """Return the block that the node means."""
        said = getattr(node, "attributes", {}).get(MEANING, {})
        source, line = self.place(node)
        included = node.get("source")
        if included and Path(included).resolve() == Path(source).resolve():
            included = None
        holder = Path(included or source)
        text = node.astext()
        block = Block(
            page=self.name,
            source=self.relative(source),
            line=line,
            text=text,
            language=self.language(node),
            kind="unexplained",
            flavours=self.block_flavours(node),
            file=self.relative(included) if included else None,
            text_line=first_line(holder, text, 0 if included else line - 1),
            emphasised=list(node.get("highlight_args", {}).get("hl_lines", [])),
            name=self.name_of(node),
            target=caption(node),
            **said,
        )
        kind, reason = self.classify(block, node, holder if included else None)
        block = replace(block, kind=kind, reason=reason)
        self.check(block, node)
        if kind == "command" or (kind == "exception" and block.language == "bash"):
            self.commands.append(block.flavours)
        return block

    def language(self, node: Any) -> str:
        """Return the block's language tag; GuideError if it is unknown."""
        language = str(node.get("language", "default"))
        language = "text" if language in ("default", "none") else language
        if isinstance(node, nodes.literal_block) and language not in self.config.languages:
            known = ", ".join(sorted(self.config.languages))
            self.fail(node, f"unknown language '{language}': the known ones are {known}")
        return language

    def block_flavours(self, node: Any) -> tuple[str, ...]:
        """Return the flavours of the page, or the one that is the block's class."""
        classes = {*node["classes"], *wrapper(node)["classes"]} - {"literal-block-wrapper"}
        allowed = CLASSES.union(self.config.flavours, self.config.classes)
        if unknown := sorted(classes - allowed):
            known = ", ".join(sorted(allowed))
            self.fail(node, f"unknown class '{unknown[0]}': the known ones are {known}")
        every = self.config.flavours
        own = tuple(flavour for flavour in every if flavour in classes) or every
        both = tuple(flavour for flavour in self.flavours if flavour in own)
        if not both:
            self.fail(node, f"the block is for {own[0]}, but its page is for {self.flavours[0]}")
        return both

    def name_of(self, node: Any) -> str | None:
        """Return the block's ``:name:``."""
        outer = wrapper(node)
        names = [*outer["names"], *node["names"], *outer["dupnames"], *node["dupnames"]]
        return names[0] if names else None

    def classify(self, block: Block, node: Any, holder: Path | None) -> tuple[Kind, str]:
        """Return the kind of the block, and the reason why it is not executed."""
        kind, reason = self.recognise(block, node, holder)
        if not block.reason:
            return kind, reason
        if kind in ("output", "file", "message"):
            self.fail(node, f"stale exception '{block.reason}': the block is checked as {kind}")
        return "exception", block.reason

    def recognise(self, block: Block, node: Any, holder: Path | None) -> tuple[Kind, str]:
        """Return the block's kind without an exception; for an unexplained one, what it lacks."""
        if block.origin:
            return "message", ""
        if "output" in node["classes"]:
            return "output", ""
        if not isinstance(node, nodes.literal_block):
            return "unexplained", "only code-block and literalinclude can say what a block is"
        if block.target and holder:
            whole = holder.read_text().rstrip("\n") == block.text.rstrip("\n")
            return ("file", "") if whole else ("excerpt", "")
        if block.name and block.language == "bash":
            return "command", ""
        if block.target:
            return "excerpt", ""
        if block.language == "bash":
            return "unexplained", "a bash block needs a :name: to be executed"
        return (
            "unexplained",
            "nothing says what this block is: give it ':class: output', ':message:' or ':reason:'",
        )

    def check(self, block: Block, node: Any) -> None:
        """Refuse options that do not fit their block."""
        if block.name and block.kind in ("output", "unexplained"):
            self.fail(node, f"the block is named '{block.name}' but is no command: tag it as bash")
        if block.kind == "file" and block.file and Path(block.file).name != block.target:
            self.fail(node, f"the caption says '{block.target}', but the file is '{block.file}'")
        for keyword, needed in (("needs", block.needs), ("needs-images", block.images)):
            for name in needed:
                if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", block.text):
                    self.fail(node, f"stale '{keyword}: {name}': it is not in the block")
        for keyword in ("last", "needs", "images", "captures"):
            if getattr(block, keyword) and block.kind != "command":
                self.fail(node, f"'{keyword}' is an option of a block of kind {block.kind}")
        for placeholder in block.placeholders:
            if placeholder not in block.text:
                self.fail(node, f"stale 'placeholder {placeholder}': it is not in the block")
        commanded = {flavour for flavours in self.commands for flavour in flavours}
        if block.kind == "output" and not commanded.issuperset(block.flavours):
            self.fail(node, "stated output without a command block of its flavour before it")

    def place(self, node: nodes.Node) -> tuple[str, int]:
        """Return the page's file (or the file that it includes) and the line of the node."""
        at: Any = node
        while at is not None and at.line is None:
            at = at.parent
        source = (at.source if at is not None else None) or str(self.source)
        return source, (at.line if at is not None else None) or 1

    def fail(self, node: nodes.Node, message: str) -> NoReturn:
        """Raise GuideError with the node's place."""
        raise GuideError(self.told(node, message))

    def told(self, node: nodes.Node, message: str) -> str:
        """Return the message with the node's place."""
        source, line = self.place(node)
        return f"{self.relative(source)}:{line}: {message}"


@cache
def shown(path: Path, root: Path) -> str:
    """Return the path without the project's folder, if it is in there."""
    path = path.resolve()
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def is_literal(node: nodes.Node) -> bool:
    """Return whether this node is rendered as a literal block."""
    if isinstance(node, nodes.raw):
        return "<pre" in node.astext()
    return isinstance(node, nodes.literal_block | nodes.doctest_block | addnodes.productionlist)


def wrapper(node: Any) -> Any:
    """Return the container of the block and its caption, or the block itself."""
    return node.parent if node.parent.get("literal_block") else node


def caption(node: Any) -> str | None:
    """Return the text of the block's caption."""
    for child in wrapper(node).children:
        if isinstance(child, nodes.caption):
            return child.astext()
    return None


def first_line(holder: Path, text: str, after: int) -> int:
    """Return the line of the file on which the text begins, searched from the line ``after`` on."""
    wanted = [line.strip() for line in text.splitlines()] or [""]
    lines = [line.strip() for line in holder.read_text().splitlines()]
    for whole in (len(wanted), 1):
        for start in range(after, len(lines)):
            if lines[start : start + whole] == wanted[:whole]:
                return start + 1
    return after + 1


def taken(blocks: list[Block]) -> Iterator[str]:
    """Yield the mistake of each block whose name another block has."""
    first: dict[str, Block] = {}
    for block in blocks:
        if block.name and (other := first.setdefault(block.name, block)) is not block:
            yield f"{block.place}: the name '{block.name}' is taken by {other.place}"


def with_ids(blocks: list[Block]) -> list[Block]:
    """Return the blocks, each with a unique id: page and name or file; an output has its command's.

    An inserted block changes no other id, unless both are output of one command.
    """
    counts: dict[str, int] = {}
    commands: dict[str, str] = {}
    result = []
    for block in blocks:
        if block.kind in ("command", "exception") and block.name:
            commands[block.page] = block.name
        of = commands.get(block.page, "") if block.kind == "output" else ""
        name = block.name or block.target or (f"{of}-output" if of else "")
        stem = f"{block.page}-{name or block.kind}".replace("/", "-")
        counts[stem] = counts.get(stem, 0) + 1
        unnumbered = counts[stem] == 1 and name
        result.append(replace(block, id=stem if unnumbered else f"{stem}-{counts[stem]}"))
    return result
