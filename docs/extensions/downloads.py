"""Let readers of the HTML guide download its files: each at its block, and all in one archive.

``:site-file:`TEXT <NAME>``` links a file of that folder. The place in a command that stands for the
guide's address becomes ``html_baseurl``; without that setting the browser fills it in.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx.util.docutils import ReferenceRole
from words import _, register

from guidewalk.doctree import caption, wrapper
from parsec_stack import downloads
from parsec_stack.stack import ARTIFACTS

if TYPE_CHECKING:
    from sphinx.application import Sphinx

BUILDERS = ("html", "dirhtml", "singlehtml")
SITE_FILE = "site_file"


class SiteFile(ReferenceRole):
    """A text that links a file that the site offers, where there is a site."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Leave the text; the link depends on the builder."""
        return [nodes.inline("", self.title, **{SITE_FILE: self.target})], []


def offer(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Put a link at each file that the page shows whole, and the guide's address into commands."""
    if app.builder.name not in BUILDERS:
        return
    # One page of all stands where the first one does.
    depth = 0 if app.builder.name == "singlehtml" else app.builder.get_target_uri(page).count("/")
    folder = f"{'../' * depth}{downloads.FOLDER}"
    for text in list(doctree.findall(nodes.inline)):
        if name := text.get(SITE_FILE):
            address = f"{folder}/{name}"
            text.replace_self(nodes.reference("", text.astext(), refuri=address, internal=True))
    block: Any
    for block in list(doctree.findall(nodes.literal_block)):
        name = caption(block)
        if name and is_whole(block, name):
            find_caption(block).append(nodes.raw("", link_to(folder, name), format="html"))
        elif app.config.html_baseurl and downloads.ADDRESS in block.astext():
            address = app.config.html_baseurl.rstrip("/")
            text = block.astext().replace(downloads.ADDRESS, address)
            block.rawsource = text
            block.children = [nodes.Text(text)]


def is_whole(block: nodes.literal_block, name: str) -> bool:
    """Does the block show the whole artifact of this name?"""
    path = ARTIFACTS / name
    return path.is_file() and path.read_text().rstrip("\n") == block.astext().rstrip("\n")


def find_caption(block: nodes.literal_block) -> Any:
    """The node of the block's caption."""
    return next(wrapper(block).findall(nodes.caption))


def link_to(folder: str, name: str) -> str:
    """A link that saves the file."""
    said, label = escape(_("Download")), escape(_("Download {name}").format(name=name))
    return (
        f'<a class="file-download" href="{folder}/{escape(name)}" download aria-label="{label}">'
        f"{said}</a>"
    )


def finish(app: Sphinx, exception: Exception | None) -> None:
    """Put the files into the site."""
    if exception is None and app.builder.name in BUILDERS:
        downloads.write(downloads.contents(ARTIFACTS), Path(app.outdir))


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect it."""
    register(app)
    app.add_role("site-file", SiteFile())
    app.add_js_file("address.js", loading_method="defer")
    app.connect("doctree-resolved", offer)
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
