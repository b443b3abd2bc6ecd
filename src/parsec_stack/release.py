"""What one release of the Parsec server contains, and how another one differs.

``python -m parsec_stack.release`` prints this for the installed server, as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

from parsec_stack import schema
from parsec_stack.options import server_options


@dataclass(frozen=True)
class Release:
    """One release; ``version`` and ``python`` (what it requires) are as its package says.

    ``options`` maps each option of ``parsec run`` to what is known of it, ``migrations`` names
    those of the database, oldest first.
    """

    version: str
    python: str
    options: dict[str, dict[str, Any]]
    migrations: list[str]

    @classmethod
    def installed(cls) -> Release:
        """Return the server of this environment."""
        migrations = schema.packaged()
        about = metadata.metadata("parsec-cloud")
        options = {option.flag: asdict(option) for option in server_options()}
        return cls(about["Version"], about["Requires-Python"], options, migrations)

    @classmethod
    def from_json(cls, text: str) -> Release:
        """Return the release that was printed as JSON."""
        return cls(**json.loads(text))


def review(before: Release, after: Release) -> Iterator[str]:
    """Yield what to review when going from one release to the other, line by line."""
    old, new = before.options, after.options
    yield from (f"option added: {describe(new[flag])}" for flag in sorted(new.keys() - old.keys()))
    yield from (
        f"option removed: {describe(old[flag])}" for flag in sorted(old.keys() - new.keys())
    )
    for flag in sorted(old.keys() & new.keys()):
        for aspect in ("variable", "default", "required"):
            was, now = old[flag][aspect], new[flag][aspect]
            if was != now:
                yield f"option changed: {flag}, {aspect}: {shown(was)}, now {shown(now)}"
        if old[flag]["help"] != new[flag]["help"]:
            yield f"help changed: {flag}"
    known = set(before.migrations)
    yield from (f"migration added: {name}" for name in after.migrations if name not in known)
    gone = known - set(after.migrations)
    yield from (f"migration removed: {name}" for name in before.migrations if name in gone)
    if before.python != after.python:
        yield f"Python required: {before.python}, now {after.python}"


def describe(option: dict[str, Any]) -> str:
    """Return an option with its variable and its default."""
    default = "required" if option["required"] else f"default {shown(option['default'])}"
    return f"{option['flag']} ({option['variable'] or 'no variable'}, {default})"


def shown(value: object) -> str:
    """Return a value as one line."""
    return str(value) if value not in (None, "") else "none"


if __name__ == "__main__":
    print(json.dumps(asdict(Release.installed())))
