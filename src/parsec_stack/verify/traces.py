"""Write data to the stack of STACK_DIR, or read them back: ``python -m ... write|read FILE``.

Each runs in the environment of one version, and uses its bindings as a client of that version.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from guidewalk.errors import UserError
from parsec_stack import smoke, stack

BLOCKS = 3
# How many seconds an object store may take to find its blocks after its start.
WITHIN = 60.0


def main(verb: str, path: Path) -> None:
    """Write some blocks and save in the file what is needed to read them, or read them all."""
    chosen = stack.choose({})
    if verb == "write":
        # The file contains a private key.
        with open(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
            json.dump(smoke.write(chosen, BLOCKS).as_json(), file)
    else:
        traces = smoke.Traces.from_json(json.loads(path.read_text()))
        smoke.read_back(chosen, traces, WITHIN)
        print(len(traces.blocks))


if __name__ == "__main__":
    try:
        main(sys.argv[1], Path(sys.argv[2]))
    except UserError as error:
        sys.exit(f"error: {error}")
