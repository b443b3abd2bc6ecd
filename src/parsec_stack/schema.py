"""The database's schema: the migrations of a Parsec server, and those that a database lacks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from parsec_stack import migrations
from parsec_stack.errors import StackError

# It prints the migrations of the Python that runs it.
PROGRAM = Path(migrations.__file__)


def packaged() -> list[str]:
    """Return the names of the migrations in the installed server, oldest first."""
    if found := migrations.names():
        return found
    raise StackError("the Parsec server is not installed: run the README's first command again")


def pending(applied: Iterable[str], known: list[str]) -> list[str]:
    """Return the migrations that the server knows and the database lacks.

    Raises StackError if the database is newer than the server: the server itself would start on it
    and fail later, and there is no way back.
    """
    if newer := set(applied) - set(known):
        raise StackError(
            f"the database has migrations that this Parsec server does not know ({min(newer)}): "
            "it was used by a newer one, so run that version or restore an older backup"
        )
    return [name for name in known if name not in applied]
