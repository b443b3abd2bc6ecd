"""Programs that check files: where they are, and how they are asked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

# How many seconds one question may take.
TIMEOUT = 60.0


class Said(NamedTuple):
    """A program's output, on both streams, and its exit status."""

    text: str
    status: int

    @property
    def last_line(self) -> str:
        """The last line that is not blank."""
        return (self.text.strip() or f"exit status {self.status}").splitlines()[-1]


def output_of(argv: list[str], folder: Path, environment: Mapping[str, str] | None = None) -> Said:
    """Run the program in the folder, by default with PATH alone; return both streams and status."""
    clean = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder), "LANG": "C.UTF-8"}
    try:
        done = subprocess.run(
            argv,
            cwd=folder,
            env=clean | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Said(f"{Path(argv[0]).name}: {error}", 1)
    return Said(done.stdout.decode(errors="replace"), done.returncode)


@dataclass(frozen=True)
class Tool:
    """A program of this environment or of the system, and the package that contains it."""

    name: str
    package: str
    version_arguments: list[str]

    @cached_property
    def path(self) -> str:
        """Where it is; empty if it is absent."""
        beside = Path(sys.executable).with_name(self.name)
        return str(beside) if beside.exists() else shutil.which(self.name) or ""

    @cached_property
    def version(self) -> str:
        """Its version; empty if it is absent."""
        if not self.path:
            return ""
        try:
            return metadata.version(self.package)
        except (metadata.PackageNotFoundError, ValueError):
            return output_of([self.path, *self.version_arguments], Path("/")).text.partition("\n")[
                0
            ]
