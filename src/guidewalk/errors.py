"""The only exception that a user sees: its text says what is wrong, where, and what to do."""

from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    """A mistake of a user or the machine, reported in one message without a traceback."""


@contextmanager
def named(path: object) -> Iterator[None]:
    """Make an error of writing there name the path, which that of a full disk does not."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
