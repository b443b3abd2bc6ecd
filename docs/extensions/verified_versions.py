"""``.. verified-versions::`` shows with which versions the guide was followed, and when.

It is the report of ``nox -s docs-matrix``. A row belongs to the guide that was followed: one that
was changed since is told so, and a version that is not in the report is not verified.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective
from tables import table

from parsec_stack import checkout, versions

if TYPE_CHECKING:
    from sphinx.application import Sphinx

REPORT = Path("build") / "docs-matrix" / "report.json"
NOT_VERIFIED = "not verified"

Row = dict[str, Any]


class VerifiedVersions(SphinxDirective):
    """A table of the versions and one of the upgrades."""

    def run(self) -> list[nodes.Node]:
        """Build the tables from the report."""
        root = Path(self.env.srcdir).parent
        self.env.note_dependency(str(root / REPORT))
        # What was verified changes with other files than this page's.
        self.env.note_reread()
        report = read(root / REPORT)
        return tables(versions.declared(root)["matrix"], report, checkout.fingerprint(root))


def read(path: Path) -> Row:
    """What the report says; empty if there is none that can be read."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def tables(names: list[str], report: Row, fingerprint: str) -> list[nodes.Node]:
    """The versions, then the upgrades from each to the next."""
    tried = {row["version"]: row for row in report.get("versions", [])}
    upgraded = {(row["from"], row["to"]): row for row in report.get("upgrades", [])}
    pairs = sorted(upgraded, key=lambda pair: versions.order(pair[0]))
    parts: list[nodes.Node] = [
        table(
            [
                ("Version", "Result", "Python", "Blocks"),
                *((name, *of_version(tried.get(name), fingerprint)) for name in names),
            ]
        )
    ]
    if not pairs:
        return [*parts, nodes.paragraph("", "No upgrade has been tried yet.")]
    heading = ("Upgrade", "Result", "Migrations", "The older server on the newer database")
    rows = [(" to ".join(pair), *of_upgrade(upgraded[pair], fingerprint)) for pair in pairs]
    return [*parts, table([heading, *rows])]


def of_version(row: Row | None, fingerprint: str) -> tuple[str, ...]:
    """Result, Python and blocks of one version."""
    if row is None:
        return NOT_VERIFIED, "", ""
    counts = row.get("blocks", {})
    done = ", ".join(f"{number} {kind}" for kind, number in counts.items())
    return result(row, fingerprint), row.get("python", ""), done


def of_upgrade(row: Row, fingerprint: str) -> tuple[str, ...]:
    """Result, number of migrations and what became of the older server."""
    return result(row, fingerprint), str(row.get("migrations", "")), row.get("older", "")


def result(row: Row, fingerprint: str) -> str:
    """What was seen and when, in one line."""
    outcome, day = row["outcome"], row["started"].partition("T")[0]
    if outcome == "not run":
        return f"{NOT_VERIFIED}: {row['reason']}"
    if outcome == "failed":
        return f"failed on {day}: {row['reason'].partition(chr(10))[0]}"
    if row["fingerprint"] != fingerprint:
        return f"{NOT_VERIFIED} since the guide was changed; verified before on {day}"
    return f"{outcome} on {day}"


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("verified-versions", VerifiedVersions)
    return {"parallel_read_safe": True}
