"""``invoke bump``: bring the guide, the artifacts and the locks to another version of Parsec.

Everything is prepared in a copy of the checkout first. Only then are files replaced, one by one,
each as a whole. The lock that decides which Parsec the project's own environment has comes last.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from guidewalk.atomic import write_atomically
from guidewalk.console import say
from parsec_stack import checkout, versions
from parsec_stack.errors import StackError
from parsec_stack.release import Release, review
from parsec_stack.stack import ROOT

PREPARED = ROOT / "build" / "bump"


def bump(version: str, python: str | None = None) -> None:
    """Change the version of Parsec everywhere, and print what to review."""
    present = versions.declared(ROOT)
    wanted = {"parsec": versions.own(version), "python": python or present["python"]}
    say(f"bump: Parsec {present['parsec']} to {wanted['parsec']}")
    if all(present[name] == wanted[name] for name in wanted) and not any(
        versions.disagreements(ROOT)
    ):
        say("  nothing to do")
        return
    prepared = checkout.copy(PREPARED, wanted)
    changes = difference(prepared)
    refuse_uncommitted(list(changes))
    say("  looking at the release itself")
    after = Release.from_json(checkout.run_inside(prepared, "python", "-m", "parsec_stack.release"))
    before = Release.installed()
    replace(changes)
    for line in review(before, after):
        say(f"  {line}")
    say("next: review the above and 'git diff', then scripts/run nox")


def difference(prepared: Path) -> dict[str, str]:
    """Return the new text of each file that changes, by its path, in the order of replacement."""
    paths = dict.fromkeys([*(place.path for place in versions.PLACES), *versions.LOCKS])
    texts = {path: (prepared / path).read_text() for path in paths}
    return {path: text for path, text in texts.items() if text != (ROOT / path).read_text()}


def refuse_uncommitted(paths: list[str]) -> None:
    """Raise StackError if one of the files has uncommitted changes."""
    command = ["git", "status", "--porcelain", "--untracked-files=no", "--", *paths]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode == 0 and (changed := done.stdout.split()[1::2]):
        raise StackError(
            f"{', '.join(changed)} has changes that are not committed: commit them, or undo them "
            "with 'git checkout', so that you can review the changes of bump alone"
        )


def replace(changes: dict[str, str]) -> None:
    """Write the files; if one cannot be written, restore all of them."""
    before = {path: (ROOT / path).read_text() for path in changes}
    try:
        for path, text in changes.items():
            write_atomically(ROOT / path, text)
            say(f"  {path}: changed")
    except BaseException:
        for path, text in before.items():
            write_atomically(ROOT / path, text)
        raise
