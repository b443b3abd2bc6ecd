"""An empty folder with a clean environment and ports of its own, in which the guide is followed."""

from __future__ import annotations

import json
import os
import random
import secrets
import shutil
import socket
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from parsec_stack import environments
from parsec_stack.errors import StackError
from parsec_stack.flavour import flavour_of
from parsec_stack.services import FlavourName
from parsec_stack.stack import MAX_OFFSET, ROOT, Stack
from parsec_stack.verify.reader import downloads

PREFIX = "docs-test-"
# The reader's folder, and a word that keeps its containers apart from others.
FOLDER = "parsec-"
# Below this number they would collide with the usual ports of other stacks.
MIN_OFFSET = 1000
# What the clean environment takes over: how to reach package indexes, proxies and the engine.
KEPT_PREFIXES = ("PIP_", "DOCKER_")
KEPT = {f"{name}_proxy" for name in ("http", "https", "all", "no")}


@dataclass
class Site:
    """Where one flavour of the guide is followed."""

    stack: Stack
    environment: dict[str, str]
    # How long services may take to become ready, in seconds.
    patience: float = 90.0
    # What each named block has printed so far, the command it was, and the placeholders' values.
    outputs: dict[str, str] = field(default_factory=dict)
    commands: dict[str, str] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The reader's working folder."""
        return self.stack.folder

    @property
    def flavour(self) -> FlavourName:
        """The flavour that is followed."""
        return self.stack.flavour

    def remove(self) -> None:
        """Delete all that was made here."""
        shutil.rmtree(self.folder.parent, ignore_errors=True)


def prepare(flavour: FlavourName, offset: int | None = None) -> Site:
    """An empty folder and free ports for this flavour; StackError if none are free."""
    # A short path: sockets lie in it. The folder beside it is the reader's home.
    base = Path(tempfile.mkdtemp(prefix=PREFIX)).resolve()
    (base / "runner").write_text(str(os.getpid()))
    # Compose names a project after the folder: a name in a variable would hide a missing file.
    folder, home = base / f"{FOLDER}{secrets.token_hex(3)}", base / "home"
    folder.mkdir()
    home.mkdir()
    offset = free_offset(folder, flavour) if offset is None else offset
    stack = Stack(folder, flavour, offset, name=folder.name)
    return Site(stack, environment(stack, home))


def free_offset(folder: Path, flavour: FlavourName) -> int:
    """An offset at which every port of the stack is free now."""
    for _ in range(50):
        offset = random.randrange(MIN_OFFSET, MAX_OFFSET)
        stack = Stack(folder, flavour, offset)
        if all(is_free(port) for _, port in flavour_of(stack).ports(stack)):
            return offset
    raise StackError("the docs-test finds no free ports: end other stacks on this machine")


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


def environment(stack: Stack, home: Path) -> dict[str, str]:
    """The variables that a reader with a fresh account has, and the ports of this run."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(KEPT_PREFIXES) or name.lower() in KEPT
    }
    ports = {f"STACK_{name}_PORT": str(port) for name, port in stack.ports.items()}
    own = {
        "PATH": search_path(),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "TMPDIR": tempfile.gettempdir(),
        # A reader who forgets the virtual environment may not change this machine's Python.
        "PIP_REQUIRE_VIRTUALENV": "1",
        "PIP_CACHE_DIR": kept.get("PIP_CACHE_DIR", str(downloads())),
    }
    if stack.flavour == "docker":
        own |= {
            "STACK_PREFIX": f"{stack.project}-",
            "DOCKER_CONFIG": str(docker_settings(home)),
        }
    return kept | own | ports


def docker_settings(home: Path) -> Path:
    """The user's own settings of the docker command, and a proxy that nothing may use.

    Companies have one there; the docker command hands it on to every container.
    """
    own = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    folder = home / ".docker"
    folder.mkdir(parents=True)
    for entry in own.iterdir() if own.is_dir() else ():
        if entry.name != "config.json":
            (folder / entry.name).symlink_to(entry)
    known = json.loads((own / "config.json").read_text()) if (own / "config.json").exists() else {}
    proxy = dict.fromkeys(("httpProxy", "httpsProxy", "allProxy"), "http://127.0.0.1:9")
    (folder / "config.json").write_text(json.dumps(known | {"proxies": {"default": proxy}}))
    return folder


def search_path() -> str:
    """This process's PATH with the Python that the guide needs, but without the tools of its venv.

    The guide must install by itself what it uses.
    """
    return os.pathsep.join([f"{sys.base_prefix}/bin", *environments.outside(ROOT)])
