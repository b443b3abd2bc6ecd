"""One stack: its folder, flavour, ports and environment, and what it remembers of them."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from guidewalk.atomic import copy_atomically, write_atomically
from parsec_stack import edited
from parsec_stack.errors import StackError
from parsec_stack.services import SERVICES, FlavourName, flavour_named, usual_ports

# In a stack's folder: what it remembers, which makes the folder its own, and who holds it.
RECORD = ".stack.json"
LOCK = ".lock"
# Where compose looks for a stack's names and ports.
SETTINGS = ".env"

ROOT = Path(__file__).resolve().parents[2]
ARTIFACTS = ROOT / "deploy"
DOCS = ROOT / "docs"

# The highest usual port plus the offset stays below the ephemeral range; SeaweedFS
# takes the console's port plus 10000 as well.
MAX_OFFSET = 13000

# A unix socket's path ends here (sun_path of unix(7): 108 bytes on Linux, 104 on macOS), and
# supervisord appends its process number while it binds the one in the folder.
MAX_PATH = 94 - len("/run/supervisor.sock")
# Compose takes its folder for a part of a URL, and tells the engine of it in JSON: control
# characters, bytes that are no UTF-8 (as Python writes them), and a % that begins no escape.
UNFIT_FOR_COMPOSE = re.compile(r"[\x00-\x1f\x7f\udc80-\udcff]|%(?![0-9A-Fa-f]{2})")

# The name under which a stack is reached unless it has another, and what such a name looks like.
LOCALHOST = "localhost"
HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]")

# What is handed on of the user's own variables; all others may mean something else to our programs.
KEPT_VARIABLES = {
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "TMPDIR", "TZ", "LANG", "LC_ALL"),
    *("LC_CTYPE", "LC_MESSAGES", "LD_LIBRARY_PATH"),
    # How the docker command reaches its engine.
    *("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY"),
    *("DOCKER_API_VERSION", "SSH_AUTH_SOCK", "XDG_RUNTIME_DIR"),
}
# Which stack is meant, and whose its services are when root starts them.
CHOOSING = {
    *("STACK_DIR", "STACK_FLAVOUR", "STACK_PORT_OFFSET", "STACK_HOST", "TLS_NAMES"),
    *("STACK_USER", "SUDO_USER"),
}
# Names more of them, for tests that watch what is started.
PASSED = "STACK_PASS"


@dataclass(frozen=True)
class Stack:
    """Where one deployment lives and how it is reached.

    ``folder`` holds all that it generates and stores; ``port_offset`` is added to every port.
    ``name`` is its project's in compose where that is not to be made of the folder's path.
    """

    folder: Path
    flavour: FlavourName = "native"
    port_offset: int = 0
    state: dict[str, Any] = field(default_factory=dict, compare=False)
    name: str = ""
    # Under which name other machines reach it, and which names its certificates have beside ours.
    host: str = LOCALHOST
    names: str = ""

    @property
    def project(self) -> str:
        """The name under which compose knows it; a stack that is moved keeps it."""
        return self.name or self.state.get("project") or project_of(self.folder)

    @property
    def prefix(self) -> str:
        """What the names of its containers begin with: the usual ones can be taken but once."""
        return f"{self.project}-" if self.port_offset else ""

    @property
    def usual_ports(self) -> dict[str, int]:
        """The ports of the guide, by name."""
        return usual_ports(self.flavour)

    @property
    def ports(self) -> dict[str, int]:
        """The ports of this stack, by name."""
        return {name: port + self.port_offset for name, port in self.usual_ports.items()}

    @property
    def moved_ports(self) -> dict[int, int]:
        """From each port that the guide names to this stack's."""
        return {port: port + self.port_offset for port in self.usual_ports.values()}

    @property
    def ca_file(self) -> Path:
        """The certificate of the stack's own CA."""
        return self.folder / "custom-ca.crt"

    def address(self, service: str) -> str:
        """Where a reader reaches the service."""
        return SERVICES[service].address.format(host=self.host, **self.ports)

    def environment(self) -> dict[str, str]:
        """The variables for all that is started for the stack: few of the user's, and its own."""
        kept = own_variables()
        path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', os.defpath)}"
        own = {f"STACK_{name}_PORT": str(port) for name, port in self.ports.items()}
        own |= {"STACK_HOST": self.host, "TLS_NAMES": self.names}
        # Whatever the locale: the server's marks are no letters of all of them.
        own["PYTHONUTF8"] = "1"
        if self.flavour == "docker":
            own |= {"COMPOSE_PROJECT_NAME": self.project, "STACK_PREFIX": self.prefix}
        return kept | own | {"PATH": path}

    def env_file(self, name: str) -> dict[str, str]:
        """The values of a generated env file."""
        path = self.folder / name
        try:
            return edited.generated_values(path)
        except FileNotFoundError:
            raise StackError(f"{path} is missing: run 'invoke adminToken' first") from None

    def remember(self, **changes: Any) -> None:
        """Write the changes to the stack's own state, atomically."""
        self.state.update(changes)
        write_atomically(self.folder / RECORD, json.dumps(self.state, indent=2) + "\n")

    def install_artifacts(self) -> list[str]:
        """Copy the guide's files into the folder, as a reader does.

        A copy that the reader has edited is kept; the names of those are returned. So is one into
        which a task has written settings.
        """
        installed: dict[str, str] = dict(self.state.get("artifacts", {}))
        written: dict[str, str] = self.state.get("written", {})
        edited = []
        for source in sorted(ARTIFACTS.iterdir()):
            target, wanted = self.folder / source.name, source.read_bytes()
            present = target.read_bytes() if target.exists() else None
            if present == wanted:
                installed[source.name] = digest(wanted)
            elif present is None or digest(present) == installed.get(source.name):
                copy_atomically(source, target)
                installed[source.name] = digest(wanted)
            elif digest(present) != written.get(source.name):
                edited.append(source.name)
        if installed != self.state.get("artifacts"):
            self.remember(artifacts=installed)
        return edited


def own_variables() -> dict[str, str]:
    """Those of the user's variables that are handed on."""
    names = {*KEPT_VARIABLES, PASSED, *os.environ.get(PASSED, "").split()}
    return {name: value for name, value in os.environ.items() if name in names}


def forget_foreign() -> None:
    """Take the others out of this process too: nothing that it does or starts may obey them."""
    for name in set(os.environ) - set(own_variables()) - CHOOSING:
        del os.environ[name]


def project_of(folder: Path) -> str:
    """A name for compose: the folder's, made unique by its path."""
    name = re.sub(r"[^a-z0-9]+", "-", folder.name.lower()).strip("-")[:40]
    return f"{name or 'stack'}-{hashlib.sha256(bytes(folder)).hexdigest()[:6]}"


def digest(content: bytes) -> str:
    """The SHA-256 of the content, in hex."""
    return hashlib.sha256(content).hexdigest()


def choose(options: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Stack:
    """The stack that options, then environment variables, then its own memory, then defaults name.

    Raises StackError for a bad value, and for one that contradicts what the stack remembers.
    Nothing is written.
    """
    given = options.get("stack") or environment.get("STACK_DIR") or ROOT / "stack"
    folder = resolved(given)
    remembered = read_state(folder)
    chosen = pick("flavour", "STACK_FLAVOUR", options, environment, remembered) or "native"
    flavour = flavour_named(chosen)
    offset = port_offset(
        pick("port_offset", "STACK_PORT_OFFSET", options, environment, remembered) or "0"
    )
    refuse_change("flavour", flavour, remembered, "started", "'invoke destroy' it")
    refuse_change("port_offset", offset, remembered, "running", "'invoke down' first")
    if not remembered:
        require_path(folder, flavour)
    project = ""
    if flavour == "docker":
        refuse_copy(folder, remembered)
        project = older_project(given, folder, remembered)
    host = pick("host", "STACK_HOST", options, environment, remembered) or LOCALHOST
    if not HOST.fullmatch(host):
        raise StackError(
            f"STACK_HOST is '{host}': write a host name or an address, without scheme and port, "
            "and an IPv6 address in brackets"
        )
    names = pick("names", "TLS_NAMES", options, environment, remembered) or ""
    return Stack(folder, flavour, offset, remembered, project, host, names)


def older_project(given: str | Path, folder: Path, remembered: Mapping[str, Any]) -> str:
    """The project of a stack that has not noted it yet, by compose's settings; empty without them.

    It was named after the folder's path as it was given, with links in it. Raises StackError if
    it was named after none.
    """
    path = folder / SETTINGS
    if not remembered or "project" in remembered or not path.exists():
        return ""
    settings = path.read_text().splitlines()
    for candidate in (folder, Path(os.path.abspath(Path(given).expanduser()))):
        if f"COMPOSE_PROJECT_NAME={project_of(candidate)}" in settings:
            return project_of(candidate)
    raise StackError(
        f"{path} names another project than {project_of(folder)}: the stack was moved or copied "
        "here and its data are still where it was; move it back, or delete that file to begin anew"
    )


def refuse_copy(folder: Path, remembered: Mapping[str, Any]) -> None:
    """Raise StackError for the copy of a folder whose stack has its data in the engine."""
    origin = Path(remembered.get("folder", folder))
    if origin != folder and read_state(origin).get("project") == remembered.get("project"):
        raise StackError(
            f"{folder} is a copy of the stack in {origin}, which has its data in the engine: "
            "use that one, or begin anew in an empty folder"
        )


def resolved(folder: str | Path) -> Path:
    """The folder by its physical path: of links to one folder none is another stack."""
    try:
        return Path(folder).expanduser().resolve()
    except (RuntimeError, OSError) as error:
        raise StackError(f"{folder} names no folder ({error}): choose another by --stack") from None


def require_path(folder: Path, flavour: FlavourName) -> None:
    """Raise StackError if the services of this flavour cannot be started in the folder."""
    if flavour == "native" and (excess := len(os.fsencode(folder)) - MAX_PATH) > 0:
        raise StackError(
            f"the path {folder} is too long for a unix socket, by {excess} bytes: "
            "choose a shorter one by --stack or STACK_DIR"
        )
    if flavour == "docker" and (unfit := UNFIT_FOR_COMPOSE.search(str(folder))):
        raise StackError(
            f"docker compose takes no folder with {unfit[0]!a} in its path, as in "
            f"{str(folder)!a}: choose another by --stack or STACK_DIR"
        )


def refuse_change(
    name: str, value: object, remembered: Mapping[str, Any], bound: str, remedy: str
) -> None:
    """Raise StackError if the value is new and the stack is bound to the one it remembers."""
    if remembered.get(bound) and remembered.get(name) != value:
        raise StackError(
            f"this stack has {name} {remembered.get(name)}, not {value}: "
            f"{remedy}, or choose another folder with --stack or STACK_DIR"
        )


def pick(
    name: str,
    variable: str,
    options: Mapping[str, Any],
    environment: Mapping[str, str],
    remembered: Mapping[str, Any],
) -> str | None:
    """The first of option, environment variable and memory that says anything."""
    for value in (options.get(name), environment.get(variable), remembered.get(name)):
        if value not in (None, ""):
            return str(value)
    return None


def port_offset(text: str) -> int:
    """The offset as a number; StackError unless it leaves every port in range."""
    try:
        offset = int(text)
    except ValueError:
        raise StackError(f"the port offset '{text}' is not a whole number") from None
    if not 0 <= offset <= MAX_OFFSET:
        raise StackError(f"the port offset {offset} is out of range: choose 0 to {MAX_OFFSET}")
    return offset


def read_state(folder: Path) -> dict[str, Any]:
    """What the stack remembers; empty where there is none."""
    path = folder / RECORD
    try:
        state = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except PermissionError:
        raise StackError(f"you may not read {path}: choose another folder by --stack") from None
    except ValueError:
        state = None
    if not isinstance(state, dict):
        raise StackError(
            f"{path} is corrupt: put back a copy of it, or write "
            f'{{"flavour": "native", "port_offset": 0, "folder": "{folder}"}} into it, '
            "with the stack's own flavour and port offset"
        )
    # Older versions left a record without these two in folders that were not theirs.
    return state if state.keys() & {"folder", "artifacts"} else {}


@contextmanager
def locked(stack: Stack) -> Iterator[None]:
    """Hold the stack alone; StackError at once if another run holds it."""
    path = stack.folder / LOCK
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise StackError(
                f"another run (process {holder}) is working on the stack in {stack.folder}: "
                "wait until it has finished"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
