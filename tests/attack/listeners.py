"""Every socket on which a process of the stack waits for others, whatever the stack says of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import psutil

from guidewalk.processes import within
from parsec_stack import docker
from parsec_stack.stack import Stack

# The states and flags of /proc/net: a TCP socket that listens, a UDP socket without a peer, and a
# unix socket that accepts (include/net/tcp_states.h, include/uapi/linux/net.h).
LISTENS, WITHOUT_PEER, ACCEPTS = "0A", "07", 0x10000


@dataclass(frozen=True, order=True)
class Listener:
    """One socket: ``port`` is 0 for unix sockets, whose ``address`` is a path."""

    service: str
    kind: str
    address: str
    port: int
    # A process in whose network it is.
    process: int

    def __str__(self) -> str:
        return f"{self.service} {self.kind} {self.address}{f':{self.port}' if self.port else ''}"


def of_stack(stack: Stack) -> list[Listener]:
    """All sockets on which the stack's processes listen."""
    found = {
        listener
        for service, processes in processes_of(stack).items()
        for listener in of_processes(service, processes)
    }
    return sorted(found)


def processes_of(stack: Stack) -> dict[str, list[psutil.Process]]:
    """The stack's processes by service; natively by the program that supervisord has started."""
    if stack.flavour == "docker":
        found = docker.containers(stack)
        for container in found.values():
            container.reload()
        roots = {name: one.attrs["State"]["Pid"] for name, one in found.items()}
        return {name: with_children(psutil.Process(pid)) for name, pid in roots.items() if pid}
    by_service: dict[str, list[psutil.Process]] = {}
    for process in within(stack.folder):
        with suppress(psutil.Error):  # it has just ended
            by_service.setdefault(service_of(process), []).append(process)
    return by_service


def with_children(process: psutil.Process) -> list[psutil.Process]:
    """The process and all that it has started."""
    return [process, *process.children(recursive=True)]


def service_of(process: psutil.Process) -> str:
    """The name under which supervisord runs the process or its parent."""
    for one in (process, *process.parents()):
        with suppress(psutil.Error, OSError):
            names = [Path(word).name for word in one.cmdline()[:3]]
            if script := next((name for name in names if name.startswith("run-")), ""):
                return script.removeprefix("run-")
            if set_by_supervisord := one.environ().get("SUPERVISOR_PROCESS_NAME"):
                return set_by_supervisord
    return SERVICE_OF_PROGRAM.get(process.name(), process.name())


# Those that overwrite their environment.
SERVICE_OF_PROGRAM = {"postgres": "parsec-postgres", "nginx": "parsec-proxy"}


def of_processes(service: str, processes: list[psutil.Process]) -> Iterator[Listener]:
    """The sockets on which these processes listen."""
    for process in processes:
        inodes = sockets_of(process.pid)
        for inode, kind, address, port in listening(process.pid):
            if inode in inodes:
                yield Listener(service, kind, address, port, processes[0].pid)


def sockets_of(pid: int) -> set[str]:
    """The inodes of the sockets that a process holds open."""
    found = set()
    with suppress(OSError):
        for descriptor in os.scandir(f"/proc/{pid}/fd"):
            target = target_of(descriptor.path)
            if target.startswith("socket:["):
                found.add(target[len("socket:[") : -1])
    return found


def target_of(link: str) -> str:
    """Where a link leads that may be gone by now; empty if it is."""
    try:
        return os.readlink(link)
    except OSError:
        return ""


def listening(pid: int) -> Iterator[tuple[str, str, str, int]]:
    """Inode, kind, address and port of what listens in the network of a process."""
    for kind, state in (("tcp", LISTENS), ("udp", WITHOUT_PEER)):
        for line in (*table(pid, kind), *table(pid, f"{kind}6")):
            fields = line.split()
            if fields[3] == state:
                address, port = fields[1].split(":")
                yield fields[9], kind, readable(address), int(port, 16)
    for line in table(pid, "unix"):
        fields = line.split(maxsplit=7)
        if int(fields[3], 16) & ACCEPTS:
            yield fields[6], "unix", fields[7] if len(fields) > 7 else "(no name)", 0


def table(pid: int, name: str) -> list[str]:
    """The lines of a table of the kernel's, without its head."""
    try:
        # The path of somebody's socket may be any bytes.
        text = Path(f"/proc/{pid}/net/{name}").read_text(errors="surrogateescape")
        return text.rstrip("\n").split("\n")[1:]
    except FileNotFoundError:  # without IPv6
        return []


def readable(address: str) -> str:
    """The address as people write it; the kernel writes words of the machine's byte order."""
    words = [bytes.fromhex(address[at : at + 8])[::-1] for at in range(0, len(address), 8)]
    raw = b"".join(words)
    return str(IPv4Address(raw) if len(raw) == 4 else IPv6Address(raw))
