"""What root does with a stack: give it to the stack's account and continue as that account."""

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

# The folders that the account must reach and read.
NEEDED = (ROOT, Path(sys.prefix), Path(sys.base_prefix))
READ = (*NEEDED, ARTIFACTS, DOCS, Path(sys.executable))


def user_of(stack: Stack) -> Account | None:
    """Return whom root becomes for the stack.

    None with Docker, and for any other user than root.
    """
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
    """Give an empty folder back to root; a destroyed native stack leaves its account's."""
    if folder.is_dir() and not any(folder.iterdir()):
        os.chown(folder, 0, 0)
        folder.chmod(0o700)


def drop(stack: Stack, *, writes: bool, stops: bool) -> None:
    """If this is root, become the account of the stack's services, and give it the folder.

    Services that root itself runs, as in older versions, are ended by root. Raises StackError if a
    task would start them.
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
                f"root runs the services of the stack in {stack.folder}: run 'invoke down' to end "
                f"them; after that {becomes.pw_name} runs them"
            )
    # Read now, while this process may still write the cache.
    cache.load(DOCS)
    account.open_way(becomes, [stack.folder, *NEEDED])
    require_readable(becomes)
    if stack.folder.stat().st_uid == 0:
        account.give(stack.folder, becomes)
    account.become(becomes)
    if writes:
        say(
            f"as {becomes.pw_name}, because no service runs as root ({account.VARIABLE} names "
            "another account)"
        )


def require_readable(becomes: Account) -> None:
    """Raise StackError if the account cannot read what every task needs."""
    with account.acting_as(becomes):
        closed = [path for path in READ if not os.access(path, os.R_OK | os.X_OK)]
    if closed:
        raise StackError(
            f"{becomes.pw_name}, the account of the services that root starts, may not read "
            f"{closed[0]}: let others read it with 'chmod -R o+rX {closed[0]}'"
        )
