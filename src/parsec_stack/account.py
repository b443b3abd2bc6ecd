"""Whose the native services are when root starts them: an account's that owns nothing else.

PostgreSQL writes files and starts programs for its superuser, and SeaweedFS and nginx read what
clients send: none of them may be root.
"""

from __future__ import annotations

import os
import pwd
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from parsec_stack.errors import StackError

VARIABLE = "STACK_USER"
# Whom every system knows, and who owns nothing there.
USUAL = "nobody"
# mount(2): a folder shown at a second place with what is mounted in it; a tree whose changes stay
# in this namespace, while those of the system still come in.
BIND, RECURSIVE, SLAVE = 0x1000, 0x4000, 0x80000

Account = pwd.struct_passwd


def is_root() -> bool:
    """May this process do anything?"""
    return os.geteuid() == 0


def chosen(folder: Path, environment: Mapping[str, str] = os.environ) -> Account:
    """Whose the services of the stack in this folder are, if root starts them.

    That is whom ``STACK_USER`` names, the folder's owner, who has become root by sudo, or nobody.
    Raises StackError for a name that no account has, and for root.
    """
    owner = folder.stat().st_uid if folder.exists() else 0
    named = environment.get(VARIABLE)
    if named:
        account = known(named, VARIABLE)
    elif owner:
        account = by_number(owner)
    else:
        caller = environment.get("SUDO_USER", "root")
        account = known(USUAL if caller == "root" else caller, "SUDO_USER")
    if not account.pw_uid:
        raise StackError(f"{VARIABLE} names root, who runs no services: name another account")
    if owner not in (0, account.pw_uid):
        raise StackError(
            f"{folder} belongs to {by_number(owner).pw_name}, and {VARIABLE} names "
            f"{account.pw_name}: choose another folder by --stack, or leave {VARIABLE} out"
        )
    return account


def known(name: str, said_by: str) -> Account:
    """The account of this name."""
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise StackError(
            f"{said_by} names '{name}', and no account is called so: "
            f"name one by {VARIABLE}, or make it by 'useradd --system {name}'"
        ) from None


def by_number(number: int) -> Account:
    """The account with this number."""
    try:
        return pwd.getpwuid(number)
    except KeyError:
        raise StackError(
            f"no account has the number {number}, and PostgreSQL wants a name: "
            "run this as an account that is listed in /etc/passwd"
        ) from None


def give(path: Path, account: Account) -> None:
    """Make the file or folder the account's, with all that is in it; links are not followed."""
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            inside = os.path.join(folder, name)
            os.chown(inside, account.pw_uid, account.pw_gid, follow_symlinks=False)
    # Last: by its owner it is known whether this has been done.
    os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)


def become(account: Account) -> None:
    """Be this account from here on, for good."""
    os.initgroups(account.pw_name, account.pw_gid)
    os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
    os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)
    introduce(account)


def introduce(account: Account) -> None:
    """Let the variables name the account; what it may not use goes."""
    os.environ |= {
        "HOME": account.pw_dir,
        "USER": account.pw_name,
        "LOGNAME": account.pw_name,
        "SHELL": account.pw_shell,
    }
    if not os.access(os.environ.get("TMPDIR", "/"), os.W_OK | os.X_OK):
        os.environ.pop("TMPDIR", None)
    tempfile.tempdir = None


@contextmanager
def acting_as(account: Account) -> Iterator[None]:
    """Be this account meanwhile; what is started is it for good."""
    groups = os.getgroups()
    os.setgroups(os.getgrouplist(account.pw_name, account.pw_gid))
    os.setresgid(account.pw_gid, account.pw_gid, 0)
    os.setresuid(account.pw_uid, account.pw_uid, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
        os.setgroups(groups)


def open_way(account: Account, needed: Iterable[Path]) -> None:
    """Let the account come to these paths, though folders above them are closed to it.

    Where one is, as root's home, this process and what it starts see in its place one that holds
    nothing but the needed paths; to everybody else all stays as it is. Raises StackError where
    the system does not let root do that.
    """
    paths = sorted({path.resolve() for path in needed})
    if not any(closed_above(account, path) for path in paths):
        return
    with suppress(OSError):
        show_all(account, paths)
    for path in paths:
        if closed := closed_above(account, path):
            raise StackError(
                f"{account.pw_name}, as whom root's services run, may not enter {closed}, in which "
                f"{path} lies: let others pass by 'chmod o+x {closed}', or move it elsewhere"
            )


def show_all(account: Account, paths: list[Path]) -> None:
    """Show the paths to this process alone; OSError where a machine does not allow it."""
    if not hasattr(os, "unshare"):
        return
    os.unshare(os.CLONE_NEWNS)
    mount("none", "/", RECURSIVE | SLAVE)
    # A folder of another namespace than this new one could not be mounted.
    held = {path: os.open(path, os.O_PATH) for path in paths}
    try:
        for path, place in held.items():
            show(account, path, place)
    finally:
        for place in held.values():
            os.close(place)


def show(account: Account, path: Path, place: int) -> None:
    """Show the path, which is open as ``place``, where nothing above is closed."""
    if closed := closed_above(account, path):
        mount("none", closed, 0, kind="tmpfs", data="mode=711,size=64k")
    if not path.exists():
        path.mkdir(parents=True)
        mount(f"/proc/self/fd/{place}", path, BIND | RECURSIVE)


def closed_above(account: Account, path: Path) -> Path | None:
    """The first folder above the path that the account may not pass."""
    groups = os.getgrouplist(account.pw_name, account.pw_gid)
    for folder in reversed(path.parents):
        if not folder.exists():
            return None
        state = folder.stat()
        if state.st_uid == account.pw_uid:
            passes = state.st_mode & 0o100
        elif state.st_gid in groups:
            passes = state.st_mode & 0o010
        else:
            passes = state.st_mode & 0o001
        if not passes:
            return folder
    return None


def mount(source: str, target: str | Path, flags: int, kind: str = "none", data: str = "") -> None:
    """mount(2); Python has no other name for it. Raises OSError."""
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    done = library.mount(
        source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), data.encode()
    )
    if done:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))
