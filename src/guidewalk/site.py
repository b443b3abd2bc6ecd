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
# The reader's folder, and what keeps it apart from others.
FOLDER = "reader-"
# Notes which process follows the guide here.
RUNNER = "runner"


class Secrets(Protocol):
    """What knows the secrets of a site."""

    def __call__(self, text: str) -> str:
        """The text without secrets."""

    def learn(self, environment: Mapping[str, str]) -> None:
        """Know the secrets among these variables, too."""

    def leak(self, text: str) -> str:
        """Where a secret comes from that the text holds; empty if none."""


class NoSecrets:
    """The redactor of a guide that makes none."""

    def __call__(self, text: str) -> str:
        """The text itself."""
        return text

    def learn(self, environment: Mapping[str, str]) -> None:
        """There is nothing to learn."""

    def leak(self, text: str) -> str:
        """There is nothing to leak."""
        return ""


@dataclass
class Site:
    """Where one flavour of a guide is followed.

    ``folder`` is the reader's working folder; ``ports`` leads from each port that the guide names
    to the one that is used here.  A project whose guide starts services derives its own class.
    """

    folder: Path
    flavour: str
    environment: dict[str, str]
    ports: dict[int, int] = field(default_factory=dict)
    # What was added to each port, where that is one number.
    port_offset: int = 0
    # How long services may take to become ready, in seconds.
    patience: float = 90.0
    # What each named block has printed so far, the command it was, and the placeholders' values.
    outputs: dict[str, str] = field(default_factory=dict)
    commands: dict[str, str] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)

    def redactor(self, public: Iterable[str]) -> Secrets:
        """What keeps this site's secrets out of reports; the ``public`` texts hold none."""
        return NoSecrets()

    def log(self, service: str, lines: int) -> str:
        """The last lines that a service of the project has said; UserError if none can be asked."""
        return ""

    def versions(self) -> dict[str, str]:
        """The versions of what the guide has installed or started, by program; empty so far."""
        return {}

    def missing_images(self, file: str) -> list[str]:
        """The container images that the file names and that are not here."""
        return []

    def end(self) -> None:
        """Remove what the guide has made outside of the folder."""

    def remove(self) -> None:
        """Delete the folder, and the reader's home beside it."""
        shutil.rmtree(self.folder.parent, ignore_errors=True)


def new_folder() -> Path:
    """An empty folder for a reader, with a home beside it; a short path, for sockets lie in it."""
    base = Path(tempfile.mkdtemp(prefix=PREFIX)).resolve()
    (base / RUNNER).write_text(str(os.getpid()))
    folder = base / f"{FOLDER}{secrets.token_hex(3)}"
    folder.mkdir()
    home_of(folder).mkdir()
    return folder


def home_of(folder: Path) -> Path:
    """The home of the reader of this folder."""
    return folder.parent / "home"


def is_free(port: int) -> bool:
    """Can this port be bound, on loopback and on all addresses?"""
    for address in ("127.0.0.1", ""):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True
