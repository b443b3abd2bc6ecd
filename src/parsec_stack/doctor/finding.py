"""A finding, what examinations look at, and the list of examinations."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from parsec_stack.deployment import ENV_FILES
from parsec_stack.errors import StackError
from parsec_stack.flavour import Flavour, flavour_of
from parsec_stack.stack import Stack

# Most hurtful first: clients are refused or data cannot be read; secrets or data may be lost; it
# will break, or does not do what its setting says; worth knowing.
SEVERITIES = ("broken", "danger", "warning", "note")
ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Z][A-Z0-9_]*)=")
# Of the variables that bash ends with, these are the server's.
OURS = re.compile(r"PARSEC_|AWS_CA_BUNDLE$|SSL_CERT_FILE$")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: how bad it is, with what, what was seen of it, and what to do.

    ``severity`` is one of SEVERITIES.
    """

    severity: str
    subject: str
    seen: str
    do: str

    def as_json(self) -> dict[str, Any]:
        """Return the fields, for ``doctor --json``."""
        return asdict(self)


@dataclass
class Look:
    """A stack that is examined; what several examinations need is found out once.

    With ``mail`` the server is made to send a mail.
    """

    stack: Stack
    mail: bool = False

    @property
    def flavour(self) -> Flavour:
        """The module that runs the stack's services."""
        return flavour_of(self.stack)

    @property
    def complete(self) -> bool:
        """Whether the server has been started once."""
        return bool(self.stack.state.get("complete"))

    @cached_property
    def up(self) -> bool:
        """Whether any service runs."""
        try:
            return self.flavour.is_up(self.stack)
        except StackError:
            return False

    @property
    def env_files(self) -> list[Path]:
        """The env files that the server reads, in their order."""
        unread = "parsec-native.env" if self.stack.flavour == "docker" else ""
        files = (self.stack.folder / name for name in ENV_FILES if name != unread)
        return [path for path in files if path.exists()]

    @property
    def has_env_files(self) -> bool:
        """Whether no env file is missing."""
        return all((self.stack.folder / name).exists() for name in ENV_FILES)

    def assignments(self) -> Iterator[tuple[Path, int, str]]:
        """Yield file, line and name of every variable that the env files set."""
        for path in self.env_files:
            for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
                if match := ASSIGNMENT.match(line):
                    yield path, number, match[1]

    @cached_property
    def settings(self) -> dict[str, str]:
        """The server's settings, as bash reads the env files; empty if it cannot."""
        sources = "\n".join(f"source ./{path.name}" for path in self.env_files)
        answer = subprocess.run(
            ["bash", "-euc", f"set -a\n{sources}\nenv -0"],
            cwd=self.stack.folder,
            env=self.stack.environment(),
            capture_output=True,
            timeout=10,
        )
        if answer.returncode:
            return {}
        pairs = (one.partition("=") for one in answer.stdout.decode(errors="replace").split("\0"))
        return {name: value for name, _, value in pairs if OURS.match(name)}

    def place(self, variable: str) -> str:
        """Return the file and line that sets the variable last; empty if none does."""
        places = [
            f"{path.name}:{line}" for path, line, name in self.assignments() if name == variable
        ]
        return places[-1] if places else ""

    def on_disk(self, path: str) -> Path:
        """Return where a file that a setting names is on this machine."""
        name = path.removeprefix("/run/secrets/") if self.stack.flavour == "docker" else path
        return self.stack.folder / name


Examination = Callable[[Look], Iterator[Finding]]
EXAMINATIONS: list[Examination] = []


def examination(function: Examination) -> Examination:
    """Add the function to the examinations."""
    EXAMINATIONS.append(function)
    return function
