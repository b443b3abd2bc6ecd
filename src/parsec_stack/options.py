"""The settings that the installed Parsec server really reads, from its own option table.

The table is the click command behind ``parsec run``; its help text leaves some options out, so
it is never the source.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click

# The server takes these two from its environment, and then uses 1 and 7 all the same: only the
# command-line options work.
WITHOUT_EFFECT = frozenset({"PARSEC_DB_MIN_CONNECTIONS", "PARSEC_DB_MAX_CONNECTIONS"})


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
    return tuple(describe(parameter) for parameter in parameters())


def parameters() -> Iterator[click.Option]:
    """The rows of the server's option table."""
    import click
    from parsec.cli import cli

    for parameter in cli.commands["run"].params:
        if isinstance(parameter, click.Option):
            yield parameter


def describe(parameter: click.Option) -> Option:
    """An option of the click command as the guide names it."""
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


def refusal(variable: str, value: str) -> str:
    """Why the server refuses the value of this variable; empty if it takes it."""
    import click
    from parsec.cli import cli

    parameter = next(one for one in parameters() if one.envvar == variable)
    context = click.Context(cli.commands["run"])
    several = parameter.nargs != 1 or parameter.multiple
    given = parameter.type.split_envvar_value(value) if several else value
    try:
        parameter.process_value(context, given)
    except (click.BadParameter, ValueError) as error:
        return str(error)
    return ""
