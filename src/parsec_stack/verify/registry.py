"""What the prose promises beyond its blocks: checks that follow a block, by the block's name."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from parsec_stack.guide import Guide
from parsec_stack.verify.site import Site

Check = Callable[[Site], None]
Provocation = Callable[[Site], str]


class Registry:
    """The checks of one guide; each is a function whose docstring is the sentence it checks."""

    def __init__(self) -> None:
        """Begin without any."""
        self.checks: dict[str, list[Check]] = {}
        self.provocations: dict[str, Provocation] = {}

    def after(self, *names: str) -> Callable[[Check], Check]:
        """Decorate a check that holds after any of these blocks; it raises AssertionError."""

        def register(check: Check) -> Check:
            for name in names:
                self.checks.setdefault(name, []).append(check)
            return check

        return register

    def provokes(self, name: str) -> Callable[[Provocation], Provocation]:
        """Decorate a function that makes software print the message block of this name."""

        def register(provocation: Provocation) -> Provocation:
            self.provocations[name] = provocation
            return provocation

        return register

    def strays(self, guide: Guide) -> Iterator[str]:
        """What is registered for a block that the guide lacks, or says not what it checks."""
        for name, checks in self.checks.items():
            block = guide.named.get(name)
            if block is None or block.kind not in ("command", "exception"):
                yield f"checks are registered after '{name}', and no command block has this name"
            for check in checks:
                if not check.__doc__:
                    yield f"the check {check.__name__} has no sentence that says what it checks"
        for name in self.provocations:
            block = guide.named.get(name)
            if block is None or block.kind != "message":
                yield f"'{name}' is provoked, and no message block has this name"


def sentence(check: Check) -> str:
    """What the check checks: the first line of its docstring."""
    return (check.__doc__ or check.__name__).strip().partition("\n")[0].rstrip(".")
