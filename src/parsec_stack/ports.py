"""The ports of this machine: which ones a stack uses, and who holds one."""

from __future__ import annotations

from collections.abc import Iterator

from parsec_stack.services import SERVICES
from parsec_stack.stack import Stack


def of_services(stack: Stack) -> Iterator[tuple[str, int]]:
    """Yield every named port of the stack, with the name of its service."""
    for name, service in SERVICES.items():
        for port in service.ports:
            yield name, stack.ports[port.name]


def holder(port: int) -> str:
    """Return the process that listens on the port, as far as this user may see it."""
    import psutil

    try:
        connections = psutil.net_connections("inet")
    except psutil.AccessDenied:
        connections = []
    for connection in connections:
        if connection.laddr and connection.laddr.port == port and connection.pid:
            return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    return "a process of another user"
