"""However much the services write, their logs stay small."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from configparser import RawConfigParser
from pathlib import Path

import pytest

from guidewalk.processes import end
from parsec_stack.stack import ARTIFACTS

# What a service may have, and some more than that which each writes here, in bytes.
LIMIT = 31 << 20
WRITTEN = 45 << 20
NOISY = f"#!/bin/sh\nhead -c {WRITTEN} /dev/zero | tr '\\0' x | fold -w 999\nexec sleep 1000\n"
WITHIN = 110.0
CONFIGURATION = "supervisord.conf"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with the guide's supervisord.conf, and noisy programs in the place of all."""
    base = Path(tempfile.mkdtemp(prefix="logs-"))
    folder = base / "s"
    for name in ("log", "run"):
        (folder / name).mkdir(parents=True)
    shutil.copy(ARTIFACTS / CONFIGURATION, folder)
    for script in commands(folder).values():
        (folder / script).write_text(NOISY)
        (folder / script).chmod(0o755)
    try:
        yield folder
    finally:
        end(folder)
        shutil.rmtree(base)


def commands(folder: Path) -> dict[str, str]:
    """What supervisord runs, by the name of the program."""
    found = RawConfigParser(inline_comment_prefixes=";")
    found.read(folder / CONFIGURATION)
    sections = [name for name in found.sections() if name.startswith("program:")]
    return {name.partition(":")[2]: found[name]["command"] for name in sections}


@pytest.mark.timeout(180)
def test_logs_are_bounded(folder: Path) -> None:
    """Of each program the latest is kept, and no more than three files of 10 MB."""
    run("supervisord", folder)
    run("supervisorctl", folder, "start", "parsec-server")
    deadline = time.monotonic() + WITHIN
    while not all(is_full(folder, name) for name in commands(folder)):
        assert time.monotonic() < deadline, sizes(folder)
        time.sleep(0.2)

    assert max(sizes(folder).values()) <= LIMIT, sizes(folder)


def run(program: str, folder: Path, *arguments: str) -> None:
    """Run one of supervisord's programs."""
    command = [program, "--configuration", CONFIGURATION, *arguments]
    subprocess.run(
        command, cwd=folder, env=os.environ, check=True, capture_output=True, timeout=WITHIN
    )


def sizes(folder: Path) -> dict[str, int]:
    """The bytes that the logs of each program take."""
    return {
        name: sum(path.stat().st_size for path in (folder / "log").glob(f"{name}.log*"))
        for name in commands(folder)
    }


def is_full(folder: Path, name: str) -> bool:
    """Has the log been cut as often as what the program writes is longer than a file?"""
    parts = list((folder / "log").glob(f"{name}.log*"))
    return len(parts) >= 3 and sizes(folder)[name] >= (20 << 20)
