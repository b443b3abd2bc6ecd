"""Try mutants with the checks of docs-test, each in a folder and on ports of its own."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import Any

from guidewalk import cache, doctree, inventory
from guidewalk.config import config_of
from guidewalk.errors import UserError
from guidewalk.evidence import named_in
from guidewalk.guide import Block, Guide
from guidewalk.mutants.plan import CONTROL, Mutant, mutated, planted
from guidewalk.mutants.shared_stack import SharedStack, copy_files, left_by
from guidewalk.project import Project
from guidewalk.registry import Check, Registry, denial
from guidewalk.runner import Runner, mismatch
from guidewalk.shell import Shell, failure_message, render_command
from guidewalk.site import Site, is_free

# A patient run has this many times as long.
PATIENT = 2
# Distinguishes failures by time, which a busy machine may cause, from all others.
BY_TIME = re.compile(r"in time|no end within|timed? ?out|does not come back|does not find", re.I)


@dataclass(frozen=True)
class MutantResult:
    """What became of a mutant: the stage that killed it and why, or that it survived.

    It is ``transcribed`` if only a check that repeats the file's own values has killed it.
    """

    killed: bool
    stage: str
    reason: str = ""
    seconds: float = 0.0
    transcribed: bool = False

    @property
    def hasty(self) -> bool:
        """Whether a time limit killed it."""
        return self.killed and bool(BY_TIME.search(self.reason))


@dataclass(frozen=True)
class Seen:
    """What a run of the unmutated guide was told, to compare stated outputs with it again.

    It contains a dead stack's secrets and is never written anywhere.
    """

    ports: dict[int, int]
    values: dict[str, str]
    compared: dict[str, list[str]]


class Bench:
    """One worker's place: the guide, its checks, and ports that no other worker has."""

    def __init__(
        self, project: Project, registry: Registry, docs: Path, tests: Path, scratch: Path,
        offset: int,
    ) -> None:  # fmt: skip
        self.project = project
        self.registry = registry
        self.docs = docs
        self.tests = tests
        self.scratch = scratch
        self.offset = offset
        self.guide = cache.load(docs)

    def judge(self, mutant: Mutant, seen: dict[str, Seen]) -> MutantResult | None:
        """Judge the mutant by what needs no service; None if only a run can tell."""
        started = time.monotonic()
        behaviour, transcribing = self.registry.parted()
        stage, problem = "tools", ""
        if mutant.scope == "page":
            stage, problem = "markup", self.misread(mutant)
            if not problem:
                return self.weigh(mutant)
        elif mutant.scope == "artifact":
            problem = self.problem_of_file(mutant, behaviour)
        elif kinds := {block.kind for block in self.blocks_of(mutant)}:
            if kinds & {"output", "message"}:
                problem = self.unseen(mutant, seen)
                return MutantResult(bool(problem), "output", problem, time.monotonic() - started)
            problem = self.problem_of_command(mutant)
        if problem:
            return MutantResult(True, stage, problem, time.monotonic() - started)
        if mutant.scope == "artifact" and (problem := self.problem_of_file(mutant, transcribing)):
            spent = time.monotonic() - started
            return MutantResult(True, "transcription", problem, spent, transcribed=True)
        return None

    def weigh(self, mutant: Mutant) -> MutantResult | None:
        """Judge the mutant by the prose about what it changes."""
        started = time.monotonic()
        own = self.reread(mutant) if mutant.scope == "page" else mutated(self.guide, [mutant])
        claims = self.project.claims_of(own, self.registry)
        flavours = config_of(self.docs.parent).flavours
        try:
            problems = claims.problems(*flavours)
            problems += self.project.mistakes(claims)
        finally:
            claims.close()
        if not problems:
            return None
        return MutantResult(True, "prose", "\n".join(problems), time.monotonic() - started)

    def blocks_of(self, mutant: Mutant) -> list[Block]:
        """Return the blocks that the mutant changes."""
        places = {place for place, _ in mutant.edits}
        return [block for block in self.guide.blocks if places & {block.id, block.file}]

    def misread(self, mutant: Mutant) -> str:
        """Return what the reading of the guide objects to in a page."""
        try:
            other = self.reread(mutant)
        except UserError as error:
            return str(error)
        return inventory.difference(other, self.tests / "inventory.txt") or "\n".join(
            self.registry.strays(other)
        )

    @cached_property
    def copy(self) -> Path:
        """Return a copy of the guide that Sphinx has read once, so that it reads only changes.

        Raises UserError if the copy is read differently from the guide, because that would kill all
        mutants.
        """
        root = Path(tempfile.mkdtemp(dir=self.scratch, prefix="copy-"))
        for name in (self.docs.name, config_of(self.docs.parent).artifacts):
            shutil.copytree(self.docs.parent / name, root / name)
        for beside in ("pyproject.toml", "src"):
            (root / beside).symlink_to(self.docs.parent / beside)
        read = doctree.read(root / self.docs.name, root / "doctrees")
        if (read.blocks, read.claims) != (self.guide.blocks, self.guide.claims):
            raise UserError(f"the guide is read differently in a copy: {root}")
        if os.geteuid() == 0:
            # Whoever follows the guide for root reads it, too.
            self.project.share(root)
        return root

    def reread(self, mutant: Mutant) -> Guide:
        """Read the guide again with a mutated page."""
        ((place, change),) = mutant.edits
        page = self.copy / place
        sound, stat = page.read_text(), page.stat()
        with tempfile.TemporaryDirectory(dir=self.scratch, prefix="doctrees-") as doctrees:
            shutil.copytree(self.copy / "doctrees", doctrees, dirs_exist_ok=True)
            try:
                page.write_text("\n".join(planted(sound.split("\n"), [change])))
                return doctree.read(self.copy / self.docs.name, Path(doctrees))
            finally:
                page.write_text(sound)
                os.utime(page, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    def problem_of_file(self, mutant: Mutant, registry: Registry) -> str:
        """Return the objections of the tools and of these checks of files to an artifact."""
        name = next(block.target for block in self.blocks_of(mutant) if block.kind == "file")
        names = {str(name), *self.project.read_with(str(name), self.guide)}
        return self.problem(mutant, names, registry)

    def problem_of_command(self, mutant: Mutant) -> str:
        """Return shellcheck's objections to the commands."""
        return self.problem(mutant, {place for place, _ in mutant.edits}, self.registry)

    def problem(self, mutant: Mutant, names: set[str], registry: Registry) -> str:
        """Return the problems of these files and commands."""
        findings = self.project.findings_of(mutated(self.guide, [mutant]), registry, names)
        try:
            return "\n".join(problem for of in findings.all.values() for problem in of)
        finally:
            findings.close()

    def unseen(self, mutant: Mutant, seen: dict[str, Seen]) -> str:
        """Return where the mutant's stated output or message differs from what was printed."""
        place = mutant.place
        stated = next(block for block in mutated(self.guide, [mutant]).blocks if block.id == place)
        for flavour in stated.flavours:
            if flavour in seen and place in seen[flavour].compared:
                told = seen[flavour]
                site = Site(Path("/"), flavour, {}, told.ports, values=told.values)
                if problem := mismatch(stated, site, told.compared[place]):
                    return problem
        return ""

    def follow(
        self,
        mutants: Sequence[Mutant],
        flavour: str,
        extent: str = "all",
        patient: bool = False,
    ) -> MutantResult:
        """Follow the guide with these faults, up to the first failure.

        ``extent`` is ``first`` for the blocks before any service, ``all`` for all blocks, or
        ``early`` for those that will probably notice. ``early`` leaves out the blocks that take
        long, the checks aside, which have been asked already, and the checks of what a script or a
        command does not concern. Only a ``patient`` run waits as long as docs-test. If there is no
        difference to follow, there is no run.
        """
        started = time.monotonic()
        pages = [mutant for mutant in mutants if mutant.scope == "page"]
        own = self.reread(pages[0]) if pages else mutated(self.guide, mutants)
        faults = [mutant for mutant in mutants if mutant.operator != CONTROL]
        if faults and self.way(own, flavour) == self.way(self.guide, flavour):
            return MutantResult(False, flavour)
        start = 0 if pages else self.first_concerned(mutants, flavour)
        changed = {block.name for mutant in mutants for block in self.blocks_of(mutant)}
        installed = not changed & {block.name for block in installing(self.guide, flavour)}
        names = self.concerned(mutants) if self.is_near(mutants) else None
        blocks = part(own, flavour, extent, start, installed, names or ())
        registry = self.registry
        if extent == "early":
            registry = registry.lean(names)
            blocks = blocks if names is None else near(names, blocks)
        factor = PATIENT if patient else 1
        with self.site(flavour, start, installed) as site:
            limits = self.project.limits(flavour)
            site.patience = limits.wait * factor
            runner = self.runner(Guide(blocks), site, registry, limits.block * factor)
            reason = failure(runner, limits.run * factor)
        return MutantResult(bool(reason), f"{flavour}", reason, time.monotonic() - started)

    def way(self, own: Guide, flavour: str) -> list[Block | tuple[object, ...]]:
        """Return what a run does; for a block that is not executed here, only the reason."""
        excepted = (self.scratch / f"{flavour}-excepted").read_text().split("\n")
        return [
            (block.id, block.kind, block.reason, block.since, block.needs, block.images)
            if block.id in excepted
            else replace(block, line=0, text_line=0)
            for block in own.of(flavour)
        ]

    def stand(self, flavour: str, offset: int) -> SharedStack:
        """Follow the unmutated guide until its services run, and leave them.

        UserError if it fails.
        """
        # What was stopped, such as the server for the backup, must run again.
        own = self.guide.of(flavour)
        restarted = [block.name or "" for block in own if "restarts" in block.roles]
        blocks = part(self.guide, flavour, "early", 0, installed=True, names=restarted)
        site = self.project.prepare(flavour, offset)
        self.lend_environment(site)
        lean = self.registry.lean()
        timeout = self.project.limits(flavour).block * PATIENT
        runner = self.runner(Guide(blocks), site, lean, timeout)
        for block in runner.blocks:
            outcome = runner.reach(block)
            if outcome.fails:
                runner.close(gently=False)
                site.remove()
                raise UserError(f"the unmutated guide fails: {outcome.reason}")
        return left_by(runner)

    def checks_aside(self, mutants: Sequence[Mutant], flavour: str) -> list[Check]:
        """Return the checks aside about what the mutants concern, or all if there are no mutants.

        Those before the first service are asked on the way there.
        """
        beginning = beginning_of(self.guide, flavour)
        rest = {block.name for block in self.guide.of(flavour)[len(beginning) :] if block.name}
        names = rest & self.concerned(mutants) if mutants else rest
        checks = [check for name in names for check in self.registry.checks.get(name, [])]
        return [check for check in dict.fromkeys(checks) if check in self.registry.aside]

    def look(self, mutants: Sequence[Mutant], shared: SharedStack) -> MutantResult:
        """Judge the mutants by commands that only ask and by the checks aside, on a shared stack.

        A check that had to wait too long says nothing; a run will tell.
        """
        started = time.monotonic()
        own = mutated(self.guide, mutants)
        for problem in self.problems_aside(own, mutants, shared):
            verdict = MutantResult(True, "aside", problem, time.monotonic() - started)
            if not verdict.hasty:
                return verdict
        return MutantResult(False, "aside")

    def problems_aside(
        self, own: Guide, mutants: Sequence[Mutant], shared: SharedStack
    ) -> Iterator[str]:
        """Yield the objections of the checks aside and of the mutants' commands."""
        # Blocks that have changed places may do anything where a question is expected.
        single = [mutant for mutant in mutants if len({place for place, _ in mutant.edits}) == 1]
        changed = {block.id for mutant in single for block in self.blocks_of(mutant)}
        asked = [block for block in own.blocks if block.id in changed or not mutants]
        heard: dict[str, str] = {}
        try:
            with shared.beside(self.project, own) as site:
                problem = shared.ask(asked, own, site)
                heard = site.outputs
        except UserError as error:  # a command waits for a value that no block before it gives
            problem = str(error)
        if problem:
            yield problem
        for check in self.checks_aside(mutants, shared.flavour):
            # Each has files of its own, so what a faulty script leaves behind disturbs no other.
            try:
                with shared.beside(self.project, own) as place:
                    place.outputs |= heard
                    check(place)
            except Exception as error:  # a check may find the script odd in any way
                yield denial(check, error)

    def runner(self, own: Guide, site: Site, registry: Registry, timeout: float) -> Runner:
        """Return a runner whose tools have been asked before."""
        silent = self.project.findings_of(Guide([]), registry, ())
        version = self.project.version
        return Runner(own, site, registry, silent, version=version, timeout=timeout)

    def concerned(self, mutants: Sequence[Mutant]) -> set[str]:
        """Return the names of the blocks that the mutants change, or that name a changed file."""
        changed = [block for mutant in mutants for block in self.blocks_of(mutant)]
        files = {block.target for block in changed if block.kind == "file" and block.target}
        return {
            block.name
            for block in self.guide.blocks
            if block.name and (block in changed or any(file in block.text for file in files))
        }

    def is_near(self, mutants: Sequence[Mutant]) -> bool:
        """Return whether all are of scripts or commands.

        Anything may miss a service or a setting.
        """
        near = (mutant.place.endswith(".sh") or mutant.scope == "block" for mutant in mutants)
        return bool(mutants) and all(near)

    def first_concerned(self, mutants: Sequence[Mutant], flavour: str) -> int:
        """Return how many blocks of the beginning come before the first that has changed."""
        changed = {block.id for mutant in mutants for block in self.blocks_of(mutant)}
        beginning = [block.id for block in beginning_of(self.guide, flavour)]
        numbers = [number for number, block in enumerate(beginning) if block in changed]
        return min(numbers, default=len(beginning))

    def lend_environment(self, site: Site) -> None:
        """Put a prepared virtual environment where the guide's own would be, activated."""
        venv = self.scratch / f"{site.flavour}-venv"
        if venv.exists():
            own = site.folder / self.project.installed
            own.symlink_to(venv)
            site.environment["PATH"] = f"{own / 'bin'}{os.pathsep}{site.environment['PATH']}"

    @contextmanager
    def site(self, flavour: str, start: int, installed: bool) -> Iterator[Site]:
        """Give a fresh folder with what the first ``start`` blocks made; perhaps with packages."""
        site = self.project.prepare(flavour, self.free_offset(flavour))
        try:
            if start:
                self.copy_files(self.scratch / f"{flavour}-{start}", site.folder)
            if installed:
                self.lend_environment(site)
            yield site
        finally:
            site.remove()

    def free_offset(self, flavour: str) -> int:
        """Return this worker's ports, once the services of the last runner have released them."""
        deadline = time.monotonic() + self.project.limits(flavour).wait
        while not all(map(is_free, self.project.ports(flavour, self.offset))):
            if time.monotonic() > deadline:
                raise UserError(f"the ports at offset {self.offset} are still not free")
            time.sleep(0.1)
        return self.offset

    def see(self, flavour: str) -> Seen:
        """Follow the unmutated guide, which must pass; keep what the others start with.

        Raises UserError for a block that fails.
        """
        blocks = part(self.guide, flavour, "all", 0, installed=True)
        beginning = beginning_of(self.guide, flavour)
        with self.site(flavour, 0, installed=True) as site:
            timeout = self.project.limits(flavour).block * PATIENT
            runner = self.runner(Guide(blocks), site, self.registry, timeout)
            try:
                self.see_each(runner, flavour, len(beginning))
            finally:
                runner.close(gently=False)
            excepted = [one.block.id for one in runner.outcomes if one.outcome == "excepted"]
            (self.scratch / f"{flavour}-excepted").write_text("\n".join(excepted))
            return Seen(site.ports, dict(site.values), runner.compared)

    def copy_files(self, kept: Path, folder: Path) -> None:
        """Copy a reader's folder without what was installed."""
        copy_files(kept, folder, [self.project.installed])

    def see_each(self, runner: Runner, flavour: str, beginning: int) -> None:
        """Reach each block; keep the folder as it is after each block of the beginning."""
        for block in runner.blocks:
            outcome = runner.reach(block)
            if outcome.fails:
                raise UserError(f"the unmutated guide fails: {outcome.reason}")
            if len(runner.outcomes) <= beginning:
                place = self.scratch / f"{flavour}-{len(runner.outcomes)}"
                self.copy_files(runner.site.folder, place)


def failure(runner: Runner, seconds: int) -> str:
    """Return why the first failing block fails; empty if none does. End all that was started."""
    try:
        with limited(seconds):
            reached = (runner.reach(block) for block in runner.blocks)
            failed = next((one for one in reached if one.fails), None)
        return f"{failed.block.id}: {failed.reason}" if failed else ""
    except TimeoutError:
        return f"{runner.blocks[len(runner.outcomes)].id}: no end within {seconds} s"
    except Exception as error:  # an error within docs-test itself is a failure as well
        return f"{runner.blocks[len(runner.outcomes)].id}: {type(error).__name__}: {error}"
    finally:
        runner.close(gently=False)


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in the block after so many seconds, whatever it waits for."""

    def expire(number: int, frame: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, expire)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def beginning_of(own: Guide, flavour: str) -> list[Block]:
    """Return the blocks before the page where the first service is started."""
    blocks = own.of(flavour)
    start = next((block.page for block in blocks if "starts" in block.roles), None)
    return list(takewhile(lambda block: block.page != start, blocks))


def near(names: Collection[str], blocks: list[Block]) -> list[Block]:
    """Return the blocks up to a little after the last of these names."""
    numbers = [number for number, block in enumerate(blocks) if block.name in names]
    last = max(numbers, default=0)
    return blocks[:last] + with_next_commands(blocks[last:])


def part(
    own: Guide,
    flavour: str,
    extent: str,
    start: int,
    installed: bool,
    names: Collection[str] = (),
) -> list[Block]:
    """Return the blocks to follow, from ``start`` in the beginning on; install nothing twice.

    An early part contains only those of the late blocks that have one of these ``names``.
    """
    beginning = beginning_of(own, flavour)
    rest = own.of(flavour)[len(beginning) :]
    if installed:
        rest = [block for block in rest if "installs" not in block.roles]
    # What takes long and seldom tells anything new comes last.
    late = [
        block for block in rest if block.last or block.kind == "message" or "slow" in block.roles
    ]
    early = [block for block in rest if block not in late or block.name in names]
    if extent == "first":
        return with_next_commands(beginning[start:])
    if extent == "early":
        return [*beginning[start:], *early]
    return [*beginning[start:], *(block for block in rest if block not in late), *late]


def with_next_commands(blocks: list[Block]) -> list[Block]:
    """Return the blocks up to the second command: a script is made executable, then run."""
    commands = [number for number, block in enumerate(blocks) if block.kind == "command"]
    return blocks[: commands[1] + 1] if len(commands) > 1 else blocks


def installing(own: Guide, flavour: str) -> list[Block]:
    """Return what installs the programs of the flavour."""
    return [block for block in own.of(flavour) if "installs" in block.roles]


def install(project: Project, own: Guide, flavour: str, output: Path) -> Path:
    """Make the virtual environment with the guide's own commands, once; UserError if one fails."""
    blocks = installing(own, flavour)
    commands = "".join(block.text for block in blocks)
    needed = named_in(commands, own.files())
    commands += "".join(file.text for file in needed)
    folder = output / f"installed-{hashlib.sha256(commands.encode()).hexdigest()[:12]}"
    if (folder / "complete").exists():
        return folder / project.installed
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for file in needed:
        (folder / str(file.target)).write_text(file.text + "\n")
    site = project.site(folder, flavour, 0)
    with Shell(folder, site.environment) as shell:
        for block in blocks:
            result = shell.run(render_command(block, {}, {}))
            if result.problem:
                raise UserError(f"{failure_message(block, result)}\n{result.output[-2000:]}")
    # Its packages unpack programs when they are first used.
    project.share(folder)
    (folder / "complete").touch()
    return folder / project.installed


# The worker's bench; every task of a worker process uses its own.
BENCH: Bench


def open_bench(
    project: Project, registry: Registry, docs: Path, tests: Path, scratch: Path, offsets: Any
) -> None:
    """Set this process up as a worker: quiet, and with ports of its own."""
    global BENCH
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
    BENCH = Bench(project, registry, docs, tests, scratch, offsets.get())


def judge(mutant: Mutant, seen: dict[str, Seen]) -> MutantResult | None:
    """Bench.judge in a worker."""
    return BENCH.judge(mutant, seen)


def weigh(mutant: Mutant) -> MutantResult | None:
    """Bench.weigh in a worker."""
    return BENCH.weigh(mutant)


def follow(mutants: Sequence[Mutant], flavour: str, extent: str, patient: bool) -> MutantResult:
    """Bench.follow in a worker."""
    with BENCH.project.acting(flavour):
        return BENCH.follow(mutants, flavour, extent, patient)


def see(flavour: str) -> Seen:
    """Bench.see in a worker."""
    with BENCH.project.acting(flavour):
        return BENCH.see(flavour)


def stand(flavour: str, offset: int) -> SharedStack:
    """Bench.stand in a worker."""
    with BENCH.project.acting(flavour):
        return BENCH.stand(flavour, offset)


def look(mutants: Sequence[Mutant], shared: SharedStack) -> MutantResult:
    """Bench.look in a worker."""
    with BENCH.project.acting(shared.flavour):
        return BENCH.look(mutants, shared)
