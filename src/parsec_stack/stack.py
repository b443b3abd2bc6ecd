"""One stack: its folder, flavour, ports and environment, and what it remembers of them."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast, get_args

from parsec_stack.errors import StackError

Flavour = Literal["native", "docker"]
FLAVOURS: tuple[Flavour, ...] = get_args(Flavour)

SERVICES = ("parsec-postgres", "parsec-s3", "parsec-smtp", "parsec-proxy", "parsec-server")

ROOT = Path(__file__).resolve().parents[2]
ARTIFACTS = ROOT / "deploy"
DOCS = ROOT / "docs"

PORTS = {
    "POSTGRES": 5432,
    "S3": 9000,
    "S3_CONSOLE": 9090,
    "SMTP": 1025,
    "INBOX": 8025,
    "SERVER": 6777,
}
PROXY_PORTS: dict[Flavour, dict[str, int]] = {
    "native": {"PROXY": 8443, "PROXY_HTTP": 8080},
    "docker": {"PROXY": 443, "PROXY_HTTP": 80},
}
# The highest usual port plus the offset stays below the ephemeral range; SeaweedFS
# takes the console's port plus 10000 as well.
MAX_OFFSET = 13000

# What a shell may export for other purposes and would change what the guide's files say.
FOREIGN_VARIABLES = {
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "TLS_DIR",
    "LISTEN_ADDRESS",
    "TRUSTED_PROXIES",
    "FORWARDED_ALLOW_IPS",
    "VIRTUAL_ENV",
}
FOREIGN_PREFIXES = ("PARSEC_", "POSTGRES_", "PG", "S3_", "SMTP_", "AWS_", "WEED_", "SUPERVISOR_")


@dataclass(frozen=True)
class Stack:
    """Where one deployment lives and how it is reached.

    ``folder`` holds all that it generates and stores; ``port_offset`` is added to every port.
    ``project`` is its name in compose where that is not to be made of the folder's path.
    """

    folder: Path
    flavour: Flavour = "native"
    port_offset: int = 0
    state: dict[str, Any] = field(default_factory=dict, compare=False)
    project: str = ""

    @property
    def usual_ports(self) -> dict[str, int]:
        """The ports of the guide, by name."""
        return PORTS | PROXY_PORTS[self.flavour]

    @property
    def ports(self) -> dict[str, int]:
        """The ports of this stack, by name."""
        return {name: port + self.port_offset for name, port in self.usual_ports.items()}

    @property
    def moved_ports(self) -> dict[int, int]:
        """From each port that the guide names to this stack's."""
        return {port: port + self.port_offset for port in self.usual_ports.values()}

    def environment(self) -> dict[str, str]:
        """The variables in which the guide's blocks run: the reader's, without foreign settings."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if name not in FOREIGN_VARIABLES and not name.startswith(FOREIGN_PREFIXES)
        }
        ports = {f"STACK_{name}_PORT": str(port) for name, port in self.ports.items()}
        path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', os.defpath)}"
        return kept | ports | {"PATH": path}

    def env_file(self, name: str) -> dict[str, str]:
        """The values of a generated env file, whose lines are plain NAME=VALUE."""
        path = self.folder / name
        try:
            lines = path.read_text().splitlines()
        except FileNotFoundError:
            raise StackError(f"{path} is missing: run 'invoke adminToken' first") from None
        pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
        return {key: value for key, _, value in pairs}

    def remember(self, **changes: Any) -> None:
        """Write the changes to the stack's own state, atomically."""
        self.state.update(changes)
        write_atomically(self.folder / ".stack.json", json.dumps(self.state, indent=2) + "\n")

    def install_artifacts(self) -> list[str]:
        """Copy the guide's files into the folder, as a reader does.

        A copy that the reader has edited is kept; the names of those are returned.
        """
        installed: dict[str, str] = dict(self.state.get("artifacts", {}))
        edited = []
        for source in sorted(ARTIFACTS.iterdir()):
            target, wanted = self.folder / source.name, source.read_bytes()
            present = target.read_bytes() if target.exists() else None
            if present == wanted:
                installed[source.name] = digest(wanted)
            elif present is None or digest(present) == installed.get(source.name):
                copy_atomically(source, target)
                installed[source.name] = digest(wanted)
            else:
                edited.append(source.name)
        if installed != self.state.get("artifacts"):
            self.remember(artifacts=installed)
        return edited


def digest(content: bytes) -> str:
    """The SHA-256 of the content, in hex."""
    return hashlib.sha256(content).hexdigest()


def write_atomically(path: Path, text: str) -> None:
    """Write the file whole or not at all."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        beside.write_text(text)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def copy_atomically(source: Path, target: Path) -> None:
    """Copy the file with its mode, whole or not at all."""
    beside = target.with_name(f"{target.name}.{os.getpid()}.new")
    try:
        shutil.copy(source, beside)
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def choose(
    options: Mapping[str, Any],
    environment: Mapping[str, str] = os.environ,
    *,
    create: bool = True,
) -> Stack:
    """The stack that options, then environment variables, then its own memory, then defaults name.

    Raises StackError for a bad value, and for one that contradicts what the stack remembers.
    """
    folder = Path(options.get("stack") or environment.get("STACK_DIR") or ROOT / "stack")
    folder = Path(os.path.abspath(folder.expanduser()))
    remembered = read_state(folder)
    flavour = pick("flavour", "STACK_FLAVOUR", options, environment, remembered) or "native"
    if flavour not in FLAVOURS:
        raise StackError(f"unknown flavour '{flavour}': choose native or docker")
    offset = port_offset(
        pick("port_offset", "STACK_PORT_OFFSET", options, environment, remembered) or "0"
    )
    refuse_change("flavour", flavour, remembered, "started", "'invoke destroy' it")
    refuse_change("port_offset", offset, remembered, "running", "'invoke down' first")
    stack = Stack(folder, flavour, offset, remembered)
    chosen = {"flavour": flavour, "port_offset": offset}
    if create and any(remembered.get(name) != value for name, value in chosen.items()):
        claim(stack)
        stack.remember(**chosen)
    return stack


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
    """What the stack remembers; empty for a new one."""
    path = folder / ".stack.json"
    try:
        state = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (ValueError, UnicodeDecodeError):
        state = None
    if not isinstance(state, dict):
        raise StackError(
            f"{path} is corrupt: delete it, then name the stack's flavour and port offset again"
        )
    return cast(dict[str, Any], state)


def claim(stack: Stack) -> None:
    """Make the folder for a new stack; refuse one that holds something else."""
    folder = stack.folder
    if folder.is_dir() and not stack.state and (strange := foreign_files(folder)):
        raise StackError(
            f"{folder} is not a stack and holds other files ({strange[0]}, ...): "
            "choose an empty or new folder with --stack or STACK_DIR"
        )
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise StackError(f"{folder} is not a folder: choose another with --stack") from None
    except PermissionError:
        raise StackError(f"{folder} cannot be created: you may not write there") from None


def foreign_files(folder: Path) -> list[str]:
    """The names in a folder into which nobody has copied the guide's files; empty for others."""
    artifacts = {path.name for path in ARTIFACTS.iterdir()}
    present = {path.name for path in folder.iterdir()} - {".lock"}
    return [] if present & artifacts else sorted(present)


@contextmanager
def locked(stack: Stack) -> Iterator[None]:
    """Hold the stack alone; StackError at once if another run holds it."""
    path = stack.folder / ".lock"
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
