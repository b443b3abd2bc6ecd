"""Build a table of docutils from its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from docutils import nodes

# The width of a column where text is all there is.
LETTERS = 18
# What a cell holds: text, a number, or nodes.
Cell = str | int | list[nodes.Node]


def paragraph(cell: Sequence[nodes.Node]) -> nodes.paragraph:
    """Return the content of one cell."""
    return nodes.paragraph("", "", *cell)


def table(
    rows: Iterable[Sequence[Cell]],
    widths: Sequence[int] = (),
    *,
    caption: str = "",
    classes: Iterable[str] = (),
    content: Callable[[Sequence[nodes.Node]], nodes.paragraph] = paragraph,
) -> nodes.table:
    """Return a table whose first row is its head, with columns of these relative widths, if any.

    ``content`` makes the paragraph of a cell. With a ``caption`` the first cell names its row.
    """

    def entry(cell: Cell) -> nodes.entry:
        made = [nodes.Text(str(cell))] if isinstance(cell, str | int) else cell
        return nodes.entry("", content(made), classes=["number"] if isinstance(cell, int) else [])

    head, *body = (nodes.row("", *map(entry, row)) for row in rows)
    columns = [nodes.colspec(colwidth=width) for width in widths or [LETTERS] * len(head)]
    columns[0]["stub"] = int(bool(caption))
    group = nodes.tgroup("", *columns, cols=len(head))
    group += [nodes.thead("", head), nodes.tbody("", *body)]
    given = ["colwidths-given"] if widths else []
    title = [nodes.title("", caption)] if caption else []
    ids = [nodes.make_id(caption)] if caption else []
    return nodes.table("", *title, group, classes=[*classes, *given], ids=ids)
