"""Show at each block of the HTML guide what docs-test saw when it last ran that very block.

The evidence is docs-test's report. It belongs to a block's content: a block that was changed
since has none, and says so. ``.. evidence-summary::`` sums the report up on a page of its own.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

if TYPE_CHECKING:
    from sphinx.application import Sphinx

REPORT = Path("build") / "docs-test" / "report.json"
MUTANTS = Path("build") / "docs-mutants" / "report.json"
WORDS = {
    "executed": "executed",
    "checked": "checked",
    "excepted": "not executed",
    "failed": "failed",
    "unexplained": "unexplained",
}
LONGEST_OUTPUT = 4000

Row = dict[str, Any]


def read_json(path: Path) -> dict[str, Any]:
    """What a report says; empty if it was never written or cannot be read."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def root(app: Sphinx) -> Path:
    """The folder above the guide's."""
    return Path(app.srcdir).parent


def rows_by_content(report: dict[str, Any]) -> dict[tuple[str, str], list[Row]]:
    """The report's rows, by page and content."""
    rows: dict[tuple[str, str], list[Row]] = {}
    for row in report.get("blocks", []):
        rows.setdefault((row["page"], row.get("digest", "")), []).append(row)
    return rows


def add_badges(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Put the evidence behind every literal block of an HTML page."""
    if app.builder.format != "html":
        return
    report = read_json(root(app) / REPORT)
    known = rows_by_content(report)
    for block in list(doctree.findall(nodes.literal_block)):
        digest = hashlib.sha256(block.astext().encode()).hexdigest()
        captioned = isinstance(block.parent, nodes.container) and block.parent.get("literal_block")
        anchor = block.parent if captioned else block
        place = anchor.parent.index(anchor)
        anchor.parent.insert(place + 1, badge(known.get((page, digest), []), report))


def badge(rows: list[Row], report: dict[str, Any]) -> nodes.raw:
    """The evidence of one block as a folded note, readable without JavaScript."""
    if not rows:
        return html('<p class="evidence evidence-none">not verified</p>')
    outcomes = {row["outcome"] for row in rows}
    state = "failed" if outcomes & {"failed", "unexplained"} else sorted(outcomes)[-1]
    said = "; ".join(f"{escape(row['flavour'])}: {WORDS[row['outcome']]}" for row in rows)
    body = "".join(detail(row) for row in rows) + versions_of(report)
    return html(
        f'<details class="evidence evidence-{state}"><summary>{said}</summary>{body}</details>'
    )


def detail(row: Row) -> str:
    """What was seen in one flavour."""
    facts = f"{row['flavour']}: {WORDS[row['outcome']]} in {row['seconds']:.2f} s"
    if row.get("reason"):
        facts += f" ({row['reason']})"
    text = f"<p>{escape(facts)}</p>"
    if output := (row.get("output") or "").strip():
        shown = output if len(output) <= LONGEST_OUTPUT else f"{output[:LONGEST_OUTPUT]}\n..."
        label = escape(f"output, {row['flavour']}")
        text += (
            f'<pre class="evidence-output" tabindex="0" aria-label="{label}">{escape(shown)}</pre>'
        )
    return text


def versions_of(report: dict[str, Any]) -> str:
    """With what and when the report was made."""
    versions = ", ".join(f"{name} {value}" for name, value in report.get("versions", {}).items())
    return f"<p>{escape(str(report.get('started', '')))} with {escape(versions)}</p>"


def escape(text: str) -> str:
    """Text for HTML."""
    from html import escape as html_escape

    return html_escape(text)


def html(text: str) -> nodes.raw:
    """A node that only the HTML builder shows."""
    return nodes.raw("", text, format="html")


class EvidenceSummary(SphinxDirective):
    """Coverage, excepted blocks with their reasons, and the mutation score."""

    def run(self) -> list[nodes.Node]:
        """Build the lists from the reports, or say that there are none."""
        base = Path(self.env.srcdir).parent
        for path in (REPORT, MUTANTS):
            self.env.note_dependency(str(base / path))
        report, mutants = read_json(base / REPORT), read_json(base / MUTANTS)
        return [*coverage(report), *score(mutants)]


def coverage(report: dict[str, Any]) -> list[nodes.Node]:
    """How many blocks were executed, checked and excepted, in which flavour."""
    if not report:
        return [paragraph("This guide was built without evidence: docs-test has not run.")]
    counts = Counter((row["flavour"], row["outcome"]) for row in report["blocks"])
    lines = [
        f"{flavour}: {number} {WORDS[outcome]}"
        for (flavour, outcome), number in sorted(counts.items())
    ]
    excepted = {
        f"{row['page']}, {row['name'] or row['file'] or 'block'}: {row['reason']}"
        for row in report["blocks"]
        if row["outcome"] == "excepted"
    }
    parts: list[nodes.Node] = [bullets(lines)]
    if excepted:
        parts += [paragraph("Blocks that were not executed, and why:"), bullets(sorted(excepted))]
    return parts


def score(mutants: dict[str, Any]) -> list[nodes.Node]:
    """How many faults planted into the guide its test would notice."""
    if not mutants:
        return [paragraph("No mutants of this guide have been tested yet.")]
    killed, counted = mutants["killed"], mutants["killed"] + mutants["survived"]
    text = f"Of {counted} faults planted into the guide one at a time, its test noticed {killed}."
    survivors = [str(mutant["title"]) for mutant in mutants.get("survivors", [])]
    return [paragraph(text), *([bullets(survivors)] if survivors else [])]


def paragraph(text: str) -> nodes.paragraph:
    """One paragraph of text."""
    return nodes.paragraph("", text)


def bullets(lines: list[str]) -> nodes.bullet_list:
    """A list of one-line items."""
    return nodes.bullet_list("", *(nodes.list_item("", paragraph(line)) for line in lines))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the badges and the summary."""
    app.connect("doctree-resolved", add_badges)
    app.add_directive("evidence-summary", EvidenceSummary)
    return {"parallel_read_safe": True}
