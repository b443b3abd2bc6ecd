"""The one exception that a user sees: its text says what is wrong, where, and what to do."""

from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    """A user's or the machine's mistake, told in one message without a traceback."""


@contextmanager
def named(path: object) -> Iterator[None]:
    """Let an error of writing there name the place: that of a full disk does not by itself."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
