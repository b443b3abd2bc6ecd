"""``nox -s docs-matrix``: try the guide with each version of Parsec, and the upgrades between them.

For each version a copy of this checkout is bumped to it, as ``invoke bump`` does, and its own
unit tests and docs-test run there. Then a stack with data is upgraded from each version to the next
(``upgrades.py``). What passed is not tried again until something has changed.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from guidewalk.atomic import write_atomically
from guidewalk.console import say
from guidewalk.errors import UserError
from parsec_stack import checkout, versions
from parsec_stack.errors import StackError
from parsec_stack.stack import ROOT
from parsec_stack.verify import upgrades

FOLDER = ROOT / "build" / "docs-matrix"
# How many attempts run in parallel.
WORKERS = 2
# What every client of the server does first.
FIRST_KEY = "from parsec._parsec import SigningKey; SigningKey.generate()"
# How many failed blocks of one version are reported.
MOST_FAILURES = 5

Row = dict[str, Any]


class NotRun(Exception):
    """A version cannot be tried on this machine; the text says why."""


def main(arguments: Sequence[str]) -> int:
    """Try these versions, or all; return the exit status."""
    known = versions.declared(ROOT)["matrix"]
    chosen = sorted({versions.own(each) for each in arguments or known}, key=versions.order)
    (FOLDER / "rows").mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(WORKERS) as pool:
        tried = list(pool.map(lambda version: once(try_version, version), chosen))
        able = [row["version"] for row in tried if row["outcome"] != "not run"]
        upgraded = list(pool.map(lambda pair: once(try_upgrade, *pair), pairwise(able)))
    report = {"fingerprint": checkout.fingerprint(), "versions": tried, "upgrades": upgraded}
    if not arguments:
        write_atomically(FOLDER / "report.json", json.dumps(report, indent=2) + "\n")
    failed = [row for row in (*tried, *upgraded) if row["outcome"] == "failed"]
    say(f"docs-matrix: {len(tried)} versions, {len(upgraded)} upgrades, {len(failed)} failed")
    return int(bool(failed))


def once(attempt: Callable[..., Row], *names: str) -> Row:
    """Return the result of an attempt; one that passed is repeated only after a change."""
    path = FOLDER / "rows" / f"{'_'.join(names)}.json"
    state = checkout.fingerprint()
    before: Row = json.loads(path.read_text()) if path.exists() else {}
    if before.get("outcome") == "verified" and before.get("fingerprint") == state:
        say(f"  {' to '.join(names)}: verified before")
        return before
    started = time.monotonic()
    row: Row = {"fingerprint": state, "started": datetime.now(UTC).isoformat(timespec="seconds")}
    try:
        row |= {"outcome": "verified", "reason": "", **attempt(*names)}
    except NotRun as reason:
        row |= {"version": names[0], "outcome": "not run", "reason": str(reason)}
    except UserError as error:
        keys = ("version",) if len(names) == 1 else ("from", "to")
        row |= dict(zip(keys, names, strict=True))
        row |= {"outcome": "failed", "reason": str(error)}
    row["seconds"] = round(time.monotonic() - started, 1)
    say(f"  {' to '.join(names)}: {row['outcome']} ({row['seconds']:.0f} s) {row['reason']}")
    write_atomically(path, json.dumps(row, indent=2) + "\n")
    return row


def folder_of(version: str) -> Path:
    """Return the folder of the checkout for this version."""
    return FOLDER / "checkouts" / version


def try_version(version: str) -> Row:
    """Run the unit tests and follow the guide of this version; StackError for what fails."""
    folder, python = prepare(version)
    checkout.run_inside(folder, "pytest", "--quiet")
    report = folder / "build" / "docs-test" / "report.json"
    report.unlink(missing_ok=True)
    done = checkout.try_inside(folder, "nox", "-s", "docs-test", "--", "--flavour", "native")
    (FOLDER / f"{version}.log").write_text(done.stdout + done.stderr)
    found = json.loads(report.read_text()) if report.exists() else {"blocks": []}
    failures = [row["reason"] for row in found["blocks"] if row["outcome"] == "failed"]
    if done.returncode or failures:
        said = failures[:MOST_FAILURES] or [f"docs-test failed: see {FOLDER / version}.log"]
        raise StackError("\n".join(said))
    return {
        "version": version,
        "python": python,
        "installed": found["versions"]["native"]["Parsec"],
        "blocks": found["summary"],
    }


def prepare(version: str) -> tuple[Path, str]:
    """Return the checkout for this version, with its environment, and its Python."""
    folder = folder_of(version)
    folder.parent.mkdir(parents=True, exist_ok=True)
    python = str(versions.declared(ROOT)["python"])
    try:
        checkout.copy(folder, {"parsec": version, "python": python})
    except checkout.OtherPython as other:
        python = other.series
        checkout.copy(folder, {"parsec": version, "python": python})
    done = checkout.try_inside(folder, "true")
    if done.returncode and f"Python {python} is missing" in done.stderr:
        raise NotRun(f"it needs Python {python}, which is missing here")
    if done.returncode:
        raise StackError(done.stderr.strip())
    if lacks_instructions(folder):
        raise NotRun("its wheel needs instructions that the processor of this machine lacks")
    return folder, python


def lacks_instructions(folder: Path) -> bool:
    """Return whether this version's wheel ends with SIGILL here.

    The wheel of 3.6.1 does without AVX-512.
    """
    done = checkout.try_inside(folder, "python", "-c", FIRST_KEY)
    # As a shell reports it, and as Python does.
    return done.returncode in (128 + signal.SIGILL, -signal.SIGILL)


def try_upgrade(old: str, new: str) -> Row:
    """Upgrade a stack with data; StackError for what goes wrong."""
    return {"from": old, "to": new, **upgrades.upgrade(folder_of(old), folder_of(new))}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
