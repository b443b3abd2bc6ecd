"""``invoke status``: the services of a stack as a table."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from parsec_stack import store
from parsec_stack.stack import Stack

# Certificates that expire within this time, in days, are shown as a warning.
SOON = 30
STYLES = {"healthy": "green", "starting": "yellow", "unhealthy": "red", "-": "dim"}


@dataclass(frozen=True)
class ServiceStatus:
    """The state of a service of a stack at one moment, the same in all flavours.

    ``health`` is 'healthy', 'unhealthy', 'starting' before either is known, or '-' if the service
    does not run. ``certificate_expires`` is an ISO 8601 date, None without a certificate.
    ``trouble`` is a sentence about a service that answers, but not as it should.
    """

    name: str
    state: str
    health: str
    address: str
    version: str
    certificate_expires: str | None = None
    trouble: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the fields, for ``status --json``."""
        return asdict(self)


def with_certificates(stack: Stack, services: list[ServiceStatus]) -> list[ServiceStatus]:
    """Return the services, each with the expiry of its certificate."""
    return [
        replace(service, certificate_expires=expiry(stack.folder / f"{service.name}.crt"))
        for service in services
    ]


def with_store(
    stack: Stack, services: list[ServiceStatus], tree: store.Tree
) -> list[ServiceStatus]:
    """Return the services; an object store that has lost data or has strangers is unhealthy.

    A stack that was never complete is not checked: it has no bucket yet.
    """
    if not stack.state.get("complete"):
        return services
    return [
        replace(service, health="unhealthy", trouble=said)
        if service.name == "parsec-s3"
        and service.health != "-"
        and (said := store.trouble(stack, tree))
        else service
        for service in services
    ]


def stopping(services: list[ServiceStatus]) -> list[ServiceStatus]:
    """Return the services of a stack that is stopping: what still runs is about to end."""
    return [
        replace(service, state="stopping", health="-") if service.health != "-" else service
        for service in services
    ]


def expiry(certificate: Path) -> str | None:
    """Return the last day of the certificate, as an ISO 8601 date; None if none can be read."""
    from cryptography import x509

    try:
        loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
    except (OSError, ValueError):
        return None
    return loaded.not_valid_after_utc.date().isoformat()


def show(stack: Stack, services: list[ServiceStatus]) -> None:
    """Print the table; as plain columns if there is no terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    title = Text(f"{stack.flavour} stack in {stack.folder}")
    table = Table(title=title, title_justify="left", box=None)
    for heading in ("service", "state", "health", "address", "version", "certificate until"):
        table.add_column(heading, overflow="fold", no_wrap=heading != "address")
    for service in services:
        table.add_row(
            service.name,
            service.state,
            f"[{STYLES[service.health]}]{service.health}[/]",
            service.address,
            service.version,
            until(service.certificate_expires),
        )
    console = Console()
    if not console.is_terminal:
        console.width = 160
    console.print(table)
    for service in services:
        if service.trouble:
            console.print(f"{service.name}: {service.trouble}", style="red", soft_wrap=True)


def until(date: str | None) -> str:
    """Return the date, coloured if it is near or past."""
    if date is None:
        return "-"
    days = (datetime.fromisoformat(date).replace(tzinfo=UTC) - datetime.now(UTC)).days
    return f"[red]{date}[/]" if days < 0 else f"[yellow]{date}[/]" if days < SOON else date
