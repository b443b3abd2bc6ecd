"""What claims are checked against: the guide's artifacts and commands, and real programs."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from guidewalk.answers import Answers
from guidewalk.guide import Guide
from guidewalk.tool import Said, Tool, output_of
from parsec_stack import composition, options
from parsec_stack.verify import compose

# A test's name, where it is defined.
TEST = re.compile(r"^def (test_\w+)\(", re.MULTILINE)
DOCKER = Tool("docker", "", ["--version"])
# It logs an error as the server does.
LOGGING = """
import sys
from parsec.config import LogLevel
from parsec.logging import LogFormat, configure_logging, get_logger
configure_logging(LogLevel.INFO, LogFormat.JSON, sys.stdout)
try:
    raise ValueError
except ValueError:
    get_logger().exception("")
"""


class Sources:
    """The sources, each read once, when it is first asked for."""

    def __init__(self, guide: Guide, root: Path) -> None:
        self.guide = guide
        self.root = root
        # Programs and packages are slow to ask, and change rarely.
        self.answers = Answers(root / "build" / "answers.json")

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
        return set(self.answers.of(["hosts of projects"], hosts_of_projects))

    @cached_property
    def variables(self) -> set[str]:
        """The environment variables that the server reads."""
        return set(self.answers.of(["variables"], lambda: sorted(options.variables())))

    @cached_property
    def flags(self) -> set[str]:
        """The options of the server, as written on the command line."""

        def ask() -> list[str]:
            return [option.flag for option in options.server_options()]

        return set(self.answers.of(["flags"], ask))

    @cached_property
    def subcommands(self) -> set[str]:
        """The commands that ``parsec`` knows."""
        return set(self.answers.of(["subcommands"], options.subcommands))

    @cached_property
    def of_the_s3_client(self) -> set[str]:
        """The variables that the server's S3 client reads."""
        return set(self.answers.of(["variables of the S3 client"], variables_of_the_s3_client))

    def refusal(self, variable: str, value: str) -> str:
        """Return why the server refuses the value of this variable; empty if it accepts it."""
        question = ["refusal", variable, value]
        return self.answers.of(question, lambda: options.refusal(variable, value))

    @cached_property
    def log_fields(self) -> list[str]:
        """The members of the object in which the server logs an error; ValueError without any."""
        said = self.said_by([sys.executable, "-c", LOGGING])
        if said.status:
            raise ValueError(f"the server logs no error: {said.last_line}")
        return list(json.loads(said.text))

    def said_by(self, argv: list[str]) -> Said:
        """Return what the program prints, and its status."""

        def ask() -> list[str | int]:
            return list(output_of(argv, Path("/")))

        text, status = self.answers.of(argv, ask, argv[0])
        return Said(str(text), int(status))

    @cached_property
    def names(self) -> set[str]:
        """What the prose may call by its name: files, services, settings, options, tasks, words."""
        services = {*self.compose.get("services", {}), *self.supervised}
        settings = {*self.variables, *self.flags}
        tasks = {f"invoke {task}" for task in self.tasks}
        words = set(re.findall(r"(?<!\S)[\w./-]{4,}(?!\S)", self.code))
        return {*self.files, *services, *settings, *tasks, *words}

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
        return self.said_by([tool.path, *arguments, "--help", *asked])


def hosts_of_projects() -> list[str]:
    """Return the hosts of the sites that the installed packages name."""
    from importlib import metadata
    from urllib.parse import urlsplit

    named = [
        url
        for package in metadata.distributions()
        for field in ("Home-page", "Project-URL")
        for url in package.metadata.get_all(field) or []
    ]
    return sorted({host for url in named if (host := urlsplit(url.rpartition(" ")[2]).hostname)})


def variables_of_the_s3_client() -> list[str]:
    """Return the environment variables that botocore reads."""
    from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES

    named = (row[1] for row in BOTOCORE_DEFAUT_SESSION_VARIABLES.values() if row[1])
    return sorted({name for one in named for name in ([one] if isinstance(one, str) else one)})


@cache
def tests_in(folder: Path) -> frozenset[str]:
    """Return the names of all tests in the folder's files."""
    texts = (path.read_text() for path in folder.rglob("test_*.py"))
    return frozenset(name for text in texts for name in TEST.findall(text))
