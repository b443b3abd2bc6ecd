"""What the checks share: their registry, and ways to look at what a reader's folder holds."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from guidewalk import processes
from guidewalk.registry import Registry
from guidewalk.site import PREFIX, RUNNER
from guidewalk.tool import output_of
from parsec_stack.verify.stack_site import StackSite

registry = Registry()
after = registry.after


def activated(site: StackSite) -> dict[str, str]:
    """The reader's environment with the virtual environment of the native way active."""
    path = f"{site.folder}/venv/bin{os.pathsep}{site.environment['PATH']}"
    return site.environment | {"PATH": path}


@contextmanager
def workshop() -> Iterator[Path]:
    """A folder for programs that run in it; all are ended with it.

    If this process is killed, the next docs-test ends them.
    """
    base = Path(tempfile.mkdtemp(prefix=PREFIX)).resolve()
    try:
        (base / RUNNER).write_text(str(os.getpid()))
        (base / "files").mkdir()
        yield base / "files"
    finally:
        processes.end(base, 0.0)
        shutil.rmtree(base, ignore_errors=True)


def mode(path: Path) -> int:
    """The file's permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


def values(path: Path) -> dict[str, str]:
    """The assignments of an env file that the guide's scripts have written."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    pairs = (line.partition("=") for line in lines)
    return {name: value.strip("'\"") for name, _, value in pairs}


def unchanged_by(site: StackSite, script: str, files: list[str]) -> None:
    """The script, run again, succeeds and leaves these files as they are."""
    before = {name: (site.folder / name).read_bytes() for name in files}
    said = output_of(["bash", script], site.folder, site.environment)
    assert said.status == 0, f"{script} fails when it is run again: {said.last_line}"
    for name, content in before.items():
        assert (site.folder / name).read_bytes() == content, f"{script} has changed {name}"
