"""Find out whether a service of a stack can do its work, as far as this machine can see."""

from __future__ import annotations

from collections.abc import Callable

from parsec_stack import probes, store
from parsec_stack.stack import Stack

# With 502 the proxy itself says that it runs and the server behind it does not.
PROXY_ANSWERS = (200, 502)


def database(stack: Stack) -> bool:
    """Return whether PostgreSQL asks for the password."""
    return probes.asks_for_password(stack.ports["POSTGRES"], stack.ca_file)


def proxy(stack: Stack) -> bool:
    """Return whether the proxy answers, whatever is behind it."""
    return probes.status(stack.ports["PROXY"], "/", probes.proxy_trust(stack)) in PROXY_ANSWERS


def server(stack: Stack) -> bool:
    """Return whether the server answers and reaches its database."""
    return probes.serves_parsec(stack.ports["SERVER"], stack.ca_file)


PROBES: dict[str, Callable[[Stack], bool]] = {
    "parsec-postgres": database,
    "parsec-s3": store.serves,
    "parsec-smtp": probes.catches_mail,
    "parsec-proxy": proxy,
    "parsec-server": server,
}


def is_ready(stack: Stack, service: str) -> bool:
    """Return whether the service is ready."""
    return PROBES[service](stack)
