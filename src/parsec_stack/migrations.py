"""Print the migrations of the Parsec server in this Python, oldest first, one per line.

It needs nothing but Python, so that an image of the server can run it too.

Source: ``parsec.components.postgresql.migrations`` of the wheel, files ``NNNN_name.sql``. The
server's table ``migration`` names each by what follows the number.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path


def names() -> list[str]:
    """Return the migrations; none if there is no server."""
    spec = find_spec("parsec")
    if spec is None or spec.origin is None:
        return []
    folder = Path(spec.origin).parent / "components" / "postgresql" / "migrations"
    files = sorted(path.stem for path in folder.glob("[0-9]*.sql"))
    return [name.partition("_")[2] for name in files]


if __name__ == "__main__":
    print("\n".join(names()))
