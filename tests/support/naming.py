"""Whether what a document names is there: a function behind its module, a file of the project."""

from __future__ import annotations

import pkgutil

from parsec_stack.stack import DOCS, ROOT

PACKAGES = ("guidewalk", "parsec_stack", "parsec_stack.verify")
EXTENSIONS = DOCS / "extensions"
FOLDERS = ("src", "tests", "docs", "deploy", "scripts", "examples")


def exists(name: str) -> bool:
    """Is this in a module of the packages, of the extensions, or in tasks.py?"""
    places = [f"{package}.{name}" for package in PACKAGES]
    first = name.partition(".")[0]
    if first in PACKAGES or any((one / f"{first}.py").exists() for one in (ROOT, EXTENSIONS)):
        places.append(name)
    return any(map(resolves, places))


def resolves(name: str) -> bool:
    """Does this full name lead to anything?"""
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


def is_there(name: str) -> bool:
    """Is this a path of the project, or the end of one?"""
    if "/" in name:
        return (ROOT / name).exists()
    places = (ROOT / place for place in ("", *FOLDERS))
    return any(next(place.glob(f"**/{name}" if place != ROOT else name), None) for place in places)
