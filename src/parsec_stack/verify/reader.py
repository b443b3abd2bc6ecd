"""The account that follows the native way when root runs the tests: one without rights."""

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

# The downloads of the reader's pip, which may not use root's.
DOWNLOADS = ROOT / ".cache" / "pip"


@cache
def reader() -> Account | None:
    """Return whom root becomes to follow the native way; None for any other user."""
    return account.chosen(Path("/no/stack/yet")) if account.is_root() else None


def welcome() -> None:
    """Make what is needed accessible to the reader; call this before there are threads."""
    if not (who := reader()):
        return
    home = Path.home()
    kept = (path for path in (home / ".docker", home / ".cache") if path.exists())
    places = (sys.prefix, sys.base_prefix, tempfile.gettempdir())
    account.open_way(who, [ROOT, *map(Path, places), *kept])
    downloads().mkdir(parents=True, exist_ok=True)
    account.give(downloads(), who)


def following(flavours: Iterable[str]) -> AbstractContextManager[None]:
    """Act as the reader within the context, if the native way is among these flavours."""
    who = reader()
    return account.acting_as(who) if who and "native" in flavours else nullcontext()


def downloads() -> Path:
    """Return the folder in which the reader's pip keeps its downloads."""
    who = reader()
    return DOWNLOADS.with_name(f"pip-{who.pw_name}") if who else DOWNLOADS
