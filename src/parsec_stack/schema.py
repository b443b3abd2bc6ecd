"""The database's schema: the migrations of a Parsec server, and those that a database lacks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
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


def applied(ask: Callable[[str], list[str]]) -> list[str] | None:
    """Return the migrations that a database has, by what asks it; None if it has no schema yet."""
    try:
        return ask("SELECT name FROM migration ORDER BY _id")
    except StackError as error:
        if 'relation "migration" does not exist' in str(error):
            return None
        raise


def refusal(complaint: str) -> StackError:
    """Return the error of a database that has not answered a question."""
    return StackError(
        f"PostgreSQL does not answer a question about its database: {complaint.strip()}\nsee "
        "'invoke logs --service parsec-postgres'"
    )
