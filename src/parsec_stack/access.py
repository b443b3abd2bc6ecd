"""Find out who else could change the files that are run from a stack's folder.

If anybody could, nothing is run. As ``StrictModes`` of sshd_config(5) does with keys, this checks
the folder and all folders above it.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from parsec_stack.errors import StackError
from parsec_stack.stack import ROOT

WHOLE_MAP = ["0", "0", "4294967295"]


def refuse_strangers(folder: Path, user: int) -> None:
    """Raise StackError if anybody but this user and root can change what is run in the folder.

    The owner of this checkout is trusted too, because its code runs already. A group may have write
    access if it has no other members. Everybody may have write access to a folder above in which
    nobody can move the files of others (``/tmp``).
    """
    trusted = {0, user, ROOT.stat().st_uid, *unmapped()}
    for path in looked_at(folder):
        state = path.lstat()
        if state.st_uid not in trusted:
            raise StackError(
                f"{path} belongs to {user_name(state.st_uid)}, who could change what is run there: "
                "choose a folder of your own with --stack or STACK_DIR"
            )
        if writers := strange_writers(state, trusted, above=path in folder.parents):
            raise StackError(
                f"{writers} may write to {path}, and so change what is run there: 'chmod "
                f"{'o' if writers == 'everybody' else 'g'}-w' it, or choose another folder with "
                "--stack or STACK_DIR"
            )


def looked_at(folder: Path) -> Iterator[Path]:
    """Yield the folders above, from the top, then the folder itself and its entries."""
    for path in (*reversed(folder.parents), folder):
        if path.exists():
            yield path
    if folder.is_dir() and os.access(folder, os.R_OK | os.X_OK):
        yield from folder.iterdir()


def strange_writers(state: os.stat_result, trusted: set[int], *, above: bool) -> str:
    """Return who else may write there; empty if nobody."""
    if stat.S_ISLNK(state.st_mode) or (above and state.st_mode & stat.S_ISVTX):
        return ""
    if state.st_mode & stat.S_IWOTH:
        return "everybody"
    if state.st_mode & stat.S_IWGRP and not is_private(state.st_gid, trusted):
        return f"the group {group_name(state.st_gid)}"
    return ""


def is_private(group: int, trusted: set[int]) -> bool:
    """Return whether the group has only these members, as a user's private group does."""
    names = {user_name(user) for user in trusted}
    try:
        entry = grp.getgrgid(group)
    except KeyError:
        return False
    return entry.gr_name in names and names.issuperset(entry.gr_mem)


def unmapped() -> set[int]:
    """Return the user that a user namespace shows for unknown owners, such as that of ``/``."""
    try:
        if Path("/proc/self/uid_map").read_text().split() == WHOLE_MAP:
            return set()
        return {int(Path("/proc/sys/kernel/overflowuid").read_text())}
    except OSError:
        return set()


def user_name(number: int) -> str:
    """Return the user's name, or the number of a user without one."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def group_name(number: int) -> str:
    """Return the group's name, or the number of a group without one."""
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
