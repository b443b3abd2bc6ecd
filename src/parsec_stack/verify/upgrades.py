"""Upgrade a stack with data from one version's checkout to another's, go back, and upgrade again.

Everything is done by the tasks, as their user does it, each in the environment of its version.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from parsec_stack import checkout
from parsec_stack.errors import StackError
from parsec_stack.stack import Stack
from parsec_stack.verify.stack_site import free_offset

# What the tasks say of a database that is newer than the server.
REFUSAL = "the database has migrations that this Parsec server does not know"


class Upgraded:
    """A stack that two checkouts take turns at."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        stack = Stack(folder, "native", free_offset(folder, "native"))
        self.variables = {
            "STACK_DIR": str(folder),
            "STACK_FLAVOUR": "native",
            "STACK_PORT_OFFSET": str(stack.port_offset),
        }

    def invoke(self, version: Path, *tasks: str) -> str:
        """What the tasks of this checkout print; StackError if they fail."""
        return checkout.run_inside(version, "invoke", *tasks, **self.variables)

    def traces(self, version: Path, verb: str, name: str) -> str:
        """Write data as a client of this version, or read back what was written under the name."""
        path = str(self.folder.parent / f"{name}.json")
        module = ("python", "-m", "parsec_stack.verify.traces")
        return checkout.run_inside(version, *module, verb, path, **self.variables)

    def refuse(self, version: Path, *tasks: str) -> None:
        """StackError unless the tasks are refused by one clear message and start no server."""
        done = checkout.try_inside(version, "invoke", *tasks, **self.variables)
        said = done.stderr.strip()
        if done.returncode == 0 or not said.startswith(f"error: {REFUSAL}") or "\n" in said:
            raise StackError(f"invoke {' '.join(tasks)} is not refused as it should be: {said}")
        services = json.loads(self.invoke(version, "status", "--json"))
        states = {service["name"]: service["state"] for service in services}
        if states["parsec-server"] in ("running", "starting"):
            raise StackError(f"invoke {' '.join(tasks)} was refused, but the server runs")


def upgrade(old: Path, new: Path) -> dict[str, Any]:
    """Upgrade and go back; what was seen, StackError for data that are lost."""
    # A short path: sockets lie in it.
    base = Path(tempfile.mkdtemp(prefix="upgrade-"))
    stack = Upgraded(base / "s")
    try:
        return follow(stack, old, new)
    finally:
        # The newer one knows all that either has made.
        gone = checkout.try_inside(new, "invoke", "destroy", "--yes", **stack.variables)
        shutil.rmtree(base, ignore_errors=True)
        if gone.returncode:
            raise StackError(f"the stack could not be destroyed: {gone.stderr.strip()}")


def follow(stack: Upgraded, old: Path, new: Path) -> dict[str, Any]:
    """The way from the old version to the new one, back, and there again."""
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
    """How many migrations the database lacks, as ``invoke up`` says."""
    for line in printed.splitlines():
        if line.startswith("the database lacks "):
            return int(line.split()[3])
    return 0
