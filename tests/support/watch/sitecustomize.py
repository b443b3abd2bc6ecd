"""Imported by each Python with this folder on its path: append to $COMMAND_LINES what it starts."""

import os
import shlex
import sys
from typing import Any

# Where among an event's arguments the command line is.
PLACES = {"subprocess.Popen": 1, "os.exec": 1, "os.posix_spawn": 1, "os.spawn": 2, "os.system": 0}


def append(event: str, arguments: tuple[Any, ...]) -> None:
    """Append the command line as a bash would that executes it; called for every event."""
    if event in PLACES:
        given = arguments[PLACES[event]]
        words = [given] if isinstance(given, str | bytes) else given
        line = shlex.join(os.fsdecode(word) for word in words)
        with open(
            os.environ["COMMAND_LINES"], "a", encoding="utf-8", errors="surrogateescape"
        ) as file:
            file.write(f"+ exec {line}\n")


sys.addaudithook(append)
