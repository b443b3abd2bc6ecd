"""What the installed server writes into its log."""

from __future__ import annotations

import subprocess
import sys

from parsec_stack import logs


def test_the_installed_server_writes_such_records() -> None:
    """What the server's own logging writes as JSON is read: an error with its traceback."""
    from parsec_stack.verify.sources import LOGGING

    done = subprocess.run([sys.executable, "-c", LOGGING], capture_output=True, text=True)
    shown = logs.readable(done.stdout.rstrip("\n")).splitlines()

    assert done.returncode == 0, done.stderr
    assert shown[1] == "    Traceback (most recent call last):"
    assert shown[-1] == "    ValueError"
