"""``.. settings-reference::`` lists every setting of the installed Parsec server.

The list comes from the server's own option table when the guide is built, so that it cannot
name a setting that the server does not read. Beside it stand two files of ours:
``option-releases.json``, the first of the tested releases that has each option, and
``setting_notes.py``, each note on a help text that was found to be wrong or incomplete.

In the HTML every literal that names a setting leads to its entry.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx import addnodes
from sphinx.util.docutils import SphinxDirective
from tables import Cell, table

from guidewalk.prose import GENERATED
from parsec_stack.options import Option, server_options
from parsec_stack.setting_notes import NOTES

if TYPE_CHECKING:
    from sphinx.application import Sphinx

RELEASES = "option-releases.json"
NEW_RELEASES = "nox -s option-releases -- --write"
# Groups of settings by what their options begin with; the first that fits counts.
GROUPS = {
    "Required": (),
    "Database": ("--db", "--skip-database", "--maximum-database", "--pause-before"),
    "Address and TLS": ("--host", "--port", "--ssl", "--proxy", "--sse", "--cors", "--with-client"),
    "Mail": ("--email", "--validation-email", "--template"),
    "Organizations": ("--organization", "--spontaneous"),
    "Accounts and sign-in": ("--account", "--openbao", "--trusted-x509", "--scws", "--advisory"),
    "Logs and error reports": ("--log", "--sentry", "--debug"),
    "Further": ("--",),
}
PARTS = re.compile(r"`([^`]+)`")


class SettingsReference(SphinxDirective):
    """One section for each group of the options of ``parsec run``."""

    def run(self) -> list[nodes.Node]:
        """Build the sections from the option table."""
        docs = Path(self.env.srcdir)
        for path in (docs / RELEASES, *artifacts(docs)):
            self.env.note_dependency(str(path))
        try:
            options = server_options()
        except ImportError:  # where the server has no wheels, the guide is read for its commands
            return [nodes.paragraph("", "The Parsec server is not installed where this was built.")]
        releases = json.loads((docs / RELEASES).read_text())
        self.refuse_stale(options, releases)
        places = set_in(docs)
        return [overview(options, places), *self.sections(options, releases, places)]

    def refuse_stale(self, options: tuple[Option, ...], releases: dict[str, str]) -> None:
        """Fail on notes about options that do not exist, and on options of unknown releases."""
        flags = [option.flag for option in options]
        if stale := sorted(NOTES.keys() - set(flags)):
            raise self.error(f"the server has no {', '.join(stale)}: remove from setting_notes.py")
        if unknown := [flag for flag in flags if flag not in releases]:
            raise self.error(f"{RELEASES} has no {', '.join(unknown)}: run {NEW_RELEASES}")

    def sections(
        self, options: tuple[Option, ...], releases: dict[str, str], places: dict[str, list[str]]
    ) -> Iterator[nodes.section]:
        """The groups that have any options, each as a section."""
        for title in GROUPS:
            members = [option for option in options if group_of(option) == title]
            if members:
                name = nodes.make_id(f"settings {title}")
                section = nodes.section("", nodes.title("", title), ids=[name], classes=[GENERATED])
                for option in members:
                    files = places.get(option.variable or "", [])
                    section += self.entry(option, releases[option.flag], files)
                yield section

    def entry(self, option: Option, release: str, files: list[str]) -> addnodes.desc:
        """One setting: its name, the facts of it, its help and our note."""
        name = option.variable or option.flag
        anchor = anchor_of(option)
        signature = addnodes.desc_signature("", "", addnodes.desc_name("", name), ids=[anchor])
        self.env.domains.standard_domain.note_object(
            "envvar", name, anchor, location=self.get_location()
        )
        facts = nodes.paragraph("", "", *separated(list(described(option, release, files)), " · "))
        content = addnodes.desc_content("", facts, *paragraphs(option.help))
        content += [nodes.note("", nodes.paragraph("", note)) for note in notes_on(option)]
        return addnodes.desc("", signature, content, domain="std", objtype="envvar", noindex=False)


def anchor_of(option: Option) -> str:
    """The id of the setting's entry."""
    return f"setting-{nodes.make_id(option.variable or option.flag)}"


def overview(options: tuple[Option, ...], places: dict[str, list[str]]) -> nodes.table:
    """All settings in one table, each with a link to its entry."""
    rows: list[list[Cell]] = [["Setting", "Default", "Set here in"]]
    for title in GROUPS:
        for option in (one for one in options if group_of(one) == title):
            name = nodes.literal("", option.variable or option.flag)
            link = nodes.reference("", "", name, refid=anchor_of(option), internal=True)
            files = [nodes.literal("", file) for file in places.get(option.variable or "", [])]
            default: Cell = "required" if option.required else ""
            if option.default:
                default = [nodes.literal("", option.default)]
            rows.append([[link], default, separated(files, ", ")])
    return table(rows, (56, 22, 22), classes=(GENERATED, "settings"))


def group_of(option: Option) -> str:
    """The title of the group to which the option belongs."""
    if option.required:
        return "Required"
    return next(title for title, begins in GROUPS.items() if option.flag.startswith(begins))


def notes_on(option: Option) -> Iterator[str]:
    """What is to be said against the help of the option."""
    if option.flag in NOTES:
        yield NOTES[option.flag]
    if option.variable and not option.shown:
        yield "The server's own help does not name this variable."


def artifacts(docs: Path) -> list[Path]:
    """The env files that the guide shows, and the scripts that generate others."""
    deploy = docs.parent / "deploy"
    return sorted([*deploy.glob("*.env"), *deploy.glob("gen-*.sh")])


def set_in(docs: Path) -> dict[str, list[str]]:
    """From each variable to the env files that set it."""
    places: dict[str, list[str]] = {}
    for path in artifacts(docs):
        text = path.read_text()
        if path.suffix == ".sh":
            file = re.search(r"^file=(\S+)$", text, re.MULTILINE)
            names = re.search(r"^names=\((.+)\)$", text, re.MULTILINE)
            pairs = [(name, file[1]) for name in names[1].split()] if file and names else []
        else:
            pairs = [(name, path.name) for name in re.findall(r"^(\w+)=", text, re.MULTILINE)]
        for name, place in pairs:
            places.setdefault(name, []).append(place)
    return places


def described(option: Option, release: str, files: list[str]) -> Iterator[nodes.inline]:
    """Option, values, default, release and place, each as one inline node."""
    if option.variable:
        yield nodes.inline("", "", nodes.literal("", option.flag))
    if option.required:
        yield nodes.inline("", "", nodes.strong("", "required"))
    if option.kind:
        yield nodes.inline("", option.kind)
    if option.default:
        yield nodes.inline("", "default ", nodes.literal("", option.default))
    yield nodes.inline("", f"since {release}")
    for name in files:
        yield nodes.inline("", "set in ", nodes.literal("", name))


def separated(parts: list[Any], separator: str) -> list[nodes.Node]:
    """The nodes with the separator's text between them."""
    joined: list[nodes.Node] = []
    for part in parts:
        joined += [nodes.Text(separator)] * bool(joined) + [part]
    return joined


def paragraphs(text: str) -> Iterator[nodes.Element]:
    """The server's help text, with its paragraphs, lists and literals."""
    # A line with a backspace asks click to keep the lines that follow as they are.
    for part in re.split(r"\n\s*\n|\n?\x08\n?", text):
        plain, *items = re.split(r"^\s*-\s*", part, flags=re.MULTILINE)
        if plain.strip():
            yield nodes.paragraph("", "", *inline(plain))
        if items:
            lines = (nodes.list_item("", nodes.paragraph("", "", *inline(one))) for one in items)
            yield nodes.bullet_list("", *lines)


def inline(text: str) -> Iterator[nodes.Node]:
    """One paragraph's text, with literals where it has backquotes."""
    for number, part in enumerate(PARTS.split(" ".join(text.split()))):
        yield nodes.literal("", part) if number % 2 else nodes.Text(part)


def link_settings(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Let every literal of an HTML page that names a setting lead to its entry."""
    if app.builder.format != "html":
        return
    known = app.env.domains.standard_domain.objects
    for literal in list(doctree.findall(nodes.literal)):
        name = literal.astext().partition("=")[0]
        target, anchor = known.get(("envvar", name), ("", ""))
        if target in ("", page) or isinstance(literal.parent, nodes.reference):
            continue
        address = f"{app.builder.get_relative_uri(page, target)}#{anchor}"
        literal.replace_self(nodes.reference("", "", literal.deepcopy(), refuri=address))


def add_filter(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Give the page with the table the script that filters it; the table works without as well."""
    tables = doctree.findall(nodes.table) if doctree else ()
    if any("settings" in one["classes"] for one in tables):
        app.add_js_file("filter.js", loading_method="defer")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive and the links."""
    app.add_directive("settings-reference", SettingsReference)
    app.connect("doctree-resolved", link_settings)
    app.connect("html-page-context", add_filter)
    return {"parallel_read_safe": True}
