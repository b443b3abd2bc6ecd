"""An empty folder with a clean environment and ports of its own, in which a guide is followed."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

PREFIX = "docs-test-"
# The prefix of the reader's folder, which distinguishes it from others.
FOLDER = "reader-"
# This file names the process that follows the guide here.
RUNNER = "runner"


class Secrets(Protocol):
    """The interface of what knows the secrets of a site."""

    def __call__(self, text: str) -> str:
        """Return the text without secrets."""

    def learn(self, environment: Mapping[str, str]) -> None:
        """Add the secrets among these variables."""

    def leak(self, text: str) -> str:
        """Return the origin of a secret that the text contains; empty if none."""


class NoSecrets:
    """The redactor of a guide that makes no secrets."""

    def __call__(self, text: str) -> str:
        """Return the text itself."""
        return text

    def learn(self, environment: Mapping[str, str]) -> None:
        """Do nothing: there is nothing to learn."""

    def leak(self, text: str) -> str:
        """Return an empty text: there is nothing to leak."""
        return ""


@dataclass
class Site:
    """Where one flavour of a guide is followed.

    ``folder`` is the reader's working folder; ``ports`` maps each port that the guide names to the
    one that is used here. A project whose guide starts services derives its own class.
    """

    folder: Path
    flavour: str
    environment: dict[str, str]
    ports: dict[int, int] = field(default_factory=dict)
    # What was added to each port, if that is one number.
    port_offset: int = 0
    # How many seconds services may take to become ready.
    patience: float = 90.0
    # What each named block has printed so far, its command, and the placeholders' values.
    outputs: dict[str, str] = field(default_factory=dict)
    commands: dict[str, str] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)

    def redactor(self, public: Iterable[str]) -> Secrets:
        """Return what keeps this site's secrets out of reports.

        The ``public`` texts contain none.
        """
        return NoSecrets()

    def log(self, service: str, lines: int) -> str:
        """Return the last lines of a service's log; UserError if none can be asked."""
        return ""

    def versions(self) -> dict[str, str]:
        """Return the versions of what the guide has installed or started so far, by program."""
        return {}

    def missing_images(self, file: str) -> list[str]:
        """Return the container images that the file names and that are missing here."""
        return []

    def end(self) -> None:
        """Remove what the guide has made outside the folder."""

    def remove(self) -> None:
        """Delete the folder, and the reader's home beside it."""
        shutil.rmtree(self.folder.parent, ignore_errors=True)


def new_folder() -> Path:
    """Return an empty folder with a home beside it; a short path, because of the sockets in it."""
    base = Path(tempfile.mkdtemp(prefix=PREFIX)).resolve()
    (base / RUNNER).write_text(str(os.getpid()))
    folder = base / f"{FOLDER}{secrets.token_hex(3)}"
    folder.mkdir()
    home_of(folder).mkdir()
    return folder


def home_of(folder: Path) -> Path:
    """Return the home of the reader of this folder."""
    return folder.parent / "home"


def is_free(port: int) -> bool:
    """Return whether this port can be bound, on loopback and on all addresses."""
    for address in ("127.0.0.1", ""):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True
