"""What is known of the whole guide: coverage, exceptions, mutants, faults, attacks and versions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from badges import GOOD, STATES, WAYS, WORDS, Finding, View, day, versions, way_of
from docutils import nodes
from tables import Cell, paragraph, table
from words import _

from guidewalk.mutants import results

Nodes = list[nodes.Node]


def glance(view: View) -> Nodes:
    """For each flavour how much is verified, with what and when."""
    rows = [about(flavour, [f for f in view.findings if f.flavour == flavour]) for flavour in WAYS]
    return [nodes.bullet_list("", *rows, classes=["evidence-glance"])]


def about(flavour: str, findings: list[Finding]) -> nodes.list_item:
    """One flavour's line of the glance, with a smaller one below."""
    good = [one.record for one in findings if one.record and one.state in GOOD]
    verified = _("{number} of {total} blocks verified").format(
        number=len(good), total=len(findings)
    )
    way = nodes.strong("", way_of(flavour))
    text = f": {'; '.join(filter(None, [verified, remainder(findings)]))}"
    item = nodes.list_item("", paragraph([way, nodes.Text(text)]))
    item["classes"].append(f"glance-{state_of(findings)}")
    if good:
        last = _("last tried on {date}").format(date=day(max(one.started for one in good)))
        facts = "; ".join(filter(None, [versions(good[-1]), last]))
        item += nodes.paragraph("", facts, classes=["evidence-facts"])
    return item


def state_of(findings: list[Finding]) -> str:
    """The worst of the states that a test can change; without an executed command nothing is."""
    states = {one.state for one in findings} - {"excepted"}
    commands = {one.state for one in findings if one.block.kind == "command"}
    if commands and "executed" not in commands:
        states.add("none")
    return min(states, key=STATES.index, default="none")


def remainder(findings: list[Finding]) -> str:
    """What is not verified of the flavour, by kind."""
    number = Counter(one.state for one in findings)
    others = [state for state in STATES if state not in GOOD]
    return ", ".join(f"{number[one]} {WORDS[one]}" for one in others if number[one])


def coverage(view: View) -> Nodes:
    """How many blocks of each page are verified, of how many, by flavour."""
    pages = dict.fromkeys(block.page for block in view.guide.blocks)
    rows: list[list[Cell]] = [
        [[link(view, page)], *counts([one for one in view.findings if one.block.page == page])]
        for page in pages
    ]
    rows.append([_("All pages"), *counts(view.findings)])
    heads: list[Cell] = [
        _("page"),
        *(head for way in WAYS.values() for head in (f"verified {way}", _("of"))),
    ]
    return [captioned(_("Blocks that are verified, by page"), [heads, *rows])]


def link(view: View, page: str, anchor: str = "", text: str = "") -> nodes.reference:
    """A link to another page of the guide, or a place in it."""
    address = f"{view.address_of(page)}{f'#{anchor}' if anchor else ''}"
    return nodes.reference("", text or view.title(page), refuri=address, internal=True)


def counts(findings: list[Finding]) -> Iterator[Cell]:
    """For each flavour how many are verified, and how many there are; nothing if there are none."""
    for flavour in WAYS:
        states = [one.state for one in findings if one.flavour == flavour]
        verified = sum(state in GOOD for state in states)
        yield from (verified, len(states)) if states else ("", "")


def exceptions(view: View) -> Nodes:
    """What was not executed, by its reason."""
    reasons: dict[str, list[nodes.Node]] = {}
    for one in view.findings:
        if one.state == "excepted" and one.record:
            block = one.block
            name = f"{block.name or block.target or block.id}, {WAYS[one.flavour]}"
            links = reasons.setdefault(one.record.reason, [])
            links.append(nodes.Text("; " if links else ": "))
            links.append(link(view, block.page, block.name or "", name))
    items = (
        nodes.list_item("", paragraph([nodes.Text(reason), *links]))
        for reason, links in reasons.items()
    )
    if not reasons:
        return [nodes.paragraph("", _("No such block is known."))]
    return [nodes.bullet_list("", *items)]


def mutants(view: View) -> Nodes:
    """How many faults planted into the guide its test would notice."""
    report = read_json(view.build / "docs-mutants" / "report.json")
    if not report:
        return [nodes.paragraph("", _("No mutants of this guide have been tested yet."))]
    killed, transcribed, survived = (
        int(report.get(state, 0)) for state in ("killed", "transcribed", "survived")
    )
    total = killed + transcribed + survived
    told = [
        _("Of {total} such faults the test noticed {killed}, or {share}, by what they do.").format(
            total=total, killed=killed, share=f"{killed / max(total, 1):.1%}"
        )
    ]
    if transcribed:
        text = _("{number} it knows by a repeated value alone.")
        told.append(text.format(number=transcribed))
    if equivalent := int(report.get("equivalent", 0)):
        text = _("{number} more would change nothing for a reader, each with a written reason.")
        told.append(text.format(number=equivalent))
    ways = " and ".join(WAYS[flavour] for flavour in report["flavours"])
    told.append(_("Tested {ways} on {date}.").format(ways=ways, date=day(str(report["started"]))))
    if report.get("state") != results.state_of(view.build.parent):
        told.append(_("The guide or its test has changed since."))
    notes = [nodes.paragraph("", note) for note in report["notes"]]
    shown = [one for mutant in report["survivors"] for one in survivor(mutant)]
    return [nodes.paragraph("", " ".join(told)), *notes, *shown]


def survivor(mutant: dict[str, Any]) -> Nodes:
    """A fault that was not noticed, with its diff."""
    title, diff = str(mutant.get("title", "")), str(mutant.get("diff", ""))
    text = _("not noticed: {title}").format(title=title)
    shown = nodes.literal_block(diff, diff, language="diff", classes=["output", "survivor"])
    return [nodes.paragraph("", text), shown]


def faults(view: View) -> Nodes:
    """How long a stack needs until it serves again after a fault, and that it has kept its data."""
    reports = {one: read_json(view.build / "faults" / f"{one}.json") for one in WAYS}
    rows: list[list[Cell]] = [
        [
            fault,
            WAYS[flavour],
            f"{figures.get('seconds_until_it_serves', 0):.1f} s",
            f"{figures.get('seconds_of_work_lost', 0):.1f} s",
            int(figures.get("blocks_read_back", 0)),
        ]
        for flavour, report in reports.items()
        for fault, figures in report.items()
    ]
    if not rows:
        return [nodes.paragraph("", _("No faults have been tried yet."))]
    told = (_("serves again after"), _("work lost"), _("blocks read back"))
    heads: list[Cell] = [_("fault"), _("flavour"), *told]
    return [captioned(_("Faults under load"), [heads, *rows])]


def attacks(view: View) -> Nodes:
    """What was tried against the stacks, what became of it, and what it cost."""
    reports = {one: read_json(view.build / "attack" / f"{one}.json") for one in WAYS}
    rows: list[list[Cell]] = [
        [attack, WAYS[flavour], str(seen.pop("outcome", _("broken off"))), figures(seen)]
        for flavour, report in reports.items()
        for attack, seen in report.items()
    ]
    if not rows:
        return [nodes.paragraph("", _("No attacks have been tried yet."))]
    heads: list[Cell] = [_("attack"), _("flavour"), _("outcome"), _("figures")]
    return [captioned(_("Attacks on running stacks"), [heads, *rows])]


def figures(seen: dict[str, Any]) -> str:
    """What was measured of one attack."""
    return "; ".join(f"{name}: {value}" for name, value in seen.items())


def matrix(view: View) -> Nodes:
    """The versions of the Parsec server that the guide was followed with."""
    report = read_json(view.build / "docs-matrix" / "report.json")
    others = [row["version"] for row in report.get("versions", []) if row["outcome"] == "verified"]
    seen = dict.fromkeys(
        f"{way_of(one.flavour)}: {versions(one.record)}"
        for one in view.findings
        if one.record and one.record.versions and one.state in GOOD
    )
    items = [nodes.list_item("", nodes.paragraph("", text)) for text in seen]
    found: Nodes = [nodes.bullet_list("", *items)] if items else []
    if others:
        text = _("Followed on bare metal with Parsec {versions}, too.")
        found.append(nodes.paragraph("", text.format(versions=", ".join(others))))
    return found or [nodes.paragraph("", _("None yet."))]


def captioned(caption: str, rows: list[list[Cell]]) -> nodes.table:
    """A table with its caption."""
    return table(rows, caption=caption, classes=["evidence-table"])


def read_json(path: Path) -> dict[str, Any]:
    """What a report says; empty if it was never written or cannot be read."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


PARTS = {
    part.__name__: part for part in (glance, coverage, exceptions, mutants, faults, attacks, matrix)
}
