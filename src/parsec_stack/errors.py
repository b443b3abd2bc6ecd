"""Errors whose text tells the user what is wrong with a deployment."""

from guidewalk.errors import UserError


class StackError(UserError):
    """A mistake of a stack's user or machine.

    The text says what is wrong, where, and what to do.
    """
