"""What claims are checked against: the guide's artifacts and commands, and real programs."""

from __future__ import annotations

import importlib.util
import re
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from guidewalk.guide import Guide
from guidewalk.tool import Said, Tool, output_of
from parsec_stack import composition
from parsec_stack.verify import compose

# A test's name, where it is defined.
TEST = re.compile(r"^def (test_\w+)\(", re.MULTILINE)
DOCKER = Tool("docker", "", ["--version"])


class Sources:
    """The sources, each read once, when it is first asked for."""

    def __init__(self, guide: Guide, root: Path) -> None:
        self.guide = guide
        self.root = root

    @cached_property
    def files(self) -> dict[str, str]:
        """The text of every file that the guide shows whole, by name."""
        return {name: block.text for name, block in self.guide.files().items()}

    @cached_property
    def commands(self) -> str:
        """All commands of the guide, including those that are not executed."""
        blocks = self.guide.blocks
        kinds = ("command", "exception")
        return "\n".join(b.text for b in blocks if b.kind in kinds and b.language == "bash")

    @cached_property
    def code(self) -> str:
        """Everything that a reader executes or gives to a program."""
        return "\n".join([self.commands, *self.files.values()])

    @cached_property
    def shell(self) -> str:
        """The part of the code that bash executes."""
        scripts = [text for text in self.files.values() if text.startswith("#!/usr/bin/env bash")]
        return "\n".join([self.commands, *scripts])

    @cached_property
    def said(self) -> str:
        """All output and messages of programs that the guide states."""
        blocks = self.guide.blocks
        return "\n".join(b.text for b in blocks if b.kind in ("message", "output"))

    @cached_property
    def needed(self) -> dict[str, str]:
        """Programs that not every machine has, each with the reason."""
        return {name: why for block in self.guide.blocks for name, why in block.needs.items()}

    @cached_property
    def compose(self) -> dict[str, Any]:
        """The compose file as data."""
        return composition.parse(self.files.get(composition.COMPOSE_FILE, ""))

    @cached_property
    def supervised(self) -> set[str]:
        """The programs of supervisord."""
        return set(re.findall(r"^\[program:(.+)\]$", self.file("supervisord.conf"), re.M))

    @cached_property
    def nginx(self) -> str:
        """nginx's configuration."""
        return "\n".join(self.file(name) for name in ("parsec-nginx.conf", "nginx.conf"))

    @cached_property
    def tasks(self) -> set[str]:
        """The names of invoke's tasks."""
        spec = importlib.util.spec_from_file_location("project_tasks", self.root / "tasks.py")
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return set(module.namespace.task_names)

    @cached_property
    def hosts_of_projects(self) -> set[str]:
        """The hosts that the installed packages name as their projects' own."""
        from importlib import metadata
        from urllib.parse import urlsplit

        named = [
            url
            for package in metadata.distributions()
            for field in ("Home-page", "Project-URL")
            for url in package.metadata.get_all(field) or []
        ]
        return {host for url in named if (host := urlsplit(url.rpartition(" ")[2]).hostname)}

    def file(self, name: str) -> str:
        """Return the text of an artifact; empty if the guide shows none of this name."""
        return self.files.get(name, "")

    def help_of(self, program: str, *arguments: str) -> Said | None:
        """Return the program's help on its options; None if it is absent."""
        tool = {"docker": DOCKER, "docker compose": compose.TOOL}.get(program)
        tool = tool or Tool(program, "", [])
        if not tool.path:
            return None
        asked = ["all"] if program == "curl" else []
        return output_of([tool.path, *arguments, "--help", *asked], Path("/"))


@cache
def tests_in(folder: Path) -> frozenset[str]:
    """Return the names of all tests in the folder's files."""
    texts = (path.read_text() for path in folder.rglob("test_*.py"))
    return frozenset(name for text in texts for name in TEST.findall(text))
