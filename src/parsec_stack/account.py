"""Choose the account of the native services when root starts them.

It should own nothing else. PostgreSQL writes files and starts programs for its superuser, and
SeaweedFS and nginx read what clients send, so none of them may be root.
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
# Every system has this account, and it owns nothing there.
USUAL = "nobody"
# Flags of mount(2): show a folder at a second place together with what is mounted in it; keep
# changes to a tree in this namespace, while those of the system still come in.
BIND, RECURSIVE, SLAVE = 0x1000, 0x4000, 0x80000

Account = pwd.struct_passwd


def is_root() -> bool:
    """Return whether this process runs as root."""
    return os.geteuid() == 0


def chosen(folder: Path, environment: Mapping[str, str] = os.environ) -> Account:
    """Return the account of the services of the stack in this folder, if root starts them.

    It is the account that ``STACK_USER`` names, else the folder's owner, else the user who became
    root with sudo, else nobody. Raises StackError for a name that no account has, and for root.
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
        raise StackError(
            f"{VARIABLE} names root, but no service runs as root: name another account"
        )
    if owner not in (0, account.pw_uid):
        raise StackError(
            f"{folder} belongs to {by_number(owner).pw_name}, and {VARIABLE} names "
            f"{account.pw_name}: choose another folder with --stack, or unset {VARIABLE}"
        )
    return account


def known(name: str, said_by: str) -> Account:
    """Return the account of this name; StackError if there is none."""
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise StackError(
            f"{said_by} names '{name}', but there is no such account: name one in {VARIABLE}, or "
            f"create it with 'useradd --system {name}'"
        ) from None


def by_number(number: int) -> Account:
    """Return the account with this number; StackError if there is none."""
    try:
        return pwd.getpwuid(number)
    except KeyError:
        raise StackError(
            f"no account has the number {number}, but PostgreSQL needs a name: run this as an "
            "account that is listed in /etc/passwd"
        ) from None


def give(path: Path, account: Account) -> None:
    """Give the file or folder, with everything in it, to the account; do not follow links."""
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            inside = os.path.join(folder, name)
            os.chown(inside, account.pw_uid, account.pw_gid, follow_symlinks=False)
    # Last, because the owner of this path shows whether everything in it has been done.
    os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)


def become(account: Account) -> None:
    """Switch this process to the account for good."""
    os.initgroups(account.pw_name, account.pw_gid)
    os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
    os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)
    introduce(account)


def introduce(account: Account) -> None:
    """Make the environment variables name the account, and remove those that it may not use."""
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
    """Act as this account within the context; processes started meanwhile keep it."""
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
    """Make these paths accessible to the account, even if folders above them are closed to it.

    Where a folder such as root's home is closed, this process and its children see in its place a
    folder that contains only the needed paths. Nothing changes for other processes. Raises
    StackError if the system does not let root do that.
    """
    paths = sorted({path.resolve() for path in needed})
    if not any(closed_above(account, path) for path in paths):
        return
    with suppress(OSError):
        show_all(account, paths)
    for path in paths:
        if closed := closed_above(account, path):
            raise StackError(
                f"{account.pw_name}, the account of the services that root starts, may not enter "
                f"{closed}, which contains {path}: let others pass with 'chmod o+x {closed}', or "
                "move it elsewhere"
            )


def show_all(account: Account, paths: list[Path]) -> None:
    """Show the paths to this process alone; OSError on a machine that does not allow it."""
    if not hasattr(os, "unshare"):
        return
    os.unshare(os.CLONE_NEWNS)
    mount("none", "/", RECURSIVE | SLAVE)
    # In the new namespace, a folder of the old one could no longer be mounted.
    held = {path: os.open(path, os.O_PATH) for path in paths}
    try:
        for path, place in held.items():
            show(account, path, place)
    finally:
        for place in held.values():
            os.close(place)


def show(account: Account, path: Path, place: int) -> None:
    """Show the path, which is open as ``place``, where no folder above is closed."""
    if closed := closed_above(account, path):
        mount("none", closed, 0, kind="tmpfs", data="mode=711,size=64k")
    if not path.exists():
        path.mkdir(parents=True)
        mount(f"/proc/self/fd/{place}", path, BIND | RECURSIVE)


def closed_above(account: Account, path: Path) -> Path | None:
    """Return the first folder above the path that the account may not enter."""
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
    """Call mount(2), which Python does not offer. Raises OSError."""
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    done = library.mount(
        source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), data.encode()
    )
    if done:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))
