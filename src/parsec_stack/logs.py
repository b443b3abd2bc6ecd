"""Show logs to people: the Parsec server writes one JSON object per line."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable, Iterator
from typing import Any

from guidewalk.shell import without_ansi
from parsec_stack.redact import of_stack
from parsec_stack.stack import Stack

# Compose puts the service before each line when it shows several services.
LINE = re.compile(r"(?P<service>[\w.-]+ +\| )?(?P<record>\{.*\})\s*")
# A line of a frame around a traceback; the last alternative ends the frame.
FRAME = re.compile(r"([\w.-]+ +\| )?(?:[\u2502\u256d]|(?P<last>\u2570))")
# The fields of every record of the server; others are its own.
COMMON = {"timestamp", "level", "event"}
INDENT = " " * 4
# A record's strings may contain what a client has sent, and a terminal would obey these.
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


def readable(line: str) -> str:
    """Return a log line, given without its end; a record of the Parsec server in readable form.

    A record begins with time, level and event; its other fields follow as ``name=value``, and a
    traceback as indented lines. Any other line stays as it is.
    """
    match = LINE.fullmatch(line)
    record = parsed(match["record"]) if match else None
    if not match or record is None:
        return line
    service = match["service"] or ""
    return "\n".join(service + CONTROL.sub(escaped, text) for text in lines_of(record))


def parsed(text: str) -> dict[str, Any] | None:
    """Return the record in this JSON; None if it is not one of the Parsec server's."""
    try:
        record = json.loads(text)
    except ValueError:
        return None
    return record if isinstance(record, dict) and record.keys() >= COMMON else None


def lines_of(record: dict[str, Any]) -> list[str]:
    """Return the record in lines, the traceback last."""
    trace = str(record.get("exception", ""))
    others = {name: value for name, value in record.items() if name not in {*COMMON, "exception"}}
    words = (record["timestamp"], record["level"], str(record["event"]).strip())
    fields = (f"{name}={value}" for name, value in others.items())
    first, *more = " ".join(map(str, (*words, *fields))).split("\n")
    return [first, *(INDENT + line for line in (*more, *trace.splitlines()))]


def escaped(character: re.Match[str]) -> str:
    """Return a control character as Python writes it."""
    return repr(character[0])[1:-1]


def for_people(text: str, last: int = 0) -> str:
    """Return the lines of a log in readable form; if ``last`` is given, only so many of them."""
    lines = "\n".join(map(readable, text.splitlines())).splitlines()
    return "\n".join(lines[-last:])


def relay(argv: list[str], stack: Stack) -> None:
    """Run the program in the stack's folder and print the log that it prints, without secrets."""
    redact = of_stack(stack)
    with subprocess.Popen(
        argv,
        cwd=stack.folder,
        env=stack.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        for text in unframed(process.stdout or ()):
            print(redact(for_people(text)), flush=True)


def unframed(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a log one by one, but all lines of a frame as one text.

    The server's formats for a terminal draw frames around tracebacks, and the lines of a frame
    break secrets apart.
    """
    frame = ""
    for line in lines:
        drawn = FRAME.match(without_ansi(line))
        frame += line if drawn else ""
        if frame and (not drawn or drawn["last"]):
            yield frame
            frame = ""
        if not drawn:
            yield line
    if frame:
        yield frame
