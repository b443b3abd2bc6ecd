"""Check that the files and commands of the guide use the ports of the table of services."""

from __future__ import annotations

import re
from collections.abc import Iterator

from guidewalk.guide import Block, Guide
from parsec_stack.services import FLAVOURS, usual_ports

ADDRESS = re.compile(r"\b(?:localhost|127\.0\.0\.1):(\d+)\b")
# SeaweedFS's own, which are asked for inside its container.
INSIDE = {8888, 9333}
# What moves a port, with the port that it moves.
MOVED = re.compile(r"\bSTACK_(\w+)_PORT:-(\d+)\b")


def problems(guide: Guide) -> Iterator[str]:
    """Yield each port, with its place, that no service of the table has."""
    for block in guide.blocks:
        if block.kind in ("command", "file"):
            yield from strays(block)


def strays(block: Block) -> Iterator[str]:
    """Yield the same for one block."""
    every = INSIDE.union(*(usual_ports(one).values() for one in FLAVOURS))
    for number, line in enumerate(block.text.splitlines(), 1):
        for port in ADDRESS.findall(line):
            if int(port) not in every:
                yield f"{block.place_of(number)}: no service has the port {port}: see services.py"
        for name, port in MOVED.findall(line):
            usual = {usual_ports(one).get(name) for one in FLAVOURS}
            if int(port) not in usual:
                known = " or ".join(sorted(str(one) for one in usual))
                yield f"{block.place_of(number)}: the port {name} is {known}, not {port}"
