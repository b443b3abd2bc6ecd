"""Run invoke in a process of its own, as a user does."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from parsec_stack.stack import ROOT

TIMEOUT = 60


def invoke(
    folder: Path, *arguments: str, before: Sequence[str] = (), **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run invoke on the stack in this folder, with these variables more, by the command before."""
    own = {"STACK_DIR": str(folder), "STACK_PORT_OFFSET": "12900", "STACK_FLAVOUR": "native"}
    return subprocess.run(
        [*before, "invoke", *arguments],
        cwd=ROOT,
        env=os.environ | own | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )


def prepare(parent: Path) -> Path:
    """A stack with certificates and credentials that has never been started."""
    done = invoke(parent / "s", "tls", "adminToken")
    assert done.returncode == 0, done.stderr
    return parent / "s"
