"""Draw groups of modules in layers, as SVG: all arrows lead downwards, from who imports."""

from __future__ import annotations

from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from html import escape
from itertools import pairwise
from textwrap import wrap

from import_groups import Group, Imports

from guidewalk.errors import UserError

# Sizes in pixels; LETTERS is how many of them fit into a line.
WIDTH, LETTERS, LINE, HEAD, FOOT = 140, 21, 14, 22, 6
GAP, STEP, LAYER, MARGIN, KEY = 12, 18, 44, 10, 24
SWEEPS = 24

# A group, or a point that an arrow passes in a layer between: the arrow's ends and the layer.
Point = str | tuple[str, str, int]
Arrow = tuple[str, str]


def shortest(imports: Imports) -> list[Arrow]:
    """Return the imports that no longer way stands for."""
    return [
        (group, other)
        for group, others in imports.items()
        for other in sorted(others)
        if not any(other in reached(between, imports) for between in others - {other})
    ]


def reached(group: str, imports: Imports) -> set[str]:
    """Return the groups that this one imports from, directly or by others."""
    found: set[str] = set()
    waiting = [group]
    while waiting:
        for other in imports[waiting.pop()] - found:
            found.add(other)
            waiting.append(other)
    return found


def depths(imports: Imports) -> dict[str, int]:
    """Return the layer of each group, below all that import from it. UserError for a circle."""
    try:
        order = list(TopologicalSorter(imports).static_order())
    except CycleError as error:
        raise UserError(f"groups import in a circle: {' <- '.join(error.args[1])}") from None
    found = dict.fromkeys(order, 0)
    for group in reversed(order):
        for other in imports[group]:
            found[other] = max(found[other], found[group] + 1)
    return found


class Picture:
    """Where each group and arrow is drawn."""

    def __init__(self, groups: list[Group], imports: Imports) -> None:
        """Find a place for all; groups of one package stand together."""
        self.groups = {group.name: group for group in groups}
        self.packages = list(dict.fromkeys(group.package for group in groups))
        self.depths = depths(imports)
        self.arrows = shortest(imports)
        self.rows: list[list[Point]] = [[] for _ in range(max(self.depths.values()) + 1)]
        self.above: dict[Point, list[Point]] = defaultdict(list)
        self.below: dict[Point, list[Point]] = defaultdict(list)
        self.x: dict[Point, float] = {}
        self.fill()
        for sweep in range(SWEEPS):
            self.sweep(downwards=sweep % 2 == 0)
        left = min(x - self.width(point) / 2 for point, x in self.x.items())
        self.x = {point: x - left + MARGIN for point, x in self.x.items()}
        heights = [max(map(self.height, row)) for row in self.rows]
        # Where each layer begins and ends.
        self.y = [MARGIN + sum(heights[:row]) + row * LAYER for row in range(len(heights))]
        self.bottoms = [y + height for y, height in zip(self.y, heights, strict=True)]

    def fill(self) -> None:
        """Put the groups, and the points of the arrows, into the layers."""
        for name in self.groups:
            self.rows[self.depths[name]].append(name)
        for arrow in self.arrows:
            path = self.path(arrow)
            for depth, point in enumerate(path[1:-1], self.depths[arrow[0]] + 1):
                self.rows[depth].append(point)
            for upper, lower in pairwise(path):
                self.below[upper].append(lower)
                self.above[lower].append(upper)
        for row in self.rows:
            row.sort(key=self.package)
            self.spread(row, [0.0] * len(row))

    def path(self, arrow: Arrow) -> list[Point]:
        """Return the points that the arrow connects, from above."""
        start, end = arrow
        between = range(self.depths[start] + 1, self.depths[end])
        return [start, *((start, end, depth) for depth in between), end]

    def package(self, point: Point) -> int:
        """Return the place of the point's package among the packages."""
        name = point if isinstance(point, str) else point[0]
        return self.packages.index(self.groups[name].package)

    def width(self, point: Point) -> float:
        """Return how much room the point takes in its layer."""
        return WIDTH if isinstance(point, str) else STEP - GAP

    def lines(self, name: str) -> list[str]:
        """Return the modules of the group, in lines."""
        group = self.groups[name]
        shown = [one for one in group.modules if f"{one}.*" not in group.modules]
        return wrap(", ".join([*group.scripts, *shown]), LETTERS)

    def height(self, point: Point) -> float:
        """Return how high the point's box is."""
        return HEAD + LINE * len(self.lines(point)) + FOOT if isinstance(point, str) else 0.0

    def sweep(self, *, downwards: bool) -> None:
        """Move each point of each layer to the middle of what it is connected with."""
        for row in self.rows if downwards else reversed(self.rows):
            wanted = {}
            for point in row:
                before, after = self.above[point], self.below[point]
                near = (before or after) if downwards else (after or before)
                wanted[point] = mean([self.x[one] for one in near] or [self.x[point]])
            row.sort(key=lambda point: (self.package(point), wanted[point]))
            self.spread(row, [wanted[point] for point in row])

    def spread(self, row: list[Point], wanted: list[float]) -> None:
        """Place the points of a layer in their order, near where each is wanted, without overlap.

        Points that would overlap become one cluster, in the middle of what they want together.
        """
        offsets = [0.0]
        for one, two in pairwise(row):
            offsets.append(offsets[-1] + (self.width(one) + self.width(two)) / 2 + GAP)
        clusters: list[list[float]] = []
        for want, offset in zip(wanted, offsets, strict=True):
            clusters.append([want - offset])
            while len(clusters) > 1 and mean(clusters[-2]) > mean(clusters[-1]):
                last = clusters.pop()
                clusters[-1] += last
        starts = [mean(cluster) for cluster in clusters for _ in cluster]
        for point, start, offset in zip(row, starts, offsets, strict=True):
            self.x[point] = start + offset

    def svg(self, title: str, description: str) -> str:
        """Return the picture; colours and letters come from the page's style."""
        width = max(x + self.width(point) / 2 for point, x in self.x.items()) + MARGIN
        height = self.bottoms[-1] + KEY + 2 * MARGIN
        body = [self.line(arrow) for arrow in self.arrows]
        body += [self.box(name) for name in self.groups]
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="layers" role="img" '
            f'aria-labelledby="layers-title layers-description" '
            f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}">'
            f'<title id="layers-title">{escape(title)}</title>'
            f'<desc id="layers-description">{escape(description)}</desc>'
            '<defs><marker id="layers-head" viewBox="0 0 8 8" refX="8" refY="4" '
            'markerWidth="8" markerHeight="8" orient="auto">'
            '<path d="M0 0 L8 4 L0 8 z"/></marker></defs>'
            f"{''.join(body)}{self.key()}</svg>"
        )

    def line(self, arrow: Arrow) -> str:
        """Return an arrow, as a curve that is vertical at each layer."""
        first, *others = self.path(arrow)
        start = self.depths[arrow[0]]
        x = self.x[first]
        drawn = f"M{x:.1f} {self.y[start] + self.height(first):.1f}"
        for depth, point in enumerate(others, start + 1):
            above, here = self.bottoms[depth - 1], self.y[depth]
            drawn += f" V{above:.1f} C{x:.1f} {(above + here) / 2:.1f}"
            x = self.x[point]
            drawn += f" {x:.1f} {(above + here) / 2:.1f} {x:.1f} {here:.1f}"
        return f'<path class="layers-arrow" d="{drawn}" marker-end="url(#layers-head)"/>'

    def box(self, name: str) -> str:
        """Return a group with its modules."""
        x, y = self.x[name], self.y[self.depths[name]]
        said = [text(x, y + 17, name, "layers-name")]
        for number, line in enumerate(self.lines(name), 1):
            said.append(text(x, y + HEAD + number * LINE - 4, line))
        return self.frame(self.package(name), x, y, self.height(name), *said)

    def key(self) -> str:
        """Return a box that shows how those of each package look."""
        y = self.bottoms[-1] + MARGIN
        boxes = []
        for package, name in enumerate(self.packages):
            x = MARGIN + WIDTH / 2 + package * (WIDTH + GAP)
            boxes.append(self.frame(package, x, y, KEY, text(x, y + 16, name)))
        return "".join(boxes)

    def frame(self, package: int, x: float, y: float, height: float, *said: str) -> str:
        """Return a box around what it says, with the corners and colours of the package."""
        return (
            f'<g class="layers-package-{package}"><rect x="{x - WIDTH / 2:.1f}" y="{y:.1f}" '
            f'width="{WIDTH}" height="{height:.0f}" rx="{2 + 10 * package}"/>{"".join(said)}</g>'
        )


def text(x: float, y: float, said: str, kind: str = "layers-text") -> str:
    """Return a line of text whose middle is at x."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(said)}</text>'


def mean(numbers: list[float]) -> float:
    """Return their mean."""
    return sum(numbers) / len(numbers)
