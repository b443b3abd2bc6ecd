"""Lines for the user, which go on where nobody can read them any more."""

from __future__ import annotations

import os
import sys
from typing import TextIO


def say(text: str) -> None:
    """One line of progress; the work goes on where it cannot be printed, which is told once.

    A reader that has seen enough, such as ``head``, need not be told.
    """
    try:
        print(text, flush=True)
    except OSError as error:
        sys.stdout = silence()
        if not isinstance(error, BrokenPipeError):
            warn(f"what is printed here cannot be written: {error.strerror}")


def warn(text: str) -> None:
    """A remark that is no part of the result."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        sys.stderr = silence()


def silence() -> TextIO:
    """Where nothing is seen of what is printed; open until the process ends."""
    return open(os.devnull, "w", encoding="utf-8")
