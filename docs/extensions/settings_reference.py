"""``.. settings-reference::`` lists every setting of the installed Parsec server.

The list comes from the server's own option table when the guide is built, so that it cannot
name a setting that the server does not read. Beside it stand two files of ours:
``option-releases.json``, the first of the tested releases that has each option, and the notes
below, each on a help text that was found to be wrong or incomplete by trying the server.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from parsec_stack.literals import GENERATED
from parsec_stack.options import Option, server_options

if TYPE_CHECKING:
    from sphinx.application import Sphinx

OLDEST = "3.5.2"

NOTES = {
    "--db-min-connections": "Read from the environment, but without effect there: 1 is used. "
    "Only the command-line option works.",
    "--db-max-connections": "Read from the environment, but without effect there: 7 is used. "
    "Only the command-line option works.",
    "--email-use-ssl": "This is implicit TLS, usually on port 465; the help text has it the "
    "other way round. It wins over STARTTLS when both are set.",
    "--email-use-tls": "This is STARTTLS, usually on port 587; the help text has it the other "
    "way round.",
    "--email-host-user": "Missing in the output of the server's own help.",
    "--template-dir": "Missing in the output of the server's own help.",
    "--server-addr": "The default port is 443, or 80 with no_ssl=true; never 6777.",
    "--ssl-ciphers": "The default leaves only CBC suites for TLS 1.2.",
    "--log-file": "The file is emptied at each start.",
    "--log-level": "WARNING still lets the HTTP server's informational lines through.",
    "--proxy-trusted-addresses": "A host name never matches, and gives no error.",
}


class SettingsReference(SphinxDirective):
    """A definition list of all options of ``parsec run``."""

    def run(self) -> list[nodes.Node]:
        """Build the list from the option table."""
        docs = Path(self.env.srcdir)
        for path in (docs / "option-releases.json", *env_files(docs)):
            self.env.note_dependency(str(path))
        releases = json.loads((docs / "option-releases.json").read_text())
        places = set_in(docs)
        items = [
            item(option, releases.get(option.flag, ""), places.get(option.variable or "", []))
            for option in server_options()
        ]
        return [nodes.definition_list("", *items, classes=["settings", GENERATED])]


def env_files(docs: Path) -> list[Path]:
    """The env files that the guide shows."""
    return sorted((docs.parent / "deploy").glob("*.env"))


def set_in(docs: Path) -> dict[str, list[str]]:
    """From each variable to the env files that set it."""
    places: dict[str, list[str]] = {
        "PARSEC_ADMINISTRATION_TOKEN": ["parsec-admin-token.env"],
        "PARSEC_FAKE_ACCOUNT_PASSWORD_ALGORITHM_SEED": ["parsec-admin-token.env"],
    }
    for path in env_files(docs):
        for line in path.read_text().splitlines():
            name, equals, _ = line.partition("=")
            if equals and not line.startswith("#"):
                places.setdefault(name, []).append(path.name)
    return places


def item(option: Option, release: str, files: list[str]) -> nodes.definition_list_item:
    """One option: its names, the facts of it, its help and our note."""
    names = [nodes.literal("", name) for name in (option.variable, option.flag) if name]
    term = nodes.term("", "", *separated(names, ", "))
    facts = nodes.paragraph("", "", *separated(list(described(option, release, files)), "; "))
    body: list[nodes.Node] = [facts]
    if option.help:
        body.append(nodes.paragraph("", option.help))
    if note := NOTES.get(option.flag):
        body.append(nodes.note("", nodes.paragraph("", note)))
    return nodes.definition_list_item("", term, nodes.definition("", *body))


def described(option: Option, release: str, files: list[str]) -> Any:
    """Default, release and place of the option, each as one inline node."""
    if option.required:
        yield nodes.inline("", "required")
    elif option.default:
        yield nodes.inline("", "default ", nodes.literal("", option.default))
    else:
        yield nodes.inline("", "no default")
    if release and release != OLDEST:
        yield nodes.inline("", f"since {release}")
    for name in files:
        yield nodes.inline("", "set in ", nodes.literal("", name))


def separated(parts: list[Any], separator: str) -> list[nodes.Node]:
    """The nodes with the separator's text between them."""
    joined: list[nodes.Node] = []
    for part in parts:
        joined += [nodes.Text(separator)] * bool(joined) + [part]
    return joined


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("settings-reference", SettingsReference)
    return {"parallel_read_safe": True}
