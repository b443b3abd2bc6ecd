"""Replace secrets while the services run, by the guide's block."""

from __future__ import annotations

from guidewalk.console import say
from parsec_stack import deployment, outage
from parsec_stack.blocks import run
from parsec_stack.errors import StackError
from parsec_stack.services import SERVICES
from parsec_stack.stack import Stack

# What rotate-secrets.sh knows; the CA's takes two steps, between which clients are moved.
ROTATED = ("token", "database", "s3", "console", "catcher", "inner", "certificates")
ROTATED_CA = ("ca", "old-ca")


def rotate(stack: Stack, what: str) -> None:
    """Replace a secret by a new one, and print how long the proxy had no answer for clients.

    ``what`` is one of ROTATED or ROTATED_CA, or ``all`` for those of ROTATED. Raises StackError
    for another word, and if the services do not run.
    """
    choices = {name: name for name in (*ROTATED, *ROTATED_CA)} | {"all": " ".join(ROTATED)}
    if what not in choices:
        raise StackError(f"'{what}' cannot be rotated: choose from {', '.join(choices)}")
    words = choices[what]
    say(f"rotate: {words}")
    deployment.require_complete(stack)
    deployment.prepare(stack)
    with outage.watching(stack) as watch:
        run(stack, "rotate", {"<what>": words})
        deployment.settle(stack, SERVICES)
    say(f"  without service: {watch.longest:.1f} s at most, {watch.total:.1f} s in all")
