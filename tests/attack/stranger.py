"""Another user of this machine: a number without account, group or home, for one call at a time."""

from __future__ import annotations

# Where this user may not read Python's own files nothing can be imported later: what the standard
# library would import on first use is imported here.
import encodings.idna  # noqa: F401
import multiprocessing
import os
import pwd
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
import pytest

# Where to look for a number that nobody has.
CANDIDATES = range(54321, 54400)
# How long one attack may take, in seconds.
PATIENCE = 60.0
WITHOUT_ROOT = "only root can act as another user: what one could do was not tried"


@dataclass(frozen=True)
class Stranger:
    """Somebody who has nothing to do with the stack."""

    uid: int

    def does[Result](
        self, act: Callable[..., Result], *arguments: Any, network: int | None = None
    ) -> Result:
        """What the function returns, or raises, when this user calls it.

        ``network`` is a process in whose network the call is made.
        """
        with self.beside(answer, act, arguments, network=network) as channel:
            if not channel.poll(PATIENCE):
                raise TimeoutError(f"{act.__name__} did not end within {PATIENCE:.0f} s")
            succeeded, result = channel.recv()
        if not succeeded:
            raise result
        return result  # type: ignore[no-any-return]

    @contextmanager
    def beside(
        self, act: Callable[..., None], *arguments: Any, network: int | None = None
    ) -> Iterator[Connection]:
        """The function while this user runs it: it gets one end of a channel, here is the other."""
        context = multiprocessing.get_context("fork")
        here, there = context.Pipe()
        process = context.Process(
            target=self.become_and_do, args=(there, network, act, arguments), daemon=True
        )
        process.start()
        there.close()
        try:
            yield here
        finally:
            process.kill()
            process.join()
            here.close()

    def become_and_do(
        self, channel: Connection, network: int | None, act: Callable[..., None], arguments: Any
    ) -> None:
        """In the process that was forked: become the user, and call."""
        if network:
            with open(f"/proc/{network}/ns/net") as namespace:
                os.setns(namespace.fileno(), os.CLONE_NEWNET)
        os.setgroups([])
        os.setresgid(self.uid, self.uid, self.uid)
        os.setresuid(self.uid, self.uid, self.uid)
        os.chdir("/")
        act(channel, *arguments)

    def owns(self, folder: Path) -> Path:
        """A folder that is given to this user, and can be reached."""
        for parent in (folder, *folder.parents):
            if not parent.stat().st_mode & 0o001:
                parent.chmod(parent.stat().st_mode | 0o011)
        os.chown(folder, self.uid, self.uid)
        return folder


def answer(channel: Connection, act: Callable[..., Any], arguments: Any) -> None:
    """Send what the function returns or raises."""
    try:
        result = (True, act(*arguments))
    except Exception as error:
        result = (False, error)
    try:
        channel.send(result)
    except Exception as error:  # what cannot be sent is told in words
        channel.send((False, RuntimeError(f"{result[1]!r}: {error}")))


def borrowed() -> Stranger:
    """A user that is not in use; the test is skipped without root, who alone can become one."""
    if os.geteuid():
        pytest.skip(WITHOUT_ROOT)
    taken = {process.uids().real for process in psutil.process_iter()}
    taken |= {account.pw_uid for account in pwd.getpwall()}
    return Stranger(next(uid for uid in CANDIDATES if uid not in taken))


def may(act: Callable[..., Any], *arguments: Any) -> bool:
    """Does the call succeed, as far as rights are concerned?"""
    try:
        act(*arguments)
    except PermissionError:
        return False
    except OSError:
        pass
    return True


def connect(path: str) -> None:
    """Connect to a unix socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)


def connectable(paths: list[str]) -> list[str]:
    """Those of the unix sockets that let this user in."""
    return [path for path in paths if may(connect, path)]


def readable(paths: list[Path]) -> list[Path]:
    """Those of the files or folders that this user may read."""
    return [path for path in paths if may(read, path)]


def read(path: Path) -> None:
    """Read the file's first byte, or the folder's names."""
    try:
        with path.open("rb") as file:
            file.read(1)
    except IsADirectoryError:
        os.listdir(path)
