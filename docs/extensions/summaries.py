"""What is known of the whole guide: coverage, exceptions, mutants, faults, attacks and versions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path
from typing import Any

from badges import GOOD, STATES, WAYS, WORDS, Finding, View, date, versions, way_of

from guidewalk.mutants import results

Cells = Iterable[str | int]


def glance(view: View) -> str:
    """For each flavour how much is verified, with what and when."""
    rows = [about(flavour, [f for f in view.findings if f.flavour == flavour]) for flavour in WAYS]
    return f'<ul class="evidence-glance" aria-label="What is verified">{"".join(rows)}</ul>'


def about(flavour: str, findings: list[Finding]) -> str:
    """One flavour's line of the glance, with a smaller one below."""
    good = [one.record for one in findings if one.record and one.state in GOOD]
    facts = [escape(versions(record)) for record in good[-1:]]
    facts += [f"last tried on {date(max(record.started for record in good))}"] if good else []
    return (
        f'<li class="glance-{state_of(findings)}"><strong>{way_of(flavour)}</strong>: '
        f"{len(good)} of {len(findings)} blocks verified{remainder(findings)}"
        f"{f'<small>{"; ".join(facts)}</small>' if facts else ''}</li>"
    )


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
    parts = [f"{number[one]} {WORDS[one]}" for one in others if number[one]]
    return f"; {', '.join(parts)}" if parts else ""


def coverage(view: View) -> str:
    """How many blocks of each page are verified, of how many, by flavour."""
    pages = dict.fromkeys(block.page for block in view.guide.blocks)
    rows: list[list[str | int]] = [
        [link(view, page), *counts([one for one in view.findings if one.block.page == page])]
        for page in pages
    ]
    rows.append(["All pages", *counts(view.findings)])
    heads = ["page", *(head for way in WAYS.values() for head in (f"verified {way}", "of"))]
    return table("Blocks that are verified, by page", heads, rows)


def link(view: View, page: str) -> str:
    """A link to another page of the guide."""
    return f'<a href="{page}.html">{escape(view.title(page))}</a>'


def counts(findings: list[Finding]) -> Iterator[int | str]:
    """For each flavour how many are verified, and how many there are; nothing if there are none."""
    for flavour in WAYS:
        states = [one.state for one in findings if one.flavour == flavour]
        verified = sum(state in GOOD for state in states)
        yield from (verified, len(states)) if states else ("", "")


def exceptions(view: View) -> str:
    """What was not executed, by its reason."""
    reasons: dict[str, list[str]] = {}
    for one in view.findings:
        if one.state == "excepted" and one.record:
            block = one.block
            name = f"{block.name or block.target or block.id}, {WAYS[one.flavour]}"
            place = f"{block.page}.html{f'#{block.name}' if block.name else ''}"
            reasons.setdefault(one.record.reason, []).append(f'<a href="{place}">{name}</a>')
    items = "".join(f"<li>{escape(r)}: {'; '.join(n)}.</li>" for r, n in reasons.items())
    return f"<ul>{items}</ul>" if items else "<p>No such block is known.</p>"


def mutants(view: View) -> str:
    """How many faults planted into the guide its test would notice."""
    report = read_json(view.build / "docs-mutants" / "report.json")
    if not report:
        return "<p>No mutants of this guide have been tested yet.</p>"
    killed, transcribed, survived = (
        int(report.get(state, 0)) for state in ("killed", "transcribed", "survived")
    )
    total = killed + transcribed + survived
    text = (
        f"<p>Of {total} such faults the test noticed {killed}, or {killed / max(total, 1):.1%}, "
        "by what they do."
    )
    if transcribed:
        text += f" {transcribed} it knows by a repeated value alone."
    if equivalent := int(report.get("equivalent", 0)):
        text += f" {equivalent} more would change nothing for a reader, each with a written reason."
    ways = " and ".join(WAYS[flavour] for flavour in report["flavours"])
    text += f" Tested {ways} on {date(str(report['started']))}."
    if report.get("state") != results.state_of(view.build.parent):
        text += " <strong>The guide or its test has changed since.</strong>"
    notes = "".join(f"<p>{escape(note)}</p>" for note in report["notes"])
    return f"{text}</p>{notes}{''.join(survivor(mutant) for mutant in report['survivors'])}"


def survivor(mutant: dict[str, Any]) -> str:
    """A fault that was not noticed, as a diff that unfolds."""
    title, diff = escape(str(mutant.get("title", ""))), escape(str(mutant.get("diff", "")))
    return (
        f'<details class="evidence evidence-failed"><summary>not noticed: {title}</summary>'
        f'<pre class="evidence-output" role="group" tabindex="0" aria-label="{title}">{diff}</pre>'
        "</details>"
    )


def faults(view: View) -> str:
    """How long a stack needs until it serves again after a fault, and that it has kept its data."""
    reports = {one: read_json(view.build / "faults" / f"{one}.json") for one in WAYS}
    rows: list[list[str | int]] = [
        [
            escape(fault),
            WAYS[flavour],
            f"{figures.get('seconds_until_it_serves', 0):.1f} s",
            f"{figures.get('seconds_of_work_lost', 0):.1f} s",
            int(figures.get("blocks_read_back", 0)),
        ]
        for flavour, report in reports.items()
        for fault, figures in report.items()
    ]
    if not rows:
        return "<p>No faults have been tried yet.</p>"
    heads = ["fault", "flavour", "serves again after", "work lost", "blocks read back"]
    return table("Faults under load", heads, rows)


def attacks(view: View) -> str:
    """What was tried against the stacks, what became of it, and what it cost."""
    reports = {one: read_json(view.build / "attack" / f"{one}.json") for one in WAYS}
    rows: list[list[str | int]] = [
        [escape(attack), WAYS[flavour], escape(seen.pop("outcome", "broken off")), figures(seen)]
        for flavour, report in reports.items()
        for attack, seen in report.items()
    ]
    if not rows:
        return "<p>No attacks have been tried yet.</p>"
    return table("Attacks on running stacks", ["attack", "flavour", "outcome", "figures"], rows)


def figures(seen: dict[str, Any]) -> str:
    """What was measured of one attack."""
    return escape("; ".join(f"{name}: {value}" for name, value in seen.items()))


def matrix(view: View) -> str:
    """The versions of the Parsec server that the guide was followed with."""
    report = read_json(view.build / "docs-matrix" / "report.json")
    others = [row["version"] for row in report.get("versions", []) if row["outcome"] == "verified"]
    seen = dict.fromkeys(
        f"{way_of(one.flavour)}: {versions(one.record)}"
        for one in view.findings
        if one.record and one.record.versions and one.state in GOOD
    )
    items = "".join(f"<li>{escape(text)}</li>" for text in seen)
    body = f"<ul>{items}</ul>" if items else "<p>None yet.</p>"
    if others:
        body += f"<p>Followed on bare metal with Parsec {escape(', '.join(others))}, too.</p>"
    return body


def table(caption: str, heads: list[str], rows: Iterable[Cells]) -> str:
    """A table with its caption, in a frame that scrolls on narrow screens."""
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    body = "".join(row(cells) for cells in rows)
    return (
        f'<div class="table-wrapper" role="group" tabindex="0" aria-label="{escape(caption)}">'
        f'<table class="docutils evidence-table"><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def row(cells: Cells) -> str:
    """One row, whose first cell names it."""
    first, *others = cells
    return f'<tr><th scope="row">{first}</th>{"".join(map(entry, others))}</tr>'


def entry(cell: str | int) -> str:
    """One cell; numbers stand below each other."""
    return f'<td class="number">{cell}</td>' if isinstance(cell, int) else f"<td>{cell}</td>"


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
