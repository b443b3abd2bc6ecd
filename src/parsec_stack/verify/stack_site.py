"""An empty folder with a clean environment and its own ports, in which the guide is followed."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from guidewalk.site import Site, home_of, new_folder
from parsec_stack import docker, environments
from parsec_stack.flavour import flavour_of, free_offset
from parsec_stack.logs import for_people
from parsec_stack.redact import Redactor
from parsec_stack.services import FlavourName
from parsec_stack.stack import ROOT, Stack
from parsec_stack.verify.reader import downloads

# What the clean environment takes over: how to reach package indexes, proxies and the engine.
KEPT_PREFIXES = ("PIP_", "DOCKER_")
KEPT = {f"{name}_proxy" for name in ("http", "https", "all", "no")}


@dataclass
class StackSite(Site):
    """The place where one flavour of the guide is followed, as a stack."""

    stack: Stack = field(kw_only=True)
    # What ends with the site, such as a server that a check has started.
    resources: ExitStack = field(default_factory=ExitStack, kw_only=True)

    def redactor(self, public: Iterable[str]) -> Redactor:
        """Return what hides the secrets that the guide's steps make."""
        return Redactor(self.folder, public)

    def log(self, service: str, lines: int) -> str:
        """Return the last lines of the service's log."""
        return for_people(flavour_of(self.stack).log_tail(self.stack, service, lines))

    def versions(self) -> dict[str, str]:
        """Return the versions of what the guide has installed or started, by program."""
        return flavour_of(self.stack).versions(self.stack)

    def missing_images(self, file: str) -> list[str]:
        """Return the stack's images, with this file laid on top, that the engine does not have."""
        return docker.missing_images(self.stack, file)

    def end(self) -> None:
        """Remove what the flavour keeps outside the folder, and end what was started for it."""
        self.resources.close()
        flavour_of(self.stack).remove(self.stack)


def site_of(stack: Stack, environment: dict[str, str]) -> StackSite:
    """Return the stack as a site that nobody has followed yet."""
    return StackSite(
        stack.folder,
        stack.flavour,
        environment,
        stack.moved_ports,
        stack.port_offset,
        stack=stack,
    )


def prepare(flavour: FlavourName, offset: int | None = None) -> StackSite:
    """Return an empty folder and free ports for this flavour; StackError if none are free."""
    folder = new_folder()
    offset = free_offset(folder, flavour) if offset is None else offset
    # Compose names a project after the folder; a name in a variable would hide a missing file.
    stack = Stack(folder, flavour, offset, name=folder.name)
    return site_of(stack, environment(stack, home_of(folder)))


def environment(stack: Stack, home: Path) -> dict[str, str]:
    """Return the variables of a reader with a fresh account, and the ports of this run."""
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
        # A reader who forgets the virtual environment must not change this machine's Python.
        "PIP_REQUIRE_VIRTUALENV": "1",
        "PIP_CACHE_DIR": kept.get("PIP_CACHE_DIR", str(downloads())),
    }
    if stack.flavour == "docker":
        own["PATH"] += f"{os.pathsep}{system_packages(home)}"
        own |= {
            "STACK_PREFIX": f"{stack.project}-",
            "DOCKER_CONFIG": str(docker_settings(home)),
        }
    return kept | own | ports


def docker_settings(home: Path) -> Path:
    """Return the user's own settings of the docker command, with a proxy that nothing may use.

    Companies have a proxy there, and the docker command passes it on to every container.
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


def system_packages(home: Path) -> Path:
    """Return a folder with what a reader with Docker installs from the system's packages: rclone.

    It is the program of the package that the other way installs.
    """
    folder = home / "packages"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "rclone").exists():
        (folder / "rclone").symlink_to(Path(sys.prefix, "bin", "rclone"))
    return folder


def search_path() -> str:
    """Return this process's PATH with the Python that the guide needs, without its venv's tools.

    The guide must itself install what it uses.
    """
    return os.pathsep.join([f"{sys.base_prefix}/bin", *environments.outside(ROOT)])
