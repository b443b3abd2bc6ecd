"""Check that an env file means the same to bash's ``source`` and to compose's ``env_file``."""

from __future__ import annotations

import json
import re
from pathlib import Path

from guidewalk.tool import output_of
from parsec_stack.verify import compose

REQUIRED = re.compile(r"\$\{(\w+):?\?")
# What every bash has, whatever it sources.
OF_BASH = {"_", "PWD", "OLDPWD", "SHLVL", "PATH", "HOME", "LANG", "LC_ALL", "COMPOSE_PROJECT_NAME"}
STRICT = 'set -euo pipefail; for file; do set -a; source "./$file"; set +a; done; env -0'


def problems(files: dict[str, Path]) -> dict[str, list[str]]:
    """Return where the two readings of each file differ; both get what a file requires."""
    given = required("".join(path.read_text() for path in files.values()))
    folder = next(iter(files.values())).parent
    try:
        read = read_by_compose({name: [name] for name in files}, folder, given)
    except ValueError:  # one of them is wrong, find out which
        return {name: differences([name], folder, given) for name in files}
    return {name: compare([name], folder, given, read[name]) for name in files}


def required(text: str) -> dict[str, str]:
    """Return a value for every variable without which the text cannot be read."""
    return {name: f"given-{name}" for name in REQUIRED.findall(text)}


def differences(files: list[str], folder: Path, given: dict[str, str]) -> list[str]:
    """Return where the two readings of these files, one after another, differ."""
    try:
        read = read_by_compose({"all": files}, folder, given)
    except ValueError as error:
        return [f"docker compose: {error}"]
    return compare(files, folder, given, read["all"])


def compare(
    files: list[str], folder: Path, given: dict[str, str], in_compose: dict[str, str]
) -> list[str]:
    """Return where bash reads these files differently from compose."""
    said = output_of(["bash", "-c", STRICT, "bash", *files], folder, given)
    if said.status:
        return [f"bash: {said.last_line}"]
    pairs = (pair.partition("=") for pair in said.text.split("\0") if pair)
    in_bash = {name: value for name, _, value in pairs if name not in OF_BASH}
    # What was given to both is no result of theirs, unless the file sets it again.
    names = sorted({*in_bash, *in_compose} - {name for name in given if name not in in_compose})
    return [
        f"{name} is {in_bash.get(name)!r} in bash and {in_compose.get(name)!r} in compose"
        for name in names
        if in_bash.get(name) != in_compose.get(name)
    ]


def read_by_compose(
    groups: dict[str, list[str]], folder: Path, given: dict[str, str]
) -> dict[str, dict[str, str]]:
    """Return the environment of one service for each group of env files, by the group's name."""
    services = {f"s{number}": files for number, files in enumerate(groups.values())}
    probe = folder / ".probe.yaml"
    # JSON is YAML.
    probe.write_text(
        json.dumps(
            {
                "services": {
                    name: {"image": "x", "env_file": files} for name, files in services.items()
                }
            }
        )
    )
    try:
        resolved = compose.config([probe.name], folder, given)["services"]
    finally:
        probe.unlink()
    return {
        name: unescaped(resolved[service].get("environment") or {})
        for name, service in zip(groups, services, strict=True)
    }


def unescaped(environment: dict[str, str | None]) -> dict[str, str]:
    """Return the values as a container gets them: compose's output doubles each dollar sign."""
    return {name: (value or "").replace("$$", "$") for name, value in environment.items()}
