"""Requests that no client would send: each is drawn from a few kinds of mistakes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

PATHS = (
    "/",
    "/anonymous/NoSuchOrganization",
    "/authenticated/NoSuchOrganization",
    "/authenticated/NoSuchOrganization/events",
    "/invited/NoSuchOrganization",
    "/tos/NoSuchOrganization",
    "/account",
    "/anonymous_account",
    "/authenticated_account",
    "/administration/organizations",
    "/redirect/NoSuchOrganization?a=claim_user&p=x",
    "/static/../../etc/passwd",
)
Kind = Callable[[random.Random], bytes]
KINDS: list[Kind] = []


def kind(make: Kind) -> Kind:
    """Register a kind of mistake."""
    KINDS.append(make)
    return make


def requests(seed: int, number: int) -> Iterator[bytes]:
    """So many malformed requests, the same ones for the same seed."""
    draw = random.Random(seed)
    for at in range(number):
        yield KINDS[at % len(KINDS)](draw)


def head(path: str, *lines: bytes, method: bytes = b"POST", version: bytes = b"HTTP/1.1") -> bytes:
    """The head of a request that is right but for these lines."""
    own = (b"Host: localhost", b"Connection: close", b"Api-Version: 5.3")
    first = method + b" " + path.encode("latin-1") + b" " + version
    return b"\r\n".join([first, *own, *lines, b"", b""])


def junk(draw: random.Random, most: int = 400) -> bytes:
    """Some bytes."""
    return draw.randbytes(draw.randrange(1, most))


@kind
def noise(draw: random.Random) -> bytes:
    """No HTTP at all."""
    return junk(draw, 4000)


@kind
def method(draw: random.Random) -> bytes:
    """A method that there is not, or not there."""
    return head(draw.choice(PATHS), method=draw.choice([b"", b"G\0T", b"BREW", b"CONNECT", b"PRI"]))


@kind
def version(draw: random.Random) -> bytes:
    """A version of HTTP that there is not."""
    versions = [b"HTTP/0.9", b"HTTP/1.", b"HTTP/9.9", b"HTTP/-1.1", b"ICAP/1.0", b""]
    return head(draw.choice(PATHS), version=draw.choice(versions))


@kind
def path(draw: random.Random) -> bytes:
    """A path that is no path, or leads out of the house."""
    odd = ["/%", "/%zz", "/%00", "/\xff\xfe", "/../../etc/passwd", "/a" * 20000, "http://[::", "*"]
    return head(draw.choice(odd), method=b"GET")


@kind
def organization(draw: random.Random) -> bytes:
    """A name of an organization that cannot be one."""
    name = "".join(f"%{byte:02x}" for byte in junk(draw, 60))
    return head(f"/{draw.choice(['anonymous', 'authenticated', 'invited'])}/{name}")


@kind
def header(draw: random.Random) -> bytes:
    """A line that is no header."""
    odd = [b"no colon", b": no name", b"A\0B: c", b" folded: line", b"X: " + b"y" * 70000]
    return head(draw.choice(PATHS), draw.choice([*odd, b"X: " + junk(draw).replace(b"\n", b"")]))


@kind
def headers(draw: random.Random) -> bytes:
    """More headers than anybody has."""
    return head(draw.choice(PATHS), *(b"X-%d: y" % number for number in range(500)))


@kind
def length(draw: random.Random) -> bytes:
    """A length of the body that is none, or two."""
    odd = [b"-1", b"x", b"1e9", b"9" * 40, b"5, 6", b"0x10", b""]
    lines = [b"Content-Length: " + draw.choice(odd), b"Content-Length: 3"][: draw.choice([1, 2])]
    return head(draw.choice(PATHS), *lines) + b"abc"


@kind
def smuggled(draw: random.Random) -> bytes:
    """A body with two ends, of which a second request would be the rest."""
    both = (b"Content-Length: 4", b"Transfer-Encoding: chunked")
    return head(draw.choice(PATHS), *both) + b"0\r\n\r\n" + head("/administration/stats")


@kind
def chunks(draw: random.Random) -> bytes:
    """Chunks of sizes that are none."""
    size = draw.choice([b"zz", b"-5", b"f" * 17, b"", b"5;" + b"x" * 5000])
    return head(draw.choice(PATHS), b"Transfer-Encoding: chunked") + size + b"\r\nabc\r\n0\r\n\r\n"


@kind
def encoding(draw: random.Random) -> bytes:
    """A transfer in a way that there is not."""
    return head(draw.choice(PATHS), b"Transfer-Encoding: " + draw.choice([b"gzip", b"x", b"\x0b"]))


@kind
def body(draw: random.Random) -> bytes:
    """A body that is not what the path takes."""
    content = junk(draw, 4000)
    kinds = [b"application/msgpack", b"application/json", b"text/plain", b"\xff/\xfe"]
    lines = (b"Content-Type: " + draw.choice(kinds), b"Content-Length: %d" % len(content))
    return head(draw.choice(PATHS), *lines) + content


@kind
def credentials(draw: random.Random) -> bytes:
    """Credentials that are none."""
    odd = [
        b"Bearer",
        b"Bearer " + junk(draw).hex().encode(),
        b"Basic !!",
        b"\xff",
        b"Bearer a.b.c.d",
    ]
    odd += [b"Bearer PARSEC-SIGN-ED25519.00.0.AAAA", b"Bearer PARSEC-SIGN-ED25519.x.y.z"]
    return head(draw.choice(PATHS), b"Authorization: " + draw.choice(odd), b"Content-Length: 0")


@kind
def versions(draw: random.Random) -> bytes:
    """A version of Parsec's protocol that is none."""
    odd = [b"", b"99.99", b"-1.0", b"5", b"5.3.1", b"9" * 300 + b".0", b"x.y"]
    lines = (b"Api-Version: " + draw.choice(odd), b"Content-Type: application/msgpack")
    return head(draw.choice(PATHS), *lines, b"Content-Length: 0")


@kind
def unfinished(draw: random.Random) -> bytes:
    """A request that ends in the middle."""
    whole = head(draw.choice(PATHS), b"Content-Length: 100") + b"abc"
    return whole[: draw.randrange(1, len(whole))]
