"""Say above each block that nobody types what it is: what a command prints, or a program's message.

The words are text of the page, for readers who do not see how the block looks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from docutils import nodes

from guidewalk.directives import MEANING
from guidewalk.prose import GENERATED

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def label(block: Any) -> str:
    """Return the words above the block; empty for what a reader types or writes."""
    if "output" in block["classes"]:
        return "Output"
    origin = block.get(MEANING, {}).get("origin")
    return f"Message of {origin}" if origin else ""


def put_labels(app: Sphinx, tree: nodes.document, page: str) -> None:
    """Put the label before each block that has one."""
    for block in list(tree.findall(nodes.literal_block)):
        if words := label(block):
            above = nodes.paragraph("", words, classes=[GENERATED, "block-label"])
            outer: Any = block.parent if block.parent.get("literal_block") else block
            outer.parent.insert(outer.parent.index(outer), above)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect it."""
    app.connect("doctree-resolved", put_labels)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
