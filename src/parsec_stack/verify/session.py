"""One run of the docs-test: what its walks share, how they end, and what is reported of them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from parsec_stack import guide
from parsec_stack.errors import StackError
from parsec_stack.stack import FLAVOURS, Flavour
from parsec_stack.verify import inventory, processes, report
from parsec_stack.verify.artifacts import Findings
from parsec_stack.verify.registry import Registry
from parsec_stack.verify.site import prepare
from parsec_stack.verify.walk import BLOCK_TIMEOUT, Walk

NO_ENGINE = "no Docker engine answers here"


@dataclass(frozen=True)
class Options:
    """What the command line may change."""

    flavours: tuple[Flavour, ...] = FLAVOURS
    require_docker: bool = False
    block_timeout: float = BLOCK_TIMEOUT
    port_offset: int | None = None
    keep: bool = False


class Session:
    """The guide, and one walk through it for each flavour that is asked for."""

    def __init__(self, docs: Path, tests: Path, registry: Registry, options: Options) -> None:
        """Read the guide in ``docs``; ``tests`` holds its inventory.

        Raises StackError for mistakes of the guide and for a missing engine that is required.
        """
        self.docs = docs
        self.inventory = tests / "inventory.txt"
        self.output = docs.parent / "build" / "docs-test"
        self.registry = registry
        self.options = options
        self.guide = guide.load(docs)
        self.findings = Findings(self.guide, registry)
        self.walks: dict[Flavour, Walk] = {}
        self.notes: list[str] = []
        self.missing: dict[Flavour, str] = {}
        if "docker" in options.flavours and not engine_version():
            if options.require_docker:
                raise StackError(f"{NO_ENGINE}, and --require-docker asks for one")
            self.missing["docker"] = NO_ENGINE
            self.notes.append(f"docker: {NO_ENGINE}: its commands were not executed")

    def walk(self, flavour: Flavour) -> Walk:
        """The walk of this flavour, begun when first asked for."""
        if flavour not in self.walks:
            self.walks[flavour] = Walk(
                self.guide,
                prepare(flavour, self.options.port_offset),
                self.registry,
                self.findings,
                missing=self.missing.get(flavour, ""),
                timeout=self.options.block_timeout,
            )
        return self.walks[flavour]

    @property
    def outcomes(self) -> list[report.Outcome]:
        """How every block fared that was reached."""
        return [outcome for walk in self.walks.values() for outcome in walk.outcomes]

    def mistakes(self) -> Iterator[str]:
        """What is wrong with the guide as a whole."""
        if problem := inventory.difference(self.guide, self.inventory):
            yield problem
        yield from self.registry.strays(self.guide)
        shown = {block.file for block in self.guide.files().values()}
        for path in sorted((self.docs.parent / "deploy").iterdir()):
            name = f"deploy/{path.name}"
            if path.is_file() and name not in shown:
                yield f"no page shows {name} whole: include it with the caption {path.name}"

    def finish(self) -> None:
        """End what the walks have started, and write the report; safe to call twice."""
        versions: dict[str, object] = {}
        for flavour, walk in self.walks.items():
            killed = walk.close()
            if killed:
                names = ", ".join(sorted(set(killed)))
                self.notes.append(f"{flavour}: still running at the end, and killed: {names}")
            versions |= report.installed(walk.site.folder)
            self.keep_logs(flavour, walk)
            if self.options.keep:
                self.notes.append(f"{flavour}: kept {walk.site.folder}")
            else:
                walk.site.remove()
        self.findings.close()
        if engine := engine_version() if "docker" in self.walks else "":
            versions["engine"] = engine
        absent = [
            f"{tool} {v}" for tool, v in self.findings.tools.items() if v.startswith("absent")
        ]
        self.notes += absent
        report.write(
            self.output / "report.json",
            report.compose(
                self.outcomes, versions=versions, tools=self.findings.tools, notes=self.notes
            ),
        )

    def keep_logs(self, flavour: Flavour, walk: Walk) -> None:
        """Copy the services' logs, without secrets, to where the report will lie."""
        logs = self.output / "log" / flavour
        shutil.rmtree(logs, ignore_errors=True)
        for path in walk.site.folder.glob("log/*.log"):
            logs.mkdir(parents=True, exist_ok=True)
            with suppress(OSError):
                (logs / path.name).write_text(walk.redact(path.read_text(errors="replace")))


def engine_version() -> str:
    """The version of the Docker engine that answers here; empty if none does."""
    try:
        done = subprocess.run(
            ["docker", "version", "--format", "{{.Server.Version}}"],
            capture_output=True, text=True, timeout=10, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "" if done.returncode else done.stdout.strip()


def begin(docs: Path, tests: Path, registry: Registry, options: Options) -> Session:
    """A new session, after what killed ones have left behind is gone."""
    processes.clear_abandoned()
    return Session(docs, tests, registry, options)
