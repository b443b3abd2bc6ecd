"""``:fact:`NAME``` shows a count or a version that is derived, never typed.

``.. service-table:: FLAVOUR`` lists the services with what runs them and where they listen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective, SphinxRole
from tables import Cell, table

from guidewalk.directives import SUBJECT
from guidewalk.errors import UserError
from guidewalk.prose import GENERATED
from parsec_stack import composition, facts
from parsec_stack.services import SERVICES, FlavourName, flavour_named, usual_ports
from parsec_stack.stack import ARTIFACTS, ROOT

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

# What an image runs, in the words of its makers.
PROGRAMS = {
    "postgres": "PostgreSQL",
    "chrislusf/seaweedfs": "SeaweedFS",
    "axllent/mailpit": "Mailpit",
    "ghcr.io/scille/parsec-cloud/parsec-server": "Parsec server",
    "nginx": "nginx",
}
# What speaks at a port, if not the service's own protocol, and what to call it.
SCHEMES = {"S3": "https", "S3_CONSOLE": "https", "INBOX": "https", "SERVER": "https",
           "PROXY": "https", "PROXY_HTTP": "http"}  # fmt: skip
ROLES = {"S3_CONSOLE": "its console at ", "INBOX": "its inbox at ", "PROXY_HTTP": "plain HTTP at "}


def depend_on_artifacts(env: BuildEnvironment) -> None:
    """Have the page read again when anything changes that facts are derived from."""
    for path in (ROOT / "pyproject.toml", *sorted(ARTIFACTS.iterdir())):
        env.note_dependency(str(path))


class Fact(SphinxRole):
    """One fact, as text."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Derive it."""
        depend_on_artifacts(self.env)
        try:
            told = facts.tell(self.text)
        except UserError as error:
            return [], [self.inliner.reporter.error(str(error), line=self.lineno)]
        except ImportError:  # where the server has no wheels, the guide is read for its commands
            told = "(unknown where this was built)"
        return [nodes.inline("", told, classes=[GENERATED])], []


class ServiceTable(SphinxDirective):
    """The services of one flavour."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Derive the rows from the compose file and the packages."""
        depend_on_artifacts(self.env)
        flavour = flavour_named(self.arguments[0])
        content = composition.parse((ARTIFACTS / composition.COMPOSE_FILE).read_text())
        images, ports = composition.images(content), composition.ports(content)
        second = "Package" if flavour == "native" else "Program"
        rows: list[list[Cell]] = [["Service", second, "Listens on this machine"]]
        for service, (image, _) in images.items():
            package = nodes.literal("", SERVICES[service].package, classes=[GENERATED])
            ran = package if flavour == "native" else nodes.Text(PROGRAMS[image])
            where = addresses(ports[service], flavour)
            rows.append([[nodes.literal("", service)], [ran], where])
        return [table(rows, (24, 30, 46), content=self.typed)]

    def typed(self, cell: Sequence[nodes.Node]) -> nodes.paragraph:
        """A cell whose text counts as typed where the directive is, so that it is checked too."""
        paragraph = nodes.paragraph(self.block_text, "", *cell)
        self.set_source_info(paragraph)
        return paragraph


def addresses(ports: list[composition.PublishedPort], flavour: FlavourName) -> list[nodes.Node]:
    """Where a service listens, as a sentence without its end."""
    parts: list[nodes.Node] = []
    # What has no role of its own comes first.
    for port in sorted(ports, key=lambda port: port.name in ROLES):
        number = usual_ports(flavour)[port.name]
        parts.append(nodes.Text((", " if parts else "") + ROLES.get(port.name, "")))
        scheme = SCHEMES.get(port.name)
        if scheme:
            address = f"{scheme}://{'127.0.0.1' if scheme == 'http' else 'localhost'}:{number}"
            parts.append(nodes.reference("", address, refuri=address, **{SUBJECT: port.name}))
        else:
            parts.append(nodes.literal("", f"127.0.0.1:{number}", **{SUBJECT: port.name}))
    if flavour == "docker" and any(port.public for port in ports):
        parts.append(nodes.Text(", for other machines too"))
    return parts


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the role and the directive."""
    app.add_role("fact", Fact())
    app.add_directive("service-table", ServiceTable)
    return {"parallel_read_safe": True}
