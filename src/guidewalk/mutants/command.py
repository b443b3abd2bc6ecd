"""The command that plants faults in a guide; a project's own script passes in its subject."""

from __future__ import annotations

import argparse
import random
import signal
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from guidewalk import cache, processes
from guidewalk.config import ALL, chosen, config_of
from guidewalk.console import say
from guidewalk.errors import UserError
from guidewalk.mutants import changed, equivalents, plan, results
from guidewalk.mutants.plan import Mutant
from guidewalk.mutants.progress import Stages
from guidewalk.mutants.run import Plan, Run
from guidewalk.mutants.score import WANTED, WHOLE, Report, Row
from guidewalk.project import Project
from guidewalk.registry import Registry

# Runs wait more than they work.
JOBS = 4
INTERRUPTED = 130


def options(arguments: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="nox -s docs-mutants --", description=__doc__)
    parser.add_argument(
        "--seed", type=int, default=0, help="which fault to draw where there are several of a kind"
    )
    parser.add_argument("--flavour", default=ALL, help="follow only this flavour")
    parser.add_argument("--changed", action="store_true", help="only what the branch has touched")
    parser.add_argument("--base", default="", help="the commit to compare the branch with")
    parser.add_argument("--at-most", type=int, help="try only so many, drawn with the seed")
    parser.add_argument("-k", dest="word", default="", help="only mutants with this in their title")
    parser.add_argument("--jobs", type=int, default=JOBS, help="how many runs at the same time")
    parser.add_argument(
        "--only-survivors", action="store_true",
        help="try again what survived in any earlier state; what was killed then counts as killed",
    )  # fmt: skip
    return parser.parse_args(arguments)


@dataclass(frozen=True)
class Subject:
    """Whose guide it is: the project, its checks, and the folders of the guide and its tests."""

    project: Project
    registry: Registry
    docs: Path
    tests: Path

    @property
    def root(self) -> Path:
        """The project's folder."""
        return self.docs.parent


def main(subject: Subject, arguments: list[str]) -> int:
    """Run the command; return 0 if enough mutants were killed and no reason is stale."""
    try:
        return run(subject, options(arguments))
    except UserError as error:
        return complain([str(error)])
    except KeyboardInterrupt:
        print("docs-mutants: interrupted; run it again to continue", file=sys.stderr)
        return INTERRUPTED


def run(subject: Subject, asked: argparse.Namespace) -> int:
    """Try the requested mutants, and report."""
    output = subject.root / "build" / "docs-mutants"
    started = datetime.now(UTC)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    processes.clear_abandoned(subject.project.clear)
    own = cache.load(subject.docs)
    flavours, notes = usable(subject, asked.flavour)
    candidates = plan.candidates(own, subject.docs)
    every = [mutant for mutant in candidates if set(mutant.flavours) & set(flavours)]
    entries = equivalents.load(subject.tests / "equivalents.toml")
    entries = equivalents.applicable(entries, flavours)
    stale = list(equivalents.without_mutant(entries, candidates))
    mutants, scope = selected(plan.chosen(every, asked.seed), asked, subject.root)
    if not mutants:
        say(f"docs-mutants: there is no mutant to try ({scope})")
        return complain(stale)
    state = results.state_of(subject.root)
    kept = results.Store(output / "results.jsonl", state, flavours)
    known = kept.known()
    if asked.only_survivors:
        earlier = kept.known(of_any_state=True)
        known = {key: verdict for key, verdict in earlier.items() if verdict.killed} | known
        notes.append("What was killed in an earlier state of the guide counts as killed.")
    left = [mutant for mutant in mutants if mutant.key not in known]
    say(f"docs-mutants: {len(mutants)} mutants ({scope}), {len(left)} to try")
    todo = Plan(
        subject.project, subject.registry, own, subject.docs, subject.tests, mutants, flavours,
        asked.jobs, entries,
    )  # fmt: skip
    with Run(todo, kept, known, Stages()) as trials:
        verdicts = trials.go()
    rows = [
        Row(mutant, verdicts[mutant.key], equivalents.reason_for(mutant, entries))
        for mutant in mutants
    ]
    found = Report(
        rows, seed=asked.seed, flavours=flavours, scope=scope, state=state, started=started,
        notes=notes, versions=subject.project.versions(),
    )  # fmt: skip
    found.write(output)
    found.tell(output.relative_to(subject.root))
    return judge(found, stale)


def usable(subject: Subject, flavour: str) -> tuple[tuple[str, ...], list[str]]:
    """Return the flavours to follow, and a note for each that cannot be followed."""
    every = config_of(subject.root).flavours
    problems = {one: subject.project.problem(one) for one in chosen(flavour, every)}
    notes = [f"The {one} flavour was not followed: {why}." for one, why in problems.items() if why]
    return tuple(one for one, why in problems.items() if not why), notes


def selected(
    mutants: list[Mutant], asked: argparse.Namespace, root: Path
) -> tuple[list[Mutant], str]:
    """Return the mutants to try, and a description of the selection."""
    scope = WHOLE
    if asked.changed:
        base = changed.base_of(root, asked.base)
        mutants = changed.concerned(mutants, changed.touched(root, base))
        scope = f"changed since {base[:10]}"
    if asked.word:
        mutants = [mutant for mutant in mutants if asked.word in mutant.title]
        if not mutants:
            raise UserError(f"no mutant ({scope}) has {asked.word!r} in its title")
        scope += f", -k {asked.word}"
    if asked.at_most is not None and asked.at_most < len(mutants):
        scope += f", {asked.at_most} of {len(mutants)}"
        mutants = random.Random(asked.seed).sample(mutants, asked.at_most)
    return mutants, scope


def judge(found: Report, stale: list[str]) -> int:
    """Print what is wrong on stderr; return the exit status."""
    problems = [*stale, *(f"stale: it is killed ({row.verdict.reason.splitlines()[0]}): "
                          f"{row.mutant.title}" for row in found.stale)]  # fmt: skip
    if found.score < WANTED:
        problems.append(f"score {found.score:.1%}: at least {WANTED:.0%} must be killed")
    return complain(problems)


def complain(problems: list[str]) -> int:
    """Print what is wrong on stderr; return the exit status."""
    for problem in problems:
        print(f"docs-mutants: {problem}", file=sys.stderr)
    return 1 if problems else 0


def interrupt(number: int, frame: object) -> None:
    """Treat the signal as Ctrl-C."""
    raise KeyboardInterrupt
