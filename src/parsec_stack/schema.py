"""The database's schema: which migrations the installed Parsec server brings."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from parsec_stack.errors import StackError


def packaged() -> list[str]:
    """The names of the migrations in the installed server, oldest first.

    Source: ``parsec.components.postgresql.migrations`` of the wheel, files ``NNNN_name.sql``.
    The server's table ``migration`` names each by what follows the number.
    """
    spec = find_spec("parsec")
    if spec is None or spec.origin is None:
        raise StackError("the Parsec server is not installed: run the README's first command again")
    folder = Path(spec.origin).parent / "components" / "postgresql" / "migrations"
    names = sorted(path.stem for path in folder.glob("[0-9]*.sql"))
    return [name.partition("_")[2] for name in names]


def pending(applied: list[str]) -> list[str]:
    """The migrations that the database still lacks.

    Raises StackError when the database is newer than the server: the server itself would start
    on it and fail later, and there is no way back.
    """
    known = packaged()
    if newer := set(applied) - set(known):
        raise StackError(
            f"the database has migrations that this Parsec server does not know ({min(newer)}): "
            "it was used by a newer one, so run that version or restore an older backup"
        )
    return [name for name in known if name not in applied]
