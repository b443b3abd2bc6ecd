"""``.. import-picture:: FILE`` shows which groups of modules import from which.

The file, beside the page, says which modules belong together; the arrows come from the sources.
Below the picture a table says the same in words.  Without grimp, which only the checks'
environment has, a sentence stands in their place.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import import_groups
import layers
from docutils import nodes
from import_groups import Group, Imports
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from tables import Cell, table

from guidewalk.errors import UserError
from parsec_stack.stack import ROOT

if TYPE_CHECKING:
    from sphinx.application import Sphinx

logger = logging.getLogger(__name__)

TITLE = "Which groups of modules import from which"
DESCRIPTION = "Boxes in layers; each arrow leads downwards, to a group that is imported from."
MISSING = "The picture is missing: it is drawn with grimp, which is not installed here."


class Place(nodes.Element, nodes.General):
    """Where the picture goes when HTML is built; other builders show nothing."""

    def __init__(self, file: str = "") -> None:
        super().__init__()
        self.file = file

    def copy(self) -> Place:
        """Return another one for the same picture."""
        return Place(self.file)


class ImportPicture(SphinxDirective):
    """``.. import-picture:: FILE``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return a place for it, on a page that is read again when any module has changed."""
        _, file = self.env.relfn2path(self.arguments[0])
        for path in (Path(file), ROOT / "tasks.py", *sorted((ROOT / "src").rglob("*.py"))):
            self.env.note_dependency(str(path))
        place = Place(file)
        self.set_source_info(place)
        return [place]


def show(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Draw the pictures of the page."""
    for place in list(doctree.findall(Place)):
        shown: list[nodes.Node] = []
        if app.builder.format:
            try:
                shown = picture(import_groups.read(Path(place.file)))
            except ImportError:
                shown = [nodes.paragraph("", MISSING)]
            except UserError as error:
                logger.warning("%s", error, location=place)
        place.replace_self(shown)


def picture(groups: list[Group]) -> list[nodes.Node]:
    """Return the picture, and the table with all that it shows."""
    imports = import_groups.imports(groups, ROOT)
    svg = layers.Picture(groups, imports).svg(TITLE, DESCRIPTION)
    frame = f'<div class="layers-frame" role="group" tabindex="0" aria-label="{TITLE}">{svg}</div>'
    return [nodes.raw("", frame, format="html"), in_words(groups, imports)]


def in_words(groups: list[Group], imports: Imports) -> nodes.table:
    """Return a row for each group: what it does, and all groups that it imports from."""
    rows: list[list[Cell]] = [["Group", "What it does", "Imports from"]]
    for group in groups:
        named = [other.name for other in groups if other.name in imports[group.name]]
        rows.append([group.name, group.does, ", ".join(named) or "none"])
    made = table(rows, (15, 50, 35))
    made.insert(0, nodes.title("", "The same in words"))
    made["ids"].append("in-words")
    return made


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_node(Place)
    app.add_directive("import-picture", ImportPicture)
    app.connect("doctree-resolved", show)
    return {"parallel_read_safe": True}
