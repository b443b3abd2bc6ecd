"""Does an env file mean the same to bash's ``source`` and to compose's ``env_file``?"""

from __future__ import annotations

import re
from pathlib import Path

from parsec_stack.verify import compose
from parsec_stack.verify.tool import output_of

REQUIRED = re.compile(r"\$\{(\w+):?\?")
# What every bash has, whatever it sources.
OF_BASH = {"_", "PWD", "OLDPWD", "SHLVL", "PATH", "HOME", "LANG", "LC_ALL", "COMPOSE_PROJECT_NAME"}
STRICT = 'set -euo pipefail; set -a; for file; do source "./$file"; done; env -0'


def problems(path: Path) -> list[str]:
    """Where the two readings of this one file differ; what it requires is given to both."""
    given = {name: f"given-{name}" for name in REQUIRED.findall(path.read_text())}
    return differences([path.name], path.parent, given)


def differences(files: list[str], folder: Path, given: dict[str, str]) -> list[str]:
    """Where the two readings of these files, one after another, differ."""
    said = output_of(["bash", "-c", STRICT, "bash", *files], folder, given)
    if said.status:
        return [f"bash: {said.last_line}"]
    pairs = (pair.partition("=") for pair in said.text.split("\0") if pair)
    in_bash = {name: value for name, _, value in pairs if name not in OF_BASH}
    try:
        in_compose = read_by_compose(files, folder, given)
    except ValueError as error:
        return [f"docker compose: {error}"]
    # What was given to both is no result of theirs, unless the file sets it again.
    names = sorted({*in_bash, *in_compose} - {name for name in given if name not in in_compose})
    return [
        f"{name} is {in_bash.get(name)!r} in bash and {in_compose.get(name)!r} in compose"
        for name in names
        if in_bash.get(name) != in_compose.get(name)
    ]


def read_by_compose(files: list[str], folder: Path, given: dict[str, str]) -> dict[str, str]:
    """The environment of a service that has these env files."""
    probe = folder / ".probe.yaml"
    listed = "".join(f"      - {name}\n" for name in files)
    probe.write_text(f"services:\n  probe:\n    image: probe\n    env_file:\n{listed}")
    try:
        resolved = compose.config([probe.name], folder, given)
    finally:
        probe.unlink()
    environment = resolved["services"]["probe"].get("environment") or {}
    # In its output compose doubles each dollar.
    return {name: (value or "").replace("$$", "$") for name, value in environment.items()}
