"""One block's evidence as HTML that needs no JavaScript: a line that unfolds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from html import escape
from pathlib import Path

from guidewalk import evidence
from guidewalk.evidence import Record
from guidewalk.guide import Block, Guide
from parsec_stack.services import FLAVOURS

WORDS = {
    "executed": "executed",
    "checked": "checked",
    "excepted": "not executed",
    "failed": "failed",
    "moved": "tried before an earlier step was changed",
    "none": "not verified",
}
WAYS = {"native": "on bare metal", "docker": "with Docker"}
# The worst comes first: a block shows the sign of the worst of its flavours.
STATES = ("failed", "none", "moved", "excepted", "checked", "executed")
GOOD = ("executed", "checked")
LONGEST_OUTPUT = 6000


@dataclass(frozen=True)
class Finding:
    """What is known of a block in one flavour.

    ``state`` is 'none' if no record counts, and 'moved' if something before it has changed since.
    """

    block: Block
    flavour: str
    state: str
    record: Record | None


class View:
    """The guide as it is now, with the records that count for it and the version it is about."""

    def __init__(self, guide: Guide, build: Path, version: str) -> None:
        self.guide = guide
        self.version = version
        self.build = build
        # The titles of the pages by name, and where they are seen from, once that is known.
        self.titles: dict[str, str] = {}
        self.address_of: Callable[[str], str] = str
        self.records = evidence.read(build)
        self.digests = {str(one): evidence.digests(guide, one) for one in FLAVOURS}

    @property
    def stamp(self) -> str:
        """Changes whenever anything that is shown may change."""
        total = hashlib.sha256(repr(self.digests).encode())
        for path in sorted(self.build.glob("evidence.json")) + sorted(self.build.glob("*/*.json")):
            total.update(path.read_bytes())
        return total.hexdigest()

    def on_page(self, page: str) -> list[Block]:
        """The page's blocks, in its order."""
        return [block for block in self.guide.blocks if block.page == page]

    def title(self, page: str) -> str:
        """The title of a page."""
        return self.titles.get(page, page)

    @cached_property
    def findings(self) -> list[Finding]:
        """What is known of every block in each of its flavours."""
        return [finding for block in self.guide.blocks for finding in self.of(block)]

    def of(self, block: Block) -> Iterator[Finding]:
        """What is known of the block, by flavour."""
        for flavour in block.flavours:
            digest = self.digests[flavour][block.id]
            known = self.records.get(block.id, {}).get(flavour, [])
            record = evidence.valid(known, digest.content, self.version)
            yield Finding(block, flavour, state_of(record, digest.way), record)

    def badge(self, block: Block) -> str:
        """The evidence below a block."""
        findings = list(self.of(block))
        worst = min((finding.state for finding in findings), key=STATES.index)
        said = "; ".join(
            f"{WORDS[state]} {' and '.join(WAYS[f.flavour] for f in findings if f.state == state)}"
            for state in dict.fromkeys(finding.state for finding in findings)
        )
        details = "".join(detail(finding) for finding in findings)
        return (
            f'<details class="evidence evidence-{worst}"><summary>{said}</summary>'
            f"{details}</details>"
        )


def way_of(flavour: str) -> str:
    """How the flavour is named at the begin of a line."""
    return WAYS[flavour][0].upper() + WAYS[flavour][1:]


def state_of(record: Record | None, way: str) -> str:
    """What the record says of its block; one that was never reached is not verified.

    ``way`` is the digest of what leads to the block now.
    """
    if record is None:
        return "none"
    if record.outcome in GOOD:
        return record.outcome if record.way == way else "moved"
    if record.outcome == "excepted":
        return "excepted"
    return "failed" if record.tried else "none"


def detail(finding: Finding) -> str:
    """When, with what, and how the block fared in one flavour, and what it printed."""
    record, way = finding.record, f"<strong>{way_of(finding.flavour)}</strong>"
    if not record:
        return f"<p>{way}: not verified since this block, or a file that it reads, was written.</p>"
    if not record.tried:
        return f"<p>{way}: {WORDS[finding.state]}: {escape(record.reason)}.</p>"
    facts = f"{way}: {WORDS[record.outcome]} on {date(record.started)}"
    facts += f" in {record.seconds:.2f} s" if record.seconds else ""
    facts += f", with {escape(versions(record))}" if record.versions else ""
    facts += "; an earlier step was changed since" if finding.state == "moved" else ""
    reason = f"<p>{escape(record.reason)}</p>" if record.reason else ""
    return f"<p>{facts}.</p>{reason}{output(finding)}"


def output(finding: Finding) -> str:
    """What the block printed, if anything."""
    text = (finding.record.output if finding.record else "").strip("\n")
    if not text:
        return ""
    cut = f"\n[{len(text) - LONGEST_OUTPUT} more characters]" if len(text) > LONGEST_OUTPUT else ""
    label = f"printed by {finding.block.name or finding.block.id} {WAYS[finding.flavour]}"
    return (
        f'<pre class="evidence-output" role="group" tabindex="0" aria-label="{escape(label)}">'
        f"{escape(text[:LONGEST_OUTPUT] + cut)}</pre>"
    )


def versions(record: Record) -> str:
    """The programs with their versions."""
    return ", ".join(f"{name} {version}" for name, version in record.versions.items())


def date(started: str) -> str:
    """The time as HTML: readable, and exact for programs."""
    return f'<time datetime="{escape(started)}">{day(started)}</time>'


def day(started: str) -> str:
    """The time as people read it."""
    return f"{datetime.fromisoformat(started):%-d %B %Y, %H:%M} UTC"
