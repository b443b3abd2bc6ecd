"""One command line of invoke tasks: its stack, its lock, and how its errors are reported."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable, Collection, Iterable
from contextlib import ExitStack
from io import TextIOWrapper
from typing import Any

from invoke import Context, Exit, Task
from invoke.main import program

from guidewalk.errors import UserError
from parsec_stack.errors import StackError

OPTIONS = {
    "flavour": "native (the default) or docker; also STACK_FLAVOUR",
    "stack": "the folder of the stack, by default stack/; also STACK_DIR",
    "port_offset": "added to every port, 0 by default; also STACK_PORT_OFFSET",
}
INTERRUPTED = 130

Body = Callable[..., None]

# Unless the user forbids bytecode: by default invoke does, and each task would compile everything
# again.
sys.dont_write_bytecode = bool(sys.flags.dont_write_bytecode)


class TaskLine:
    """The stack of this line of tasks, chosen once and held until the line ends."""

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}
        self.stack: Any = None
        self.held = ExitStack()
        self.locked = False

    def open(
        self, options: dict[str, Any], *, writes: bool, creates: bool, stops: bool = False
    ) -> Any:
        """Return the line's stack, locked if this task changes it.

        Only a task that ``creates`` stacks may be the first in a folder; nothing is written where a
        task may not write. From here on root is the account of the native services.
        """
        from parsec_stack import ownership, privileges
        from parsec_stack import stack as stacks

        if self.stack is None:
            self.options = options
            stacks.forget_foreign()
        elif any(value is not None for value in options.values()):
            raise StackError("give --flavour, --stack and --port-offset to the first task only")
        if self.stack is None or self.destroyed():
            self.held.close()
            self.locked = False
            self.stack = stacks.choose(self.options)
        privileges.require_private(self.stack)
        if writes and not self.locked:
            ownership.enter(self.stack, creates=creates)
        privileges.drop(self.stack, writes=writes, stops=stops)
        if writes and not self.locked:
            ownership.require_writable(self.stack)
            self.held.enter_context(stacks.locked(self.stack))
            self.locked = True
            # A run that has ended meanwhile may have recorded something.
            self.stack = stacks.choose(self.options)
            ownership.record(self.stack)
        return self.stack

    def destroyed(self) -> bool:
        """Whether an earlier task of the line has removed the stack."""
        return self.locked and not self.stack.state


current = TaskLine()


def stack_task(
    *,
    aliases: Iterable[str] = (),
    writes: bool = True,
    creates: bool = False,
    stops: bool = False,
    **keywords: Any,
) -> Callable[[Body], Task[Any]]:
    """Make a task of a function that takes the stack first, and add the stack's three options.

    ``writes``: the task changes the stack, so it holds its lock. ``creates``: it may also make one
    in a new or empty folder. ``stops``: it starts nothing.
    """

    def decorate(body: Body) -> Task[Any]:
        @functools.wraps(body)
        def run(context: Context, **given: Any) -> None:
            speak_utf8()
            options = {name: given.pop(name) for name in OPTIONS}
            with Told():
                stack = current.open(options, writes=writes, creates=creates, stops=stops)
                body(stack, **given)

        run.__signature__ = signature(body)  # type: ignore[attr-defined]
        helps = OPTIONS | keywords.pop("help", {})
        return Task(run, name=body.__name__, aliases=aliases, help=helps, **keywords)

    return decorate


def project_task(**keywords: Any) -> Callable[[Body], Task[Any]]:
    """Make a task of a function that is about the project, not about a stack."""

    def decorate(body: Body) -> Task[Any]:
        @functools.wraps(body)
        def run(context: Context, **given: Any) -> None:
            speak_utf8()
            with Told():
                body(**given)

        own = inspect.signature(body).parameters.values()
        context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        run.__signature__ = inspect.Signature([context, *own])  # type: ignore[attr-defined]
        return Task(run, name=body.__name__, **keywords)

    return decorate


def signature(body: Body) -> inspect.Signature:
    """Return the function's own parameters after invoke's context, and the stack's options."""
    first = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    own = list(inspect.signature(body).parameters.values())[1:]
    shared = [
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None)
        for name in OPTIONS
    ]
    return inspect.Signature([first, *own, *shared])


def speak_utf8() -> None:
    """Restart this program in UTF-8, the encoding of all files here, if the locale has another.

    Python's UTF-8 mode (PEP 540) can only be chosen at its start.
    """
    if not sys.flags.utf8_mode and sys.getfilesystemencoding() != "utf-8":
        sys.stdout.flush()
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


class Told:
    """Turn what the user can act upon into one message and a non-zero exit status."""

    def __enter__(self) -> None:
        """Make all text printable: a path may contain bytes that are not UTF-8."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: Any) -> None:
        """Print the error, unless it is a fault of the program itself."""
        if isinstance(error, UserError):
            raise Exit(f"error: {error}", code=1) from None
        if isinstance(error, KeyboardInterrupt):
            message = "\ninterrupted: nothing is lost, run the same command to continue from here"
            raise Exit(message, code=INTERRUPTED) from None
        if isinstance(error, BrokenPipeError):
            from guidewalk.console import silence

            sys.stdout = silence()
            raise Exit(code=1) from None
        if isinstance(error, OSError) and error.filename:
            # For a copy, the place of the new file.
            place = error.filename2 or error.filename
            raise Exit(f"error: {place}: {error.strerror}", code=1) from None
        if isinstance(error, OSError) and error.strerror:
            raise Exit(f"error: {error.strerror}", code=1) from None


def is_followed(name: str, others: Collection[str]) -> bool:
    """Return whether one of the other tasks follows this one on the line that invoke has read."""
    names = [one.name for one in getattr(program, "tasks", ())]
    following = names[names.index(name) + 1 :] if name in names else []
    return not set(others).isdisjoint(following)
