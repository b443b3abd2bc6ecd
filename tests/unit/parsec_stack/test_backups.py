"""Backups as the tasks see them: manifests, keys, targets."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from parsec_stack import backups
from parsec_stack.errors import StackError
from parsec_stack.stack import Stack

LINES = """set 20260131T023000Z
database-read 2026-01-31T02:30:00Z
server 3.7.0rc2
migration initial
migration tos
objects 3 3000000000
sha256 0 objects
"""


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    """A new stack with the tools of backups."""
    made = Stack(tmp_path)
    backups.install_tools(made)
    return made


def test_manifest(tmp_path: Path) -> None:
    """All that restoring asks for is in it."""
    (tmp_path / "manifest").write_text(LINES)

    found = backups.Manifest.read(tmp_path / "manifest")

    assert found == backups.Manifest(
        "20260131T023000Z",
        datetime(2026, 1, 31, 2, 30, tzinfo=UTC),
        ("initial", "tos"),
        3,
        3000000000,
    )


@pytest.mark.parametrize("line", ["set", "database-read", "objects"])
def test_manifest_that_is_none(tmp_path: Path, line: str) -> None:
    """One message names the file."""
    path = tmp_path / "manifest"
    path.write_text("\n".join(one for one in LINES.splitlines() if not one.startswith(line)))

    with pytest.raises(StackError, match="is no manifest of a backup"):
        backups.Manifest.read(path)


@pytest.mark.parametrize(
    ("target", "place"),
    [
        ("offsite:parsec", "offsite:parsec"),
        ("/mnt/a b's $HOME", "/mnt/a b's $HOME"),
        ("/mnt/a:b", "/mnt/a:b"),
    ],
)
def test_target(stack: Stack, target: str, place: str) -> None:
    """Bash reads the place as it was given, whatever its name holds."""
    backups.introduce(stack, target, "")

    command = 'source ./parsec-backup.env; printf %s "$BACKUP_TARGET"'
    said = subprocess.run(
        ["bash", "-euc", command], cwd=stack.folder, capture_output=True, text=True, check=True
    )
    assert said.stdout == place
    assert "BACKUP_KEEP=" in (stack.folder / backups.SETTINGS).read_text()


def test_folder_of_here(stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path is that of the user, not of the stack."""
    (tmp_path / "user").mkdir()
    monkeypatch.chdir(tmp_path / "user")

    backups.introduce(stack, "sets", "")

    assert f"BACKUP_TARGET={tmp_path}/user/sets\n" in (stack.folder / backups.SETTINGS).read_text()


def test_target_that_no_setting_can_hold(stack: Stack) -> None:
    """A name that is no UTF-8 is refused, and the settings stay."""
    before = (stack.folder / backups.SETTINGS).read_text()

    with pytest.raises(StackError, match="is no text in UTF-8"):
        backups.introduce(stack, "/mnt/\udcff", "")

    assert (stack.folder / backups.SETTINGS).read_text() == before


def test_key(stack: Stack, tmp_path: Path) -> None:
    """The key is taken, for its owner alone; another is never put in its place."""
    own, first, other = stack.folder / backups.KEY, tmp_path / "first", tmp_path / "other"
    first.write_text("abc1\n")
    other.write_text("abc2\n")

    backups.introduce(stack, "", str(first))
    backups.introduce(stack, "", str(first))

    assert own.stat().st_mode & 0o777 == 0o600
    with pytest.raises(StackError, match="is another key than"):
        backups.introduce(stack, "", str(other))
    assert own.read_text() == "abc1\n"


@pytest.mark.parametrize("text", ["", "no key\n", None, "\udcff"])
def test_no_key(stack: Stack, tmp_path: Path, text: str | None) -> None:
    """What is no key, or not there, is told in one message, without its text."""
    path = tmp_path / "given"
    if text is not None:
        path.write_bytes(text.encode(errors="surrogateescape"))

    with pytest.raises(StackError, match=str(path)) as raised:
        backups.introduce(stack, "", str(path))

    assert "no key\n" not in str(raised.value)
    assert not (stack.folder / backups.KEY).exists()
