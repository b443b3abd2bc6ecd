"""Show at each block of the HTML guide what docs-test saw when it last tried that very block.

The records come from ``guidewalk.evidence``; here they are compared with the blocks
as they are now, and shown. ``.. evidence:: PART`` sums up a part of what is known: one of the
functions of ``summaries.PARTS``.
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import badges
import summaries
from docutils import nodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from words import register

from guidewalk import cache
from guidewalk.config import config_of
from guidewalk.doctree import is_literal, wrapper
from guidewalk.errors import UserError
from guidewalk.guide import Guide

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

logger = logging.getLogger(__name__)


class Placeholder(nodes.Element, nodes.General):
    """Where a summary goes once all is known."""

    def __init__(self, part: str = "") -> None:
        super().__init__()
        self.part = part

    def copy(self) -> Placeholder:
        """Another one for the same summary."""
        return Placeholder(self.part)


class Summary(SphinxDirective):
    """``.. evidence:: PART``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Leave a place for it."""
        (part,) = self.arguments
        if part not in summaries.PARTS:
            raise self.error(f"no part '{part}': choose of {', '.join(summaries.PARTS)}")
        return [Placeholder(part)]


class Evidence:
    """The guide and its evidence during one build."""

    def __init__(self) -> None:
        self.view: badges.View | None = None

    def load(self, app: Sphinx) -> None:
        """Read the guide and what is known of it, for builders that write something to read."""
        if not app.builder.format:
            return
        docs = Path(app.srcdir)
        try:
            self.view = badges.View(read_guide(docs), docs.parent / "build", app.config.release)
        except UserError as error:
            logger.warning("the evidence is not shown: %s", error)

    def outdated(self, app: Sphinx, env: BuildEnvironment, *changes: object) -> set[str]:
        """All pages, if the evidence or what it belongs to has changed since the last build."""
        stamp = self.view.stamp if self.view else ""
        if getattr(env, "evidence_stamp", "") == stamp:
            return set()
        env.evidence_stamp = stamp  # type: ignore[attr-defined]
        return set(env.found_docs)

    def show(self, app: Sphinx, doctree: nodes.document, page: str) -> None:
        """Put the evidence below every block of the page, and fill its summaries."""
        places = list(doctree.findall(Placeholder))
        if self.view:
            titles = app.env.titles.items()
            self.view.titles = {name: title.astext() for name, title in titles}
            self.view.address_of = partial(address, app, page)
            excludes = config_of(Path(app.srcdir).parent).excludes
            for name, literals in by_page(doctree, page).items():
                if app.builder.format == "html" and not excludes(name):
                    mark(self.view, literals, name)
        for place in places:
            place.replace_self(summaries.PARTS[place.part](self.view) if self.view else [])


def address(app: Sphinx, page: str, other: str) -> str:
    """Where the other page is, seen from this one."""
    return app.builder.get_relative_uri(page, other)


def mark(view: badges.View, literals: list[Any], page: str) -> None:
    """Put the evidence below these blocks, which are all of the page."""
    for node, block in zip(literals, view.on_page(page), strict=True):
        if block.kind == "message":
            node["classes"].append("message")
        below(wrapper(node), nodes.raw("", view.badge(block), format="html"))


def by_page(doctree: nodes.document, page: str) -> dict[str, list[Any]]:
    """The literal blocks by the page that they come from: one document may hold all pages."""
    found: dict[str, list[Any]] = {}
    node: Any
    for node in doctree.findall(is_literal):
        outer = node
        # Sphinx notes at the sections of an assembled document where they come from.
        while outer and "docname" not in outer:
            outer = outer.parent
        found.setdefault(outer["docname"] if outer else page, []).append(node)
    return found


def below(node: Any, new: nodes.Node) -> None:
    """Put the new node after the other."""
    node.parent.insert(node.parent.index(node) + 1, new)


def read_guide(docs: Path) -> Guide:
    """The guide, read in a process of its own: Sphinx cannot be run twice in one."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(cache.load, docs).result()


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the badges and the summaries."""
    evidence = Evidence()
    register(app)
    app.add_node(Placeholder)
    app.add_directive("evidence", Summary)
    app.connect("builder-inited", evidence.load)
    app.connect("env-get-outdated", evidence.outdated)
    app.connect("doctree-resolved", evidence.show)
    return {"parallel_read_safe": True}
