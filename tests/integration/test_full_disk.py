"""A full disk is named, and what was there before stays."""

from __future__ import annotations

import os
import resource
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from guidewalk.atomic import write_atomically
from guidewalk.shell import Shell
from parsec_stack.stack import ARTIFACTS

SCRIPT = ARTIFACTS / "setup-tls.sh"
TIMEOUT = 60


@contextmanager
def no_room() -> Iterator[None]:
    """Let this process write no byte into any file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_the_file_is_named(tmp_path: Path) -> None:
    """A record that cannot be written names itself, and the one before stays."""
    path = tmp_path / "record"
    write_atomically(path, "before")

    with pytest.raises(OSError, match="record") as raised, no_room():
        write_atomically(path, "after")

    assert raised.value.filename == str(path)
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["record"]


def test_the_temporary_folder_is_named(tmp_path: Path) -> None:
    """It is where blocks of the guide are laid before they run."""
    with (
        Shell(tmp_path, os.environ) as shell,
        pytest.raises(OSError, match=r".") as raised,
        no_room(),
    ):
        shell.run("true")

    assert raised.value.filename == tempfile.gettempdir()


@pytest.mark.skipif(os.getuid() != 0, reason="only root may mount")
@pytest.mark.parametrize("free", [8, 40, 150])
def test_certificates_are_made_all_or_none(tmp_path: Path, free: int) -> None:
    """With little room left a renewal says so, and changes neither content nor mode."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk], check=True)
    try:
        subprocess.run([SCRIPT], cwd=disk, check=True, capture_output=True, timeout=TIMEOUT)
        (disk / "custom-ca.key").unlink()
        before = content(disk)
        left = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        (disk / "filler").write_bytes(b"x" * (left - free * 1024))

        done = subprocess.run([SCRIPT], cwd=disk, capture_output=True, text=True, timeout=TIMEOUT)

        (disk / "filler").unlink()
        assert done.returncode == 1
        assert done.stderr == f"setup-tls.sh: the disk of {disk} is full: nothing was changed\n"
        assert content(disk) == before
        subprocess.run([SCRIPT], cwd=disk, check=True, capture_output=True, timeout=TIMEOUT)
    finally:
        subprocess.run(["umount", disk], check=True)


def content(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    """Of each file what it holds, its mode and its group."""
    return {
        path.name: (path.read_bytes(), path.stat().st_mode, path.stat().st_gid)
        for path in folder.iterdir()
    }
