"""Write files as a whole or not at all: beside their place first, then renamed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from guidewalk.errors import named


def write_atomically(path: Path, text: str) -> None:
    """Write the file as a whole or not at all."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with named(path):
            beside.write_text(text)
            beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def copy_atomically(source: Path, target: Path) -> None:
    """Copy the file as a whole or not at all, readable for all: a umask may have closed it."""
    beside = target.with_name(f"{target.name}.{os.getpid()}.new")
    try:
        shutil.copyfile(source, beside)
        beside.chmod(0o755 if os.access(source, os.X_OK) else 0o644)
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
