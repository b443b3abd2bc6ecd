"""Run the guide's blocks on a stack."""

from __future__ import annotations

from collections.abc import Callable

from guidewalk import cache, shell
from guidewalk.console import say
from parsec_stack.stack import DOCS, Stack


def run(
    stack: Stack,
    name: str,
    values: dict[str, str] | None = None,
    line: Callable[[str], None] = lambda text: say(f"  {text}"),
    *,
    keep: bool = True,
) -> str:
    """Run the guide's block of this name, or its variant for the flavour; return the output.

    ``line`` gets each line of the output at once; without ``keep`` nobody else gets it.
    """
    blocks = cache.load(DOCS)
    return shell.run_block(
        blocks.command(name, stack.flavour),
        folder=stack.folder,
        environment=stack.environment(),
        ports=stack.moved_ports,
        values=values or {},
        line=line,
        keep=keep,
    )
