"""The command behind ``nox -s docs-mutants``."""

from __future__ import annotations

import argparse
import random
import signal
import sys
from datetime import UTC, datetime
from typing import cast

from guidewalk import cache, processes
from guidewalk.console import say
from guidewalk.errors import UserError
from parsec_stack import engine
from parsec_stack.errors import StackError
from parsec_stack.mutants import changed, equivalents, plan, store
from parsec_stack.mutants.plan import Mutant
from parsec_stack.mutants.progress import Progress
from parsec_stack.mutants.report import WANTED, WHOLE, Report, Row
from parsec_stack.mutants.run import Plan, Run
from parsec_stack.services import FLAVOURS, FlavourName
from parsec_stack.stack import DOCS, ROOT
from parsec_stack.verify.project import ParsecGuide

TESTS = ROOT / "tests" / "docs"
OUTPUT = ROOT / "build" / "docs-mutants"
# Walks wait more than they work.
JOBS = 4


def options(arguments: list[str]) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="nox -s docs-mutants --", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="which of several faults of a kind")
    parser.add_argument(
        "--flavour", choices=[*FLAVOURS, "all"], default="all", help="follow this flavour alone"
    )
    parser.add_argument("--changed", action="store_true", help="only what the branch touched")
    parser.add_argument("--base", default="", help="what the branch is compared with")
    parser.add_argument("--at-most", type=int, help="so many of them, drawn by the seed")
    parser.add_argument("-k", dest="word", default="", help="only mutants with this in their title")
    parser.add_argument("--jobs", type=int, default=JOBS, help="walks at the same time")
    parser.add_argument(
        "--only-survivors", action="store_true",
        help="try again what has survived in any earlier state; what was killed counts as it was",
    )  # fmt: skip
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Run it; the exit status is 0 if enough was killed and no reason is stale."""
    asked = options(arguments)
    started = datetime.now(UTC)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    processes.clear_abandoned(ParsecGuide().clear)
    own = cache.load(DOCS)
    flavours, notes = usable(asked.flavour)
    every = [
        mutant for mutant in plan.candidates(own, DOCS) if set(mutant.flavours) & set(flavours)
    ]
    entries = equivalents.load(TESTS / "equivalents.toml")
    entries = equivalents.applicable(entries, flavours)
    stale = list(equivalents.without_mutant(entries, plan.candidates(own, DOCS)))
    mutants, scope = selected(plan.chosen(every, asked.seed), asked)
    if not mutants:
        say(f"docs-mutants: there is no mutant to try ({scope})")
        return complain(stale)
    state = store.state_of(ROOT)
    results = store.Store(OUTPUT / "results.jsonl", state, flavours)
    known = results.known()
    if asked.only_survivors:
        earlier = results.known(of_any_state=True)
        known = {key: verdict for key, verdict in earlier.items() if verdict.killed} | known
        notes.append("What was killed in an earlier state of the guide counts as it was.")
    left = [mutant for mutant in mutants if mutant.key not in known]
    say(f"docs-mutants: {len(mutants)} mutants ({scope}), {len(left)} to try")
    todo = Plan(own, DOCS, TESTS, mutants, flavours, asked.jobs, entries)
    with Run(todo, results, known, Progress()) as run:
        verdicts = run.go()
    rows = [
        Row(mutant, verdicts[mutant.key], equivalents.reason_for(mutant, entries))
        for mutant in mutants
    ]
    found = Report(
        rows, seed=asked.seed, flavours=flavours, scope=scope, state=state, started=started,
        notes=notes,
    )  # fmt: skip
    found.write(OUTPUT)
    found.tell((OUTPUT).relative_to(ROOT))
    return judge(found, stale)


def usable(flavour: str) -> tuple[tuple[FlavourName, ...], list[str]]:
    """The flavours to follow, and a note if one cannot be."""
    if flavour != "all":
        return (cast(FlavourName, flavour),), []
    if problem := engine.engine_problem():
        return ("native",), [f"The docker flavour was not followed: {problem}."]
    return FLAVOURS, []


def selected(mutants: list[Mutant], asked: argparse.Namespace) -> tuple[list[Mutant], str]:
    """The mutants to try, and which these are, in words."""
    scope = WHOLE
    if asked.changed:
        base = changed.base_of(ROOT, asked.base)
        mutants = changed.concerned(mutants, changed.touched(ROOT, base))
        scope = f"changed since {base[:10]}"
    if asked.word:
        mutants = [mutant for mutant in mutants if asked.word in mutant.title]
        if not mutants:
            raise StackError(f"no mutant ({scope}) has {asked.word!r} in its title")
        scope += f", -k {asked.word}"
    if asked.at_most is not None and asked.at_most < len(mutants):
        scope += f", {asked.at_most} of {len(mutants)}"
        mutants = random.Random(asked.seed).sample(mutants, asked.at_most)
    return mutants, scope


def judge(found: Report, stale: list[str]) -> int:
    """The exit status, with what is wrong on stderr."""
    problems = [*stale, *(f"stale: it is killed ({row.verdict.reason.splitlines()[0]}): "
                          f"{row.mutant.title}" for row in found.stale)]  # fmt: skip
    if found.score < WANTED:
        problems.append(f"score {found.score:.1%}: at least {WANTED:.0%} must be killed")
    return complain(problems)


def complain(problems: list[str]) -> int:
    """The exit status, with what is wrong on stderr."""
    for problem in problems:
        print(f"docs-mutants: {problem}", file=sys.stderr)
    return 1 if problems else 0


def interrupt(number: int, frame: object) -> None:
    """Treat the signal as Ctrl-C."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        print(f"docs-mutants: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("docs-mutants: interrupted; run it again to go on", file=sys.stderr)
        sys.exit(130)
