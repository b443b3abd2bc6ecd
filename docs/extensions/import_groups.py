"""Groups of modules, and which of them import from which: grimp reads that from the sources."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from guidewalk.errors import UserError

if TYPE_CHECKING:
    from grimp import ImportGraph

# From the name of a group to those that it imports from.
Imports = dict[str, set[str]]


@dataclass(frozen=True)
class Group:
    """Modules of one package by patterns, and scripts of the project, by their names in it."""

    name: str
    package: str
    modules: tuple[str, ...]
    does: str
    scripts: tuple[str, ...] = ()

    def holds(self, module: str) -> bool:
        """Is this module one of the group's?"""
        return any(fnmatchcase(module, f"{self.package}.{one}") for one in self.modules)


def read(path: Path) -> list[Group]:
    """Return the groups of the file, in its order."""
    return [
        Group(
            one["name"],
            one["package"],
            tuple(one["modules"]),
            one["does"],
            tuple(one.get("scripts", ())),
        )
        for one in tomllib.loads(path.read_text())["group"]
    ]


def imports(groups: list[Group], root: Path) -> Imports:
    """Return which group imports from which others.

    Raises UserError for a module that belongs to no group or to several, and ImportError
    where grimp is missing.
    """
    import grimp

    packages = dict.fromkeys(group.package for group in groups)
    graph = grimp.build_graph(*packages, cache_dir=None)
    owners = {module: owner(module, groups) for module in graph.modules - packages.keys()}
    for group in groups:
        for script in group.scripts:
            add(graph, root / script)
            owners[script] = group.name
    found: Imports = {group.name: set() for group in groups}
    for module, name in owners.items():
        imported = graph.find_modules_directly_imported_by(module)
        found[name] |= {owners[one] for one in imported if one in owners} - {name}
    return found


def owner(module: str, groups: list[Group]) -> str:
    """Return the name of the one group to which the module belongs."""
    names = [group.name for group in groups if group.holds(module)]
    if len(names) != 1:
        raise UserError(f"{module} must be in one group, and is in {' and '.join(names) or 'none'}")
    return names[0]


def add(graph: ImportGraph, script: Path) -> None:
    """Add a script with what it imports to the graph, by its name; grimp reads only packages."""
    graph.add_module(script.name)
    for name in set(imported(script)) & graph.modules:
        graph.add_import(importer=script.name, imported=name)


def imported(script: Path) -> Iterator[str]:
    """Yield the names of all that the script imports."""
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
