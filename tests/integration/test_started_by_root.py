"""Tasks that root runs, and folders that others have prepared for them."""

import json
import os
import sys
from pathlib import Path

import pytest

from accounts import NOBODY, ROOT_ONLY, STRANGER
from invoking import invoke
from parsec_stack import account
from parsec_stack.stack import ROOT


@ROOT_ONLY
def test_roots_stack_becomes_its_accounts(tmp_path: Path) -> None:
    """What an older version made as root is handed over whole; what a link leads to is not."""
    folder, other = tmp_path / "s", tmp_path / "other"
    other.write_text("root's")
    done = invoke(folder, "tls")
    assert done.returncode == 0, done.stderr
    (folder / "data" / "deep").mkdir(parents=True)
    (folder / "link").symlink_to(other)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, 0, 0, follow_symlinks=False)

    done = invoke(folder, "tls")

    assert done.returncode == 0, done.stderr
    assert "as nobody, because no service runs as root" in done.stdout
    owners = {path.lstat().st_uid for path in (folder, *folder.rglob("*"))}
    assert owners == {NOBODY.pw_uid}
    assert other.stat().st_uid == 0


@ROOT_ONLY
@pytest.mark.parametrize("task", ["tls", "status", "down", "up", "destroy"])
@pytest.mark.parametrize("flavour", ["native", "docker"])
def test_tasks_refuse_a_prepared_folder(tmp_path: Path, task: str, flavour: str) -> None:
    """A stack that another user has prepared is not touched, and nothing of it is run."""
    folder = tmp_path / "s"
    folder.mkdir()
    state = {"flavour": flavour, "port_offset": 0, "folder": str(folder), "artifacts": {}}
    (folder / ".stack.json").write_text(json.dumps(state))
    script = folder / "setup-tls.sh"
    script.write_text("#!/bin/sh\ntouch ran\n")
    script.chmod(0o755)
    for path in (folder, *folder.iterdir()):
        os.chown(path, STRANGER, STRANGER)

    done = invoke(folder, task, STACK_FLAVOUR=flavour)

    assert done.returncode == 1
    assert str(STRANGER) in done.stderr
    assert "Traceback" not in done.stderr
    assert {path.name for path in folder.iterdir()} == {".stack.json", "setup-tls.sh"}


@ROOT_ONLY
def test_a_user_without_a_name(tmp_path: Path) -> None:
    """Whom the machine's list of accounts lacks, as in some containers, is told so at once."""
    folder = tmp_path / "s"
    done = invoke(folder, "tls", "adminToken")
    assert done.returncode == 0, done.stderr
    for path in (tmp_path, folder, *folder.rglob("*")):
        os.chown(path, STRANGER, STRANGER)
    nameless = ["setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups"]

    # As root would: its home may be closed to that user.
    account.open_way(NOBODY, [Path(sys.prefix), Path(sys.base_prefix), ROOT, folder])
    done = invoke(folder, "up", before=nameless)

    assert done.returncode == 1
    assert f"no account has the number {STRANGER}" in done.stderr
    assert "Traceback" not in done.stderr


@ROOT_ONLY
def test_the_folder_that_a_destroyed_stack_leaves(tmp_path: Path) -> None:
    """Root may use it again, with Docker too, whose tasks run as root."""
    folder = tmp_path / "s"
    for task in (["tls"], ["destroy", "--yes"]):
        done = invoke(folder, *task)
        assert done.returncode == 0, done.stderr
    assert list(folder.iterdir()) == []
    assert folder.stat().st_uid == NOBODY.pw_uid

    done = invoke(folder, "tls", STACK_FLAVOUR="docker")

    assert done.returncode == 0, done.stderr
    assert folder.stat().st_uid == 0
