"""A project's settings for its guide: ``[tool.guidewalk]`` in the ``pyproject.toml`` beside it."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from guidewalk.errors import UserError

FILE = "pyproject.toml"
# Stands for all flavours.
ALL = "all"
LANGUAGES = (
    *("bash", "docker", "ini", "json", "nginx", "python", "sql", "text", "toml", "xml", "yaml"),
)


@dataclass(frozen=True)
class Config:
    """How the guide of one project is read.

    ``artifacts`` is the folder of the files that the guide shows, beside the guide's own.
    ``command`` is the command that follows the guide, for messages. ``flavours`` are the ways
    through the guide, of which a reader takes one. A block with another language than
    ``languages``, or another class than ``classes``, is one with a misspelt tag.
    ``exclude`` are patterns of the names of pages that a reader does not follow.
    """

    artifacts: str = "deploy"
    command: str = "pytest"
    flavours: tuple[str, ...] = ("default",)
    languages: tuple[str, ...] = LANGUAGES
    classes: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def excludes(self, page: str) -> bool:
        """Is the page of this name, such as ``folder/index``, no part of what a reader follows?"""
        return any(fnmatchcase(page, pattern) for pattern in self.exclude)


@cache
def config_of(root: Path) -> Config:
    """Return the project's settings; UserError for an unknown one, or for one of another type."""
    path = root / FILE
    try:
        said = tomllib.loads(path.read_text()).get("tool", {}).get("guidewalk", {})
    except FileNotFoundError:
        return Config()
    except ValueError as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    known = {field.name for field in fields(Config)}
    if unknown := sorted(said.keys() - known):
        names = ", ".join(sorted(known))
        raise UserError(f"{path}: [tool.guidewalk] has no setting '{unknown[0]}': choose {names}")
    artifacts = text(path, "artifacts", said.pop("artifacts", Config.artifacts))
    command = text(path, "command", said.pop("command", Config.command))
    lists = {name: texts(path, name, value) for name, value in said.items()}
    return Config(artifacts, command, **lists)


def text(path: Path, name: str, value: object) -> str:
    """Return the value as a text; UserError if it is none."""
    if isinstance(value, str):
        return value
    raise UserError(f"{path}: [tool.guidewalk] {name} must be a text")


def texts(path: Path, name: str, value: object) -> tuple[str, ...]:
    """Return the value as a list of texts; UserError if it is none."""
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise UserError(f"{path}: [tool.guidewalk] {name} must be a list of texts")


def chosen(flavour: str, every: tuple[str, ...]) -> tuple[str, ...]:
    """Return the flavours to follow; UserError for one that the guide does not have."""
    if flavour == ALL:
        return every
    if flavour not in every:
        raise UserError(f"the guide has no flavour '{flavour}': choose {', '.join(every)} or {ALL}")
    return (flavour,)
