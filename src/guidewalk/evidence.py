"""What docs-test saw of each block, kept beyond the run that saw it.

Evidence belongs to content and to a version of what the guide is about: a record is valid for a
block whose text, and whose files that it reads, are the same as then. A run replaces the records of
the blocks that it tried with this content and version, and no others.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from guidewalk.atomic import write_atomically
from guidewalk.guide import Block, Guide
from guidewalk.report import Outcome

STORE = "evidence.json"
# What the meaning of a block depends on, besides its text.
MEANING = (
    *("kind", "language", "target", "reason", "since", "needs", "images", "placeholders"),
    *("captures", "last"),
)

# So many records of a block in a flavour are kept, the newest ones.
KEPT = 12

# By block and flavour, the oldest first.
Records = dict[str, dict[str, list["Record"]]]


@dataclass(frozen=True)
class Digests:
    """SHA-256 of a block with everything that it reads, and of the guide from its beginning on."""

    content: str
    way: str


@dataclass(frozen=True)
class Record:
    """What was seen when a block was last tried in a flavour.

    ``version`` is what the guide was about, and ``versions`` is by program.
    """

    version: str
    content: str
    way: str
    outcome: str
    reason: str
    started: str
    seconds: float
    output: str
    tried: bool
    versions: dict[str, str]


def digests(guide: Guide, flavour: str) -> dict[str, Digests]:
    """Return both digests of each block of the flavour, by the block's id."""
    blocks = guide.of(flavour)
    files = {block.target: block for block in blocks if block.kind == "file" and block.target}
    result = {}
    way = ""
    for block in blocks:
        parts = [own(block)]
        command = block if block.kind == "command" else guide.command_of(block, flavour)
        if command:
            parts += [own(command), *(own(file) for file in named_in(command.text, files))]
        way = sha256(way, own(block))
        result[block.id] = Digests(sha256(*parts), way)
    return result


def own(block: Block) -> str:
    """Return everything that the block itself says, to readers and to docs-test."""
    return json.dumps([block.text, *(getattr(block, name) for name in MEANING)])


def named_in(text: str, files: dict[str, Block]) -> list[Block]:
    """Return the files that the text names, and those that these name in turn."""
    found: dict[str, Block] = {}
    texts = [text]
    while texts:
        for name in names_in(texts.pop(), files):
            if name not in found:
                found[name] = files[name]
                texts.append(files[name].text)
    return [found[name] for name in sorted(found)]


def names_in(text: str, files: dict[str, Block]) -> Iterator[str]:
    """Yield the names that occur in the text as whole words."""
    for name in files:
        if re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", text):
            yield name


def sha256(*texts: str) -> str:
    """Return one digest of the texts, in hex."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def read(build: Path) -> Records:
    """Return the records by block and flavour; none if no records can be read."""
    try:
        content: dict[str, Any] = json.loads((build / STORE).read_text())
        return {
            block: {
                flavour: [Record(**one) for one in records] for flavour, records in known.items()
            }
            for block, known in content.items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def valid(records: list[Record], content: str, version: str) -> Record | None:
    """Return the record of this content and version, if there is one."""
    found = (one for one in records if (one.content, one.version) == (content, version))
    return next(found, None)


def keep(
    build: Path,
    guide: Guide,
    outcomes: list[Outcome],
    versions: dict[str, dict[str, str]],
    version: str = "",
) -> None:
    """Add the outcomes of a run to what is known; forget blocks that the guide lacks now.

    ``versions`` are those of the programs, by flavour, and ``version`` is what the guide is about.
    """
    build.mkdir(parents=True, exist_ok=True)
    current: dict[str, dict[str, Digests]] = {
        one: digests(guide, one) for one in {outcome.flavour for outcome in outcomes}
    }
    with (build / f"{STORE}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = read(build)
        for outcome in outcomes:
            digest = current[outcome.flavour][outcome.block.id]
            new = record(outcome, digest, versions.get(outcome.flavour, {}), version)
            flavours = known.setdefault(outcome.block.id, {})
            flavours[outcome.flavour] = added(flavours.get(outcome.flavour, []), new)
        present = {block.id for block in guide.blocks}
        content = {
            block: {flavour: [asdict(one) for one in ones] for flavour, ones in records.items()}
            for block, records in known.items()
            if block in present
        }
        write_atomically(build / STORE, json.dumps(content, indent=1) + "\n")


def record(outcome: Outcome, digest: Digests, versions: dict[str, str], version: str) -> Record:
    """Return the outcome as a record."""
    return Record(
        version=version,
        content=digest.content,
        way=digest.way,
        outcome=outcome.outcome,
        reason=outcome.reason,
        started=outcome.started,
        seconds=round(outcome.seconds, 3),
        output=outcome.output,
        tried=outcome.tried,
        versions=versions,
    )


def added(records: list[Record], new: Record) -> list[Record]:
    """Return the records with the new one, unless it says nothing and there is a valid one."""
    known = valid(records, new.content, new.version)
    if known and known.tried and not new.tried:
        return records
    return [*(one for one in records if one is not known), new][-KEPT:]
