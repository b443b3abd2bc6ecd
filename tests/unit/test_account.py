"""Whose the services are that root starts, and who else may change what is run."""

import grp
import json
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest
from invoking import invoke

from parsec_stack import access, account
from parsec_stack.errors import StackError
from parsec_stack.stack import ROOT

ROOT_ONLY = pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
NOBODY = pwd.getpwnam("nobody")
STRANGER = 54321
# What a process of the account sees of a path, and of the file beside it.
LOOKING = """
import os, sys
from pathlib import Path
from parsec_stack import account
who = account.known("nobody", "the test")
account.open_way(who, [Path(path) for path in sys.argv[1:]])
account.become(who)
print(os.getresuid(), os.getresgid(), os.getgroups(), os.environ["HOME"])
print([Path(path).read_text() for path in sys.argv[1:]])
print(sorted(os.listdir(Path(sys.argv[1]).parent)))
try:
    os.setuid(0)
except PermissionError:
    print("for good")
"""


def account_of(folder: Path, **variables: str) -> str:
    """The name of whom root would become."""
    return account.chosen(folder, variables).pw_name


@ROOT_ONLY
def test_whom_root_becomes(tmp_path: Path) -> None:
    """Whom the variable names, whose the folder is, who has become root by sudo, or nobody."""
    assert account_of(tmp_path / "new") == "nobody"
    assert account_of(tmp_path) == "nobody"
    assert account_of(tmp_path, SUDO_USER="daemon") == "daemon"
    assert account_of(tmp_path, SUDO_USER="root") == "nobody"
    assert account_of(tmp_path, SUDO_USER="daemon", STACK_USER="bin") == "bin"
    os.chown(tmp_path, pwd.getpwnam("daemon").pw_uid, 0)
    assert account_of(tmp_path, SUDO_USER="nobody") == "daemon"
    with pytest.raises(StackError, match="belongs to daemon, and STACK_USER names bin"):
        account_of(tmp_path, STACK_USER="bin")


def test_names_that_cannot_be(tmp_path: Path) -> None:
    """Root, and a name that no account has."""
    with pytest.raises(StackError, match="STACK_USER names root, who runs no services"):
        account_of(tmp_path / "new", STACK_USER="root")
    with pytest.raises(StackError, match="STACK_USER names 'no one', and no account"):
        account_of(tmp_path / "new", STACK_USER="no one")


@ROOT_ONLY
def test_a_closed_way_is_opened_for_this_process_alone(tmp_path: Path) -> None:
    """The account comes to what it needs, to nothing beside it, and never back to root."""
    closed = tmp_path / "closed"
    needed = [closed / "a folder" / "file", closed / "b" / "file"]
    for path in (*needed, closed / "b" / "secret", closed / "secret"):
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(f"{path.parent.name} ")
    closed.chmod(0o700)
    mounts = Path("/proc/self/mounts").read_text()

    folders = [str(path.parent) for path in needed]
    looking = LOOKING.replace("Path(path).read_text()", "(Path(path) / 'file').read_text()")
    done = subprocess.run(
        [sys.executable, "-c", looking, *folders], capture_output=True, text=True, timeout=30
    )

    identity, content, listing, way_back = done.stdout.splitlines()
    assert identity.startswith(f"{(NOBODY.pw_uid,) * 3} {(NOBODY.pw_gid,) * 3}")
    assert content == "['a folder ', 'b ']"
    assert listing == "['a folder', 'b']"
    assert way_back == "for good"
    assert closed.stat().st_mode & 0o777 == 0o700
    assert Path("/proc/self/mounts").read_text() == mounts


@ROOT_ONLY
def test_a_closed_way_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    """Where root may not mount, as in many containers, the folder is named and the remedy."""
    closed = tmp_path / "closed"
    tmp_path.chmod(0o711)
    closed.mkdir(mode=0o700)
    (closed / "s").mkdir()

    weak = ["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"]
    done = subprocess.run(
        [*weak, sys.executable, "-c", LOOKING, closed / "s"], capture_output=True, text=True
    )

    assert done.returncode == 1
    assert f"nobody, as whom root's services run, may not enter {closed}" in done.stderr
    assert f"'chmod o+x {closed}'" in done.stderr


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
    assert "as nobody, for root runs no services" in done.stdout
    owners = {path.lstat().st_uid for path in (folder, *folder.rglob("*"))}
    assert owners == {NOBODY.pw_uid}
    assert other.stat().st_uid == 0


def test_a_folder_of_ones_own(tmp_path: Path) -> None:
    """Nobody else can change it, though all may write to /tmp above it."""
    (tmp_path / "s").mkdir(mode=0o755)
    access.refuse_strangers(tmp_path / "s" / "new" / "one", os.getuid())
    access.refuse_strangers(tmp_path / "s", os.getuid())


@pytest.mark.parametrize("where", [".", "s", "s/run-parsec-server"])
@pytest.mark.parametrize(("mode", "who"), [(0o777, "everybody"), (0o775, "the group ")])
def test_what_others_may_write_is_refused(tmp_path: Path, where: str, mode: int, who: str) -> None:
    """The folder, one above it, a script in it: who may write there is named, and the remedy."""
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "run-parsec-server").touch()
    path = (tmp_path / where).resolve()
    shared = next(entry.gr_gid for entry in grp.getgrall() if entry.gr_name != "root")
    if os.getuid() == 0:
        os.chown(path, 0, shared)
    elif "group" in who:
        pytest.skip("only root can give a file to another group")
    path.chmod(mode)

    with pytest.raises(StackError, match=rf"{who}.* may write to {path}, .*chmod [og]-w"):
        access.refuse_strangers(tmp_path / "s", os.getuid())


@ROOT_ONLY
@pytest.mark.parametrize("where", [".", "s", "s/run-parsec-server"])
def test_what_is_anothers_is_refused(tmp_path: Path, where: str) -> None:
    """The folder, one above it, a script in it: its owner is named."""
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "run-parsec-server").touch()
    path = (tmp_path / where).resolve()
    os.chown(path, STRANGER, 0)

    with pytest.raises(StackError, match=f"{path} belongs to user {STRANGER}, who could"):
        access.refuse_strangers(tmp_path / "s", os.getuid())


def test_a_group_of_ones_own_may_write(tmp_path: Path) -> None:
    """Many systems make a group for each user, and let it write by default."""
    folder = tmp_path / "s"
    folder.mkdir()
    own = pwd.getpwuid(os.getuid())
    if grp.getgrgid(own.pw_gid).gr_name != own.pw_name:
        pytest.skip("this user has no group of that name")
    folder.chmod(0o775)
    access.refuse_strangers(folder, os.getuid())


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
