"""Lead a reader from page to page of one way: "next" and "previous" skip pages of another flavour.

A page is of a flavour if it begins with the field ``:flavour: NAME``.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx

# The places in what Sphinx knows of a page's neighbours: parent, previous, next.
NEIGHBOURS = {"prev": 1, "next": 2}


def neighbour(app: Sphinx, page: str, key: str) -> str | None:
    """Return the first page in this direction that a reader of this page's way meets."""
    own = flavour_of(app, page)
    # HTML builders have them.
    relations: dict[str, list[str | None]] = getattr(app.builder, "relations", {})
    while (name := relations.get(page, [None] * 3)[NEIGHBOURS[key]]) is not None:
        if not own or flavour_of(app, name) in ("", own):
            return name
        page = name
    return None


def flavour_of(app: Sphinx, page: str) -> str:
    """Return the flavour of a page, empty for a page of every flavour."""
    return str(app.env.metadata.get(page, {}).get("flavour", ""))


def lead(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Let the page's neighbours be those of its way."""
    for key in NEIGHBOURS:
        if not context.get(key):
            continue
        name = neighbour(app, page, key)
        context[key] = name and {
            "link": app.builder.get_relative_uri(page, name),
            "title": escape(app.env.titles[name].astext()),
        }


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect it."""
    app.connect("html-page-context", lead)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
