"""Upgrade a stack with data from one version's checkout to another's, go back, upgrade again.

The tasks do everything, as for their user, each in the environment of its version.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from parsec_stack import checkout
from parsec_stack.errors import StackError
from parsec_stack.flavour import free_offset
from parsec_stack.stack import Stack

# The tasks' message about a database that is newer than the server.
REFUSAL = "the database has migrations that this Parsec server does not know"


class Upgraded:
    """A stack on which two checkouts take turns."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        stack = Stack(folder, "native", free_offset(folder, "native"))
        self.variables = {
            "STACK_DIR": str(folder),
            "STACK_FLAVOUR": "native",
            "STACK_PORT_OFFSET": str(stack.port_offset),
        }

    def invoke(self, version: Path, *tasks: str) -> str:
        """Return what the tasks of this checkout print; StackError if they fail."""
        return checkout.run_inside(version, "invoke", *tasks, **self.variables)

    def traces(self, version: Path, verb: str, name: str) -> str:
        """Write data as a client of this version, or read back what was written under the name."""
        path = str(self.folder.parent / f"{name}.json")
        module = ("python", "-m", "parsec_stack.verify.traces")
        return checkout.run_inside(version, *module, verb, path, **self.variables)

    def refuse(self, version: Path, *tasks: str) -> None:
        """Raise StackError unless one clear message refuses the tasks and no server starts."""
        done = checkout.try_inside(version, "invoke", *tasks, **self.variables)
        said = done.stderr.strip()
        if done.returncode == 0 or not said.startswith(f"error: {REFUSAL}") or "\n" in said:
            raise StackError(f"invoke {' '.join(tasks)} is not refused as it should be: {said}")
        services = json.loads(self.invoke(version, "status", "--json"))
        states = {service["name"]: service["state"] for service in services}
        if states["parsec-server"] in ("running", "starting"):
            raise StackError(f"invoke {' '.join(tasks)} was refused, but the server runs")


def upgrade(old: Path, new: Path) -> dict[str, Any]:
    """Upgrade and go back; return what was seen, StackError for data that are lost."""
    # A short path, because there are sockets in it.
    base = Path(tempfile.mkdtemp(prefix="upgrade-"))
    stack = Upgraded(base / "s")
    try:
        return follow(stack, old, new)
    finally:
        # The newer version knows everything that either has made.
        gone = checkout.try_inside(new, "invoke", "destroy", "--yes", **stack.variables)
        shutil.rmtree(base, ignore_errors=True)
        if gone.returncode:
            raise StackError(f"the stack could not be destroyed: {gone.stderr.strip()}")


def follow(stack: Upgraded, old: Path, new: Path) -> dict[str, Any]:
    """Go from the old version to the new one, back, and to the new one again."""
    stack.invoke(old, "tls", "adminToken", "up", "migrate", "bucket", "smoke")
    stack.traces(old, "write", "before")
    stack.invoke(old, "backup", "down")

    lacking = lacking_said(stack.invoke(new, "up"))
    stack.invoke(new, "migrate", "smoke")
    blocks = int(stack.traces(new, "read", "before"))
    stack.traces(old, "read", "before")
    stack.traces(new, "write", "after")
    stack.invoke(new, "down")

    if lacking:
        for tasks in (
            ("up",),
            ("migrate",),
            ("bucket",),
            ("restart",),
            ("up", "migrate", "bucket"),
        ):
            stack.refuse(old, *tasks)
    else:
        stack.invoke(old, "up", "smoke")
    stack.invoke(old, "restore", "--yes")
    stack.invoke(old, "up")
    stack.traces(old, "read", "before")
    stack.invoke(old, "down")

    stack.invoke(new, "up", "migrate", "smoke")
    stack.traces(new, "read", "before")
    return {
        "migrations": lacking,
        "blocks": blocks,
        "older": "refused" if lacking else "same schema",
    }


def lacking_said(printed: str) -> int:
    """Return how many migrations the database lacks, from the output of ``invoke up``."""
    for line in printed.splitlines():
        if line.startswith("the database lacks "):
            return int(line.split()[3])
    return 0
