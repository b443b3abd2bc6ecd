"""Print lines for the user; the work continues even if nobody can read them any more."""

from __future__ import annotations

import os
import sys
from typing import TextIO


def say(text: str) -> None:
    """Print one line of progress; if it cannot be printed, warn once and continue.

    There is no warning if the reader has seen enough and has closed the pipe, as ``head`` does.
    """
    try:
        print(text, flush=True)
    except OSError as error:
        sys.stdout = silence()
        if not isinstance(error, BrokenPipeError):
            warn(f"the output cannot be written: {error.strerror}")


def warn(text: str) -> None:
    """Print a remark that is not part of the result."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        sys.stderr = silence()


def silence() -> TextIO:
    """Return a stream that discards what is printed; it stays open until the process ends."""
    return open(os.devnull, "w", encoding="utf-8")
