"""Copy this checkout for another version of Parsec, as ``invoke bump`` would change it."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from parsec_stack import environments, versions
from parsec_stack.errors import StackError
from parsec_stack.stack import ROOT

# What a checkout has besides its sources; .cache is shared.
MADE = shutil.ignore_patterns(
    ".git", ".venv", ".venvs", ".cache", "build", "stack", "__pycache__", ".*_cache"
)  # fmt: skip
# A backstop, in seconds; a docs-test takes longest.
TIMEOUT = 3600
# How uv reports that a version does not exist, or that it needs another Python.
UNKNOWN = re.compile(r"no version of\s+parsec-cloud==")
OTHER_PYTHON = re.compile(r"not\s+satisfy\s+Python(?P<wanted>\S+)[^.]*?\sparsec-cloud==")


class OtherPython(StackError):
    """The version needs another Python; ``series`` is the oldest that works, such as 3.14."""

    def __init__(self, version: str, wanted: str, present: str) -> None:
        numbers = re.search(r"\d+\.\d+", wanted)
        self.series = numbers[0] if numbers else ""
        super().__init__(
            f"Parsec {version} needs Python {wanted}, and this would use {present}: name it with "
            f"--python {self.series}, or choose another version"
        )


def copy(folder: Path, wanted: Mapping[str, str]) -> Path:
    """Make the folder a checkout with these versions, ready for its ``scripts/run``.

    Existing environments in it are kept. Raises StackError for a version that does not exist, or
    that needs another Python.
    """
    spare = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(spare, ignore_errors=True)
    shutil.copytree(ROOT, spare, ignore=MADE, symlinks=True)
    cache = ROOT / ".cache"
    cache.mkdir(exist_ok=True)
    (spare / ".cache").symlink_to(cache)
    for path, text in versions.rewritten(spare, wanted).items():
        (spare / path).write_text(text)
    lock(spare, wanted)
    if (folder / ".venvs").exists():
        (folder / ".venvs").replace(spare / ".venvs")
    shutil.rmtree(folder, ignore_errors=True)
    spare.replace(folder)
    return folder


def fingerprint(root: Path = ROOT) -> str:
    """Return a digest of everything that affects how the guide fares with a version."""
    total = hashlib.sha256()
    for name in ("docs", "deploy", "src", "tests/docs", "scripts", "tasks.py"):
        for path in sorted([root / name, *(root / name).rglob("*")]):
            if path.is_file() and path.suffix != ".pyc":
                total.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes() + b"\0")
    return total.hexdigest()


def lock(checkout: Path, wanted: Mapping[str, str]) -> None:
    """Lock the checkout's dependencies; StackError with the reason if that fails."""
    own = {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    done = run(checkout, "scripts/lock", environment=os.environ | own)
    if done.returncode == 0:
        return
    said, version = " ".join(done.stderr.split()), wanted["parsec"]
    if UNKNOWN.search(said):
        raise StackError(
            f"Parsec {version} is no release: 'pip index versions parsec-cloud' lists the releases"
        )
    if found := OTHER_PYTHON.search(said):
        raise OtherPython(version, found["wanted"].rstrip(","), wanted["python"])
    raise StackError(f"scripts/lock failed for Parsec {version}:\n{done.stderr.strip()}")


def run(
    checkout: Path, *command: str, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a command in the checkout's folder and return what it printed."""
    return subprocess.run(
        command,
        cwd=checkout,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )


def try_inside(checkout: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the checkout's own environment, which is made if it is missing."""
    return run(checkout, "scripts/run", *command, environment=environment(variables))


def run_inside(checkout: Path, *command: str, **variables: str) -> str:
    """Do the same and return the output; StackError with its last lines if the command fails."""
    done = try_inside(checkout, *command, **variables)
    if done.returncode:
        last = "\n".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-8:])
        raise StackError(f"{' '.join(command)} failed in {checkout}:\n{last}")
    return done.stdout


def environment(changes: Mapping[str, str]) -> dict[str, str]:
    """Return this process's variables without its virtual environment, and with the changes."""
    kept = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    return kept | {"PATH": os.pathsep.join(environments.outside(ROOT))} | dict(changes)
