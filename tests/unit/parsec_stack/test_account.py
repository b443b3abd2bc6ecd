"""Whose the services are that root starts, and who else may change what is run."""

import grp
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from accounts import NOBODY, ROOT_ONLY, STRANGER
from parsec_stack import access, account
from parsec_stack.errors import StackError

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
    with pytest.raises(StackError, match="STACK_USER names root, but no service runs as root"):
        account_of(tmp_path / "new", STACK_USER="root")
    with pytest.raises(StackError, match="STACK_USER names 'no one', but there is no such account"):
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
    account = "nobody, the account of the services that root starts"
    assert f"{account}, may not enter {closed}" in done.stderr
    assert f"'chmod o+x {closed}'" in done.stderr


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
