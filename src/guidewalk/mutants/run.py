"""One run: which mutants are tried, in which order, by how many workers, and the results."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from guidewalk import processes
from guidewalk.errors import UserError
from guidewalk.guide import Guide
from guidewalk.mutants import bench
from guidewalk.mutants import plan as plans
from guidewalk.mutants.bench import MutantResult, Seen
from guidewalk.mutants.equivalents import Entry, reason_for
from guidewalk.mutants.plan import Mutant, overlap
from guidewalk.mutants.progress import Stages
from guidewalk.mutants.results import Results, Store
from guidewalk.project import Project
from guidewalk.registry import Registry
from guidewalk.site import PREFIX, is_free

# So many mutants that will probably survive are tried together; a group that fails is halved.
GROUP = 24
# For so many runs there is one worker that repeats runs that hit a time limit, with more time.
WALKS_PER_PATIENT = 2
# After so many mutants the unmutated guide is tried, to see that only their faults disturb them.
BATCH = 40

# Each with its mutant; those without one follow the unmutated guide.
Walks = dict[Future[MutantResult], Mutant | None]
Found = list[tuple[Mutant, MutantResult]]


@dataclass
class Plan:
    """What a run is to do: these mutants, these flavours, so many workers."""

    project: Project
    registry: Registry
    guide: Guide
    docs: Path
    tests: Path
    mutants: list[Mutant]
    flavours: tuple[str, ...]
    jobs: int
    entries: list[Entry] = field(default_factory=list)


class Run:
    """The workers, and the results as they come; a context manager that leaves nothing behind."""

    def __init__(self, plan: Plan, store: Store, known: Results, progress: Stages) -> None:
        self.plan = plan
        self.store = store
        self.progress = progress
        # What so far is known only by a transcription, by key.
        self.transcribed: Results = {}
        self.results = {m.key: known[m.key] for m in plan.mutants if m.key in known}
        self.seen: dict[str, Seen] = {}
        self.scratch = Path(tempfile.mkdtemp(prefix=f"{PREFIX}mutants-"))
        (self.scratch / "runner").write_text(str(os.getpid()))
        # Runs of both flavours, of the reader and of root, leave what others continue from.
        plan.project.share(self.scratch)
        context = multiprocessing.get_context("forkserver")
        manager = context.Manager()
        offsets = manager.Queue()
        patient = max(1, plan.jobs // WALKS_PER_PATIENT)
        self.offset, *others = separate_offsets(
            plan.project, plan.jobs + patient + 1, plan.flavours
        )
        for offset in others:
            offsets.put(offset)
        self.manager = manager
        given = (plan.project, plan.registry, plan.docs, plan.tests, self.scratch, offsets)
        self.pool = ProcessPoolExecutor(plan.jobs, context, bench.open_bench, given)
        # Patient runs wait more than they work, so others need not wait for them.
        self.patient = ProcessPoolExecutor(patient, context, bench.open_bench, given)

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: object, *details: object) -> None:
        """End the workers, at once if something went wrong, and remove what they shared."""
        for pool in (self.pool, self.patient):
            if kind:
                for process in list((pool._processes or {}).values()):
                    process.terminate()
            pool.shutdown(wait=True, cancel_futures=True)
        self.manager.shutdown()
        processes.clear_abandoned(self.plan.project.clear)
        shutil.rmtree(self.scratch, ignore_errors=True)

    def go(self) -> Results:
        """Try everything that has no result yet; UserError if the unmutated guide fails."""
        if self.missing():
            self.prepare()
            self.judge()
            self.begin()
            for flavour in self.plan.flavours:
                if self.missing_in(flavour):
                    self.look(flavour)
                    self.follow(flavour)
        return self.results

    def missing(self) -> list[Mutant]:
        """Return the mutants without a result."""
        return [mutant for mutant in self.plan.mutants if mutant.key not in self.results]

    def conclude(self, mutant: Mutant, verdict: MutantResult) -> None:
        """Keep a result."""
        self.results[mutant.key] = verdict
        self.store.add([(mutant.key, verdict)])
        self.progress.count(verdict.killed)

    def prepare(self) -> None:
        """Install what the runs need, and check that the unmutated guide passes."""
        with self.progress.stage("unmutated guide", len(self.plan.flavours)):
            for flavour in self.plan.flavours:
                if bench.installing(self.plan.guide, flavour):
                    own = self.plan.project, self.plan.guide, flavour
                    venv = bench.install(*own, self.store.path.parent)
                    (self.scratch / f"{flavour}-venv").symlink_to(venv)
            waiting = {self.pool.submit(bench.see, flavour): flavour
                       for flavour in self.plan.flavours}  # fmt: skip
            for future in done_ones(waiting):
                self.seen[waiting[future]] = future.result()
                self.progress.step()

    def judge(self) -> None:
        """Ask the tools and what needs no service; UserError if they object to the guide itself."""
        todo = self.missing()
        with self.progress.stage("tools", len(todo)):
            self.take_kills(
                {
                    self.pool.submit(bench.judge, mutant, self.seen_of(mutant)): mutant
                    for mutant in (*plans.controls(todo), *todo)
                }
            )

    def weigh(self, todo: Sequence[Mutant]) -> None:
        """Ask the prose about what nothing else has noticed."""
        with self.progress.stage("prose", len(todo)):
            self.take_kills({self.pool.submit(bench.weigh, mutant): mutant for mutant in todo})

    def take_kills(self, waiting: dict[Future[MutantResult | None], Mutant]) -> None:
        """Keep the kills as they come; mutants without a verdict are tried further."""
        for future in done_ones(waiting):
            mutant, verdict = waiting[future], future.result()
            if mutant.operator == plans.CONTROL:
                refuse_control(mutant, verdict)
                continue
            if verdict and verdict.transcribed:
                # A later stage may notice what it does.
                self.transcribed[mutant.key] = verdict
            elif verdict:
                self.conclude(mutant, verdict)
            self.progress.step()

    def seen_of(self, mutant: Mutant) -> dict[str, Seen]:
        """Return what a stated output or message is compared with."""
        stated = {block.id for block in self.plan.guide.blocks
                  if block.kind in ("output", "message")}  # fmt: skip
        return self.seen if mutant.place in stated else {}

    def begin(self) -> None:
        """Follow the guide up to the first service, for mutants of that part."""
        todo = [
            mutant
            for mutant in self.missing()
            if self.is_of_beginning(mutant) and not reason_for(mutant, self.plan.entries)
        ]
        with self.progress.stage("before the services", len(todo)):
            everything = [*plans.controls(todo), *todo]
            self.finish(self.try_each(everything, self.plan.flavours[0], "first"))

    def is_of_beginning(self, mutant: Mutant) -> bool:
        """Return whether it is of a command before the first service, or of a script of one."""
        beginning = [
            block
            for block in bench.beginning_of(self.plan.guide, self.plan.flavours[0])
            if block.language == "bash" and not (block.target or "").endswith(".env")
        ]
        places = {block.id for block in beginning} | {block.file for block in beginning}
        return any(place in places for place, _ in mutant.edits)

    def look(self, flavour: str) -> None:
        """Ask the checks that work aside, all of them with one stack.

        Kills count if the unmutated guide passes after them; UserError if it does not.
        """
        todo = [
            mutant
            for mutant in self.missing_in(flavour)
            if not reason_for(mutant, self.plan.entries)
        ]
        if not todo:
            return
        with self.progress.stage(f"aside, {flavour}", len(todo)):
            shared = self.pool.submit(bench.stand, flavour, self.offset).result()
            try:
                batches = [self.submit(some, bench.look, shared) for some in batched(todo, BATCH)]
                before: Found = []
                for waiting in batches:
                    found = self.collect(waiting)
                    self.take(before)
                    before = found
                self.collect(self.submit((), bench.look, shared))
                self.take(before)
            finally:
                shared.end(self.plan.project)

    def missing_in(self, flavour: str) -> list[Mutant]:
        """Return the mutants of this flavour without a result."""
        return [mutant for mutant in self.missing() if flavour in mutant.flavours]

    def follow(self, flavour: str) -> None:
        """Follow the guide: one by one with probable kills, and in groups with the rest."""
        todo = self.missing_in(flavour)
        single = [mutant for mutant in todo if not self.will_survive(mutant)]
        with self.progress.stage(f"services, {flavour}", len(single)):
            slow = self.try_each(single, flavour, "early")
        done = {*self.results, *(mutant.key for mutant in slow.values() if mutant)}
        todo = [mutant for mutant in todo if mutant.key not in done]
        with self.progress.stage(f"to the end, {flavour}", len(todo)):
            survivors = self.try_groups(todo, flavour)
            survivors += self.try_groups(self.finish(slow), flavour)
        # Reading a page has already asked the prose about its markup.
        self.weigh([mutant for mutant in survivors if mutant.scope != "page"])
        others = self.plan.flavours[self.plan.flavours.index(flavour) + 1 :]
        for mutant in survivors:
            if mutant.key not in self.results and not set(others) & set(mutant.flavours):
                survived = MutantResult(False, flavour)
                self.conclude(mutant, self.transcribed.get(mutant.key, survived))

    def will_survive(self, mutant: Mutant) -> bool:
        """Return whether the services will probably notice nothing."""
        if mutant.scope == "page":
            return False
        script = mutant.place.endswith(".sh") and self.is_of_beginning(mutant)
        return script or bool(reason_for(mutant, self.plan.entries))

    def try_each(self, mutants: Sequence[Mutant], flavour: str, extent: str) -> Walks:
        """Follow the guide with one mutant at a time; repeat patiently those that hit a time limit.

        Kills count if the unmutated guide has passed among them; UserError if it has not.
        """
        slow: Walks = {}
        details = (flavour, extent, False)
        # Before the services, runs do not disturb each other.
        control = extent != "first"
        batches = [
            self.submit(some, bench.follow, *details, control=control)
            for some in batched(mutants, BATCH)
        ]
        for waiting in batches:
            found = self.collect(waiting)
            hasty = [mutant for mutant, verdict in found if verdict.hasty]
            slow |= {self.try_patiently([mutant], flavour, extent): mutant for mutant in hasty}
            self.take((mutant, verdict) for mutant, verdict in found if not verdict.hasty)
        return slow

    def try_patiently(
        self, mutants: Sequence[Mutant], flavour: str, extent: str
    ) -> Future[MutantResult]:
        """Try them again, waiting as long as docs-test does."""
        return self.patient.submit(bench.follow, mutants, flavour, extent, True)

    def finish(self, slow: Walks) -> list[Mutant]:
        """Keep the kills of the patient runs; return the mutants that have survived them."""
        found = self.collect(slow, steps=0)
        self.take(found)
        return [mutant for mutant, verdict in found if not verdict.killed]

    def take(self, found: Iterable[tuple[Mutant, MutantResult]]) -> None:
        """Keep the kills."""
        for mutant, verdict in found:
            if verdict.killed:
                self.conclude(mutant, verdict)

    def submit(
        self,
        mutants: Sequence[Mutant],
        task: Callable[..., MutantResult],
        *details: object,
        control: bool = True,
    ) -> Walks:
        """Submit the task for each of these mutants and, as a control, for the unmutated guide."""
        waiting: Walks = {self.pool.submit(task, [mutant], *details): mutant for mutant in mutants}
        if control:
            waiting[self.pool.submit(task, [], *details)] = None
        return waiting

    def collect(self, waiting: Walks, steps: int = 1) -> Found:
        """Return the final results of these mutants; UserError if the guide itself fails.

        Each counts as so many ``steps`` of the stage.
        """
        found: Found = []
        for future in done_ones(waiting):
            mutant, verdict = waiting[future], future.result()
            if mutant and mutant.operator != plans.CONTROL:
                found.append((mutant, verdict))
                self.progress.step(steps)
            else:
                refuse_control(mutant, verdict)
        return found

    def try_groups(self, mutants: Sequence[Mutant], flavour: str) -> list[Mutant]:
        """Follow the whole guide with groups of probable survivors; return the survivors."""
        single = [mutant for mutant in mutants if not self.will_survive(mutant)]
        others = [mutant for mutant in mutants if mutant not in single]
        queue = deque([*([mutant] for mutant in single), *grouped(others, GROUP)])
        waiting: dict[Future[MutantResult], list[Mutant]] = {}
        patient: set[Future[MutantResult]] = set()
        survivors: list[Mutant] = []
        while queue or waiting:
            while queue and len(waiting) - len(patient) < self.plan.jobs:
                group = queue.popleft()
                waiting[self.pool.submit(bench.follow, group, flavour, "all", False)] = group
            finished, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in finished:
                group, verdict = waiting.pop(future), future.result()
                if verdict.killed and len(group) > 1:
                    queue.extend((group[: len(group) // 2], group[len(group) // 2 :]))
                elif verdict.hasty and future not in patient:
                    again = self.try_patiently(group, flavour, "all")
                    waiting[again] = group
                    patient.add(again)
                else:
                    survivors += self.settle(group, verdict)
                patient.discard(future)
        return survivors

    def settle(self, group: list[Mutant], verdict: MutantResult) -> list[Mutant]:
        """Keep the kill of a group of one; return the mutants of a group that has survived."""
        self.progress.step(len(group))
        if not verdict.killed:
            return group
        self.conclude(group[0], verdict)
        return []


def refuse_control(control: Mutant | None, verdict: MutantResult | None) -> None:
    """Raise UserError if there is an objection to the unmutated guide."""
    if verdict and verdict.killed:
        place = f", as of {control.place}" if control else ""
        raise UserError(
            f"the unmutated guide, which passes alone, fails among mutants{place}: "
            f"{verdict.reason.rstrip()}\nif it is for lack of time, try fewer --jobs"
        )


def grouped(mutants: Iterable[Mutant], size: int) -> list[list[Mutant]]:
    """Return the mutants in groups of which no two touch; pages, which are read again, alone."""
    groups: list[list[Mutant]] = []
    for mutant in mutants:
        fitting = (
            group
            for group in groups
            if len(group) < size
            and "page" not in (mutant.scope, group[0].scope)
            and not any(overlap(mutant, other) for other in group)
        )
        group = next(fitting, None)
        if group is None:
            groups.append([mutant])
        else:
            group.append(mutant)
    return groups


def batched(mutants: Sequence[Mutant], size: int) -> Iterator[Sequence[Mutant]]:
    """Yield the mutants in batches of this size."""
    for start in range(0, len(mutants), size):
        yield mutants[start : start + size]


def done_ones[T](futures: Iterable[Future[T]]) -> Iterator[Future[T]]:
    """Yield the futures as they end."""
    left = set(futures)
    while left:
        finished, left = wait(left, return_when=FIRST_COMPLETED)
        yield from finished


def separate_offsets(project: Project, count: int, flavours: tuple[str, ...]) -> list[int]:
    """Return offsets at which no two stacks share a port, and all ports are free now."""
    chosen: list[int] = []
    taken: set[int] = set()
    for offset in range(1000, project.max_offset, 37):
        ports = {port for flavour in flavours for port in project.ports(flavour, offset)}
        if not ports & taken and all(map(is_free, ports)):
            chosen.append(offset)
            taken |= ports
        if len(chosen) == count:
            return chosen
    raise UserError(f"there are no free ports for {count} stacks: end others, or try fewer --jobs")
