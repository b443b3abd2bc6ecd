"""What root does with a stack: hand it to its account, become that, and go on as it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from guidewalk import cache
from guidewalk.console import say
from parsec_stack import access, account
from parsec_stack.account import Account
from parsec_stack.errors import StackError
from parsec_stack.stack import ARTIFACTS, DOCS, ROOT, Stack

# What the account has to come to, and what it has to read there.
NEEDED = (ROOT, Path(sys.prefix), Path(sys.base_prefix))
READ = (*NEEDED, ARTIFACTS, DOCS, Path(sys.executable))


def user_of(stack: Stack) -> Account | None:
    """Whom root becomes for the stack; None for whoever is not root, and with Docker."""
    if not account.is_root() or stack.flavour != "native":
        return None
    return account.chosen(stack.folder)


def require_private(stack: Stack) -> None:
    """Raise StackError if somebody else can change what is run from the stack's folder."""
    becomes = user_of(stack)
    if account.is_root() and not becomes:
        reclaim(stack.folder)
    user = becomes.pw_uid if becomes else os.geteuid()
    access.refuse_strangers(stack.folder, user)


def reclaim(folder: Path) -> None:
    """Make an empty folder root's: a native stack that was destroyed leaves its account's."""
    if folder.is_dir() and not any(folder.iterdir()):
        os.chown(folder, 0, 0)
        folder.chmod(0o700)


def drop(stack: Stack, *, writes: bool, stops: bool) -> None:
    """As root, become the account of the stack's services, whose the folder is from then on.

    What root itself runs, as older versions did, root ends. Raises StackError if it is to be
    started.
    """
    from parsec_stack import native

    becomes = user_of(stack)
    if not becomes or not stack.folder.exists():
        return
    if stack.folder.stat().st_uid == 0:
        if not writes:
            return
        if native.is_up(stack):
            if stops:
                return
            raise StackError(
                f"root runs the services of the stack in {stack.folder}: 'invoke down' ends them, "
                f"after that {becomes.pw_name} runs them"
            )
    # Read while this may still keep what it has read.
    cache.load(DOCS)
    account.open_way(becomes, [stack.folder, *NEEDED])
    require_readable(becomes)
    if stack.folder.stat().st_uid == 0:
        account.give(stack.folder, becomes)
    account.become(becomes)
    if writes:
        say(f"as {becomes.pw_name}, for root runs no services ({account.VARIABLE} names another)")


def require_readable(becomes: Account) -> None:
    """Raise StackError if the account may not read what every task needs."""
    with account.acting_as(becomes):
        closed = [path for path in READ if not os.access(path, os.R_OK | os.X_OK)]
    if closed:
        raise StackError(
            f"{becomes.pw_name}, as whom root's services run, may not read {closed[0]}: "
            f"let others read by 'chmod -R o+rX {closed[0]}'"
        )
