"""Fold the long files of the HTML guide: the paragraph before says what matters in them."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx.util import logging
from words import _, register

from guidewalk.doctree import caption, wrapper

if TYPE_CHECKING:
    from sphinx.application import Sphinx

logger = logging.getLogger(__name__)
# Those whose readers can unfold: books are printed.
BUILDERS = ("html", "dirhtml", "singlehtml")
# More lines than these are folded.
SHORT = 60


def fold(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Fold each long file, which must have its summary before it."""
    for block in list(doctree.findall(nodes.literal_block)):
        lines = len(block.astext().splitlines())
        if not caption(block) or lines <= SHORT:
            continue
        if not isinstance(before(wrapper(block)), nodes.paragraph):
            logger.warning(
                "%s has %d lines: say in a paragraph before it what matters in it",
                caption(block), lines, location=block, type="guide", subtype="summary",
            )  # fmt: skip
        if app.builder.name in BUILDERS:
            said = escape(_("Show all {number} lines").format(number=lines))
            start = f'<details class="folded-file"><summary>{said}</summary>'
            place = block.parent.index(block)
            block.parent.insert(place + 1, nodes.raw("", "</details>", format="html"))
            block.parent.insert(place, nodes.raw("", start, format="html"))


def before(node: nodes.Element) -> nodes.Node | None:
    """What readers see before the node, if anything."""
    place = node.parent.index(node)
    seen = (one for one in reversed(node.parent[:place]) if not isinstance(one, nodes.Invisible))
    return next(seen, None)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect it."""
    register(app)
    app.connect("doctree-resolved", fold)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
