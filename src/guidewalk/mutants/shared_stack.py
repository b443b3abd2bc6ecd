"""A stack that keeps running while mutants are checked with it.

Commands that only ask and the checks that work aside change nothing of a stack. So one stack is
enough for any number of mutants, and they need not wait for services of their own.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from guidewalk import processes
from guidewalk.guide import Block, Guide
from guidewalk.project import Project
from guidewalk.runner import Runner, mismatch
from guidewalk.shell import Shell, failure_message, render_command, without_ansi
from guidewalk.site import PREFIX, RUNNER, Site

# Seconds; what takes longer to answer is left to a run.
ANSWERED_WITHIN = 20.0


@dataclass(frozen=True)
class SharedStack:
    """A stack whose services run, and what its reader was told; any process may use it.

    It contains the stack's secrets and is never written anywhere.
    """

    flavour: str
    folder: Path
    offset: int
    environment: dict[str, str]
    outputs: dict[str, str]
    commands: dict[str, str]
    values: dict[str, str]

    @contextmanager
    def beside(self, project: Project, own: Guide) -> Iterator[Site]:
        """Give a folder like the reader's with this guide's files and commands, at the stack."""
        base = Path(tempfile.mkdtemp(prefix=PREFIX)).resolve()
        try:
            (base / RUNNER).write_text(str(os.getpid()))
            folder = base / self.folder.name
            copy_files(self.folder, folder, {*project.service_folders, project.installed})
            site = project.site(folder, self.flavour, self.offset, self.environment)
            for name, block in own.files().items():
                if (folder / name).exists():
                    (folder / name).write_text(block.text.rstrip("\n") + "\n")
            commands = {
                name: render_command(own.named[name], site.ports, self.values)
                for name in self.commands
                if name in own.named
            }
            yield replace(
                site, outputs=dict(self.outputs), commands=commands, values=dict(self.values)
            )
        finally:
            shutil.rmtree(base, ignore_errors=True)

    def ask(self, questions: Iterable[Block], own: Guide, site: Site) -> str:
        """Ask the guide's questions among these in the stack's folder.

        Return what is wrong, if anything. The site, beside the stack, keeps what they have printed.
        """
        for block in questions:
            name = block.name or ""
            if name not in self.commands or "asks" not in block.roles:
                continue
            with Shell(self.folder, self.environment) as shell:
                result = shell.run(site.commands[name], ANSWERED_WITHIN)
            if result.problem:
                return f"{failure_message(block, result)}\n{result.output}"
            site.outputs[name] = without_ansi(result.output)
            for stated in outputs_of(block, own, self.flavour):
                if problem := mismatch(stated, site, [result.output]):
                    return f"the output of '{name}' is not as stated: {problem}"
        return ""

    def end(self, project: Project) -> None:
        """End the services and remove everything that was made."""
        project.site(self.folder, self.flavour, self.offset, self.environment).end()
        processes.end(self.folder.parent, 0.0)
        shutil.rmtree(self.folder.parent, ignore_errors=True)


def outputs_of(command: Block, own: Guide, flavour: str) -> Iterator[Block]:
    """Yield the outputs that the guide states for the command."""
    return (one for one in own.of(flavour) if own.command_of(one, flavour) == command)


def left_by(runner: Runner) -> SharedStack:
    """Return what a run leaves when its reader goes away and the services stay."""
    if runner.shell:
        runner.shell.release()
    runner.pool.shutdown()
    site = runner.site
    return SharedStack(
        site.flavour, site.folder, site.port_offset, site.environment,
        site.outputs, site.commands, site.values,
    )  # fmt: skip


def copy_files(kept: Path, folder: Path, without: Iterable[str]) -> None:
    """Copy files with their modes and owners, which containers need."""
    shutil.copytree(
        kept, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*without), symlinks=True
    )
    if os.geteuid() == 0:
        for path in kept.rglob("*"):
            there = folder / path.relative_to(kept)
            if there.exists():
                stat = path.stat()
                os.chown(there, stat.st_uid, stat.st_gid)
