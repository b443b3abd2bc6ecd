"""The settings that the installed Parsec server really reads, from its own option table.

The table is the click command behind ``parsec run``. Its help text leaves some options out, so it
is never the source. ``python -m parsec_stack.options`` prints the table as JSON.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click

# The server reads these two from its environment but still uses 1 and 7: only the command-line
# options work.
WITHOUT_EFFECT = frozenset({"PARSEC_DB_MIN_CONNECTIONS", "PARSEC_DB_MAX_CONNECTIONS"})

# Further options, written as on the command line, which every subcommand reads besides its table.
COMMAND_LINE = "PARSEC_CMD_ARGS"


@dataclass(frozen=True)
class Option:
    """One option of ``parsec run``.

    ``variable`` is None if the environment cannot set it, ``shown`` tells whether the server's own
    help names it, ``kind`` describes the possible values, and ``help`` keeps its lines.
    """

    flag: str
    variable: str | None
    default: str
    required: bool
    help: str
    kind: str = ""
    shown: bool = True


@cache
def server_options() -> tuple[Option, ...]:
    """Return every option of the installed server, in the order of its table."""
    return tuple(describe(parameter) for parameter in parameters())


def parameters() -> Iterator[click.Option]:
    """Yield the rows of the server's option table."""
    import click
    from parsec.cli import cli

    for parameter in cli.commands["run"].params:
        if isinstance(parameter, click.Option):
            yield parameter


def describe(parameter: click.Option) -> Option:
    """Return an option of the click command as the guide names it."""
    variable = parameter.envvar if isinstance(parameter.envvar, str) else None
    return Option(
        flag=max(parameter.opts, key=len),
        variable=variable,
        default=default_of(parameter.to_info_dict()["default"]),
        required=parameter.required,
        help=inspect.cleandoc(parameter.help or ""),
        kind=kind_of(parameter),
        shown=parameter.show_envvar and not parameter.hidden,
    )


def kind_of(parameter: click.Option) -> str:
    """Return a description of the option's values; empty for any text."""
    import click

    if parameter.is_flag or isinstance(parameter.type, click.types.BoolParamType):
        return "true or false"
    if isinstance(parameter.type, click.Choice):
        return f"one of {', '.join(default_of(choice) for choice in parameter.type.choices)}"
    if parameter.multiple:
        return "several, separated by spaces"
    if parameter.nargs > 1:
        return f"{parameter.nargs} values, separated by spaces"
    if isinstance(parameter.type, click.Path):
        return "a folder" if parameter.type.dir_okay else "a file"
    if isinstance(parameter.type, click.types.IntParamType):
        return "a whole number"
    return "a number" if isinstance(parameter.type, click.types.FloatParamType) else ""


def default_of(value: object) -> str:
    """Return a default as one would type it; empty if there is none."""
    if value in (None, "") or callable(value) or "UNSET" in repr(value):
        return ""
    if isinstance(value, list | tuple):
        return " ".join(default_of(item) for item in value)
    return str(getattr(value, "name", value)) if not isinstance(value, bool) else str(value).lower()


def variables() -> frozenset[str]:
    """Return the environment variables that the server reads."""
    table = {option.variable for option in server_options() if option.variable}
    return frozenset({COMMAND_LINE, *table})


def subcommands() -> list[str]:
    """Return the commands that ``parsec`` knows."""
    from parsec.cli import cli

    return sorted(cli.commands)


def refusal(variable: str, value: str) -> str:
    """Return why the server refuses the value of this variable; empty if it accepts it."""
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


if __name__ == "__main__":
    print(json.dumps([asdict(option) for option in server_options()]))
