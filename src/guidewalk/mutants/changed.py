"""Find the lines of the guide that a branch has touched, with git."""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from pathlib import Path

from guidewalk.errors import UserError
from guidewalk.mutants.plan import Mutant

HUNK = re.compile(r"^@@ -\S+ \+(\d+)(?:,(\d+))? @@")
MAIN = ("origin/main", "main", "origin/HEAD")

# The touched lines of each file, by number.
Touched = dict[str, set[int]]


def git(root: Path, *arguments: str) -> str | None:
    """Return what git prints; None if it fails."""
    done = subprocess.run(
        ["git", *arguments], cwd=root, capture_output=True, text=True, check=False
    )
    return done.stdout if done.returncode == 0 else None


def base_of(root: Path, reference: str = "") -> str:
    """Return the commit to compare with.

    It is the reference, the commit where the branch left main, or the previous commit.
    """
    if reference:
        return merge_base(root, reference) or fail(f"git knows no '{reference}' here")
    head = git(root, "rev-parse", "HEAD")
    for name in MAIN:
        found = merge_base(root, name)
        if found and head and found != head.strip():
            return found
    before = git(root, "rev-parse", "--verify", "--quiet", "HEAD~1")
    return (
        before.strip()
        if before
        else fail("git knows no earlier commit: name one with --base, or fetch the missing history")
    )


def merge_base(root: Path, reference: str) -> str:
    """Return where this branch left the reference; empty if git does not know it."""
    return (git(root, "merge-base", "HEAD", reference) or "").strip()


def fail(message: str) -> str:
    """Raise UserError."""
    raise UserError(message)


def touched(root: Path, base: str) -> Touched:
    """Return the lines of docs/ and deploy/ that differ from the base, by their present numbers."""
    diff = git(root, "diff", "--unified=0", "--no-color", "--no-ext-diff", base, "--",
               "docs", "deploy")  # fmt: skip
    if diff is None:
        raise UserError(f"git cannot compare with {base}")
    return parse(diff)


def parse(diff: str) -> Touched:
    """Return the added lines of each file in a diff without context."""
    lines: Touched = defaultdict(set)
    file = ""
    for line in diff.splitlines():
        if line.startswith("+++ "):
            file = line[4:].removeprefix("b/")
        elif hunk := HUNK.match(line):
            first, count = int(hunk[1]), int(hunk[2] or 1)
            lines[file] |= set(range(first, first + count))
    return dict(lines)


def concerned(mutants: list[Mutant], lines: Touched) -> list[Mutant]:
    """Return the mutants of these lines."""
    return [
        mutant
        for mutant in mutants
        if set(range(mutant.line, mutant.line + mutant.edits[0][1].count))
        & lines.get(mutant.source, set())
    ]
