"""One run of the docs-test: what its runners share, how they end, and what is reported of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from guidewalk import cache, evidence, inventory, processes, report
from guidewalk.config import config_of
from guidewalk.errors import UserError
from guidewalk.guide import Guide, GuideError
from guidewalk.project import Project
from guidewalk.registry import Registry
from guidewalk.runner import BLOCK_TIMEOUT, Runner
from guidewalk.shell import without_ansi


@dataclass(frozen=True)
class Options:
    """What the command line can change."""

    flavours: tuple[str, ...]
    # Flavours that are an error if they cannot be followed here.
    required: tuple[str, ...] = ()
    block_timeout: float = BLOCK_TIMEOUT
    port_offset: int | None = None
    keep: bool = False
    # No command is run, so that files need not be looked at either.
    static: bool = False


class Session:
    """The guide, and one run through it for each requested flavour."""

    def __init__(
        self, project: Project, docs: Path, tests: Path, registry: Registry, options: Options
    ) -> None:
        """Read the guide in ``docs``; ``tests`` contains its inventory.

        Raises UserError for mistakes of the guide and for a required flavour that cannot be
        followed.
        """
        self.project = project
        self.docs = docs
        self.inventory = tests / "inventory.txt"
        self.output = docs.parent / "build" / "docs-test"
        self.registry = registry
        self.options = options
        # What is wrong with blocks and marks of the guide; then nothing can be followed.
        self.unread: list[str] = []
        self.guide = self.read()
        self.runners: dict[str, Runner] = {}
        self.notes: list[str] = []
        # What was told of mistakes of the guide as a whole.
        self.found: list[str] = []
        # What was not written, because it contains a secret.
        self.leaks: list[str] = []
        self.missing: dict[str, str] = {}
        for flavour in () if options.static else options.flavours:
            if problem := project.problem(flavour):
                if flavour in options.required:
                    raise UserError(f"the {flavour} flavour is required, but {problem}")
                self.missing[flavour] = problem
                self.notes.append(f"{flavour}: its commands were not executed: {problem}")
        # From here on, what looks at files in the background belongs to the same user throughout.
        self.followed = Followed(project)
        self.followed.change(options.flavours[0])
        only = () if options.static else None
        self.findings = project.findings_of(self.guide, registry, only)
        self.claims = project.claims_of(self.guide, registry)

    def read(self) -> Guide:
        """Return the guide; a wrong one only where nothing follows it, to find all its mistakes."""
        try:
            return cache.load(self.docs)
        except GuideError as error:
            if error.guide is None or not self.options.static:
                raise
            self.unread = str(error).splitlines()
            return error.guide

    def runner(self, flavour: str) -> Runner:
        """Return the runner of this flavour, made when first requested.

        This process is now its reader.
        """
        self.followed.change(flavour)
        if flavour not in self.runners:
            self.runners[flavour] = Runner(
                self.guide,
                self.project.prepare(flavour, self.options.port_offset),
                self.registry,
                self.findings,
                claims=self.claims,
                missing=self.missing.get(flavour, ""),
                version=self.project.version,
                whole=flavour in self.options.required,
                timeout=self.options.block_timeout,
            )
        return self.runners[flavour]

    @property
    def outcomes(self) -> list[report.Outcome]:
        """Return how every block fared that was reached."""
        return [outcome for runner in self.runners.values() for outcome in runner.outcomes]

    def mistakes(self) -> Iterator[str]:
        """Yield what is wrong with the guide as a whole."""
        wrong = [*self.unread, *self.unexplained()]
        yield from wrong
        # Blocks that are wrong differ from the inventory, too.
        command = config_of(self.docs.parent).command
        if not wrong and (problem := inventory.difference(self.guide, self.inventory, command)):
            yield problem
        yield from self.registry.strays(self.guide)
        yield from self.project.mistakes(self.claims)
        shown = {block.file for block in self.guide.files().values()}
        artifacts = config_of(self.docs.parent).artifacts
        for path in sorted((self.docs.parent / artifacts).iterdir()):
            name = f"{artifacts}/{path.name}"
            if path.is_file() and name not in shown:
                yield f"no page shows {name} whole: include it with the caption {path.name}"

    def unexplained(self) -> Iterator[str]:
        """Yield what each block without meaning lacks, unless that is told when it is reached."""
        for block in self.guide.blocks if self.options.static else ():
            if block.kind == "unexplained" and block.reason not in self.unread:
                yield f"{block.place}: {block.reason}"

    def finish(self) -> None:
        """End what the runners have started, and write what was seen; safe to call twice."""
        self.followed.change("")
        for flavour, runner in self.runners.items():
            self.keep_logs(flavour, runner)
            killed = runner.close()
            if killed:
                names = ", ".join(sorted(set(killed)))
                self.notes.append(f"{flavour}: still running at the end, and killed: {names}")
            if self.options.keep:
                self.notes.append(f"{flavour}: kept {runner.site.folder}")
            else:
                runner.site.remove()
        self.findings.close()
        self.claims.close()
        self.project.keep(self.claims.sources)
        absent = [
            f"{tool} {v}" for tool, v in self.findings.tools.items() if v.startswith("absent")
        ]
        self.notes += absent
        found = {str(flavour): runner.versions for flavour, runner in self.runners.items()}
        seen = report.compose(
            self.outcomes,
            versions=found,
            tools=self.findings.tools,
            notes=self.notes,
            claims=self.claims.rows(self.options.flavours),
            claim_seconds=self.claims.seconds,
        )
        text = json.dumps(seen, indent=2) + "\n"
        if not self.options.static and not self.holds_secret("report.json", text):
            self.output.mkdir(parents=True, exist_ok=True)
            (self.output / "report.json").write_text(text)
            version = self.project.version
            evidence.keep(self.output.parent, self.guide, self.outcomes, found, version)

    def holds_secret(self, name: str, text: str) -> bool:
        """Return whether the text contains a secret; then docs-test fails and does not write it."""
        for runner in self.runners.values():
            if origin := runner.redact.leak(text):
                self.leaks.append(
                    f"{name} was not written, because it would contain a secret of {origin}"
                )
                return True
        return False

    def keep_logs(self, flavour: str, runner: Runner) -> None:
        """Copy the services' logs, without secrets, to the place of the report."""
        logs = self.output / "log" / flavour
        shutil.rmtree(logs, ignore_errors=True)
        for name in self.project.services:
            with suppress(UserError, OSError):
                text = runner.redact(without_ansi(runner.log_of(name)))
                if not self.holds_secret(f"log/{flavour}/{name}.log", text):
                    logs.mkdir(parents=True, exist_ok=True)
                    (logs / f"{name}.log").write_text(text)


class Followed:
    """The flavour that is followed now, and the user that this process is for it."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.flavour = ""
        self.held = ExitStack()

    def change(self, flavour: str) -> None:
        """Become the user who follows this flavour; between two of the same nothing changes.

        What a check has started in the background continues meanwhile.
        """
        if flavour != self.flavour:
            self.held.close()
            self.held.enter_context(self.project.acting(flavour))
            self.flavour = flavour


def begin(
    project: Project, docs: Path, tests: Path, registry: Registry, options: Options
) -> Session:
    """Start a session, after removing what killed ones have left behind."""
    processes.clear_abandoned(project.clear)
    return Session(project, docs, tests, registry, options)
