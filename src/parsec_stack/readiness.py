"""Is a service of a stack ready to do its work, as far as this machine can see?"""

from __future__ import annotations

from collections.abc import Callable

from parsec_stack import probes, store
from parsec_stack.stack import Stack

# 502 is the proxy's own word that it runs, and that the server behind it does not.
PROXY_ANSWERS = (200, 502)


def database(stack: Stack) -> bool:
    """Does PostgreSQL ask for the password?"""
    return probes.asks_for_password(stack.ports["POSTGRES"], stack.ca_file)


def proxy(stack: Stack) -> bool:
    """Does the proxy answer, whatever is behind it?"""
    return probes.status(stack.ports["PROXY"], "/", probes.proxy_trust(stack)) in PROXY_ANSWERS


def server(stack: Stack) -> bool:
    """Does the server answer, and reach its database?"""
    return probes.serves_parsec(stack.ports["SERVER"], stack.ca_file)


PROBES: dict[str, Callable[[Stack], bool]] = {
    "parsec-postgres": database,
    "parsec-s3": store.serves,
    "parsec-smtp": probes.catches_mail,
    "parsec-proxy": proxy,
    "parsec-server": server,
}


def is_ready(stack: Stack, service: str) -> bool:
    """Is the service ready?"""
    return PROBES[service](stack)
