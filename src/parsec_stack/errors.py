"""The one exception that a user sees: its text says what is wrong, where, and what to do."""


class StackError(Exception):
    """A user's or the machine's mistake, told in one message without a traceback."""
