"""What people edit: env files and the guide's own. What one program would misread is refused."""

from __future__ import annotations

import re
from pathlib import Path

from parsec_stack.errors import StackError

BOM = "\ufeff".encode()
# A line of a file that the guide's scripts generate: other files hold the values without quotes.
GENERATED = re.compile(r"(\w+)=([0-9A-Za-z]+)")


def require_text(path: Path) -> None:
    """Raise StackError for a line as another system's editor writes it; bash misreads that."""
    content = path.read_bytes()
    if content.startswith(BOM):
        raise StackError(f"{path}, line 1, begins with a byte order mark: save it as plain UTF-8")
    for number, line in enumerate(content.split(b"\n"), 1):
        if b"\r" in line:
            raise StackError(
                f"{path}, line {number}, ends as on Windows: save the file with Unix line ends"
            )
        if b"\0" in line:
            raise StackError(f"{path}, line {number}, holds a zero byte: save it as plain UTF-8")


def generated_values(path: Path) -> dict[str, str]:
    """The values of an env file that the guide's scripts generate.

    Raises StackError for a line that holds another, without quoting it.
    """
    require_text(path)
    values = {}
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = GENERATED.fullmatch(line)
        if not match:
            raise StackError(
                f"{path}, line {number}, is not of the form NAME=VALUE with a value of letters "
                "and digits alone: other files need it without quotes, spaces and comments"
            )
        values[match[1]] = match[2]
    return values
