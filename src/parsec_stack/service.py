"""What is known of one service at one moment, alike in both flavours."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Service:
    """A service of a stack, and its ``health``.

    That is 'healthy', 'unhealthy', 'starting' before either is known, or '-' when it does not run.

    ``certificate_expires`` is an ISO 8601 date, None without a certificate; ``trouble`` is a
    sentence about a service that answers, but not as it should.
    """

    name: str
    state: str
    health: str
    address: str
    version: str
    certificate_expires: str | None = None
    trouble: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The fields, for ``status --json``."""
        return asdict(self)
