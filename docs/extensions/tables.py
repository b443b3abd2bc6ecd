"""Build a table of docutils from its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from docutils import nodes

# What a cell holds: text, or nodes.
Cell = str | list[nodes.Node]


def paragraph(cell: Sequence[nodes.Node]) -> nodes.paragraph:
    """Return the content of one cell."""
    return nodes.paragraph("", "", *cell)


def table(
    rows: Iterable[Sequence[Cell]],
    widths: Sequence[int] = (),
    *,
    classes: Iterable[str] = (),
    content: Callable[[Sequence[nodes.Node]], nodes.paragraph] = paragraph,
) -> nodes.table:
    """Return a table whose first row is its head, with columns of these relative widths, if any.

    ``content`` makes the paragraph of a cell.
    """

    def entry(cell: Cell) -> nodes.entry:
        return nodes.entry("", content([nodes.Text(cell)] if isinstance(cell, str) else cell))

    head, *body = (nodes.row("", *map(entry, row)) for row in rows)
    columns = (nodes.colspec(colwidth=width) for width in widths or [1] * len(head))
    group = nodes.tgroup("", *columns, cols=len(head))
    group += [nodes.thead("", head), nodes.tbody("", *body)]
    given = ["colwidths-given"] if widths else []
    return nodes.table("", group, classes=[*classes, *given])
