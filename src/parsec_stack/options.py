"""The settings that the installed Parsec server really reads, from its own option table.

The table is the click command behind ``parsec run``; its help text leaves some options out, so
it is never the source.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Option:
    """One option of ``parsec run``: ``variable`` is None where the environment cannot set it."""

    flag: str
    variable: str | None
    default: str
    required: bool
    help: str


@cache
def server_options() -> tuple[Option, ...]:
    """Every option of the installed server, in the order of its table."""
    import click
    from parsec.cli import cli

    parameters = cli.commands["run"].params
    return tuple(describe(p) for p in parameters if isinstance(p, click.Option))


def describe(parameter: object) -> Option:
    """An option of the click command as the guide names it."""
    import click

    assert isinstance(parameter, click.Option)
    variable = parameter.envvar if isinstance(parameter.envvar, str) else None
    return Option(
        flag=max(parameter.opts, key=len),
        variable=variable,
        default=default_of(parameter.to_info_dict()["default"]),
        required=parameter.required,
        help=" ".join((parameter.help or "").split()),
    )


def default_of(value: object) -> str:
    """A default as one would type it; empty where there is none."""
    if value in (None, "") or callable(value) or "UNSET" in repr(value):
        return ""
    if isinstance(value, list | tuple):
        return " ".join(default_of(item) for item in value)
    return str(getattr(value, "name", value)) if not isinstance(value, bool) else str(value).lower()


def variables() -> frozenset[str]:
    """The environment variables that the server reads."""
    return frozenset(option.variable for option in server_options() if option.variable)
