"""Checks of what the prose promises beyond its blocks; they follow a block, by its name."""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from copy import copy
from itertools import chain
from typing import Any

from guidewalk.files import Files
from guidewalk.guide import Guide

# A check gets the site, or the files, of its own project.
Check = Callable[[Any], None]
FileCheck = Callable[[Any], None]
Provocation = Callable[[Any], str]
# How alike two names are, from 0 to 1, of which one may be the other, misspelt.
LIKENESS = 0.7


class Registry:
    """The checks of one guide; each is a function whose docstring is the sentence it checks."""

    def __init__(self) -> None:
        self.checks: dict[str, list[Check]] = {}
        self.aside: set[Check] = set()
        self.preparing: set[Check] = set()
        self.files: dict[str, list[FileCheck]] = {}
        self.transcriptions: set[FileCheck] = set()
        self.provocations: dict[str, Provocation] = {}

    def after[C: Check](
        self, *names: str, aside: bool = False, prepares: bool = False
    ) -> Callable[[C], C]:
        """Decorate a check that holds after any of these blocks; it raises AssertionError.

        A check that works ``aside`` changes nothing of the site and runs beside others of its kind.
        A check that ``prepares`` waits for, or does, what later blocks or checks rely on.
        """

        def register(check: C) -> C:
            for name in names:
                self.checks.setdefault(name, []).append(check)
            if aside:
                self.aside.add(check)
            if prepares:
                self.preparing.add(check)
            return check

        return register

    def about[C: FileCheck](self, *names: str, transcribes: bool = False) -> Callable[[C], C]:
        """Decorate a check of the guide's files of these names that needs no service.

        A check that ``transcribes`` repeats values of the files, so that they cannot be changed by
        mistake. It shows nothing about the effect of the values.
        """

        def register(check: C) -> C:
            for name in names:
                self.files.setdefault(name, []).append(check)
            if transcribes:
                self.transcriptions.add(check)
            return check

        return register

    def provokes[P: Provocation](self, name: str) -> Callable[[P], P]:
        """Decorate a function that makes software print the message block of this name."""

        def register(provocation: P) -> P:
            self.provocations[name] = provocation
            return provocation

        return register

    def parted(self) -> tuple[Registry, Registry]:
        """Return the same with the checks of files that show behaviour, and with the others."""
        behaviour, transcribing = copy(self), copy(self)
        for part, transcribes in ((behaviour, False), (transcribing, True)):
            part.files = {
                name: [check for check in checks if (check in self.transcriptions) == transcribes]
                for name, checks in self.files.items()
            }
        return behaviour, transcribing

    def lean(self, names: Collection[str] | None = None) -> Registry:
        """Return the registry without the checks aside.

        If ``names`` are given, only those after them. Checks that prepare stay.
        """
        lean = copy(self)
        lean.checks = {
            name: [
                check
                for check in checks
                if check in self.preparing
                or (check not in self.aside and (names is None or name in names))
            ]
            for name, checks in self.checks.items()
        }
        return lean

    def flavours_of(self, check: str, guide: Guide) -> set[str]:
        """Return the flavours in which the check of this name is run, or provoked."""
        after = {name for name, ones in self.checks.items() if named(check, ones)}
        after |= {name for name, one in self.provocations.items() if named(check, [one])}
        about = {name for name, ones in self.files.items() if named(check, ones)}
        blocks = (one for one in guide.blocks if one.name in after or one.target in about)
        return {flavour for block in blocks for flavour in block.flavours}

    def names(self) -> set[str]:
        """Return the names of all checks that can show what the prose denies."""
        every = [*self.provocations.values(), *chain(*self.checks.values(), *self.files.values())]
        return {check.__name__ for check in every}

    def strays(self, guide: Guide) -> Iterator[str]:
        """Yield what is registered for a block that the guide lacks, or has no sentence."""
        commands, messages = ("command", "exception"), ("message",)
        for name, checks in self.checks.items():
            if problem := stray(name, guide, commands):
                yield f"{place(checks[0])}: a check follows {problem}"
            for check in checks:
                if not check.__doc__:
                    yield (
                        f"{place(check)}: the check {check.__name__} has no sentence that says "
                        "what it checks"
                    )
        for name, file_checks in self.files.items():
            if name not in guide.files():
                near = nearest(name, guide.files())
                yield (
                    f"{place(file_checks[0])}: a check is about '{name}', but the guide shows no "
                    f"such file{near}"
                )
        for name, provocation in self.provocations.items():
            if problem := stray(name, guide, messages):
                yield f"{place(provocation)}: this provokes {problem}"


def stray(name: str, guide: Guide, kinds: tuple[str, ...]) -> str:
    """Return that no block of these kinds has the name, unless one has it or may be meant to."""
    block = guide.named.get(name)
    if block and block.kind in (*kinds, "unexplained"):
        return ""
    known = [one.name for one in guide.blocks if one.name and one.kind in kinds]
    return f"'{name}', but no {kinds[0]} block has this name{nearest(name, known)}"


def place(check: Callable[..., Any]) -> str:
    """Return the check's own file, as one would name it from the current folder, and line."""
    code = inspect.unwrap(check).__code__
    return f"{os.path.relpath(code.co_filename)}:{code.co_firstlineno}"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a remark with the known name that is most like this one; empty if none is."""
    found = difflib.get_close_matches(name, known, 1, LIKENESS)
    return f" (the nearest is '{found[0]}')" if found else ""


def named(name: str, checks: Iterable[Callable[..., Any]]) -> bool:
    """Return whether one of the checks has this name."""
    return any(check.__name__ == name for check in checks)


def sentence(check: Check | FileCheck) -> str:
    """Return what the check checks: the first line of its docstring."""
    return (check.__doc__ or check.__name__).strip().partition("\n")[0].rstrip(".")


def denial(check: Check | FileCheck, error: Exception) -> str:
    """Return that what the check says is not so, and what it saw instead."""
    return f"not so: {sentence(check)}. {told(error)}"


def told(error: Exception) -> str:
    """Return what the error says, with its kind unless it is a check's own."""
    return str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"


def broken(check: FileCheck, files: Files) -> list[str]:
    """Return the check's objections to the files."""
    try:
        check(files)
    except Exception as error:  # a check may find the files odd in any way
        return [denial(check, error)]
    return []
