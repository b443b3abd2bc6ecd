"""What is wrong with a deployment, as its user is told."""

from guidewalk.errors import UserError


class StackError(UserError):
    """A mistake of a stack's user or machine: the text says what is wrong, where, what to do."""
