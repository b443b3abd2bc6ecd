"""What programs and packages have answered, kept in a file until one of them changes."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import sysconfig
from collections.abc import Callable
from functools import cache
from pathlib import Path
from threading import Lock
from typing import cast

from guidewalk.cache import read_cache, write_cache


class Answers:
    """The answers to questions that only programs of this machine, and not the guide, decide."""

    def __init__(self, file: Path) -> None:
        """Keep the answers in this file; a damaged or missing one is as good as an empty one."""
        self.file = file
        self.kept = read_cache(file)
        self.lock = Lock()
        self.changed = False

    def of[T](self, question: list[str], ask: Callable[[], T], *programs: str) -> T:
        """Return the answer, from ``ask`` if it is not kept; it must survive becoming JSON.

        The question is all that the answer depends on, except the installed packages and these
        programs, by name or path.
        """
        asked = json.dumps(question)
        state = [packages(), *map(state_of, programs)]
        with self.lock:
            known = self.kept.get(asked)
        if isinstance(known, dict) and known.get("state") == state:
            return cast(T, known["answer"])
        answer = ask()
        with self.lock:
            self.kept[asked] = {"state": state, "answer": answer}
            self.changed = True
        return answer

    def save(self) -> None:
        """Write the file, if there is something new; a reader may not be allowed to."""
        with self.lock:
            if self.changed:
                write_cache(self.file, self.kept)
            self.changed = False


def state_of(program: str) -> list[str | int]:
    """Return what changes whenever the program does: its file, with time and size."""
    path = shutil.which(program)
    if path is None:
        return [program]
    stat = Path(path).stat()
    return [path, stat.st_mtime_ns, stat.st_size]


@cache
def packages() -> str:
    """Return a digest of this Python and of the packages beside it, with their versions."""
    names = sorted(path.name for path in Path(sysconfig.get_path("purelib")).glob("*.dist-info"))
    return hashlib.sha256("\n".join([sys.version, *names]).encode()).hexdigest()
