"""Record the command line of every program that bash and Python start.

Every user of the machine may see it by ``ps``; of a short-lived program only who looks in time.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

HERE = Path(__file__).parent / "watch"
# What bash does itself, no other user sees; but these run programs.
BUILTINS = set(
    subprocess.run(["bash", "-c", "compgen -bk"], capture_output=True, text=True).stdout.split()
) - {"exec", "command"}
ASSIGNMENT = re.compile(r"\w+(\[.*\])?\+?=")


def recording(file: Path) -> dict[str, str]:
    """The variables by which all that is started in them is recorded in the file."""
    return {
        "BASH_ENV": str(HERE / "bash_env.sh"),
        "PYTHONPATH": str(HERE),
        "COMMAND_LINES": str(file),
        "STACK_PASS": "BASH_ENV PYTHONPATH COMMAND_LINES",
    }


def recorded(file: Path) -> list[str]:
    """The command lines in the file, without what bash has done itself."""
    commands = re.split(r"^\++ ", file.read_text(errors="replace"), flags=re.MULTILINE)
    return [command for command in commands if command.strip() and is_program(command)]


def is_program(command: str) -> bool:
    """Does this command start a program? Functions count as such: bash does not tell."""
    first = command.split()[0]
    return first not in BUILTINS and not ASSIGNMENT.match(first)
