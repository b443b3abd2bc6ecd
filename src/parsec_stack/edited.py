"""Parse the files that people edit: env files and the guide's own.

A line that one of the programs that read them would misread is refused.
"""

from __future__ import annotations

import re
from pathlib import Path

from parsec_stack.errors import StackError

BOM = "\ufeff".encode()
# A line of a file that the guide's scripts generate, because other files use the values without
# quotes.
GENERATED = re.compile(r"(\w+)=([0-9A-Za-z]+)")


def require_text(path: Path) -> None:
    """Raise StackError for a line as editors of other systems write it, which bash misreads."""
    content = path.read_bytes()
    if content.startswith(BOM):
        raise StackError(f"{path}, line 1, begins with a byte order mark: save it as plain UTF-8")
    for number, line in enumerate(content.split(b"\n"), 1):
        if b"\r" in line:
            raise StackError(
                f"{path}, line {number}, ends as on Windows: save the file with Unix line endings"
            )
        if b"\0" in line:
            raise StackError(f"{path}, line {number}, contains a zero byte: save it as plain UTF-8")


def generated_values(path: Path) -> dict[str, str]:
    """Return the values of an env file that the guide's scripts generate.

    Raises StackError, without quoting it, for a line that contains another value.
    """
    require_text(path)
    values = {}
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = GENERATED.fullmatch(line)
        if not match:
            raise StackError(
                f"{path}, line {number}, is not of the form NAME=VALUE with only letters and "
                "digits in the value: other files need it without quotes, spaces and comments"
            )
        values[match[1]] = match[2]
    return values
