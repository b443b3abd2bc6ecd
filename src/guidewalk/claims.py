"""The guide's claims: what becomes of every inline literal and link of its prose and tables.

What artifacts and programs can tell is checked at once. What only the running stack can tell is
checked when a run has everything up.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

from guidewalk.guide import DENIAL, Claim, Guide
from guidewalk.registry import Registry, nearest
from guidewalk.site import Site

# Returns what is wrong with the claim in the running stack; empty if nothing is.
Later = Callable[[Any], str]


@dataclass(frozen=True)
class Finding:
    """What a recogniser has found: a problem, a reason not to check, or what to check later."""

    problem: str = ""
    unchecked: str = ""
    later: Later | None = None


HOLDS = Finding()

# A recogniser gets the project's sources; None means that the claim is of another kind.
Recogniser = Callable[[Claim, Any], Finding | None]
# By role ("" for none), then by the name of what they recognise.
Recognisers = dict[str, dict[str, Recogniser]]

Outcome = Literal["checked", "excepted", "failed", "unrecognised", "not reached"]


@dataclass(frozen=True)
class Verdict:
    """The result for one claim; ``kind`` is what it was recognised as."""

    claim: Claim
    kind: str
    outcome: Outcome
    reason: str = ""

    def as_json(self, flavour: str) -> dict[str, Any]:
        """Return the verdict as the report has it."""
        return {
            "page": self.claim.page,
            "source": self.claim.source,
            "line": self.claim.line,
            "literal": self.claim.text,
            "flavour": flavour,
            "recognised_as": self.kind,
            "outcome": self.outcome,
            "reason": self.reason,
        }


class Claims:
    """All claims of one guide, each recognised once, in the background from the beginning."""

    def __init__(
        self,
        guide: Guide,
        recognisers: Recognisers,
        sources: Any,
        is_used: Callable[[str], bool],
        registry: Registry,
        is_tested: Callable[[str], bool],
        hint: Callable[[Claim], str] = lambda claim: "",
    ) -> None:
        """Start to recognise the claims; without ``recognisers`` none is checked.

        ``sources`` is what the recognisers look into. ``is_used`` tells whether a variable that the
        prose says to be ignored is read or set. The ``registry`` has the checks that show what the
        prose denies; ``is_tested`` tells whether the project has another test of this name.
        ``hint`` tells what a claim of no kind may have meant.
        """
        self.guide = guide
        self.registry = registry
        self.recognisers = recognisers
        self.sources = sources
        self.is_used = is_used
        self.is_tested = is_tested
        self.hint = hint
        # The verdicts of the running stacks, by flavour, and how many seconds they took.
        self.settled: dict[str, dict[Claim, Verdict]] = {}
        self.seconds = 0.0
        self.pool = ThreadPoolExecutor(1, thread_name_prefix="claims")
        self.running = self.pool.submit(self.recognise_all)

    def recognise_all(self) -> dict[Claim, tuple[str, Finding]]:
        """Return what each claim is, and what was found about it without a stack."""
        claims = self.guide.claims if self.recognisers else []
        return {claim: self.try_to_recognise(claim) for claim in claims}

    @property
    def recognised(self) -> dict[Claim, tuple[str, Finding]]:
        """The same, as soon as it is known."""
        return self.running.result()

    def try_to_recognise(self, claim: Claim) -> tuple[str, Finding]:
        """Return what this claim is; an artifact may be damaged in any way."""
        try:
            return self.recognise(claim)
        except Exception as error:
            return "", Finding(f"it cannot be checked: {type(error).__name__}: {error}")

    def recognise(self, claim: Claim) -> tuple[str, Finding]:
        """Return what this claim is.

        A claim of no kind, or of several kinds, has that as its problem.
        """
        if claim.role == DENIAL:
            return DENIAL, self.denied(claim)
        if claim.mark in ("beyond", "ignored"):
            return claim.mark, self.marked(claim)
        found = self.kinds(claim)
        if claim.mark == "elsewhere" and not found:
            return claim.mark, Finding(unchecked=f"not on this machine: {claim.reason}")
        if len(found) == 1:
            return next(iter(found.items()))
        if found:
            return "", Finding(f"this may be {' or '.join(found)}: give it a role")
        remedy = "give it a role, or mark it by '.. beyond:: LITERAL - REASON'"
        return "", Finding(f"nothing here knows this: {self.hint(claim) or remedy}")

    def kinds(self, claim: Claim) -> dict[str, Finding]:
        """Return the findings of all recognisers that know the claim."""
        candidates = self.recognisers.get(claim.role, {})
        asked = {kind: recogniser(claim, self.sources) for kind, recogniser in candidates.items()}
        return {kind: finding for kind, finding in asked.items() if finding is not None}

    def denied(self, claim: Claim) -> Finding:
        """Find out whether a check, or a test of the project's, shows what the sentence says."""
        if claim.mark == "beyond":
            return Finding(unchecked=claim.reason)
        if claim.mark != "denied":
            return Finding(
                "this denies something: name what checks that by '.. denied:: WORDS - CHECK'"
            )
        shown = self.registry.flavours_of(claim.reason, self.guide)
        if shown.intersection(claim.flavours) or self.is_tested(claim.reason):
            return HOLDS
        near = nearest(claim.reason, self.registry.names())
        return Finding(f"there is no check {claim.reason} of this flavour, and no such test{near}")

    def marked(self, claim: Claim) -> Finding:
        """Find out whether the mark that excepts the claim is still needed."""
        if claim.mark == "ignored":
            if self.is_used(claim.text.partition("=")[0]):
                return Finding(f"stale 'ignored: {claim.text}': it is read or set")
        else:
            # What is known and refused may well be something of a neighbour's.
            known = [kind for kind, finding in self.kinds(claim).items() if not finding.problem]
            if known:
                return Finding(f"stale 'beyond: {claim.text}': it is known as {known[0]}")
        return Finding(unchecked=claim.reason)

    def verdict(self, claim: Claim, flavour: str) -> Verdict:
        """Return the result for the claim in this flavour so far."""
        if settled := self.settled.get(flavour, {}).get(claim):
            return settled
        kind, finding = self.recognised[claim]
        if finding.problem:
            outcome: Outcome = "failed" if kind else "unrecognised"
            return Verdict(claim, kind, outcome, finding.problem)
        if finding.unchecked:
            return Verdict(claim, kind, "excepted", finding.unchecked)
        return Verdict(claim, kind, "not reached" if finding.later else "checked")

    def of(self, flavour: str) -> list[Verdict]:
        """Return the results for the claims that a reader of this flavour meets."""
        claims = self.recognised
        return [self.verdict(claim, flavour) for claim in claims if flavour in claim.flavours]

    def settle(self, site: Site) -> None:
        """Ask the running stack for what only it can tell."""
        started = time.monotonic()
        answers = self.settled.setdefault(site.flavour, {})
        for claim, (kind, finding) in self.recognised.items():
            if finding.later and not finding.problem and site.flavour in claim.flavours:
                problem = seen(finding.later, site)
                outcome: Outcome = "failed" if problem else "checked"
                answers[claim] = Verdict(claim, kind, outcome, problem)
        self.seconds += time.monotonic() - started

    def problems(self, *flavours: str) -> list[str]:
        """Return what is wrong with the claims of these flavours, each once, with page and line."""
        verdicts = [verdict for flavour in flavours for verdict in self.of(flavour)]
        return list(dict.fromkeys(map(told, filter(is_wrong, verdicts))))

    def denied_by_stack(self, flavour: str) -> list[str]:
        """Return only what the running stack says against the claims."""
        return list(map(told, filter(is_wrong, self.settled.get(flavour, {}).values())))

    def close(self) -> None:
        """Wait for what has been started."""
        self.pool.shutdown()

    def summary(self, flavours: Iterable[str]) -> str:
        """Return how many claims have which result, by flavour."""
        parts = []
        for flavour in flavours:
            counts = Counter(verdict.outcome for verdict in self.of(flavour))
            told = ", ".join(f"{number} {outcome}" for outcome, number in sorted(counts.items()))
            parts.append(f"{told or 'none'} ({flavour})")
        return "claims: " + "; ".join(parts)

    def rows(self, flavours: Iterable[str]) -> list[dict[str, Any]]:
        """Return all verdicts as the report has them."""
        return [verdict.as_json(flavour) for flavour in flavours for verdict in self.of(flavour)]


def is_wrong(verdict: Verdict) -> bool:
    """Return whether docs-test fails because of the claim."""
    return verdict.outcome in ("failed", "unrecognised")


def told(verdict: Verdict) -> str:
    """Return the claim's place, the claim, and what became of it."""
    return f"{verdict.claim.place}: ``{verdict.claim.text}``: {verdict.reason}"


def seen(look: Later, site: Site) -> str:
    """Return what is wrong in the running stack; if it cannot be checked, that is wrong too."""
    try:
        return look(site)
    except Exception as error:  # the stack may be odd in any way
        return f"it cannot be checked: {type(error).__name__}: {error}"
