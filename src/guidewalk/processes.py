"""End what the guide's commands have left running."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from guidewalk.site import FOLDER, PREFIX, RUNNER

# How many seconds services may take to stop.
GRACE = 10.0
POLL = 0.01
# How often to kill processes that keep appearing.
ATTEMPTS = 100


def within(folder: Path) -> list[psutil.Process]:
    """Return the processes that work in this folder, or whose environment names it.

    Never this one.
    """
    mine = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    return [
        process
        for process in psutil.process_iter()
        if process.pid not in mine and lives(process) and belongs(process, folder)
    ]


def belongs(process: psutil.Process, folder: Path) -> bool:
    """Return whether the process works in the folder, or gets it from its environment."""
    with suppress(psutil.Error, OSError, ValueError):
        if Path(process.cwd()).is_relative_to(folder):
            return True
    with suppress(psutil.Error, OSError):
        return any(leads_into(value, folder) for value in process.environ().values())
    return False


def leads_into(value: str, folder: Path) -> bool:
    """Return whether a variable begins with the folder's path, or with one inside it."""
    return value == str(folder) or value.startswith((f"{folder}/", f"{folder}:"))


def end(folder: Path, grace: float = GRACE) -> list[str]:
    """End every process of the folder, killing after ``grace`` seconds; return the names of all.

    This includes what a supervisor starts meanwhile.
    """
    found = within(folder)
    names = [name_of(process) for process in found]
    if grace:
        signal_all(found, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while found and time.monotonic() < deadline:
        time.sleep(POLL)
        found = [process for process in found if lives(process)]
    for _ in range(ATTEMPTS):
        if not (left := within(folder)):
            break
        signal_all(left, signal.SIGKILL)
        time.sleep(POLL)
    return names


def signal_all(processes: list[psutil.Process], number: signal.Signals) -> None:
    """Send the signal to those of the processes that still exist."""
    for process in processes:
        with suppress(psutil.Error):
            process.send_signal(number)


def lives(process: psutil.Process) -> bool:
    """Return whether it still runs; a process that only awaits its parent does not."""
    with suppress(psutil.Error):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def name_of(process: psutil.Process) -> str:
    """Return its name, if it still has one."""
    with suppress(psutil.Error):
        return str(process.name())
    return "?"


def clear_abandoned(clear: Callable[[Path], None]) -> None:
    """End and remove what docs-tests have left whose own process was killed.

    ``clear`` removes what the project has outside a reader's folder.
    """
    for runner in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{RUNNER}"):
        with suppress(OSError, ValueError):
            if is_abandoned(runner):
                clear_base(runner.parent.resolve(), clear)


def is_abandoned(runner: Path) -> bool:
    """Return whether this is the file of a docs-test of this user whose process is gone."""
    own = runner.stat().st_uid == os.getuid()
    return own and not psutil.pid_exists(int(runner.read_text()))


def clear_base(base: Path, clear: Callable[[Path], None]) -> None:
    """End what runs in the folder of a docs-test, and remove it."""
    end(base)
    for folder in base.glob(f"{FOLDER}*"):
        clear(folder)
    shutil.rmtree(base, ignore_errors=True)
