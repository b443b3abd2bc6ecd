"""Who the reader of the native way is where root runs the tests: somebody without rights."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path

from parsec_stack import account
from parsec_stack.account import Account
from parsec_stack.stack import ROOT

# What pip has downloaded for the reader, who may not use root's.
DOWNLOADS = ROOT / ".cache" / "pip"


@cache
def reader() -> Account | None:
    """Whom root becomes while the native way is followed; None for everybody else."""
    return account.chosen(Path("/no/stack/yet")) if account.is_root() else None


def welcome() -> None:
    """Let the reader come to what is needed; call it before there are threads."""
    if not (who := reader()):
        return
    home = Path.home()
    kept = (path for path in (home / ".docker", home / ".cache") if path.exists())
    places = (sys.prefix, sys.base_prefix, tempfile.gettempdir())
    account.open_way(who, [ROOT, *map(Path, places), *kept])
    downloads().mkdir(parents=True, exist_ok=True)
    account.give(downloads(), who)


def following(flavours: Iterable[str]) -> AbstractContextManager[None]:
    """Be the reader meanwhile, if the native way is among these."""
    who = reader()
    return account.acting_as(who) if who and "native" in flavours else nullcontext()


def downloads() -> Path:
    """Where the reader's pip keeps what it has downloaded."""
    who = reader()
    return DOWNLOADS.with_name(f"pip-{who.pw_name}") if who else DOWNLOADS
